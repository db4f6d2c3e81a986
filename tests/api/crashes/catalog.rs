//! Crashes while an entry of the catalog is created or updated.

use print_upload::proto::{self, principal::Identity, print_task};
use tonic::Status;
use uuid::Uuid;

use super::crash::Crash;
use crate::harness::{App, Bucket, ROBOT, Rpc, TENANT};

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
    let (catalog, name, revision) = (&mut app.catalog().client.catalog, rpc.catalog_entry(TENANT), REVISION);
    match rpc {
        Rpc::UpsertTenant => {
            let tenant = Some(proto::Tenant { name, subscription_active: true, revision });
            catalog.upsert_tenant(proto::UpsertTenantRequest { tenant }).await.map(drop)
        }
        Rpc::UpsertPrinter => {
            let printer = Some(proto::Printer { name, revision });
            catalog.upsert_printer(proto::UpsertPrinterRequest { printer }).await.map(drop)
        }
        Rpc::UpsertPrinterShare => {
            let printer_share = Some(proto::PrinterShare { name, printer: "p".into(), revision });
            catalog.upsert_printer_share(proto::UpsertPrinterShareRequest { printer_share }).await.map(drop)
        }
        Rpc::UpsertPrintJob => {
            let creator = Some(proto::Principal { identity: Some(Identity::User("ada".into())) });
            let document = Uuid::from_u128(1).to_string();
            let print_job = Some(proto::CatalogPrintJob { name, creator, document, revision });
            catalog.upsert_print_job(proto::UpsertPrintJobRequest { print_job }).await.map(drop)
        }
        Rpc::UpsertPrintTask => {
            let state = print_task::State::Processing.into();
            let print_task = Some(proto::PrintTask { name, trigger_application: ROBOT.into(), state, revision });
            catalog.upsert_print_task(proto::UpsertPrintTaskRequest { print_task }).await.map(drop)
        }
        _ => unreachable!("{rpc:?} is no upsert"),
    }
}
