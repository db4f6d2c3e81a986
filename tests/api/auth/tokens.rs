//! Access tokens, valid and invalid: one row each.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::RsaPublicKeyComponents,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Header, decode_header, encode, jwk::Jwk};
use print_upload::proto::UploadSession;
use print_upload_client::Credential;
use print_upload_dev::issuer::KeyType;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::harness::{
    Actor, App, Claims, ErrorExt, FOREIGN_TENANT, Rpc, SIZE, TENANT, application_claims, issuer, unknown_key,
    user_claims,
};

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// The id of one of the issuer's keys.
fn kid(key: KeyType) -> String {
    let token = user_claims().signed_with(key);
    decode_header(&token).expect("a header").kid.expect("a key id")
}

/// A JWT with any header.
fn forged(header: &Header, claims: &Claims, key: &EncodingKey) -> String {
    encode(header, claims.json(), key).expect("a token")
}

/// Encodes JSON as a part of a JWT.
fn part(json: &Value) -> String {
    let token = encode(&Header::default(), json, &EncodingKey::from_secret(b"any")).expect("a token");
    token.split('.').nth(1).expect("the claims").into()
}

/// A token without a signature, as in RFC 7519 §6, with any spelling of its algorithm.
fn unsigned(algorithm: &str, signature: &str) -> String {
    let header = part(&json!({"typ": "JWT", "alg": algorithm, "kid": kid(KeyType::Rsa)}));
    format!("{header}.{}.{signature}", part(user_claims().json()))
}

/// The forms of the issuer's public RSA key that an attacker could use as an HMAC key.
fn public_key_bytes() -> Vec<Vec<u8>> {
    let keys = issuer().key_set().expect("keys");
    let jwk: Jwk = serde_json::from_value(keys["keys"][0].clone()).expect("a key");
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { panic!("the first key is RSA") };
    let der: PublicKeyX509Der<'_> = RsaPublicKeyComponents { n, e }.as_der().expect("a key");
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der.as_ref()));
    vec![n.clone(), der.as_ref().into(), pem.into(), keys["keys"][0].to_string().into()]
}

async fn get_session(mut caller: Actor, session: &UploadSession) -> Result<(), Status> {
    let seen = caller.get(&session.name).await?;
    assert_eq!(&seen, session);
    Ok(())
}

async fn adas_session(app: &App) -> UploadSession {
    app.ada().create(&app.new_document().await, SIZE).await.expect("a session")
}

