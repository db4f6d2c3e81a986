//! The first start: a new data folder.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use tokio::time::timeout;

use super::{
    account::Account,
    binaries::Binaries,
    durability::Durability,
    folder::{Folder, remove_if_there},
    supervised::Supervised,
};
use crate::private_file;

/// Much longer than it takes, for slow disks.
const DEADLINE: Duration = Duration::from_secs(120);

/// Makes the data folder. It gets its name only when it is complete: the next start removes an unfinished one.
pub(super) async fn run(
    folder: &Folder,
    binaries: &Binaries,
    account: &Account,
    durability: Durability,
    lock: &File,
    log: &File,
) -> anyhow::Result<()> {
    let unfinished = folder.unfinished_data();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("removing an unfinished data folder")?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished).context("creating the data folder")?;
    account.give(&unfinished)?;

    // Before the data: without the password they could not be used.
    let password = private_file::random_secret()?;
    private_file::write(&folder.password(), &password)?;
    let password_copy = folder.initial_password();
    private_file::write(&password_copy, &password)?;
    account.give(&password_copy)?;

    let mut arguments = vec![
        format!("--pgdata={}", unfinished.display()),
        format!("--pwfile={}", password_copy.display()),
        "--username=print_upload".to_owned(),
        "--auth=scram-sha-256".to_owned(),
        "--encoding=UTF8".to_owned(),
        "--locale=C".to_owned(),
    ];
    if durability == Durability::Scratch {
        arguments.push("--no-sync".to_owned());
    }
    let mut initdb = Supervised::spawn(account, &binaries.program("initdb"), &arguments, lock, log)?;
    let status = timeout(DEADLINE, initdb.wait_for_end()).await;
    remove_if_there(&password_copy).context("removing the copy of the password")?;
    let status = status.map_err(|_| anyhow!("initdb took too long{}", folder.log_tail(0)))??;
    if !status.success() {
        bail!("initdb failed ({status}){}", folder.log_tail(0));
    }
    fs::rename(&unfinished, folder.data()).context("renaming the finished data folder")?;
    if durability == Durability::Durable {
        File::open(folder.path())?.sync_all().context("syncing the folder of Postgres")?;
    }
    Ok(())
}
