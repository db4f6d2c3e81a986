//! The configuration of `serve`: every option is a flag and an environment variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, builder::Resettable};
use url::Url;

use crate::{
    app_state::Limits,
    http_options::HttpOptions,
    issuer_options::IssuerOptions,
    quota_options::QuotaOptions,
    reclaim,
    retention_options::RetentionOptions,
    secret_files::{DatabaseUrl, UploadTokenKeys},
    session::identity,
    store::{BatchLimits, Terms},
    telemetry::Telemetry,
    tls::TlsFiles,
};

/// The options of the service.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address to serve gRPC on. Port 0 chooses a free port.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,

    /// Address to serve the REST gateway on, in the same process. Port 0 chooses a free port. Without this option there
    /// is no gateway.
    #[arg(long, env = "REST_LISTEN")]
    pub rest_listen: Option<SocketAddr>,

    /// Whether gRPC reflection is served. It describes the API to everybody who asks.
    #[arg(long, env = "REFLECTION", default_value_t = true, action = ArgAction::Set)]
    pub reflection: bool,

    /// TLS, on the gRPC and the REST listener.
    #[command(flatten)]
    pub tls: TlsFiles,

    /// Logs, traces and metrics.
    #[command(flatten)]
    pub telemetry: Telemetry,

    /// The address of Postgres.
    #[command(flatten)]
    pub database: DatabaseUrl,

    /// Largest number of connections to Postgres in the pool. A replica opens up to fourteen more.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub database_connections: u32,

    /// How many calls of a kind share one statement at most, if they arrive together. 1 turns this off.
    #[arg(long, env = "DATABASE_BATCH_SIZE", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub database_batch_size: u32,

    /// How many calls of a kind may wait for their statement. A tenant has at most half of these places. More calls are
    /// refused; they may be retried.
    #[arg(long, env = "DATABASE_QUEUE_SIZE", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub database_queue_size: u32,

    /// Object store that holds the bytes: file:///folder, s3://bucket/prefix, az://container/prefix,
    /// gs://bucket/prefix, or memory://, which loses them when the process ends. The provider's other settings come
    /// from its usual environment variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL,
    /// AWS_ALLOW_HTTP; AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY; GOOGLE_SERVICE_ACCOUNT,
    /// GOOGLE_APPLICATION_CREDENTIALS; and so on.
    #[arg(long, env = "STORE", hide_env_values = true)]
    pub store: String,

    /// File with these settings, one NAME=value per line. It is read instead of the environment variables, which then
    /// need not hold any secret.
    #[arg(long, env = "STORE_SETTINGS")]
    pub store_settings: Option<PathBuf>,

    /// Folder that keeps the bytes of ranges until all have arrived, if the object store is not a folder: up to
    /// --max-transfers ranges of at most --max-range-bytes each. The files have no name, and the system removes them
    /// when the process ends [default: the folder for temporary files].
    #[arg(long, env = "SPOOL_DIR")]
    pub spool_dir: Option<PathBuf>,

    /// The issuers of access tokens.
    #[command(flatten)]
    pub issuers: IssuerOptions,

    /// Client id of an application that maintains the catalog. Repeat it, or separate several with commas.
    #[arg(long = "catalog-client", env = "CATALOG_CLIENT", value_delimiter = ',', value_parser = catalog_client)]
    pub catalog_clients: Vec<String>,

    /// The keys that sign upload URLs.
    #[command(flatten)]
    pub upload_token_keys: UploadTokenKeys,

    /// Base of upload URLs: the address at which clients reach the REST gateway. Its host may differ from that of the
    /// Graph paths.
    #[arg(long, env = "PUBLIC_URL", default_value = "http://127.0.0.1:8080", value_parser = public_url)]
    pub public_url: String,

    /// Largest document, in bytes.
    #[arg(long, env = "MAX_DOCUMENT_BYTES", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub max_document_bytes: u64,

    /// Largest range, in bytes.
    #[arg(long, env = "MAX_RANGE_BYTES", default_value_t = 10 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub max_range_bytes: u64,

    /// Largest number of pieces of a document. A range adds one piece for each gap that it fills. A document may have
    /// fewer if it is small: 64, and one for each 64 KiB that it begins.
    #[arg(long, env = "MAX_FRAGMENTS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_fragments: u32,

    /// Largest number of ranges that one session receives at once, on one replica.
    #[arg(long, env = "MAX_WRITERS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_writers: u32,

    /// Largest number of ranges, and of downloads, that one replica serves at once; up to 1000.
    #[arg(long, env = "MAX_TRANSFERS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_transfers: u32,

    /// Whether each tenant and each caller may have only a part of --max-transfers: a tenant at most half, a caller at
    /// most a quarter, both less while other tenants have some. A quarter is kept for tenants that have none. Turn this
    /// off where there is only one tenant.
    #[arg(long, env = "FAIR_TRANSFERS", default_value_t = true, action = ArgAction::Set)]
    pub fair_transfers: bool,

    /// How long one range may take, and how long a download may stall.
    #[arg(long, env = "RANGE_TIMEOUT", default_value = "10m", value_parser = duration)]
    pub range_timeout: Duration,

    /// How long a session lives after its last committed range, or after its owner last called CreateUploadSession for
    /// it.
    #[arg(long, env = "SESSION_IDLE_TIMEOUT", default_value = "1h", value_parser = duration)]
    pub session_idle_timeout: Duration,

    /// How long a session lives at most. With --limits universal-print the default is 1h.
    #[arg(
        long,
        env = "SESSION_LIFETIME",
        default_value = "24h",
        value_parser = duration,
        default_value_if("limits", "universal-print", "1h")
    )]
    pub session_lifetime: Duration,

    /// How long canceled and expired sessions, and deleted jobs, are kept.
    #[arg(long, env = "TOMBSTONE_RETENTION", default_value = "24h", value_parser = duration)]
    pub tombstone_retention: Duration,

    /// How long jobs that were created here are kept, and the audit trail.
    #[command(flatten)]
    pub retention: RetentionOptions,

    /// What tenants, printers and users may use.
    #[command(flatten)]
    pub quotas: QuotaOptions,

    /// Browsers, connections, and stopping.
    #[command(flatten)]
    pub http: HttpOptions,
}

