//! What a program of a test takes over from whoever runs the tests.

use std::ffi::OsStr;

use tokio::process::Command;

/// Where programs and folders are. Nothing that would change what the program does: no setting of ours or of a store's, and
/// no terminal's.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "PG_BIN", "LLVM_PROFILE_FILE"];

/// A command that behaves the same wherever the tests run: on a terminal, on none, or beside somebody's own settings.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}
