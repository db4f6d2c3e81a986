//! Ranges in random order, compared with a simple model: a received byte never changes.

use std::ops::Range;

use bytes::Bytes;
use print_upload::proto::{UploadRangeResponse, UploadSession, upload_session::State};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use tonic::{Code, Status};

use crate::harness::{Actor, App, Digest, ErrorExt, crc32c, spans};

/// One range, before the document's size is known.
#[derive(Debug, Clone)]
struct Plan {
    /// Repeats an earlier range; `None` is a new one.
    again: Option<Index>,
    start: Index,
    length: Index,
    /// Which of several contents. Ranges that overlap may have different bytes.
    content: u8,
    digest: Digest,
}

/// What the service is expected to know.
struct Model {
    /// The received bytes.
    received: Vec<Option<u8>>,
    /// The range that completed the document, as it was sent.
    completing: Option<(usize, Bytes)>,
    /// How many ranges contributed bytes.
    accepted: usize,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Acknowledged,
    Refused(Code, &'static str),
}

impl Model {
    fn new(size: usize) -> Self {
        Self { received: vec![None; size], completing: None, accepted: 0 }
    }

    /// Takes the new bytes, and returns what the answer must be.
    fn take(&mut self, start: usize, bytes: &Bytes, digest: Digest) -> Expected {
        let same = Some((start, bytes.clone())) == self.completing;
        if self.completing.is_some() {
            let other = Expected::Refused(Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED");
            return if same { Expected::Acknowledged } else { other };
        }
        let covered = &mut self.received[start..start + bytes.len()];
        if covered.iter().all(Option::is_some) {
            return match digest {
                Digest::None => Expected::Refused(Code::AlreadyExists, "RANGE_ALREADY_RECEIVED"),
                _ if covered.iter().flatten().eq(bytes.iter()) => Expected::Acknowledged,
                _ => Expected::Refused(Code::Aborted, "DIGEST_CONFLICT"),
            };
        }
        for (received, byte) in covered.iter_mut().zip(bytes) {
            received.get_or_insert(*byte);
        }
        self.accepted += 1;
        if self.received.iter().all(Option::is_some) {
            self.completing = Some((start, bytes.clone()));
        }
        Expected::Acknowledged
    }

    fn missing(&self) -> Vec<Range<usize>> {
        let mut missing: Vec<Range<usize>> = Vec::new();
        for position in (0..self.received.len()).filter(|&position| self.received[position].is_none()) {
            match missing.last_mut() {
                Some(range) if range.end == position => range.end += 1,
                _ => missing.push(position..position + 1),
            }
        }
        missing
    }

    fn document(&self) -> Vec<u8> {
        self.received.iter().copied().collect::<Option<_>>().expect("every byte")
    }

    fn check(&self, expected: &Expected, answer: Result<UploadRangeResponse, Status>) {
        match (expected, answer) {
            (Expected::Acknowledged, Ok(answer)) => {
                assert_eq!(spans(&answer.next_expected_ranges), self.missing());
                assert_eq!(answer.state() == State::Completed, self.completing.is_some());
                let checksum = answer.document.map(|document| document.crc32c);
                assert_eq!(checksum, self.completing.is_some().then(|| Some(crc32c(&self.document()))));
            }
            (Expected::Refused(code, reason), Err(status)) => {
                assert_eq!(status.code_and_reason(), (*code, (*reason).to_owned()));
            }
            (expected, answer) => panic!("expected {expected:?}, got {answer:?}"),
        }
    }

    fn check_session(&self, session: &UploadSession) {
        assert_eq!(spans(&session.next_expected_ranges), self.missing());
        assert_eq!(session.received_bytes as usize, self.received.iter().flatten().count());
        assert_eq!(session.state() == State::Completed, self.completing.is_some());
    }
}

#[test]
fn ranges_in_any_order_become_the_document_of_the_bytes_received_first() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let app = runtime.block_on(App::start());
    let config = Config { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let case = (prop_oneof![1..=12_usize, 1..=65_536_usize], prop::collection::vec(plan(), 1..24));
    let outcome = TestRunner::new(config).run(&case, |(size, plans)| {
        runtime.block_on(upload(&app, size, &plans));
        Ok(())
    });
    // Drops the service inside the runtime that it runs in.
    let _inside = runtime.enter();
    drop(app);
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

fn plan() -> impl Strategy<Value = Plan> {
    let again = prop::option::weighted(0.25, any::<Index>());
    let digest = prop_oneof![Just(Digest::None), Just(Digest::Crc32c), Just(Digest::Sha256), Just(Digest::Both)];
    (again, any::<Index>(), any::<Index>(), 0..2_u8, digest).prop_map(|(again, start, length, content, digest)| Plan {
        again,
        start,
        length,
        content,
        digest,
    })
}

async fn upload(app: &App, size: usize, plans: &[Plan]) {
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, size).await.expect("a session");
    let mut model = Model::new(size);
    let mut sent: Vec<Range<usize>> = Vec::new();

    for plan in plans {
        let range = plan.again.filter(|_| !sent.is_empty()).map_or_else(
            || {
                let start = plan.start.index(size);
                start..start + 1 + plan.length.index((size - start).min(size / 3 + 1))
            },
            |again| sent[again.index(sent.len())].clone(),
        );
        sent.push(range.clone());
        send(&mut ada, &session, &mut model, range, plan.content, plan.digest).await;
        model.check_session(&ada.get(&session.name).await.expect("the session"));
    }
    for range in model.missing() {
        send(&mut ada, &session, &mut model, range, 0, Digest::None).await;
    }

    let (uploaded, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == model.document(), "every byte is the one received first");
    assert_eq!(uploaded.crc32c, Some(crc32c(&downloaded)));
    assert_eq!(app.files_of(&session).len(), model.accepted, "nothing else is in the store");
}

async fn send(
    ada: &mut Actor,
    session: &UploadSession,
    model: &mut Model,
    range: Range<usize>,
    content: u8,
    digest: Digest,
) {
    let bytes: Bytes = range.clone().map(|position| (position % 251) as u8 ^ (content * 0x55)).collect();
    let expected = model.take(range.start, &bytes, digest);
    let answer = ada.send_bytes(session, range.start, bytes, digest).await;
    model.check(&expected, answer);
}
