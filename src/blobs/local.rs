//! The special cases of local files. `LocalFileSystem` never lists staged files (`{object}#1`) and keeps empty folders,
//! and both must be dropped with a session's bytes.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tokio::task::JoinError;
use uuid::Uuid;

use super::Folder;

/// Creates a folder that only this user can read, and checks that it can be written to.
pub fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Without a name, so that a crash leaves nothing behind.
    let _probe = tempfile::tempfile_in(folder)?;
    crash_point!("folder.checked");
    Ok(())
}

/// Whether each session's folder exists. One that cannot be looked at may exist.
pub async fn exist(root: &Path, folders: Vec<Folder>) -> Result<Vec<bool>, JoinError> {
    let paths: Vec<_> = folders.into_iter().map(|folder| path(root, folder)).collect();
    let exist = move || paths.iter().map(|path| path.try_exists().unwrap_or(true)).collect();
    tokio::task::spawn_blocking(exist).await
}

/// Drops every file of the session except those in `keep`, and the folder if it is empty then.
pub async fn drop_all_except(root: &Path, folder: Folder, keep: &HashSet<Uuid>) -> io::Result<()> {
    let (path, keep) = (path(root, folder), keep.clone());
    tokio::task::spawn_blocking(move || {
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut is_empty = true;
        for entry in entries {
            let entry = entry?;
            if entry
                .file_name()
                .to_str()
                .and_then(|name| Uuid::try_parse(name).ok())
                .is_some_and(|id| keep.contains(&id))
            {
                is_empty = false;
                continue;
            }
            ignore_not_found(fs::remove_file(entry.path()))?;
            crash_point!("reclaim.first_dropped");
        }
        // Synced, so that no file reappears after a power failure: it could be after the last pass.
        let changed = if is_empty {
            remove_dir(&path)?;
            path.parent().unwrap_or(&path)
        } else {
            &path
        };
        File::open(changed)?.sync_all()
    })
    .await
    .map_err(io::Error::other)?
}

/// Removes the rest of an object that was discarded: its staged file, which `LocalFileSystem` keeps if syncing or
/// renaming it fails, and the session's folder if it is empty.
pub async fn remove_rest(root: &Path, folder: Folder, object: &str) {
    let path = path(root, folder);
    let staged = path.join(format!("{object}#1"));
    let removing = tokio::task::spawn_blocking(move || {
        ignore_not_found(fs::remove_file(staged))?;
        crash_point!("fragment.rest_removed");
        remove_dir(&path)
    });
    if let Ok(Err(error)) = removing.await {
        tracing::debug!(error = %error, "a staged file or an empty folder was left for reclaiming");
    }
}

/// Keeps a folder that is not empty: a writer that is about to end may have created a file meanwhile. The next pass
/// drops it.
fn remove_dir(path: &Path) -> io::Result<()> {
    let removed = fs::remove_dir(path);
    crash_point!("reclaim.folder_removed");
    match removed {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => ignore_not_found(removed),
    }
}

fn ignore_not_found(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn path(root: &Path, folder: Folder) -> PathBuf {
    root.join(folder.tenant.0.to_string()).join(folder.session.0.to_string())
}
