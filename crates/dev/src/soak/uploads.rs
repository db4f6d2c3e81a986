//! Scenes in which the owner of a session calls.

use std::time::Duration;

use anyhow::{Context, ensure};
use print_upload_client::{Reason, proto::upload_session::State};

use super::{
    api::{Api, Job, Session},
    scene::{Scene, refused},
};

/// So long after its idle timeout a session has certainly expired.
const MARGIN: Duration = Duration::from_secs(2);

impl<A: Api> Scene<A> {
    pub async fn complete(&self) -> anyhow::Result<()> {
        let job = self.new_job().await?;
        self.upload(&job).await?;
        if self.rng().bool() {
            self.calls.start_job(&job.name).await?;
        }
        let kept = self.world.terms.kept.mul_f64(self.rng().f64());
        if !self.pause(kept).await {
            return Ok(());
        }
        self.check_download(&job).await?;
        self.world.catalog.delete_job(self.tenant, &job.name).await?;
        refused(self.calls.download(&job.document).await, Reason::DocumentNotFound)
    }

    /// Sends the ranges in any order, some repeatedly, until the document is complete.
    pub async fn upload(&self, job: &Job) -> anyhow::Result<()> {
        let session = self.create(job).await?;
        let mut pieces = self.pieces();
        let last = pieces.pop().context("a document without ranges")?;
        for (number, piece) in pieces.iter().enumerate() {
            self.send_part(&session, piece).await?;
            if number.is_multiple_of(3) {
                match self.send(&session, piece).await {
                    Err(failed) if failed.reason() == Some(Reason::RangeAlreadyReceived) => {}
                    repeated => ensure!(!repeated.context("the repeat of a range")?, "complete too early"),
                }
            }
        }
        let seen = self.calls.get(&job.document).await?;
        ensure!(seen.id == session.id && seen.missing.iter().eq([&last]), "only {last:?} is missing, but {seen:?}");
        let again = self.create(job).await.context("creating it again")?;
        ensure!(again.id == session.id, "the same session was expected, not {again:?}");
        for what in ["the last range", "the repeat of the last range"] {
            ensure!(self.send(&session, &last).await.context(what)?, "{what} did not complete {session:?}");
        }
        self.check_download(job).await?;
        refused(self.calls.delete(&job.document).await, Reason::UploadSessionCompleted)?;
        refused(self.create(job).await, Reason::DocumentAlreadyUploaded)
    }

    async fn check_download(&self, job: &Job) -> anyhow::Result<()> {
        let downloaded = self.calls.download(&job.document).await.context("downloading")?;
        ensure!(self.content.is(&downloaded), "the download of {} differs from what was sent", job.document);
        Ok(())
    }

    pub async fn cancel(&self) -> anyhow::Result<()> {
        let job = self.new_job().await?;
        let session = self.create(&job).await?;
        let pieces = self.pieces();
        let half = pieces.len() / 2;
        for piece in &pieces[..half] {
            self.send_part(&session, piece).await?;
        }
        if half > 0 {
            refused(self.calls.start_job(&job.name).await, Reason::DocumentNotUploaded)?;
        }
        let (written, deleted) = if half + 1 < pieces.len() {
            tokio::join!(self.send(&session, &pieces[half]), self.calls.delete(&job.document))
        } else {
            (Ok(false), self.calls.delete(&job.document).await)
        };
        deleted.context("the cancel")?;
        if written.is_err() {
            refused(written, Reason::UploadSessionCanceled).context("a range during the cancel")?;
        }
        self.check_ended(&session, Reason::UploadSessionCanceled).await?;
        self.calls.delete(&job.document).await.context("the second cancel")?;
        self.check_seen_as(&job, State::Canceled).await?;

        let again = self.create(&job).await.context("the second create")?;
        let size = self.content.size();
        ensure!(again.id != session.id && again.missing.iter().eq([&(0..size)]), "a new session, but {again:?}");
        self.check_ended(&session, Reason::UploadSessionCanceled).await?;
        self.calls.delete(&job.document).await.context("the last cancel")?;
        Ok(())
    }

    pub async fn cancel_job(&self) -> anyhow::Result<()> {
        let (job, session) = self.begin().await?;
        for _ in 0..2 {
            self.calls.cancel_job(&job.name).await?;
        }
        self.check_ended(&session, Reason::UploadSessionCanceled).await?;
        refused(self.create(&job).await, Reason::PrintJobCanceled)
    }

    pub async fn delete_job(&self) -> anyhow::Result<()> {
        let (job, session) = self.begin().await?;
        for _ in 0..2 {
            self.world.catalog.delete_job(self.tenant, &job.name).await?;
        }
        self.check_ended(&session, Reason::UploadSessionCanceled).await?;
        refused(self.create(&job).await, Reason::DocumentNotFound)
    }

    pub async fn abandon(&self) -> anyhow::Result<()> {
        let (job, session) = self.begin().await?;
        if !self.pause(self.world.terms.session_idle_timeout + MARGIN).await {
            return Ok(());
        }
        self.check_seen_as(&job, State::Expired).await?;
        self.check_ended(&session, Reason::UploadSessionExpired).await
    }

    /// A range that is left in its middle is not received. It can be sent again.
    pub async fn hang_up(&self) -> anyhow::Result<()> {
        let job = self.new_job().await?;
        let session = self.create(&job).await?;
        let whole = 0..self.content.size();
        let half = self.content.bytes(&(0..whole.end / 2));
        self.calls.hang_up(&session, whole.clone(), half).await?;
        let seen = self.calls.get(&job.document).await?;
        ensure!(seen.id == session.id && seen.missing.iter().eq([&whole]), "nothing was received, but {seen:?}");
        ensure!(self.send(&session, &whole).await?, "the whole document did not complete {session:?}");
        self.check_download(&job).await
    }

    /// A job with a session that has a part of the document.
    async fn begin(&self) -> anyhow::Result<(Job, Session)> {
        let job = self.new_job().await?;
        let session = self.create(&job).await?;
        self.send_part(&session, &(0..self.content.size() / 3)).await?;
        Ok((job, session))
    }

    /// No replica takes bytes for the session.
    async fn check_ended(&self, session: &Session, reason: Reason) -> anyhow::Result<()> {
        for _ in 0..2 {
            refused(self.send(session, &(0..1000)).await, reason).context("a late range")?;
        }
        Ok(())
    }

    /// The latest session has ended. REST reports that as an error.
    async fn check_seen_as(&self, job: &Job, state: State) -> anyhow::Result<()> {
        match self.calls.get(&job.document).await {
            Ok(session) => ensure!(session.state == state, "{state:?} was expected, not {session:?}"),
            refusal => refused(refusal, Reason::of_ended_session(state))?,
        }
        Ok(())
    }
}
