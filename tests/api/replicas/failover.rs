//! One replica is killed, and the other one goes on.

use print_upload::proto::upload_session::State;
use tonic::Code;

use super::Replicas;
use crate::harness::{ErrorExt, Program, eventually, sample_bytes};

#[tokio::test]
async fn an_upload_goes_on_at_the_other_replica_when_one_is_killed_and_a_cancel_there_is_final() {
    let mut replicas = Replicas::start().await;
    let (document, bytes) = (replicas.app.new_document().await, sample_bytes(3000));
    let session = replicas.first.create(&document, bytes.len()).await.expect("a session");
    replicas.first.send(&session, &bytes, 2000..3000).await.expect("a range at the one");
    replicas.second.send(&session, &bytes, 0..1000).await.expect("a range at the other");

    let [killed, alive] = replicas.programs;
    killed.kill().await;

    let done = replicas.second.send(&session, &bytes, 1000..2000).await.expect("the last range");
    assert_eq!(done.state(), State::Completed);
    assert!(replicas.second.download(&document, 0).await.expect("a download").1 == bytes);

    let document = replicas.app.new_document().await;
    let session = replicas.second.create(&document, bytes.len()).await.expect("another session");
    replicas.second.send(&session, &bytes, 0..1000).await.expect("a range");
    replicas.second.delete(&session.name).await.expect("deleted");
    alive.kill().await;

    let _restarted = Program::serve(&mut replicas.app).await;
    let mut ada = replicas.app.ada();
    let late = ada.send(&session, &bytes, 1000..2000).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    eventually("nothing is left", async || replicas.app.is_reclaimed(&session)).await;
}
