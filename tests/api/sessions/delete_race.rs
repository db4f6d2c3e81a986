//! Deletes while writers send one range after the other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use bytes::Bytes;
use print_upload::proto::{UploadSession, upload_session::State};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::{Code, Status};

use crate::harness::{Actor, App, ErrorExt, eventually, sample_bytes};

const ROUNDS: usize = 20;
const WRITERS: usize = 4;
const RANGE_BYTES: usize = 10_000;
const STRIPE_BYTES: usize = 100 * RANGE_BYTES;

/// An acknowledged range. Both fields: whether the delete had been answered at that time.
#[derive(Debug)]
struct Acknowledged {
    sent_after: bool,
    acknowledged_after: bool,
}

/// Sends one range after the other until one is refused. Returns the acknowledged ranges and the refusal.
async fn write_stripe(
    mut writer: Actor,
    session: UploadSession,
    bytes: Bytes,
    stripe: usize,
    deleted: Arc<AtomicBool>,
    progress: mpsc::UnboundedSender<()>,
) -> (Vec<Acknowledged>, Option<Status>) {
    let mut acknowledged = Vec::new();
    for start in (stripe * STRIPE_BYTES..(stripe + 1) * STRIPE_BYTES).step_by(RANGE_BYTES) {
        let sent_after = deleted.load(SeqCst);
        if let Err(refused) = writer.send(&session, &bytes, start..start + RANGE_BYTES).await {
            return (acknowledged, Some(refused));
        }
        acknowledged.push(Acknowledged { sent_after, acknowledged_after: deleted.load(SeqCst) });
        let _ = progress.send(());
    }
    (acknowledged, None)
}

/// Four writers send. The session is deleted after `ranges` acknowledged ranges.
async fn race(app: &App, writers: [Actor; WRITERS], ranges: usize) -> (UploadSession, Vec<Acknowledged>) {
    let bytes = sample_bytes(WRITERS * STRIPE_BYTES);
    let mut ada = writers[0].clone();
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let deleted = Arc::new(AtomicBool::new(false));
    let (progress, mut acknowledgements) = mpsc::unbounded_channel();
    let mut writing = JoinSet::new();
    for (stripe, writer) in writers.into_iter().enumerate() {
        let (session, bytes, deleted) = (session.clone(), bytes.clone(), Arc::clone(&deleted));
        writing.spawn(write_stripe(writer, session, bytes, stripe, deleted, progress.clone()));
    }

    for _ in 0..ranges {
        acknowledgements.recv().await.expect("writers write");
    }
    // A task, as the writers are: tasks run in the order in which their answers came.
    let (name, answered) = (session.name.clone(), Arc::clone(&deleted));
    let deleting = tokio::spawn(async move {
        ada.delete(&name).await.expect("deleted");
        answered.store(true, SeqCst);
        ada
    });
    let mut ada = deleting.await.expect("no panic");

    let mut all = Vec::new();
    for (acknowledged, refused) in writing.join_all().await {
        let refused = refused.expect("the delete comes before the document is complete");
        assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
        all.extend(acknowledged);
    }
    assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Canceled);
    (session, all)
}

async fn nothing_is_left(app: &App, sessions: &[UploadSession]) {
    for session in sessions {
        eventually("nothing is left", async || app.is_reclaimed(session)).await;
        assert_eq!(app.ada().get(&session.name).await.expect("the tombstone").state(), State::Canceled);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_range_that_is_sent_after_the_delete_is_acknowledged() {
    let app = App::start().await;
    let mut sessions = Vec::new();
    for round in 0..ROUNDS {
        let (session, acknowledged) = race(&app, std::array::from_fn(|_| app.ada()), round).await;
        assert!(acknowledged.iter().all(|range| !range.sent_after), "{acknowledged:?}");
        sessions.push(session);
    }
    nothing_is_left(&app, &sessions).await;
}

/// On one connection and one thread, a client sees answers in the order in which they were sent.
#[tokio::test]
async fn no_acknowledgement_overtakes_the_deletes_answer() {
    let app = App::start().await;
    let mut sessions = Vec::new();
    for round in 0..ROUNDS {
        let ada = app.ada();
        let (session, acknowledged) = race(&app, std::array::from_fn(|_| ada.clone()), round).await;
        assert!(acknowledged.iter().all(|range| !range.acknowledged_after), "{acknowledged:?}");
        sessions.push(session);
    }
    nothing_is_left(&app, &sessions).await;
}
