//! Crashes while an entry of the catalog is created or updated.

use tonic::Status;

use super::crash::Crash;
use crate::harness::{App, Bucket, Rpc, TENANT};

/// The revision of the entry that is pushed. No other entry has it.
const REVISION: i64 = 7;

pub async fn tenant(crash_at: &'static str, bucket: Bucket) {
    upsert(Rpc::UpsertTenant, "select count(*) from tenant where revision = 7", crash_at, bucket).await;
}

pub async fn printer(crash_at: &'static str, bucket: Bucket) {
    upsert(Rpc::UpsertPrinter, "select count(*) from printer where revision = 7", crash_at, bucket).await;
}

pub async fn share(crash_at: &'static str, bucket: Bucket) {
    upsert(Rpc::UpsertPrinterShare, "select count(*) from printer_share where revision = 7", crash_at, bucket).await;
}

/// The job and its document.
pub async fn job(crash_at: &'static str, bucket: Bucket) {
    let pushed = "select count(*) from print_job full join print_document using (tenant_id, printer_id, job_id)
                  where revision = 7 and document_id is not null";
    upsert(Rpc::UpsertPrintJob, pushed, crash_at, bucket).await;
}

pub async fn task(crash_at: &'static str, bucket: Bucket) {
    upsert(Rpc::UpsertPrintTask, "select count(*) from print_task where revision = 7", crash_at, bucket).await;
}

/// Pushes an entry. `count` counts it.
async fn upsert(rpc: Rpc, count: &'static str, crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    if rpc == Rpc::UpsertPrintTask {
        let job = Rpc::UpsertPrintJob;
        crash.app.catalog().call(job, &job.catalog_entry(TENANT)).await.expect("the task's job");
    }

    crash.during(async |app, _| push(app, rpc).await).await.expect_err("no answer");

    assert_eq!(crash.count(count).await, i64::from(crash_at.ends_with(".committed")));
    push(&crash.app, rpc).await.expect("pushed, now or before");
    assert_eq!(crash.count(count).await, 1);
    crash.assert_clean().await;
}

async fn push(app: &App, rpc: Rpc) -> Result<(), Status> {
    app.catalog().maintain(rpc, rpc.catalog_entry(TENANT), REVISION).await
}
