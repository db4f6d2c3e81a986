//! An upload. It sends rounds of ranges until the document is complete. A round sends everything that is missing, some
//! ranges at a time, and ends early when one of them fails.

use std::{
    num::NonZero,
    ops::Range,
    sync::{Arc, OnceLock},
};

use tokio::{sync::watch, task::JoinSet};
use tonic::{Code, Status};

use super::{
    Client, Error, Progress, Source, UploadOptions,
    compare::received,
    error::limit,
    retry::Patience,
    send::{Pace, RangeSender},
};
use crate::proto::{ByteRange, PrintDocument, Reason, UploadRangeResponse, UploadSession, upload_session::State};

/// Ranges that time out are not made smaller than this, in bytes.
const SMALLEST_RANGE_BYTES: NonZero<u64> = NonZero::new(64 * 1024).unwrap();

/// A range, and the result of sending it.
type Sent = (Range<u64>, Result<UploadRangeResponse, Error>);

/// How a round ends.
enum Round {
    /// The document is complete.
    Completed(PrintDocument),
    /// All ranges were acknowledged, but bytes of other ranges are missing.
    Acknowledged,
    /// A range has failed. Others may have been acknowledged.
    Failed(Error),
}

impl Client {
    /// Sends the bytes of `source` that a session is missing, and checks that the service then has the same document.
    ///
    /// When a range fails with a transient error, it is unknown whether it was committed. Then the client gets the
    /// session again, and sends only what it is missing now. The upload fails when no range has succeeded for as long
    /// as the client's patience ([`Client::with_patience`]). It fails at once when the session ends, when the source
    /// changes, and with an error that neither a retry nor smaller ranges can avoid. The session is kept, unless it has
    /// ended: a later call resumes the upload.
    pub async fn upload(
        &self,
        session: &UploadSession,
        source: &Source,
        options: &UploadOptions,
        progress: &watch::Sender<Progress>,
    ) -> Result<PrintDocument, Error> {
        check_size(session, source)?;
        let (size, done) = (source.size_bytes(), session.received_bytes.try_into().unwrap_or_default());
        progress.send_replace(Progress { size, done, ..Progress::default() });
        let options = options.clone().with_ranges_for_rate();
        let sender = Arc::new(RangeSender {
            client: self.clone(),
            session: session.clone(),
            source: source.clone(),
            pace: Pace::new(options.bytes_per_second.map(NonZero::get)),
            progress: progress.clone(),
            by_upload_url: OnceLock::new(),
        });
        if session.state() == State::Active {
            sender.compare(session, options.range_bytes).await?;
        }
        let rounds = Rounds { sender, options, unanswered: Vec::new() };
        // A resumed upload does not send what the service has already, but the checksum needs it.
        let known = received(session, source.size_bytes());
        let (document, ()) = tokio::try_join!(rounds.run(session.clone()), source.read_ahead(known))?;
        let local = source.crc32c().await?;
        if document.crc32c == Some(local) {
            Ok(document)
        } else {
            Err(Error::DigestMismatch { service: document.crc32c, local })
        }
    }
}

struct Rounds {
    sender: Arc<RangeSender>,
    options: UploadOptions,
    /// The ranges of the last round that failed. The service may have committed them.
    unanswered: Vec<Range<u64>>,
}

impl Rounds {
    /// Sends rounds until the document is complete.
    async fn run(mut self, mut session: UploadSession) -> Result<PrintDocument, Error> {
        let mut patience = Patience::new(self.sender.client.patience);
        let mut done = self.done();
        let document = loop {
            match session.state() {
                State::Active => {}
                State::Completed => break self.completed_document(&session).await?,
                ended => return Err(Error::Ended(ended)),
            }
            let error = match self.send_round(&session.next_expected_ranges).await {
                Round::Completed(document) => break document,
                Round::Acknowledged => None,
                Round::Failed(error) => Some(error),
            };
            if self.done() > done {
                done = self.done();
                patience.succeeded();
            }
            if let Some(error) = error {
                self.wait_for_next_round(error, &mut patience).await?;
            }
            session = self.session(&mut patience).await?;
            let received = session.received_bytes.try_into().unwrap_or_default();
            self.sender.progress.send_modify(|progress| progress.done = received);
        };
        // All bytes, including those that another caller has sent.
        self.sender.progress.send_modify(|progress| (progress.done, progress.trouble) = (progress.size, None));
        Ok(document)
    }

