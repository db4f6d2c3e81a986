//! What a test asks of an error.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

pub trait ErrorExt {
    /// The one `ErrorInfo`'s reason.
    fn reason(&self) -> String;
    /// Code and reason, as the documentation lists them.
    fn code_and_reason(&self) -> (Code, String);
    /// A value of the `ErrorInfo`'s metadata.
    fn metadata_of(&self, key: &str) -> Option<String>;
    /// The invalid fields of the request. The reason must be `INVALID_FIELD`.
    fn bad_fields(&self) -> Vec<String>;
    /// The field that was too large, and its limit. The reason must be `{what}_TOO_LARGE`.
    fn too_large(&self, what: &str) -> (String, u64);
    /// The limit and its number. The error must be `TOO_MANY_TRANSFERS`, and say when to retry.
    fn too_many_transfers(&self) -> (String, usize);
    /// How long to wait before a retry; `None` when a retry does not help.
    fn retry_delay(&self) -> Option<Duration>;
}

impl ErrorExt for Status {
    fn reason(&self) -> String {
        let details = self.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {self:?}"));
        assert_eq!(details.domain, "print-upload");
        details.reason
    }

    fn code_and_reason(&self) -> (Code, String) {
        (self.code(), self.reason())
    }

    fn metadata_of(&self, key: &str) -> Option<String> {
        self.get_details_error_info()?.metadata.get(key).cloned()
    }

    fn bad_fields(&self) -> Vec<String> {
        assert_eq!(self.code_and_reason(), (Code::InvalidArgument, "INVALID_FIELD".into()), "{self:?}");
        violations(self)
    }

    fn too_large(&self, what: &str) -> (String, u64) {
        assert_eq!(self.code_and_reason(), (Code::InvalidArgument, format!("{what}_TOO_LARGE")), "{self:?}");
        let limit = self.metadata_of("max_bytes").expect("the limit").parse().expect("a number");
        (violations(self).pop().expect("a field"), limit)
    }

    fn too_many_transfers(&self) -> (String, usize) {
        assert_eq!(self.code_and_reason(), (Code::ResourceExhausted, "TOO_MANY_TRANSFERS".into()), "{self:?}");
        assert_eq!(self.retry_delay(), Some(Duration::from_secs(1)), "{self:?}");
        let max = self.metadata_of("max_transfers").expect("the number").parse().expect("a number");
        (self.metadata_of("limit").expect("the limit"), max)
    }

    fn retry_delay(&self) -> Option<Duration> {
        self.get_details_retry_info().and_then(|info| info.retry_delay)
    }
}

fn violations(status: &Status) -> Vec<String> {
    let bad_request = status.get_details_bad_request().unwrap_or_else(|| panic!("no BadRequest: {status:?}"));
    assert!(bad_request.field_violations.iter().all(|violation| !violation.description.is_empty()));
    bad_request.field_violations.into_iter().map(|violation| violation.field).collect()
}
