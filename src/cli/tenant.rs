//! `print-upload tenant delete`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::{
    config::duration,
    name::{JobKey, TenantId},
    reclaim,
    secret_files::DatabaseUrl,
    store::{Error, TenantDeletion},
};

/// The exit code when the service has to finish first, or the database cannot be reached: run the command again.
const AGAIN: u8 = 6;

/// The commands about tenants.
#[derive(Debug, Args)]
pub(super) struct TenantCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Delete a tenant: its jobs, uploads and documents, its part of the catalog, and its audit trail. Its callers are
    /// refused at once, and the catalog cannot give it a subscription until it is gone. The running service drops the
    /// bytes; the rows of an upload go after that. So run the command again as long as it exits with code 6. It
    /// continues where it was, also if it was interrupted. Remove the tenant from what pushes the catalog first: a push
    /// after the end creates it anew, without anything that was there.
    Delete {
        /// The tenant's id, a GUID.
        tenant: Uuid,

        /// Delete it. Without this option nothing is changed.
        #[arg(long)]
        yes: bool,

        #[command(flatten)]
        database: DatabaseUrl,

        /// How long one range may take, as for `serve`. The bytes of an upload are dropped for the last time when no
        /// range of it can be left.
        #[arg(long, env = "RANGE_TIMEOUT", default_value = "10m", value_parser = duration)]
        range_timeout: Duration,
    },
}

impl TenantCommand {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Action::Delete { tenant, yes, database, range_timeout } = self.action;
        ensure!(yes, "this deletes everything of the tenant {tenant} for ever: add --yes");
        let url = database.read()?;
        let grace = reclaim::writer_grace(range_timeout);
        let deletion = TenantDeletion::connect(url.expose_secret(), TenantId(tenant), grace).context("the database")?;
        let deleted = delete(&deletion, tenant).await;
        deletion.close().await;
        match deleted {
            Err(error) if error.is_transient() => {
                eprintln!("print-upload: the database: {error}: run this again");
                Ok(ExitCode::from(AGAIN))
            }
            deleted => deleted.context("the database"),
        }
    }
}

async fn delete(deletion: &TenantDeletion, tenant: Uuid) -> Result<ExitCode, Error> {
    let exists = deletion.begin().await?;
    if exists {
        delete_jobs(deletion).await?;
        if !remove_rows(deletion).await? {
            return Ok(ExitCode::from(AGAIN));
        }
    }
    let (mut after, mut rows) = (Uuid::nil(), 0);
    while let Some((last, removed)) = deletion.remove_audit(after).await? {
        after = last;
        rows += removed;
    }
    println!("removed {rows} rows of the audit trail");
    if !exists {
        println!("there is no tenant {tenant}");
    } else if deletion.remove_tenant().await? {
        println!("the tenant {tenant} is deleted");
    } else {
        println!("a job or a share was pushed meanwhile: run this again");
        return Ok(ExitCode::from(AGAIN));
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete_jobs(deletion: &TenantDeletion) -> Result<(), Error> {
    let (mut after, mut jobs) = (first_job(), 0);
    while let Some((last, deleted)) = deletion.delete_jobs(&after).await? {
        report_progress("deleted", "jobs", jobs, deleted);
        after = last;
        jobs += deleted;
    }
    println!("deleted {jobs} jobs");
    Ok(())
}

/// Removes the rows of what the service has finished with. Returns whether all of them are gone.
async fn remove_rows(deletion: &TenantDeletion) -> Result<bool, Error> {
    let (mut after, mut sessions, mut sessions_left, mut last_pass) = (Uuid::nil(), 0, 0, None);
    while let Some(batch) = deletion.remove_sessions(after).await? {
        report_progress("removed", "uploads", sessions, batch.removed as usize);
        after = batch.last;
        sessions += batch.removed as usize;
        sessions_left += batch.left;
        // Both are in the same form, so that the later one is the greater one.
        last_pass = last_pass.max(batch.last_pass);
    }
    let (mut after, mut jobs, mut jobs_left) = (first_job(), 0, 0);
    while let Some(batch) = deletion.remove_jobs(&after).await? {
        report_progress("removed", "jobs", jobs, batch.removed as usize);
        after = batch.last;
        jobs += batch.removed as usize;
        jobs_left += batch.left;
    }
    println!("removed {sessions} uploads and {jobs} jobs");
    if sessions_left + jobs_left == 0 {
        return Ok(true);
    }
    println!("{sessions_left} uploads and {jobs_left} jobs are left");
    match last_pass {
        Some(time) => println!(
            "the service has to drop their bytes for the last time, which it does after {time}: then run this again"
        ),
        None => println!("run this again"),
    }
    Ok(false)
}

/// Less than the key of every job.
fn first_job() -> JobKey {
    JobKey { printer: String::new(), job: String::new() }
}

/// Prints how far a step has come, whenever it has come so much further.
fn report_progress(done: &str, what: &str, before: usize, more: usize) {
    const STEP: usize = 10_000;
    if (before + more) / STEP > before / STEP {
        println!("{done} {} {what} so far", before + more);
    }
}
