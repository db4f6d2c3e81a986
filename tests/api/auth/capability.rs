//! The capability in an `upload_url`: it permits sending to, reading and canceling one session, and nothing else.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use print_upload::{
    guard::UploadUrls,
    name::{SessionId, TenantId},
    proto::{
        DeleteUploadSessionRequest, GetUploadSessionRequest, UploadSession,
        upload_session::{EndReason, State},
    },
    session::Capability,
};
use print_upload_client::{Credential, UPLOAD_TOKEN};
use secrecy::SecretString;
use serde_json::{Value, json};
use tonic::{Code, Request, Status, metadata::MetadataValue};
use uuid::Uuid;

use crate::harness::{
    Actor, App, ErrorExt, FOREIGN_TENANT, ROBOT, Rpc, SIZE, TENANT, eventually, sample_bytes, user_claims,
};

fn refusal(reason: &str) -> (Code, String) {
    (Code::PermissionDenied, reason.into())
}

fn unauthenticated(reason: &str) -> (Code, String) {
    (Code::Unauthenticated, reason.into())
}

fn upload_token(session: &UploadSession) -> String {
    session.upload_url.split_once("tempauthtoken=").expect("a token").1.into()
}

/// A caller who presents this text as an upload token.
fn holder_of(app: &App, token: &str) -> Actor {
    Actor::with(app.address, Credential::UploadToken(token.parse().expect("metadata")))
}

/// Reads a session with the actor's access token and an upload token.
async fn get_with_both(actor: &mut Actor, session: &UploadSession, token: &str) -> Result<UploadSession, Status> {
    let mut request = Request::new(GetUploadSessionRequest { name: session.name.clone() });
    request.metadata_mut().insert(UPLOAD_TOKEN, MetadataValue::try_from(token).expect("metadata"));
    Ok(actor.client.sessions.get_upload_session(request).await?.into_inner())
}

#[tokio::test]
async fn the_holder_of_the_url_uploads_the_document_where_nobody_else_could() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(SIZE));
    let session = ada.create(&document, SIZE).await.expect("a session");
    let mut holder = app.bob().holder_of(&session);
    app.subscribe(TENANT, false, 2).await;
    assert_eq!(ada.get(&session.name).await.expect_err("no subscription").reason(), "SUBSCRIPTION_NOT_ACTIVE");

    let seen = holder.get(&session.name).await.expect("the session");
    assert_eq!(seen, session, "the holder acts in the owner's name");
    holder.send(&session, &bytes, 500..SIZE).await.expect("the second half");
    let answer = holder.send(&session, &bytes, 0..500).await.expect("the first half");
    assert_eq!(answer.state(), State::Completed);

    app.subscribe(TENANT, true, 3).await;
    assert_eq!(ada.download(&document, 0).await.expect("the document").1, bytes);
    let error = holder.delete(&session.name).await.expect_err("nothing left to cancel");
    assert_eq!(error.code_and_reason(), (Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".into()));
    assert_eq!(holder.get(&session.name).await.expect("the session").state(), State::Completed);
}

#[tokio::test]
async fn after_the_holder_has_canceled_the_url_still_reads_and_cancels() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(SIZE));
    let session = ada.create(&document, SIZE).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("the first half");
    let mut holder = app.bob().holder_of(&session);

    holder.delete(&session.name).await.expect("cancelled");
    let canceled = holder.get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.state(), canceled.end_reason()), (State::Canceled, EndReason::Deleted));
    assert_eq!(canceled.ended_by, session.owner);
    let late = holder.send(&session, &bytes, 500..SIZE).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));

    let newer = ada.create(&document, SIZE).await.expect("a new session");
    holder.delete(&session.name).await.expect("cancelled already");
    let with_etag =
        |etag: &str| DeleteUploadSessionRequest { name: session.name.clone(), etag: etag.into(), ..Default::default() };
    holder.delete_with(with_etag(&session.etag)).await.expect("cancelled already");
    let error = holder.delete_with(with_etag(&newer.etag)).await.expect_err("another session's etag");
    assert_eq!(error.code_and_reason(), (Code::Aborted, "ETAG_MISMATCH".into()));
    assert_eq!(holder.get(&session.name).await.expect("the tombstone"), canceled, "nothing has changed");
    assert_eq!(ada.get(&newer.name).await.expect("the new session"), newer, "nothing has changed");
    eventually("the bytes are gone", async || app.is_reclaimed(&session)).await;
}

