//! A store's URL and its provider's settings, made into a client of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use object_store::{
    ObjectStore, ObjectStoreScheme, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, memory::InMemory, prefix::PrefixStore,
};
use url::Url;

use super::local;

/// How long a call to a store is tried again after transient failures, before the failure is told.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not one of the supported kinds.
    #[error(
        "{0}: the object store must be file:///an/absolute/folder, s3://bucket/prefix, az://container/prefix, \
         gs://bucket/prefix or memory://"
    )]
    Unsupported(String),
    /// A folder cannot be made or written to.
    #[error("{folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of settings cannot be read.
    #[error("{file}: {problem}")]
    Settings {
        /// The file.
        file: PathBuf,
        /// What is wrong with it. Never a value.
        problem: String,
    },
    /// The provider's settings do not make a client.
    #[error("the settings make no client of the object store: {0}")]
    Provider(#[source] object_store::Error),
    /// The store does not do what it will be asked for.
    #[error("the object store does not take, give and drop an object: {0}")]
    Unusable(#[source] super::Error),
}

/// A client of a store, and its root folder if it is the local file system.
pub(super) type Opened = (Arc<dyn ObjectStore>, Option<PathBuf>);

/// Opens the store at a URL. Settings of a provider come from its usual environment variables, and those in a file go before
/// them.
pub(super) fn open(url: &str, settings: Option<&Path>) -> Result<Opened, OpenError> {
    let unsupported = || OpenError::Unsupported(url.to_owned());
    let parsed = Url::parse(url).map_err(|_| unsupported())?;
    let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|_| unsupported())?;
    let settings = settings.map(Settings::read).transpose()?.unwrap_or_default();
    let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };

    let store: Box<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::Local => {
            let folder = parsed.to_file_path().map_err(|()| unsupported())?;
            let store = open_folder(&folder).map_err(|source| OpenError::Folder { folder: folder.clone(), source })?;
            return Ok((Arc::new(store), Some(folder)));
        }
        ObjectStoreScheme::Memory => Box::new(InMemory::new()),
        ObjectStoreScheme::AmazonS3 => {
            let builder = AmazonS3Builder::from_env().with_url(url).with_retry(retry);
            let builder = settings.apply(builder, AmazonS3Builder::with_config)?;
            Box::new(builder.build().map_err(OpenError::Provider)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry);
            let builder = settings.apply(builder, MicrosoftAzureBuilder::with_config)?;
            Box::new(builder.build().map_err(OpenError::Provider)?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(retry);
            let builder = settings.apply(builder, GoogleCloudStorageBuilder::with_config)?;
            Box::new(builder.build().map_err(OpenError::Provider)?)
        }
        _ => return Err(unsupported()),
    };
    Ok((Arc::new(PrefixStore::new(store, prefix)), None))
}

fn open_folder(folder: &Path) -> io::Result<LocalFileSystem> {
    local::make_private(folder)?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(io::Error::other)?;
    Ok(store.with_fsync(true))
}

/// Lines `NAME=value`, named like the provider's environment variables. Empty lines and those that begin with # say nothing.
#[derive(Debug, Default)]
struct Settings {
    file: PathBuf,
    lines: Vec<(String, String)>,
}

impl Settings {
    fn read(file: &Path) -> Result<Self, OpenError> {
        let failed = |problem| OpenError::Settings { file: file.to_owned(), problem };
        let text = fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let mut lines = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or_else(|| failed(format!("line {number} is not NAME=value")))?;
            lines.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(Self { file: file.to_owned(), lines })
    }

    /// Hands every setting to a builder. One that it does not know is a mistake, and is told.
    fn apply<Builder, Key: FromStr>(
        self,
        builder: Builder,
        with: impl Fn(Builder, Key, String) -> Builder,
    ) -> Result<Builder, OpenError> {
        self.lines.into_iter().try_fold(builder, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
            Ok(key) => Ok(with(builder, key, value)),
            Err(_) => {
                let problem = format!("{name} is no setting of this kind of store");
                Err(OpenError::Settings { file: self.file.clone(), problem })
            }
        })
    }
}
