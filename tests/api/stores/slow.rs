//! A store that does not answer: what waits for it, and for how long.

use std::{
    collections::BTreeMap,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use tonic::Code;

use crate::harness::{Backend, ErrorExt, eventually, sample_bytes};

const KIB: usize = 1024;

/// The bucket's name in paths.
const BUCKET: &str = "/silent/";

/// A bucket of a store that speaks S3, until it is silent.
#[derive(Debug, Clone, Default)]
struct SilentStore {
    is_silent: Arc<AtomicBool>,
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl SilentStore {
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(Self::answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn answer(State(store): State<Self>, request: Request) -> Response {
        if store.is_silent.load(Ordering::Relaxed) {
            return pending().await;
        }
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        let key = head.uri.path().strip_prefix(BUCKET).unwrap_or_default().to_owned();
        let mut objects = store.objects.lock().expect("unpoisoned");
        match (head.method, head.uri.query()) {
            (Method::PUT, _) => {
                objects.insert(key, body.to_vec());
                [(header::ETAG, "\"1\"")].into_response()
            }
            (Method::GET, Some(query)) if query.contains("list-type") => {
                let entry = |(key, object): (&String, &Vec<u8>)| {
                    let size = object.len();
                    format!(
                        "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>1</ETag>
                         <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                    )
                };
                let entries: String = objects.iter().map(entry).collect();
                format!("<ListBucketResult>{entries}</ListBucketResult>").into_response()
            }
            (Method::GET, _) => match objects.get(&key) {
                Some(object) => ([(header::ETAG, "\"1\"")], object.clone()).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            _ => {
                objects.remove(&key);
                StatusCode::NO_CONTENT.into_response()
            }
        }
    }
}

/// The store answers until the service has started, and then never again. Sixteen ranges are being put, and the next one waits for them.
/// It is not put any more when its session is canceled.
#[tokio::test]
async fn a_range_that_waits_for_a_store_is_let_go_by_a_cancel() {
    let silent = SilentStore::default();
    let address = silent.serve().await;
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
    silent.is_silent.store(true, Ordering::Relaxed);
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
