//! The proofs that handlers receive. Each check resolves the resource that the first message names.

use axum::http::Extensions;
use uuid::Uuid;

use super::{Guard, access_token::AccessToken, credentials::Credentials, first_message::FirstMessage, permission};
use crate::{
    error::Error,
    name::{DocumentId, DocumentName, JobName, SessionId, SessionName},
    proto::Proof,
    session::{
        Capability, CatalogCaller, MissingSession, NotAuthorized, OwnedSession, PermittedDocument, PermittedPrinter,
    },
    store::Wanted,
    telemetry::RequestLog,
};

impl Guard {
    /// Puts the proof that the rule demands into the request's extensions.
    pub(super) async fn prove(
        &self,
        credentials: &Credentials,
        message: &FirstMessage<'_>,
        proofs: &mut Extensions,
    ) -> Result<(), Error> {
        match (credentials, message.rule.proof) {
            (Credentials::Token(token), Proof::PermittedPrinter) => {
                proofs.insert(self.prove_printer(message, token).await?);
            }
            (Credentials::Token(token), Proof::PermittedJob) => {
                let job = message.job_name()?;
                proofs.insert(self.prove_document(message, token, &job, None).await?);
            }
            (Credentials::Token(token), Proof::PermittedDocument) => {
                let DocumentName { job, document } = message.document_name()?;
                proofs.insert(self.prove_document(message, token, &job, Some(document)).await?);
            }
            (Credentials::Token(token), Proof::OwnedSession) => {
                insert_session(proofs, self.prove_owner(message, token).await?, message)?;
            }
            (Credentials::Capability(capability), Proof::OwnedSession) => {
                insert_session(proofs, self.prove_capability(message, capability).await?, message)?;
            }
            (Credentials::Token(token), Proof::CatalogCaller) => {
                proofs.insert(self.prove_catalog_caller(message, token)?);
            }
            (Credentials::Capability(_), _) => return Err(Error::UploadTokenNotAccepted),
            (_, Proof::Unspecified) => return Err(Error::Internal("a rule that proves nothing".into())),
        }
        Ok(())
    }

    async fn prove_printer(&self, message: &FirstMessage<'_>, token: &AccessToken) -> Result<PermittedPrinter, Error> {
        let queue = message.queue()?;
        let found = self.store.printer_of(token.caller.tenant, &queue).await?;
        permission::require_subscription(found.subscription_active)?;
        permission::require_queue(&token.grant, &queue)?;
        found.printer.and_then(|printer| printer.permitted_to(&token.caller)).ok_or(Error::PrinterNotFound)
    }

    /// Proves a document. The request names the document, or only its job.
    async fn prove_document(
        &self,
        message: &FirstMessage<'_>,
        token: &AccessToken,
        job: &JobName,
        document: Option<DocumentId>,
    ) -> Result<PermittedDocument, Error> {
        let found = self.store.document_of(&token.caller, job, document, None, message.rule.purpose()).await?;
        permission::require_subscription(found.subscription_active)?;
        permission::require_queue(&token.grant, &job.queue)?;

        let missing = if document.is_some() { Error::DocumentNotFound } else { Error::PrintJobNotFound };
        let reach = permission::reach(message.rule, &token.grant);
        let document = found.document.ok_or(missing)?;
        let permitted = document.permitted_to(&token.caller, reach).map_err(|_| Error::NotJobCreator)?;
        permission::require_task(message.rule, &token.grant, found.has_own_task)?;
        Ok(permitted)
    }

    /// Proves the caller's session. `None` if no session exists.
    async fn prove_owner(
        &self,
        message: &FirstMessage<'_>,
        token: &AccessToken,
    ) -> Result<Option<OwnedSession>, Error> {
        let etag = message.etag();
        let session = match message.session_name()? {
            SessionName::Id(id) => {
                let found = self.store.session_by_id(token.caller.tenant, id, message.rule.purpose()).await?;
                permission::require_subscription(found.subscription_active)?;
                permission::require_any_queue(&token.grant)?;
                found.session
            }
            // A range must never go to a newer session than the caller means.
            SessionName::OfDocument(_) if message.rule.only_session_ids => return Err(message.session_id_required()),
            SessionName::OfDocument(DocumentName { job, document }) => {
                // An etag that is not an id belongs to no session. It is looked up like any other, and not found.
                let wanted = etag.map_or(Wanted::Latest, |etag| {
                    Wanted::WithEtag(SessionId::parse_etag(etag).unwrap_or(SessionId(Uuid::nil())))
                });
                let purpose = message.rule.purpose();
                let found = self.store.document_of(&token.caller, &job, Some(document), Some(wanted), purpose).await?;
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

    /// Proves the capability's session. `None` if it does not exist any more.
    async fn prove_capability(
        &self,
        message: &FirstMessage<'_>,
        capability: &Capability,
    ) -> Result<Option<OwnedSession>, Error> {
        if message.session_name()? != SessionName::Id(capability.session) {
            return Err(Error::UploadTokenNotAccepted);
        }
        let purpose = message.rule.purpose();
        let found = self.store.session_by_id(capability.tenant, capability.session, purpose).await?;
        let Some(session) = found.session else { return Ok(None) };
        let proof = session.authorized_by(capability).map_err(|refusal| match refusal {
            NotAuthorized::OtherSession => Error::UploadTokenNotAccepted,
            NotAuthorized::UploadUrlRenewed => Error::UploadUrlRenewed,
        })?;
        match_etag(message.etag(), session.id)?;
        Ok(Some(proof))
    }

    fn prove_catalog_caller(&self, message: &FirstMessage<'_>, token: &AccessToken) -> Result<CatalogCaller, Error> {
        let tenant = message.catalog_name()?.tenant;
        let issuer_tenants = token.issuer_tenants.as_deref();
        let proof = CatalogCaller::authorize(&token.caller, &self.catalog_clients, issuer_tenants, tenant);
        proof.ok_or(Error::NotCatalogClient)
    }
}

/// Without a session the call fails, unless the caller allows it to be missing. Then the handler receives
/// [`MissingSession`].
fn insert_session(
    proofs: &mut Extensions,
    session: Option<OwnedSession>,
    message: &FirstMessage<'_>,
) -> Result<(), Error> {
    match session {
        Some(session) => {
            RequestLog::of(proofs).set_upload(session.id().0);
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
