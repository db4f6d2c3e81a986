//! A store that does not answer: what waits for it, and for how long.

use tokio::net::TcpListener;
use tonic::Code;

use crate::harness::{Backend, ErrorExt, eventually, sample_bytes};

const KIB: usize = 1024;

/// The store accepts every connection and never answers. Sixteen ranges are being put, and the next one waits for them.
/// It is not put any more when its session is canceled.
#[tokio::test]
async fn a_range_that_waits_for_a_store_is_let_go_by_a_cancel() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let _accepting = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    let mut bucket = Backend::Memory.bucket("silent").expect("a bucket");
    bucket.url = "s3://silent".into();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", format!("http://{address}").as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
    ] {
        bucket.set(name, value);
    }
    let app = bucket.app().await;
    let (ada, bytes) = (app.ada(), sample_bytes(10 * KIB));
    let send = async || {
        let session = ada.clone().create(&app.new_document().await, bytes.len()).await.expect("a session");
        let (mut ada, bytes, sent) = (ada.clone(), bytes.clone(), session.clone());
        let answer = tokio::spawn(async move { ada.send(&sent, &bytes, 0..10 * KIB).await });
        (session, answer)
    };
    let mut being_put = Vec::new();
    for _ in 0..16 {
        being_put.push(send().await);
    }
    eventually("they are being put", async || bucket.ranges_under_way() == 0).await;
    let (session, waiting) = send().await;
    eventually("the next one waits", async || bucket.ranges_under_way() == 1).await;

    ada.clone().delete(&session.name).await.expect("deleted");

    let refused = waiting.await.expect("no panic").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    eventually("it does not wait any more", async || bucket.ranges_under_way() == 0).await;
    assert!(being_put.iter().all(|(_, answer)| !answer.is_finished()), "the others still wait for their store");
}
