//! An upload: what a session misses, sent in parallel ranges, until the document is complete.

use std::{num::NonZero, ops::Range, sync::Arc};

use tokio::{sync::watch, task::JoinSet};
use tonic::{Code, Status};

use super::{
    Client, Error, Progress, Source, UploadOptions,
    error::limit,
    retry::{Patience, retry_delay},
    send::{Pace, Sender},
};
use crate::proto::{ByteRange, PrintDocument, Reason, UploadRangeResponse, UploadSession, upload_session::State};

/// Ranges that take too long are not made smaller than this, in bytes.
const SMALLEST_RANGE_BYTES: NonZero<u64> = NonZero::new(64 * 1024).unwrap();

/// A range, and how it went.
type Sent = (Range<u64>, Result<UploadRangeResponse, Error>);

/// How a round of ranges went.
enum Round {
    /// The last missing byte is committed.
    Completed(PrintDocument),
    /// All of them were acknowledged, and others are missing.
    Sent,
    /// One failed. Those that were sent before or beside it may have been acknowledged.
    Broken(Error),
}

impl Client {
    /// Sends what a session misses of `source`, and checks that the document which the service then has is the same.
    ///
    /// When a range fails in a way that may pass, nobody knows whether it was committed: then the session is asked for what
    /// it misses now, and only that is sent. The upload goes on like this until nothing has succeeded for as long as the
    /// client's patience. It fails at once when the session ends, when the source changes, and for good reasons of the
    /// service's. The session stays, unless it has ended: a later call goes on where this one stopped.
    pub async fn upload(
        &self,
        session: &UploadSession,
        source: &Source,
        options: &UploadOptions,
        progress: &watch::Sender<Progress>,
    ) -> Result<PrintDocument, Error> {
        check(session, source)?;
        let (size, done) = (source.size_bytes(), session.received_bytes.try_into().unwrap_or_default());
        progress.send_replace(Progress { size, done, ..Progress::default() });
        let options = options.clone().at_their_pace();
        let sender = Arc::new(Sender {
            client: self.clone(),
            session: session.clone(),
            source: source.clone(),
            pace: Pace::new(options.bytes_per_second.map(NonZero::get)),
            progress: progress.clone(),
        });
        if session.state() == State::Active {
            sender.compare(session, options.range_bytes).await?;
        }
        let upload = Upload { sender, options, unanswered: Vec::new() };
        // One more pass over the file, beside the upload: a resumed one does not see the bytes that are there already.
        let (document, here) = tokio::try_join!(upload.run(session.clone()), source.crc32c())?;
        if document.crc32c == Some(here) {
            Ok(document)
        } else {
            Err(Error::DigestMismatch { there: document.crc32c, here })
        }
    }
}

struct Upload {
    sender: Arc<Sender>,
    options: UploadOptions,
    /// The ranges of the last round of which nobody knows whether they were committed.
    unanswered: Vec<Range<u64>>,
}

impl Upload {
    async fn run(self, session: UploadSession) -> Result<PrintDocument, Error> {
        let progress = self.sender.progress.clone();
        let document = self.complete(session).await?;
        // Also what somebody else has sent.
        progress.send_modify(|progress| (progress.done, progress.trouble) = (progress.size, None));
        Ok(document)
    }

    async fn complete(mut self, mut session: UploadSession) -> Result<PrintDocument, Error> {
        let mut patience = Patience::new(self.sender.client.patience);
        let mut done = self.done();
        loop {
            match session.state() {
                State::Active => {}
                State::Completed => return self.completed(&session).await,
                ended => return Err(Error::Ended(ended)),
            }
            let error = match self.round(&session.next_expected_ranges).await {
                Round::Completed(document) => return Ok(document),
                Round::Sent => None,
                Round::Broken(error) => Some(error),
            };
            if self.done() > done {
                done = self.done();
                patience.succeeded();
            }
            if let Some(error) = error {
                self.wait(error, &mut patience).await?;
            }
            session = self.look(&mut patience).await?;
            let received = session.received_bytes.try_into().unwrap_or_default();
            self.sender.progress.send_modify(|progress| progress.done = received);
        }
    }

    /// How many bytes the service has acknowledged.
    fn done(&self) -> u64 {
        self.sender.progress.borrow().done
    }

    /// Sends everything that is missing, some ranges at a time, until one fails.
    async fn round(&mut self, missing: &[ByteRange]) -> Round {
        let mut sending = JoinSet::new();
        let round = self.send_all(missing, &mut sending).await;
        // What is still on its way is of no use any more.
        sending.shutdown().await;
        round
    }

    async fn send_all(&mut self, missing: &[ByteRange], sending: &mut JoinSet<Sent>) -> Round {
        let mut ranges = cut(missing, self.options.range_bytes.get());
        let mut broken = None;
        self.unanswered.clear();
        loop {
            while broken.is_none() && sending.len() < self.options.parallel.get() as usize {
                let Some(range) = ranges.next() else { break };
                let sender = Arc::clone(&self.sender);
                sending.spawn(async move { (range.clone(), sender.send(range).await) });
            }
            let Some(sent) = sending.join_next().await else { break };
            match sent {
                Ok((_, Ok(UploadRangeResponse { document: Some(document), .. }))) => return Round::Completed(document),
                Ok((_, Ok(_))) => {}
                Ok((range, Err(error))) if may_pass(&error) => {
                    self.unanswered.push(range);
                    broken = Some(error);
                }
                // What fails for good ends the upload.
                Ok((_, Err(error))) => return Round::Broken(error),
                Err(error) => return Round::Broken(Error::Internal(error.to_string())),
            }
        }
        broken.map_or(Round::Sent, Round::Broken)
    }

