//! Secrets of the configuration. Each is given directly or in a file. The process list and the environment do not
//! reveal a file's content. An empty value counts as not given.

use std::fs;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::text::without_mark;

/// The address of Postgres.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct DatabaseUrl {
    /// Postgres (15 or newer), postgres://user:password@host/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,

    /// File that holds the address of Postgres, instead of --database-url.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<String>,
}

impl DatabaseUrl {
    /// The address, password included.
    pub fn read(&self) -> anyhow::Result<SecretString> {
        let direct = self.database_url.as_ref().filter(|url| !url.expose_secret().is_empty());
        let (flag, url) = match given(&self.database_url_file) {
            Some(_) if direct.is_some() => return Err(both("--database-url", "DATABASE_URL")),
            Some(file) => ("--database-url-file", read("--database-url-file", file)?),
            None => ("--database-url", direct.cloned().unwrap_or_default()),
        };
        let schemes = ["postgres://", "postgresql://"];
        let is_postgres = schemes.iter().any(|scheme| url.expose_secret().starts_with(scheme));
        ensure!(is_postgres, "{flag} must be postgres://user:password@host/database");
        Ok(url)
    }
}

/// The keys that sign upload URLs.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct UploadTokenKeys {
    /// Secret of at least 32 bytes that signs upload URLs. Separate several with commas: the first one signs, and each
    /// is accepted. All replicas need the same ones.
    #[arg(long = "upload-token-key", env = "UPLOAD_TOKEN_KEY", value_delimiter = ',', hide_env_values = true)]
    upload_token_keys: Vec<SecretString>,

    /// File that holds these secrets, one per line, instead of --upload-token-key.
    #[arg(long, env = "UPLOAD_TOKEN_KEY_FILE", value_name = "FILE")]
    upload_token_key_file: Option<String>,
}

impl UploadTokenKeys {
    /// The secrets. The first one signs.
    pub fn read(&self) -> anyhow::Result<Vec<SecretString>> {
        let Some(file) = given(&self.upload_token_key_file) else { return Ok(self.upload_token_keys.clone()) };
        if self.upload_token_keys.iter().any(|key| !key.expose_secret().is_empty()) {
            return Err(both("--upload-token-key", "UPLOAD_TOKEN_KEY"));
        }
        let keys = read("--upload-token-key-file", file)?;
        let lines = keys.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<SecretString> = lines.map(SecretString::from).collect();
        ensure!(!keys.is_empty(), "--upload-token-key-file {file} holds no key");
        Ok(keys)
    }
}

fn given(file: &Option<String>) -> Option<&str> {
    file.as_deref().filter(|file| !file.is_empty())
}

/// Neither takes precedence: one of them may be a forgotten environment variable.
fn both(flag: &str, variable: &str) -> anyhow::Error {
    anyhow!("{flag} ({variable}) and {flag}-file ({variable}_FILE) are both given: give one of them")
}

fn read(flag: &str, file: &str) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(file).with_context(|| format!("{flag} {file}"))?;
    Ok(without_mark(&text).trim().into())
}
