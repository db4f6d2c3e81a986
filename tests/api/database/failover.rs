//! A failover: the address leads to a standby, which is promoted a little later. The replication is synchronous.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use print_upload::{
    proto::{UploadSession, upload_session::State},
    store,
};
use print_upload_dev::{
    ScratchFolder,
    postgres::{Cluster, Durability},
};
use sqlx::{Connection, PgConnection};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{assert_unavailable, is_healthy, serve_to_its_end, watched};
use crate::harness::{Actor, App, Database, ErrorExt, eventually, sample_bytes};

const SIZE: usize = 100_000;
const RANGE: usize = 100;

/// A primary whose commits wait for its standby.
async fn clusters(folder: &ScratchFolder) -> (Cluster, Cluster) {
    let (first, second) = (folder.path().join("primary"), folder.path().join("standby"));
    let primary = Cluster::start(&first, Durability::Scratch).await.expect("a primary");
    store::migrate(primary.url(), None).await.expect("migrated");
    let standby = primary.start_standby(&second, Durability::Scratch).await.expect("a standby");
    let mut operator = PgConnection::connect(primary.url()).await.expect("a connection");
    for statement in ["alter system set synchronous_standby_names = 'standby'", "select pg_reload_conf()"] {
        sqlx::raw_sql(statement).execute(&mut operator).await.expect("set");
    }
    let is_synchronous = "select exists (select from pg_stat_replication where sync_state = 'sync')";
    eventually("the standby is synchronous", async || {
        sqlx::query_scalar::<_, bool>(is_synchronous).fetch_one(&mut operator).await.expect("an answer")
    })
    .await;
    (primary, standby)
}

/// Callers that go on whatever happens, and how often they were acknowledged.
struct Load {
    stop: CancellationToken,
    acknowledged: Arc<AtomicUsize>,
    uploads: Vec<JoinHandle<(UploadSession, usize)>>,
    cancels: JoinHandle<Vec<UploadSession>>,
}

impl Load {
    async fn start(app: &App, bytes: &Bytes) -> Self {
        let (stop, acknowledged) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let mut uploads = Vec::new();
        for _ in 0..3 {
            let session = app.ada().create(&app.new_document().await, SIZE).await.expect("a session");
            let (ada, bytes) = (app.ada(), bytes.clone());
            uploads.push(tokio::spawn(upload(ada, session, bytes, stop.clone(), Arc::clone(&acknowledged))));
        }
        let mut doomed = Vec::new();
        for _ in 0..60 {
            doomed.push(app.ada().create(&app.new_document().await, SIZE).await.expect("a session"));
        }
        let cancels = tokio::spawn(cancel(app.ada(), doomed, stop.clone(), Arc::clone(&acknowledged)));
        Self { stop, acknowledged, uploads, cancels }
    }

    /// Waits until this many more calls are acknowledged.
    async fn goes_on(&self, calls: usize) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + calls;
        eventually("calls go through", async || self.acknowledged.load(Ordering::Relaxed) >= goal).await;
    }
}

/// Sends one range after the other. Returns how many bytes were acknowledged.
async fn upload(
    mut ada: Actor,
    session: UploadSession,
    bytes: Bytes,
    stop: CancellationToken,
    acknowledged: Arc<AtomicUsize>,
) -> (UploadSession, usize) {
    let mut received = 0;
    while received < SIZE && !stop.is_cancelled() {
        match ada.send(&session, &bytes, received..received + RANGE).await {
            Ok(_) => {
                received += RANGE;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // The answer to the same range was lost.
            Err(refused) if refused.code() == Code::AlreadyExists => received += RANGE,
            Err(refused) => wait_if_unavailable(&refused).await,
        }
    }
    (session, received)
}

/// Cancels one session after the other, slowly. Returns those whose cancel was acknowledged.
async fn cancel(
    mut ada: Actor,
    doomed: Vec<UploadSession>,
    stop: CancellationToken,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<UploadSession> {
    let mut canceled: Vec<UploadSession> = Vec::new();
    for session in doomed {
        while let Err(refused) = ada.delete(&session.name).await {
            wait_if_unavailable(&refused).await;
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
        canceled.push(session);
        for session in canceled.iter().rev().take(3) {
            match ada.get(&session.name).await {
                Ok(seen) => assert_eq!(seen.state(), State::Canceled),
                Err(refused) => wait_if_unavailable(&refused).await,
            }
        }
        if stop.is_cancelled() {
            break;
        }
    }
    canceled
}

/// Every other answer would be wrong.
async fn wait_if_unavailable(refused: &Status) {
    assert_eq!(refused.code_and_reason(), (Code::Unavailable, "DATABASE_UNAVAILABLE".into()), "{refused:?}");
    sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_standby_is_refused_until_it_is_promoted_and_nothing_acknowledged_is_lost() {
    let folder = ScratchFolder::new("failover").expect("a folder");
    let (primary, standby) = clusters(&folder).await;
    let mut app = App::on(Database::at(primary.url()), []);
    app.run().await;
    app.push_printers().await;
    let mut proxy = app.restart_behind_proxy().await;
    app.stop().await;
    let (_program, operator) = watched(&mut app).await;
    let bytes = sample_bytes(SIZE);
    let load = Load::start(&app, &bytes).await;
    load.goes_on(30).await;

    proxy.switch_to(standby.address().expect("an address")).await;
    let expected = "not ready: the database is a standby, and cannot be written to before it is promoted";
    eventually("it is not ready", async || operator.probe("/readyz").await == (503, expected.into())).await;
    eventually("it is not healthy", async || !is_healthy(&app).await).await;
    assert_unavailable("CreatePrintJob", app.ada().create_job("printers/p").await.map(drop));
    let (code, output) = serve_to_its_end(&app).await;
    assert!(code == Some(1) && output.contains("the database is a standby"), "{output}");
    primary.crash().await.expect("it is gone");
    let mut promoting = PgConnection::connect(standby.url()).await.expect("a connection");
    let promoted: bool = sqlx::query_scalar("select pg_promote()").fetch_one(&mut promoting).await.expect("an answer");
    assert!(promoted);

    load.goes_on(30).await;
    eventually("it is ready", async || operator.probe("/readyz").await.0 == 200).await;
    eventually("it is healthy", async || is_healthy(&app).await).await;
    load.stop.cancel();
    let mut ada = app.ada();
    for upload in load.uploads {
        let (session, received) = upload.await.expect("no wrong answer");
        let seen = ada.get(&session.name).await.expect("the session");
        assert!(seen.received_bytes as usize >= received, "{received} bytes were acknowledged: {seen:?}");
        let rest = seen.received_bytes as usize..SIZE;
        if !rest.is_empty() {
            ada.send(&session, &bytes, rest).await.expect("the rest");
        }
        assert!(ada.download(&session.document, 0).await.expect("a download").1 == bytes);
    }
    for session in load.cancels.await.expect("no wrong answer") {
        assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Canceled);
        let late = ada.send(&session, &bytes, 0..RANGE).await.expect_err("a late range");
        assert_eq!(late.reason(), "UPLOAD_SESSION_CANCELED");
    }
    standby.stop().await.expect("stopped");
}
