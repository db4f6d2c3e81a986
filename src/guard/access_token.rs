//! Access tokens: JWTs of a trusted issuer, with the claim names of the Microsoft identity platform ("access token
//! claims reference").

use axum::http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Validation, dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;

use super::{Issuers, permission::Grant};
use crate::{
    error::{Error, TokenProblem},
    name::{self, TenantId},
    session::{Caller, Principal},
};

/// How far the clocks of the issuer and of this machine may differ, in seconds.
const LEEWAY_SECONDS: u64 = 60;

/// A verified access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The user or application that calls.
    pub caller: Caller,
    /// What the issuer has granted.
    pub grant: Grant,
}

/// The claims that choose the issuer, read before anything is verified.
#[derive(Deserialize)]
struct IssuerClaims {
    iss: String,
    tid: String,
}

#[derive(Deserialize)]
struct Claims {
    /// Object id of the user or of the application's service principal.
    oid: Option<String>,
    /// The client application, in v1 tokens.
    appid: Option<String>,
    /// The client application, in v2 tokens.
    azp: Option<String>,
    /// "app" in an application's token.
    idtyp: Option<String>,
    /// Delegated scopes, separated by spaces. Only in user tokens.
    scp: Option<String>,
    /// Application roles. In a user's token these are the user's own roles, which grant nothing here.
    roles: Option<Vec<String>>,
}

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
        let header = decode_header(token).map_err(|_| TokenProblem::NotSigned)?;
        let claims: IssuerClaims = insecure_decode_claims(token).map_err(|_| TokenProblem::NoIssuerOrTenant)?;
        let tenant = name::guid(&claims.tid).ok_or(TokenProblem::TenantNotGuid)?;
        let issuer = issuers.of(&claims.iss, &claims.tid).ok_or(TokenProblem::IssuerUnknown)?;
        let kid = header.kid.ok_or(TokenProblem::NoKeyId)?;
        let key = issuer
            .key(&kid)
            .await?
            .filter(|key| key.may_sign_for(&claims.iss, &claims.tid))
            .ok_or(TokenProblem::KeyUnknown)?;

        // The algorithm is the key's, never the header's.
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[claims.iss]);
        validation.set_audience(&issuers.audiences);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let claims = decode::<Claims>(token, &key.key, &validation).map_err(|error| problem(error.kind()))?.claims;
        claims.into_token(TenantId(tenant))
    }
}

impl Claims {
    /// `idtyp=app` marks the token of an application, `scp` that of a user. A token with both or neither is refused.
    fn into_token(self, tenant: TenantId) -> Result<AccessToken, Error> {
        let is_application = self.idtyp.as_deref() == Some("app");
        let (principal, grant) = match (is_application, self.scp) {
            (true, None) => {
                let roles = self.roles.unwrap_or_default().into_iter().collect();
                (Principal::Application(client_application(self.appid, self.azp)?), Grant::Application(roles))
            }
            (false, Some(scopes)) => {
                let oid = self.oid.as_deref().and_then(name::id);
                let oid = oid.ok_or(TokenProblem::NoObjectId)?;
                let scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
                (Principal::User(oid), Grant::Delegated(scopes))
            }
            _ => return Err(TokenProblem::NeitherUserNorApplication.into()),
        };
        Ok(AccessToken { caller: Caller { tenant, principal }, grant })
    }
}

fn client_application(appid: Option<String>, azp: Option<String>) -> Result<String, TokenProblem> {
    let contradicts = matches!((&appid, &azp), (Some(appid), Some(azp)) if appid != azp);
    let client = appid.or(azp).as_deref().and_then(name::id).filter(|_| !contradicts);
    client.ok_or(TokenProblem::NoClientApplication)
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
        _ => TokenProblem::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(claims: &str) -> Result<AccessToken, Error> {
        let claims: Claims = serde_json::from_str(claims).expect("claims");
        claims.into_token(TenantId(uuid::Uuid::from_u128(1)))
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
