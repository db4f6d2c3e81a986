//! Reads a catalog from a JSON file and pushes it with the calls of `PrintCatalog`, in the order in which entries
//! depend on each other.

use anyhow::Context;
use print_upload_client::Client;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    proto::{
        CatalogPrintJob, DESCRIPTOR, PrintTask, Printer, PrinterShare, Tenant, UpsertPrintJobRequest,
        UpsertPrintTaskRequest, UpsertPrinterRequest, UpsertPrinterShareRequest, UpsertTenantRequest,
    },
    text::without_mark,
};

/// Entries of any number of tenants' catalogs.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub tenants: Vec<Tenant>,
    pub printers: Vec<Printer>,
    pub shares: Vec<PrinterShare>,
    /// Print jobs, each with its document.
    pub jobs: Vec<CatalogPrintJob>,
    pub tasks: Vec<PrintTask>,
}

/// The file: lists of messages in protobuf's JSON form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct CatalogFile {
    tenants: Vec<Value>,
    printers: Vec<Value>,
    shares: Vec<Value>,
    jobs: Vec<Value>,
    tasks: Vec<Value>,
}

impl Catalog {
    /// Reads a catalog: `{"tenants": […], "printers": […], "shares": […], "jobs": […], "tasks": […]}`. Each entry is a
    /// message of `print_catalog.proto` in protobuf's JSON form.
    pub fn from_json(json: &str) -> anyhow::Result<Self> {
        let file: CatalogFile = serde_json::from_str(without_mark(json)).context("not a catalog")?;
        let pool = DescriptorPool::decode(DESCRIPTOR)?;
        Ok(Self {
            tenants: messages(&pool, "Tenant", file.tenants)?,
            printers: messages(&pool, "Printer", file.printers)?,
            shares: messages(&pool, "PrinterShare", file.shares)?,
            jobs: messages(&pool, "CatalogPrintJob", file.jobs)?,
            tasks: messages(&pool, "PrintTask", file.tasks)?,
        })
    }

    /// Pushes every entry, and returns how many there were. A repetition changes nothing.
    pub async fn push(&self, client: &mut Client) -> anyhow::Result<usize> {
        let catalog = &mut client.catalog;
        for tenant in &self.tenants {
            let request = UpsertTenantRequest { tenant: Some(tenant.clone()) };
            catalog.upsert_tenant(request).await.with_context(|| tenant.name.clone())?;
        }
        for printer in &self.printers {
            let request = UpsertPrinterRequest { printer: Some(printer.clone()) };
            catalog.upsert_printer(request).await.with_context(|| printer.name.clone())?;
        }
        for share in &self.shares {
            let request = UpsertPrinterShareRequest { printer_share: Some(share.clone()) };
            catalog.upsert_printer_share(request).await.with_context(|| share.name.clone())?;
        }
        for job in &self.jobs {
            let request = UpsertPrintJobRequest { print_job: Some(job.clone()) };
            catalog.upsert_print_job(request).await.with_context(|| job.name.clone())?;
        }
        for task in &self.tasks {
            let request = UpsertPrintTaskRequest { print_task: Some(task.clone()) };
            catalog.upsert_print_task(request).await.with_context(|| task.name.clone())?;
        }
        Ok(self.tenants.len() + self.printers.len() + self.shares.len() + self.jobs.len() + self.tasks.len())
    }
}

fn messages<M: prost::Message + Default>(
    pool: &DescriptorPool,
    name: &str,
    entries: Vec<Value>,
) -> anyhow::Result<Vec<M>> {
    let descriptor = pool.get_message_by_name(&format!("print.upload.v1.{name}")).context("unknown message")?;
    let parse = |entry: Value| {
        let text = entry.to_string();
        let message = DynamicMessage::deserialize(descriptor.clone(), entry).with_context(|| text.clone())?;
        message.transcode_to::<M>().with_context(|| text)
    };
    entries.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{principal::Identity, print_task};

    #[test]
    fn a_catalog_is_in_protobufs_json_form() {
        let catalog = Catalog::from_json(
            r#"{
                "tenants": [{"name": "tenants/t", "subscriptionActive": true, "revision": "3"}],
                "jobs": [{"name": "tenants/t/printers/p/jobs/1", "creator": {"user": "ada"}, "document": "d"}],
                "tasks": [{"name": "tenants/t/printers/p/jobs/1/tasks/2", "state": "STATE_PROCESSING"}]
            }"#,
        )
        .expect("a catalog");
        assert!(catalog.tenants[0].subscription_active);
        assert_eq!(catalog.tenants[0].revision, 3);
        let creator = catalog.jobs[0].creator.clone().and_then(|creator| creator.identity);
        assert_eq!(creator, Some(Identity::User("ada".into())));
        assert_eq!(catalog.tasks[0].state(), print_task::State::Processing);
    }

    #[test]
    fn a_misspelled_key_is_refused() {
        assert!(Catalog::from_json("\u{feff}{}\r\n").is_ok(), "some editors write a byte order mark");
        assert!(Catalog::from_json(r#"{"tenant": []}"#).is_err());
        assert!(Catalog::from_json(r#"{"tenants": [{"nam": "tenants/t"}]}"#).is_err());
    }
}
