//! The permission table, cell by cell: which scope or role authorizes which RPC.

use std::collections::HashSet;

use print_upload::proto::{DESCRIPTOR, UploadSession, principal::Identity, upload_session::State};
use prost_types::FileDescriptorSet;
use tonic::{Code, Status};

use crate::harness::{Actor, App, CATALOG_CLIENT, ErrorExt, ROBOT, Rpc, SIZE, TENANT, application_claims, user_claims};

/// An RPC, the scopes that authorize a user, and the roles that authorize an application.
type Row = (Rpc, &'static [&'static str], &'static [&'static str]);

const READ: [&str; 4] = ["PrintJob.Read", "PrintJob.ReadWrite", "PrintJob.Read.All", "PrintJob.ReadWrite.All"];
const WRITE: [&str; 3] = ["PrintJob.Create", "PrintJob.ReadWrite", "PrintJob.ReadWrite.All"];
const SUBMIT: [&str; 5] = [
    "PrintJob.Create",
    "PrintJob.ReadWriteBasic",
    "PrintJob.ReadWrite",
    "PrintJob.ReadWriteBasic.All",
    "PrintJob.ReadWrite.All",
];
const READ_JOBS: [&str; 8] = [
    "PrintJob.ReadBasic",
    "PrintJob.Read",
    "PrintJob.ReadWriteBasic",
    "PrintJob.ReadWrite",
    "PrintJob.ReadBasic.All",
    "PrintJob.Read.All",
    "PrintJob.ReadWriteBasic.All",
    "PrintJob.ReadWrite.All",
];
const CATALOG: [&str; 1] = ["PrintCatalog.ReadWrite.All"];

const TABLE: [Row; 18] = [
    (Rpc::CreateUploadSession, &WRITE, &["PrintJob.ReadWrite.All"]),
    (Rpc::GetUploadSession, &READ, &["PrintJob.Read.All", "PrintJob.ReadWrite.All"]),
    (Rpc::RenewUploadUrl, &WRITE, &["PrintJob.ReadWrite.All"]),
    (Rpc::UploadRange, &WRITE, &["PrintJob.ReadWrite.All"]),
    (Rpc::DeleteUploadSession, &["PrintJob.ReadWrite", "PrintJob.ReadWrite.All"], &["PrintJob.ReadWrite.All"]),
    (Rpc::GetPrintDocument, &READ, &["PrintJob.Read.All", "PrintJob.ReadWrite.All"]),
    (Rpc::DownloadPrintDocument, &READ, &["PrintJob.Read.All", "PrintJob.ReadWrite.All"]),
    (Rpc::ListPrintDocuments, &READ, &["PrintJob.Read.All", "PrintJob.ReadWrite.All"]),
    (Rpc::CreatePrintJob, &SUBMIT, &[]),
    (
        Rpc::GetPrintJob,
        &READ_JOBS,
        &["PrintJob.ReadBasic.All", "PrintJob.Read.All", "PrintJob.ReadWriteBasic.All", "PrintJob.ReadWrite.All"],
    ),
    (Rpc::StartPrintJob, &SUBMIT, &[]),
    (
        Rpc::CancelPrintJob,
        &["PrintJob.ReadWriteBasic", "PrintJob.ReadWrite", "PrintJob.ReadWriteBasic.All", "PrintJob.ReadWrite.All"],
        &[],
    ),
    (Rpc::UpsertTenant, &[], &CATALOG),
    (Rpc::UpsertPrinter, &[], &CATALOG),
    (Rpc::UpsertPrinterShare, &[], &CATALOG),
    (Rpc::UpsertPrintJob, &[], &CATALOG),
    (Rpc::UpsertPrintTask, &[], &CATALOG),
    (Rpc::DeletePrintJob, &[], &CATALOG),
];

/// Every permission in the table, and some others.
const PERMISSIONS: [&str; 22] = [
    "PrintJob.Create",
    "PrintJob.Read",
    "PrintJob.ReadWrite",
    "PrintJob.Read.All",
    "PrintJob.ReadWrite.All",
    "PrintCatalog.ReadWrite.All",
    "Printer.Read.All",
    "Printer.ReadWrite.All",
    "Printer.FullControl.All",
    "PrinterShare.ReadBasic.All",
    "PrinterShare.Read.All",
    "PrinterShare.ReadWrite.All",
    "PrintJob.ReadBasic",
    "PrintJob.ReadBasic.All",
    "PrintJob.ReadWriteBasic",
    "PrintJob.ReadWriteBasic.All",
    "PrintJob.Manage.All",
    "PrintJob.Create.All",
    "PrintJob",
    "PrintJob.*",
    ".All",
    "printjob.readwrite.all",
];

/// The resources of a caller. Calls that would disturb each other have a document each.
struct Stage {
    owner: Actor,
    /// Its active session is read and sent to.
    uploading: String,
    session: UploadSession,
    /// Its session is deleted, and created again, for each call.
    deletable: String,
    uploaded: String,
    /// Its job is canceled by each call.
    cancelable: String,
}

impl Stage {
    async fn of(app: &App, mut owner: Actor, creator: Identity) -> Self {
        let uploading = app.new_document_by(creator.clone()).await;
        let session = owner.create(&uploading, SIZE).await.expect("a session");
        let deletable = app.new_document_by(creator.clone()).await;
        let cancelable = app.new_document_by(creator).await;
        Self { owner, uploading, session, deletable, uploaded: app.uploaded_document().await, cancelable }
    }

