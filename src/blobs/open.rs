//! Makes a client of a store from its URL and its provider's settings.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use object_store::{
    BackoffConfig, ObjectStore, ObjectStoreScheme, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, memory::InMemory, prefix::PrefixStore,
};
use url::Url;

use super::local;
use crate::text::without_mark;

/// How long a call to a store is retried after transient failures.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not supported. The message does not repeat it, because it may contain a secret.
    #[error(
        "the object store must be file:///an/absolute/folder, s3://bucket/prefix, az://container/prefix, \
         gs://bucket/prefix or memory://, without a password or a query"
    )]
    Unsupported,
    /// The folder of local files cannot be created or written to.
    #[error("{folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The spool folder cannot be written to.
    #[error("--spool-dir {folder}")]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file of settings cannot be used.
    #[error("{file}: {problem}")]
    Settings {
        /// The file.
        file: PathBuf,
        /// The problem, without any content of the file.
        problem: String,
    },
    /// The provider's settings are not sufficient, or wrong.
    #[error("the object store cannot be configured from its settings")]
    Provider(#[source] object_store::Error),
    /// The store does not pass the check.
    #[error("the object store does not take, give, list and drop an object")]
    Unusable(#[source] super::Error),
}

/// A client of a store.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Its root folder, if it is the local file system.
    pub(super) local: Option<PathBuf>,
    /// Whether its bytes outlive the process.
    pub(super) is_lasting: bool,
}

/// Opens the store at a URL. A provider's settings come from its usual environment variables, or instead from a file.
pub(super) fn open(url: &str, settings: Option<&Path>) -> Result<Opened, OpenError> {
    let parsed = Url::parse(url).map_err(|_| OpenError::Unsupported)?;
    if parsed.password().is_some() || parsed.query().is_some() {
        return Err(OpenError::Unsupported);
    }
    let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|_| OpenError::Unsupported)?;
    let is_lasting = scheme != ObjectStoreScheme::Memory;
    let settings = settings.map(Settings::read).transpose()?;

    let store: Box<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::Local => {
            settings.map_or(Ok(()), Settings::expect_none)?;
            let folder = parsed.to_file_path().map_err(|()| OpenError::Unsupported)?;
            let store = open_folder(&folder).map_err(|source| OpenError::Folder { folder: folder.clone(), source })?;
            return Ok(Opened { store: Arc::new(store), local: Some(folder), is_lasting: true });
        }
        ObjectStoreScheme::Memory => {
            settings.map_or(Ok(()), Settings::expect_none)?;
            Box::new(InMemory::new())
        }
        ObjectStoreScheme::AmazonS3 => {
            let builder = match settings {
                Some(settings) => settings.apply(AmazonS3Builder::new(), AmazonS3Builder::with_config)?,
                None => AmazonS3Builder::from_env(),
            };
            Box::new(builder.with_url(url).with_retry(retry()).build().map_err(OpenError::Provider)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = match settings {
                Some(settings) => settings.apply(MicrosoftAzureBuilder::new(), MicrosoftAzureBuilder::with_config)?,
                None => MicrosoftAzureBuilder::from_env(),
            };
            Box::new(builder.with_url(url).with_retry(retry()).build().map_err(OpenError::Provider)?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = match settings {
                Some(settings) => {
                    settings.apply(GoogleCloudStorageBuilder::new(), GoogleCloudStorageBuilder::with_config)?
                }
                None => GoogleCloudStorageBuilder::from_env(),
            };
            Box::new(builder.with_url(url).with_retry(retry()).build().map_err(OpenError::Provider)?)
        }
        _ => return Err(OpenError::Unsupported),
    };
    Ok(Opened { store: Arc::new(PrefixStore::new(store, prefix)), local: None, is_lasting })
}

/// The folder of a URL, if it is one of local files and the folder does not exist.
pub(super) fn missing_folder(url: &str) -> Option<PathBuf> {
    let url = Url::parse(url).ok()?;
    let (ObjectStoreScheme::Local, _) = ObjectStoreScheme::parse(&url).ok()? else { return None };
    let folder = url.to_file_path().ok()?;
    matches!(fs::metadata(&folder), Err(error) if error.kind() == io::ErrorKind::NotFound).then_some(folder)
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: MAX_BACKOFF, ..BackoffConfig::default() };
    RetryConfig { backoff, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

fn open_folder(folder: &Path) -> io::Result<LocalFileSystem> {
    local::make_private(folder)?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(io::Error::other)?;
    Ok(store.with_fsync(true))
}

/// Lines `NAME=value`, named like the provider's environment variables. Empty lines and lines that begin with # are
/// ignored.
struct Settings {
    file: PathBuf,
    lines: Vec<Line>,
}

struct Line {
    number: usize,
    name: String,
    value: String,
}

impl Settings {
    fn read(file: &Path) -> Result<Self, OpenError> {
        let failed = |problem| OpenError::Settings { file: file.to_owned(), problem };
        let text = fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let mut lines = Vec::new();
        for (line, number) in without_mark(&text).lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or_else(|| failed(format!("line {number} is not NAME=value")))?;
            lines.push(Line { number, name: name.trim().to_ascii_lowercase(), value: value.trim().to_owned() });
        }
        Ok(Self { file: file.to_owned(), lines })
    }

    /// Sets every setting on a builder. Fails for a setting that the builder does not know.
    fn apply<Builder, Key: FromStr>(
        self,
        builder: Builder,
        with: impl Fn(Builder, Key, String) -> Builder,
    ) -> Result<Builder, OpenError> {
        self.lines.iter().try_fold(builder, |builder, line| match line.name.parse() {
            Ok(key) => Ok(with(builder, key, line.value.clone())),
            Err(_) => Err(self.unknown(line)),
        })
    }

    /// Fails if there is a setting, because this kind of store has none.
    fn expect_none(self) -> Result<(), OpenError> {
        self.lines.first().map_or(Ok(()), |line| Err(self.unknown(line)))
    }

    /// Names the line by its number only: a secret that was pasted without its name, or wrapped, would be read as a
    /// name.
    fn unknown(&self, line: &Line) -> OpenError {
        let problem = format!("line {} is no setting of this kind of store", line.number);
        OpenError::Settings { file: self.file.clone(), problem }
    }
}
