//! Large access tokens: those of users with hundreds of groups. Both transports accept and refuse the same ones.

use axum::http::Method;
use print_upload_client::{Credential, MAX_CREDENTIAL_BYTES};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Actor, App, ErrorExt, Program, RestActor, refused, user_claims};

/// A token of ada's with this many groups, each a GUID.
fn with_groups(groups: usize) -> String {
    let groups: Vec<_> = (0..groups).map(|group| Uuid::from_u128(group as u128).to_string()).collect();
    user_claims().with("groups", json!(groups)).signed()
}

#[tokio::test]
async fn a_token_with_250_groups_is_accepted_over_both_transports() {
    let app = App::start().await;
    let (_gateway, gateway) = Program::gateway(&[app.address], &[]).await;
    let token = with_groups(250);
    assert!(token.len() > 13_000, "{}", token.len());
    let document = app.new_document().await;
    app.bearer(&token).create(&document, 10).await.expect("over gRPC");
    let path = format!("/print/{document}/uploadSession");
    for address in [app.rest_address, gateway] {
        let answer = RestActor::new(address, Some(&token)).get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let base = format!("http://{}", app.rest_address);
    assert_eq!(RestActor::over(http2, &base, Some(&token)).get(&path).await.status, 200, "over HTTP/2");
}

#[tokio::test]
async fn what_is_too_large_is_refused_as_such_over_both_transports() {
    let app = App::start().await;
    let (_gateway, gateway) = Program::gateway(&[app.address], &[]).await;
    let document = app.new_document().await;
    let session = app.ada().create(&document, 10).await.expect("a session");
    let longest = MAX_CREDENTIAL_BYTES - "Bearer ".len();
    for (length, is_accepted) in [(longest, true), (longest + 1, false), (40_000, false)] {
        let token = "x".repeat(length);
        let error = app.bearer(&token).get(&session.name).await.expect_err("no token");
        let expected = if is_accepted {
            (Code::Unauthenticated, "TOKEN_MALFORMED")
        } else {
            (Code::ResourceExhausted, "CREDENTIAL_TOO_LARGE")
        };
        assert_eq!(error.code_and_reason(), (expected.0, expected.1.into()), "{length}");
        assert_eq!(error.retry_delay(), None, "it would fail again");
        let status = if is_accepted { 401 } else { 431 };
        for address in [app.rest_address, gateway] {
            let answer = RestActor::new(address, Some(&token)).get(&format!("/print/{document}/uploadSession")).await;
            assert_eq!(answer.reason(), refused(status, expected.1), "{length}");
        }
    }
    let credential = Credential::UploadToken("x".repeat(MAX_CREDENTIAL_BYTES + 1).parse().expect("metadata"));
    let error = Actor::with(app.address, credential).get(&session.name).await.expect_err("no token");
    assert_eq!(error.metadata_of("max_bytes"), Some(MAX_CREDENTIAL_BYTES.to_string()));
    let answer = app.rest(&app.ada()).send(Method::GET, "/nothing", &[("x-large", &"x".repeat(1_000_000))], "").await;
    assert_eq!(answer.status, 431, "the server itself refuses headers without end");
}
