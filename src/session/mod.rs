//! The pure rules of an upload session: its states, its owner, the proofs that a caller can get, and the plan for a
//! range. No I/O and no clock.

mod caller;
mod plan;
mod proof;
mod state;

pub use caller::{Caller, Capability, Credential, Principal, identity};
pub use plan::{BASE_PIECES, BYTES_PER_PIECE, Expected, Plan, RangeRequest, RangeView, Refusal, piece_limit, plan};
pub use proof::{
    CatalogCaller, Document, MissingSession, NotAuthorized, NotJobCreator, NotSessionOwner, OwnedSession,
    PermittedDocument, PermittedPrinter, Printer, Reach, Session,
};
pub use state::{End, EndReason, Properties, State, UploadSession, WriterEnd};
