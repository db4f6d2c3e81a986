//! Reasons as they are on the wire: the names of [`Reason`] without its prefix.

use tonic::Status;
use tonic_types::StatusExt;

use crate::proto::{Reason, upload_session::State};

const PREFIX: &str = "REASON_";

impl Reason {
    /// The name in `ErrorInfo.reason`, `TOKEN_MISSING` for example.
    pub fn wire_name(self) -> &'static str {
        self.as_str_name().trim_start_matches(PREFIX)
    }

    /// The reason with this name; `Unspecified` for a name that this version does not know.
    pub fn from_wire(name: &str) -> Self {
        Self::from_str_name(&format!("{PREFIX}{name}")).unwrap_or(Self::Unspecified)
    }

    /// The reason in the `ErrorInfo` of a status; `Unspecified` when this version does not know its name. Every error
    /// of the service has one. Without one the error is the transport's.
    pub fn of(status: &Status) -> Option<Self> {
        reason_name(status).map(|name| Self::from_wire(&name))
    }

    /// Why a call is refused on an upload session that has ended in this state.
    pub fn of_ended_session(state: State) -> Self {
        match state {
            State::Completed => Self::UploadSessionCompleted,
            State::Expired => Self::UploadSessionExpired,
            State::Canceled | State::Active | State::Unspecified => Self::UploadSessionCanceled,
        }
    }
}

/// The message of a call that is refused because its upload session has ended in this state.
pub const fn ended_session_message(state: State) -> &'static str {
    match state {
        State::Completed => "the upload session is completed",
        State::Expired => "the upload session has expired",
        State::Canceled | State::Active | State::Unspecified => "the upload session was canceled",
    }
}

/// The name of the reason in the `ErrorInfo` of a status, also one that this version does not know.
pub fn reason_name(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "print-upload", HashMap::new());
        Status::with_error_details(Code::Aborted, "refused", details)
    }

    #[test]
    fn names_have_no_prefix() {
        assert_eq!(Reason::TokenMissing.wire_name(), "TOKEN_MISSING");
        assert_eq!(Reason::from_wire("TOKEN_MISSING"), Reason::TokenMissing);
        assert_eq!(Reason::from_wire("REASON_TOKEN_MISSING"), Reason::Unspecified);
    }

    #[test]
    fn an_unknown_name_is_not_the_same_as_none() {
        assert_eq!(Reason::of(&refusal("RANGE_RACED")), Some(Reason::RangeRaced));
        assert_eq!(Reason::of(&refusal("OF_A_NEWER_SERVICE")), Some(Reason::Unspecified));
        assert_eq!(Reason::of(&Status::aborted("connection reset")), None);
    }
}
