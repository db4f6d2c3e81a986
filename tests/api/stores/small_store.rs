//! A bucket of a store in the test's own process, which speaks as much of S3 as the service needs.

use std::{
    collections::BTreeMap,
    future::pending,
    mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use url::form_urlencoded;

use crate::harness::{Backend, Bucket};

/// The bucket's name in paths.
const BUCKET: &str = "/small/";

/// Objects by name.
pub type Objects = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone, Default)]
pub struct SmallStore {
    is_silent: Arc<AtomicBool>,
    objects: Arc<Mutex<Objects>>,
}

impl SmallStore {
    /// An empty bucket, and what a service needs to use it.
    pub async fn start() -> (Self, Bucket) {
        let store = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(Self::answer).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });

        let mut bucket = Backend::Memory.bucket("small").expect("a bucket");
        bucket.url = "s3://small".into();
        for (name, value) in [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "nobody"),
            ("AWS_SECRET_ACCESS_KEY", "nothing"),
            ("AWS_DISABLE_BULK_DELETE", "true"),
        ] {
            bucket.set(name, value);
        }
        (store, bucket)
    }

    /// From now on it accepts every connection, and never answers.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// Puts another bucket with these objects in place of the bucket. Returns the objects of the one before.
    pub fn replace(&self, objects: Objects) -> Objects {
        mem::replace(&mut self.objects(), objects)
    }

    pub fn names(&self) -> Vec<String> {
        self.objects().keys().cloned().collect()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().expect("unpoisoned")
    }

    async fn answer(State(store): State<Self>, request: Request) -> Response {
        if store.is_silent.load(Ordering::Relaxed) {
            return pending().await;
        }
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        let key = head.uri.path().strip_prefix(BUCKET).unwrap_or_default().to_owned();
        match (head.method, head.uri.query()) {
            (Method::PUT, _) => store.put(key, &head.headers, body.to_vec()),
            (Method::GET, Some(query)) if query.contains("list-type") => store.list(query),
            (Method::GET, _) => match store.objects().get(&key) {
                Some(object) => ([(header::ETAG, "\"1\"")], object.clone()).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            _ => {
                store.objects().remove(&key);
                StatusCode::NO_CONTENT.into_response()
            }
        }
    }

    fn put(&self, key: String, headers: &HeaderMap, content: Vec<u8>) -> Response {
        let mut objects = self.objects();
        if headers.contains_key(header::IF_NONE_MATCH) && objects.contains_key(&key) {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        objects.insert(key, content);
        [(header::ETAG, "\"1\"")].into_response()
    }

    fn list(&self, query: &str) -> Response {
        let prefix = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "prefix");
        let prefix = prefix.map_or_else(String::new, |(_, prefix)| prefix.into_owned());
        let entry = |(key, object): (&String, &Vec<u8>)| {
            let size = object.len();
            format!(
                "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>1</ETag>
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            )
        };
        let entries: String = self.objects().iter().filter(|(key, _)| key.starts_with(&prefix)).map(entry).collect();
        format!("<ListBucketResult>{entries}</ListBucketResult>").into_response()
    }
}
