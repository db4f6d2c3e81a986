//! Whose keys are trusted, for what, and since when: real issuers over HTTP, whose metadata and keys change.

use std::time::Duration;

use print_upload::proto::{GetUploadSessionRequest, UploadSession};
use print_upload_dev::issuer::KeyType;
use serde_json::json;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::harness::{App, Authority, Claims, ErrorExt, FOREIGN_TENANT, SIZE, TENANT, eventually, issuer, user_claims};

/// A service that trusts these issuers as well, and a session of ada's.
async fn app_that_trusts(authorities: &[&Authority]) -> (App, UploadSession) {
    app_that_refetches(authorities, "1ms").await
}

async fn app_that_refetches(authorities: &[&Authority], refetch: &str) -> (App, UploadSession) {
    // An issuer without a placeholder must be bound, beside others.
    let issuers = authorities.iter().map(|authority| {
        if authority.address.contains("{tenantid}") { authority.address.clone() } else { authority.bound_to(TENANT) }
    });
    let issuers: Vec<String> = issuers.chain([issuer().address.clone()]).collect();
    let app = App::with([("issuer", issuers.join(",").as_str()), ("keys-refetch", refetch)]).await;
    let session = app.ada().create(&app.new_document().await, SIZE).await.expect("a session");
    (app, session)
}

pub(super) async fn get_session(app: &App, token: &str, session: &UploadSession) -> Result<(), Status> {
    let seen = app.bearer(token).get(&session.name).await?;
    assert_eq!(&seen, session);
    Ok(())
}

pub(super) async fn refusal(app: &App, token: &str, session: &UploadSession) -> (Code, String) {
    get_session(app, token, session).await.expect_err("a token that does not hold").code_and_reason()
}

fn key_unknown() -> (Code, String) {
    (Code::Unauthenticated, "TOKEN_KEY_UNKNOWN".into())
}

#[tokio::test]
async fn an_issuer_signs_for_itself_and_not_for_others() {
    let (template, fixed) = (Authority::template().await, Authority::fixed().await);
    let stranger = Authority::template().await;
    let (app, session) = app_that_trusts(&[&template, &fixed]).await;
    for key in [KeyType::Rsa, KeyType::P256] {
        get_session(&app, &template.sign(&user_claims(), key), &session).await.expect("a template issuer's token");
        get_session(&app, &fixed.sign(&user_claims(), key), &session).await.expect("an issuer's with one address");
    }
    let of = |authority: &Authority| user_claims().of(&authority.address);
    assert_eq!(refusal(&app, &fixed.forge(&of(&template)), &session).await, key_unknown());
    assert_eq!(refusal(&app, &template.forge(&of(&fixed)), &session).await, key_unknown());
    assert_eq!(refusal(&app, &template.forge(&user_claims()), &session).await, key_unknown());
    let unknown = (Code::Unauthenticated, "TOKEN_ISSUER_UNKNOWN".into());
    assert_eq!(refusal(&app, &stranger.sign(&user_claims(), KeyType::Rsa), &session).await, unknown);
    assert_eq!(stranger.fetches(), 0, "nobody asks an issuer that is not trusted");
}

#[tokio::test]
async fn a_keys_own_issuer_bounds_what_it_signs_for() {
    let template = Authority::template().await;
    let of_tenant = |tenant: &str| template.address.replace("{tenantid}", tenant);
    let (ours, theirs) = (of_tenant(&TENANT.to_string()), of_tenant(&FOREIGN_TENANT.to_string()));
    template.publish_keys(|keys| {
        keys[0]["issuer"] = json!(template.address);
        keys[1]["issuer"] = json!(theirs);
    });
    let (app, session) = app_that_trusts(&[&template]).await;
    get_session(&app, &template.sign(&user_claims(), KeyType::Rsa), &session).await.expect("a key for any tenant");
    assert_eq!(refusal(&app, &template.sign(&user_claims(), KeyType::P256), &session).await, key_unknown());
    let of_theirs = user_claims().with("tid", FOREIGN_TENANT.to_string());
    let seen = refusal(&app, &template.sign(&of_theirs, KeyType::P256), &session).await;
    assert_eq!(seen, (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()), "the other tenant's key is good there");

    // Values that do not match this tenant: another issuer, or no text at all.
    let others = [json!("http://127.0.0.1:9/{tenantid}/v2.0"), json!(""), json!(7), json!(null), json!([ours])];
    for other in others {
        template.publish_keys(|keys| keys[1]["issuer"] = other.clone());
        let (app, session) = app_that_trusts(&[&template]).await;
        assert_eq!(
            refusal(&app, &template.sign(&user_claims(), KeyType::P256), &session).await,
            key_unknown(),
            "{other}"
        );
    }
}

