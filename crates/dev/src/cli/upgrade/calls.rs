//! Calls that may be repeated, as a caller behind a balancer makes them: each goes to the next replica, and when it has
//! failed, to the other one.

use std::{cell::Cell, ops::Range, rc::Rc, time::Duration};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use print_upload_client::{
    Client, Reason,
    proto::{CancelPrintJobRequest, DeletePrintJobRequest},
};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::counts::Counts;
use crate::{
    cli::story::{Api, Caller, Grpc, Refusal, Session, to_error},
    sample,
};

/// How often a call is made before it has failed for good.
const ATTEMPTS: u32 = 4;

/// The wait before the second attempt; twice as long each time.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// How long an attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// One caller of both replicas.
pub(super) struct Calls<A> {
    /// How the counts name this caller.
    name: &'static str,
    replicas: [A; 2],
    caller: Caller,
    next: Cell<usize>,
    counts: Rc<Counts>,
}

impl<A> Calls<A> {
    pub(super) fn new(name: &'static str, replicas: [A; 2], caller: Caller, counts: &Rc<Counts>) -> Self {
        Self { name, replicas, caller, next: Cell::new(0), counts: Rc::clone(counts) }
    }

    /// Makes a call until it succeeds or is refused.
    async fn call<T>(&self, kind: &str, make: impl AsyncFn(&A, &Caller) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let first = self.next.replace(self.next.get() + 1);
        let mut attempt = 1;
        loop {
            let replica = &self.replicas[(first + attempt as usize) % self.replicas.len()];
            let made = timeout(ATTEMPT_TIMEOUT, make(replica, &self.caller)).await;
            match made.unwrap_or_else(|_| Err(anyhow!("no answer"))) {
                Err(error) if is_transient(&error) => {
                    if attempt == ATTEMPTS {
                        return Err(error.context(format!("{} {kind}: failed for good", self.name)));
                    }
                    self.counts.failed(&format!("{} {kind}: {}", self.name, error.root_cause()));
                    sleep(FIRST_DELAY * 2_u32.pow(attempt - 1)).await;
                    attempt += 1;
                }
                ended => {
                    self.counts.ended(format!("{} {kind}", self.name), attempt);
                    return ended;
                }
            }
        }
    }
}

impl<A: Api> Calls<A> {
    pub(super) async fn create(&self, document: &str) -> anyhow::Result<Session> {
        self.call("create", async |api, caller| api.create(caller, document).await).await
    }

    /// Sends a range that was not sent before. Returns whether the document is complete. If the first attempt has
    /// failed, its bytes may have been received.
    pub(super) async fn send(&self, session: &Session, range: Range<usize>) -> anyhow::Result<bool> {
        let attempts = Cell::new(0);
        let sent = self.call("send", async |api, caller| {
            attempts.set(attempts.get() + 1);
            api.send(caller, session, range.clone()).await
        });
        match sent.await {
            Err(error) if attempts.get() > 1 && is_received_already(&error) => Ok(false),
            sent => sent,
        }
    }

    /// Sends an acknowledged range again. Without a digest, the service answers that it has been received.
    pub(super) async fn repeat(&self, session: &Session, range: Range<usize>) -> anyhow::Result<()> {
        match self.call("repeat", async |api, caller| api.send(caller, session, range.clone()).await).await {
            Err(error) if is_received_already(&error) => Ok(()),
            sent => sent.map(drop),
        }
    }

    pub(super) async fn get(&self, document: &str) -> anyhow::Result<Session> {
        self.call("get", async |api, caller| api.get(caller, document).await).await
    }

    pub(super) async fn delete(&self, document: &str) -> anyhow::Result<()> {
        self.call("delete", async |api, caller| api.delete(caller, document).await).await
    }

    pub(super) async fn download(&self, document: &str) -> anyhow::Result<Bytes> {
        self.call("download", async |api, caller| api.download(caller, document).await).await
    }
}

impl Calls<Grpc> {
    /// Creates a job, and returns its document's name. A retry may create another job, which does no harm.
    pub(super) async fn new_document(&self) -> anyhow::Result<String> {
        self.call("create job", async |api, caller| caller.new_document(&api.transport).await).await
    }

    pub(super) async fn cancel_job(&self, document: &str) -> anyhow::Result<()> {
        let request = CancelPrintJobRequest { name: job_of(document)?.into() };
        self.with_client("cancel job", async |mut client| client.jobs.cancel_print_job(request.clone()).await.map(drop))
            .await
    }

    /// Deletes a job: only the catalog's owner can.
    pub(super) async fn delete_job(&self, document: &str) -> anyhow::Result<()> {
        let name = format!("tenants/{}/{}", sample::TENANT, job_of(document)?);
        let request = DeletePrintJobRequest { name, revision: 1 };
        self.with_client("delete job", async |mut client| {
            client.catalog.delete_print_job(request.clone()).await.map(drop)
        })
        .await
    }

    async fn with_client(&self, kind: &str, make: impl AsyncFn(Client) -> Result<(), Status>) -> anyhow::Result<()> {
        let make = &make;
        self.call(kind, async |api, caller| make(caller.client(&api.transport)?).await.map_err(to_error)).await
    }
}

/// Whether a caller retries: the connection broke, the replica cannot be reached or has no capacity, or a range raced
/// its own earlier attempt.
fn is_transient(error: &anyhow::Error) -> bool {
    let Some(refusal) = error.downcast_ref::<Refusal>() else { return true };
    matches!(refusal.code.as_str(), "429" | "502" | "503" | "504" | "RESOURCE_EXHAUSTED" | "DEADLINE_EXCEEDED")
        || refusal.reason == Reason::RangeRaced.wire_name()
}

fn is_received_already(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.reason == Reason::RangeAlreadyReceived.wire_name())
}

fn job_of(document: &str) -> anyhow::Result<&str> {
    Ok(document.split_once("/documents/").context("a document's name")?.0)
}
