//! A cancel on one replica reaches the writers on another.

use std::{collections::HashSet, fs, time::Duration};

use print_upload::{
    config::Config,
    name::SessionId,
    proto::{UploadSession, upload_session::State},
    store::Store,
};
use sqlx::AssertSqlSafe;
use tokio::time::Instant;
use tonic::Code;
use uuid::Uuid;

use super::{ReplicaBehindProxy, Replicas};
use crate::harness::{App, CREDENTIAL, Cut, ErrorExt, Stalled, chunk, eventually, sample_bytes};

/// How many cancels there are, one after the other. Half of them must reach their writers soon. A replica that only
/// polls, every five seconds, would notify at most the first writer soon.
const CANCELS: usize = 8;
const SOON: Duration = Duration::from_secs(2);

/// How late the answer to a commit is when the service no longer relies on it.
const LATE: Duration = Duration::from_millis(100);

/// 1234, as a parameter of a statement.
const START_OF_RANGE: [u8; 8] = 1234_i64.to_be_bytes();

impl Replicas {
    /// A writer stalls on the first replica, and the second one cancels its session. Returns whether the writer was
    /// notified soon.
    async fn cancel_under_a_writer_elsewhere(&mut self) -> bool {
        let (session, stalled) = self.stalled_on_the_first().await;

        self.second.delete(&session.name).await.expect("deleted");

        let is_soon = is_notified_soon(stalled).await;
        eventually("its bytes are gone", async || self.app.is_reclaimed(&session)).await;
        is_soon
    }

    async fn stalled_on_the_first(&mut self) -> (UploadSession, Stalled) {
        let document = self.app.new_document().await;
        let session = self.first.create(&document, 1000).await.expect("a session");
        let stalled = self.first.stall(&session, &sample_bytes(1000), 0..1000);
        eventually("the writer is under way", async || self.app.files_of(&session).len() == 1).await;
        (session, stalled)
    }

    /// Announces any payload, true or not.
    async fn announce(&self, payload: &str) {
        let notify = sqlx::query("select pg_notify('upload_session_ended', $1)").bind(payload);
        notify.execute(self.app.pool()).await.expect("announced");
    }

    /// How many notifications were dropped.
    async fn dropped_notifications(&self) -> i64 {
        let dropped = sqlx::query_scalar("select count(*) from dropped_notification");
        dropped.fetch_one(self.app.pool()).await.expect("a number")
    }

    /// Breaks the connections that both replicas listen on.
    async fn cut_listeners(&self) {
        let listening =
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'";
        let listening = async || sqlx::query_scalar::<_, i64>(listening).fetch_one(self.app.pool()).await;
        eventually("both listen", async || listening().await.expect("a number") == 2).await;
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and query ilike 'listen %'";
        assert_eq!(sqlx::query(cut).fetch_all(self.app.pool()).await.expect("cut").len(), 2);
    }
}

/// Drops all notifications, as if each replica died right after its commit. New connections find a function of ours
/// before `pg_notify` of Postgres.
async fn drop_notifications(app: &App) {
    let database = app.database.url.rsplit('/').next().expect("a name").split('?').next().expect("a name");
    for statement in [
        "create table dropped_notification (payload text)".to_owned(),
        "create function public.pg_notify(text, payload text) returns void language sql
         as 'insert into dropped_notification values (payload)'"
            .to_owned(),
        format!("alter database {database} set search_path = public, pg_catalog"),
    ] {
        // It contains only the name of this test's database.
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(app.pool()).await.expect("the statement runs");
    }
}

/// Waits until a writer is notified of the cancel, and returns whether that was soon. Without a notification the
/// replica polls every five seconds.
async fn is_notified_soon((_still_held, stalled): Stalled) -> bool {
    let started = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(30), stalled).await.expect("the writer is notified");
    let refused = answer.expect("no panic").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    started.elapsed() < SOON
}

#[tokio::test]
async fn a_cancel_on_one_replica_reaches_a_stalled_writer_on_the_other_soon() {
    let mut replicas = Replicas::start().await;
    let mut soon = 0;
    for _ in 0..CANCELS {
        soon += usize::from(replicas.cancel_under_a_writer_elsewhere().await);
    }
    assert!(soon >= CANCELS / 2, "{soon} of {CANCELS}");
}

#[tokio::test]
async fn a_writer_is_notified_also_when_the_notifications_are_cut() {
    let app = App::start().await;
    drop_notifications(&app).await;
    let mut replicas = Replicas::over(app).await;
    replicas.cancel_under_a_writer_elsewhere().await;
    assert!(replicas.dropped_notifications().await > 0, "it was announced");
}

#[tokio::test]
async fn a_replica_that_has_not_listened_asks_as_soon_as_it_does_again() {
    let app = App::start().await;
    drop_notifications(&app).await;
    let mut replicas = Replicas::over(app).await;
    let mut soon = 0;
    for _ in 0..CANCELS {
        let (session, stalled) = replicas.stalled_on_the_first().await;
        replicas.second.delete(&session.name).await.expect("deleted, without a notification");

        replicas.cut_listeners().await;

        soon += usize::from(is_notified_soon(stalled).await);
    }
    assert!(soon >= CANCELS / 2, "{soon} of {CANCELS}");
}