#[tokio::test]
async fn only_signing_keys_of_an_allowed_algorithm_are_accepted() {
    let [own_alg, encrypting, symmetric, odd_alg, no_key, unusual] = [
        Authority::template().await,
        Authority::template().await,
        Authority::template().await,
        Authority::template().await,
        Authority::template().await,
        Authority::template().await,
    ];
    own_alg.publish_keys(|keys| {
        keys[0]["alg"] = json!("RS256");
        keys[1]["alg"] = json!("ES256");
    });
    // The first key is the RSA one; the other stays as it is.
    encrypting.publish_keys(|keys| keys[0]["use"] = json!("enc"));
    symmetric.publish_keys(|keys| {
        let kid = keys[0]["kid"].clone();
        keys[0] = json!({"kty": "oct", "use": "sig", "alg": "HS256", "kid": kid, "k": "c2VjcmV0"});
    });
    odd_alg.publish_keys(|keys| keys[0]["alg"] = json!("HS256"));
    no_key.publish_keys(|keys| keys.iter_mut().for_each(|key| key["use"] = json!("enc")));
    unusual.publish_keys(|keys| {
        keys[0]["alg"] = json!("RS384");
        keys.insert(0, json!({"kty": "of the future", "kid": "1"}));
        keys.insert(0, json!("no key at all"));
        keys.iter_mut().filter_map(|key| key.as_object_mut()).for_each(|key| drop(key.remove("use")));
    });
    let (app, session) = app_that_trusts(&[&own_alg, &encrypting, &symmetric, &odd_alg, &no_key, &unusual]).await;
    for key in [KeyType::Rsa, KeyType::P256] {
        get_session(&app, &own_alg.sign(&user_claims(), key), &session).await.expect("a key with its own `alg`");
        let unavailable = (Code::Unavailable, "ISSUER_KEYS_UNAVAILABLE".into());
        assert_eq!(refusal(&app, &no_key.sign(&user_claims(), key), &session).await, unavailable);
    }
    for authority in [&encrypting, &symmetric, &odd_alg] {
        get_session(&app, &authority.sign(&user_claims(), KeyType::P256), &session).await.expect("the other key");
        assert_eq!(refusal(&app, &authority.sign(&user_claims(), KeyType::Rsa), &session).await, key_unknown());
    }
    get_session(&app, &unusual.sign(&user_claims(), KeyType::P256), &session)
        .await
        .expect("unknown members are ignored");
    let wrong = (Code::Unauthenticated, "TOKEN_ALGORITHM_WRONG".into());
    assert_eq!(
        refusal(&app, &unusual.sign(&user_claims(), KeyType::Rsa), &session).await,
        wrong,
        "RS256 by an RS384 key"
    );
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_an_old_one_is_forgotten() {
    let mut authority = Authority::template().await;
    let (app, session) = app_that_trusts(&[&authority]).await;
    let old = authority.sign(&user_claims(), KeyType::Rsa);
    get_session(&app, &old, &session).await.expect("the first key");

    authority.rotate();
    get_session(&app, &old, &session).await.expect("the first key is still in the cache");
    let new = authority.sign(&user_claims(), KeyType::Rsa);
    eventually("the new key is accepted", async || get_session(&app, &new, &session).await.is_ok()).await;
    assert_eq!(refusal(&app, &old, &session).await, key_unknown(), "its issuer has taken it back");
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_service_ask_again_and_again() {
    let mut authority = Authority::template().await;
    let (app, session) = app_that_refetches(&[&authority], "1h").await;
    get_session(&app, &authority.sign(&user_claims(), KeyType::Rsa), &session).await.expect("the first key");
    authority.rotate();
    get_session(&app, &authority.sign(&user_claims(), KeyType::Rsa), &session)
        .await
        .expect("the new key, which is asked for");
    let fetches = authority.fetches();

    authority.rotate();
    for _ in 0..20 {
        assert_eq!(refusal(&app, &authority.sign(&user_claims(), KeyType::Rsa), &session).await, key_unknown());
    }
    assert_eq!(authority.fetches(), fetches);
}

/// A caller without a credential of its own can send tokens with any key id.
#[tokio::test]
async fn callers_who_hang_up_do_not_make_the_service_ask_again_and_again() {
    let mut authority = Authority::template().await;
    let (app, session) = app_that_refetches(&[&authority], "1h").await;
    get_session(&app, &authority.sign(&user_claims(), KeyType::Rsa), &session).await.expect("the first key");
    authority.rotate();
    let hasty = app.bearer(&authority.sign(&user_claims(), KeyType::Rsa));
    let hang_up = async || {
        let mut request = Request::new(GetUploadSessionRequest { name: session.name.clone() });
        request.set_timeout(Duration::from_millis(10));
        hasty.client.sessions.clone().get_upload_session(request).await.expect_err("no answer in time");
    };
    let before = authority.metadata_fetches();
    authority.hold_metadata(true);

    eventually("a call has arrived", async || {
        hang_up().await;
        authority.metadata_fetches() > before
    })
    .await;
    for _ in 0..20 {
        hang_up().await;
    }

    authority.hold_metadata(false);
    // It waits for the fetch that the others have begun.
    get_session(&app, &authority.sign(&user_claims(), KeyType::Rsa), &session).await.expect("the new key");
    assert_eq!(authority.metadata_fetches(), before + 1);
}

/// The call is `UNAVAILABLE`. The caller cannot be identified now, but the token may be valid.
async fn is_unavailable(app: &App, token: &str, session: &UploadSession) {
    let error = get_session(app, token, session).await.expect_err("no keys");
    assert_eq!(error.code_and_reason(), (Code::Unavailable, "ISSUER_KEYS_UNAVAILABLE".into()));
    let retry = error.get_details_retry_info().expect("when to retry");
    assert!(retry.retry_delay.is_some_and(|delay| !delay.is_zero()));
}

#[tokio::test]
async fn while_an_issuer_is_down_its_tokens_are_unavailable_not_refused() {
    let (mut down, mut later) = (Authority::down().await, Authority::template().await);
    let (app, session) = app_that_trusts(&[&down, &later]).await;
    let claims: Claims = user_claims();
    is_unavailable(&app, &down.sign(&claims, KeyType::Rsa), &session).await;
    is_unavailable(&app, &down.forge(&claims.clone().of(&down.address)), &session).await;
    get_session(&app, &user_claims().signed(), &session).await.expect("other issuers are not touched");

    let known = later.sign(&claims, KeyType::Rsa);
    get_session(&app, &known, &session).await.expect("a key");
    later.stop().await;
    later.rotate();
    get_session(&app, &known, &session).await.expect("the key is in the cache");
    let unknown = later.sign(&claims, KeyType::Rsa);
    eventually("an unknown key cannot be judged", async || {
        refusal(&app, &unknown, &session).await == (Code::Unavailable, "ISSUER_KEYS_UNAVAILABLE".into())
    })
    .await;

    down.restart().await;
    let token = down.sign(&claims, KeyType::Rsa);
    eventually("the issuer is back", async || get_session(&app, &token, &session).await.is_ok()).await;
}

#[tokio::test]
async fn metadata_that_are_not_the_issuers_own_are_not_trusted() {
    let [liar, of_one_tenant, with_slash, elsewhere, keyless] = [
        Authority::template().await,
        Authority::template().await,
        Authority::fixed().await,
        Authority::template().await,
        Authority::template().await,
    ];
    liar.publish_metadata("issuer", &issuer().address);
    of_one_tenant.publish_metadata("issuer", &of_one_tenant.address.replace("{tenantid}", &TENANT.to_string()));
    with_slash.publish_metadata("issuer", &format!("{}/", with_slash.address));
    // The issuer answers there, but plain http is allowed on loopback addresses only, and this is none.
    let not_loopback = elsewhere.address.replace("127.0.0.1", "0.0.0.0").replace("{tenantid}/v2.0", "keys");
    elsewhere.publish_metadata("jwks_uri", &not_loopback);
    keyless.publish_metadata("jwks_uri", &keyless.address.replace("{tenantid}/v2.0", "nothing"));
    let authorities = [&liar, &of_one_tenant, &with_slash, &elsewhere, &keyless];
    let (app, session) = app_that_trusts(&authorities).await;
    for authority in authorities {
        for key in [KeyType::Rsa, KeyType::P256] {
            is_unavailable(&app, &authority.sign(&user_claims(), key), &session).await;
        }
    }
    let fetches: usize = authorities.iter().map(|authority| authority.fetches()).sum();
    assert_eq!(fetches, 0, "their keys are not even fetched");
}

#[tokio::test]
async fn v1_tokens_are_accepted_from_their_own_issuer() {
    let v1 = Authority::v1().await;
    let (app, session) = app_that_trusts(&[&v1]).await;
    for claims in [user_claims().with("ver", "1.0"), user_claims().with("ver", "1.0").with("appid", "some-client")] {
        get_session(&app, &v1.sign(&claims, KeyType::Rsa), &session).await.expect("a v1 token");
    }
    let robot = crate::harness::application_claims();
    let robot = robot.clone().without("azp").with("appid", robot.json()["azp"].as_str().expect("an id"));
    let document = app.new_document().await;
    app.bearer(&v1.sign(&robot, KeyType::Rsa)).create(&document, SIZE).await.expect("an application's v1 token");
    let without_slash = v1.address.trim_end_matches('/').replace("{tenantid}", &TENANT.to_string());
    let (code, _) = refusal(&app, &v1.forge(&user_claims().with("iss", without_slash)), &session).await;
    assert_eq!(code, Code::Unauthenticated);
}

#[tokio::test]
async fn an_issuers_metadata_or_keys_may_be_elsewhere() {
    let [by_metadata, by_keys] = [Authority::elsewhere().await, Authority::elsewhere().await];
    for (authority, flag, url) in
        [(&by_metadata, "issuer-metadata", by_metadata.metadata_url()), (&by_keys, "issuer-keys", by_keys.keys_url())]
    {
        let location = format!("{}={url}", authority.address);
        let issuers = format!("{},{}", authority.address, issuer().address);
        let app = App::with([("issuer", issuers.as_str()), (flag, location.as_str())]).await;
        let session = app.ada().create(&app.new_document().await, SIZE).await.expect("a session");
        let token = authority.sign(&user_claims(), KeyType::Rsa);
        get_session(&app, &token, &session).await.expect("a token of the issuer by its name");
        assert!(authority.fetches() > 0);
        assert_eq!(refusal(&app, &authority.forge(&user_claims()), &session).await, key_unknown());
    }
    // Metadata that name another issuer are not trusted, wherever they are.
    by_metadata.publish_metadata("issuer", &issuer().address);
    let location = format!("{}={}", by_metadata.address, by_metadata.metadata_url());
    let issuers = format!("{},{}", by_metadata.address, issuer().address);
    let app = App::with([("issuer", issuers.as_str()), ("issuer-metadata", location.as_str())]).await;
    let session = app.ada().create(&app.new_document().await, SIZE).await.expect("a session");
    is_unavailable(&app, &by_metadata.sign(&user_claims(), KeyType::Rsa), &session).await;
}
