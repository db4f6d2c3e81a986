//! Requests that create a job, repeated at two replicas at once.

use print_upload::proto::CreatePrintJobRequest;
use tokio::task::JoinSet;
use tonic::Code;

use super::Replicas;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_repeats_at_two_replicas_create_one_job_and_all_return_it() {
    const REPEATS: usize = 100;
    let replicas = Replicas::start().await;
    let request = CreatePrintJobRequest {
        parent: "printers/p".into(),
        configuration: r#"{"copies":2}"#.into(),
        request_id: "0f9d3a52-7a6d-4c59-9f0c-0a1b2c3d4e5f".into(),
    };
    let mut creates = JoinSet::new();
    for caller in [&replicas.first, &replicas.second].into_iter().cycle().take(REPEATS) {
        let (mut caller, request) = (caller.clone(), request.clone());
        creates.spawn(async move {
            loop {
                match caller.create_requested_job(request.clone()).await {
                    // A replica may have no free connection to the database in time: its caller repeats once more.
                    Err(failed) if failed.code() == Code::Unavailable => {}
                    created => return created.expect("the job"),
                }
            }
        });
    }
    let jobs = creates.join_all().await;

    assert_eq!(jobs.len(), REPEATS);
    assert!(jobs.iter().all(|job| *job == jobs[0]), "{jobs:#?}");
    let counts = "select (select count(*) from print_job), (select count(*) from print_document)";
    let counts: (i64, i64) = sqlx::query_as(counts).fetch_one(replicas.app.pool()).await.expect("counts");
    assert_eq!(counts, (1, 1));
}
