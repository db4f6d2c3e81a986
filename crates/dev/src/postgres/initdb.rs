//! The first start: a new data folder.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::timeout;

use super::account::Account;
use super::binaries::Binaries;
use super::durability::Durability;
use super::folder::{Folder, remove_if_there};
use super::supervised::Supervised;
use crate::private_file;

/// Far more than it takes, for slow disks.
const DEADLINE: Duration = Duration::from_secs(120);

/// Makes the data folder: beside its place, so that one which was interrupted is never taken for
/// a data folder and the next start begins anew.
pub(super) async fn run(
    folder: &Folder,
    binaries: &Binaries,
    account: &Account,
    durability: Durability,
    lock: &File,
    log: &File,
) -> Result<()> {
    let unfinished = folder.unfinished_data();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("removing an unfinished data folder")?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished).context("creating the data folder")?;
    account.give(&unfinished)?;

    // First ours: data without a known password would be lost.
    let password = random_password()?;
    private_file::write(&folder.password(), password.as_bytes())?;
    let theirs = folder.initial_password();
    private_file::write(&theirs, password.as_bytes())?;
    account.give(&theirs)?;

    let mut arguments = vec![
        format!("--pgdata={}", unfinished.display()),
        format!("--pwfile={}", theirs.display()),
        "--username=print_upload".to_owned(),
        "--auth=scram-sha-256".to_owned(),
        "--encoding=UTF8".to_owned(),
        "--locale=C".to_owned(),
    ];
    if durability == Durability::Scratch {
        arguments.push("--no-sync".to_owned());
    }
    let mut initdb = Supervised::spawn(account, &binaries.program("initdb"), &arguments, lock, log)?;
    let ended = timeout(DEADLINE, initdb.end()).await;
    remove_if_there(&theirs).context("removing the password's copy")?;
    let status = ended.map_err(|_| anyhow!("initdb took too long{}", folder.log_tail(0)))??;
    if !status.success() {
        bail!("initdb failed ({status}){}", folder.log_tail(0));
    }
    fs::rename(&unfinished, folder.data()).context("putting the data folder in its place")?;
    if durability == Durability::Durable {
        File::open(folder.path())?.sync_all().context("syncing the folder of Postgres")?;
    }
    Ok(())
}

fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("no random numbers for a password"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
