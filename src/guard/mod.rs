//! The interceptor: one layer in front of every RPC that decides who may do what.
//!
//! authenticate from the headers, before any body byte is read → scopes or roles → the first message → tenant
//! subscription → printer permission → the resource → ownership → a typed proof in the request's extensions.
//! The rule of each RPC stands beside it in the proto. An error never depends on whether something exists before the
//! caller may know it.

mod access_token;
mod first_message;
mod issuer;
mod key;
mod permission;
mod rules;
mod template;
mod unproved;
mod upload_url;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Extensions, HeaderMap},
    middleware::Next,
    response::Response,
};
use print_upload_client::UPLOAD_TOKEN;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use uuid::{Uuid, uuid};

pub use issuer::Issuers;
pub use rules::{RuleError, Rules};
pub use unproved::Unproved;
pub use upload_url::UploadUrls;

use crate::{
    error::Error,
    name::{DocumentId, DocumentName, JobName, SessionId, SessionName},
    proto::Proof,
    session::{
        Caller, Capability, CatalogCaller, MissingSession, OwnedSession, PermittedDocument, PermittedPrinter, Principal,
    },
    store::Store,
    telemetry::{CallerKind, RequestLog},
};
use access_token::AccessToken;
use first_message::FirstMessage;
use rules::Rule;
use unproved::{Holder, Share};

/// The directory that personal Microsoft accounts live in, see "access token claims reference" of the Microsoft identity
/// platform, claim `tid`.
pub const PERSONAL_ACCOUNTS_TENANT: Uuid = uuid!("9188040d-6c67-4c5b-b112-36a304b66dad");

/// Everything the interceptor asks.
#[derive(Debug)]
pub struct Guard {
    /// The rule of each RPC.
    pub rules: Rules,
    /// Who issues access tokens.
    pub issuers: Arc<Issuers>,
    /// Who issues capabilities: this service.
    pub upload_urls: Arc<UploadUrls>,
    /// Where resources are looked up.
    pub store: Store,
    /// The client ids of the applications that maintain the catalog.
    pub catalog_clients: Vec<String>,
    /// A permit for each range that is received at once: each holds a few MiB.
    pub ranges: Arc<Semaphore>,
    /// Who has such a permit, and has not yet shown a session of theirs.
    pub unproved: Arc<Unproved>,
}

/// A place among the ranges that are received at once, given back with its last copy.
#[derive(Debug, Clone)]
pub struct RangePlace(#[allow(dead_code, reason = "held, not used")] Arc<OwnedSemaphorePermit>);

/// Who calls, once they have proved it.
enum Credentials {
    Token(AccessToken),
    Capability(Capability),
}

impl Credentials {
    /// Lets the log know who calls.
    fn tell(&self, log: &RequestLog) {
        match self {
            Self::Token(AccessToken { caller: Caller { tenant, principal }, .. }) => {
                let kind = match principal {
                    Principal::User(_) => CallerKind::User,
                    Principal::Application(_) => CallerKind::Application,
                };
                log.caller_is(kind, tenant.0);
            }
            Self::Capability(capability) => {
                log.caller_is(CallerKind::Capability, capability.tenant.0);
                log.upload_is(capability.session.0);
            }
        }
    }

    /// Who is behind the call, as a tenant and as one of it.
    fn holders(&self) -> [Holder; 2] {
        match self {
            Self::Token(token) => [Holder::Tenant(token.caller.tenant), Holder::Caller(token.caller.clone())],
            Self::Capability(capability) => [Holder::Tenant(capability.tenant), Holder::Session(capability.session)],
        }
    }

    /// Fails unless whoever calls may make calls of this kind at all.
    fn admitted_by(&self, rule: &Rule) -> Result<(), Error> {
        match self {
            Self::Token(token) if token.caller.tenant.0 == PERSONAL_ACCOUNTS_TENANT => Err(Error::PersonalAccount),
            Self::Token(token) => permission::require_permission(rule, &token.grant),
            Self::Capability(_) if rule.capability => Ok(()),
            Self::Capability(_) => Err(Error::UploadTokenNotAccepted),
        }
    }
}

/// The middleware: lets a call through with its proof, or answers it.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.admit(request).await {
        Ok(request) => next.run(request).await,
        Err(error) => Status::from(error).into_http::<Body>(),
    }
}

