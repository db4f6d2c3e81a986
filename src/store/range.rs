//! Ranges: what is new when one begins, and its commit, the only way in which bytes become part of a document.

use std::time::SystemTime;

use sqlx::postgres::types::PgRange;
use uuid::Uuid;

use super::{InTime, Store, corrupt, interval, system_time};
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
    /// The pieces of it that were missing when it began. All are taken, or none.
    pub pieces: Vec<Piece>,
}

/// A session after a committed range.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Active or completed.
    pub state: State,
    /// When the session now expires.
    pub expire_time: SystemTime,
    /// What is still missing.
    pub missing: Vec<ByteRange>,
}

/// An entry of the manifest: bytes of the document, and where they are.
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
    /// Only a registered writer may read it, so that whoever ends the session is either seen by this read or finds the writer.
    #[tracing::instrument(name = "store.range_view", level = "debug", skip_all)]
    pub async fn range_view(&self, writer: &Writer, range: ByteRange) -> Result<Option<RangeView>, sqlx::Error> {
        let owned = writer.session();
        let row = sqlx::query!(
            r#"
            select case when state = 'active' and expire_time <= now() then 'expired' else state end as "state!",
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
        )
        .fetch_optional(&self.pool)
        .in_time()
        .await?;

        let Some(row) = row else { return Ok(None) };
        let completing = match (row.completing_range, row.completing_crc32c) {
            (Some(range), Some(crc32c)) => Some((byte_range(&range)?, checksum(crc32c)?)),
            _ => None,
        };
        Ok(Some(RangeView {
            state: State::parse(&row.state).ok_or_else(|| corrupt("upload_session.state"))?,
            size_bytes: u64::try_from(row.size_bytes).map_err(|_| corrupt("upload_session.size_bytes"))?,
            fragment_count: u32::try_from(row.fragment_count).map_err(|_| corrupt("upload_session.fragment_count"))?,
            new: byte_ranges(&row.new)?,
            completing,
        }))
    }

    /// Commits a range: takes exactly its pieces and moves the session's expiry, or changes nothing and returns `None`.
    /// The last missing piece completes the document.
    #[tracing::instrument(name = "store.commit_range", level = "debug", skip_all)]
    pub async fn commit_range(
        &self,
        owned: &OwnedSession,
        new: &NewRange,
        request_id: &str,
    ) -> Result<Option<Committed>, sqlx::Error> {
        let starts: Vec<i64> = new.pieces.iter().map(|piece| piece.range.start() as i64).collect();
        let ends: Vec<i64> = new.pieces.iter().map(|piece| piece.range.end() as i64).collect();
        let checksums: Vec<i64> = new.pieces.iter().map(|piece| i64::from(piece.crc32c)).collect();
        let row = sqlx::query!(
            r#"
            with piece as (
                select * from unnest($6::bigint[], $7::bigint[], $8::bigint[]) as p (start_byte, end_byte, crc32c)
            ), added as (
                select range_agg(int8range(start_byte, end_byte)) as bytes, count(*)::int as pieces from piece
            ), changed as (
                update upload_session s
                set received          = s.received + a.bytes,
                    fragment_count    = s.fragment_count + a.pieces,
                    expire_time       = greatest(s.expire_time, least(now() + $9, s.expire_limit)),
                    state             = case when s.received + a.bytes = int8multirange(int8range(0, s.size_bytes)) then 'completed' else 'active' end,
                    end_time          = case when s.received + a.bytes = int8multirange(int8range(0, s.size_bytes)) then now() end,
                    ended_by          = case when s.received + a.bytes = int8multirange(int8range(0, s.size_bytes)) then s.owner end,
                    end_reason        = case when s.received + a.bytes = int8multirange(int8range(0, s.size_bytes)) then 'upload-completed' end,
                    completing_range  = case when s.received + a.bytes = int8multirange(int8range(0, s.size_bytes)) then int8range($3, $4) end,
                    completing_crc32c = case when s.received + a.bytes = int8multirange(int8range(0, s.size_bytes)) then $11::bigint end
                from added a
                where s.tenant_id = $1 and s.session_id = $2
                  and s.state = 'active' and s.expire_time > clock_timestamp()
                  and not (s.received && a.bytes)
                  and s.fragment_count + a.pieces <= $10
                returning s.*
            ), manifest as (
                insert into fragment (tenant_id, session_id, start_byte, end_byte, object_id, object_offset, crc32c)
                select c.tenant_id, c.session_id, p.start_byte, p.end_byte, $5, p.start_byte - $3, p.crc32c
                from changed c, piece p
            ), queued as (
                -- Attempts that failed have left objects behind; once no writer can be left, they are dropped.
                insert into reclaim (tenant_id, session_id, due_time, final_time)
                select tenant_id, session_id, now() + $12, now() + $12 from changed where state = 'completed'
            ), audited as (
                insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                select tenant_id, session_id, document_id, 'complete', owner, $13, $14
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
        )
        .fetch_optional(&self.pool)
        .in_time()
        .await?;

        let Some(row) = row else { return Ok(None) };
        Ok(Some(Committed {
            state: State::parse(&row.state).ok_or_else(|| corrupt("upload_session.state"))?,
            expire_time: system_time(row.expire_time),
            missing: byte_ranges(&row.missing)?,
        }))
    }

    /// The pieces that hold any byte of `range`, ascending.
    #[tracing::instrument(name = "store.pieces_of", level = "debug", skip_all)]
    pub async fn pieces_of(&self, owned: &OwnedSession, range: ByteRange) -> Result<Vec<StoredPiece>, sqlx::Error> {
        self.pieces(owned.tenant(), owned.id(), range).await
    }

    /// The manifest of an uploaded document: every piece, ascending.
    #[tracing::instrument(name = "store.manifest", level = "debug", skip_all)]
    pub async fn manifest(
        &self,
        permitted: &PermittedDocument,
        session: &UploadSession,
    ) -> Result<Vec<StoredPiece>, sqlx::Error> {
        let whole = ByteRange::known(0, session.properties.size_bytes);
        self.pieces(permitted.document().tenant, session.id, whole).await
    }

    async fn pieces(
        &self,
        tenant: TenantId,
        session: SessionId,
        range: ByteRange,
    ) -> Result<Vec<StoredPiece>, sqlx::Error> {
        let rows = sqlx::query_as!(
            FragmentRow,
            "select start_byte, end_byte, object_id, object_offset, crc32c from fragment
             where tenant_id = $1 and session_id = $2 and start_byte < $4 and end_byte > $3
             order by start_byte",
            tenant.0,
            session.0,
            range.start() as i64,
            range.end() as i64,
        )
        .fetch_all(&self.pool)
        .in_time()
        .await?;
        rows.into_iter().map(FragmentRow::into_piece).collect()
    }
}

impl FragmentRow {
    fn into_piece(self) -> Result<StoredPiece, sqlx::Error> {
        let bounds = PgRange::from(self.start_byte..self.end_byte);
        Ok(StoredPiece {
            piece: Piece { range: byte_range(&bounds)?, crc32c: checksum(self.crc32c)? },
            object: self.object_id,
            offset: u64::try_from(self.object_offset).map_err(|_| corrupt("fragment.object_offset"))?,
        })
    }
}

/// Ranges as Postgres shows them, `[start,end)`.
pub(super) fn byte_ranges(ranges: &[PgRange<i64>]) -> Result<Vec<ByteRange>, sqlx::Error> {
    ranges.iter().map(byte_range).collect()
}

fn byte_range(range: &PgRange<i64>) -> Result<ByteRange, sqlx::Error> {
    use std::ops::Bound::{Excluded, Included};
    let (Included(start), Excluded(end)) = (range.start, range.end) else { return Err(corrupt("int8range")) };
    ByteRange::new(start, end, u64::MAX, u64::MAX).map_err(|_| corrupt("int8range"))
}

fn checksum(stored: i64) -> Result<u32, sqlx::Error> {
    u32::try_from(stored).map_err(|_| corrupt("crc32c"))
}
