//! Ranges: what is missing when one begins, and its commit, which alone makes bytes a part of a document.

use std::time::SystemTime;

use sqlx::postgres::types::PgRange;
use time::OffsetDateTime;
use tracing::{Span, debug_span};
use uuid::Uuid;

use super::{Error, Store, corrupt, interval, system_time};
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

struct RangeViewRow {
    state: String,
    is_overdue: bool,
    size_bytes: i64,
    fragment_count: i32,
    completing_range: Option<PgRange<i64>>,
    completing_crc32c: Option<i64>,
    new: Vec<PgRange<i64>>,
}

struct CommittedRow {
    state: String,
    expire_time: OffsetDateTime,
    missing: Vec<PgRange<i64>>,
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
        let owned = writer.session();
        let query = sqlx::query_as!(
            RangeViewRow,
            r#"
            select state, state = 'active' and expire_time <= now() as "is_overdue!",
                   size_bytes, fragment_count, completing_range, completing_crc32c,
                   array(select r from unnest(int8multirange(int8range($3, $4)) - received) r)
                       as "new!: Vec<PgRange<i64>>"
            from upload_session
            where tenant_id = $1 and session_id = $2
            "#,
            owned.tenant().0,
            owned.id().0,
            range.start() as i64,
            range.end() as i64,
        );
        let span = debug_span!("store.range_view");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;
        row.map(|row| row.into_view(owned.id())).transpose()
    }

    /// Commits a range: adds exactly its pieces and moves the session's expiry, or changes nothing and returns `None`.
    /// The last missing piece completes the document.
    pub async fn commit_range(
        &self,
        owned: &OwnedSession,
        new: &NewRange,
        request_id: &str,
    ) -> Result<Option<Committed>, Error> {
        let (starts, ends, checksums) = columns(&new.pieces);
        let query = sqlx::query_as!(
            CommittedRow,
            r#"
            with piece as (
                select * from unnest($6::bigint[], $7::bigint[], $8::bigint[]) as p (start_byte, end_byte, crc32c)
            ), added as (
                select range_agg(int8range(start_byte, end_byte)) as bytes, count(*)::int as pieces from piece
            ), locked as (
                select tenant_id, session_id, expire_time from upload_session
                where tenant_id = $1 and session_id = $2 and state = 'active' for no key update
            ), timed as materialized (
                -- Above the lock, as in ending.rs: the session may become overdue while the statement waits.
                select *, clock_timestamp() as time from locked
            ), changed as (
                update upload_session s
                set fragment_count = s.fragment_count + a.pieces,
                    expire_time    = greatest(s.expire_time, least(t.time + $9, s.expire_limit)),
                    (received, state, end_time, ended_by, end_reason, completing_range, completing_crc32c) = (
                        select now_received.bytes, case when is_complete then 'completed' else 'active' end,
                               case when is_complete then t.time end, case when is_complete then s.owner end,
                               case when is_complete then 'upload-completed' end,
                               case when is_complete then int8range($3, $4) end,
                               case when is_complete then $11::bigint end
                        -- Computed once each, not once a column: that is what `offset 0` is for.
                        from (select s.received + a.bytes as bytes offset 0) now_received
                        cross join lateral (
                            select now_received.bytes = int8multirange(int8range(0, s.size_bytes)) as is_complete offset 0
                        ) completion
                    )
                from added a, timed t
                where (s.tenant_id, s.session_id) = (t.tenant_id, t.session_id)
                  and s.state = 'active' and t.expire_time > t.time
                  and not (s.received && a.bytes)
                  and s.fragment_count + a.pieces <= $10
                returning s.*, t.time
            ), manifest as (
                insert into fragment (tenant_id, session_id, start_byte, end_byte, object_id, object_offset, crc32c)
                select c.tenant_id, c.session_id, p.start_byte, p.end_byte, $5, p.start_byte - $3, p.crc32c
                from changed c, piece p
            ), queued as (
                -- Attempts that failed have left objects behind; once no writer can be left, they are dropped.
                insert into reclaim (tenant_id, session_id, due_time, final_time)
                select tenant_id, session_id, time + $12, time + $12 from changed where state = 'completed'
            ), audited as (
                insert into audit
                    (audit_time, tenant_id, session_id, document_id, action, actor, credential, request_id)
                select time, tenant_id, session_id, document_id, 'complete', owner, $13, $14
                from changed where state = 'completed'
            )
            select state, expire_time,
                   array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r)
                       as "missing!: Vec<PgRange<i64>>"
            from changed
            "#,
            owned.tenant().0,
            owned.id().0,
            new.range.start() as i64,
            new.range.end() as i64,
            new.object,
            &starts,
            &ends,
            &checksums,
            interval(self.terms.idle_timeout),
            i32::try_from(self.terms.max_fragments).unwrap_or(i32::MAX),
            i64::from(new.crc32c),
            interval(self.terms.writer_grace),
            owned.credential().as_str(),
            request_id,
        );
        let span = debug_span!("store.commit_range");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;
        crash_point!("range.committed");
        row.map(|row| row.into_committed(owned.id())).transpose()
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

impl RangeViewRow {
    fn into_view(self, session: SessionId) -> Result<RangeView, Error> {
        let corrupt = |column| corrupt("upload_session", column, session);
        let completing = match (self.completing_range, self.completing_crc32c) {
            (Some(range), Some(crc32c)) => {
                let range = byte_range(&range).ok_or_else(|| corrupt("completing_range"))?;
                Some((range, u32::try_from(crc32c).map_err(|_| corrupt("completing_crc32c"))?))
            }
            _ => None,
        };
        Ok(RangeView {
            state: State::parse(&self.state).ok_or_else(|| corrupt("state"))?,
            is_overdue: self.is_overdue,
            size_bytes: u64::try_from(self.size_bytes).map_err(|_| corrupt("size_bytes"))?,
            fragment_count: u32::try_from(self.fragment_count).map_err(|_| corrupt("fragment_count"))?,
            missing: byte_ranges(&self.new).ok_or_else(|| corrupt("received"))?,
            completing,
        })
    }
}

impl CommittedRow {
    fn into_committed(self, session: SessionId) -> Result<Committed, Error> {
        let corrupt = |column| corrupt("upload_session", column, session);
        Ok(Committed {
            state: State::parse(&self.state).ok_or_else(|| corrupt("state"))?,
            expire_time: system_time(self.expire_time),
            missing: byte_ranges(&self.missing).ok_or_else(|| corrupt("received"))?,
        })
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

/// The pieces as columns: starts, ends and checksums.
fn columns(pieces: &[Piece]) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    let rows =
        pieces.iter().map(|piece| (piece.range.start() as i64, piece.range.end() as i64, i64::from(piece.crc32c)));
    rows.collect()
}

/// Ranges as Postgres returns them, `[start,end)`. `None` where one is not such a range.
pub(super) fn byte_ranges(ranges: &[PgRange<i64>]) -> Option<Vec<ByteRange>> {
    ranges.iter().map(byte_range).collect()
}

fn byte_range(range: &PgRange<i64>) -> Option<ByteRange> {
    use std::ops::Bound::{Excluded, Included};
    let (Included(start), Excluded(end)) = (range.start, range.end) else { return None };
    ByteRange::new(start, end, u64::MAX, u64::MAX).ok()
}
