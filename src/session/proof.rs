//! Proofs: values that only a successful check makes. Code that has a proof knows that the check was passed, and the
//! fields cannot change between the check and the use.

use std::sync::Arc;

use super::{Caller, Capability, Credential, Principal, UploadSession};
use crate::name::{DocumentId, DocumentName, JobKey, SessionId, TenantId};

/// Which jobs a caller's permissions reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that the caller created.
    OwnJobs,
    /// Every job of the tenant: a permission that ends in `.All`.
    AnyJob,
}

/// The caller is not the job's creator, and its permissions reach no further.
#[derive(Debug, PartialEq, Eq)]
pub struct NotJobCreator;

/// The caller did not create the session.
#[derive(Debug, PartialEq, Eq)]
pub struct NotSessionOwner;

/// Why a capability authorizes no call for a session.
#[derive(Debug, PartialEq, Eq)]
pub enum NotAuthorized {
    /// It was issued for another session.
    OtherSession,
    /// The session's upload URL was renewed after the capability was issued.
    UploadUrlRenewed,
}

/// A printer as the store resolved it from its name, or from that of a share.
#[derive(Debug, Clone)]
pub struct Printer {
    pub tenant: TenantId,
    pub id: String,
}

impl Printer {
    /// Checks that the printer is of the caller's tenant.
    pub fn permitted_to(&self, caller: &Caller) -> Option<PermittedPrinter> {
        let same_tenant = self.tenant == caller.tenant;
        same_tenant.then(|| PermittedPrinter { printer: self.clone(), caller: caller.clone() })
    }
}

/// Proof: the printer exists and the caller may create jobs on it.
#[derive(Debug, Clone)]
pub struct PermittedPrinter {
    printer: Printer,
    caller: Caller,
}

impl PermittedPrinter {
    pub fn printer(&self) -> &Printer {
        &self.printer
    }

    /// The caller, who may create jobs on it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// A document as the store resolved it from its name, or from that of its job.
#[derive(Debug, Clone)]
pub struct Document {
    pub tenant: TenantId,
    pub id: DocumentId,
    /// Its job, by its printer, also when the caller has named a share.
    pub job: JobKey,
    /// The user or application that created the job.
    pub job_creator: Principal,
}

impl Document {
    /// Its name, by its printer.
    pub fn name(&self) -> DocumentName {
        DocumentName { job: self.job.clone().into(), document: self.id }
    }

    /// Checks that the caller may work with the document.
    pub fn permitted_to(&self, caller: &Caller, reach: Reach) -> Result<PermittedDocument, NotJobCreator> {
        let own = self.job_creator == caller.principal;
        if self.tenant != caller.tenant || !(own || reach == Reach::AnyJob) {
            return Err(NotJobCreator);
        }
        Ok(PermittedDocument { document: self.clone(), caller: caller.clone() })
    }
}

/// Proof: the document exists and the caller may work with it, and with its job: a job has exactly one document.
#[derive(Debug, Clone)]
pub struct PermittedDocument {
    document: Document,
    caller: Caller,
}

impl PermittedDocument {
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The caller, who may work with it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// An upload session as the store resolved it from its name. Its tenant, id and owner never change.
#[derive(Debug, Clone)]
pub struct Session {
    pub tenant: TenantId,
    pub id: SessionId,
    /// The user or application that created it.
    pub owner: Principal,
    /// How often its upload URL was renewed.
    pub url_generation: u32,
    /// All of it, as it was at that moment, if it was resolved to be read.
    pub contents: Option<Arc<UploadSession>>,
}

impl Session {
    /// Checks that the caller created the session.
    pub fn owned_by(&self, caller: &Caller) -> Result<OwnedSession, NotSessionOwner> {
        if self.tenant != caller.tenant || self.owner != caller.principal {
            return Err(NotSessionOwner);
        }
        Ok(OwnedSession { session: self.clone(), credential: Credential::AccessToken })
    }

    /// Checks that the capability was issued for the session, and not before its upload URL was last renewed.
    pub fn authorized_by(&self, capability: &Capability) -> Result<OwnedSession, NotAuthorized> {
        if self.tenant != capability.tenant || self.id != capability.session {
            return Err(NotAuthorized::OtherSession);
        }
        if self.url_generation != capability.url_generation {
            return Err(NotAuthorized::UploadUrlRenewed);
        }
        Ok(OwnedSession { session: self.clone(), credential: Credential::UploadUrl })
    }
}

/// Proof: the session exists, and the caller owns it or has its capability.
#[derive(Debug, Clone)]
pub struct OwnedSession {
    session: Session,
    credential: Credential,
}

impl OwnedSession {
    pub fn tenant(&self) -> TenantId {
        self.session.tenant
    }

    pub fn id(&self) -> SessionId {
        self.session.id
    }

    /// The user or application that created the session. A caller with the capability acts in the owner's name.
    pub fn owner(&self) -> &Principal {
        &self.session.owner
    }

    /// The session as the guard read it, if the call only reads it.
    pub fn contents(&self) -> Option<&Arc<UploadSession>> {
        self.session.contents.as_ref()
    }

    /// The kind of credential that authorized the call.
    pub fn credential(&self) -> Credential {
        self.credential
    }

    /// The generation of the upload URL that authorized the call. `None` if an access token did.
    pub fn url_generation(&self) -> Option<u32> {
        (self.credential == Credential::UploadUrl).then_some(self.session.url_generation)
    }

