//! One suite for every object store.

use print_upload::proto::upload_session::State;
use print_upload_client::range_messages;
use tonic::Code;

use super::startup::serve;
use crate::harness::{Backend, Bucket, Digest, ErrorExt, Program, Stalled, chunk, eventually, header, sample_bytes};

const KIB: usize = 1024;

/// Makes a test a store of each function, in a module with the store's name. `every`: all stores; `outside`: those
/// outside this process; `servers`: those that are servers.
macro_rules! on_stores {
    (every { $($every:ident)* } outside { $($outside:ident)* } servers { $($servers:ident)* }) => {
        on_stores! { memory: Memory: $($every)* }
        on_stores! { local: Local: $($every)* $($outside)* }
        on_stores! { s3: S3: $($every)* $($outside)* $($servers)* }
        on_stores! { azure: Azure: $($every)* $($outside)* $($servers)* }
    };
    ($module:ident: $backend:ident: $($test:ident)*) => {
        mod $module {
            use crate::harness::Backend;
            $(
                #[tokio::test]
                async fn $test() {
                    let test = concat!(stringify!($module), "::", stringify!($test));
                    let Some(bucket) = Backend::$backend.bucket(test) else { return };
                    super::$test(bucket).await;
                }
            )*
        }
    };
}

on_stores! {
    every {
        ranges_in_any_order_become_the_document
        a_cancel_notifies_stalled_writers_and_leaves_nothing
        clients_that_stall_keep_nobody_out
        a_repeated_range_is_compared_with_what_is_stored
    }
    outside {
        what_is_not_taken_is_dropped
        reclaiming_spares_the_manifest
        many_fragments_go_soon
        a_deleted_job_takes_its_bytes_along
        an_expired_session_takes_its_bytes_along
        bytes_that_are_lost_are_reported_as_lost
        a_crash_loses_nothing_that_was_acknowledged_and_brings_nothing_back
    }
    servers {
        a_store_that_went_away_keeps_no_cancel_back
        a_store_that_refuses_us_keeps_the_program_from_starting
    }
}

async fn ranges_in_any_order_become_the_document(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(3000 * KIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for range in [2000 * KIB..3000 * KIB, 0..900 * KIB, 800 * KIB..1200 * KIB, 1100 * KIB..2100 * KIB] {
        ada.send(&session, &bytes, range).await.expect("a range");
    }
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Completed);
    for offset in [0, 1, 900 * KIB, 3000 * KIB - 1] {
        let (_, downloaded) = ada.download(&document, offset as i64).await.expect("a download");
        assert!(downloaded == bytes[offset..], "from {offset}");
    }
    if bucket.is_visible() {
        assert_eq!(bucket.count_of(&session).await, 4);
    }
}

async fn a_cancel_notifies_stalled_writers_and_leaves_nothing(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(3000 * KIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000 * KIB).await.expect("a range");
    let stalled = [
        ada.stall(&session, &bytes, 1000 * KIB..2000 * KIB),
        ada.stall(&session, &bytes, 1500 * KIB..2500 * KIB),
        ada.stall(&session, &bytes, 2500 * KIB..3000 * KIB),
    ];
    eventually("they are under way", async || bucket.ranges_under_way() == 3).await;

    ada.delete(&session.name).await.expect("deleted");

    for (_still_held, answer) in stalled {
        let refused = answer.await.expect("no panic").expect_err("canceled");
        assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    }
    let late = ada.send(&session, &bytes, 1000 * KIB..2000 * KIB).await.expect_err("late");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    eventually("nothing is left", async || bucket.count_of(&session).await == 0).await;
    eventually("nothing waits", async || bucket.ranges_under_way() == 0).await;

    ada.upload(&document, &bytes).await.expect("the document awaits its upload again");
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);
}

