//! Nothing stays for ever: jobs that nobody uses, jobs and audit rows whose retention has passed, and tenants that are
//! deleted.

mod audit;
mod jobs;
mod jobs_in_use;
mod tenant_races;
mod tenants;

use print_upload::{
    config::Config,
    proto::{PrintJob, print_job::State},
    store::Store,
};

use crate::harness::{App, eventually};

/// A store on the database of an app, for what the sweeper does when its time comes.
fn store(app: &App) -> Store {
    let config = Config::from_flags(app.flags()).expect("a configuration");
    Store::connect_lazily(&app.database.url, 2, config.batch_limits(), config.terms()).expect("a store")
}

/// The sweeper looks at jobs when the service starts, and once a minute.
async fn restart(app: &mut App) {
    app.stop().await;
    app.run().await;
}

/// Makes a job look as if all that happened to it had happened so much earlier. The sweeper looks at it next.
async fn age(app: &App, job: &PrintJob, by: &str) {
    let age = "update print_job
               set create_time = create_time - $2::text::interval, start_time = start_time - $2::text::interval,
                   cancel_time = cancel_time - $2::text::interval, delete_time = delete_time - $2::text::interval,
                   sweep_time = now()
               where job_id = $1";
    let id = job.name.rsplit('/').next().expect("an id");
    let aged = sqlx::query(age).bind(id).bind(by).execute(app.pool()).await.expect("an update");
    assert_eq!(aged.rows_affected(), 1);
}

/// Sweeps, and waits until a job that nobody has used for long was ended by it. It is looked at after all others.
async fn sweep(app: &mut App) {
    let unused = app.ada().create_job("printers/p").await.expect("a job");
    age(app, &unused, "200 days").await;
    restart(app).await;
    eventually("an unused job is canceled", async || state_of(app, &unused).await == State::Canceled).await;
}

async fn state_of(app: &App, job: &PrintJob) -> State {
    app.ada().job(&job.name).await.expect("the job").state()
}

async fn count(app: &App, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(app.pool()).await.expect("a number")
}
