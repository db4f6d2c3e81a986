//! The first start of a standby: a copy of its primary's data.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use tokio::time::timeout;

use super::{account::Account, binaries::Binaries, cluster::Cluster, folder::Folder, supervised::Supervised};
use crate::private_file;

/// Much longer than it takes, for slow disks.
const DEADLINE: Duration = Duration::from_secs(120);

/// Copies the data of the primary, with the settings with which a standby follows it.
pub(super) async fn copy(
    primary: &Cluster,
    folder: &Folder,
    binaries: &Binaries,
    account: &Account,
    lock: &File,
    log: &File,
) -> anyhow::Result<()> {
    let password = fs::read_to_string(primary.password_file()).context("the password of the primary")?;
    private_file::write(&folder.password(), password.as_bytes())?;
    // The standby itself reads it as well, and so it stays.
    let password_file = folder.path().join("password.primary");
    private_file::write(&password_file, format!("*:*:*:*:{password}\n").as_bytes())?;
    account.give(&password_file)?;
    let unfinished = folder.unfinished_data();
    DirBuilder::new().mode(0o700).create(&unfinished).context("creating the data folder")?;
    account.give(&unfinished)?;

    let connection = format!(
        "host=127.0.0.1 port={} user=print_upload passfile={} application_name=standby",
        primary.address()?.port(),
        password_file.display(),
    );
    let arguments = [
        format!("--pgdata={}", unfinished.display()),
        format!("--dbname={connection}"),
        "--write-recovery-conf".to_owned(),
        "--wal-method=stream".to_owned(),
        "--checkpoint=fast".to_owned(),
        "--no-sync".to_owned(),
    ];
    let mut copying = Supervised::spawn(account, &binaries.program("pg_basebackup"), &arguments, lock, log)?;
    let status = timeout(DEADLINE, copying.wait_for_end()).await;
    let status = status.map_err(|_| anyhow!("pg_basebackup took too long{}", folder.log_tail(0)))??;
    if !status.success() {
        bail!("pg_basebackup failed ({status}){}", folder.log_tail(0));
    }
    fs::rename(&unfinished, folder.data()).context("renaming the finished data folder")
}
