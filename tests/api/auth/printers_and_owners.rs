//! Beyond scopes and roles: the permission on the printer or share, the job's creator, the session's owner.

use print_upload::proto::{PrintDocument, UploadSession, principal::Identity};
use tonic::Code;

use crate::harness::{Actor, App, ErrorExt, ROBOT, Rpc, SIZE, TENANT};

const PRINTER: [&str; 3] = ["Printer.Read.All", "Printer.ReadWrite.All", "Printer.FullControl.All"];
const SHARE: [&str; 3] = ["PrinterShare.ReadBasic.All", "PrinterShare.Read.All", "PrinterShare.ReadWrite.All"];

/// How a resource is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Printer,
    Share,
    SessionId,
}

/// How each RPC may name its resource.
const WAYS: [(Rpc, &[Way]); 12] = [
    (Rpc::CreateUploadSession, &[Way::Printer, Way::Share]),
    (Rpc::GetUploadSession, &[Way::Printer, Way::Share, Way::SessionId]),
    (Rpc::RenewUploadUrl, &[Way::Printer, Way::Share, Way::SessionId]),
    (Rpc::UploadRange, &[Way::SessionId]),
    (Rpc::DeleteUploadSession, &[Way::Printer, Way::Share, Way::SessionId]),
    (Rpc::GetPrintDocument, &[Way::Printer, Way::Share]),
    (Rpc::DownloadPrintDocument, &[Way::Printer, Way::Share]),
    (Rpc::ListPrintDocuments, &[Way::Printer, Way::Share]),
    (Rpc::CreatePrintJob, &[Way::Printer, Way::Share]),
    (Rpc::GetPrintJob, &[Way::Printer, Way::Share]),
    (Rpc::StartPrintJob, &[Way::Printer, Way::Share]),
    (Rpc::CancelPrintJob, &[Way::Printer, Way::Share]),
];

/// RPCs that applications may never call.
const USERS_ONLY: [Rpc; 3] = [Rpc::CreatePrintJob, Rpc::StartPrintJob, Rpc::CancelPrintJob];

impl Way {
    /// The permissions that a user needs for this name, and those that an application needs. One of them is enough.
    fn permissions(self) -> (Vec<&'static str>, &'static [&'static str]) {
        match self {
            Self::Printer => (PRINTER.to_vec(), &PRINTER[..2]),
            Self::Share => (SHARE.to_vec(), &[]),
            Self::SessionId => ([PRINTER, SHARE].concat(), &PRINTER[..2]),
        }
    }

    /// The name of a document, its session, its job or its printer, as the RPC takes it.
    fn name(self, rpc: Rpc, document: &str, session: &UploadSession) -> String {
        let document = match self {
            Self::Share => document.replacen("printers/p/", "shares/s/", 1),
            _ => document.into(),
        };
        match self {
            Self::SessionId => session.name.clone(),
            _ if Rpc::OF_SESSIONS.contains(&rpc) => format!("{document}/uploadSession"),
            _ => rpc.resource(&document, ""),
        }
    }
}

/// A caller's documents: one is being uploaded, one is uploaded, and the job of one is canceled by each call.
struct Stage {
    owner: Actor,
    uploading: String,
    uploaded: String,
    cancelable: String,
    session: UploadSession,
}

impl Stage {
    async fn of(app: &App, mut owner: Actor, creator: Identity) -> Self {
        let uploading = app.new_document_by(creator.clone()).await;
        let session = owner.create(&uploading, SIZE).await.expect("a session");
        let cancelable = app.new_document_by(creator).await;
        Self { owner, uploading, uploaded: app.uploaded_document().await, cancelable, session }
    }

    fn name(&self, rpc: Rpc, way: Way) -> String {
        let document = match rpc {
            Rpc::DownloadPrintDocument | Rpc::StartPrintJob => &self.uploaded,
            Rpc::CancelPrintJob => &self.cancelable,
            _ => &self.uploading,
        };
        way.name(rpc, document, &self.session)
    }