/// The URL sends and cancels, so that whoever gets one must be allowed to send.
#[tokio::test]
async fn a_caller_who_may_only_read_gets_no_url() {
    let app = App::start().await;
    let (mut ada, mut robot) = (app.ada(), app.robot());
    for scopes in [["PrintJob.Create", "Printer.Read.All"], ["PrintJob.ReadWrite.All", "PrinterShare.Read.All"]] {
        let document = app.new_document().await;
        let document =
            if scopes[1] == "Printer.Read.All" { document } else { document.replacen("printers/p/", "shares/s/", 1) };
        let created = app.user(TENANT, "ada", &scopes).create(&document, SIZE).await.expect("a session");
        assert!(!created.upload_url.is_empty(), "{scopes:?}");
    }
    let adas = ada.create(&app.new_document().await, SIZE).await.expect("a session");
    let robots = robot.create(&app.new_document().await, SIZE).await.expect("a session");
    let reader = |scope: &str| app.user(TENANT, "ada", &[scope, "Printer.Read.All"]);
    let robot_with = |role: &str| app.application(TENANT, ROBOT, &[role, "Printer.Read.All"]);
    let of_document = format!("{}/uploadSession", adas.document);
    for (mut caller, session, may_send) in [
        (reader("PrintJob.Read"), &adas, false),
        (reader("PrintJob.Read.All"), &adas, false),
        (reader("PrintJob.ReadWrite"), &adas, true),
        (robot_with("PrintJob.Read.All"), &robots, false),
        (robot_with("PrintJob.ReadWrite.All"), &robots, true),
        (ada.holder_of(&adas), &adas, true),
    ] {
        let seen = caller.get(&session.name).await.expect("the session");
        assert_eq!(!seen.upload_url.is_empty(), may_send, "{caller:?}");
        assert_eq!(UploadSession { upload_url: session.upload_url.clone(), ..seen }, *session, "all else is there");
    }
    assert_eq!(reader("PrintJob.Read").get(&of_document).await.expect("the session").upload_url, "");

    let path = format!("/v1.0/print/{of_document}");
    for (caller, may_send) in [(reader("PrintJob.Read"), false), (app.ada(), true)] {
        let answer = app.rest(&caller).get(&path).await;
        assert_eq!((answer.status, answer.json().get("uploadUrl").is_some()), (200, may_send), "{answer:?}");
        assert_eq!(answer.json()["id"], adas.etag.as_str(), "all else is there");
    }
}

#[tokio::test]
async fn it_is_good_for_its_own_session_by_its_id_and_for_nothing_else() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let another = ada.create(&app.new_document().await, SIZE).await.expect("another session");
    let mut holder = ada.holder_of(&session);
    let never_existed = format!("uploadSessions/{}", Uuid::now_v7());
    let shared = document.replacen("printers/p/", "shares/s/", 1);
    let of_document = [format!("{document}/uploadSession"), format!("{shared}/uploadSession")];
    let names = of_document.iter().chain([&another.name, &never_existed]);
    for name in names {
        for rpc in Rpc::OF_SESSIONS {
            let error = holder.call(rpc, name).await.expect_err("not its session");
            assert_eq!(error.code_and_reason(), refusal("UPLOAD_TOKEN_NOT_ACCEPTED"), "{rpc:?} of {name}");
        }
        let request = DeleteUploadSessionRequest { name: name.clone(), allow_missing: true, ..Default::default() };
        let error = holder.delete_with(request).await.expect_err("not its session");
        assert_eq!(error.code_and_reason(), refusal("UPLOAD_TOKEN_NOT_ACCEPTED"), "{name}");
    }
    for rpc in Rpc::OF_DOCUMENTS.into_iter().chain(Rpc::OF_CATALOG) {
        let error = holder.call(rpc, &rpc.resource(&document, "")).await.expect_err("no session's RPC");
        assert_eq!(error.code_and_reason(), refusal("UPLOAD_TOKEN_NOT_ACCEPTED"), "{rpc:?}");
    }
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");
    assert_eq!(ada.get(&another.name).await.expect("the session"), another, "nothing has changed");
}

#[tokio::test]
async fn when_there_is_an_upload_token_it_alone_is_judged() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let another = ada.create(&app.new_document().await, SIZE).await.expect("another session");
    let (good, anothers) = (upload_token(&session), upload_token(&another));
    let mut late = app.bearer(&user_claims().with("exp", 1_700_000_000).signed());
    assert_eq!(late.get(&session.name).await.expect_err("expired").reason(), "TOKEN_EXPIRED");

    for mut caller in [late, app.bob(), app.mallory(), app.bearer("nonsense")] {
        let seen = get_with_both(&mut caller, &session, &good).await.expect("the upload token is enough");
        assert_eq!(seen, session);
    }
    let tampered = format!("{}AAAA", &good[..good.len() - 4]);
    for (token, expected) in [
        ("", unauthenticated("UPLOAD_TOKEN_INVALID")),
        ("nonsense", unauthenticated("UPLOAD_TOKEN_INVALID")),
        (&tampered, unauthenticated("UPLOAD_TOKEN_INVALID")),
        (&anothers, refusal("UPLOAD_TOKEN_NOT_ACCEPTED")),
    ] {
        let error = get_with_both(&mut ada, &session, token).await.expect_err("no rescue by the access token");
        assert_eq!(error.code_and_reason(), expected, "{token}");
    }
}