    /// A resource on which the owner may call the RPC.
    async fn resource(&mut self, rpc: Rpc) -> String {
        match rpc {
            Rpc::DeleteUploadSession => self.owner.create(&self.deletable, SIZE).await.expect("a session").name,
            Rpc::DownloadPrintDocument => self.uploaded.clone(),
            Rpc::StartPrintJob => rpc.resource(&self.uploaded, ""),
            Rpc::CancelPrintJob => rpc.resource(&self.cancelable, ""),
            rpc => rpc.resource(&self.uploading, &self.session.name),
        }
    }

    /// Calls the RPC, and returns what went wrong.
    async fn try_cell(&mut self, rpc: Rpc, mut caller: Actor, authorized: bool) -> Option<String> {
        let resource = self.resource(rpc).await;
        let answer = caller.call(rpc, &resource).await.map_err(|error| error.code_and_reason());
        let refusal = Err((Code::PermissionDenied, "PERMISSION_MISSING".into()));
        let expected = if authorized { Ok(()) } else { refusal };
        if answer != expected {
            return Some(format!("{answer:?}"));
        }
        if rpc == Rpc::DeleteUploadSession {
            let state = self.owner.get(&resource).await.expect("the session").state();
            let expected = if authorized { State::Canceled } else { State::Active };
            return (state != expected).then(|| format!("it leaves the session {state:?}"));
        }
        None
    }
}

#[tokio::test]
async fn a_user_is_authorized_by_each_scope_of_the_rpcs_row_and_by_no_other() {
    let app = App::start().await;
    let mut stage = Stage::of(&app, app.ada(), Identity::User("ada".into())).await;
    let mut wrong = Vec::new();
    for (rpc, scopes, _) in TABLE {
        for scope in PERMISSIONS {
            let caller = app.user(TENANT, "ada", &[scope, "Printer.Read.All", "PrinterShare.Read.All"]);
            let answer = stage.try_cell(rpc, caller, scopes.contains(&scope)).await;
            wrong.extend(answer.map(|answer| format!("{rpc:?} with the scope {scope}: {answer}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_application_is_authorized_by_each_role_of_the_rpcs_row_and_by_no_other() {
    let app = App::with([("catalog-client", &*format!("{CATALOG_CLIENT},{ROBOT}"))]).await;
    let mut stage = Stage::of(&app, app.robot(), Identity::Application(ROBOT.into())).await;
    let mut wrong = Vec::new();
    for (rpc, _, roles) in TABLE {
        for role in PERMISSIONS {
            let caller = app.application(TENANT, ROBOT, &[role, "Printer.Read.All"]);
            let answer = stage.try_cell(rpc, caller, roles.contains(&role)).await;
            wrong.extend(answer.map(|answer| format!("{rpc:?} with the role {role}: {answer}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_has_a_row_for_every_rpc_of_the_package() {
    let descriptor: FileDescriptorSet = prost::Message::decode(DESCRIPTOR).expect("the compiled-in proto");
    let files = descriptor.file.iter().filter(|file| file.package() == "print.upload.v1");
    let services = files.flat_map(|file| file.service.iter());
    let paths = services.flat_map(|service| {
        let path = |method: &str| format!("/print.upload.v1.{}/{method}", service.name());
        service.method.iter().map(move |method| path(method.name()))
    });
    let rows: HashSet<String> = TABLE.iter().map(|(rpc, ..)| rpc.path()).collect();
    assert_eq!(rows, paths.collect());
    assert_eq!(rows, Rpc::all().map(Rpc::path).collect());
}

#[tokio::test]
async fn a_users_roles_are_not_an_applications_permissions() {
    let app = App::start().await;
    let mut stage = Stage::of(&app, app.ada(), Identity::User("ada".into())).await;
    for scope in ["", "openid", "Printer.Read.All"] {
        let claims = user_claims().with("scp", scope).with("azp", ROBOT).with("roles", PERMISSIONS.to_vec());
        let mut ada = app.bearer(&claims.signed());
        for rpc in Rpc::all() {
            let resource = stage.resource(rpc).await;
            refused(ada.call(rpc, &resource).await, Code::PermissionDenied, "PERMISSION_MISSING", rpc);
        }
    }
    // Nor do roles stand in for a permission on the printer.
    let claims = user_claims().with("scp", "PrintJob.ReadWrite.All").with("roles", PERMISSIONS.to_vec());
    let mut ada = app.bearer(&claims.signed());
    for rpc in Rpc::OF_DOCUMENTS.into_iter().chain(Rpc::OF_SESSIONS) {
        let resource = stage.resource(rpc).await;
        refused(ada.call(rpc, &resource).await, Code::PermissionDenied, "PRINTER_PERMISSION_MISSING", rpc);
    }
    stage.is_untouched().await;
}

#[tokio::test]
async fn an_application_with_scopes_is_refused() {
    let app = App::start().await;
    let mut stage = Stage::of(&app, app.robot(), Identity::Application(ROBOT.into())).await;
    for scopes in ["", "PrintJob.ReadWrite.All Printer.Read.All"] {
        let mut robot = app.bearer(&application_claims().with("scp", scopes).with("oid", "ada").signed());
        for rpc in Rpc::all() {
            let resource = stage.resource(rpc).await;
            refused(robot.call(rpc, &resource).await, Code::Unauthenticated, "TOKEN_CLAIMS_INVALID", rpc);
        }
    }
    stage.is_untouched().await;
}

impl Stage {
    async fn is_untouched(&mut self) {
        assert_eq!(self.owner.get(&self.session.name).await.expect("the session"), self.session);
    }
}

fn refused(answer: Result<(), Status>, code: Code, reason: &str, rpc: Rpc) {
    let error = answer.expect_err(&format!("{rpc:?}"));
    assert_eq!(error.code_and_reason(), (code, reason.into()), "{rpc:?}");
}
