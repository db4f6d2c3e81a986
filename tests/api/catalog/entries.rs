//! Tenants, printers, shares, jobs and tasks, as other services push them.

use print_upload::proto::{
    CatalogPrintJob, Principal, PrintTask, Printer, PrinterShare, Tenant, UpsertPrintJobRequest,
    UpsertPrintTaskRequest, UpsertPrinterRequest, UpsertPrinterShareRequest, UpsertTenantRequest, principal::Identity,
    print_task::State,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::harness::{Actor, App, ErrorExt, TENANT};

impl Actor {
    async fn push_tenant(&mut self, tenant: Tenant) -> Result<Tenant, Status> {
        let request = UpsertTenantRequest { tenant: Some(tenant) };
        Ok(self.client.catalog.upsert_tenant(request).await?.into_inner())
    }

    async fn push_printer(&mut self, name: &str, revision: i64) -> Result<Printer, Status> {
        let request = UpsertPrinterRequest { printer: Some(Printer { name: name.into(), revision }) };
        Ok(self.client.catalog.upsert_printer(request).await?.into_inner())
    }

    async fn push_share(&mut self, name: &str, printer: &str, revision: i64) -> Result<PrinterShare, Status> {
        let printer_share = PrinterShare { name: name.into(), printer: printer.into(), revision };
        let request = UpsertPrinterShareRequest { printer_share: Some(printer_share) };
        Ok(self.client.catalog.upsert_printer_share(request).await?.into_inner())
    }

    pub async fn push_job(&mut self, job: &CatalogPrintJob) -> Result<CatalogPrintJob, Status> {
        let request = UpsertPrintJobRequest { print_job: Some(job.clone()) };
        Ok(self.client.catalog.upsert_print_job(request).await?.into_inner())
    }

    pub async fn push_task(&mut self, task: &PrintTask) -> Result<PrintTask, Status> {
        let request = UpsertPrintTaskRequest { print_task: Some(task.clone()) };
        Ok(self.client.catalog.upsert_print_task(request).await?.into_inner())
    }
}

fn name(entry: &str) -> String {
    format!("tenants/{TENANT}{entry}")
}

fn user(oid: &str) -> Option<Principal> {
    Some(Principal { identity: Some(Identity::User(oid.into())) })
}

fn job(entry: &str, revision: i64) -> CatalogPrintJob {
    CatalogPrintJob { name: name(entry), creator: user("ada"), document: Uuid::new_v4().to_string(), revision }
}

fn document_of(job: &CatalogPrintJob) -> String {
    let (_, entry) = job.name.split_once("/printers/").expect("a job's name");
    format!("printers/{entry}/documents/{}", job.document)
}

fn task(entry: &str, revision: i64) -> PrintTask {
    let (name, trigger_application) = (name(entry), "trigger-app".into());
    PrintTask { name, trigger_application, state: State::Processing.into(), revision }
}

#[tokio::test]
async fn a_tenant_follows_its_latest_revision() {
    let app = App::start().await;
    let (mut catalog, mut ada, document) = (app.catalog(), app.ada(), app.new_document().await);
    let tenant = |subscription_active, revision| Tenant { name: name(""), subscription_active, revision };
    for _ in 0..2 {
        assert_eq!(catalog.push_tenant(tenant(false, 5)).await.expect("a tenant"), tenant(false, 5));
    }
    let refused = ada.create(&document, 10).await.expect_err("no subscription");
    assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "SUBSCRIPTION_NOT_ACTIVE".into()));
    assert_eq!(catalog.push_tenant(tenant(true, 4)).await.expect("what is stored"), tenant(false, 5));
    ada.create(&document, 10).await.expect_err("an older revision changes nothing");
    assert_eq!(catalog.push_tenant(tenant(true, 5)).await.expect("a tenant"), tenant(true, 5));
    ada.create(&document, 10).await.expect("an equal revision is applied");
}

