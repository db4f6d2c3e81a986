//! Jobs that are in use, and those of the catalog, are never ended by their age.

use print_upload::{
    proto::{CatalogPrintJob, UploadSession, print_job::State, upload_session},
    store::MIGRATOR,
};
use sqlx::AssertSqlSafe;
use tokio::join;

use super::{age, count, state_of, store, sweep};
use crate::harness::{App, Database, TENANT, eventually, job_of, sample_bytes};

#[tokio::test]
async fn a_job_with_an_upload_stays_and_the_upload_goes_on() {
    let mut app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(ada.create_job("printers/p").await.expect("a job"));
    }
    let [active, uploaded, ended] = jobs.as_slice() else { panic!("three") };
    let session = ada.create(&active.document, 1000).await.expect("a session");
    ada.send(&session, &bytes, 0..400).await.expect("a range");
    ada.upload(&uploaded.document, &bytes).await.expect("uploaded");
    let canceled = ada.create(&ended.document, 1000).await.expect("a session");
    ada.delete(&canceled.name).await.expect("deleted");
    for job in &jobs {
        age(&app, job, "100 days").await;
    }

    sweep(&mut app).await;

    for job in &jobs {
        assert_eq!(state_of(&app, job).await, State::Paused);
    }
    app.ada().send(&session, &bytes, 400..1000).await.expect("the rest");
    app.ada().start_job(&active.name).await.expect("started");
    forget(&app, &canceled).await;
    age(&app, ended, "1 day").await;
    sweep(&mut app).await;
    eventually("its upload is forgotten", async || state_of(&app, ended).await == State::Canceled).await;
}

/// Purges a tombstone.
async fn forget(app: &App, session: &UploadSession) {
    app.make_reclaim_last(session).await;
    eventually("its bytes are reclaimed", async || app.reclaim_job(session).await.is_none()).await;
    app.update_row("delete from upload_session where session_id = $1", session).await;
}

/// A create that comes at the same time is either first, and keeps the job, or finds it canceled.
#[tokio::test]
async fn a_job_is_never_ended_with_an_active_session() {
    let mut app = App::start().await;
    let mut jobs = Vec::new();
    for _ in 0..40 {
        jobs.push(app.ada().create_job("printers/p").await.expect("a job"));
    }
    let store = store(&app);
    let mut created = 0;
    for job in &jobs {
        age(&app, job, "4 days").await;
        let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
        let (swept, session) = join!(store.sweep_jobs(), ada.create(&job.document, 1000));
        swept.expect("swept");
        match session {
            Ok(session) => {
                created += 1;
                assert_eq!(state_of(&app, job).await, State::Paused);
                ada.send(&session, &bytes, 0..1000).await.expect("it is usable");
            }
            Err(_) => assert_eq!(state_of(&app, job).await, State::Canceled),
        }
    }
    eprintln!("{created} of {} creates were first", jobs.len());
    let both = "select count(*) from print_job join print_document using (tenant_id, printer_id, job_id)
                join upload_session using (tenant_id, document_id) where cancel_time is not null";
    assert_eq!(count(&app, both).await, 0);
    sweep(&mut app).await;
}

#[tokio::test]
async fn a_sweep_waits_for_no_create_and_looks_at_its_job_later() {
    let app = App::start().await;
    let job = app.ada().create_job("printers/p").await.expect("a job");
    age(&app, &job, "4 days").await;
    let mut creating = app.pool().begin().await.expect("a transaction");
    let lock = "select 1 from print_job where job_id = $1 for share";
    let id = job.name.rsplit('/').next().expect("an id");
    sqlx::query(lock).bind(id).fetch_one(&mut *creating).await.expect("the job");

    assert_eq!(store(&app).sweep_jobs().await.expect("swept").looked_at, 0);

    creating.rollback().await.expect("rolled back");
    assert_eq!(store(&app).sweep_jobs().await.expect("swept").unused, 1);
}

#[tokio::test]
async fn a_job_that_the_catalog_has_pushed_is_the_catalogs_to_delete() {
    let mut app = App::with([("canceled-job-retention", "1h"), ("started-job-retention", "1h")]).await;
    let (mut ada, mut catalog) = (app.ada(), app.catalog());
    let mut jobs = Vec::new();
    for revision in [0, 1] {
        let job = ada.create_job("printers/p").await.expect("a job");
        let document = job.document.rsplit('/').next().expect("an id").into();
        let pushed = CatalogPrintJob { name: job_of(&job.document), creator: job.creator.clone(), document, revision };
        catalog.push_job(&pushed).await.expect("pushed");
        jobs.push(job);
    }
    let canceled = ada.create_job("printers/p").await.expect("a job");
    let document = canceled.document.rsplit('/').next().expect("an id").into();
    let creator = canceled.creator.clone();
    let pushed = CatalogPrintJob { name: job_of(&canceled.document), creator, document, revision: 0 };
    catalog.push_job(&pushed).await.expect("pushed");
    ada.cancel_job(&canceled.name).await.expect("canceled");
    // Pushed by a program that does not know the column.
    let older = "update print_job set is_in_catalog = false where revision = 1 and created_here";
    assert_eq!(sqlx::query(older).execute(app.pool()).await.expect("an update").rows_affected(), 1);
    let own = app.new_document().await;
    sqlx::query(
        "update print_job set create_time = now() - interval '1000 days', sweep_time = now() where not created_here",
    )
    .execute(app.pool())
    .await
    .expect("an update");
    for job in jobs.iter().chain([&canceled]) {
        age(&app, job, "1000 days").await;
    }

    sweep(&mut app).await;

    for job in &jobs {
        assert_eq!(state_of(&app, job).await, State::Paused);
    }
    assert_eq!(state_of(&app, &canceled).await, State::Canceled);
    app.ada().upload(&own, &sample_bytes(1000)).await.expect("it takes an upload");
    assert_eq!(
        count(&app, "select count(*) from print_job where revision = 1 and created_here and is_in_catalog").await,
        1
    );
    app.catalog().delete_job(&canceled.document, 0).await.expect("deleted");
}

