//! One crash: of a program that stops at a point, with the same data before and after it.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt, rc::Rc, time::Duration};

use bytes::Bytes;
use nix::sys::signal::Signal;
use print_upload::proto::{UploadSession, upload_session::State};
use tokio::time::timeout;

use crate::harness::{App, Bucket, Program, eventually, sample_bytes};

/// How long the program may take to reach the point.
const DEADLINE: Duration = Duration::from_secs(60);

/// The size of the documents that are uploaded.
pub const SIZE: usize = 3000;

/// A service before, in and after a crash.
pub struct Crash {
    /// Until the crash it serves in the test's process. After the crash its actors call the program that ships.
    pub app: App,
    pub bucket: Rc<Bucket>,
    crash_at: &'static str,
    restarted: Option<Program>,
}

impl Crash {
    /// A service that serves without crash points. `crash_at` is the later value of `CRASH_AT`.
    pub async fn at(crash_at: &'static str, bucket: Bucket) -> Self {
        Self { app: bucket.app().await, bucket: Rc::new(bucket), crash_at, restarted: None }
    }

    /// Whether the crash is at one of these points.
    pub fn is_at(&self, points: &[&str]) -> bool {
        points.contains(&point_of(self.crash_at))
    }

    /// Stops the service, calls the program that aborts at the point, and waits until it has died there. Then starts
    /// the program that ships. Returns what the call returned.
    pub async fn during<T>(&mut self, call: impl AsyncFnOnce(&App, &Program) -> T) -> T {
        let returned = self.crash_during(call).await;
        self.restart().await;
        returned
    }

    /// The same without the start.
    pub async fn crash_during<T>(&mut self, call: impl AsyncFnOnce(&App, &Program) -> T) -> T {
        self.app.stop().await;
        let mut program = Program::start_crashing(&self.app, self.crash_at);
        program.wait_until_serving(&mut self.app).await;
        let returned = call(&self.app, &program).await;
        self.wait_for_crash(program).await;
        returned
    }

    /// The same for a point that the program reaches without a call.
    pub async fn at_start(&mut self) {
        self.at_start_after(&[]).await;
    }

    /// The same, with statements that run while no service does.
    pub async fn at_start_after(&mut self, statements: &[&'static str]) {
        self.app.stop().await;
        for statement in statements {
            self.execute(statement).await;
        }
        let program = Program::start_crashing(&self.app, self.crash_at);
        self.wait_for_crash(program).await;
        self.restart().await;
    }

    /// The same for the first start on a database that belongs to no store, and a store that has no identity.
    pub async fn at_first_start(&mut self) {
        self.app.stop().await;
        self.bucket.remove_identity().await;
        self.execute("delete from object_store").await;
        let program = Program::start_crashing(&self.app, self.crash_at);
        self.wait_for_crash(program).await;
        self.restart().await;
    }

    /// The same for a command beside the service, which goes on.
    pub async fn in_command(&self, arguments: &[&str]) {
        self.wait_for_crash(Program::start_crashing_command(arguments, self.crash_at)).await;
    }

    async fn wait_for_crash(&self, program: Program) {
        let ended = timeout(DEADLINE, program.wait_for_end()).await;
        let (status, output) = ended.unwrap_or_else(|_| panic!("the program has not reached {}", self.crash_at));
        assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{output}");
        let last_words = format!("crash point: {}", point_of(self.crash_at));
        assert!(output.lines().any(|line| line == last_words), "{output}");
    }

    /// Starts the program that ships, in place of the one that runs.
    pub async fn restart(&mut self) {
        if let Some(program) = self.restarted.take() {
            program.kill().await;
        }
        self.restarted = Some(Program::serve(&mut self.app).await);
    }

    /// A session of ada's, and its document. Its first third is acknowledged.
    pub async fn begun_session(&self) -> (UploadSession, Bytes) {
        let (mut ada, bytes) = (self.app.ada(), sample_bytes(SIZE));
        let session = ada.create(&self.app.new_document().await, SIZE).await.expect("a session");
        ada.send(&session, &bytes, 0..SIZE / 3).await.expect("acknowledged");
        (session, bytes)
    }

    pub async fn state_of(&self, session: &UploadSession) -> State {
        self.app.ada().get(&session.name).await.expect("the session").state()
    }

    pub async fn assert_downloads(&self, document: &str, bytes: &Bytes) {
        let (_, downloaded) = self.app.ada().download(document, 0).await.expect("a download");
        assert!(downloaded == *bytes, "other bytes");
    }

    /// Uploads the document in a new session: an ended session of it does not keep it from that.
    pub async fn upload_again(&self, document: &str, bytes: &Bytes) {
        self.app.ada().upload(document, bytes).await.expect("a new upload");
        self.assert_downloads(document, bytes).await;
    }

    /// Waits until the store has nothing of a session.
    pub async fn no_bytes_of(&self, session: &UploadSession) {
        eventually("the session's bytes are gone", async || self.bucket.count_of(session).await == 0).await;
    }

    /// Lets every queued pass begin now, also if the lease of the program that crashed has not ended.
    pub async fn make_passes_due(&self) {
        self.execute("update reclaim set due_time = now()").await;
    }

    /// Makes every queued pass the last one, as if the writers' time had passed.
    pub async fn make_passes_last(&self) {
        self.execute("update reclaim set due_time = now(), final_time = now()").await;
    }

    /// After the last passes: the store has exactly the objects of completed sessions' manifests, and nothing waits.
    pub async fn assert_clean(self) {
        assert_eq!(self.count("select count(*) from upload_session where state = 'active'").await, 0);
        self.make_passes_last().await;
        eventually("no pass is left", async || self.count("select count(*) from reclaim").await == 0).await;
        let listed: Vec<String> = sqlx::query_scalar(
            "select distinct concat_ws('/', tenant_id, session_id, object_id)
             from fragment join upload_session using (tenant_id, session_id) where state = 'completed'",
        )
        .fetch_all(self.app.pool())
        .await
        .expect("the manifests");
        assert_eq!(self.bucket.everything().await, BTreeSet::from_iter(listed), "in the store, in the manifests");
        let incomplete = "select count(*) from upload_session s where state = 'completed' and size_bytes <> (
                              select sum(end_byte - start_byte) from fragment f
                              where (f.tenant_id, f.session_id) = (s.tenant_id, s.session_id))";
        assert_eq!(self.count(incomplete).await, 0);
        let ends = "select count(*) from (
                        select from audit where action in ('complete', 'cancel', 'expire')
                        group by session_id having count(*) > 1) as ended_twice";
        assert_eq!(self.count(ends).await, 0);
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(self.app.pool()).await.expect("a number")
    }

    pub async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(self.app.pool()).await.expect("a statement");
    }
}

/// The name of the point in a value of `CRASH_AT`.
pub fn point_of(crash_at: &str) -> &str {
    crash_at.split(':').next().unwrap_or_default()
}
