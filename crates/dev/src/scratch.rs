//! A folder for data that are not kept.

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use uuid::Uuid;

/// A folder in the system's folder for temporary files. It is removed when this is dropped.
#[derive(Debug)]
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// A new, empty folder. Only its owner can list it. Others can enter: when this process runs as root, the account
    /// that Postgres runs under must.
    pub fn new(purpose: &str) -> anyhow::Result<Self> {
        let path = env::temp_dir().join(format!("print-upload-{purpose}-{}", Uuid::new_v4()));
        DirBuilder::new().mode(0o700).create(&path).context("creating a temporary folder")?;
        let folder = Self(path);
        // Independent of the umask.
        fs::set_permissions(&folder.0, Permissions::from_mode(0o711))?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(error = %error, "{} was not removed", self.0.display());
        }
    }
}