#[tokio::test]
async fn printers_and_tasks_follow_their_latest_revision() {
    let app = App::start().await;
    let mut catalog = app.catalog();
    let printer = |revision| Printer { name: name("/printers/q"), revision };
    for (pushed, stored) in [(0, 0), (7, 7), (7, 7), (6, 7), (i64::MAX, i64::MAX), (0, i64::MAX)] {
        assert_eq!(catalog.push_printer(&name("/printers/q"), pushed).await.expect("a printer"), printer(stored));
    }

    catalog.push_job(&job("/printers/q/jobs/1", 1)).await.expect("a job");
    let begun = task("/printers/q/jobs/1/tasks/t", 3);
    for _ in 0..2 {
        assert_eq!(catalog.push_task(&begun).await.expect("a task"), begun);
    }
    let older =
        PrintTask { state: State::Pending.into(), trigger_application: "other".into(), revision: 2, ..begun.clone() };
    assert_eq!(catalog.push_task(&older).await.expect("what is stored"), begun);
    for state in [State::Pending, State::Completed, State::Aborted] {
        let equal = PrintTask { state: state.into(), ..begun.clone() };
        assert_eq!(catalog.push_task(&equal).await.expect("an equal revision is applied"), equal);
    }
    let unknown = PrintTask { state: 0, ..begun.clone() };
    assert_eq!(catalog.push_task(&unknown).await.expect_err("no state").bad_fields(), ["print_task.state"]);
    let unknown = PrintTask { state: 99, ..begun.clone() };
    assert_eq!(catalog.push_task(&unknown).await.expect_err("no state").bad_fields(), ["print_task.state"]);
    let nobody = PrintTask { trigger_application: String::new(), ..begun };
    let refused = catalog.push_task(&nobody).await.expect_err("no application");
    assert_eq!(refused.bad_fields(), ["print_task.trigger_application"]);
}

#[tokio::test]
async fn a_share_that_is_moved_leads_to_its_new_printer_only() {
    let app = App::start().await;
    let (mut catalog, mut ada, on_p) = (app.catalog(), app.ada(), app.new_document().await);
    catalog.push_printer(&name("/printers/q"), 1).await.expect("a printer");
    let moved = job("/printers/q/jobs/1", 1);
    catalog.push_job(&moved).await.expect("a job");
    let on_q = document_of(&moved);
    let [on_p, on_q] = [on_p.replace("printers/p", "shares/s"), on_q.replace("printers/q", "shares/s")];
    let not_found = (Code::NotFound, "DOCUMENT_NOT_FOUND".to_owned());
    ada.document(&on_p).await.expect("the share leads to the first printer");
    assert_eq!(ada.document(&on_q).await.expect_err("not there").code_and_reason(), not_found);

    let share = |printer: &str, revision| PrinterShare { name: name("/shares/s"), printer: printer.into(), revision };
    let older = catalog.push_share(&name("/shares/s"), "q", 0).await.expect("what is stored");
    assert_eq!(older, share("p", 1));
    ada.document(&on_p).await.expect("an older revision changes nothing");
    for _ in 0..2 {
        assert_eq!(catalog.push_share(&name("/shares/s"), "q", 2).await.expect("a share"), share("q", 2));
    }
    ada.document(&on_q).await.expect("the share leads to the second printer");
    assert_eq!(ada.document(&on_p).await.expect_err("not there").code_and_reason(), not_found);
    let session = ada.create(&on_q, 10).await.expect("a session");
    assert_eq!(session.document, document_of(&moved));
}

