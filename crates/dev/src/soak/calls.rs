//! Callers behind a balancer: each call goes to the next replica, and once more to the other one if there is no answer.

use std::{cell::Cell, ops::Range, rc::Rc, time::Duration};

use bytes::Bytes;
use print_upload::catalog::Catalog;
use print_upload_client::{
    Client, Reason,
    proto::{
        DeletePrintJobRequest, UpsertPrintJobRequest, UpsertPrintTaskRequest, UpsertPrinterRequest,
        UpsertPrinterShareRequest, UpsertTenantRequest,
    },
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    api::{Api, Failed, Job, Session},
    counts::Counts,
    grpc::answer,
};

/// How often a call is made before it has failed for good.
const ATTEMPTS: usize = 4;

/// The wait before the second attempt; twice as long each time.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// How long an attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Which replica is called next, and the counts.
pub struct Turns {
    transport: &'static str,
    next: Cell<usize>,
    counts: Rc<Counts>,
}

impl Turns {
    pub fn new(transport: &'static str, first: usize, counts: &Rc<Counts>) -> Self {
        Self { transport, next: Cell::new(first), counts: Rc::clone(counts) }
    }

    pub fn count(&self, kind: &str) {
        self.counts.call(self.transport, kind);
    }

    /// Makes a call until it succeeds or is refused.
    pub async fn call<T>(&self, kind: &str, make: impl AsyncFn(usize) -> Result<T, Failed>) -> Result<T, Failed> {
        let first = self.next.replace(self.next.get() + 1);
        let mut attempt = 0;
        loop {
            self.count(kind);
            let made = timeout(ATTEMPT_TIMEOUT, make((first + attempt) % 2)).await;
            let made = made.unwrap_or_else(|_| Err(Failed::Broken("no answer".into())));
            attempt += 1;
            match made {
                Err(Failed::Broken(_)) if attempt < ATTEMPTS => {
                    Counts::add(&self.counts.repeats);
                    sleep(FIRST_DELAY * (1 << attempt)).await;
                }
                Err(Failed::Broken(text)) => {
                    return Err(Failed::Broken(format!("{} {kind} has failed for good: {text}", self.transport)));
                }
                made => return made.inspect_err(|failed| self.counts.failed(failed)),
            }
        }
    }
}

/// One caller of both replicas.
pub struct Caller<A> {
    replicas: [A; 2],
    turns: Turns,
}

impl<A: Api> Caller<A> {
    pub fn new(replicas: [A; 2], first: usize, counts: &Rc<Counts>) -> Self {
        Self { replicas, turns: Turns::new(A::NAME, first, counts) }
    }

    /// The same replicas, called by somebody else.
    pub fn with_token(&self, token: Option<&str>) -> anyhow::Result<Self> {
        let [first, second] = &self.replicas;
        let replicas = [first.with_token(token)?, second.with_token(token)?];
        Ok(Self::new(replicas, self.turns.next.get(), &self.turns.counts))
    }

    async fn call<T>(&self, kind: &str, make: impl AsyncFn(&A) -> Result<T, Failed>) -> Result<T, Failed> {
        self.turns.call(kind, async |replica| make(&self.replicas[replica]).await).await
    }

    pub async fn create_job(&self, printer: &str) -> Result<Job, Failed> {
        let request_id = Uuid::new_v4().to_string();
        self.call("create job", async |api| api.create_job(printer, &request_id).await).await
    }

    pub async fn start_job(&self, job: &str) -> Result<(), Failed> {
        self.call("start job", async |api| api.start_job(job).await).await
    }

    pub async fn cancel_job(&self, job: &str) -> Result<(), Failed> {
        self.call("cancel job", async |api| api.cancel_job(job).await).await
    }

    pub async fn create(&self, document: &str, size: usize) -> Result<Session, Failed> {
        self.call("create", async |api| api.create(document, size).await).await
    }

    /// Sends a range. If an attempt had no answer, its bytes may have been received.
    pub async fn send(&self, session: &Session, range: Range<usize>, bytes: Bytes) -> Result<bool, Failed> {
        let attempts = Cell::new(0);
        let sent = self.call("send", async |api| {
            attempts.set(attempts.get() + 1);
            api.send(session, range.clone(), bytes.clone()).await
        });
        match sent.await {
            Err(failed) if attempts.get() > 1 && failed.reason() == Some(Reason::RangeAlreadyReceived) => Ok(false),
            sent => sent,
        }
    }

    pub async fn hang_up(&self, session: &Session, range: Range<usize>, half: Bytes) -> Result<(), Failed> {
        self.call("hang up", async |api| api.hang_up(session, range.clone(), half.clone()).await).await
    }

    pub async fn get(&self, document: &str) -> Result<Session, Failed> {
        self.call("get", async |api| api.get(document).await).await
    }

    pub async fn delete(&self, document: &str) -> Result<(), Failed> {
        self.call("delete", async |api| api.delete(document).await).await
    }

    pub async fn download(&self, document: &str) -> Result<Vec<u8>, Failed> {
        self.call("download", async |api| api.download(document).await).await
    }
}

/// The owner of the catalogs.
pub struct CatalogOwner {
    clients: [Client; 2],
    turns: Turns,
}

impl CatalogOwner {
    pub fn new(clients: [Client; 2], counts: &Rc<Counts>) -> Self {
        Self { clients, turns: Turns::new("gRPC", 0, counts) }
    }

    /// Pushes every entry, each to the next replica.
    pub async fn push(&self, catalog: &Catalog) -> Result<(), Failed> {
        for tenant in &catalog.tenants {
            let request = UpsertTenantRequest { tenant: Some(tenant.clone()) };
            self.call(async |mut client| answer(client.catalog.upsert_tenant(request.clone()).await).map(drop)).await?;
        }
        for printer in &catalog.printers {
            let request = UpsertPrinterRequest { printer: Some(printer.clone()) };
            self.call(async |mut client| answer(client.catalog.upsert_printer(request.clone()).await).map(drop))
                .await?;
        }
        for share in &catalog.shares {
            let request = UpsertPrinterShareRequest { printer_share: Some(share.clone()) };
            self.call(async |mut client| answer(client.catalog.upsert_printer_share(request.clone()).await).map(drop))
                .await?;
        }
        for job in &catalog.jobs {
            let request = UpsertPrintJobRequest { print_job: Some(job.clone()) };
            self.call(async |mut client| answer(client.catalog.upsert_print_job(request.clone()).await).map(drop))
                .await?;
        }
        for task in &catalog.tasks {
            let request = UpsertPrintTaskRequest { print_task: Some(task.clone()) };
            self.call(async |mut client| answer(client.catalog.upsert_print_task(request.clone()).await).map(drop))
                .await?;
        }
        Ok(())
    }

    /// Deletes a job. Its name has no tenant.
    pub async fn delete_job(&self, tenant: Uuid, job: &str) -> Result<(), Failed> {
        let request = DeletePrintJobRequest { name: format!("tenants/{tenant}/{job}"), revision: 1 };
        let delete = async |replica: usize| {
            let mut catalog = self.clients[replica].catalog.clone();
            answer(catalog.delete_print_job(request.clone()).await).map(drop)
        };
        self.turns.call("delete job", delete).await
    }

    async fn call(&self, make: impl AsyncFn(Client) -> Result<(), Failed>) -> Result<(), Failed> {
        self.turns.call("push catalog", async |replica| make(self.clients[replica].clone()).await).await
    }
}
