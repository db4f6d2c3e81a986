//! An application uploads only for a print task in `processing` that a trigger of its own has started. Users need none.

use print_upload::proto::{CatalogPrintJob, PrintJob, PrintTask, UploadSession, print_task::State, upload_session};
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Actor, App, ErrorExt, FOREIGN_TENANT, ROBOT, TENANT, job_of, sample_bytes, user_claims};

const STATES: [State; 4] = [State::Pending, State::Processing, State::Completed, State::Aborted];

fn no_task() -> (Code, String) {
    (Code::PermissionDenied, "NO_PROCESSING_TASK".into())
}

/// A task on a job.
fn task(job: &PrintJob, id: &str, trigger_application: &str, state: State, revision: i64) -> PrintTask {
    let name = format!("{}/tasks/{id}", job_of(&job.document));
    PrintTask { name, trigger_application: trigger_application.into(), state: state.into(), revision }
}

async fn new_job(app: &App) -> PrintJob {
    app.ada().create_job("printers/p").await.expect("a job")
}

/// The robot's upload under way. The task that authorized it has already completed.
async fn outliving_its_task(app: &App) -> UploadSession {
    let (mut robot, mut catalog, job) = (app.robot(), app.catalog(), new_job(app).await);
    catalog.push_task(&task(&job, "t", ROBOT, State::Processing, 1)).await.expect("a task");
    let session = robot.create(&job.document, 1000).await.expect("a session");
    robot.send(&session, &sample_bytes(1000), 0..400).await.expect("a range");
    catalog.push_task(&task(&job, "t", ROBOT, State::Completed, 2)).await.expect("the task");
    session
}

#[tokio::test]
async fn an_application_uploads_only_for_a_task_of_its_own_that_is_processing() {
    let app = App::start().await;
    let (mut robot, mut catalog) = (app.robot(), app.catalog());
    for trigger in [ROBOT, "other-robot", "robot2", "ada"] {
        for state in STATES {
            let job = new_job(&app).await;
            catalog.push_task(&task(&job, "t", trigger, state, 1)).await.expect("a task");

            let created = robot.create(&job.document, 1000).await.map(drop);

            let expected = if (trigger, state) == (ROBOT, State::Processing) { Ok(()) } else { Err(no_task()) };
            assert_eq!(created.map_err(|refused| refused.code_and_reason()), expected, "{state:?} of {trigger}");
        }
    }
}

#[tokio::test]
async fn tasks_elsewhere_do_not_authorize_an_application() {
    let app = App::start().await;
    let (mut robot, mut catalog) = (app.robot(), app.catalog());
    let (job, other) = (new_job(&app).await, new_job(&app).await);
    let refused = robot.create(&job.document, 1000).await.expect_err("no task at all");
    assert_eq!(refused.code_and_reason(), no_task());

    // Tasks on another job, on the same job in another tenant, and one of its own that is not processing, beside
    // another application's that is.
    catalog.push_task(&task(&other, "t", ROBOT, State::Processing, 1)).await.expect("a task");
    let abroad = |name: String| name.replace(&TENANT.to_string(), &FOREIGN_TENANT.to_string());
    let twin = CatalogPrintJob {
        name: abroad(job_of(&job.document)),
        creator: job.creator.clone(),
        document: job.document.rsplit('/').next().expect("an id").into(),
        revision: 1,
    };
    catalog.push_job(&twin).await.expect("a job with the same ids in the other tenant");
    let twins = task(&job, "t", ROBOT, State::Processing, 1);
    catalog.push_task(&PrintTask { name: abroad(twins.name.clone()), ..twins }).await.expect("a task");
    catalog.push_task(&task(&job, "own", ROBOT, State::Completed, 1)).await.expect("a task");
    catalog.push_task(&task(&job, "others", "other-robot", State::Processing, 1)).await.expect("a task");
    let refused = robot.create(&job.document, 1000).await.expect_err("none of them is its own, here, and processing");
    assert_eq!(refused.code_and_reason(), no_task());

    catalog.push_task(&task(&job, "second", ROBOT, State::Processing, 1)).await.expect("a task");
    robot.create(&job.document, 1000).await.expect("one of several is enough");
}

