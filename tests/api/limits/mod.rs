//! What callers and tenants may use: nobody gets more than a limit, and everybody learns which one it was.

mod bytes;
mod jobs;
mod rates;
mod tenants;
mod waiting_jobs;

use tonic::{Code, Status};

use crate::harness::ErrorExt;

/// The name and the number of the limit that has refused a call. A caller is always asked to wait.
pub fn limit_of(refused: &Status) -> (String, String) {
    assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "LIMIT_REACHED".into()), "{refused:?}");
    let wait = refused.retry_delay().expect("a wait").as_secs();
    assert!((1..=300).contains(&wait), "{refused:?}");
    (refused.metadata_of("limit").expect("its name"), refused.metadata_of("max").expect("its number"))
}

/// A limit, as [`limit_of`] returns it.
pub fn limit(name: &str, max: u64) -> (String, String) {
    (name.into(), max.to_string())
}
