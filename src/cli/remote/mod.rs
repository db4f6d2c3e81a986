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
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use self::failure::Failure;
use crate::{
    client::{self, Client, Credential, Transport},
    config::duration,
};

/// Where the service is.
#[derive(Debug, Args)]
pub(super) struct Server {
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
    ca: Option<PathBuf>,
}

/// How a command calls the service, and how it answers.
#[derive(Debug, Args)]
pub(super) struct Remote {
    #[command(flatten)]
    server: Server,

    /// Access token. On a command line others can read it: better use the environment, or a file.
    #[arg(long, env = "PRINT_UPLOAD_TOKEN", hide_env_values = true, help_heading = "Service")]
    token: Option<SecretString>,

    /// File with the access token, read anew for every call; goes before --token.
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
    /// An upload URL, as `status --show-upload-url` tells it: it stands for its session and in place of a token.
    #[arg(long = "upload-url", env = "PRINT_UPLOAD_URL", hide_env_values = true, value_name = "URL")]
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
    pub(super) fn connect(&self) -> anyhow::Result<Transport> {
        let ca = self.ca.as_ref().map(|file| fs::read(file).with_context(|| format!("--ca {}", file.display())));
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        let with_scheme =
            |server: &String| if server.contains("://") { server.clone() } else { format!("{scheme}://{server}") };
        let endpoints: Vec<String> = self.servers.iter().map(with_scheme).collect();
        client::connect(&endpoints, ca.transpose()?.as_deref()).context("--server")
    }
}

impl Remote {
    /// A client with the caller's token.
    fn client(&self) -> Result<Client, Failure> {
        let credential = match (&self.token_file, &self.token) {
            (Some(file), _) => Credential::token_file(file),
            (None, Some(token)) => Credential::access_token(token.expose_secret()),
            (None, None) => return Err(Failure::usage("say who you are: --token, --token-file or PRINT_UPLOAD_TOKEN")),
        };
        self.client_with(credential?)
    }

    /// A client with the upload URL where one is given, else with the caller's token.
    fn client_or_holder(&self, upload_url: &UploadUrl) -> Result<Client, Failure> {
        match &upload_url.url {
            Some(url) => self.client_with(Credential::of_upload_url(url.expose_secret())?),
            None => self.client(),
        }
    }

    fn client_with(&self, credential: Credential) -> Result<Client, Failure> {
        Ok(Client::over(self.server.connect()?, credential).with_timeout(self.timeout))
    }

    /// Tells how a command has ended.
    fn end(&self, result: Result<ExitCode, Failure>) -> ExitCode {
        result.unwrap_or_else(|failure| failure.at(&self.server.servers.join(", ")).tell(self.json))
    }
}
