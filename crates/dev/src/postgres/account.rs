//! The account Postgres runs as: it refuses to be root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

use super::binaries::Binaries;

/// Prints the first folder or program of `"$@"` which is closed to the account.
const PROBE: &str = r#"
for path; do
    if [ -d "$path" ]; then cd "$path" 2>/dev/null && continue; fi
    if [ -f "$path" ] && [ -x "$path" ]; then continue; fi
    printf %s "$path"
    exit 1
done"#;

/// The account the server and its programs run as.
pub(super) enum Account {
    /// The one we run as.
    Own,
    /// Another one: we are root.
    Other {
        /// Its name.
        name: String,
        /// Its number.
        uid: u32,
        /// Its group's number.
        gid: u32,
    },
}

impl Account {
    /// Our own unless we are root; then whoever owns the data, or `postgres`, or `nobody`.
    pub(super) fn choose(data: &Path) -> Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::Own);
        }
        // A package installed since may have brought `postgres`, yet the data stays its owner's.
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

    /// A command which runs as the account.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        // PGDATA, PGPORT and their like would be obeyed. C: we read what the server writes, and on
        // macOS it does not start without a locale. Our own folder may be closed to the account.
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
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        let Self::Other { name, uid, gid } = self else {
            return Ok(());
        };
        chown(path, Some(*uid), Some(*gid)).with_context(|| format!("giving {} to user {name}", path.display()))
    }

    /// Makes sure that the account can reach the folder and run the programs.
    ///
    /// Asking the system beats reading modes: ACLs and mounts have a say as well.
    pub(super) async fn prove_access(&self, folder: &Path, binaries: &Binaries) -> Result<()> {
        let Self::Other { name, .. } = self else {
            return Ok(());
        };
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
            "Postgres refuses to run as root and so runs as user {name}, which cannot enter {closed} \
             (needed for {} and {}); choose a folder which is open to that user",
            folder.display(),
            binaries.folder().display(),
        );
    }
}
