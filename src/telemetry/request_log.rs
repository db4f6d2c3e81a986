//! The contents of a request's log line, collected while the request is handled.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use axum::http::Extensions;
use uuid::Uuid;

use super::body::BodyObserver;

/// What kind of credential the caller has, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// A user's access token.
    User,
    /// An application's access token.
    Application,
    /// The capability of an upload URL.
    Capability,
}

/// What inner modules know of a request. Clones share it: each module adds what it knows, and the observer writes it.
#[derive(Debug, Clone, Default)]
pub struct RequestLog(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    caller: OnceLock<(CallerKind, Uuid)>,
    upload: OnceLock<Uuid>,
    request_bytes: AtomicU64,
}

impl CallerKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Application => "application",
            Self::Capability => "capability",
        }
    }
}

impl RequestLog {
    /// The request's log. Without an observer around the request, a new log that is never written.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Sets the caller, once authenticated. Only the first call has an effect.
    pub fn set_caller(&self, kind: CallerKind, tenant: Uuid) {
        let _ = self.0.caller.set((kind, tenant));
    }

    /// Sets the upload session that the request is about. Only the first call has an effect.
    pub fn set_upload(&self, session: Uuid) {
        let _ = self.0.upload.set(session);
    }

    pub(super) fn caller_kind(&self) -> &'static str {
        self.0.caller.get().map_or("none", |(kind, _)| kind.as_str())
    }

    pub(super) fn tenant(&self) -> Option<Uuid> {
        self.0.caller.get().map(|(_, tenant)| *tenant)
    }

    pub(super) fn upload(&self) -> Option<Uuid> {
        self.0.upload.get().copied()
    }

    /// How many bytes of the request's body have been received so far.
    pub fn request_bytes(&self) -> u64 {
        self.0.request_bytes.load(Ordering::Relaxed)
    }
}

impl BodyObserver for RequestLog {
    fn data(&mut self, bytes: usize) {
        self.0.request_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
