//! A scene: what one user does with one or a few jobs. Every answer is checked.

use std::{
    cell::{Cell, RefCell, RefMut},
    ops::Range,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, ensure};
use fastrand::Rng;
use print_upload_client::Reason;
use tokio::{sync::OwnedSemaphorePermit, time::sleep};
use uuid::Uuid;

use super::{
    api::{Api, Failed, Job, Session},
    calls::Caller,
    content::Content,
    world::{World, any_printer},
};

/// What may happen in a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An upload in ranges in any order, and its download.
    Complete,
    /// A cancel half way.
    Cancel,
    /// The job is canceled during the upload.
    CancelJob,
    /// The job is deleted during the upload.
    DeleteJob,
    /// Nobody continues the upload: it expires.
    Abandon,
    /// A caller hangs up in the middle of a range, and sends it again.
    HangUp,
    /// Others call, and callers without a valid token.
    Refuse,
    /// A caller reaches the limits.
    Flood,
    /// The catalog is pushed, with a job that is uploaded then.
    Push,
    /// Health checks, and connections on which nothing sensible is sent.
    Strangers,
}

/// In this order they are played.
pub const ORDER: [Kind; 13] = [
    Kind::Complete,
    Kind::Abandon,
    Kind::Cancel,
    Kind::Push,
    Kind::HangUp,
    Kind::Complete,
    Kind::Refuse,
    Kind::CancelJob,
    Kind::Cancel,
    Kind::Flood,
    Kind::DeleteJob,
    Kind::Strangers,
    Kind::Cancel,
];

/// A scene that is being played.
pub struct Scene<A> {
    pub world: Rc<World>,
    pub calls: Caller<A>,
    pub tenant: Uuid,
    pub user: String,
    pub printer: String,
    pub content: Content,
    rng: RefCell<Rng>,
    /// Limits the number of scenes that are active at once.
    slot: Cell<Option<OwnedSemaphorePermit>>,
    /// Jobs that are to be deleted.
    jobs: RefCell<Vec<String>>,
}

impl<A: Api> Scene<A> {
    pub fn new(
        world: &Rc<World>,
        calls: Caller<A>,
        (tenant, user): (Uuid, &str),
        mut rng: Rng,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let content = world.contents.of_new_document(&mut rng);
        let printer = any_printer(&mut rng);
        Self {
            world: Rc::clone(world),
            calls,
            tenant,
            user: user.into(),
            printer,
            content,
            rng: RefCell::new(rng),
            slot: Cell::new(Some(slot)),
            jobs: RefCell::default(),
        }
    }

    /// Plays the scene to its end, or until a limit is reached. Then its jobs are deleted.
    pub async fn play(self, kind: Kind) -> anyhow::Result<()> {
        let played = match kind {
            Kind::Complete => self.complete().await,
            Kind::Cancel => self.cancel().await,
            Kind::CancelJob => self.cancel_job().await,
            Kind::DeleteJob => self.delete_job().await,
            Kind::Abandon => self.abandon().await,
            Kind::HangUp => self.hang_up().await,
            Kind::Refuse => self.refuse().await,
            Kind::Flood => self.flood().await,
            Kind::Push => self.push().await,
            Kind::Strangers => self.strangers().await,
        };
        match played {
            Err(error) if error.downcast_ref::<Failed>().is_some_and(Failed::is_limit) => {}
            played => played.with_context(|| format!("{kind:?} over {}", A::NAME))?,
        }
        // Jobs are not deleted by their age. Without this, each scene would leave rows for ever.
        for job in self.jobs.take() {
            self.world.catalog.delete_job(self.tenant, &job).await.context("deleting the job of a scene")?;
        }
        Ok(())
    }

    pub fn rng(&self) -> RefMut<'_, Rng> {
        self.rng.borrow_mut()
    }

    pub async fn new_job(&self) -> Result<Job, Failed> {
        let job = self.calls.create_job(&self.printer).await?;
        self.is_to_be_deleted(&job.name);
        Ok(job)
    }

    pub fn is_to_be_deleted(&self, job: &str) {
        self.jobs.borrow_mut().push(job.to_owned());
    }

    pub async fn create(&self, job: &Job) -> Result<Session, Failed> {
        self.calls.create(&job.document, self.content.size()).await
    }

    /// Sends a range of the content.
    pub async fn send(&self, session: &Session, range: &Range<usize>) -> Result<bool, Failed> {
        self.calls.send(session, range.clone(), self.content.bytes(range)).await
    }

    /// Sends a range that does not complete the document.
    pub async fn send_part(&self, session: &Session, range: &Range<usize>) -> anyhow::Result<()> {
        ensure!(!self.send(session, range).await?, "{session:?} is complete too early");
        Ok(())
    }

    pub fn pieces(&self) -> Vec<Range<usize>> {
        self.content.pieces(&mut self.rng())
    }

    /// Waits, and no longer counts as an active scene. Returns whether the run goes on.
    pub async fn pause(&self, duration: Duration) -> bool {
        drop(self.slot.take());
        self.world.stopping.run_until_cancelled(sleep(duration)).await.is_some()
    }
}

/// Fails unless the call was refused with this reason. Limits may refuse any call.
pub fn refused<T: std::fmt::Debug>(returned: Result<T, Failed>, reason: Reason) -> anyhow::Result<()> {
    match returned {
        Err(failed) if failed.reason() == Some(reason) => Ok(()),
        Err(failed) if failed.is_limit() => Err(failed.into()),
        returned => anyhow::bail!("{} was expected, not {returned:?}", reason.wire_name()),
    }
}
