//! What a request's log line says, gathered on the way.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use axum::http::Extensions;
use uuid::Uuid;

use super::body::BodyObserver;

/// Who calls, for the log: what has admitted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// A user's access token.
    User,
    /// An application's access token.
    Application,
    /// The capability of an upload URL.
    Capability,
}

/// What the rooms on a request's way know of it. Shared: each adds what it knows, the layer around the request writes it.
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
    /// The request's log; one that nobody writes where no layer stands around the request.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// The caller has proved who they are.
    pub fn caller_is(&self, kind: CallerKind, tenant: Uuid) {
        let _ = self.0.caller.set((kind, tenant));
    }

    /// The request is about this upload session.
    pub fn upload_is(&self, session: Uuid) {
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

    /// How many bytes of the request's body have come so far.
    pub fn request_bytes(&self) -> u64 {
        self.0.request_bytes.load(Ordering::Relaxed)
    }
}

/// Counts a request's body.
impl BodyObserver for RequestLog {
    fn data(&mut self, bytes: usize) {
        self.0.request_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
