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
  6    the service cannot be reached or is too busy: retry later
  7    the document and the file differ, or the file changed meanwhile
  130  interrupted by SIGINT (Ctrl-C)
  143  ended by SIGTERM

With --json a failure is one object on standard error:
{\"error\": {\"code\": \"NOT_FOUND\", \"reason\": \"UPLOAD_SESSION_NOT_FOUND\", \"message\": \"…\", \"exitCode\": 3}}. \
It has a code when a call has failed, a reason when the service gave one or the session has ended, and \"session\" \
when the session is known. Only an error that is found while the options are parsed is plain text even with --json.";

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