/// More clients than the service puts fragments at once. Each has sent all but its last byte.
async fn clients_that_stall_keep_nobody_out(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(200 * KIB));
    let mut stalled: Vec<Stalled> = Vec::new();
    for _ in 0..24 {
        let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
        stalled.push(ada.stall(&session, &bytes, 0..bytes.len()));
    }
    eventually("they are under way", async || bucket.ranges_under_way() == 24).await;

    let document = app.new_document().await;
    ada.upload(&document, &bytes).await.expect("an upload beside them");
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);

    for (sender, answer) in stalled {
        sender.send(chunk(vec![bytes[bytes.len() - 1]])).await.expect("the range is still under way");
        drop(sender);
        assert_eq!(answer.await.expect("no panic").expect("acknowledged").state(), State::Completed);
    }
}

async fn what_is_not_taken_is_dropped(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000 * KIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let slower = ada.stall(&session, &bytes, 0..600 * KIB);
    eventually("it is under way", async || bucket.ranges_under_way() == 1).await;
    ada.send(&session, &bytes, 400 * KIB..800 * KIB).await.expect("the faster one");

    let (sender, answer) = slower;
    sender.send(chunk(vec![bytes[600 * KIB - 1]])).await.expect("the range is still under way");
    drop(sender);
    let raced = answer.await.expect("no panic").expect_err("raced");
    assert_eq!(raced.code_and_reason(), (Code::Aborted, "RANGE_RACED".into()));

    let mut header = header(&session, 800 * KIB..1000 * KIB);
    header.crc32c = Some(17);
    let sent = range_messages(header, &bytes.slice(800 * KIB..1000 * KIB));
    let wrong = ada.send_messages(sent).await.expect_err("another digest");
    assert_eq!(wrong.code(), Code::InvalidArgument);
    eventually("only what was taken is there", async || bucket.count_of(&session).await == 1).await;
    eventually("nothing waits", async || bucket.ranges_under_way() == 0).await;
}

async fn a_repeated_range_is_compared_with_what_is_stored(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000 * KIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for range in [0..300 * KIB, 300 * KIB..500 * KIB] {
        ada.send(&session, &bytes, range).await.expect("a range");
    }
    let (start, repeated) = (100 * KIB, bytes.slice(100 * KIB..400 * KIB));
    ada.send_bytes(&session, start, repeated, Digest::Crc32c).await.expect("the same bytes");

    let conflict = ada.send_bytes(&session, start, sample_bytes(300 * KIB), Digest::Crc32c).await.expect_err("others");
    assert_eq!(conflict.code_and_reason(), (Code::Aborted, "DIGEST_CONFLICT".into()));
}

async fn reclaiming_spares_the_manifest(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(300 * KIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 200 * KIB..300 * KIB).await.expect("a range");
    bucket.leave_orphan(&session).await;
    ada.send(&session, &bytes, 0..200 * KIB).await.expect("the rest");

    app.make_reclaim_last(&session).await;
    eventually("it is reclaimed", async || app.reclaim_job(&session).await.is_none()).await;
    assert_eq!(bucket.count_of(&session).await, 2);
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);
}

/// More fragments than Azure deletes with one request.
async fn many_fragments_go_soon(bucket: Bucket) {
    let app = bucket.app().await;
    // Large enough to have so many pieces.
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(240 * 64 * KIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for start in 0..299 {
        ada.send(&session, &bytes, start..start + 1).await.expect("a range");
    }
    ada.delete(&session.name).await.expect("deleted");
    eventually("nothing is left", async || bucket.count_of(&session).await == 0).await;
}

async fn a_deleted_job_takes_its_bytes_along(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(100 * KIB));
    let session = ada.upload(&document, &bytes).await.expect("an upload");
    app.catalog().delete_job(&document, 2).await.expect("deleted");
    eventually("nothing is left", async || bucket.count_of(&session).await == 0).await;
    ada.download(&document, 0).await.expect_err("nothing is there");
}

async fn an_expired_session_takes_its_bytes_along(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(200 * KIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..100 * KIB).await.expect("a range");
    app.make_overdue(&session).await;
    eventually("nothing is left", async || bucket.count_of(&session).await == 0).await;
    let late = ada.send(&session, &bytes, 100 * KIB..200 * KIB).await.expect_err("late");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_EXPIRED".into()));
}

