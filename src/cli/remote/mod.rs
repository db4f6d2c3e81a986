//! The commands of those who upload: `upload`, `status`, `watch`, `cancel` and `download`. This file has what they
//! share: the address of the service, the credential, retries, and how a command ends.

mod cancel;
mod download;
mod exit;
mod failure;
mod interrupt;
mod output;
mod progress;
mod size;
mod spool;
mod status;
mod target;
mod upload;
mod watch;

pub(super) use cancel::Cancel;
pub(super) use download::Download;
pub(super) use exit::EXIT_CODES;
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

use self::{exit::Exit, failure::Failure};
use crate::config::duration;

/// Where the service is.
#[derive(Debug, Args)]
pub struct ServiceAddress {
    /// Address of the service: host:port, http://host:port or https://host:port. Without a scheme it is https when --ca
    /// is given, else http. Repeat it, or separate several with commas: calls are spread over the replicas that report
    /// that they serve.
    #[arg(
        long = "server",
        value_name = "ADDRESS",
        help_heading = "Service",
        env = "GRPC_ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:50051"
    )]
    servers: Vec<String>,

    /// Authority that signs the service's certificate, PEM [default: the system's authorities].
    #[arg(long, env = "CA_CERT", value_name = "FILE", help_heading = "Service")]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    ca: Option<PathBuf>,
}

/// How a command calls the service, and how it prints.
#[derive(Debug, Args)]
pub(super) struct Remote {
    #[command(flatten)]
    service: ServiceAddress,

    /// Access token [env: PRINT_UPLOAD_TOKEN]. Other users can read command lines: prefer the environment, or a file.
    #[arg(long, help_heading = "Service")]
    token: Option<SecretString>,

    /// File with the access token, read again for every call; a pipe is read once. Takes precedence over --token.
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    token_file: Option<PathBuf>,

    /// How long a call may take. A range or a download may take longer, as long as its bytes move.
    #[arg(long, default_value = "30s", value_parser = duration, help_heading = "Service")]
    timeout: Duration,

    /// Print JSON on standard output, and errors as JSON on standard error.
    #[arg(long)]
    json: bool,
}

/// The option for callers who have an upload URL: it is used instead of an access token.
#[derive(Debug, Args)]
pub(super) struct UploadUrl {
    /// Upload URL, as printed by `status --show-upload-url` [env: PRINT_UPLOAD_URL]. It names the session and is used
    /// instead of an access token. Other users can read command lines: prefer the environment variable, which this
    /// option overrides.
    #[arg(long = "upload-url", value_name = "URL", conflicts_with_all = ["token", "token_file"])]
    #[arg(help_heading = "Service")]
    url: Option<SecretString>,
}

/// The option of commands that may run for long and retry meanwhile.
#[derive(Debug, Args)]
pub(super) struct RetryOptions {
    /// Once a first call has succeeded: how long to keep retrying while the service cannot be reached or is too busy.
    #[arg(long, default_value = "1m", value_parser = duration, help_heading = "Service")]
    patience: Duration,
}

impl ServiceAddress {
    /// A transport to the service. It connects with the first call.
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

/// Adds a scheme to an address that has none: https when an authority is given.
pub(super) fn with_scheme(server: &str, has_ca: bool) -> String {
    let scheme = if has_ca { "https" } else { "http" };
    if server.contains("://") { server.to_owned() } else { format!("{scheme}://{server}") }
}

/// Who calls.
pub(super) enum Caller {
    /// The owner of the access token.
    Token,
    /// The holder of this upload URL.
    UploadUrl(SecretString),
}

/// What names the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    ByArgument,
    ByUploadUrl,
}

impl UploadUrl {
    /// The upload URL, from the command line or the environment.
    fn given(&self) -> Option<SecretString> {
        self.url.clone().or_else(|| variable("PRINT_UPLOAD_URL"))
    }
}

impl Remote {
    /// Which credential a call about a session presents. The command line takes precedence over the environment. When
    /// the environment has both a token and an upload URL, the token is for a session that is named by an argument.
    fn caller(&self, upload_url: &UploadUrl, named: Named) -> Caller {
        let has_token = self.token.is_some() || self.token_file.is_some();
        let is_by_token = has_token || (named == Named::ByArgument && variable("PRINT_UPLOAD_TOKEN").is_some());
        match upload_url.given() {
            Some(url) if upload_url.url.is_some() || !is_by_token => Caller::UploadUrl(url),
            _ => Caller::Token,
        }
    }

    async fn client(&self, caller: Caller) -> Result<Client, Failure> {
        let credential = match caller {
            Caller::Token => self.access_token().await?,
            Caller::UploadUrl(url) => valid(Credential::of_upload_url(url.expose_secret()))?,
        };
        let transport = self.service.connect().map_err(|error| Failure::usage(&format!("{error:#}")))?;
        Ok(Client::over(transport, credential).with_timeout(self.timeout))
    }

    async fn access_token(&self) -> Result<Credential, Failure> {
        let credential = match (&self.token_file, self.token.clone().or_else(|| variable("PRINT_UPLOAD_TOKEN"))) {
            (Some(file), _) => token_file(file.clone()).await,
            (None, Some(token)) => Credential::access_token(token.expose_secret()),
            (None, None) => {
                return Err(Failure::usage("no credential: give --token, --token-file or PRINT_UPLOAD_TOKEN"));
            }
        };
        valid(credential)
    }

    /// Ends a command: prints its failure, if there is one, and returns its exit code.
    fn end(&self, result: Result<ExitCode, Failure>) -> ExitCode {
        result.unwrap_or_else(|failure| failure.at(&self.service.servers.join(", ")).print(self.json))
    }
}

fn valid(credential: anyhow::Result<Credential>) -> Result<Credential, Failure> {
    credential.map_err(|error| Failure::new(Exit::NotPermitted, format!("{error:#}")))
}

/// A secret in the environment. An empty one counts as absent.
fn variable(name: &str) -> Option<SecretString> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(SecretString::from)
}

/// Reads the token on a blocking thread: a pipe may have no writer yet.
async fn token_file(file: PathBuf) -> anyhow::Result<Credential> {
    spawn_blocking(move || Credential::token_file(&file)).await?
}
