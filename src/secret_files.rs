//! Secrets of the configuration: each given directly, or in a file, which neither the process list nor the environment
//! shows.

use std::{fs, path::PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

/// Where Postgres is.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct DatabaseUrl {
    /// Postgres (15 or newer), postgres://user:password@host/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,

    /// File that holds the address of Postgres.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

impl DatabaseUrl {
    /// The address, password included.
    pub fn read(&self) -> anyhow::Result<SecretString> {
        let url = match (&self.database_url, &self.database_url_file) {
            (_, Some(file)) => read("--database-url-file", file)?,
            (Some(url), None) => url.clone(),
            // Only for a configuration that was not parsed.
            (None, None) => SecretString::default(),
        };
        let schemes = ["postgres://", "postgresql://"];
        let is_postgres = schemes.iter().any(|scheme| url.expose_secret().starts_with(scheme));
        let flag = if self.database_url_file.is_some() { "--database-url-file" } else { "--database-url" };
        ensure!(is_postgres, "{flag} must be postgres://user:password@host/database");
        Ok(url)
    }
}

/// What upload URLs are signed with.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct UploadTokenKeys {
    /// Secret of at least 32 bytes that upload URLs are signed with. The first one signs, all verify; replicas share
    /// them. Separate several with commas.
    #[arg(long = "upload-token-key", env = "UPLOAD_TOKEN_KEY", value_delimiter = ',', hide_env_values = true)]
    upload_token_keys: Vec<SecretString>,

    /// File that holds these secrets, one a line.
    #[arg(long, env = "UPLOAD_TOKEN_KEY_FILE", value_name = "FILE")]
    upload_token_key_file: Option<PathBuf>,
}

impl UploadTokenKeys {
    /// The secrets, the one that signs first.
    pub fn read(&self) -> anyhow::Result<Vec<SecretString>> {
        let Some(file) = &self.upload_token_key_file else { return Ok(self.upload_token_keys.clone()) };
        let keys = read("--upload-token-key-file", file)?;
        let lines = keys.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<SecretString> = lines.map(SecretString::from).collect();
        ensure!(!keys.is_empty(), "--upload-token-key-file {} holds no key", file.display());
        Ok(keys)
    }
}

fn read(flag: &str, file: &PathBuf) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(file).with_context(|| format!("{flag} {}", file.display()))?;
    Ok(text.trim().into())
}
