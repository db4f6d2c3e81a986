//! A create that Postgres answers late, while another session of the document comes and goes.

use super::ReplicaBehindProxy;
use crate::harness::{App, Cut, eventually};

/// The parameters of the statement that locks the job, as they are on the wire: printer `p`, then the job's id with its
/// length.
fn printer_and_job(document: &str) -> &'static [u8] {
    let job = document.split('/').nth(3).expect("a job");
    let length = u32::try_from(job.len()).expect("a short id").to_be_bytes();
    Box::leak([b"p".as_slice(), &length, job.as_bytes()].concat().into_boxed_slice())
}

#[tokio::test]
async fn the_session_that_was_created_last_is_the_latest_although_its_create_began_first() {
    let app = App::start().await;
    let ReplicaBehindProxy { app, proxy, mut first, mut second, _program } = ReplicaBehindProxy::over(app).await;
    let document = app.new_document().await;

    proxy.arm(printer_and_job(&document), Cut::UntilReleased);
    let created = document.clone();
    let late = tokio::spawn(async move { first.create(&created, 1000).await });
    eventually("its transaction has begun", async || !proxy.is_armed()).await;
    let earlier = second.create(&document, 1000).await.expect("a session");
    second.delete(&earlier.name).await.expect("deleted");
    proxy.release();
    let latest = late.await.expect("no panic").expect("a session");
    second.delete(&latest.name).await.expect("deleted");

    let found = second.get(&format!("{document}/uploadSession")).await.expect("the tombstone");
    assert_eq!(found.etag, latest.etag);
}
