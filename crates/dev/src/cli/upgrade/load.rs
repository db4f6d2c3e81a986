//! The load: callers that cancel and complete uploads, and check every answer against what they know.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use print_upload_client::{self as client, Reason};
use tokio::{
    task::{JoinError, JoinSet},
    time::sleep,
};

use super::{calls::Calls, counts::Counts, environment::Environment, library::Library, replica::Replica};
use crate::cli::story::{Api, CANCELED, Caller, Grpc, Refusal, Rest, SIZE, Session, bytes, quarter};

/// How many complete documents are kept to the end. Further ones are deleted with their jobs.
const KEPT: usize = 40;

/// How many workers each kind of caller has.
const WORKERS: usize = 3;

pub(super) struct Load {
    grpc: Calls<Grpc>,
    rest: Calls<Rest>,
    /// Both replicas behind the client library's balancer.
    balanced: Calls<Grpc>,
    library: Library,
    owner: Rc<Calls<Grpc>>,
    catalog: Calls<Grpc>,
    /// The names of documents that must stay.
    kept: RefCell<Vec<String>>,
    documents: Cell<usize>,
    is_stopping: Cell<bool>,
    counts: Rc<Counts>,
}

/// Why a worker has ended, although nobody stopped it.
pub(super) fn error_of(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("a worker has stopped"),
        Ok(Err(error)) => error,
        Err(error) => error.into(),
    }
}

impl Load {
    pub(super) async fn prepare(environment: &Environment, replicas: &[Replica; 2]) -> anyhow::Result<Self> {
        let counts = Rc::<Counts>::default();
        let urls = [0, 1].map(|index| format!("http://{}", replicas[index].grpc));
        let grpc = |url: &String| anyhow::Ok(Grpc { transport: client::connect(&[url], None)?, is_narrated: false });
        let each = || anyhow::Ok([grpc(&urls[0])?, grpc(&urls[1])?]);
        let transport = client::connect(&urls, None)?;
        let both = || Grpc { transport: transport.clone(), is_narrated: false };
        let rest = |replica: &Replica| Rest::new(&format!("http://{}", replica.rest));
        let owner = || environment.caller("the owner", "OWNER_TOKEN");
        let catalog: Caller = environment.caller("the catalog's owner", "CATALOG_TOKEN")?;
        environment.push_catalog(catalog.client(&grpc(&urls[0])?.transport)?).await?;
        let rest = [rest(&replicas[0])?, rest(&replicas[1])?];
        let jobs = Rc::new(Calls::new("gRPC", each()?, owner()?, &counts));
        let client = owner()?.client(&transport)?;
        Ok(Self {
            grpc: Calls::new("gRPC", each()?, owner()?, &counts),
            rest: Calls::new("REST", rest, owner()?, &counts),
            balanced: Calls::new("balanced gRPC", [both(), both()], owner()?, &counts),
            library: Library { client, jobs: Rc::clone(&jobs), counts: Rc::clone(&counts) },
            owner: jobs,
            catalog: Calls::new("gRPC", each()?, catalog, &counts),
            kept: RefCell::default(),
            documents: Cell::default(),
            is_stopping: Cell::default(),
            counts,
        })
    }

    /// Starts the workers. Each ends after the load was stopped, when its document has come to its end.
    pub(super) fn start(self: &Rc<Self>, workers: &mut JoinSet<anyhow::Result<()>>) {
        for _ in 0..WORKERS {
            self.start_worker(workers, async |load| load.play(&load.grpc).await);
            self.start_worker(workers, async |load| load.play(&load.rest).await);
        }
        self.start_worker(workers, async |load| load.play(&load.balanced).await);
        self.start_worker(workers, async |load| {
            let document = load.library.cancel_and_upload().await?;
            load.keep_or_free(&load.grpc, document).await
        });
    }

    fn start_worker<F>(self: &Rc<Self>, workers: &mut JoinSet<anyhow::Result<()>>, play: F)
    where
        F: AsyncFn(&Self) -> anyhow::Result<()> + 'static,
    {
        let load = Rc::clone(self);
        workers.spawn_local(async move {
            while !load.is_stopping.get() {
                play(&load).await?;
            }
            Ok(())
        });
    }

    pub(super) fn stop(&self) {
        self.is_stopping.set(true);
    }

    /// One document from its job to its end: most are canceled, some completed.
    async fn play<A: Api>(&self, api: &Calls<A>) -> anyhow::Result<()> {
        let number = self.documents.replace(self.documents.get() + 1);
        let document = self.owner.new_document().await?;
        let played = if number.is_multiple_of(6) {
            self.complete(api, &document).await
        } else {
            self.cancel(api, &document, number).await
        };
        played.with_context(|| format!("{} {document}", A::NAME))
    }

