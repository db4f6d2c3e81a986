//! The callers of tests.

use std::time::Duration;

use print_upload_dev::issuer::Subject;
use uuid::Uuid;

use super::{Actor, App, CATALOG_CLIENT, FOREIGN_TENANT, ROBOT, RestActor, TENANT, issuer};

impl App {
    /// A caller over REST.
    pub fn rest(&self, actor: &Actor) -> RestActor {
        actor.rest(self.rest_address)
    }

    /// A caller over REST without a credential.
    pub fn anonymous_rest(&self) -> RestActor {
        RestActor::new(self.rest_address, None)
    }

    /// A user of a tenant, with scopes.
    pub fn user(&self, tenant: Uuid, oid: &str, scopes: &[&str]) -> Actor {
        let scopes = scopes.iter().map(|&scope| scope.into()).collect();
        self.actor(tenant, &Subject::User { oid: oid.into(), scopes })
    }

    /// A user of a tenant who creates jobs, and uploads and downloads their documents.
    pub fn uploader(&self, tenant: Uuid, oid: &str) -> Actor {
        self.user(tenant, oid, &["PrintJob.ReadWrite", "PrintJob.Create", "Printer.Read.All"])
    }

    /// An application in a tenant, with roles.
    pub fn application(&self, tenant: Uuid, app_id: &str, roles: &[&str]) -> Actor {
        let roles = roles.iter().map(|&role| role.into()).collect();
        self.actor(tenant, &Subject::Application { app_id: app_id.into(), roles })
    }

    /// A caller with any text as its access token.
    pub fn bearer(&self, token: &str) -> Actor {
        Actor::with_access_token(self.address, token)
    }

    fn actor(&self, tenant: Uuid, subject: &Subject) -> Actor {
        let token = issuer().issue(tenant, subject, Duration::from_secs(600)).expect("a token");
        self.bearer(&token)
    }

    /// The user who creates jobs.
    pub fn ada(&self) -> Actor {
        self.user(
            TENANT,
            "ada",
            &["PrintJob.ReadWrite", "PrintJob.Create", "Printer.Read.All", "PrinterShare.Read.All"],
        )
    }

    /// The same with a token that permits uploading, but no reading of sessions or documents.
    pub fn ada_who_may_not_read(&self) -> Actor {
        self.user(TENANT, "ada", &["PrintJob.Create", "Printer.Read.All"])
    }

    /// Another user of the tenant, with every permission of a user.
    pub fn bob(&self) -> Actor {
        self.user(TENANT, "bob", &["PrintJob.ReadWrite.All", "Printer.Read.All", "PrinterShare.Read.All"])
    }

    /// An application of the tenant.
    pub fn robot(&self) -> Actor {
        self.application(TENANT, ROBOT, &["PrintJob.ReadWrite.All", "Printer.Read.All"])
    }

    /// A user of the other tenant, with ada's object id and every permission of a user.
    pub fn mallory(&self) -> Actor {
        self.user(FOREIGN_TENANT, "ada", &["PrintJob.ReadWrite.All", "Printer.Read.All", "PrinterShare.Read.All"])
    }

    /// The application that maintains the catalog.
    pub fn catalog(&self) -> Actor {
        self.application(TENANT, CATALOG_CLIENT, &["PrintCatalog.ReadWrite.All"])
    }
}