    /// How many bytes the service has acknowledged.
    fn done(&self) -> u64 {
        self.sender.progress.borrow().done
    }

    async fn send_round(&mut self, missing: &[ByteRange]) -> Round {
        let mut sending = JoinSet::new();
        let round = self.send_ranges(missing, &mut sending).await;
        // The document is complete, or the round has failed: ranges in flight are not needed.
        sending.shutdown().await;
        round
    }

    /// Sends everything that is missing, some ranges at a time, until one fails.
    async fn send_ranges(&mut self, missing: &[ByteRange], sending: &mut JoinSet<Sent>) -> Round {
        let mut ranges = cut(missing, self.options.range_bytes.get());
        let mut failed = None;
        self.unanswered.clear();
        loop {
            while failed.is_none() && sending.len() < self.options.parallel.get() as usize {
                let Some(range) = ranges.next() else { break };
                let sender = Arc::clone(&self.sender);
                sending.spawn(async move { (range.clone(), sender.send(range).await) });
            }
            let Some(sent) = sending.join_next().await else { break };
            match sent {
                Ok((_, Ok(UploadRangeResponse { document: Some(document), .. }))) => return Round::Completed(document),
                Ok((_, Ok(_))) => {}
                Ok((range, Err(error))) if allows_next_round(&error) => {
                    self.unanswered.push(range);
                    failed = Some(error);
                }
                // Any other error ends the upload.
                Ok((_, Err(error))) => return Round::Failed(error),
                Err(error) => return Round::Failed(Error::Internal(error.to_string())),
            }
        }
        failed.map_or(Round::Acknowledged, Round::Failed)
    }

    /// Waits until the next round may succeed. Returns the error of the last round if the next one would fail as well.
    async fn wait_for_next_round(&mut self, error: Error, patience: &mut Patience) -> Result<(), Error> {
        if let Error::Call(status) = &error
            && self.adapt(status)
        {
            return Ok(());
        }
        patience.wait(error, &self.sender.progress).await
    }

    /// Sends less at once when the service demands it. Returns whether the next round may begin at once.
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
            // Another caller has sent the rest. The next round gets the session again.
            Some(Reason::UploadSessionCompleted) => true,
            _ => false,
        }
    }

    /// Halves the size of ranges, down to a minimum; then halves how many are sent at once. Then each takes less time
    /// on a slow line. Returns whether there was anything to halve.
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

    /// The session as it is now.
    async fn session(&self, patience: &mut Patience) -> Result<UploadSession, Error> {
        let RangeSender { client, session, .. } = &*self.sender;
        let get = |client: Client| async move { client.session(&session.name).await };
        loop {
            match client.with_upload_url_fallback(session, get).await {
                Ok(session) => return Ok(session),
                Err(error) => patience.wait(error, &self.sender.progress).await?,
            }
        }
    }

    /// The document of a session that was completed, though this upload has not received the response. A caller who may
    /// only send cannot get the document, so the ranges without a response are sent again: the one that has completed
    /// the session gets the document as its response.
    async fn completed_document(&self, session: &UploadSession) -> Result<PrintDocument, Error> {
        match self.sender.client.document(&session.document).await {
            Err(error) if matches!(error.code(), Some(Code::PermissionDenied | Code::Unauthenticated)) => {}
            returned => return returned,
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

/// Whether the next round may succeed after this error of a range.
fn allows_next_round(error: &Error) -> bool {
    let is_known = matches!(error.reason(), Some(Reason::RangeTooLarge | Reason::UploadSessionCompleted));
    is_known || error.is_transient()
}

/// Fails when the source does not have the size that the session was created for.
fn check_size(session: &UploadSession, source: &Source) -> Result<(), Error> {
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
    fn missing_ranges_are_cut_to_the_range_size() {
        let missing = [ByteRange { start: 0, end: 10 }, ByteRange { start: 15, end: 16 }];
        let cut = |missing: &[ByteRange], length| super::cut(missing, length).collect::<Vec<_>>();
        assert_eq!(cut(&missing, 4), [0..4, 4..8, 8..10, 15..16]);
        assert_eq!(cut(&missing, u64::MAX), [0..10, 15..16]);
        assert!(cut(&[], 4).is_empty());
        let large = [ByteRange { start: 0, end: i64::MAX }];
        assert_eq!(super::cut(&large, 1).nth(2), Some(2..3), "one at a time");
    }
}
