//! The steps of the guard for one call, from its headers to the proof that its handler receives.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, header::AUTHORIZATION},
    middleware::Next,
    response::Response,
};
use print_upload_client::{MAX_CREDENTIAL_BYTES, UPLOAD_TOKEN};
use tonic::Status;

use super::{
    Guard, MaySend,
    access_token::{self, AccessToken},
    credentials::Credentials,
    first_message,
    rules::UPLOAD_RANGE,
};
use crate::{
    error::{Error, StreamProblem},
    listen::Call,
    permits::Permit,
    session::OwnedSession,
    telemetry::RequestLog,
};

/// The middleware: runs the handler with the proof, or responds with the error.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.authorize(request).await {
        Ok(request) => next.run(request).await,
        Err(error) => Status::from(error).into_http::<Body>(),
    }
}

impl Guard {
    // The name of the span is documented for operators.
    #[tracing::instrument(name = "guard.admit", level = "debug", skip_all)]
    async fn authorize(&self, request: Request) -> Result<Request, Error> {
        // Split, because a body is not `Sync` and the parts are borrowed across awaits.
        let (mut parts, body) = request.into_parts();
        let rule = self.rules.of(parts.uri.path()).ok_or(Error::MethodUnknown)?;
        let credentials = self.authenticate(&parts.headers).await?;
        credentials.record(&RequestLog::of(&parts.extensions));
        if let Some(call) = parts.extensions.get::<Call>() {
            call.note_credential();
        }
        self.rates.check(&credentials, rule)?;
        credentials.require_permission(rule)?;
        if self.rules.of(UPLOAD_RANGE).is_some_and(|sending| credentials.require_permission(sending).is_ok()) {
            parts.extensions.insert(MaySend(()));
        }
        require_uncompressed(&parts.headers)?;

        let permit = if rule.takes_range_permit() { Some(self.range_permit(&credentials)?) } else { None };
        let (message, body) = first_message::read(body, rule).await?;
        self.prove(&credentials, &message, &mut parts.extensions).await?;
        if let Some(mut permit) = permit {
            if let Some(session) = parts.extensions.get::<OwnedSession>() {
                permit = permit.counted_for(session.owner())?;
            }
            parts.extensions.insert(Arc::new(permit));
        }
        Ok(Request::from_parts(parts, body))
    }

    /// Taken before the first byte of the range is read, because the bytes that the connection buffers for it must be
    /// bounded as well.
    fn range_permit(&self, credentials: &Credentials) -> Result<Permit, Error> {
        let (tenant, holder) = credentials.holder();
        Ok(self.range_permits.take(tenant, holder)?)
    }

    /// If the call has an upload token, only that is verified: it replaces the access token and its permissions.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Credentials, Error> {
        let credentials = [headers.get(UPLOAD_TOKEN), headers.get(AUTHORIZATION)];
        if credentials.into_iter().flatten().any(|credential| credential.len() > MAX_CREDENTIAL_BYTES) {
            return Err(Error::CredentialTooLarge(MAX_CREDENTIAL_BYTES));
        }
        if let Some(token) = headers.get(UPLOAD_TOKEN) {
            return Ok(Credentials::Capability(self.upload_urls.verify(token.as_bytes())?));
        }
        let token = AccessToken::verify(access_token::bearer(headers)?, &self.issuers).await?;
        Ok(Credentials::Token(token))
    }
}

/// Fails if the call announces compressed messages. Some of them may be uncompressed nevertheless, also the first one.
fn require_uncompressed(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get("grpc-encoding") {
        Some(encoding) if encoding != "identity" => Err(StreamProblem::FirstMessageCompressed.into()),
        _ => Ok(()),
    }
}
