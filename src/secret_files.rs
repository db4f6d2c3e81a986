//! Secrets of the configuration. Each is given directly or in a file. The process list and the environment do not
//! reveal a file's content. An empty value counts as not given.

use std::{fs, time::Duration};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use tokio::{task::spawn_blocking, time::sleep};
use url::Url;

use crate::text::without_mark;

/// How often a file is read again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

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
        // The text itself is never shown: it has the password.
        ensure!(
            is_unambiguous(url.expose_secret()),
            "{flag} is no valid address: in its password, characters such as # / % @ : ? must be percent-encoded \
             (% is %25, @ is %40)"
        );
        Ok(url)
    }

    /// Reads the file again every second, and passes on an address that has changed. Returns at once if there is no
    /// file. While the new address cannot be used, the old one stays.
    pub async fn follow(&self, use_address: impl Fn(&SecretString) -> anyhow::Result<()>) {
        if given(&self.database_url_file).is_none() {
            return;
        }
        let database = self.clone();
        let read = move || Ok(vec![database.read()?]);
        let use_addresses = |addresses: &[SecretString]| addresses.iter().try_for_each(&use_address);
        follow(read, use_addresses, ADDRESS_MESSAGES).await;
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

    /// File that holds these secrets, one per line, instead of --upload-token-key. Read again when it changes.
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

    /// Reads the file again every second, and passes on keys that have changed. Returns at once if there is no file.
    /// While the new keys cannot be used, the old ones stay.
    pub async fn follow(&self, use_keys: impl Fn(&[SecretString]) -> anyhow::Result<()>) {
        if given(&self.upload_token_key_file).is_none() {
            return;
        }
        let keys = self.clone();
        follow(move || keys.read(), use_keys, KEY_MESSAGES).await;
    }
}

/// What is logged of a file that is followed.
struct Messages {
    read_again: &'static str,
    old_stays: &'static str,
}

const ADDRESS_MESSAGES: Messages = Messages {
    read_again: "the address of the database was read again: new connections use it",
    old_stays: "the old address of the database stays in use",
};

const KEY_MESSAGES: Messages = Messages {
    read_again: "the keys of upload URLs were read again: the first one signs from now on",
    old_stays: "the old keys of upload URLs stay in use",
};

/// Reads secrets every second, and passes them on when they have changed. Passes them on the first time as well: they
/// may have changed since the program read them at its start.
async fn follow(
    read: impl Fn() -> anyhow::Result<Vec<SecretString>> + Clone + Send + 'static,
    use_secrets: impl Fn(&[SecretString]) -> anyhow::Result<()>,
    messages: Messages,
) {
    let mut current: Option<Vec<SecretString>> = None;
    let mut is_failing = false;
    loop {
        let secrets = spawn_blocking(read.clone()).await.unwrap_or_else(|error| Err(error.into()));
        let used = match secrets {
            Ok(secrets) if current.as_ref().is_some_and(|current| are_same(&secrets, current)) => Ok(()),
            Ok(secrets) => use_secrets(&secrets).map(|()| {
                if current.replace(secrets).is_some() || is_failing {
                    tracing::info!("{}", messages.read_again);
                }
            }),
            Err(error) => Err(error),
        };
        if let (Err(error), false) = (&used, is_failing) {
            tracing::warn!(error = format!("{error:#}"), "{}", messages.old_stays);
        }
        is_failing = used.is_err();
        sleep(RELOAD_INTERVAL).await;
    }
}

fn are_same(one: &[SecretString], other: &[SecretString]) -> bool {
    let is_same = |(one, other): (&SecretString, &SecretString)| one.expose_secret() == other.expose_secret();
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

/// Whether an address can only be read in one way. In a password that is not encoded, a `#`, `/` or `?` ends the host,
/// and what follows is taken for another part.
fn is_unambiguous(address: &str) -> bool {
    let is_encoded = address
        .split('%')
        .skip(1)
        .all(|piece| piece.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    let Ok(url) = Url::parse(address) else { return false };
    let query = url.query().unwrap_or_default();
    // The first option of a query has a value before anything else.
    let query_has_host = query.split_once('@').is_some_and(|(before, _)| !before.contains('='));
    let path_has_host = url.path().contains('@') || url.path().matches('/').count() > 1;
    is_encoded && url.fragment().is_none() && !path_has_host && !query_has_host
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the start of the program and that of this task the file may have changed.
    #[tokio::test]
    async fn keys_are_passed_on_when_they_are_first_followed_and_when_they_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys");
        fs::write(&file, "one\ntwo\n").expect("a file");
        let upload_token_key_file = Some(file.display().to_string());
        let keys = UploadTokenKeys { upload_token_keys: Vec::new(), upload_token_key_file };
        let (sender, mut used) = tokio::sync::mpsc::unbounded_channel();
        let following = tokio::spawn(async move {
            let use_keys = |keys: &[SecretString]| {
                let keys: Vec<String> = keys.iter().map(|key| key.expose_secret().to_owned()).collect();
                Ok(sender.send(keys)?)
            };
            keys.follow(use_keys).await;
        });

        assert_eq!(used.recv().await.expect("keys"), ["one", "two"]);
        fs::write(&file, "three").expect("a file");
        assert_eq!(used.recv().await.expect("keys"), ["three"], "once each");
        following.abort();
    }

    #[test]
    fn a_password_that_is_not_encoded_is_noticed() {
        for address in [
            "postgres://user:password@host/database",
            "postgresql://user:p%40ss%23%25@host:5432/database?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://user:pa@ss@host/database",
            "postgres://user@host",
            "postgres://%2Frun%2Fpostgresql/database",
            "postgres:///database?host=/run/postgresql&user=a@b",
            "postgres://user:p@[::1]:5432/database?application_name=a@b",
        ] {
            assert!(is_unambiguous(address), "{address}");
        }
        for address in [
            "postgres://user:pa#ss@host/database",
            "postgres://user:12#ss@host/database",
            "postgres://user:pa/ss@host/database",
            "postgres://user:12/ss@host/database",
            "postgres://user:pa?ss@host/database",
            "postgres://user:12?ss@host/database",
            "postgres://user:pa%ss@host/database",
            "postgres://user:pa%2@host/database",
            "postgres://user:password@host:port/database",
        ] {
            assert!(!is_unambiguous(address), "{address}");
        }
    }
}