    /// Waits until the next round may succeed, or fails with what the last one failed with.
    async fn wait(&mut self, error: Error, patience: &mut Patience) -> Result<(), Error> {
        if let Error::Call(status) = &error
            && self.adapt(status)
        {
            return Ok(());
        }
        patience.wait(error, &self.sender.progress).await
    }

    /// Sends less at once when that is what the service says that it takes.
    fn adapt(&mut self, status: &Status) -> bool {
        match Reason::of(status) {
            Some(Reason::RangeTooLarge) => {
                let limit = limit(status, "max_bytes").and_then(NonZero::new);
                let Some(smaller) = limit.filter(|&limit| limit < self.options.range_bytes) else { return false };
                self.options.range_bytes = smaller;
                true
            }
            Some(Reason::TooManyWriters) => {
                let limit = limit(status, "max_writers").and_then(|limit| NonZero::new(u32::try_from(limit).ok()?));
                let Some(fewer) = limit.filter(|&limit| limit < self.options.parallel) else { return false };
                self.options.parallel = fewer;
                true
            }
            // The line is slow.
            Some(Reason::RangeTimeout) => self.halve(),
            // Somebody else has sent the rest of it: the session will tell.
            Some(Reason::UploadSessionCompleted) => true,
            _ => false,
        }
    }

    /// Half as much at once: smaller ranges, and then fewer of them. Each is less time on the same line.
    fn halve(&mut self) -> bool {
        let UploadOptions { range_bytes, parallel, .. } = &mut self.options;
        if *range_bytes > SMALLEST_RANGE_BYTES {
            let half = NonZero::new(range_bytes.get() / 2).unwrap_or(SMALLEST_RANGE_BYTES);
            *range_bytes = half.max(SMALLEST_RANGE_BYTES);
            return true;
        }
        let Some(fewer) = NonZero::new(parallel.get() / 2) else { return false };
        *parallel = fewer;
        true
    }

    /// The session as it is now, as soon as the service tells.
    async fn look(&self, patience: &mut Patience) -> Result<UploadSession, Error> {
        loop {
            match self.session().await {
                Ok(session) => return Ok(session),
                Err(error) => patience.wait(error, &self.sender.progress).await?,
            }
        }
    }

    async fn session(&self) -> Result<UploadSession, Error> {
        let Sender { client, session, .. } = &*self.sender;
        client.with_upload_url_fallback(session, |client| async move { client.session(&session.name).await }).await
    }

    /// The document of a session that was completed without an answer. Who shows an upload URL, or a token that admits to
    /// sending alone, may not ask for it; but the range that completed it is answered once more when it is sent again.
    async fn completed(&self, session: &UploadSession) -> Result<PrintDocument, Error> {
        match self.sender.client.document(&session.document).await {
            Err(error) if error.code() == Some(Code::PermissionDenied) => {}
            answer => return answer,
        }
        for range in &self.unanswered {
            if let Ok(UploadRangeResponse { document: Some(document), .. }) =
                Arc::clone(&self.sender).send(range.clone()).await
            {
                return Ok(document);
            }
        }
        Err(Error::Ended(State::Completed))
    }
}

/// Whether a failure is one that the next round may not meet.
fn may_pass(error: &Error) -> bool {
    let Error::Call(status) = error else { return false };
    retry_delay(status).is_some()
        || matches!(Reason::of(status), Some(Reason::RangeTooLarge | Reason::UploadSessionCompleted))
}

/// Fails when this is not what the session was created for.
fn check(session: &UploadSession, source: &Source) -> Result<(), Error> {
    let expected = session.properties.as_ref().map_or(0, |properties| properties.size_bytes);
    let expected = expected.try_into().unwrap_or_default();
    if expected != source.size_bytes() {
        return Err(Error::OtherSize { session: expected, file: source.size_bytes() });
    }
    Ok(())
}

/// Ranges of at most `length` bytes, ascending.
fn cut(missing: &[ByteRange], length: u64) -> impl Iterator<Item = Range<u64>> + Send {
    let step = usize::try_from(length).unwrap_or(usize::MAX);
    missing.iter().flat_map(move |range| {
        let start = u64::try_from(range.start).unwrap_or_default();
        let end = u64::try_from(range.end).unwrap_or_default();
        (start..end).step_by(step).map(move |start| start..end.min(start.saturating_add(length)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_cut_into_ranges() {
        let missing = [ByteRange { start: 0, end: 10 }, ByteRange { start: 15, end: 16 }];
        let cut = |missing: &[ByteRange], length| super::cut(missing, length).collect::<Vec<_>>();
        assert_eq!(cut(&missing, 4), [0..4, 4..8, 8..10, 15..16]);
        assert_eq!(cut(&missing, u64::MAX), [0..10, 15..16]);
        assert!(cut(&[], 4).is_empty());
        let large = [ByteRange { start: 0, end: i64::MAX }];
        assert_eq!(super::cut(&large, 1).nth(2), Some(2..3), "one at a time");
    }
}
