//! How a command fails: what it says, and its exit code.

use std::process::ExitCode;

use serde_json::json;
use tonic::Code;

use crate::{
    client::{self, Error, state_name},
    proto::upload_session::State,
};

/// For `--help` and the manual.
pub(in crate::cli) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    any other failure
  2    the command line is wrong
  3    there is no such session, document or print job
  4    not permitted, or no valid credential
  5    the session has ended: canceled, expired or completed
  6    the service cannot be reached or has no room: try again later
  7    the document is not the file: another digest, or the file was changed
  130  interrupted (SIGINT); an upload session is kept
  143  asked to end (SIGTERM); an upload session is kept

With --json a failure is one object on standard error:
{\"error\": {\"code\": \"NOT_FOUND\", \"reason\": \"UPLOAD_SESSION_NOT_FOUND\", \"message\": \"…\", \"exitCode\": 3}}, code and \
reason only when it is the service that has failed, \"session\" when it is known.";

/// How a command fails.
#[derive(Debug)]
pub(super) struct Failure {
    exit: u8,
    code: Option<Code>,
    reason: Option<String>,
    message: String,
    session: Option<String>,
}

impl Failure {
    /// A failure of this program's own.
    pub(super) fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, code: None, reason: None, message: message.into(), session: None }
    }

    /// The command line is wrong.
    pub(super) fn usage(message: &str) -> Self {
        Self::new(2, message)
    }

    /// The session has ended in this state.
    pub(super) fn ended(state: State, message: impl Into<String>) -> Self {
        Self { reason: Some(format!("UPLOAD_SESSION_{}", state_name(state))), ..Self::new(5, message) }
    }

    /// The same, about a session.
    pub(super) fn of_session(self, session: &str) -> Self {
        Self { session: Some(session.to_owned()), ..self }
    }

    /// The same, with where the service should have been when nobody is there.
    pub(super) fn at(self, servers: &str) -> Self {
        if self.code == Some(Code::Unavailable) && self.reason.is_none() {
            return Self { message: format!("cannot reach the service at {servers}: {}", self.message), ..self };
        }
        self
    }

    /// Tells it on standard error.
    pub(super) fn tell(&self, as_json: bool) -> ExitCode {
        let code = self.code.map(code_name);
        if as_json {
            let mut error = json!({"message": self.message, "exitCode": self.exit});
            let known =
                [("code", code.as_deref()), ("reason", self.reason.as_deref()), ("session", self.session.as_deref())];
            for (key, value) in known {
                if let Some(value) = value {
                    error[key] = value.into();
                }
            }
            eprintln!("{}", json!({ "error": error }));
        } else {
            let details: Vec<&str> = [code.as_deref(), self.reason.as_deref()].into_iter().flatten().collect();
            let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
            eprintln!("print-upload: {}{details}", self.message);
        }
        ExitCode::from(self.exit)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (code, reason) = (error.code(), error.reason());
        let exit = match (&error, reason.as_deref()) {
            (Error::Ended(state), _) => return Self::ended(*state, message),
            (Error::DigestMismatch { .. } | Error::Changed { .. } | Error::OtherBytes { .. }, _)
            | (_, Some("DIGEST_CONFLICT" | "DIGEST_MISMATCH")) => 7,
            (_, Some("UPLOAD_SESSION_CANCELED" | "UPLOAD_SESSION_EXPIRED" | "UPLOAD_SESSION_COMPLETED")) => 5,
            _ => match code {
                Some(Code::NotFound) => 3,
                Some(Code::PermissionDenied | Code::Unauthenticated) => 4,
                Some(_) if is_passing(&error) => 6,
                _ => 1,
            },
        };
        Self { exit, code, reason, message, session: None }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(1, format!("{error:#}"))
    }
}

fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Call(status) if client::retry_delay(status).is_some())
}

/// `NOT_FOUND`, as the specification of gRPC has it.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for character in format!("{code:?}").chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(character.to_uppercase());
    }
    // The specification spells this one in the British way.
    if name == "CANCELED" { "CANCELLED".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_as_in_the_specification() {
        let names = [Code::Ok, Code::NotFound, Code::Cancelled, Code::DeadlineExceeded].map(code_name);
        assert_eq!(names, ["OK", "NOT_FOUND", "CANCELLED", "DEADLINE_EXCEEDED"]);
    }

    #[test]
    fn what_fails_has_an_exit_code() {
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
            (call(Refusal::TooManyTransfers), 6),
            (Error::Call(tonic::Status::unavailable("refused")), 6),
            (call(Refusal::DigestConflict), 7),
            (Error::DigestMismatch { there: None, here: 1 }, 7),
            (Error::Changed { file: "f".into(), when: "now" }, 7),
            (Error::OtherBytes { file: "f".into() }, 7),
            (call(Refusal::EtagMismatch), 1),
            (call(Refusal::Internal("a bug".into())), 1),
        ];
        for (error, expected) in table {
            let shown = format!("{error:?}");
            assert_eq!(Failure::from(error).exit, expected, "{shown}");
        }
    }
}