    /// Whether an upload URL authorized the call that was renewed since. `generation` is that of the session now.
    pub fn is_renewed(&self, generation: u32) -> bool {
        self.url_generation().is_some_and(|presented| presented != generation)
    }
}

/// Stands for an [`OwnedSession`]: the session does not exist, and the caller allows that.
#[derive(Debug, Clone, Copy)]
pub struct MissingSession;

/// Proof: the caller may maintain the catalog of this tenant.
#[derive(Debug, Clone)]
pub struct CatalogCaller {
    tenant: TenantId,
    application: Principal,
}

impl CatalogCaller {
    /// Checks that the caller is an application that maintains catalogs. It may do so for every `tenant` that its
    /// issuer may speak for: `issuer_tenants`, or all of them.
    pub fn authorize(
        caller: &Caller,
        catalog_clients: &[String],
        issuer_tenants: Option<&[TenantId]>,
        tenant: TenantId,
    ) -> Option<Self> {
        let Principal::Application(app_id) = &caller.principal else { return None };
        let is_authorized =
            catalog_clients.contains(app_id) && issuer_tenants.is_none_or(|tenants| tenants.contains(&tenant));
        is_authorized.then(|| Self { tenant, application: caller.principal.clone() })
    }

    /// The tenant that the request names.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The application that maintains it.
    pub fn application(&self) -> &Principal {
        &self.application
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn caller(tenant: u128, principal: Principal) -> Caller {
        Caller { tenant: TenantId(Uuid::from_u128(tenant)), principal }
    }

    fn ada() -> Principal {
        Principal::User("ada".into())
    }

    fn session() -> Session {
        let (tenant, id) = (TenantId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(7)));
        Session { tenant, id, owner: ada(), url_generation: 2, contents: None }
    }

    #[test]
    fn only_the_creator_owns_a_session() {
        assert!(session().owned_by(&caller(1, ada())).is_ok());
        assert!(
            session().owned_by(&caller(2, ada())).is_err(),
            "the same object id in another tenant is somebody else"
        );
        assert!(session().owned_by(&caller(1, Principal::User("eve".into()))).is_err());
        assert!(session().owned_by(&caller(1, Principal::Application("ada".into()))).is_err());
    }

    #[test]
    fn a_capability_authorizes_calls_for_its_own_session_only() {
        let capability = |tenant, session, url_generation| Capability {
            tenant: TenantId(Uuid::from_u128(tenant)),
            session: SessionId(Uuid::from_u128(session)),
            url_generation,
        };
        let refusal = |capability| session().authorized_by(&capability).expect_err("refused");
        assert!(session().authorized_by(&capability(1, 7, 2)).is_ok());
        assert_eq!(refusal(capability(1, 8, 2)), NotAuthorized::OtherSession);
        assert_eq!(refusal(capability(2, 7, 2)), NotAuthorized::OtherSession);
        assert_eq!(refusal(capability(1, 7, 1)), NotAuthorized::UploadUrlRenewed);
    }

    #[test]
    fn an_application_maintains_the_catalogs_that_its_issuer_may_speak_for() {
        let clients = ["robot".to_owned()];
        let tenants = [1, 2].map(|tenant| TenantId(Uuid::from_u128(tenant)));
        let may = |principal: Principal, issuer_tenants: Option<&[TenantId]>| {
            tenants.map(|tenant| {
                CatalogCaller::authorize(&caller(1, principal.clone()), &clients, issuer_tenants, tenant).is_some()
            })
        };
        let robot = Principal::Application("robot".into());
        assert_eq!(may(robot.clone(), None), [true, true]);
        assert_eq!(may(robot.clone(), Some(&tenants)), [true, true]);
        assert_eq!(may(robot.clone(), Some(&tenants[..1])), [true, false]);
        assert_eq!(may(robot, Some(&[])), [false, false]);
        assert_eq!(may(Principal::Application("other".into()), None), [false, false]);
        assert_eq!(may(Principal::User("robot".into()), None), [false, false]);
    }

    #[test]
    fn only_a_call_with_an_upload_url_depends_on_its_renewal() {
        let (tenant, id) = (session().tenant, session().id);
        let by_url = session().authorized_by(&Capability { tenant, session: id, url_generation: 2 }).expect("a proof");
        let by_token = session().owned_by(&caller(1, ada())).expect("a proof");
        assert_eq!([by_url.is_renewed(2), by_url.is_renewed(3)], [false, true]);
        assert_eq!([by_token.is_renewed(2), by_token.is_renewed(3)], [false, false]);
    }

    #[test]
    fn without_an_all_permission_only_the_creator_reaches_a_job() {
        let document = Document {
            tenant: TenantId(Uuid::from_u128(1)),
            id: DocumentId(Uuid::from_u128(5)),
            job: JobKey { printer: "p".into(), job: "1".into() },
            job_creator: ada(),
        };
        let eve = caller(1, Principal::User("eve".into()));
        assert!(document.permitted_to(&caller(1, ada()), Reach::OwnJobs).is_ok());
        assert!(document.permitted_to(&eve, Reach::OwnJobs).is_err());
        assert!(document.permitted_to(&eve, Reach::AnyJob).is_ok());
        assert!(document.permitted_to(&caller(2, ada()), Reach::AnyJob).is_err());
    }
}
