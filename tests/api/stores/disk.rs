//! A full or read-only disk. It is a real one, so these tests need the right to mount file systems.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use print_upload::proto::upload_session::State;
use tonic::Code;

use crate::harness::{App, ErrorExt, IDENTITY, eventually, sample_bytes};

/// A small file system over a folder.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it, or prints why the test is skipped. A store keeps its identity.
    fn over(folder: &Path, options: &str) -> Option<Self> {
        let identity = fs::read(folder.join(IDENTITY)).ok();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).output();
        let problem = match mounted {
            Ok(output) if output.status.success() => {
                if let Some(identity) = identity {
                    fs::write(folder.join(IDENTITY), identity).expect("written");
                }
                return Some(Self(folder.to_owned()));
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("SKIPPED: this user cannot mount a file system here: {problem}");
        None
    }

    /// Mounts it again, with other options.
    fn change(&self, options: &str) {
        let remount = format!("remount,{options}");
        let changed = Command::new("mount").args(["-o", &remount]).arg(&self.0).status().expect("a command");
        assert!(changed.success(), "{options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the service may still have a file open.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the disk is unmounted");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_a_range_and_loses_nothing() {
    let app = App::start().await;
    let Some(disk) = SmallDisk::over(&app.bytes_folder(), "size=2m") else { return };
    let (mut ada, bytes) = (app.ada(), sample_bytes(3_500_000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1_000_000).await.expect("there is space for the first");

    for _ in 0..3 {
        let refused = ada.send(&session, &bytes, 1_000_000..3_500_000).await.expect_err("no space");
        assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "STORE_FULL".into()));
        assert!(refused.retry_delay().is_some_and(|delay| delay > Duration::ZERO));
        let seen = ada.get(&session.name).await.expect("the session");
        assert_eq!((seen.state(), seen.received_bytes), (State::Active, 1_000_000));
        eventually("the attempt left nothing", async || app.files_of(&session).len() == 1).await;
    }

    disk.change("size=8m");
    ada.send(&session, &bytes, 1_000_000..3_500_000).await.expect("there is space now");
    assert!(ada.download(&session.document, 0).await.expect("a download").1 == bytes);
}

#[tokio::test]
async fn deleting_a_session_makes_room_on_a_full_disk() {
    let app = App::start().await;
    let Some(_disk) = SmallDisk::over(&app.bytes_folder(), "size=2m") else { return };
    let (mut ada, bytes) = (app.ada(), sample_bytes(1_500_000));
    let first = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&first, &bytes, 1..1_500_000).await.expect("there is space for the first");
    let second = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let refused = ada.send(&second, &bytes, 0..1_500_000).await.expect_err("no space");
    assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "STORE_FULL".into()));

    ada.delete(&first.name).await.expect("deleted");
    eventually("its bytes are gone", async || app.is_reclaimed(&first)).await;

    ada.send(&second, &bytes, 0..1_500_000).await.expect("there is space now");
    assert!(ada.download(&second.document, 0).await.expect("a download").1 == bytes);
}

#[tokio::test]
async fn on_a_read_only_disk_ranges_are_unavailable_and_everything_else_works() {
    let app = App::start().await;
    let Some(disk) = SmallDisk::over(&app.bytes_folder(), "size=8m") else { return };
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let uploaded = ada.upload(&app.new_document().await, &bytes).await.expect("an uploaded document");
    let doomed = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    for session in [&doomed, &session] {
        ada.send(session, &bytes, 0..1000).await.expect("a range");
    }

    disk.change("ro");
    let refused = ada.send(&session, &bytes, 1000..2000).await.expect_err("nothing can be written");
    assert_eq!(refused.code_and_reason(), (Code::Unavailable, "STORE_UNAVAILABLE".into()));
    assert!(refused.retry_delay().is_some_and(|delay| delay > Duration::ZERO));
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 1000);
    assert_eq!(ada.download(&uploaded.document, 0).await.expect("a download").1, bytes);
    ada.delete(&doomed.name).await.expect("deleted");
    assert_eq!(ada.get(&doomed.name).await.expect("the tombstone").state(), State::Canceled);

    disk.change("rw");
    ada.send(&session, &bytes, 1000..2000).await.expect("the rest");
    assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, bytes);
    eventually("the deleted session's bytes are gone", async || app.is_reclaimed(&doomed)).await;
}

/// A range that does not fit into the spool is refused as a whole.
#[tokio::test]
async fn a_full_spool_refuses_a_range_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).expect("a folder");
    let Some(disk) = SmallDisk::over(&spool, "size=256k") else { return };
    let spool_dir = spool.display().to_string();
    let app = App::with([("store", "memory:///"), ("spool-dir", spool_dir.as_str())]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(2_000_000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");

    for range in [0..600_000, 0..2_000_000] {
        let refused = ada.send(&session, &bytes, range).await.expect_err("no space");
        assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "STORE_FULL".into()));
    }
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 0);

    disk.change("size=8m");
    ada.send(&session, &bytes, 0..2_000_000).await.expect("there is space again");
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);
}