#[tokio::test]
async fn a_commit_that_is_answered_after_a_cancel_elsewhere_is_not_acknowledged() {
    let app = App::start().await;
    drop_notifications(&app).await;
    let ReplicaBehindProxy { app, proxy, mut first, mut second, _program } = ReplicaBehindProxy::over(app).await;
    let bytes = sample_bytes(2000);
    let session = first.create(&app.new_document().await, bytes.len()).await.expect("a session");

    proxy.arm(CREDENTIAL, Cut::UntilReleased);
    let (sent, name) = (session.clone(), session.name.clone());
    let range = tokio::spawn(async move { first.send(&sent, &bytes, 0..1000).await });
    eventually("it is committed", async || second.get(&name).await.expect("the session").received_bytes == 1000).await;
    second.delete(&name).await.expect("deleted");
    let deleted = Instant::now();
    eventually("the commit's answer is late", async || deleted.elapsed() > LATE).await;
    proxy.release();

    let refused = range.await.expect("no panic").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
}

/// The writer is registered before it reads the session. So an end is not missed that comes between both.
#[tokio::test]
async fn a_writer_is_notified_of_an_end_while_it_reads_the_session() {
    let app = App::start().await;
    let ReplicaBehindProxy { app, proxy, mut first, mut second, _program } = ReplicaBehindProxy::over(app).await;
    let bytes = sample_bytes(2000);
    let session = first.create(&app.new_document().await, bytes.len()).await.expect("a session");

    proxy.arm(&START_OF_RANGE, Cut::UntilReleased);
    let (_still_held, stalled) = first.stall(&session, &bytes, 1234..2000);
    eventually("the session is being read", async || !proxy.is_armed()).await;
    second.delete(&session.name).await.expect("deleted");

    let refused = stalled.await.expect("an answer").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    proxy.release();
}

/// More than one notification can carry.
#[tokio::test]
async fn very_many_ends_are_announced_together() {
    let app = App::start().await;
    let config = Config::from_flags(app.flags()).expect("a configuration");
    let store = Store::connect_lazily(&app.database.url, 2, config.batch_limits(), config.terms()).expect("a store");
    let mut announcements = store.listen().await.expect("listening");
    let ended: HashSet<SessionId> = (0..1000).map(|_| SessionId(Uuid::now_v7())).collect();

    store.announce(&Vec::from_iter(ended.iter().copied())).await.expect("announced");

    let mut announced = HashSet::new();
    while announced.len() < ended.len() {
        announced.extend(announcements.next().await.expect("an announcement"));
    }
    assert_eq!(announced, ended);
}

#[tokio::test]
async fn an_announcement_that_is_not_true_does_nothing() {
    let mut replicas = Replicas::start().await;
    let document = replicas.app.new_document().await;
    let (session, bytes) = (replicas.first.create(&document, 1000).await.expect("a session"), sample_bytes(1000));
    let (sender, stalled) = replicas.first.stall(&session, &bytes, 0..1000);
    eventually("the writer is under way", async || replicas.app.files_of(&session).len() == 1).await;

    for payload in [session.etag.as_str(), "", "no id", "00000000-0000-0000-0000-000000000000,,"] {
        replicas.announce(payload).await;
    }
    // A true announcement follows on the same channel.
    replicas.cancel_under_a_writer_elsewhere().await;

    sender.send(chunk(vec![bytes[999]])).await.expect("the range is still under way");
    drop(sender);
    assert_eq!(stalled.await.expect("no panic").expect("acknowledged").state(), State::Completed);
}

#[tokio::test]
async fn a_session_that_a_range_is_prolonging_has_not_ended() {
    let mut replicas = Replicas::start().await;
    let (session, (sender, stalled)) = replicas.stalled_on_the_first().await;
    // Another range was in time and is about to commit. Everybody else reads the session as overdue.
    let mut range = replicas.app.keep_from_sweeper(&session).await;
    replicas.app.make_overdue(&session).await;
    let prolong = sqlx::query("update upload_session set expire_time = expire_limit where session_id = $1::uuid");
    prolong.bind(&session.etag).execute(&mut *range).await.expect("prolonged");

    replicas.announce(&session.etag).await;
    // A true announcement follows on the same channel.
    replicas.cancel_under_a_writer_elsewhere().await;
    range.commit().await.expect("committed");

    sender.send(chunk(vec![sample_bytes(1000)[999]])).await.expect("the range is still under way");
    drop(sender);
    assert_eq!(stalled.await.expect("no panic").expect("acknowledged").state(), State::Completed);
}

#[tokio::test]
async fn a_writer_whose_bytes_are_dropped_before_it_is_notified_is_refused_because_of_the_end() {
    let mut replicas = Replicas::start().await;
    let (session, (sender, answer)) = replicas.stalled_on_the_first().await;
    let bytes = sample_bytes(1000);

    // As another replica does that cancels the session: its first pass over the bytes is faster than its notification.
    let end = "update upload_session set state = 'canceled', end_time = now(), ended_by = owner, end_reason = 'deleted'
               where session_id = $1";
    replicas.app.update_row(end, &session).await;
    fs::remove_dir_all(replicas.app.session_folder(&session)).expect("the folder is removed");
    sender.send(chunk(bytes.slice(999..))).await.expect("the service still reads");
    drop(sender);

    let refused = answer.await.expect("an answer").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
}