#[tokio::test]
async fn neither_kind_of_token_passes_as_the_other() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let key = EncodingKey::from_secret(app.flag("upload-token-key").as_bytes());
    let with_upload_key = |claims: &Value| encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token");
    let capability = user_claims().with("sid", session.etag.clone()).with("aud", "print-upload/upload-url");
    let of_audience = |audience: &str| {
        with_upload_key(&json!({"aud": audience, "exp": 9_999_999_999_u64, "tid": TENANT, "sid": session.etag}))
    };
    assert!(
        holder_of(&app, &of_audience("print-upload/upload-url")).get(&session.name).await.is_ok(),
        "what is copied"
    );

    let not_upload_tokens = [
        ("an access token", user_claims().signed()),
        ("an access token that claims to be a capability", capability.signed()),
        ("an access token's audience", of_audience("api://print-upload")),
        ("no audience", with_upload_key(&json!({"exp": 9_999_999_999_u64, "tid": TENANT, "sid": session.etag}))),
        ("no end", with_upload_key(&json!({"aud": "print-upload/upload-url", "tid": TENANT, "sid": session.etag}))),
    ];
    for (what, token) in not_upload_tokens {
        for rpc in Rpc::OF_SESSIONS {
            let error = holder_of(&app, &token).call(rpc, &session.name).await.expect_err(what);
            assert_eq!(error.code_and_reason(), unauthenticated("UPLOAD_TOKEN_INVALID"), "{what}: {rpc:?}");
        }
    }
    let not_access_tokens = [
        ("an upload token", upload_token(&session), "TOKEN_MALFORMED"),
        ("an upload token with an access token's claims", with_upload_key(user_claims().json()), "TOKEN_KEY_UNKNOWN"),
        ("a capability of the issuer's", capability.signed(), "TOKEN_AUDIENCE_WRONG"),
    ];
    for (what, token, reason) in not_access_tokens {
        for rpc in Rpc::all() {
            let error = app.bearer(&token).call(rpc, &rpc.resource(&document, &session.name)).await.expect_err(what);
            assert_eq!(error.code_and_reason(), unauthenticated(reason), "{what}: {rpc:?}");
        }
    }
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");
}

#[tokio::test]
async fn it_ends_with_the_sessions_hard_cap_and_holds_in_its_tenant_only() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let id = SessionId(session.etag.parse().expect("an id"));
    let urls = |key: &str| UploadUrls::new("http://upload.example", &[SecretString::from(key)]).expect("keys");
    let holder = |urls: &UploadUrls, tenant, until| {
        let capability = Capability { tenant: TenantId(tenant), session: id, url_generation: 0 };
        let url = urls.sign(capability, until).expect("a URL");
        app.ada().holder_of(&UploadSession { upload_url: url, ..Default::default() })
    };
    let own = urls(app.flag("upload-token-key"));
    let (later, before) = (SystemTime::now() + Duration::from_secs(600), SystemTime::now() - Duration::from_secs(600));
    let cases = [
        (holder(&own, TENANT, before), unauthenticated("UPLOAD_TOKEN_EXPIRED")),
        (holder(&own, FOREIGN_TENANT, later), (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into())),
        (holder(&urls(&"x".repeat(40)), TENANT, later), unauthenticated("UPLOAD_TOKEN_INVALID")),
    ];
    for (mut holder, expected) in cases {
        for rpc in Rpc::BY_UPLOAD_URL {
            let error = holder.call(rpc, &session.name).await.expect_err("not its session");
            assert_eq!(error.code_and_reason(), expected, "{rpc:?}");
        }
    }
    assert_eq!(holder(&own, TENANT, later).get(&session.name).await.expect("the session"), session);

    // The session's row decides, not the token.
    app.make_overdue(&session).await;
    let seen = holder(&own, TENANT, later).get(&session.name).await.expect("the session");
    assert_eq!((seen.state(), seen.upload_url), (State::Expired, String::new()));
    let error = holder(&own, TENANT, later).call(Rpc::UploadRange, &session.name).await.expect_err("expired");
    assert_eq!(error.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_EXPIRED".into()));
}