impl Guard {
    #[tracing::instrument(name = "guard.admit", level = "debug", skip_all)]
    async fn admit(&self, request: Request) -> Result<Request, Error> {
        // A body is not `Sync`: the parts are looked at on their own.
        let (mut parts, body) = request.into_parts();
        let rule = self.rules.of(parts.uri.path()).ok_or(Error::MethodUnknown)?;
        let log = RequestLog::of(&parts.extensions);
        let credentials = self.authenticate(&parts.headers).await?;
        credentials.tell(&log);
        credentials.admitted_by(rule)?;
        // Held until the proof is there, or the call is refused.
        let _unproved = if rule.is_client_streaming {
            let shares = self.begin_unproved(&credentials)?;
            parts.extensions.insert(self.begin_range()?);
            Some(shares)
        } else {
            None
        };
        let (message, body) = first_message::read(body, rule).await?;

        let proofs = &mut parts.extensions;
        match (credentials, rule.proof) {
            (Credentials::Token(token), Proof::PermittedPrinter) => {
                proofs.insert(self.prove_printer(&message, &token).await?);
            }
            (Credentials::Token(token), Proof::PermittedJob) => {
                let job = message.job_name()?;
                proofs.insert(self.prove_document(&message, &token, &job, None).await?);
            }
            (Credentials::Token(token), Proof::PermittedDocument) => {
                let DocumentName { job, document } = message.document_name()?;
                proofs.insert(self.prove_document(&message, &token, &job, Some(document)).await?);
            }
            (Credentials::Token(token), Proof::OwnedSession) => {
                insert_session(proofs, self.prove_owner(&message, &token).await?, &message, &log)?;
            }
            (Credentials::Capability(capability), Proof::OwnedSession) => {
                insert_session(proofs, self.prove_capability(&message, &capability).await?, &message, &log)?;
            }
            (Credentials::Token(token), Proof::CatalogCaller) => {
                proofs.insert(self.prove_catalog_caller(&message, &token.caller)?);
            }
            (Credentials::Capability(_), _) => return Err(Error::UploadTokenNotAccepted),
            (_, Proof::Unspecified) => return Err(Error::Internal("a rule that proves nothing".into())),
        }
        Ok(Request::from_parts(parts, body))
    }

    fn begin_unproved(&self, credentials: &Credentials) -> Result<[Share; 2], Error> {
        let share = |holder| self.unproved.share(holder).ok_or(Error::TooManyTransfers);
        let [tenant, one_of_it] = credentials.holders();
        Ok([share(tenant)?, share(one_of_it)?])
    }

    /// Before anything of the range is read: what a connection takes in for it must be bounded as well.
    fn begin_range(&self) -> Result<RangePlace, Error> {
        let place = Arc::clone(&self.ranges).try_acquire_owned().map_err(|_| Error::TooManyTransfers)?;
        Ok(RangePlace(Arc::new(place)))
    }

