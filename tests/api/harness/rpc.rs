//! Every RPC behind one function, for tests that call all of them.

use print_upload::proto::{self, principal::Identity, print_task, upload_range_request::Content};
use tonic::Status;
use uuid::Uuid;

use super::{Actor, ROBOT, TENANT, crc32c, sample_bytes};

/// The size of the documents that [`Actor::call`] uploads.
pub const SIZE: usize = 1000;
/// The range that it sends, each time the same.
const RANGE: std::ops::Range<usize> = 0..10;

/// An RPC of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rpc {
    CreateUploadSession,
    GetUploadSession,
    RenewUploadUrl,
    UploadRange,
    DeleteUploadSession,
    GetPrintDocument,
    DownloadPrintDocument,
    ListPrintDocuments,
    CreatePrintJob,
    GetPrintJob,
    StartPrintJob,
    CancelPrintJob,
    UpsertTenant,
    UpsertPrinter,
    UpsertPrinterShare,
    UpsertPrintJob,
    UpsertPrintTask,
    DeletePrintJob,
}

impl Rpc {
    pub const OF_SESSIONS: [Self; 4] =
        [Self::GetUploadSession, Self::RenewUploadUrl, Self::UploadRange, Self::DeleteUploadSession];
    /// The RPCs that an upload URL authorizes.
    pub const BY_UPLOAD_URL: [Self; 3] = [Self::GetUploadSession, Self::UploadRange, Self::DeleteUploadSession];
    pub const OF_DOCUMENTS: [Self; 3] =
        [Self::CreateUploadSession, Self::GetPrintDocument, Self::DownloadPrintDocument];
    /// The RPCs that name a job.
    pub const OF_JOBS: [Self; 4] =
        [Self::ListPrintDocuments, Self::GetPrintJob, Self::StartPrintJob, Self::CancelPrintJob];
    /// The RPCs that name a printer or share.
    pub const OF_PRINTERS: [Self; 1] = [Self::CreatePrintJob];
    pub const OF_CATALOG: [Self; 6] = [
        Self::UpsertTenant,
        Self::UpsertPrinter,
        Self::UpsertPrinterShare,
        Self::UpsertPrintJob,
        Self::UpsertPrintTask,
        Self::DeletePrintJob,
    ];

    pub fn all() -> impl Iterator<Item = Self> {
        Self::of_users().chain(Self::OF_CATALOG)
    }

    /// Every RPC but the catalog's.
    pub fn of_users() -> impl Iterator<Item = Self> {
        [Self::OF_DOCUMENTS.as_slice(), &Self::OF_SESSIONS, &Self::OF_JOBS, &Self::OF_PRINTERS].concat().into_iter()
    }

    /// The HTTP path.
    pub fn path(self) -> String {
        let service = match self {
            Self::GetPrintDocument | Self::DownloadPrintDocument | Self::ListPrintDocuments => "PrintDocuments",
            Self::CreatePrintJob | Self::GetPrintJob | Self::StartPrintJob | Self::CancelPrintJob => "PrintJobs",
            rpc if Self::OF_CATALOG.contains(&rpc) => "PrintCatalog",
            _ => "UploadSessions",
        };
        format!("/print.upload.v1.{service}/{self:?}")
    }

    /// The name for a call: of the document, its job, its printer, its session, or an entry of the tenant's catalog.
    pub fn resource(self, document: &str, session: &str) -> String {
        match self {
            rpc if Self::OF_SESSIONS.contains(&rpc) => session.into(),
            rpc if Self::OF_DOCUMENTS.contains(&rpc) => document.into(),
            rpc if Self::OF_JOBS.contains(&rpc) => parent(document, "/documents/"),
            rpc if Self::OF_PRINTERS.contains(&rpc) => parent(document, "/jobs/"),
            rpc => rpc.catalog_entry(TENANT),
        }
    }

    /// An entry of a tenant's catalog that the RPC can create, update or delete any number of times.
    pub fn catalog_entry(self, tenant: Uuid) -> String {
        let (job, deleted) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let entry = match self {
            Self::UpsertPrinter => "/printers/p".into(),
            Self::UpsertPrinterShare => "/shares/s".into(),
            Self::UpsertPrintJob => format!("/printers/p/jobs/{job}"),
            Self::UpsertPrintTask => format!("/printers/p/jobs/{job}/tasks/t"),
            Self::DeletePrintJob => format!("/printers/p/jobs/{deleted}"),
            _ => String::new(),
        };
        format!("tenants/{tenant}{entry}")
    }
}

/// The part of a document's name before a collection.
fn parent(document: &str, collection: &str) -> String {
    document.split(collection).next().unwrap_or_default().to_owned()
}

impl Actor {
    /// Calls an RPC on a resource with a valid request, and reads its answer to the end. The call can be repeated.
    pub async fn call(&mut self, rpc: Rpc, name: &str) -> Result<(), Status> {
        match rpc {
            Rpc::CreateUploadSession => self.create(name, SIZE).await.map(drop),
            Rpc::GetUploadSession => self.get(name).await.map(drop),
            Rpc::RenewUploadUrl => self.renew(name).await.map(drop),
            Rpc::UploadRange => self.send_first_bytes(name).await,
            Rpc::DeleteUploadSession => self.delete(name).await,
            Rpc::GetPrintDocument => self.document(name).await.map(drop),
            Rpc::DownloadPrintDocument => self.download(name, 0).await.map(drop),
            Rpc::ListPrintDocuments => self.documents_of(name).await.map(drop),
            Rpc::CreatePrintJob => self.create_job(name).await.map(drop),
            Rpc::GetPrintJob => self.job(name).await.map(drop),
            Rpc::StartPrintJob => self.start_job(name).await.map(drop),
            Rpc::CancelPrintJob => self.cancel_job(name).await,
            _ => self.maintain(rpc, name.into(), 1).await,
        }
    }

    async fn send_first_bytes(&mut self, session: &str) -> Result<(), Status> {
        let bytes = sample_bytes(SIZE).slice(RANGE);
        let header = proto::RangeHeader {
            name: session.into(),
            start: RANGE.start as i64,
            end: RANGE.end as i64,
            total: SIZE as i64,
            crc32c: Some(crc32c(&bytes)),
            ..Default::default()
        };
        let contents = [Content::Header(header), Content::Chunk(bytes)];
        let messages = contents.map(|content| proto::UploadRangeRequest { content: Some(content) });
        self.send_messages(messages.into()).await.map(drop)
    }

    /// Calls an RPC of the catalog. A job's document has the job's id, and ada is its creator.
    pub async fn maintain(&mut self, rpc: Rpc, name: String, revision: i64) -> Result<(), Status> {
        let catalog = &mut self.client.catalog;
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
                let document = name.rsplit('/').next().unwrap_or_default().into();
                let creator = Some(proto::Principal { identity: Some(Identity::User("ada".into())) });
                let print_job = Some(proto::CatalogPrintJob { name, creator, document, revision });
                catalog.upsert_print_job(proto::UpsertPrintJobRequest { print_job }).await.map(drop)
            }
            Rpc::UpsertPrintTask => {
                let state = print_task::State::Processing.into();
                let print_task = Some(proto::PrintTask { name, trigger_application: ROBOT.into(), state, revision });
                catalog.upsert_print_task(proto::UpsertPrintTaskRequest { print_task }).await.map(drop)
            }
            Rpc::DeletePrintJob => {
                catalog.delete_print_job(proto::DeletePrintJobRequest { name, revision }).await.map(drop)
            }
            _ => unreachable!("{rpc:?} is none of the catalog's"),
        }
    }
}
