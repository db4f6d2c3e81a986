//! Print jobs, from creation to cancellation.

mod cancel;
mod cancel_faults;
mod cancel_race;
mod catalog;
mod create_and_start;
mod repeats;
mod tasks;
