//! Print jobs that are created, started and canceled here, together with the catalog that other services push.

use print_upload::proto::{CatalogPrintJob, Principal, PrintJob, principal::Identity, print_job::State};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::harness::{Actor, App, ErrorExt, ROBOT, Rpc, TENANT, eventually, job_of, sample_bytes};

/// A job as the catalog's owner would push it.
fn in_catalog(job: &PrintJob, revision: i64) -> CatalogPrintJob {
    let document = job.document.rsplit('/').next().expect("an id").into();
    CatalogPrintJob { name: job_of(&job.document), creator: job.creator.clone(), document, revision }
}

fn user(oid: &str) -> Option<Principal> {
    Some(Principal { identity: Some(Identity::User(oid.into())) })
}

/// The job and its document are not found by any call.
async fn assert_not_found(app: &App, job: &PrintJob) {
    let mut ada = app.ada();
    for rpc in Rpc::OF_JOBS {
        let refused = ada.call(rpc, &job.name).await.expect_err("deleted");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "PRINT_JOB_NOT_FOUND".into()), "{rpc:?}");
    }
    for rpc in Rpc::OF_DOCUMENTS {
        let refused = ada.call(rpc, &job.document).await.expect_err("deleted");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()), "{rpc:?}");
    }
}

/// How far a job of ada's is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Created,
    Uploading,
    Uploaded,
    Started,
    Canceled,
    StartedAndCanceled,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Created, Self::Uploading, Self::Uploaded, Self::Started, Self::Canceled, Self::StartedAndCanceled];

    /// A job that has come this far.
    async fn job(self, ada: &mut Actor) -> Result<PrintJob, Status> {
        let job = ada.create_configured_job("printers/p", r#"{"copies":2}"#).await?;
        match self {
            Self::Created => {}
            Self::Uploading | Self::Canceled => drop(ada.create(&job.document, 1000).await?),
            Self::Uploaded | Self::Started | Self::StartedAndCanceled => {
                ada.upload(&job.document, &sample_bytes(1000)).await?;
            }
        }
        if matches!(self, Self::Started | Self::StartedAndCanceled) {
            ada.start_job(&job.name).await?;
        }
        if matches!(self, Self::Canceled | Self::StartedAndCanceled) {
            ada.cancel_job(&job.name).await?;
        }
        ada.job(&job.name).await
    }
}

#[tokio::test]
async fn a_job_created_here_has_revision_0_so_that_any_revision_applies() {
    let app = App::start().await;
    let (mut ada, mut catalog) = (app.ada(), app.catalog());
    for revision in [0, 1, i64::MAX] {
        let job = ada.create_job("printers/p").await.expect("a job");
        for _ in 0..2 {
            let stored = catalog.push_job(&in_catalog(&job, revision)).await.expect("the same job");
            assert_eq!(stored, in_catalog(&job, revision));
        }
        let older = catalog.push_job(&in_catalog(&job, 0)).await.expect("what is stored");
        assert_eq!(older, in_catalog(&job, revision));
        assert_eq!(ada.job(&job.name).await.expect("the job"), job);
        ada.upload(&job.document, &sample_bytes(1000)).await.expect("its document");
    }
}

#[tokio::test]
async fn a_job_created_here_keeps_its_creator_and_its_document() {
    let app = App::start().await;
    let (mut ada, mut catalog) = (app.ada(), app.catalog());
    let (job, other) = (ada.create_job("printers/p").await, ada.create_job("printers/p").await);
    let (job, other) = (job.expect("a job"), other.expect("another job"));
    let application = Some(Principal { identity: Some(Identity::Application("ada".into())) });
    for revision in [0, 1, i64::MAX] {
        let pushed = in_catalog(&job, revision);
        let changed = [
            CatalogPrintJob { creator: user("bob"), ..pushed.clone() },
            CatalogPrintJob { creator: application.clone(), ..pushed.clone() },
            CatalogPrintJob { document: Uuid::new_v4().to_string(), ..pushed.clone() },
            CatalogPrintJob { document: in_catalog(&other, 0).document, ..pushed },
        ];
        for changed in changed {
            let refused = catalog.push_job(&changed).await.expect_err("it never changes");
            assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_CHANGED".into()));
        }
    }
    let stored = catalog.push_job(&in_catalog(&job, 0)).await.expect("the same job");
    assert_eq!(stored.revision, 0, "no refused revision was taken");
    for job in [job, other] {
        assert_eq!(ada.job(&job.name).await.expect("the job"), job);
        ada.upload(&job.document, &sample_bytes(1000)).await.expect("its document");
    }
}

#[tokio::test]
async fn no_upsert_changes_how_far_a_job_is() {
    let app = App::start().await;
    let (mut ada, mut catalog) = (app.ada(), app.catalog());
    for stage in Stage::ALL {
        let job = stage.job(&mut ada).await.expect("a job");
        for revision in [0, 1, i64::MAX] {
            catalog.push_job(&in_catalog(&job, revision)).await.expect("the same job");
            assert_eq!(ada.job(&job.name).await.expect("the job"), job, "{stage:?}");
        }
        let uploads = ada.create(&job.document, 1000).await.map(drop).map_err(|refused| refused.reason());
        let expected = match stage {
            Stage::Created | Stage::Uploading => Ok(()),
            Stage::Uploaded | Stage::Started => Err("DOCUMENT_ALREADY_UPLOADED".into()),
            Stage::Canceled | Stage::StartedAndCanceled => Err("PRINT_JOB_CANCELED".into()),
        };
        assert_eq!(uploads, expected, "{stage:?}");
    }
}

