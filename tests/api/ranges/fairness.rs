//! Who gets the permits of ranges: a caller at most a quarter of them, a tenant at most half, and a tenant that holds
//! none gets one all the same.

use std::fs;

use print_upload::proto::UploadSession;
use tonic::Status;
use uuid::{Uuid, uuid};

use crate::harness::{Actor, App, Digest, ErrorExt, FOREIGN_TENANT, Stalled, TENANT, eventually, header, sample_bytes};

const SIZE: usize = 1000;

const OTHER_TENANTS: [Uuid; 3] = [
    uuid!("11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa"),
    uuid!("22222222-aaaa-4aaa-8aaa-aaaaaaaaaaaa"),
    uuid!("33333333-aaaa-4aaa-8aaa-aaaaaaaaaaaa"),
];

/// A range that lacks its last byte, and its session.
struct Held {
    session: UploadSession,
    stalled: Stalled,
}

/// Sends a range to a new session of the user's, except its last byte.
async fn hold(app: &App, tenant: Uuid, user: &Actor) -> Result<Held, Status> {
    let session = user.clone().create_with_job(SIZE).await.expect("a session");
    hold_in(app, tenant, user, session).await
}

/// Waits until the range is being stored, or is refused.
async fn hold_in(app: &App, tenant: Uuid, sender: &Actor, session: UploadSession) -> Result<Held, Status> {
    let stalled = sender.stall(&session, &sample_bytes(SIZE), 0..SIZE);
    let folder = app.bytes_folder().join(tenant.to_string()).join(&session.etag);
    let has_file = || fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    eventually("it is being stored, or refused", async || stalled.1.is_finished() || has_file()).await;
    if stalled.1.is_finished() {
        return Err(stalled.1.await.expect("no panic").expect_err("it lacks a byte"));
    }
    Ok(Held { session, stalled })
}

/// Why the user gets no further permit.
async fn refused(app: &App, tenant: Uuid, user: &Actor) -> (String, usize) {
    let held = hold(app, tenant, user).await;
    held.err().expect("no permit").too_many_transfers()
}

fn limit(name: &str, max: usize) -> (String, usize) {
    (name.into(), max)
}

#[tokio::test]
async fn a_tenant_with_half_sent_ranges_leaves_permits_for_the_others() {
    let app = App::with([("max-transfers", "8")]).await;
    for tenant in OTHER_TENANTS {
        app.push_tenant(tenant).await;
    }
    // Of eight, two are a reserve.
    let greedy = [0, 1, 2].map(|user| app.uploader(FOREIGN_TENANT, &format!("greedy-{user}")));
    let mut held = Vec::new();
    for user in &greedy[..2] {
        for _ in 0..2 {
            held.push(hold(&app, FOREIGN_TENANT, user).await.expect("a quarter"));
        }
        assert_eq!(refused(&app, FOREIGN_TENANT, user).await, limit("caller", 2));
    }
    assert_eq!(refused(&app, FOREIGN_TENANT, &greedy[2]).await, limit("tenant", 4));

    // Two of the six others are left for a second tenant.
    let second = OTHER_TENANTS[0];
    let users = [0, 1, 2].map(|user| app.uploader(second, &format!("second-{user}")));
    held.push(hold(&app, second, &users[0]).await.expect("the first"));
    assert_eq!(refused(&app, second, &users[0]).await, limit("caller", 1));
    held.push(hold(&app, second, &users[1]).await.expect("another user's"));
    assert_eq!(refused(&app, second, &users[2]).await, limit("tenant", 2));

    // A tenant that holds none uploads a document while all of them stall.
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(4 * SIZE));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for start in [0, SIZE, 2 * SIZE, 3 * SIZE] {
        ada.send(&session, &bytes, start..start + SIZE).await.expect("a range");
    }
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);
    assert!(held.iter().all(|held| !held.stalled.1.is_finished()), "nobody was interrupted");

    // Two tenants that hold none take the reserve. Then all permits are held, and a cancel still gets through.
    held.push(hold(&app, TENANT, &ada).await.expect("one of the reserve"));
    assert_eq!(refused(&app, TENANT, &app.uploader(TENANT, "bob")).await, limit("tenant", 1));
    let third = app.uploader(OTHER_TENANTS[1], "third");
    held.push(hold(&app, OTHER_TENANTS[1], &third).await.expect("the last one"));
    let last = app.uploader(OTHER_TENANTS[2], "last");
    assert_eq!(refused(&app, OTHER_TENANTS[2], &last).await, limit("replica", 8));
    let Held { session, stalled } = held.swap_remove(0);
    greedy[0].clone().delete(&session.name).await.expect("a cancel is never refused for load");
    assert_eq!(stalled.1.await.expect("no panic").expect_err("canceled").reason(), "UPLOAD_SESSION_CANCELED");
    held.push(hold(&app, OTHER_TENANTS[2], &last).await.expect("the permit of the canceled session"));
}

