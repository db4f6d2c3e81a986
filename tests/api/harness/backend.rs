//! The object stores that the service is tested over. Real servers are started by tests/stores/with.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, parse_url_opts, path::Path as ObjectPath};
use print_upload::proto::UploadSession;
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use super::{App, Proxy, TENANT};

/// The object that holds the identity of a store.
pub const IDENTITY: &str = "print-upload-store";

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The process' own memory.
    Memory,
    /// A folder.
    Local,
    /// S3: SeaweedFS.
    S3,
    /// Azure Blob Storage: Azurite.
    Azure,
}

/// A part of a store, for one test.
#[derive(Debug)]
pub struct Bucket {
    pub backend: Backend,
    /// For `--store` and `--store-settings`.
    pub url: String,
    pub settings: Vec<(String, String)>,
    /// The spool: where ranges wait for the store.
    folder: TempDir,
    /// The test's own access to the objects, where they can be read from outside the service.
    objects: Option<(Arc<dyn ObjectStore>, ObjectPath)>,
}

impl Backend {
    /// A part of the store for one test. None where the store does not run; then the skip is printed.
    pub fn bucket(self, test: &str) -> Option<Bucket> {
        let folder = tempfile::tempdir().expect("a folder");
        let local = format!("file://{}", folder.path().join("bytes").display());
        let (url, settings) = match self {
            Self::Memory => ("memory:///".into(), Vec::new()),
            Self::Local => {
                fs::create_dir(folder.path().join("bytes")).expect("a folder");
                (local, Vec::new())
            }
            Self::S3 => server("S3", test)?,
            Self::Azure => server("AZURE", test)?,
        };
        let objects = (self != Self::Memory).then(|| {
            let url = Url::parse(&url).expect("an address");
            let options = settings.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
            let (store, path) = parse_url_opts(&url, options).expect("a store");
            (Arc::from(store), path)
        });
        Some(Bucket { backend: self, url, settings, folder, objects })
    }
}

/// A prefix of its own, and the settings that tests/stores/with has set.
fn server(name: &str, test: &str) -> Option<(String, Vec<(String, String)>)> {
    let Ok(url) = std::env::var(format!("TEST_STORE_{name}")) else {
        // Not by `eprintln!`, whose output appears only when a test fails.
        writeln!(std::io::stderr(), "SKIPPED {test}: no {name} server (tests/stores/with starts one)")
            .expect("printed");
        return None;
    };
    Some((format!("{url}/{}", Uuid::new_v4()), settings_of(&format!("TEST_STORE_{name}_SETTINGS"))))
}

/// The files below a folder, and its empty folders that lie `depth` levels deep.
fn paths_below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    if entries.is_empty() && depth == 0 {
        return vec![folder.to_owned()];
    }
    let below = |path: PathBuf| if path.is_dir() { paths_below(&path, depth.saturating_sub(1)) } else { vec![path] };
    entries.into_iter().flat_map(below).collect()
}

fn relative(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).expect("a path below").display().to_string()
}

