//! Limits hold at two replicas, whose callers create at the same time.

use print_upload::proto::{PrintJob, UploadSession};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::{
    harness::{Actor, App, Program, TENANT},
    limits::{limit, limit_of},
};

const CALLERS: usize = 64;

/// How many of them a limit allows.
const ALLOWED: usize = 40;

/// Two replicas on an app's data, and callers of them in turn. The number of a caller becomes a user.
async fn callers(app: &mut App, user: impl Fn(usize) -> String) -> ([Program; 2], Vec<Actor>) {
    app.stop().await;
    let of = |app: &App, first: usize| -> Vec<Actor> {
        (first..CALLERS).step_by(2).map(|number| app.uploader(TENANT, &user(number))).collect()
    };
    let first = Program::serve(app).await;
    let mut callers = of(app, 0);
    let second = Program::serve(app).await;
    callers.extend(of(app, 1));
    ([first, second], callers)
}

/// Lets all callers create something at once. Returns what was created, and the limits that have refused the others.
async fn race<T: Send + 'static, F: Future<Output = Result<T, Status>> + Send + 'static>(
    callers: Vec<Actor>,
    create: impl Fn(usize, Actor) -> F + Clone + Send + 'static,
) -> (Vec<T>, Vec<(String, String)>) {
    let mut creates = JoinSet::new();
    for (number, caller) in callers.into_iter().enumerate() {
        let create = create.clone();
        creates.spawn(async move {
            loop {
                match create(number, caller.clone()).await {
                    // On a busy machine a caller may not get its turn in time.
                    Err(failed) if failed.code() == Code::Unavailable => {}
                    result => return result,
                }
            }
        });
    }
    let (mut created, mut limits) = (Vec::new(), Vec::new());
    for result in creates.join_all().await {
        match result {
            Ok(one) => created.push(one),
            Err(refused) => limits.push(limit_of(&refused)),
        }
    }
    (created, limits)
}

async fn create_job(_: usize, mut caller: Actor) -> Result<PrintJob, Status> {
    caller.create_job("printers/p").await
}

async fn count(app: &App, query: &'static str) -> usize {
    let counted: i64 = sqlx::query_scalar(query).fetch_one(app.pool()).await.expect("a count");
    usize::try_from(counted).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_users_as_a_printer_allows_create_a_job() {
    let mut app = App::with([("limit-printer-jobs", "40/10m")]).await;
    let (_programs, callers) = callers(&mut app, |number| format!("user-{number}")).await;
    let (created, limits) = race(callers, create_job).await;
    assert_eq!(created.len(), ALLOWED);
    assert_eq!(limits, vec![limit("printer-jobs", 40); CALLERS - ALLOWED]);
    assert_eq!(count(&app, "select count(*) from print_job").await, ALLOWED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_creates_as_many_jobs_as_allowed_and_no_more_of_them_wait() {
    let mut app = App::with([("limit-user-jobs", "40/10m")]).await;
    let (programs, users) = callers(&mut app, |_| "ada".into()).await;
    let (created, limits) = race(users, create_job).await;
    assert_eq!(created.len(), ALLOWED);
    assert_eq!(limits, vec![limit("user-jobs", 40); CALLERS - ALLOWED]);
    drop(programs);

    let mut app = App::with([("limit-user-waiting-jobs", "4"), ("limit-printer-waiting-jobs", "12")]).await;
    let (_programs, users) = callers(&mut app, |number| format!("user-{}", number % 8)).await;
    let (created, limits) = race(users, create_job).await;
    assert_eq!((created.len(), limits.len()), (12, CALLERS - 12), "{limits:?}");
    let most = "select max(jobs) from (select count(*) as jobs from print_job group by created_by) of_user";
    assert!(count(&app, most).await <= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_declares_as_many_bytes_as_allowed() {
    let mut app = App::with([("limit-user-bytes", "4000/15m"), ("limit-printer-waiting-jobs", "1000")]).await;
    let mut documents = Vec::new();
    for _ in 0..CALLERS {
        documents.push(app.new_document().await);
    }
    let (_programs, users) = callers(&mut app, |_| "ada".into()).await;
    let again = documents.clone();
    let create = move |number: usize, mut caller: Actor| {
        let document = documents[number].clone();
        async move { caller.create(&document, 100).await }
    };
    let (created, limits): (Vec<UploadSession>, _) = race(users.clone(), create).await;
    assert_eq!(created.len(), ALLOWED);
    assert_eq!(limits, vec![limit("user-bytes", 4000); CALLERS - ALLOWED]);

    // Half of them end while the others try again.
    let mut ada = app.ada();
    for session in &created[..ALLOWED / 2] {
        ada.delete(&session.name).await.expect("deleted");
    }
    let create = move |number: usize, mut caller: Actor| {
        let document = again[number].clone();
        async move { caller.create(&document, 100).await }
    };
    let (created, _) = race(users, create).await;
    assert_eq!(created.len(), ALLOWED, "those that are active, and as many new ones as have ended");
    assert_eq!(count(&app, "select count(*) from upload_session where state = 'active'").await, ALLOWED);
}