/// A sweep of an empty table finds nothing to do.
#[tokio::test]
async fn what_a_sweep_has_looked_at_is_not_due_again_at_once() {
    let app = App::on(Database::create().await, []);
    assert_eq!(store(&app).sweep_jobs().await.expect("swept").looked_at, 0);
    let app = App::start().await;
    let job = app.ada().create_job("printers/p").await.expect("a job");
    let session = app.ada().create(&job.document, 1000).await.expect("a session");
    age(&app, &job, "4 days").await;
    let store = store(&app);
    let first = store.sweep_jobs().await.expect("swept");
    assert_eq!((first.looked_at, first.unused), (1, 0));
    assert_eq!(store.sweep_jobs().await.expect("swept").looked_at, 0);
    let found = app.ada().get(&session.name).await.expect("the session");
    assert_eq!(found.state(), upload_session::State::Active);
}

#[tokio::test]
async fn a_new_job_is_looked_at_when_it_could_be_unused() {
    let mut app = App::start().await;
    // The service sweeps again in a minute.
    sweep(&mut app).await;
    app.ada().create_job("printers/p").await.expect("a job");

    assert_eq!(store(&app).sweep_jobs().await.expect("swept").looked_at, 0);

    let next = "select count(*) from print_job
                where cancel_time is null
                  and sweep_time between now() + interval '2 days 23 hours' and now() + interval '3 days'";
    assert_eq!(count(&app, next).await, 1);
}

#[tokio::test]
async fn a_document_that_waits_for_its_start_is_looked_at_once_a_week() {
    let app = App::start().await;
    let job = app.ada().create_job("printers/p").await.expect("a job");
    app.ada().upload(&job.document, &sample_bytes(1000)).await.expect("uploaded");
    age(&app, &job, "100 days").await;

    let swept = store(&app).sweep_jobs().await.expect("swept");

    assert_eq!((swept.looked_at, swept.unused), (1, 0));
    let next = "select count(*) from print_job where sweep_time > now() + interval '6 days 23 hours'";
    assert_eq!(count(&app, next).await, 1);
}

#[tokio::test]
async fn with_a_short_retention_a_started_job_is_not_looked_at_every_hour() {
    let app = App::with([("canceled-job-retention", "1h")]).await;
    let job = app.ada().create_job("printers/p").await.expect("a job");
    app.ada().upload(&job.document, &sample_bytes(1000)).await.expect("uploaded");
    app.ada().start_job(&job.name).await.expect("started");
    age(&app, &job, "100 days").await;

    assert_eq!(store(&app).sweep_jobs().await.expect("swept").looked_at, 1);

    let next = "select count(*) from print_job where sweep_time > now() + interval '5 hours 59 minutes'";
    assert_eq!(count(&app, next).await, 1);
}

/// The catalog may have pushed it with revision 0, which its row does not show.
#[tokio::test]
async fn a_job_from_before_the_update_stays_the_catalogs() {
    let database = Database::empty().await;
    let pool = database.pool.clone();
    MIGRATOR.run_to(10, &pool).await.expect("migrations");
    let catalog = format!(
        "insert into tenant (tenant_id, subscription_active, revision) values ('{TENANT}', true, 1);
         insert into printer (tenant_id, printer_id, revision) values ('{TENANT}', 'p', 1)"
    );
    sqlx::raw_sql(AssertSqlSafe(catalog)).execute(&pool).await.expect("a printer");
    let create = format!(
        "insert into print_job (tenant_id, printer_id, job_id, created_by, revision, created_here, create_time)
         values ('{TENANT}', 'p', $1, 'user:ada', 0, true, now() - interval '100 days')"
    );
    let create = async |job: &str| {
        sqlx::query(AssertSqlSafe(create.clone())).bind(job).execute(&pool).await.expect("a job");
    };
    create("before").await;

    MIGRATOR.run(&pool).await.expect("the later migrations");

    create("after").await;
    let app = App::on(database, []);
    let swept = store(&app).sweep_jobs().await.expect("swept");
    assert_eq!((swept.looked_at, swept.unused), (1, 1));
    assert_eq!(
        count(&app, "select count(*) from print_job where job_id = 'after' and cancel_time is not null").await,
        1
    );
}