async fn bytes_that_are_lost_are_reported_as_lost(bucket: Bucket) {
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(100 * KIB));
    let session = ada.upload(&document, &bytes).await.expect("an upload");
    for left in ["only this", ""] {
        bucket.overwrite(&session, left).await;
        let lost = ada.download(&document, 0).await.expect_err("a part of it is not there");
        assert_eq!(lost.code_and_reason(), (Code::DataLoss, "BYTES_MISSING".into()), "{left:?}");
    }
}

/// Two replicas, both killed.
async fn a_crash_loses_nothing_that_was_acknowledged_and_brings_nothing_back(bucket: Bucket) {
    let mut app = bucket.app().await;
    let (kept, canceled, bytes) = (app.new_document().await, app.new_document().await, sample_bytes(300 * KIB));
    app.stop().await;
    let one = Program::serve(&mut app).await;
    let mut ada = app.ada();
    let other = Program::serve(&mut app).await;
    let mut ada_elsewhere = app.ada();

    let kept = (ada.create(&kept, bytes.len()).await.expect("a session"), kept);
    let canceled = ada.create(&canceled, bytes.len()).await.expect("a session");
    for (ada, range) in [(&mut ada, 200 * KIB..300 * KIB), (&mut ada_elsewhere, 0..100 * KIB)] {
        ada.send(&kept.0, &bytes, range.clone()).await.expect("acknowledged");
        ada.send(&canceled, &bytes, range).await.expect("acknowledged");
    }
    let (_still_held, stalled) = ada.stall(&canceled, &bytes, 100 * KIB..200 * KIB);
    let (_still_held_too, cut) = ada.stall(&kept.0, &bytes, 100 * KIB..200 * KIB);

    ada_elsewhere.delete(&canceled.name).await.expect("deleted");
    let refused = stalled.await.expect("no panic").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    one.kill().await;
    cut.await.expect("no panic").expect_err("killed");
    other.kill().await;

    let _restarted = Program::serve(&mut app).await;
    let mut ada = app.ada();
    ada.send(&canceled, &bytes, 100 * KIB..200 * KIB).await.expect_err("late");
    ada.send(&kept.0, &bytes, 100 * KIB..200 * KIB).await.expect("the upload goes on");
    assert!(ada.download(&kept.1, 0).await.expect("a download").1 == bytes);
    eventually("nothing is left", async || bucket.count_of(&canceled).await == 0).await;
}

async fn a_store_that_went_away_keeps_no_cancel_back(mut bucket: Bucket) {
    let mut proxy = bucket.put_behind_proxy().await;
    let app = bucket.app().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(200 * KIB));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..100 * KIB).await.expect("a range");

    proxy.stop().await;
    let failed = ada.send(&session, &bytes, 100 * KIB..200 * KIB).await.expect_err("the store does not answer");
    assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
    ada.delete(&session.name).await.expect("deleted all the same");
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Canceled);
    assert_eq!(bucket.count_of(&session).await, 1);

    proxy.restart().await;
    app.update_row("update reclaim set due_time = now() where session_id = $1", &session).await;
    eventually("nothing is left", async || bucket.count_of(&session).await == 0).await;
}

async fn a_store_that_refuses_us_keeps_the_program_from_starting(mut bucket: Bucket) {
    let secret = if bucket.backend == Backend::S3 { "AWS_SECRET_ACCESS_KEY" } else { "AZURE_STORAGE_ACCOUNT_KEY" };
    let app = bucket.app().await;
    let right = bucket.setting(secret).to_owned();
    // Another key, in base64, as Azure wants it.
    bucket.set(secret, "c29tZWJvZHkgZWxzZSdzIHNlY3JldA==");
    let (status, output) = serve(&app, &bucket).await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.starts_with("print-upload: --store: ") && !output.contains("c29tZWJvZHk"), "{output}");

    bucket.set(secret, &right);
    bucket.set("c29tZWJvZHkg", "=");
    let (status, output) = serve(&app, &bucket).await;
    assert_eq!(status.code(), Some(1), "{output}");
    let problem = format!("line {} is no setting of this kind of store", bucket.settings.len());
    assert!(output.contains(&problem) && !output.contains("c29tZWJvZHk"), "{output}");
}
