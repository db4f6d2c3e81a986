//! The options about the issuers of access tokens: whom to trust, and where their keys are.

use std::{fs, path::PathBuf, str::FromStr, time::Duration};

use anyhow::Context;
use clap::Args;

use crate::config::duration;

/// The issuers of access tokens.
#[derive(Debug, Clone, Args)]
pub struct IssuerOptions {
    /// Issuer of access tokens, as in their claim `iss`. In a template issuer, {tenantid} stands for the tenant; its
    /// metadata are those of the tenant "common". With tenants behind it, only tokens for these tenants are accepted
    /// from the issuer: ADDRESS=TENANT,TENANT. Beside other issuers, one without {tenantid} must have them. Repeat the
    /// option, or separate several with commas.
    #[arg(long = "issuer", env = "ISSUER", value_delimiter = ',', value_name = "ADDRESS[=TENANT]", required = true)]
    pub issuers: Vec<String>,

    /// Where an issuer's metadata are found, if not at {issuer}/.well-known/openid-configuration: the issuer as in
    /// --issuer, `=`, and the URL. The metadata must name that issuer. Repeat it, or separate several with commas.
    #[arg(long, env = "ISSUER_METADATA", value_delimiter = ',', value_name = "ISSUER=URL")]
    pub issuer_metadata: Vec<Location>,

    /// Where an issuer's keys (JWKS) are found: the issuer as in --issuer, `=`, and the URL. Its metadata are not
    /// fetched then. Repeat it, or separate several with commas.
    #[arg(long, env = "ISSUER_KEYS", value_delimiter = ',', value_name = "ISSUER=URL")]
    pub issuer_keys: Vec<Location>,

    /// Authorities that may sign an issuer's certificate, besides the system's authorities, PEM.
    #[arg(long, env = "ISSUER_CA", value_name = "FILE")]
    pub issuer_ca: Option<PathBuf>,

    /// Accepted value of the claim `aud` of access tokens. Repeat it, or separate several with commas.
    #[arg(long = "audience", env = "AUDIENCE", value_delimiter = ',', required = true)]
    pub audiences: Vec<String>,

    /// How often the issuers' keys are fetched.
    #[arg(long, env = "KEYS_REFRESH", default_value = "1h", value_parser = duration)]
    pub keys_refresh: Duration,

    /// How often, at most, the issuers' keys are fetched because a token names an unknown key.
    #[arg(long, env = "KEYS_REFETCH", default_value = "10s", value_parser = duration)]
    pub keys_refetch: Duration,
}

/// Where a document of an issuer is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The issuer, as in its tokens.
    pub issuer: String,
    pub url: String,
}

impl IssuerOptions {
    /// The authorities of --issuer-ca, PEM.
    pub fn ca(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let read = |file: &PathBuf| fs::read(file).with_context(|| format!("--issuer-ca {}", file.display()));
        self.issuer_ca.as_ref().map(read).transpose()
    }
}

impl FromStr for Location {
    type Err = String;

    /// Splits at the first `=`: an issuer has no query.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(issuer, url)| !issuer.is_empty() && !url.is_empty());
        let (issuer, url) = parts.ok_or("must be ISSUER=URL")?;
        Ok(Self { issuer: issuer.into(), url: url.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_split_at_its_first_equals_sign() {
        let location: Location = "https://sts.example/{tenantid}/=https://keys.example/?appid=7".parse().expect("one");
        assert_eq!(location.issuer, "https://sts.example/{tenantid}/");
        assert_eq!(location.url, "https://keys.example/?appid=7");
        for text in ["", "https://sts.example", "=https://keys.example", "https://sts.example="] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
