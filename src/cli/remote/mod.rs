//! The commands that call a service: what they have in common.

mod cancel;
mod download;
mod failure;
mod interrupt;
mod output;
mod progress;
mod size;
mod status;
mod target;
mod upload;
mod watch;

pub(super) use cancel::Cancel;
pub(super) use download::Download;
pub(super) use failure::EXIT_CODES;
pub(super) use status::Status;
pub(super) use upload::Upload;
pub(super) use watch::Watch;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use print_upload_client::{self as client, Client, Credential, Transport};
use secrecy::{ExposeSecret, SecretString};
use tokio::task::spawn_blocking;

use self::failure::Failure;
use crate::config::duration;

/// Where the service is.
#[derive(Debug, Args)]
pub struct Server {
    /// Where the service is: host:port, http://host:port or https://host:port. Repeat it, or separate several with commas:
    /// calls are spread over those that say that they serve. Without a scheme it is https when --ca is given, else http.
    #[arg(
        long = "server",
        value_name = "ADDRESS",
        help_heading = "Service",
        env = "GRPC_ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:50051"
    )]
    servers: Vec<String>,

    /// Who signs the service's certificate, PEM [default: the system's authorities].
    #[arg(long, env = "CA_CERT", value_name = "FILE", help_heading = "Service")]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    ca: Option<PathBuf>,
}

/// How a command calls the service, and how it answers.
#[derive(Debug, Args)]
pub(super) struct Remote {
    #[command(flatten)]
    server: Server,

    /// Access token [env: PRINT_UPLOAD_TOKEN]. On a command line others can read it: better use the environment, or a file.
    #[arg(long, help_heading = "Service")]
    token: Option<SecretString>,

    /// File with the access token, read anew for every call; a pipe is read once. Goes before --token.
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    token_file: Option<PathBuf>,

    /// How long a call may take; sending and receiving may take longer, as long as bytes move.
    #[arg(long, default_value = "30s", value_parser = duration, help_heading = "Service")]
    timeout: Duration,

    /// Print one JSON object on standard output, and errors as JSON on standard error.
    #[arg(long)]
    json: bool,
}

/// In place of an access token, for those who were handed an upload URL.
#[derive(Debug, Args)]
pub(super) struct UploadUrl {
    /// Upload URL, as printed by `status --show-upload-url` [env: PRINT_UPLOAD_URL]. It names the session and replaces the token.
    /// Other users can read command lines: prefer the environment variable, which this option overrides.
    #[arg(long = "upload-url", value_name = "URL", conflicts_with_all = ["token", "token_file"])]
    #[arg(help_heading = "Service")]
    url: Option<SecretString>,
}

/// How long a command that takes its time goes on trying.
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// How long to go on, once under way, while the service cannot be reached or has no room.
    #[arg(long, default_value = "1m", value_parser = duration, help_heading = "Service")]
    patience: Duration,
}

impl Server {
    /// The way to the service. Nothing is connected yet.
    pub fn connect(&self) -> anyhow::Result<Transport> {
        let ca = self.ca.as_ref().filter(|file| !file.as_os_str().is_empty());
        let endpoints: Vec<String> = self.servers.iter().map(|server| with_scheme(server, ca.is_some())).collect();
        let plain = endpoints.iter().find(|endpoint| endpoint.starts_with("http://"));
        if let (Some(_), Some(plain)) = (ca, plain) {
            anyhow::bail!("--ca applies only to https, but {plain} is plain http");
        }
        let ca = ca.map(|file| fs::read(file).with_context(|| format!("--ca {}", file.display()))).transpose()?;
        client::connect(&endpoints, ca.as_deref()).context("--server")
    }
}

/// An address of a service, with a scheme where it has none: https where there is an authority to trust.
pub(super) fn with_scheme(server: &str, has_ca: bool) -> String {
    let scheme = if has_ca { "https" } else { "http" };
    if server.contains("://") { server.to_owned() } else { format!("{scheme}://{server}") }
}

impl UploadUrl {
    /// The upload URL, from the command line or the environment.
    fn given(&self) -> Option<SecretString> {
        self.url.clone().or_else(|| variable("PRINT_UPLOAD_URL"))
    }
}

impl Remote {
    /// A client with the caller's token.
    async fn client(&self) -> Result<Client, Failure> {
        let credential = match (&self.token_file, self.token.clone().or_else(|| variable("PRINT_UPLOAD_TOKEN"))) {
            (Some(file), _) => token_file(file.clone()).await,
            (None, Some(token)) => Credential::access_token(token.expose_secret()),
            (None, None) => return Err(Failure::usage("say who you are: --token, --token-file or PRINT_UPLOAD_TOKEN")),
        };
        self.client_with(credential)
    }

    /// A client with the upload URL where one is given, else with the caller's token. What the command line says goes before
    /// the environment; when that has both, a session that is named is the token's.
    async fn client_or_holder(&self, upload_url: &UploadUrl, is_named: bool) -> Result<Client, Failure> {
        let has_token = self.token.is_some() || self.token_file.is_some();
        let is_by_token = has_token || (is_named && variable("PRINT_UPLOAD_TOKEN").is_some());
        match upload_url.given() {
            Some(url) if upload_url.url.is_some() || !is_by_token => {
                self.client_with(Credential::of_upload_url(url.expose_secret()))
            }
            _ => self.client().await,
        }
    }

    fn client_with(&self, credential: anyhow::Result<Credential>) -> Result<Client, Failure> {
        let credential = credential.map_err(|error| Failure::new(4, format!("{error:#}")))?;
        let transport = self.server.connect().map_err(|error| Failure::usage(&format!("{error:#}")))?;
        Ok(Client::over(transport, credential).with_timeout(self.timeout))
    }

    /// Tells how a command has ended.
    fn end(&self, result: Result<ExitCode, Failure>) -> ExitCode {
        result.unwrap_or_else(|failure| failure.at(&self.server.servers.join(", ")).tell(self.json))
    }
}

/// A secret in the environment. An empty one counts as absent.
fn variable(name: &str) -> Option<SecretString> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(SecretString::from)
}

/// Reads the token beside everything else: a pipe may have no writer yet.
async fn token_file(file: PathBuf) -> anyhow::Result<Credential> {
    spawn_blocking(move || Credential::token_file(&file)).await?
}
