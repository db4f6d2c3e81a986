//! A folder for data that nobody keeps.

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use uuid::Uuid;

/// A folder among the system's temporary ones, gone when dropped.
#[derive(Debug)]
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// A new, empty folder, which its owner alone can list. Others can pass: whom Postgres runs as when we are root has to.
    pub fn new(purpose: &str) -> anyhow::Result<Self> {
        let path = env::temp_dir().join(format!("print-upload-{purpose}-{}", Uuid::new_v4()));
        DirBuilder::new().mode(0o700).create(&path).context("creating a temporary folder")?;
        let folder = Self(path);
        // Whatever the umask is.
        fs::set_permissions(&folder.0, Permissions::from_mode(0o711))?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(error = %error, "{} is left behind", self.0.display());
        }
    }
}