#[tokio::test]
async fn a_job_keeps_its_creator_and_its_document() {
    let app = App::start().await;
    let (mut catalog, mut ada) = (app.catalog(), app.ada());
    let first = job("/printers/p/jobs/1", 3);
    for _ in 0..2 {
        assert_eq!(catalog.push_job(&first).await.expect("a job"), first);
    }
    let newer = CatalogPrintJob { revision: 5, ..first.clone() };
    assert_eq!(catalog.push_job(&newer).await.expect("a newer revision"), newer);

    let application = Some(Principal { identity: Some(Identity::Application("ada".into())) });
    let changed = [
        CatalogPrintJob { creator: user("bob"), ..newer.clone() },
        CatalogPrintJob { creator: application, ..newer.clone() },
        CatalogPrintJob { document: Uuid::new_v4().to_string(), ..newer.clone() },
    ];
    for changed in changed {
        for revision in [5, 6] {
            let changed = CatalogPrintJob { revision, ..changed.clone() };
            let refused = catalog.push_job(&changed).await.expect_err("it never changes");
            assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_CHANGED".into()));
        }
        let older = CatalogPrintJob { revision: 4, ..changed };
        assert_eq!(catalog.push_job(&older).await.expect("what is stored"), newer, "an older one changes nothing");
    }
    // The refused revision was not stored either: the job is still at 5.
    assert_eq!(catalog.push_job(&first).await.expect("what is stored"), newer);
    ada.create(&document_of(&first), 10).await.expect("ada's job has its document");
}

#[tokio::test]
async fn a_job_may_be_pushed_by_several_at_once() {
    let app = App::start().await;
    let pushed = job("/printers/p/jobs/1", 8);
    let mut pushes = JoinSet::new();
    for revision in (1..=8).chain(1..=8) {
        let (mut catalog, job) = (app.catalog(), CatalogPrintJob { revision, ..pushed.clone() });
        pushes.spawn(async move { (job.revision, catalog.push_job(&job).await) });
    }
    for (revision, stored) in pushes.join_all().await {
        assert!(stored.expect("a job").revision >= revision);
    }
    assert_eq!(app.catalog().push_job(&pushed).await.expect("the latest"), pushed);
}

#[tokio::test]
async fn a_document_belongs_to_one_job() {
    let app = App::start().await;
    let (mut catalog, mut ada) = (app.catalog(), app.ada());
    catalog.push_printer(&name("/printers/q"), 1).await.expect("a printer");
    let first = job("/printers/p/jobs/1", 1);
    catalog.push_job(&first).await.expect("a job");
    for other in ["/printers/p/jobs/2", "/printers/q/jobs/1"] {
        let thief = CatalogPrintJob { name: name(other), ..first.clone() };
        let refused = catalog.push_job(&thief).await.expect_err("another job's document");
        assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_CHANGED".into()));
        let refused = ada.document(&document_of(&thief)).await.expect_err("not there");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()));
        // Nothing of the refused job is stored. It can still be pushed with a document of its own.
        let own = CatalogPrintJob { creator: user("bob"), revision: 0, ..job(other, 0) };
        assert_eq!(catalog.push_job(&own).await.expect("a job"), own);
    }
    ada.create(&document_of(&first), 10).await.expect("the first job has its document");
}

#[tokio::test]
async fn an_entry_needs_the_one_above_it() {
    let app = App::start().await;
    let mut catalog = app.catalog();
    let elsewhere = format!("tenants/{}", Uuid::new_v4());
    let answers = [
        ("tenant", catalog.push_printer(&format!("{elsewhere}/printers/p"), 1).await.err()),
        ("printer", catalog.push_share(&name("/shares/t"), "q", 1).await.err()),
        ("printer", catalog.push_share(&name("/shares/s"), "q", 2).await.err()),
        ("printer", catalog.push_share(&format!("{elsewhere}/shares/s"), "p", 1).await.err()),
        ("printer", catalog.push_job(&job("/printers/q/jobs/1", 1)).await.err()),
        ("job", catalog.push_task(&task("/printers/p/jobs/1/tasks/t", 1)).await.err()),
        ("job", catalog.push_task(&task("/printers/q/jobs/1/tasks/t", 1)).await.err()),
    ];
    for (missing, refused) in answers {
        let refused = refused.expect("nothing above it");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "PARENT_NOT_FOUND".into()));
        assert!(refused.message().contains(missing), "{}", refused.message());
    }
    let share = catalog.push_share(&name("/shares/s"), "p", 1).await.expect("a share");
    assert_eq!((share.printer.as_str(), share.revision), ("p", 1), "the refused move changed nothing");
}

