//! Access tokens: JWTs of a trusted issuer, with the claim names of the Microsoft identity platform ("access token
//! claims reference").

use std::{collections::BTreeSet, sync::Arc};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Validation, dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Issuers, permission::Grant, remembered_tokens::Lifetime};
use crate::{
    error::{Error, TokenProblem},
    name::{self, TenantId},
    session::{Caller, Principal, identity},
};

/// How far the clocks of the issuer and of this machine may differ, in seconds.
pub(super) const LEEWAY_SECONDS: u64 = 60;

/// A verified access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The user or application that calls.
    pub caller: Caller,
    /// What the issuer has granted.
    pub grant: Grant,
    /// The tenants that the issuer is bound to. `None`: it may speak for every tenant.
    pub issuer_tenants: Option<Arc<[TenantId]>>,
}

/// The claims that choose the issuer, read before anything is verified.
#[derive(Deserialize)]
struct IssuerClaims {
    iss: String,
    tid: String,
}

/// The claims of a token that is verified.
///
/// - `oid`: object id of the user or of the application's service principal
/// - `appid`, `azp`: the client application, in v1 and in v2 tokens
/// - `idtyp`: "app" in an application's token
/// - `scp`: delegated scopes, only in user tokens
/// - `roles`: application roles; in a user's token these are the user's own roles, which grant nothing here
struct Claims(Map<String, Value>);

/// The token of an `Authorization: Bearer …` header.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let header = headers.get(AUTHORIZATION).ok_or(Error::MissingToken)?;
    let scheme_and_token = header.to_str().ok().and_then(|value| value.split_once(' '));
    let (scheme, token) = scheme_and_token.ok_or(TokenProblem::NotBearer)?;
    if scheme.eq_ignore_ascii_case("Bearer") { Ok(token.trim()) } else { Err(TokenProblem::NotBearer.into()) }
}

impl AccessToken {
    /// Verifies a token: the issuer is trusted, the key is one of the issuer's, signature, audience and time are valid,
    /// and the claims identify the caller.
    pub async fn verify(token: &str, issuers: &Issuers) -> Result<Self, Error> {
        if let Some(remembered) = issuers.remembered.get(token) {
            return Ok(remembered);
        }
        let header = decode_header(token).map_err(|_| TokenProblem::NotSigned)?;
        // Each extension that is critical must be understood (RFC 7515, section 4.1.11). None is.
        if header.crit.is_some() {
            return Err(TokenProblem::ExtensionUnknown.into());
        }
        let claims: IssuerClaims = insecure_decode_claims(token).map_err(|_| TokenProblem::NoIssuerOrTenant)?;
        let tenant = TenantId(name::guid(&claims.tid).ok_or(TokenProblem::TenantNotGuid)?);
        let issuer = issuers.of(&claims.iss, &claims.tid, tenant).ok_or(TokenProblem::IssuerUnknown)?;
        let kid = header.kid.ok_or(TokenProblem::NoKeyId)?;
        let keys = issuer.keys_with(&kid).await?.ok_or(TokenProblem::KeyUnknown)?;
        let key = keys.get(&kid).filter(|key| key.may_sign_for(&claims.iss, &claims.tid));
        let key = key.ok_or(TokenProblem::KeyUnknown)?;

        // The algorithm is the key's, never the header's.
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[claims.iss]);
        validation.set_audience(&issuers.audiences);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let claims = decode(token, &key.key, &validation).map_err(|error| problem(error.kind()))?.claims;
        let lifetime = Lifetime::of(&claims);
        let verified = Claims(claims).token(tenant, issuer.tenants())?;
        if let Some(lifetime) = lifetime {
            issuers.remembered.insert(token, verified.clone(), lifetime, issuer, Arc::clone(&keys));
        }
        Ok(verified)
    }
}

impl Claims {
    /// `idtyp=app` marks the token of an application, `scp` that of a user. A token with both or neither is refused.
    fn token(&self, tenant: TenantId, issuer_tenants: Option<Arc<[TenantId]>>) -> Result<AccessToken, Error> {
        let is_application = self.text("idtyp")? == Some("app");
        let (principal, grant) = match (is_application, self.words("scp")?) {
            (true, None) => {
                let roles = self.words("roles")?.unwrap_or_default();
                (Principal::Application(self.client_application()?), Grant::Application(roles))
            }
            (false, Some(scopes)) => {
                let oid = self.text("oid")?.and_then(identity).ok_or(TokenProblem::NoObjectId)?;
                (Principal::User(oid), Grant::Delegated(scopes))
            }
            (true, Some(_)) => return Err(TokenProblem::BothUserAndApplication.into()),
            (false, None) => return Err(TokenProblem::NeitherUserNorApplication.into()),
        };
        Ok(AccessToken { caller: Caller { tenant, principal }, grant, issuer_tenants })
    }

    fn client_application(&self) -> Result<String, TokenProblem> {
        let (appid, azp) = (self.text("appid")?.map(identity), self.text("azp")?.map(identity));
        let contradicts = matches!((&appid, &azp), (Some(appid), Some(azp)) if appid != azp);
        appid.or(azp).flatten().filter(|_| !contradicts).ok_or(TokenProblem::NoClientApplication)
    }

    /// A claim that is a text. `None` if it is missing or null.
    fn text(&self, claim: &'static str) -> Result<Option<&str>, TokenProblem> {
        match self.0.get(claim) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenProblem::ClaimMalformed(claim)),
        }
    }

    /// A claim that is a list of words. Issuers write it as a text with spaces or as an array of texts.
    fn words(&self, claim: &'static str) -> Result<Option<BTreeSet<String>>, TokenProblem> {
        let Some(Value::Array(words)) = self.0.get(claim) else {
            let words = self.text(claim)?.map(|text| text.split_ascii_whitespace().map(str::to_owned).collect());
            return Ok(words);
        };
        let words = words.iter().map(|word| word.as_str().map(str::to_owned));
        words.collect::<Option<_>>().map(Some).ok_or(TokenProblem::ClaimMalformed(claim))
    }
}

