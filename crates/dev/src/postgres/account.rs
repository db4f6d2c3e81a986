//! The account that Postgres runs under. It refuses to run as root.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, bail};
use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

use super::binaries::Binaries;

/// Prints the first folder or program of `"$@"` that the account cannot enter or run.
const PROBE: &str = r#"
for path; do
    if [ -d "$path" ]; then cd "$path" 2>/dev/null && continue; fi
    if [ -f "$path" ] && [ -x "$path" ]; then continue; fi
    printf %s "$path"
    exit 1
done"#;

/// The account that the server and its programs run under.
pub(super) enum Account {
    /// The account of this process.
    Own,
    /// Another one, because this process runs as root.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// The account of this process. For root the owner of the data, else `postgres`, else `nobody`.
    pub(super) fn choose(data: &Path) -> anyhow::Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::Own);
        }
        // A package may have added the user `postgres` since: the data keep their owner.
        if let Ok(owner) = fs::metadata(data) {
            let uid = Uid::from_raw(owner.uid());
            let name = User::from_uid(uid)?.map_or_else(|| uid.to_string(), |user| user.name);
            return Ok(Self::Other { name, uid: owner.uid(), gid: owner.gid() });
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Self::Other { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() });
            }
        }
        bail!("Postgres refuses to run as root, and there is neither a user postgres nor nobody");
    }

    /// A command that runs under the account.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        // Postgres would read PGDATA, PGPORT and similar variables. The locale is C because the server's log is read
        // here, and because on macOS it does not start without one. The account may not be able to enter the folder of
        // this process.
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/");
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Gives a file or folder to the account.
    pub(super) fn give(&self, path: &Path) -> anyhow::Result<()> {
        let Self::Other { name, uid, gid } = self else { return Ok(()) };
        chown(path, Some(*uid), Some(*gid)).with_context(|| format!("giving {} to user {name}", path.display()))
    }

    /// Checks, by trying, that the account can reach the folder and run the programs: file modes alone do not decide
    /// it, ACLs and mounts count as well.
    pub(super) async fn check_access(&self, folder: &Path, binaries: &Binaries) -> anyhow::Result<()> {
        let Self::Other { name, .. } = self else { return Ok(()) };
        let mut paths: Vec<&Path> = folder.ancestors().collect();
        paths.reverse();
        let mut programs: Vec<&Path> = binaries.folder().ancestors().collect();
        programs.reverse();
        let output = self
            .command("/bin/sh")
            .args(["-c", PROBE, "probe"])
            .args(paths)
            .args(programs)
            .args([binaries.program("initdb"), binaries.program("postgres")])
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("running a shell as user {name}"))?;
        if output.status.success() {
            return Ok(());
        }
        let closed = String::from_utf8_lossy(&output.stdout);
        bail!(
            "Postgres refuses to run as root, and so runs as user {name}, who cannot enter {closed} \
             (needed for {} and {}): choose a folder that this user can enter",
            folder.display(),
            binaries.folder().display(),
        );
    }
}