    /// Calls every RPC by every name, with each permission on printers and shares, and with none. Returns what went
    /// wrong.
    async fn try_every_way(&mut self, is_user: bool, with: impl Fn(&str) -> Actor) -> Vec<String> {
        let mut wrong = Vec::new();
        let rows = WAYS.iter().filter(|(rpc, _)| is_user || !USERS_ONLY.contains(rpc));
        for (rpc, way) in rows.flat_map(|(rpc, ways)| ways.iter().map(|way| (*rpc, *way))) {
            let (scopes, roles) = way.permissions();
            for permission in [PRINTER, SHARE].concat().into_iter().chain(["Printer.Create", "PrinterShare.Read"]) {
                let authorized = if is_user { scopes.contains(&permission) } else { roles.contains(&permission) };
                let answer = with(permission).call(rpc, &self.name(rpc, way)).await;
                let answer = answer.map_err(|error| error.code_and_reason());
                let refusal = Err((Code::PermissionDenied, "PRINTER_PERMISSION_MISSING".into()));
                if answer != if authorized { Ok(()) } else { refusal } {
                    wrong.push(format!("{rpc:?} by {way:?} with {permission}: {answer:?}"));
                }
                if authorized && rpc == Rpc::DeleteUploadSession {
                    self.session = self.owner.create(&self.uploading, SIZE).await.expect("a new session");
                }
            }
        }
        wrong
    }
}

#[tokio::test]
async fn a_user_needs_a_permission_on_the_printer_or_on_the_share_that_is_named() {
    let app = App::start().await;
    let mut stage = Stage::of(&app, app.ada(), Identity::User("ada".into())).await;
    let ada = |permission: &str| app.user(TENANT, "ada", &["PrintJob.ReadWrite", permission]);
    let wrong = stage.try_every_way(true, ada).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_application_needs_a_permission_on_the_printer_and_cannot_use_shares() {
    let app = App::start().await;
    let mut stage = Stage::of(&app, app.robot(), Identity::Application(ROBOT.into())).await;
    let robot = |permission: &str| app.application(TENANT, ROBOT, &["PrintJob.ReadWrite.All", permission]);
    let wrong = stage.try_every_way(false, robot).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An RPC, permissions that authorize it for the caller's own jobs only, and permissions that authorize it for any job.
const REACH: [(Rpc, &[&str], &[&str]); 7] = [
    (
        Rpc::CreateUploadSession,
        &["PrintJob.Create", "PrintJob.ReadWrite", "PrintJob.ReadWrite PrintJob.Read.All"],
        &["PrintJob.ReadWrite.All", "PrintJob.Create PrintJob.ReadWrite.All"],
    ),
    (
        Rpc::GetPrintDocument,
        &["PrintJob.Read", "PrintJob.ReadWrite", "PrintJob.ReadWrite PrintCatalog.ReadWrite.All"],
        &["PrintJob.Read.All", "PrintJob.ReadWrite.All"],
    ),
    (
        Rpc::DownloadPrintDocument,
        &["PrintJob.Read", "PrintJob.ReadWrite", "PrintJob.ReadWrite PrintCatalog.ReadWrite.All"],
        &["PrintJob.Read.All", "PrintJob.ReadWrite.All"],
    ),
    (
        Rpc::ListPrintDocuments,
        &["PrintJob.Read", "PrintJob.ReadWrite", "PrintJob.ReadWrite PrintJob.ReadBasic.All"],
        &["PrintJob.Read.All", "PrintJob.ReadWrite.All"],
    ),
    (
        Rpc::GetPrintJob,
        &["PrintJob.ReadBasic", "PrintJob.Read", "PrintJob.ReadWriteBasic", "PrintJob.ReadWrite"],
        &["PrintJob.ReadBasic.All", "PrintJob.Read.All", "PrintJob.ReadWriteBasic.All", "PrintJob.ReadWrite.All"],
    ),
    (
        Rpc::StartPrintJob,
        &["PrintJob.Create", "PrintJob.ReadWriteBasic", "PrintJob.ReadWrite PrintJob.Read.All"],
        &["PrintJob.ReadWriteBasic.All", "PrintJob.ReadWrite.All"],
    ),
    (
        Rpc::CancelPrintJob,
        &["PrintJob.ReadWriteBasic", "PrintJob.ReadWrite", "PrintJob.ReadWrite PrintJob.Read.All"],
        &["PrintJob.ReadWriteBasic.All", "PrintJob.ReadWrite.All"],
    ),
];

async fn new_name(app: &App, rpc: Rpc, way: Way) -> String {
    let uploaded = matches!(rpc, Rpc::DownloadPrintDocument | Rpc::StartPrintJob);
    let document = if uploaded { app.uploaded_document().await } else { app.new_document().await };
    way.name(rpc, &document, &UploadSession::default())
}

#[tokio::test]
async fn without_an_all_permission_only_the_creator_reaches_a_job() {
    let app = App::start().await;
    for (rpc, own_jobs, any_job) in REACH {
        for way in [Way::Printer, Way::Share] {
            let with = |oid: &str, scopes: &str| {
                let scopes = format!("{scopes} Printer.Read.All PrinterShare.Read.All");
                app.user(TENANT, oid, &scopes.split(' ').collect::<Vec<_>>())
            };
            for scopes in own_jobs {
                let name = new_name(&app, rpc, way).await;
                let error = with("bob", scopes).call(rpc, &name).await.expect_err(scopes);
                assert_eq!(
                    error.code_and_reason(),
                    (Code::PermissionDenied, "NOT_JOB_CREATOR".into()),
                    "{rpc:?} {scopes}"
                );
                with("ada", scopes).call(rpc, &name).await.unwrap_or_else(|error| panic!("{rpc:?} {scopes}: {error}"));
            }
            for scopes in any_job {
                let name = new_name(&app, rpc, way).await;
                with("bob", scopes).call(rpc, &name).await.unwrap_or_else(|error| panic!("{rpc:?} {scopes}: {error}"));
            }
        }
        if USERS_ONLY.contains(&rpc) {
            continue;
        }
        let name = new_name(&app, rpc, Way::Printer).await;
        app.robot().call(rpc, &name).await.unwrap_or_else(|error| panic!("{rpc:?} by an application: {error}"));
    }
}

#[tokio::test]
async fn an_application_that_created_a_job_is_not_the_user_of_the_same_id() {
    let app = App::start().await;
    let document = app.new_document_by(Identity::Application(ROBOT.into())).await;
    for user in [ROBOT, "ada"] {
        let mut user = app.user(TENANT, user, &["PrintJob.ReadWrite", "Printer.Read.All"]);
        for rpc in [Rpc::CreateUploadSession, Rpc::GetPrintDocument, Rpc::DownloadPrintDocument] {
            let error = user.call(rpc, &document).await.expect_err("the application's job");
            assert_eq!(error.code_and_reason(), (Code::PermissionDenied, "NOT_JOB_CREATOR".into()), "{rpc:?}");
        }
    }
    let PrintDocument { state, .. } = app.robot().document(&document).await.expect("the document");
    assert_eq!(state, print_upload::proto::print_document::State::UploadPending as i32);
}

#[tokio::test]
async fn only_its_owner_reaches_a_session_whatever_others_are_permitted() {
    let app = App::start().await;
    let everything = [
        PRINTER.as_slice(),
        &SHARE,
        &["PrintJob.Create", "PrintJob.Read", "PrintJob.ReadWrite", "PrintJob.Read.All", "PrintJob.ReadWrite.All"],
    ]
    .concat();
    let user = |oid: &str| (app.user(TENANT, oid, &everything), "NOT_SESSION_OWNER");
    // On a share's path an application is refused because of the share.
    let application = |id: &str| (app.application(TENANT, id, &everything), "PRINTER_PERMISSION_MISSING");
    // The job's creator, another user, an application, and callers of the other kind with an owner's id.
    let others = |owner: &str| match owner {
        "ada" => vec![user("bob"), user(ROBOT), application(ROBOT), application("ada")],
        "bob" => vec![user("ada"), application(ROBOT), application("bob")],
        _ => vec![user("ada"), user("bob"), user(ROBOT), application("plotter")],
    };
    for (owner, mut actor) in [("ada", app.ada()), ("bob", app.bob()), (ROBOT, app.robot())] {
        let document = app.new_document().await;
        let session = actor.create(&document, SIZE).await.expect("a session");
        for (other, (mut caller, on_share)) in others(owner).into_iter().enumerate() {
            let sessions = WAYS.iter().filter(|(rpc, _)| Rpc::OF_SESSIONS.contains(rpc));
            for (rpc, way) in sessions.flat_map(|(rpc, ways)| ways.iter().map(|way| (*rpc, *way))) {
                let error = caller.call(rpc, &way.name(rpc, &document, &session)).await.expect_err("not the owner");
                let expected = if way == Way::Share { on_share } else { "NOT_SESSION_OWNER" };
                let case = format!("{owner}'s session, caller {other}, {rpc:?} by {way:?}");
                assert_eq!(error.code_and_reason(), (Code::PermissionDenied, expected.into()), "{case}");
            }
        }
        assert_eq!(actor.get(&session.name).await.expect("the session"), session, "nothing has changed");
    }
}