#[tokio::test]
async fn the_catalogs_deletion_wins_over_everything_and_for_good() {
    let app = App::start().await;
    let (mut ada, mut catalog) = (app.ada(), app.catalog());
    for stage in Stage::ALL {
        let job = stage.job(&mut ada).await.expect("a job");
        let session = ada.get(&format!("{}/uploadSession", job.document)).await.ok();

        catalog.delete_job(&job.document, 0).await.expect("deleted");

        assert_not_found(&app, &job).await;
        for revision in [0, 1, i64::MAX] {
            let refused = catalog.push_job(&in_catalog(&job, revision)).await.expect_err("it was deleted");
            assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_DELETED".into()));
        }
        catalog.delete_job(&job.document, 1).await.expect("deleted before");
        assert_not_found(&app, &job).await;
        if let Some(session) = session {
            eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
        }
    }
}

#[tokio::test]
async fn a_job_that_the_catalog_pushed_is_started_and_canceled_like_one_created_here() {
    let app = App::start().await;
    let (mut ada, mut catalog, document) = (app.ada(), app.catalog(), app.new_document().await);
    let name = Rpc::GetPrintJob.resource(&document, "");
    let job = ada.job(&name).await.expect("the job");
    assert_eq!((&job.name, &job.document, &job.creator), (&name, &document, &user("ada")));
    assert_eq!((job.state(), job.upload_pending, &*job.configuration), (State::Paused, true, ""));
    assert!(job.create_time.is_some(), "when it first came");
    let early = ada.start_job(&name).await.expect_err("nothing is uploaded");
    assert_eq!(early.code_and_reason(), (Code::FailedPrecondition, "DOCUMENT_NOT_UPLOADED".into()));

    ada.upload(&document, &sample_bytes(1000)).await.expect("the document");
    let pending = PrintJob { state: State::Pending.into(), upload_pending: false, ..job };
    assert_eq!(ada.start_job(&name).await.expect("started"), pending);
    catalog.push_job(&in_catalog(&pending, 9)).await.expect("a newer revision");
    assert_eq!(ada.job(&name).await.expect("the job"), pending);
    ada.cancel_job(&name).await.expect("canceled");
    let canceled = PrintJob { state: State::Canceled.into(), ..pending };
    assert_eq!(ada.job(&name).await.expect("the job"), canceled);
    catalog.push_job(&in_catalog(&canceled, 10)).await.expect("a newer revision");
    assert_eq!(ada.job(&name).await.expect("the job"), canceled);

    catalog.delete_job(&document, 9).await.expect("nothing happens: an older revision");
    assert_eq!(ada.job(&name).await.expect("the job"), canceled);
    catalog.delete_job(&document, 10).await.expect("deleted");
    assert_not_found(&app, &canceled).await;
}

#[tokio::test]
async fn an_applications_job_from_the_catalog_is_canceled_by_a_user_who_may() {
    let app = App::start().await;
    let (mut robot, mut bob) = (app.robot(), app.bob());
    let document = app.new_document_by(Identity::Application(ROBOT.into())).await;
    let name = Rpc::GetPrintJob.resource(&document, "");
    let session = robot.create(&document, 1000).await.expect("a session");

    bob.cancel_job(&name).await.expect("canceled");

    let canceled = robot.get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.ended_by, canceled.owner), (user("bob"), session.owner));
    assert_eq!(robot.job(&name).await.expect("the job").state(), State::Canceled);
}

#[tokio::test]
async fn a_new_job_never_takes_an_id_that_the_catalog_uses_or_has_deleted() {
    let app = App::start().await;
    let (mut ada, mut catalog) = (app.ada(), app.catalog());
    let job = |id: u32| CatalogPrintJob {
        name: format!("tenants/{TENANT}/printers/p/jobs/{id}"),
        creator: user("bob"),
        document: Uuid::new_v4().to_string(),
        revision: 1,
    };
    let (used, seen, unseen) = (job(1), job(2), job(3));
    let document_of = |job: &CatalogPrintJob| {
        let (_, entry) = job.name.split_once("/printers/").expect("a job's name");
        format!("printers/{entry}/documents/{}", job.document)
    };
    for job in [&used, &seen] {
        catalog.push_job(job).await.expect("a job");
    }
    for job in [&seen, &unseen] {
        catalog.delete_job(&document_of(job), 1).await.expect("deleted");
    }
    // Ids are random, so these would never be drawn. Make the first draws return exactly them.
    let loaded_dice = "create sequence draw;
        create function load_dice() returns trigger language plpgsql as $$
        begin
            if nextval('draw') <= 3 then new.job_id := currval('draw')::text; end if;
            return new;
        end $$;
        create trigger loaded_dice before insert on print_job for each row execute function load_dice();";
    sqlx::raw_sql(loaded_dice).execute(app.pool()).await.expect("loaded dice");

    let created = ada.create_job("printers/p").await.expect("a job");

    let draws: i64 = sqlx::query_scalar("select last_value from draw").fetch_one(app.pool()).await.expect("a number");
    assert_eq!(draws, 4, "each of the three was drawn");
    assert_eq!(ada.job(&created.name).await.expect("the job"), created);
    ada.upload(&created.document, &sample_bytes(1000)).await.expect("its document");
    let mut bob = app.bob();
    let kept = bob.job("printers/p/jobs/1").await.expect("the catalog's job");
    assert_eq!((kept.creator, kept.document), (user("bob"), document_of(&used)));
    for job in [&seen, &unseen] {
        let refused = bob.document(&document_of(job)).await.expect_err("deleted");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()));
    }
}