/// Calls with every token, and fails with those that were not refused as expected.
async fn try_all(app: &App, session: &UploadSession, tokens: Vec<(&str, String, &str)>) {
    let mut wrong = Vec::new();
    for (what, token, reason) in tokens {
        let answer = get_session(app.bearer(&token), session).await.map_err(|error| error.code_and_reason());
        if answer != Err((Code::Unauthenticated, reason.into())) {
            wrong.push(format!("{what}: {answer:?} in place of {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    get_session(app.ada(), session).await.expect("a valid token is still accepted");
}

#[tokio::test]
async fn a_token_that_is_no_bearer_token_is_refused() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    let good = user_claims().signed();
    let parts: Vec<&str> = good.split('.').collect();
    let authorization = |value: &str| Credential::AccessToken(value.parse().expect("metadata"));
    let headers = [
        (Credential::None, "TOKEN_MISSING"),
        (authorization(""), "TOKEN_MALFORMED"),
        (authorization("Bearer"), "TOKEN_MALFORMED"),
        (authorization("Bearer "), "TOKEN_MALFORMED"),
        (authorization(&good), "TOKEN_MALFORMED"),
        (authorization("Basic YWRhOnNlY3JldA=="), "TOKEN_MALFORMED"),
        (authorization(&format!("Basic {good}")), "TOKEN_MALFORMED"),
        (authorization(&format!("BearerToken {good}")), "TOKEN_MALFORMED"),
        (authorization("Bearer nonsense"), "TOKEN_MALFORMED"),
        (authorization("Bearer a.b.c"), "TOKEN_MALFORMED"),
        (authorization("Bearer .."), "TOKEN_MALFORMED"),
        (authorization(&format!("Bearer {}.{}", parts[0], parts[1])), "TOKEN_MALFORMED"),
        (authorization(&format!("Bearer {good}.more")), "TOKEN_MALFORMED"),
        (authorization(&format!("Bearer {good} {good}")), "TOKEN_MALFORMED"),
        (authorization(&format!("Bearer {}.{}.{}", part(&json!(1)), parts[1], parts[2])), "TOKEN_MALFORMED"),
        (authorization(&format!("Bearer {}.{}.{}", parts[0], part(&json!([])), parts[2])), "TOKEN_MALFORMED"),
    ];
    for (credential, reason) in headers {
        let case = format!("{credential:?}");
        let error = get_session(Actor::with(app.address, credential), &session).await.expect_err(&case);
        assert_eq!(error.code_and_reason(), (Code::Unauthenticated, reason.into()), "{case}");
    }
    let lower_case = authorization(&format!("bearer {good}"));
    get_session(Actor::with(app.address, lower_case), &session).await.expect("the scheme's case does not matter");
}

#[tokio::test]
async fn every_rpc_refuses_a_bad_token() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    let forger = forged(
        &Header { kid: Some(kid(KeyType::Rsa)), ..Header::new(Algorithm::RS256) },
        &user_claims(),
        &unknown_key(),
    );
    let bad = [(forger, "TOKEN_SIGNATURE_INVALID"), (unsigned("none", ""), "TOKEN_MALFORMED")];
    for (token, reason) in bad {
        for rpc in Rpc::all() {
            let name = rpc.resource(&session.document, &session.name);
            let error = app.bearer(&token).call(rpc, &name).await.expect_err("a bad token");
            assert_eq!(error.code_and_reason(), (Code::Unauthenticated, reason.into()), "{rpc:?}");
        }
    }
    get_session(app.ada(), &session).await.expect("nothing has changed");
}

#[tokio::test]
async fn a_token_that_its_issuer_has_not_signed_is_refused() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    let (rsa, p256, user) = (kid(KeyType::Rsa), kid(KeyType::P256), user_claims());
    let header = |algorithm, kid: &str| Header { kid: Some(kid.into()), ..Header::new(algorithm) };
    let good = user.signed();
    let (good_header, rest) = good.split_once('.').expect("a header");
    let (good_claims, signature) = rest.split_once('.').expect("claims");
    let bobs = part(user_claims().with("oid", "bob").json());
    let says_es256 = part(&json!({"typ": "JWT", "alg": "ES256", "kid": rsa}));
    let own_key =
        Header { jwk: Jwk::from_encoding_key(&unknown_key(), Algorithm::RS256).ok(), ..header(Algorithm::RS256, &rsa) };

    let mut tokens = vec![
        ("unsigned", unsigned("none", ""), "TOKEN_MALFORMED"),
        ("unsigned, in other words", unsigned("None", ""), "TOKEN_MALFORMED"),
        ("unsigned, with a signature", unsigned("none", signature), "TOKEN_MALFORMED"),
        ("its signature cut off", format!("{good_header}.{good_claims}."), "TOKEN_SIGNATURE_INVALID"),
        ("somebody else's claims", format!("{good_header}.{bobs}.{signature}"), "TOKEN_SIGNATURE_INVALID"),
        ("another algorithm in the header", format!("{says_es256}.{good_claims}.{signature}"), "TOKEN_ALGORITHM_WRONG"),
        ("an unknown key", forged(&header(Algorithm::RS256, "unknown"), &user, &unknown_key()), "TOKEN_KEY_UNKNOWN"),
        ("no key id", forged(&Header::new(Algorithm::RS256), &user, &unknown_key()), "TOKEN_KEY_UNKNOWN"),
        (
            "another key of a known id",
            forged(&header(Algorithm::RS256, &rsa), &user, &unknown_key()),
            "TOKEN_SIGNATURE_INVALID",
        ),
        ("a key in its own header", forged(&own_key, &user, &unknown_key()), "TOKEN_SIGNATURE_INVALID"),
        (
            "RSA under the id of the P-256 key",
            forged(&header(Algorithm::RS256, &p256), &user, &unknown_key()),
            "TOKEN_ALGORITHM_WRONG",
        ),
        (
            "RSA, but not its key's algorithm",
            forged(&header(Algorithm::RS512, &rsa), &user, &unknown_key()),
            "TOKEN_ALGORITHM_WRONG",
        ),
        ("RSA-PSS", forged(&header(Algorithm::PS256, &rsa), &user, &unknown_key()), "TOKEN_ALGORITHM_WRONG"),
    ];
    for secret in public_key_bytes() {
        let secret = EncodingKey::from_secret(&secret);
        tokens.push((
            "HMAC with the public key",
            forged(&header(Algorithm::HS256, &rsa), &user, &secret),
            "TOKEN_ALGORITHM_WRONG",
        ));
    }
    try_all(&app, &session, tokens).await;
}

/// Its signature is valid. But whoever signed it demands that the extensions are understood.
#[tokio::test]
async fn a_token_with_critical_extensions_is_refused() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    let with = |extension: &str, critical: Option<&[&str]>| {
        let change = |header: &mut Header| {
            header.extras.insert(extension, true);
            header.crit = critical.map(|critical| critical.iter().map(|name| (*name).to_owned()).collect());
        };
        issuer().sign_with(user_claims().json(), KeyType::Rsa, change).expect("a token")
    };
    let tokens = vec![
        ("an unknown one", with("http://example.com/odd", Some(&["http://example.com/odd"])), "TOKEN_MALFORMED"),
        ("one that other programs know", with("b64", Some(&["b64"])), "TOKEN_MALFORMED"),
        ("one that is not in the header", with("b64", Some(&["nothing"])), "TOKEN_MALFORMED"),
        ("none, against the standard", with("b64", Some(&[])), "TOKEN_MALFORMED"),
    ];
    try_all(&app, &session, tokens).await;
    let not_critical = with("http://example.com/odd", None);
    get_session(app.bearer(&not_critical), &session).await.expect("an extension that is not critical is ignored");
}