    /// When an upload token is present, it alone is judged: it stands in place of every permission.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Credentials, Error> {
        if let Some(token) = headers.get(UPLOAD_TOKEN) {
            return Ok(Credentials::Capability(self.upload_urls.verify(token.as_bytes())?));
        }
        let token = AccessToken::verify(access_token::bearer(headers)?, &self.issuers).await?;
        Ok(Credentials::Token(token))
    }

    async fn prove_printer(&self, message: &FirstMessage<'_>, token: &AccessToken) -> Result<PermittedPrinter, Error> {
        let queue = message.queue()?;
        let found = self.store.printer_of(token.caller.tenant, &queue).await?;
        permission::require_subscription(found.subscription_active)?;
        permission::require_queue(&token.grant, &queue)?;
        found.printer.and_then(|printer| printer.open_to(&token.caller)).ok_or(Error::PrinterNotFound)
    }

    /// A job's document, which the request names, or its job alone.
    async fn prove_document(
        &self,
        message: &FirstMessage<'_>,
        token: &AccessToken,
        job: &JobName,
        document: Option<DocumentId>,
    ) -> Result<PermittedDocument, Error> {
        let found = self.store.document_of(&token.caller, job, document, None).await?;
        permission::require_subscription(found.subscription_active)?;
        permission::require_queue(&token.grant, &job.queue)?;

        let missing = if document.is_some() { Error::DocumentNotFound } else { Error::PrintJobNotFound };
        let reach = permission::reach(message.rule, &token.grant);
        let document = found.document.ok_or(missing)?;
        let permitted = document.permitted_to(&token.caller, reach).map_err(|_| Error::NotJobCreator)?;
        permission::require_task(message.rule, &token.grant, found.has_own_task)?;
        Ok(permitted)
    }

    /// The caller's session, or `None` where no session exists.
    async fn prove_owner(
        &self,
        message: &FirstMessage<'_>,
        token: &AccessToken,
    ) -> Result<Option<OwnedSession>, Error> {
        let etag = message.etag();
        let session = match message.session_name()? {
            SessionName::Id(id) => {
                let found = self.store.session_by_id(token.caller.tenant, id).await?;
                permission::require_subscription(found.subscription_active)?;
                permission::require_any_queue(&token.grant)?;
                found.session
            }
            // A range must never land in a newer session than the one it was meant for.
            SessionName::OfDocument(_) if message.rule.only_session_ids => return Err(message.session_id_required()),
            SessionName::OfDocument(DocumentName { job, document }) => {
                // An etag that is no id is that of no session: it is looked up like any other, and not found.
                let wanted = etag.map(|etag| SessionId::parse_etag(etag).unwrap_or(SessionId(Uuid::nil())));
                let found = self.store.document_of(&token.caller, &job, Some(document), wanted).await?;
                permission::require_subscription(found.subscription_active)?;
                permission::require_queue(&token.grant, &job.queue)?;
                found.document.ok_or(Error::DocumentNotFound)?;
                if found.session.is_none() && etag.is_some() {
                    return Err(Error::EtagMismatch);
                }
                found.session
            }
        };

        let Some(session) = session else { return Ok(None) };
        let proof = session.owned_by(&token.caller).map_err(|_| Error::NotSessionOwner)?;
        match_etag(etag, session.id)?;
        Ok(Some(proof))
    }

    /// The session that the capability opens, or `None` where it does not exist any more.
    async fn prove_capability(
        &self,
        message: &FirstMessage<'_>,
        capability: &Capability,
    ) -> Result<Option<OwnedSession>, Error> {
        if message.session_name()? != SessionName::Id(capability.session) {
            return Err(Error::UploadTokenNotAccepted);
        }
        let found = self.store.session_by_id(capability.tenant, capability.session).await?;
        let Some(session) = found.session else { return Ok(None) };
        match_etag(message.etag(), session.id)?;
        session.opened_by(capability).map(Some).map_err(|_| Error::UploadTokenNotAccepted)
    }

    fn prove_catalog_caller(&self, message: &FirstMessage<'_>, caller: &Caller) -> Result<CatalogCaller, Error> {
        let tenant = message.catalog_name()?.tenant;
        CatalogCaller::admit(caller, &self.catalog_clients, tenant).ok_or(Error::NotCatalogClient)
    }
}

/// Without a session the call fails, unless the caller said that there need not be one: then the handler is told so.
fn insert_session(
    proofs: &mut Extensions,
    session: Option<OwnedSession>,
    message: &FirstMessage<'_>,
    log: &RequestLog,
) -> Result<(), Error> {
    match session {
        Some(session) => {
            log.upload_is(session.id().0);
            proofs.insert(session);
        }
        None if message.allow_missing() => drop(proofs.insert(MissingSession)),
        None => return Err(Error::SessionNotFound),
    }
    Ok(())
}

fn match_etag(etag: Option<&str>, session: SessionId) -> Result<(), Error> {
    match etag {
        Some(etag) if SessionId::parse_etag(etag) != Some(session) => Err(Error::EtagMismatch),
        _ => Ok(()),
    }
}
