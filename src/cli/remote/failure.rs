//! How a command fails: its message and its exit code.

use std::process::ExitCode;

use print_upload_client::{Error, Reason, code_name};
use serde_json::json;
use tonic::Code;

use super::{exit::Exit, output};
use crate::proto::upload_session::State;

/// How a command fails.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    code: Option<Code>,
    reason: Option<String>,
    message: String,
    session: Option<String>,
}

impl Failure {
    /// A failure that this program has found itself.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, reason: None, message: message.into(), session: None }
    }

    /// The command line is wrong.
    pub(super) fn usage(message: &str) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The session has ended in this state.
    pub(super) fn ended(state: State, message: impl Into<String>) -> Self {
        Self { reason: Some(Reason::of_ended_session(state).wire_name().into()), ..Self::new(Exit::Ended, message) }
    }

    /// Adds the session that the failure is about.
    pub(super) fn of_session(self, session: &str) -> Self {
        Self { session: Some(session.to_owned()), ..self }
    }

    /// Adds what to do, where only this program knows it.
    pub(super) fn with_advice(self) -> Self {
        let advice = match self.reason.as_deref().map(Reason::from_wire) {
            Some(Reason::TooManyFragments) => "cancel it, and start again with a larger --range-size",
            _ if self.code == Some(Code::Unauthenticated) => {
                "what was sent is kept until the session expires: run the same command with a new credential to resume"
            }
            _ => return self,
        };
        Self { message: format!("{}: {advice}", self.message), ..self }
    }

    /// Adds the service's address, when the error does not come from the service itself.
    pub(super) fn at(self, servers: &str) -> Self {
        let problem = match self.code {
            _ if self.reason.is_some() => return self,
            Some(Code::Unavailable) => "cannot reach the service at",
            Some(Code::Unknown | Code::Internal | Code::Cancelled) => "no proper answer from",
            _ => return self,
        };
        Self { message: format!("{problem} {servers}: {}", self.message), ..self }
    }

    /// Prints it on standard error. Returns its exit code.
    pub(super) fn print(&self, as_json: bool) -> ExitCode {
        let code = self.code.map(code_name);
        if as_json {
            let mut error = json!({"message": self.message, "exitCode": self.exit as u8});
            let known = [("code", code), ("reason", self.reason.as_deref()), ("session", self.session.as_deref())];
            for (key, value) in known {
                if let Some(value) = value {
                    error[key] = value.into();
                }
            }
            output::note(json!({ "error": error }));
        } else {
            let details: Vec<&str> = [code, self.reason.as_deref()].into_iter().flatten().collect();
            let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
            output::note(format!("print-upload: {}{details}", self.message));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let code = error.code();
        let exit = match (&error, error.reason()) {
            (Error::Ended(state), _) => return Self::ended(*state, message),
            (Error::DigestMismatch { .. } | Error::Changed { .. } | Error::OtherBytes { .. }, _)
            | (_, Some(Reason::DigestConflict | Reason::DigestMismatch)) => Exit::Differs,
            (
                _,
                Some(Reason::UploadSessionCanceled | Reason::UploadSessionExpired | Reason::UploadSessionCompleted),
            ) => Exit::Ended,
            _ => match code {
                Some(Code::NotFound) => Exit::NotFound,
                Some(Code::PermissionDenied | Code::Unauthenticated) => Exit::NotPermitted,
                _ if error.is_transient() => Exit::Unavailable,
                _ => Exit::Other,
            },
        };
        Self { exit, code, reason: error.reason_name(), message, session: None }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Other, format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_fragments_come_with_advice() {
        let status = tonic::Status::from(crate::error::Error::TooManyFragments(9));
        let failure = Failure::from(Error::Call(status)).with_advice();
        assert!(failure.message.ends_with("cancel it, and start again with a larger --range-size"), "{failure:?}");
    }

    #[test]
    fn a_credential_that_has_expired_comes_with_advice() {
        let status = tonic::Status::from(crate::error::Error::InvalidToken(crate::error::TokenProblem::Expired));
        let failure = Failure::from(Error::Call(status)).with_advice();
        assert!(failure.message.ends_with("run the same command with a new credential to resume"), "{failure:?}");
        assert_eq!(failure.exit, Exit::NotPermitted);
    }

    #[test]
    fn every_failure_has_an_exit_code() {
        use crate::error::Error as Refusal;
        let call = |refusal: Refusal| Error::Call(refusal.into());
        let table = [
            (call(Refusal::SessionNotFound), 3),
            (call(Refusal::NotSessionOwner), 4),
            (call(Refusal::MissingToken), 4),
            (call(Refusal::SessionCanceled), 5),
            (call(Refusal::SessionExpired), 5),
            (call(Refusal::SessionCompleted), 5),
            (Error::Ended(State::Canceled), 5),
            (call(Refusal::TooManyWriters(4)), 6),
            (Error::Call(tonic::Status::unavailable("refused")), 6),
            (call(Refusal::DigestConflict), 7),
            (Error::DigestMismatch { service: None, local: 1 }, 7),
            (Error::Changed { file: "f".into() }, 7),
            (Error::OtherBytes { file: "f".into() }, 7),
            (call(Refusal::EtagMismatch), 1),
            (call(Refusal::Internal("a bug".into())), 1),
        ];
        for (error, expected) in table {
            let description = format!("{error:?}");
            assert_eq!(Failure::from(error).exit as u8, expected, "{description}");
        }
    }
}
