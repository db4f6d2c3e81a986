//! The environment variables that a program under test inherits.

use std::ffi::OsStr;

use tokio::process::Command;

/// Only variables that set where programs and folders are. Settings of this service, of a store or of the terminal
/// would change what the program does.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "PG_BIN", "LLVM_PROFILE_FILE"];

/// A command that behaves the same wherever the tests run.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    // No balancer needs to notice that a program stops.
    command.env("SHUTDOWN_DELAY", "0s");
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}
