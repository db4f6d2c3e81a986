//! Makes a recorded history that has no explanation shorter, so that a person can read it.

use super::{
    call::Outcome,
    history::{History, Recorded},
    model::Micros,
};

/// The shortest beginning of the history without an explanation, without the calls that the contradiction does not
/// need. Only calls without an effect are left out, so that what is left is a contradiction as well.
pub fn shrink(history: &History) -> History {
    let mut shortest = beginning(history);
    let mut number = 0;
    while number < shortest.calls.len() {
        let mut without = shortest.clone();
        without.calls.remove(number);
        if has_no_effect(&shortest.calls[number]) && without.is_unexplained() {
            shortest = without;
        } else {
            number += 1;
        }
    }
    shortest
}

fn beginning(history: &History) -> History {
    let mut ends: Vec<Micros> = history.calls.iter().map(|call| call.answered).collect();
    ends.sort_unstable();
    // A history with an explanation has one for each of its beginnings: the moment can be searched by halves.
    let moment = ends.partition_point(|end| !until(history, *end).is_unexplained());
    ends.get(moment).map_or_else(|| history.clone(), |end| until(history, *end))
}

/// The history as it was known at a moment: later calls are not made yet, later answers not known.
fn until(history: &History, moment: Micros) -> History {
    let begun = history.calls.iter().filter(|call| call.invoked <= moment);
    let known = begun.map(|call| {
        let outcome = if call.answered <= moment { call.outcome.clone() } else { Outcome::Unknown };
        Recorded { outcome, ..call.clone() }
    });
    History { calls: known.collect(), ..history.clone() }
}

fn has_no_effect(call: &Recorded) -> bool {
    call.only_reads() || matches!(call.outcome, Outcome::Nothing)
}