#[tokio::test]
async fn upload_urls_count_for_the_owner_of_their_sessions() {
    let app = App::with([("max-transfers", "8")]).await;
    let (ada, eve) = (app.uploader(TENANT, "ada"), app.uploader(TENANT, "eve"));
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(ada.clone().create_with_job(SIZE).await.expect("a session"));
    }
    let mut held = Vec::new();
    for session in &sessions[..2] {
        let holder = ada.holder_of(session);
        held.push(hold_in(&app, TENANT, &holder, session.clone()).await.expect("a quarter"));
    }

    let third = hold_in(&app, TENANT, &ada.holder_of(&sessions[2]), sessions[2].clone()).await;
    assert_eq!(third.err().expect("no permit").too_many_transfers(), limit("caller", 2));
    assert_eq!(refused(&app, TENANT, &ada).await, limit("caller", 2));
    held.push(hold(&app, TENANT, &eve).await.expect("another user's"));
}

#[tokio::test]
async fn where_there_is_one_tenant_one_user_may_take_all_permits() {
    let app = App::with([("max-transfers", "4"), ("fair-transfers", "false")]).await;
    let ada = app.ada();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(hold(&app, TENANT, &ada).await.expect("one of four"));
    }
    assert_eq!(refused(&app, TENANT, &ada).await, limit("replica", 4));
    assert_eq!(refused(&app, FOREIGN_TENANT, &app.uploader(FOREIGN_TENANT, "stranger")).await, limit("replica", 4));

    ada.clone().delete(&held[0].session.name).await.expect("a cancel is never refused for load");
    held.swap_remove(0).stalled.1.await.expect("no panic").expect_err("canceled");
    held.push(hold(&app, TENANT, &ada).await.expect("the permit of the canceled session"));
}

/// Ada has one permit at most. However a range ends, the next one gets it.
#[tokio::test]
async fn a_permit_is_returned_however_its_range_ends() {
    let app = App::with([("max-transfers", "4")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    let held = hold(&app, TENANT, &ada).await.expect("a permit");
    assert_eq!(refused(&app, TENANT, &ada).await, limit("caller", 1));

    // The caller hangs up.
    held.stalled.1.abort();
    drop(held.stalled.0);
    eventually("the permit is returned", async || ada.send(&held.session, &bytes, 0..10).await.is_ok()).await;

    // The session is canceled.
    let held = hold(&app, TENANT, &ada).await.expect("a permit");
    ada.delete(&held.session.name).await.expect("deleted");
    held.stalled.1.await.expect("no panic").expect_err("canceled");

    // The range is refused: before its body is read, and after.
    let session = ada.create_with_job(SIZE).await.expect("a session");
    let refusals = [
        app.bob().send(&session, &bytes, 0..10).await,
        ada.send(&session, &sample_bytes(2 * SIZE), 0..2 * SIZE).await,
        ada.client.upload_range(Digest::Crc32c.put_on(header(&session, 0..10), &[0; 10]), bytes.slice(..10)).await,
        ada.client.upload_range(header(&session, 0..10), bytes.slice(..9)).await,
    ];
    let reasons = refusals.map(|refused| refused.expect_err("refused").reason());
    assert_eq!(reasons, ["NOT_SESSION_OWNER", "INVALID_FIELD", "DIGEST_MISMATCH", "RANGE_LENGTH_MISMATCH"]);

    // It is committed, repeated, and completes the document.
    ada.send_with_crc32c(&session, &bytes, 0..10).await.expect("committed");
    ada.send_with_crc32c(&session, &bytes, 0..10).await.expect("confirmed");
    ada.send(&session, &bytes, 10..SIZE).await.expect("completed");
    hold(&app, TENANT, &ada).await.expect("the permit is free again");
}