fn problem(kind: &ErrorKind) -> TokenProblem {
    match kind {
        ErrorKind::InvalidSignature => TokenProblem::SignatureInvalid,
        ErrorKind::ExpiredSignature => TokenProblem::Expired,
        ErrorKind::ImmatureSignature => TokenProblem::NotYetValid,
        ErrorKind::InvalidAudience => TokenProblem::AudienceWrong,
        ErrorKind::InvalidIssuer => TokenProblem::IssuerUnknown,
        ErrorKind::InvalidAlgorithm => TokenProblem::AlgorithmWrong,
        ErrorKind::MissingRequiredClaim(_) => TokenProblem::ClaimMissing,
        ErrorKind::InvalidClaimFormat(claim) if claim == "nbf" => TokenProblem::ClaimMalformed("nbf"),
        ErrorKind::InvalidClaimFormat(_) => TokenProblem::ClaimMalformed("exp"),
        _ => TokenProblem::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(claims: &str) -> Result<AccessToken, Error> {
        Claims(serde_json::from_str(claims).expect("claims")).token(TenantId(uuid::Uuid::from_u128(1)), None)
    }

    #[test]
    fn a_users_roles_are_not_application_permissions() {
        let token = read(r#"{"oid": "ada", "scp": "PrintJob.Read", "roles": ["PrintJob.ReadWrite.All"]}"#);
        let token = token.expect("a delegated token");
        assert_eq!(token.caller.principal, Principal::User("ada".into()));
        assert_eq!(token.grant, Grant::Delegated(["PrintJob.Read".to_owned()].into()));
    }

    #[test]
    fn an_application_is_identified_by_its_client_id() {
        for claim in ["appid", "azp"] {
            let token = read(&format!(r#"{{"oid": "o", "{claim}": "robot", "idtyp": "app"}}"#)).expect("a token");
            assert_eq!(token.caller.principal, Principal::Application("robot".into()));
        }
    }

    #[test]
    fn lists_are_texts_or_arrays() {
        let scopes = ["PrintJob.Read".to_owned(), "Printer.Read.All".to_owned()];
        for scp in [r#""PrintJob.Read  Printer.Read.All""#, r#"["Printer.Read.All", "PrintJob.Read"]"#] {
            let token = read(&format!(r#"{{"oid": "ada", "scp": {scp}, "roles": 7}}"#)).expect("a token");
            assert_eq!(token.grant, Grant::Delegated(scopes.clone().into()), "{scp}");
        }
        for roles in [r#""PrintJob.Read Printer.Read.All""#, r#"["Printer.Read.All", "PrintJob.Read"]"#] {
            let token = read(&format!(r#"{{"appid": "robot", "idtyp": "app", "roles": {roles}}}"#)).expect("a token");
            assert_eq!(token.grant, Grant::Application(scopes.clone().into()), "{roles}");
        }
        for empty in ["\"\"", "[]"] {
            let token = read(&format!(r#"{{"oid": "ada", "scp": {empty}}}"#)).expect("a user without scopes");
            assert_eq!(token.grant, Grant::Delegated(BTreeSet::new()));
        }
    }

    #[test]
    fn a_claim_of_the_wrong_kind_is_named() {
        for (claim, claims) in [
            ("scp", r#"{"oid": "ada", "scp": {"a": 1}}"#),
            ("scp", r#"{"oid": "ada", "scp": ["a", 1]}"#),
            ("scp", r#"{"oid": "ada", "scp": true}"#),
            ("oid", r#"{"oid": 7, "scp": "a"}"#),
            ("idtyp", r#"{"oid": "ada", "scp": "a", "idtyp": ["app"]}"#),
            ("roles", r#"{"appid": "robot", "idtyp": "app", "roles": 7}"#),
            ("azp", r#"{"azp": ["robot"], "idtyp": "app"}"#),
        ] {
            let problem = read(claims).expect_err(claims).to_string();
            assert!(problem.contains(&format!("`{claim}`")), "{claims}: {problem}");
        }
    }

    #[test]
    fn a_guid_in_capitals_is_the_same_identity() {
        let (small, capital) = ("0f9d3a52-7a6d-4c59-9f0c-0a1b2c3d4e5f", "0F9D3A52-7A6D-4C59-9F0C-0A1B2C3D4E5F");
        for claims in [
            format!(r#"{{"oid": "{capital}", "scp": "a"}}"#),
            format!(r#"{{"appid": "{capital}", "azp": "{small}", "idtyp": "app"}}"#),
        ] {
            let principal = read(&claims).expect("a token").caller.principal.to_string();
            assert_eq!(principal.split_once(':').expect("an id").1, small);
        }
    }

    #[test]
    fn a_token_that_is_both_or_neither_is_refused() {
        let tokens = [
            r#"{"oid": "ada"}"#,
            r#"{"oid": "ada", "roles": ["PrintJob.ReadWrite.All"], "appid": "robot"}"#,
            r#"{"oid": "ada", "idtyp": "user"}"#,
            r#"{"oid": "ada", "idtyp": "app", "scp": "PrintJob.Read", "appid": "robot"}"#,
            r#"{"scp": "PrintJob.Read"}"#,
            r#"{"oid": "a:b", "scp": "PrintJob.Read"}"#,
            r#"{"idtyp": "app"}"#,
            r#"{"idtyp": "app", "appid": "robot", "azp": "other"}"#,
        ];
        for claims in tokens {
            assert!(read(claims).is_err(), "{claims}");
        }
    }
}
