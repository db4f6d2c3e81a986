//! The pure rules of an upload session: who owns it, what states it has, which proof a caller gets, and what may be done
//! with a range. No I/O and no clock.

mod caller;
mod plan;
mod proof;
mod state;

pub use caller::{Caller, Capability, Credential, Principal};
pub use plan::{Plan, RangeRequest, RangeView, Refusal, Repeat, plan};
pub use proof::{
    CatalogCaller, Document, MissingSession, NotJobCreator, NotSessionOwner, OwnedSession, PermittedDocument,
    PermittedPrinter, Printer, Reach, Session,
};
pub use state::{EndReason, Ended, Properties, State, UploadSession};
