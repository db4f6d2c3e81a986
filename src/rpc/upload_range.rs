//! `UploadRange`: header → register → admission → body → durable object → commit.
//!
//! No transaction is open while bytes arrive. Whatever happens on the way, the database decides in the end: either it has
//! taken exactly the pieces that were planned, or nothing.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use tokio::time::{Instant, sleep_until};
use tonic::Streaming;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    finished,
    range_body::{RangeBody, Received},
    range_header::Header,
    reply,
    slices::slices,
};
use crate::{
    app_state::AppState,
    blobs::{self, Folder, Fragment},
    error::Error,
    guard::RangePermit,
    proto::{UploadRangeRequest, UploadRangeResponse},
    range::ByteRange,
    session::{Admission, Ended, OwnedSession, RangeView, State, admit},
    store::NewRange,
    writers::Writer,
};

/// How long the database may take to tell of an active session for that to be passed on as it is; else it is asked once more.
const PROMPT: Duration = Duration::from_millis(50);

/// A range on its way. Shared with the task that commits it, which may outlive the call.
struct Transfer {
    app: Arc<AppState>,
    owned: OwnedSession,
    request_id: String,
    header: Header,
    /// When the range is given up unless it is committed.
    deadline: Instant,
    writer: Writer,
    _place: RangePermit,
}

/// Takes one range of the session.
pub async fn upload_range(
    app: Arc<AppState>,
    owned: OwnedSession,
    place: RangePermit,
    request_id: String,
    body: Streaming<UploadRangeRequest>,
) -> Result<UploadRangeResponse, Error> {
    let mut body = RangeBody(body);
    let header = Header::parse(&body.header().await?, app.limits.max_range_bytes)?;
    let timeout = app.limits.range_timeout;
    let deadline = Instant::now() + timeout;

    // Registered first, the state read second: a cancel either is seen by that read, or finds this writer.
    let writer = app.writers.register(&owned).ok_or(Error::TooManyWriters(app.writers.limit()))?;
    let transfer = Arc::new(Transfer { app, owned, request_id, header, deadline, writer, _place: place });
    let answer = tokio::select! {
        biased;
        end = transfer.writer.wait_for_end() => return Err(end.into()),
        () = sleep_until(deadline) => return Err(Error::RangeTimeout(timeout)),
        answer = transfer.run(body) => answer?,
    };
    // Committed before the cancel, but not answered before it: the bytes are gone, and nobody is told otherwise.
    match transfer.writer.end() {
        Some(end) => Err(end.into()),
        None => Ok(answer),
    }
}

impl Transfer {
    async fn run(self: &Arc<Self>, body: RangeBody) -> Result<UploadRangeResponse, Error> {
        let view = self.view().await?;
        let (size_bytes, fragment_count) = (view.size_bytes, view.fragment_count);
        let admission = admit(view, self.header.range, self.header.digests.any());
        if let Admission::Ended(state) = admission {
            return Err(ended(state));
        }
        if self.header.total != size_bytes {
            let problem = format!("must be the document's size, {size_bytes}");
            return Err(Error::InvalidField { field: "header.total", problem });
        }
        match admission {
            Admission::Store(new) if self.is_too_many(fragment_count, &new) => Err(self.too_many_fragments()),
            Admission::Store(new) => self.store(body, new).await,
            Admission::AlreadyReceived => Err(Error::RangeAlreadyReceived),
            again => match body.receive(self.header.range, &[], &self.header.digests, None).await {
                // Not one byte: a client that has lost them, and asks whether the document was completed by that range.
                Err(Error::BodyTooShort { received: 0, .. })
                    if matches!(again, Admission::Replay(_)) && !self.header.digests.any() =>
                {
                    self.answer().await
                }
                received => self.compare(again, &received?).await,
            },
        }
    }

    async fn store(self: &Arc<Self>, body: RangeBody, new: Vec<ByteRange>) -> Result<UploadRangeResponse, Error> {
        let object = Uuid::now_v7();
        let mut fragment = self.app.blobs.begin(self.folder(), object).await?;
        let received = match body.receive(self.header.range, &new, &self.header.digests, Some(&mut fragment)).await {
            Ok(received) => received,
            Err(error) => {
                fragment.discard().await;
                return Err(error);
            }
        };
        // In a task of its own: a caller that hangs up now leaves neither half a commit nor an object that nobody drops.
        let transfer = Arc::clone(self);
        let commit = async move { transfer.commit(object, fragment, new, received).await };
        finished(tokio::spawn(commit.in_current_span()).await)
    }

    async fn commit(
        &self,
        object: Uuid,
        mut fragment: Fragment,
        new: Vec<ByteRange>,
        received: Received,
    ) -> Result<UploadRangeResponse, Error> {
        // May have to wait for others. Once this range has ended, nothing of it is to be put down any more.
        let prepared = tokio::select! {
            biased;
            end = self.writer.wait_for_end() => Err(end.into()),
            () = sleep_until(self.deadline) => Err(self.timed_out()),
            prepared = fragment.prepare() => prepared.map_err(Error::from),
        };
        if let Err(error) = prepared {
            fragment.discard().await;
            return Err(error);
        }
        if let Err(error) = fragment.publish().await {
            // Its own task: whoever failed to put it may fail to drop it, and the caller should not wait for that.
            tokio::spawn(fragment.discard());
            return Err(error.into());
        }
        if Instant::now() >= self.deadline {
            fragment.discard().await;
            return Err(self.timed_out());
        }
        let pieces = received.checksums.of_new_pieces();
        let range = NewRange { range: self.header.range, crc32c: received.checksums.of_range(), object, pieces };
        let asked = Instant::now();
        // When this fails, the database may have taken the range all the same: the object stays, and reclaiming decides.
        let committed = self.app.store.commit_range(&self.owned, &range, &self.request_id).await?;
        let Some(committed) = committed else {
            fragment.discard().await;
            return self.explain(&new, &received).await;
        };
        if committed.state == State::Completed {
            return self.answer().await;
        }
        self.expect_no_end_since(asked).await?;
        Ok(UploadRangeResponse {
            state: reply::state(committed.state).into(),
            expire_time: Some(reply::timestamp(committed.expire_time)),
            next_expected_ranges: reply::byte_ranges(&committed.missing),
            document: None,
        })
    }