#[tokio::test]
async fn a_task_that_has_ended_authorizes_no_further_upload() {
    let app = App::start().await;
    let (mut robot, mut catalog, job) = (app.robot(), app.catalog(), new_job(&app).await);
    catalog.push_task(&task(&job, "t", ROBOT, State::Processing, 2)).await.expect("a task");
    let session = robot.create(&job.document, 1000).await.expect("a session");
    robot.delete(&session.name).await.expect("deleted");
    catalog.push_task(&task(&job, "t", ROBOT, State::Pending, 1)).await.expect("an older revision changes nothing");
    let session = robot.create(&job.document, 1000).await.expect("a new session");

    for (state, revision) in [(State::Completed, 3), (State::Aborted, 4), (State::Pending, 5)] {
        catalog.push_task(&task(&job, "t", ROBOT, state, revision)).await.expect("the task");
        let refused = robot.create(&job.document, 1000).await.expect_err("not even the same upload again");
        assert_eq!(refused.code_and_reason(), no_task(), "{state:?}");
    }
    robot.delete(&session.name).await.expect("deleted");
    let refused = robot.create(&job.document, 1000).await.expect_err("no task");
    assert_eq!(refused.code_and_reason(), no_task());

    catalog.push_task(&task(&job, "t", ROBOT, State::Processing, 6)).await.expect("it goes on");
    robot.upload(&job.document, &sample_bytes(1000)).await.expect("the document");
}

#[tokio::test]
async fn a_user_needs_no_task_not_even_through_an_application() {
    let app = App::start().await;
    let mut catalog = app.catalog();
    let through_robot = app.bearer(&user_claims().with("azp", ROBOT).signed());
    for mut user in [app.ada(), app.bob(), through_robot] {
        let job = new_job(&app).await;
        user.upload(&job.document, &sample_bytes(1000)).await.expect("no task at all");
        let job = new_job(&app).await;
        catalog.push_task(&task(&job, "t", "other-robot", State::Aborted, 1)).await.expect("a task");
        user.upload(&job.document, &sample_bytes(1000)).await.expect("somebody else's task");
    }
}

#[tokio::test]
async fn an_upload_outlives_its_task_by_token_and_by_upload_url() {
    let app = App::start().await;
    for by_url in [false, true] {
        let caller = |session: &UploadSession| if by_url { app.robot().holder_of(session) } else { app.robot() };

        let session = outliving_its_task(&app).await;
        let mut uploader = caller(&session);
        assert_eq!(uploader.get(&session.name).await.expect("the session").received_bytes, 400);
        uploader.send(&session, &sample_bytes(1000), 400..1000).await.expect("the rest");
        let (document, bytes) = app.robot().download(&session.document, 0).await.expect("a download");
        assert_eq!((document.size_bytes, bytes), (1000, sample_bytes(1000).to_vec()));

        let session = outliving_its_task(&app).await;
        caller(&session).delete(&session.name).await.expect("deleted");
        assert_canceled(&mut app.robot(), &session).await;
    }
}

async fn assert_canceled(robot: &mut Actor, session: &UploadSession) {
    let canceled = robot.get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.state(), &canceled.ended_by), (upload_session::State::Canceled, &session.owner));
    let refused = robot.create(&session.document, 1000).await.expect_err("its task has ended");
    assert_eq!(refused.code_and_reason(), no_task());
}

#[tokio::test]
async fn a_task_makes_up_neither_for_a_document_that_is_not_there_nor_for_a_canceled_job() {
    let app = App::start().await;
    let (mut robot, mut catalog, job) = (app.robot(), app.catalog(), new_job(&app).await);
    let missing = format!("{}/documents/{}", job.name, Uuid::new_v4());
    for has_task in [false, true] {
        if has_task {
            catalog.push_task(&task(&job, "t", ROBOT, State::Processing, 1)).await.expect("a task");
        }
        let refused = robot.create(&missing, 1000).await.expect_err("no such document");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()));
    }
    app.ada().cancel_job(&job.name).await.expect("canceled");
    let refused = robot.create(&job.document, 1000).await.expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_CANCELED".into()));
}
