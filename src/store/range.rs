//! Ranges: what is missing when one begins, and its commit, which alone makes bytes a part of a document.

use std::time::SystemTime;

use sqlx::postgres::types::PgRange;
use tracing::{Span, debug_span};
use uuid::Uuid;

use super::{Error, Store, commit_range::CommitRange, corrupt, view_range::ViewRange};
use crate::{
    name::{SessionId, TenantId},
    range::{ByteRange, Piece},
    session::{OwnedSession, PermittedDocument, RangeView, State, UploadSession},
    writers::Writer,
};

/// A range whose bytes are durable in an object, about to be committed.
#[derive(Debug, Clone)]
pub struct NewRange {
    /// The range that was sent.
    pub range: ByteRange,
    /// Its CRC32C.
    pub crc32c: u32,
    /// The object that holds the range's bytes.
    pub object: Uuid,
    /// The pieces of it that were missing when it began. All of them are committed, or none.
    pub pieces: Vec<Piece>,
}

/// A session after a committed range.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Active or completed.
    pub state: State,
    /// When the session now expires.
    pub expire_time: SystemTime,
    /// The missing bytes, ascending.
    pub missing: Vec<ByteRange>,
}

/// An entry of the manifest: bytes of the document, and the object that has them.
#[derive(Debug, Clone)]
pub struct StoredPiece {
    /// Which bytes, and their checksum.
    pub piece: Piece,
    /// The object that holds them.
    pub object: Uuid,
    /// Where in the object they begin.
    pub offset: u64,
}

struct FragmentRow {
    start_byte: i64,
    end_byte: i64,
    object_id: Uuid,
    object_offset: i64,
    crc32c: i64,
}

impl Store {
    /// The session as this writer's range sees it now. `None` once it is purged.
    ///
    /// Only a registered writer may read it. So an end is never missed: either this read sees it, or the code that ends
    /// the session finds the writer.
    pub async fn range_view(&self, writer: &Writer, range: ByteRange) -> Result<Option<RangeView>, Error> {
        let view = ViewRange { tenant: writer.session().tenant(), session: writer.session().id(), range };
        self.batchers.view_range.answer(debug_span!("store.range_view"), view).await
    }

    /// Commits a range: adds exactly its pieces and moves the session's expiry, or changes nothing and returns `None`.
    /// The last missing piece completes the document.
    pub async fn commit_range(
        &self,
        owned: &OwnedSession,
        new: &NewRange,
        request_id: &str,
    ) -> Result<Option<Committed>, Error> {
        let commit = CommitRange { owned: owned.clone(), new: new.clone(), request_id: request_id.to_owned() };
        self.batchers.commit_range.answer(debug_span!("store.commit_range"), commit).await
    }

    /// The pieces that hold any byte of `range`, ascending.
    pub async fn pieces_of(&self, owned: &OwnedSession, range: ByteRange) -> Result<Vec<StoredPiece>, Error> {
        self.pieces(debug_span!("store.pieces_of"), owned.tenant(), owned.id(), range).await
    }

    /// The manifest of an uploaded document: every piece, ascending.
    pub async fn manifest(
        &self,
        permitted: &PermittedDocument,
        session: &UploadSession,
    ) -> Result<Vec<StoredPiece>, Error> {
        let whole = ByteRange::known(0, session.properties.size_bytes);
        self.pieces(debug_span!("store.manifest"), permitted.document().tenant, session.id, whole).await
    }

    async fn pieces(
        &self,
        operation: Span,
        tenant: TenantId,
        session: SessionId,
        range: ByteRange,
    ) -> Result<Vec<StoredPiece>, Error> {
        let query = sqlx::query_as!(
            FragmentRow,
            "select start_byte, end_byte, object_id, object_offset, crc32c from fragment
             where tenant_id = $1 and session_id = $2 and start_byte < $4 and end_byte > $3
             order by start_byte",
            tenant.0,
            session.0,
            range.start() as i64,
            range.end() as i64,
        );
        let rows = self.database.statement(operation, async |connection| query.fetch_all(connection).await).await?;
        rows.into_iter().map(|row| row.into_piece(session)).collect()
    }
}

impl FragmentRow {
    fn into_piece(self, session: SessionId) -> Result<StoredPiece, Error> {
        let corrupt = |column| corrupt("fragment", column, session);
        let range = byte_range(&PgRange::from(self.start_byte..self.end_byte)).ok_or_else(|| corrupt("start_byte"))?;
        let crc32c = u32::try_from(self.crc32c).map_err(|_| corrupt("crc32c"))?;
        Ok(StoredPiece {
            piece: Piece { range, crc32c },
            object: self.object_id,
            offset: u64::try_from(self.object_offset).map_err(|_| corrupt("object_offset"))?,
        })
    }
}

/// Ranges as Postgres returns them, `[start,end)`. `None` where one is not such a range.
pub(super) fn byte_ranges(ranges: &[PgRange<i64>]) -> Option<Vec<ByteRange>> {
    ranges.iter().map(byte_range).collect()
}

pub(super) fn byte_range(range: &PgRange<i64>) -> Option<ByteRange> {
    use std::ops::Bound::{Excluded, Included};
    let (Included(start), Excluded(end)) = (range.start, range.end) else { return None };
    ByteRange::new(start, end, u64::MAX, u64::MAX).ok()
}