#[tokio::test]
async fn a_token_is_refused_outside_its_time_but_for_a_minute() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    let tokens = vec![
        ("expired", user_claims().with("exp", now() - 65), "TOKEN_EXPIRED"),
        ("long expired", user_claims().with("exp", 0), "TOKEN_EXPIRED"),
        ("not valid yet", user_claims().with("nbf", now() + 90), "TOKEN_NOT_YET_VALID"),
        ("no end", user_claims().without("exp"), "TOKEN_CLAIMS_INVALID"),
        ("an end that is no time", user_claims().with("exp", "never"), "TOKEN_CLAIMS_INVALID"),
        ("a beginning that is no time", user_claims().with("nbf", "never"), "TOKEN_CLAIMS_INVALID"),
    ];
    try_all(&app, &session, signed(tokens)).await;
    let good = [
        ("expired half a minute ago", user_claims().with("exp", now() - 30)),
        ("valid in half a minute", user_claims().with("nbf", now() + 30)),
        ("valid since ever", user_claims().without("nbf").without("iat")),
    ];
    for (what, claims) in good {
        get_session(app.bearer(&claims.signed()), &session).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[tokio::test]
async fn a_token_of_another_audience_issuer_or_tenant_is_refused() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    let foreign_iss = issuer().address.replace("{tenantid}", &FOREIGN_TENANT.to_string());
    let placeholder = issuer().address.as_str();
    let other = "http://127.0.0.1:9/{tenantid}/v2.0";
    let short = TENANT.simple().to_string();
    let tokens = vec![
        ("another audience", user_claims().with("aud", "api://another"), "TOKEN_AUDIENCE_WRONG"),
        ("a longer audience", user_claims().with("aud", "api://print-upload/more"), "TOKEN_AUDIENCE_WRONG"),
        ("an empty audience", user_claims().with("aud", ""), "TOKEN_AUDIENCE_WRONG"),
        ("no audience", user_claims().without("aud"), "TOKEN_CLAIMS_INVALID"),
        ("another issuer", user_claims().of(other), "TOKEN_ISSUER_UNKNOWN"),
        ("the issuer of another tenant", user_claims().with("iss", foreign_iss.as_str()), "TOKEN_ISSUER_UNKNOWN"),
        ("another tenant of the issuer", user_claims().with("tid", FOREIGN_TENANT.to_string()), "TOKEN_ISSUER_UNKNOWN"),
        ("an issuer with a slash more", user_claims().with("iss", format!("{foreign_iss}/")), "TOKEN_ISSUER_UNKNOWN"),
        ("the template itself", user_claims().with("iss", placeholder), "TOKEN_ISSUER_UNKNOWN"),
        ("the template for the template", user_claims().in_tenant("{tenantid}"), "TOKEN_CLAIMS_INVALID"),
        ("the metadata's tenant", user_claims().in_tenant("common"), "TOKEN_CLAIMS_INVALID"),
        ("a tenant that is no GUID", user_claims().in_tenant("contoso"), "TOKEN_CLAIMS_INVALID"),
        ("a tenant that is another spelling of a GUID", user_claims().in_tenant(&short), "TOKEN_CLAIMS_INVALID"),
        ("no issuer", user_claims().without("iss"), "TOKEN_MALFORMED"),
        ("no tenant", user_claims().without("tid"), "TOKEN_MALFORMED"),
    ];
    try_all(&app, &session, signed(tokens)).await;
}

