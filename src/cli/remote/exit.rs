//! The exit codes of the commands that call a service. Scripts rely on them.

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
  7    the document and the file differ, or the file changed meanwhile
  130  interrupted (SIGINT); an upload session is kept, unless --on-interrupt or the answer says cancel: then it is 5
  143  asked to end (SIGTERM); the same

With --json a failure is one object on standard error:
{\"error\": {\"code\": \"NOT_FOUND\", \"reason\": \"UPLOAD_SESSION_NOT_FOUND\", \"message\": \"…\", \"exitCode\": 3}}; code only when \
the call of a service has failed, reason when the service gave one or the session has ended, \"session\" when it is known. Errors \
found while parsing the command line are always plain text.";

/// How a command fails, by its exit code. [`EXIT_CODES`] describes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Other = 1,
    Usage = 2,
    NotFound = 3,
    NotPermitted = 4,
    Ended = 5,
    Unavailable = 6,
    Differs = 7,
    Interrupted = 130,
    Terminated = 143,
}