/// The same options, for a configuration that is made in code.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

impl Config {
    /// A configuration from flags, given without their dashes. Unlike `serve`, it does not read the environment.
    pub fn from_flags<'a>(flags: impl IntoIterator<Item = (&'a str, &'a str)>) -> anyhow::Result<Self> {
        let command = Flags::command().mut_args(|argument| argument.env(Resettable::Reset));
        let arguments = flags.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
        let matches = command.try_get_matches_from(arguments)?;
        Ok(Flags::from_arg_matches(&matches)?.config)
    }

    /// The limits of calls.
    pub fn limits(&self) -> Limits {
        Limits {
            max_document_bytes: self.max_document_bytes,
            max_range_bytes: self.max_range_bytes,
            max_fragments: self.max_fragments,
            range_timeout: self.range_timeout,
        }
    }

    /// The limits of the statements that calls share.
    pub fn batch_limits(&self) -> BatchLimits {
        BatchLimits { size: self.database_batch_size as usize, queue: self.database_queue_size as usize }
    }

    /// The durations and limits that the store binds to statements.
    pub fn terms(&self) -> Terms {
        Terms {
            idle_timeout: self.session_idle_timeout,
            session_lifetime: self.session_lifetime,
            writer_grace: reclaim::writer_grace(self.range_timeout),
            reclaim_lease: reclaim::LEASE,
            second_pass: reclaim::SECOND_PASS,
            tombstone_retention: self.tombstone_retention,
            max_fragments: self.max_fragments,
            retention: self.retention.retention(),
            quotas: self.quotas.quotas(),
        }
    }
}

/// Parses a duration that is short enough to be added to any time.
pub fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > LONGEST {
        return Err("must be more than zero and at most 3650 days".into());
    }
    Ok(duration)
}

/// Parses the client id of an application.
fn catalog_client(text: &str) -> Result<String, String> {
    identity(text).ok_or_else(|| "must be the id of an application".into())
}

/// Parses the base of upload URLs. Clients parse upload URLs as templates (RFC 6570): the base must have no braces, and
/// nothing after the path.
fn public_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let is_plain = !text.contains(['{', '}']) && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_plain {
        return Err("must be http(s)://host[:port][/path]".into());
    }
    Ok(text.to_owned())
}

/// The flags that every configuration needs.
#[cfg(test)]
pub const REQUIRED_FLAGS: [(&str, &str); 5] = [
    ("database-url", "postgres://user:password@host/database"),
    ("store", "memory://"),
    ("issuer", "https://issuer.example"),
    ("audience", "api://print-upload"),
    ("upload-token-key", "a key of more than 32 bytes, for tests"),
];

#[cfg(test)]
mod tests {
    use std::{env, process::Command};

    use super::*;

    /// Set in the child process of the test below.
    const IS_CHILD: &str = "CONFIG_TEST_CHILD";

    #[test]
    fn the_environment_changes_nothing_in_a_configuration_from_flags() {
        if env::var_os(IS_CHILD).is_none() {
            // In a child process: the environment of this one belongs to all tests.
            let mut child = Command::new(env::current_exe().expect("this test's program"));
            child.args(["--exact", "config::tests::the_environment_changes_nothing_in_a_configuration_from_flags"]);
            child.env(IS_CHILD, "1").env("MAX_RANGE_BYTES", "7").env("REST_LISTEN", "127.0.0.1:7");
            child.env("LISTEN", "not an address").env("DATABASE_URL_FILE", "/nowhere");
            let output = child.output().expect("a child process");
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
            return;
        }
        let config = Config::from_flags(REQUIRED_FLAGS).expect("a configuration");
        assert_eq!((config.max_range_bytes, config.rest_listen), (10 << 20, None));
        config.database.read().expect("the URL, not the file");
        assert!(Config::from_flags(REQUIRED_FLAGS.into_iter().skip(1)).is_err(), "no database");
    }

    #[test]
    fn durations_that_are_zero_or_too_long_are_refused() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for text in ["0s", "", "10", "300000years", "18446744073709551615s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn upload_urls_need_a_plain_base() {
        assert!(public_url("https://upload.example/base").is_ok());
        for text in
            ["", "upload.example", "ftp://upload.example", "https://upload.example/{x}", "https://upload.example/?a=b"]
        {
            assert!(public_url(text).is_err(), "{text}");
        }
    }
}