    async fn cancel<A: Api>(&self, api: &Calls<A>, document: &str, number: usize) -> anyhow::Result<()> {
        let session = api.create(document).await?;
        let (first, second) = (0..10_000, 20_000..50_000);
        for range in [&first, &second] {
            ensure!(!api.send(&session, range.clone()).await?, "{session:?} is complete too early");
        }
        api.repeat(&session, first.clone()).await.context("the repeat of a range")?;
        let seen = api.get(document).await?;
        ensure!(seen.id == session.id && seen.missing == [10_000..20_000, 50_000..SIZE], "acknowledged, but {seen:?}");

        let delete = async {
            sleep(Duration::from_millis(number as u64 % 20)).await;
            api.delete(document).await
        };
        let (written, deleted) = tokio::join!(api.send(&session, 100_000..400_000), delete);
        deleted.context("the delete")?;
        if written.is_err() {
            refused(written, CANCELED.reason)?;
        }
        self.assert_canceled(api, &session).await?;
        api.delete(document).await.context("the second delete")?;
        match api.get(document).await {
            Ok(ended) => ensure!(ended.id == session.id && ended.is_canceled, "canceled, but {ended:?}"),
            refusal => refused(refusal, CANCELED.reason)?,
        }

        let again = api.create(document).await.context("the second create")?;
        ensure!(again.id != session.id && again.missing.iter().eq([&(0..SIZE)]), "a new session, but {again:?}");
        ensure!(!api.send(&again, first).await?, "{again:?} is complete too early");
        self.assert_canceled(api, &session).await?;
        self.end(api, document, &again, number).await
    }

    /// Ends a session by a delete, or with its job.
    async fn end<A: Api>(
        &self,
        api: &Calls<A>,
        document: &str,
        session: &Session,
        number: usize,
    ) -> anyhow::Result<()> {
        match number % 3 {
            0 => api.delete(document).await.context("the last delete")?,
            1 => {
                for _ in 0..2 {
                    self.owner.cancel_job(document).await?;
                }
                refused(api.create(document).await, Reason::PrintJobCanceled)?;
            }
            _ => {
                for _ in 0..2 {
                    self.catalog.delete_job(document).await?;
                }
                refused(api.create(document).await, Reason::DocumentNotFound)?;
            }
        }
        self.assert_canceled(api, session).await
    }

    /// No replica takes bytes for the session.
    async fn assert_canceled<A: Api>(&self, api: &Calls<A>, session: &Session) -> anyhow::Result<()> {
        for range in [60_000..70_000, 0..10_000] {
            refused(api.send(session, range).await, CANCELED.reason).context("a late range")?;
        }
        Ok(())
    }

    async fn complete<A: Api>(&self, api: &Calls<A>, document: &str) -> anyhow::Result<()> {
        let session = api.create(document).await?;
        let (one, three) = tokio::join!(api.send(&session, quarter(1)), api.send(&session, quarter(3)));
        ensure!(!one? && !three?, "{session:?} is complete too early");
        ensure!(!api.send(&session, quarter(0)).await?, "{session:?} is complete too early");
        let same = api.create(document).await.context("creating it again")?;
        ensure!(same.id == session.id && same.missing == [quarter(2)], "acknowledged, but {same:?}");
        for what in ["the last range", "the repeat of the last range"] {
            ensure!(api.send(&session, quarter(2)).await.context(what)?, "{what} did not complete {session:?}");
        }
        self.assert_stored(api, document).await?;
        refused(api.delete(document).await, Reason::UploadSessionCompleted)?;
        refused(api.create(document).await, Reason::DocumentAlreadyUploaded)?;
        self.keep_or_free(api, document.to_owned()).await
    }

    async fn assert_stored<A: Api>(&self, api: &Calls<A>, document: &str) -> anyhow::Result<()> {
        let downloaded = api.download(document).await.with_context(|| format!("downloading {document}"))?;
        ensure!(downloaded == bytes(0..SIZE), "{document}: the download differs from what was sent");
        Ok(())
    }

    /// Keeps a complete document, and looks at an earlier one; or frees it by deleting its job.
    async fn keep_or_free<A: Api>(&self, api: &Calls<A>, document: String) -> anyhow::Result<()> {
        let (number, kept) = (self.documents.get(), self.kept.borrow().len());
        let earlier = self.kept.borrow().get(number % kept.max(1)).cloned();
        if let Some(earlier) = earlier {
            self.assert_stored(api, &earlier).await?;
        }
        if kept < KEPT && number.is_multiple_of(2) {
            self.kept.borrow_mut().push(document);
            return Ok(());
        }
        self.catalog.delete_job(&document).await?;
        refused(api.download(&document).await, Reason::DocumentNotFound)
    }

    /// Downloads every document that was kept, twice: each replica has it.
    pub(super) async fn check_kept(&self) -> anyhow::Result<()> {
        let kept = self.kept.take();
        for document in &kept {
            for _ in 0..2 {
                self.assert_stored(&self.grpc, document).await?;
            }
        }
        println!("          {} complete documents were kept, and are equal on both replicas", kept.len());
        Ok(())
    }

    pub(super) fn print_counts(&self) {
        println!("{} documents", self.documents.get());
        self.counts.print();
    }
}

/// Fails unless the call was refused with this reason.
fn refused<T>(returned: anyhow::Result<T>, reason: Reason) -> anyhow::Result<()> {
    let reason = reason.wire_name();
    let error = returned.err().with_context(|| format!("{reason} was expected, but the call succeeded"))?;
    let refusal: Refusal = error.downcast().with_context(|| format!("{reason} was expected"))?;
    ensure!(refusal.reason == reason, "{reason} was expected, not {refusal}");
    Ok(())
}
