//! The commands of those who upload, as people and scripts run them.

mod failures;
mod interrupt;
mod output;
mod resume;
mod sources;

use std::path::{Path, PathBuf};

use print_upload::proto::{UploadSession, upload_session::State};
use tempfile::TempDir;

use crate::harness::{Actor, Command, eventually, sample_bytes};

/// The size of a file whose upload takes half a minute in ranges of [`RANGE`] at [`PACE`], and no time without a limit.
const LARGE: usize = 6_000_000;
const RANGE: &str = "--range-size=50KiB";
const RANGE_BYTES: i64 = 50 * 1024;
const PACE: &str = "--limit-rate=256KiB";

/// A file with sample bytes.
fn sample_file(length: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("poster.pdf");
    std::fs::write(&file, sample_bytes(length)).expect("a file");
    (folder, file)
}

/// An upload in small ranges.
fn upload(actor: &Actor, document: &str, file: &Path) -> Command {
    actor.command("upload").file(file).arg(format!("--document={document}")).arg(RANGE).arg("--json")
}

/// The same, so slow that a test has time to disturb it, also on a busy machine.
fn slow_upload(actor: &Actor, document: &str, file: &Path) -> Command {
    upload(actor, document, file).arg(PACE)
}

/// Waits until a range of an upload is committed, and returns its session.
async fn under_way(actor: &mut Actor, document: &str) -> UploadSession {
    let (name, mut found) = (format!("{document}/uploadSession"), None);
    eventually("a range is committed", async || {
        found = actor.get(&name).await.ok().filter(|session| session.received_bytes > 0);
        found.is_some()
    })
    .await;
    let session = found.expect("a session");
    assert_eq!(session.state(), State::Active);
    session
}