    /// What was slow to be told may be older than a cancel that another replica has answered meanwhile, and of which nobody has
    /// heard here.
    async fn expect_no_end_since(&self, asked: Instant) -> Result<(), Error> {
        if asked.elapsed() <= PROMPT {
            return Ok(());
        }
        match self.view().await?.state {
            State::Active | State::Completed => Ok(()),
            over => Err(ended(over)),
        }
    }

    /// The commit changed nothing: one more read says why.
    async fn explain(&self, planned: &[ByteRange], received: &Received) -> Result<UploadRangeResponse, Error> {
        let view = self.view().await?;
        let is_too_many = self.is_too_many(view.fragment_count, planned);
        match admit(view, self.header.range, self.header.digests.any()) {
            Admission::Store(new) if new == planned && is_too_many => Err(self.too_many_fragments()),
            Admission::Store(_) => Err(Error::RangeRaced),
            Admission::AlreadyReceived => Err(Error::RangeAlreadyReceived),
            Admission::Ended(state) => Err(ended(state)),
            again => self.compare(again, received).await,
        }
    }

    /// The same range once more: the same bytes are acknowledged, others are not.
    async fn compare(&self, admission: Admission, received: &Received) -> Result<UploadRangeResponse, Error> {
        let crc32c = received.checksums.of_range();
        match admission {
            Admission::Replay(completing) if completing != crc32c => Err(Error::SessionCompleted),
            Admission::Compare
                if self.digests_of_committed().await? != (crc32c, self.header.digests.sha256.clone()) =>
            {
                Err(Error::DigestConflict)
            }
            _ => self.answer().await,
        }
    }

    /// Reads the committed bytes of the range back; only a repeated range comes here.
    async fn digests_of_committed(&self) -> Result<(u32, Option<Vec<u8>>), Error> {
        let mut crc32c = 0;
        let mut sha256 = self.header.digests.sha256.as_ref().map(|_| Context::new(&SHA256));
        let pieces = self.app.store.pieces_of(&self.owned, self.header.range).await?;
        let range = self.header.range.start()..self.header.range.end();
        for slice in pieces.iter().flat_map(|stored| slices(stored, range.clone())) {
            let bytes = match self.app.blobs.read(self.folder(), slice.object, slice.bytes).await {
                Err(error @ blobs::Error::Missing(_)) => return Err(self.explain_missing(error).await?),
                read => read?,
            };
            crc32c = crc32c::crc32c_append(crc32c, &bytes);
            if let Some(sha256) = &mut sha256 {
                sha256.update(&bytes);
            }
        }
        Ok((crc32c, sha256.map(|sha256| sha256.finish().as_ref().to_vec())))
    }

    /// Committed bytes are not there: lost, unless the session has ended in the meantime and they were dropped.
    async fn explain_missing(&self, error: blobs::Error) -> Result<Error, Error> {
        let state = self.view().await?.state;
        Ok(if state == State::Active { error.into() } else { ended(state) })
    }

    fn is_too_many(&self, fragment_count: u32, new: &[ByteRange]) -> bool {
        fragment_count as usize + new.len() > self.app.limits.max_fragments as usize
    }

    fn timed_out(&self) -> Error {
        Error::RangeTimeout(self.app.limits.range_timeout)
    }

    fn too_many_fragments(&self) -> Error {
        Error::TooManyFragments(self.app.limits.max_fragments)
    }

    /// The session as it is now.
    async fn answer(&self) -> Result<UploadRangeResponse, Error> {
        let store = &self.app.store;
        let asked = Instant::now();
        let session = store.upload_session(&self.owned).await?.ok_or(Error::SessionNotFound)?;
        let document = match session.state {
            State::Active => {
                self.expect_no_end_since(asked).await?;
                None
            }
            State::Completed => {
                let whole = ByteRange::known(0, session.properties.size_bytes);
                let manifest = store.pieces_of(&self.owned, whole).await?;
                Some(reply::uploaded_document(&session, &manifest)?)
            }
            State::Canceled | State::Expired => return Err(ended(session.state)),
        };
        Ok(UploadRangeResponse {
            state: reply::state(session.state).into(),
            expire_time: Some(reply::timestamp(session.expire_time)),
            next_expected_ranges: reply::byte_ranges(&session.missing),
            document,
        })
    }

    async fn view(&self) -> Result<RangeView, Error> {
        self.app.store.range_view(&self.owned, self.header.range).await?.ok_or(Error::SessionNotFound)
    }

    fn folder(&self) -> Folder {
        Folder { tenant: self.owned.tenant(), session: self.owned.id() }
    }
}

fn ended(state: State) -> Error {
    match state {
        State::Canceled => Ended::Canceled.into(),
        State::Expired => Ended::Expired.into(),
        State::Completed => Error::SessionCompleted,
        State::Active => Error::RangeRaced,
    }
}