/// The settings in the file that a variable names.
pub fn settings_of(variable: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(std::env::var(variable).expect(variable)).expect("settings");
    let settings = text.lines().filter_map(|line| line.split_once('='));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Bucket {
    /// A service on this store.
    pub async fn app(&self) -> App {
        let [store, settings, spool] = self.flags();
        App::with([(store.0, store.1.as_str()), (settings.0, settings.1.as_str()), (spool.0, spool.1.as_str())]).await
    }

    /// The flags of `serve` that set where the store is.
    pub fn flags(&self) -> [(&'static str, String); 3] {
        let file = self.folder.path().join("settings");
        let lines: String = self.settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(&file, lines).expect("a file");
        let text = |path: &Path| path.display().to_string();
        [("store", self.url.clone()), ("store-settings", text(&file)), ("spool-dir", text(&self.spool()))]
    }

    /// Puts a proxy between the service and the store. The test's own access goes past it.
    pub async fn put_behind_proxy(&mut self) -> Proxy {
        let name = if self.backend == Backend::S3 { "AWS_ENDPOINT_URL" } else { "AZURE_STORAGE_ENDPOINT" };
        let endpoint = self.setting(name).to_owned();
        let (_, address) = endpoint.split_once("://").expect("an address");
        let address: SocketAddr = address.split('/').next().expect("a host").parse().expect("an address");
        let proxy = Proxy::start(address).await;
        self.set(name, &endpoint.replace(&address.to_string(), &proxy.port.address.to_string()));
        proxy
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(other, _)| other != name);
        self.settings.push((name.into(), value.into()));
    }

    pub fn setting(&self, name: &str) -> &str {
        let found = self.settings.iter().find(|(other, _)| other == name);
        &found.expect("a setting of this store").1
    }

    /// Whether the test can read the objects.
    pub fn is_visible(&self) -> bool {
        self.objects.is_some()
    }

    /// How many objects a session has in the store, staged files included. Always 0 for memory, which tests cannot
    /// read.
    pub async fn count_of(&self, session: &UploadSession) -> usize {
        match (&self.objects, self.backend) {
            (None, _) => 0,
            (_, Backend::Local) => fs::read_dir(self.session_folder(session)).map_or(0, Iterator::count),
            (Some((store, path)), _) => {
                let folder = path.clone().join(TENANT.to_string()).join(session.etag.as_str());
                store.list(Some(&folder)).try_collect::<Vec<_>>().await.expect("a list").len()
            }
        }
    }

    /// Everything in the store besides its identity: the paths of its objects, and for a folder also staged files and
    /// empty folders of sessions.
    pub async fn everything(&self) -> BTreeSet<String> {
        if self.backend == Backend::Local {
            let bytes = self.folder.path().join("bytes");
            let paths = paths_below(&bytes, 2).into_iter().map(|path| relative(&path, &bytes));
            return paths.filter(|path| path != IDENTITY).collect();
        }
        let (store, root) = self.objects.as_ref().expect("a visible store");
        let listed = store.list(Some(root)).try_collect::<Vec<_>>().await.expect("a list");
        let root = format!("{root}/");
        let paths = listed.into_iter().map(|object| object.location.to_string().replace(&root, ""));
        paths.filter(|path| path != IDENTITY).collect()
    }

    /// Reads the identity of the store.
    pub async fn identity(&self) -> Uuid {
        let (store, root) = self.objects.as_ref().expect("a visible store");
        let object = store.get(&root.clone().join(IDENTITY)).await.expect("an identity").bytes().await.expect("read");
        String::from_utf8_lossy(&object).trim().parse().expect("an identity")
    }

    /// Takes the identity away.
    pub async fn remove_identity(&self) {
        let (store, root) = self.objects.as_ref().expect("a visible store");
        store.delete(&root.clone().join(IDENTITY)).await.expect("removed");
    }

    /// Renames an object. Both names are paths as [`Bucket::everything`] returns them.
    pub async fn rename(&self, from: &str, to: &str) {
        let (store, root) = self.objects.as_ref().expect("a visible store");
        let path = |name: &str| ObjectPath::from(format!("{root}/{name}"));
        store.rename(&path(from), &path(to)).await.expect("renamed");
    }

    /// The folder of a session's bytes, for a store that is a folder.
    pub fn session_folder(&self, session: &UploadSession) -> PathBuf {
        self.folder.path().join("bytes").join(TENANT.to_string()).join(&session.etag)
    }

    /// Puts an object that is in no manifest into a session's folder.
    pub async fn leave_orphan(&self, session: &UploadSession) {
        let (store, path) = self.objects.as_ref().expect("a visible store");
        let orphan = path.clone().join(TENANT.to_string()).join(session.etag.as_str()).join(Uuid::now_v7().to_string());
        store.put_opts(&orphan, "orphan".into(), object_store::PutOptions::default()).await.expect("put");
    }

    /// Replaces the content of each of a session's objects.
    pub async fn overwrite(&self, session: &UploadSession, content: &'static str) {
        let (store, path) = self.objects.as_ref().expect("a visible store");
        let folder = path.clone().join(TENANT.to_string()).join(session.etag.as_str());
        for object in store.list(Some(&folder)).try_collect::<Vec<_>>().await.expect("a list") {
            store.put_opts(&object.location, content.into(), object_store::PutOptions::default()).await.expect("put");
        }
    }

    /// How many ranges services of this process are receiving. Each has an open file: staged in the store's folder, or
    /// unnamed in the spool.
    pub fn ranges_under_way(&self) -> usize {
        self.ranges_under_way_in(process::id())
    }

    /// The same for another process.
    pub fn ranges_under_way_in(&self, process: u32) -> usize {
        let files = fs::read_dir(format!("/proc/{process}/fd")).expect("a Linux");
        let targets = files.filter_map(|file| fs::read_link(file.expect("a file").path()).ok());
        targets.filter(|target| target.starts_with(self.folder.path())).count()
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}