#[tokio::test]
async fn entries_with_names_of_other_entries_are_refused() {
    let app = App::start().await;
    let mut catalog = app.catalog();
    let entries = ["", "/printers/p", "/shares/s", "/printers/p/jobs/1", "/printers/p/jobs/1/tasks/t"];
    let malformed =
        ["/printers", "/printers/", "/printers/p/", "/queues/p", "/printers/p/jobs/1/documents/d", "/shares/s t"];
    for entry in entries.into_iter().chain(malformed) {
        let name = name(entry);
        let tenant = Tenant { name: name.clone(), subscription_active: true, revision: 1 };
        let answers = [
            ("", "tenant.name", catalog.push_tenant(tenant).await.err()),
            ("/printers/p", "printer.name", catalog.push_printer(&name, 1).await.err()),
            ("/shares/s", "printer_share.name", catalog.push_share(&name, "p", 1).await.err()),
            ("/printers/p/jobs/1", "print_job.name", catalog.push_job(&job(entry, 1)).await.err()),
            ("/printers/p/jobs/1/tasks/t", "print_task.name", catalog.push_task(&task(entry, 1)).await.err()),
        ];
        for (right, field, refused) in answers {
            match refused {
                Some(refused) => assert_eq!(refused.bad_fields(), [field], "{entry}"),
                None => assert_eq!(entry, right, "{field}"),
            }
        }
    }
    for tenant in ["", "tenants/", "tenants/t", "printers/p"] {
        let tenant = Tenant { name: tenant.into(), subscription_active: true, revision: 1 };
        assert_eq!(catalog.push_tenant(tenant).await.expect_err("no name").bad_fields(), ["tenant.name"]);
    }
}

#[tokio::test]
async fn entries_that_lack_something_are_refused() {
    let app = App::start().await;
    let mut catalog = app.catalog();
    let tenant = Tenant { name: name(""), subscription_active: false, revision: -1 };
    let complete = job("/printers/p/jobs/1", 1);
    let nobody = Some(Principal { identity: None });
    let cases = [
        ("tenant.revision", catalog.push_tenant(tenant).await.err()),
        ("printer.revision", catalog.push_printer(&name("/printers/p"), -1).await.err()),
        ("printer_share.revision", catalog.push_share(&name("/shares/s"), "p", i64::MIN).await.err()),
        ("printer_share.printer", catalog.push_share(&name("/shares/s"), "", 1).await.err()),
        ("printer_share.printer", catalog.push_share(&name("/shares/s"), "printers/p", 1).await.err()),
        ("print_job.revision", catalog.push_job(&CatalogPrintJob { revision: -1, ..complete.clone() }).await.err()),
        ("print_job.creator", catalog.push_job(&CatalogPrintJob { creator: None, ..complete.clone() }).await.err()),
        ("print_job.creator", catalog.push_job(&CatalogPrintJob { creator: nobody, ..complete.clone() }).await.err()),
        (
            "print_job.creator.user",
            catalog.push_job(&CatalogPrintJob { creator: user(""), ..complete.clone() }).await.err(),
        ),
        (
            "print_job.document",
            catalog.push_job(&CatalogPrintJob { document: "d".into(), ..complete.clone() }).await.err(),
        ),
        ("print_job.document", catalog.push_job(&CatalogPrintJob { document: String::new(), ..complete }).await.err()),
        ("print_task.revision", catalog.push_task(&task("/printers/p/jobs/1/tasks/t", -1)).await.err()),
        ("tenant.name", catalog.client.catalog.upsert_tenant(UpsertTenantRequest { tenant: None }).await.err()),
        ("print_job.name", catalog.client.catalog.upsert_print_job(UpsertPrintJobRequest::default()).await.err()),
    ];
    for (field, refused) in cases {
        assert_eq!(refused.unwrap_or_else(|| panic!("{field} was accepted")).bad_fields(), [field]);
    }
    let stored = catalog.push_tenant(Tenant { name: name(""), subscription_active: false, revision: 0 }).await;
    assert!(stored.expect("what is stored").subscription_active, "nothing was changed");
}