#[tokio::test]
async fn a_token_that_does_not_name_the_caller_is_refused() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    let (user, robot) = (user_claims, application_claims);
    let tokens = [
        ("neither a user nor an application", user().without("scp")),
        ("neither, with roles", robot().without("idtyp")),
        ("a user without scopes", user().without("scp").with("idtyp", "user")),
        ("both", user().with("idtyp", "app").with("azp", "robot")),
        ("both, without any scope", robot().with("scp", "")),
        ("a user without an object id", user().without("oid")),
        (
            "a user without an object id, through a client",
            user().without("oid").with("sub", "ada").with("azp", "robot"),
        ),
        ("a user with an empty object id", user().with("oid", "")),
        ("a user with an odd object id", user().with("oid", "user:ada")),
        ("an application without a client id", robot().without("azp")),
        ("an application with an object id only", robot().without("azp").with("oid", "robot")),
        ("an application with an empty client id", robot().with("azp", "")),
        ("an application with two client ids", robot().with("appid", "another")),
    ];
    let tokens = tokens.map(|(what, claims)| (what, claims, "TOKEN_CLAIMS_INVALID"));
    try_all(&app, &session, signed(tokens.into())).await;
}

#[tokio::test]
async fn keys_of_both_types_sign_and_a_client_id_has_two_names() {
    let app = App::start().await;
    let session = adas_session(&app).await;
    for key in [KeyType::Rsa, KeyType::P256] {
        get_session(app.bearer(&user_claims().signed_with(key)), &session).await.expect("ada's session");
    }
    let robots = app.robot().create(&app.new_document().await, SIZE).await.expect("a session");
    let client_ids = [
        application_claims(),
        application_claims().without("azp").with("appid", "robot"),
        application_claims().with("appid", "robot"),
    ];
    for claims in client_ids {
        for key in [KeyType::Rsa, KeyType::P256] {
            get_session(app.bearer(&claims.signed_with(key)), &robots).await.expect("the robot's session");
        }
    }
}

/// The tokens of these claims, signed by the issuer.
fn signed<'a>(tokens: Vec<(&'a str, Claims, &'a str)>) -> Vec<(&'a str, String, &'a str)> {
    tokens.into_iter().map(|(what, claims, reason)| (what, claims.signed(), reason)).collect()
}
