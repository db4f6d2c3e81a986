//! The commit of ranges, which alone makes bytes a part of a document, for many ranges at once.

use sqlx::{PgConnection, postgres::types::PgRange};
use time::OffsetDateTime;
use tracing::Span;
use uuid::Uuid;

use super::{
    Committed, Error, NewRange, Terms,
    batch::{Answer, Operation, member},
    corrupt,
    database::Database,
    interval,
    range::byte_ranges,
    system_time,
};
use crate::{
    name::{SessionId, TenantId},
    session::{BASE_PIECES, BYTES_PER_PIECE, OwnedSession, State},
};

/// Commits a range of a session.
#[derive(Debug, Clone)]
pub(super) struct CommitRange {
    pub(super) owned: OwnedSession,
    pub(super) new: NewRange,
    pub(super) request_id: String,
}

/// What became of a range of a batch.
struct CommittedRow {
    member: i64,
    /// Whether its session is active, and was locked.
    is_locked: bool,
    // The session after the commit; nothing if the range was not committed.
    state: Option<String>,
    expire_time: Option<OffsetDateTime>,
    missing: Option<Vec<PgRange<i64>>>,
}

/// The ranges of a batch, and their pieces, as columns.
#[derive(Default)]
struct Columns {
    tenants: Vec<Uuid>,
    sessions: Vec<Uuid>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    checksums: Vec<i64>,
    objects: Vec<Uuid>,
    credentials: Vec<String>,
    request_ids: Vec<String>,
    /// The generation of the upload URL that each range came with, if it came with one.
    url_generations: Vec<Option<i32>>,
    /// The range of each piece, from 1 on.
    piece_members: Vec<i64>,
    piece_starts: Vec<i64>,
    piece_ends: Vec<i64>,
    piece_checksums: Vec<i64>,
}

/// The statement that commits ranges of different sessions. `$lock` says whether it waits for locked rows.
///
/// A row is locked first, and then judged once, with the contents that it has under the lock.
macro_rules! commit_ranges {
    ($lock:literal, $batch:expr, $terms:expr) => {{
        let columns = Columns::of($batch);
        sqlx::query_as!(
            CommittedRow,
            r#"
            with asked as materialized (
                select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[],
                                     $7::text[], $8::text[], $18::int[]) with ordinality
                    as a (tenant_id, session_id, start_byte, end_byte, crc32c, object_id, credential, request_id,
                          url_generation, member)
            ), piece as materialized (
                select * from unnest($9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
                    as p (member, start_byte, end_byte, crc32c)
            ), added as (
                select member, range_agg(int8range(start_byte, end_byte)) as bytes, count(*)::int as pieces
                from piece group by member
            ), locked as (
                select asked.*, s.expire_time from asked cross join lateral (
                    select expire_time from upload_session s
                    where (s.tenant_id, s.session_id) = (asked.tenant_id, asked.session_id) and state = 'active'
                    for no key update "# + $lock + r#"
                ) s
            ), timed as materialized (
                -- Above the lock, as in ending.rs: the session may become overdue while the statement waits.
                select *, clock_timestamp() as time from locked
            ), changed as (
                update upload_session s
                set fragment_count = s.fragment_count + t.pieces,
                    expire_time    = greatest(s.expire_time, least(t.time + $13, s.expire_limit)),
                    (received, state, end_time, ended_by, end_reason, completing_range, completing_crc32c) = (
                        select now_received.bytes, case when is_complete then 'completed' else 'active' end,
                               case when is_complete then t.time end, case when is_complete then s.owner end,
                               case when is_complete then 'upload-completed' end,
                               case when is_complete then int8range(t.start_byte, t.end_byte) end,
                               case when is_complete then t.crc32c end
                        -- Computed once each, not once a column: that is what `offset 0` is for.
                        from (select s.received + t.bytes as bytes offset 0) now_received
                        cross join lateral (
                            select now_received.bytes = int8multirange(int8range(0, s.size_bytes)) as is_complete offset 0
                        ) completion
                    )
                from (select timed.*, bytes, pieces from timed join added using (member)) t
                where (s.tenant_id, s.session_id) = (t.tenant_id, t.session_id)
                  and s.state = 'active' and t.expire_time > t.time
                  and not (s.received && t.bytes)
                  and s.fragment_count + t.pieces
                      <= least($14::int, (s.size_bytes + $16::bigint - 1) / $16 + $17::bigint)
                  and (t.url_generation is null or t.url_generation = s.url_generation)
                returning s.*, t.member, t.time, t.object_id, t.start_byte, t.credential, t.request_id
            ), manifest as (
                insert into fragment (tenant_id, session_id, start_byte, end_byte, object_id, object_offset, crc32c)
                select c.tenant_id, c.session_id, p.start_byte, p.end_byte, c.object_id, p.start_byte - c.start_byte,
                       p.crc32c
                from changed c join piece p using (member)
            ), queued as (
                -- Attempts that failed have left objects behind; once no writer can be left, they are dropped.
                insert into reclaim (tenant_id, session_id, due_time, final_time)
                select tenant_id, session_id, time + $15, time + $15 from changed where state = 'completed'
            ), audited as (
                insert into audit
                    (audit_time, tenant_id, session_id, document_id, action, actor, credential, request_id)
                select time, tenant_id, session_id, document_id, 'complete', owner, credential, request_id
                from changed where state = 'completed'
            )
            select asked.member as "member!", timed.member is not null as "is_locked!", state as "state?",
                   changed.expire_time as "expire_time?",
                   case when changed.member is not null then
                       array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r)
                   end as "missing?: Vec<PgRange<i64>>"
            from asked left join timed using (member) left join changed on changed.member = asked.member
            "#,
            &columns.tenants,
            &columns.sessions,
            &columns.starts,
            &columns.ends,
            &columns.checksums,
            &columns.objects,
            &columns.credentials,
            &columns.request_ids,
            &columns.piece_members,
            &columns.piece_starts,
            &columns.piece_ends,
            &columns.piece_checksums,
            interval($terms.idle_timeout),
            i32::try_from($terms.max_fragments).unwrap_or(i32::MAX),
            interval($terms.writer_grace),
            BYTES_PER_PIECE as i64,
            BASE_PIECES as i64,
            &columns.url_generations as _,
        )
    }};
}

impl Operation for CommitRange {
    type Answer = Option<Committed>;
    // A second commit of the same range changes nothing, and so does not say whether the first one did.
    const IS_REPEATABLE: bool = false;

    fn tenant(&self) -> TenantId {
        self.owned.tenant()
    }

    fn changes(&self) -> Option<SessionId> {
        Some(self.owned.id())
    }

    async fn run_batch(
        connection: &mut PgConnection,
        terms: &Terms,
        batch: &[Self],
    ) -> Result<Vec<Option<Answer<Self>>>, sqlx::Error> {
        let query = commit_ranges!("skip locked", batch, terms);
        let rows = query.fetch_all(connection).await?;
        crash_point!("range.committed");
        let mut answers: Vec<_> = batch.iter().map(|_| None).collect();
        for row in rows {
            let (commit, answer) = member(batch, &mut answers, row.member);
            if row.is_locked {
                *answer = Some(row.into_committed(commit.owned.id()));
            }
        }
        Ok(answers)
    }

    async fn run_alone(self, database: &Database, terms: &Terms) -> Answer<Self> {
        let session = self.owned.id();
        let batch = [self];
        let query = commit_ranges!("", &batch, terms);
        let run = async |connection: &mut PgConnection| query.fetch_one(connection).await;
        let row = database.statement(Span::current(), run).await?;
        crash_point!("range.committed");
        row.into_committed(session)
    }
}

impl CommittedRow {
    fn into_committed(self, session: SessionId) -> Result<Option<Committed>, Error> {
        let corrupt = |column| corrupt("upload_session", column, session);
        let (Some(state), Some(expire_time), Some(missing)) = (self.state, self.expire_time, self.missing) else {
            return Ok(None);
        };
        Ok(Some(Committed {
            state: State::parse(&state).ok_or_else(|| corrupt("state"))?,
            expire_time: system_time(expire_time),
            missing: byte_ranges(&missing).ok_or_else(|| corrupt("received"))?,
        }))
    }
}

impl Columns {
    fn of(batch: &[CommitRange]) -> Self {
        let mut columns = Self::default();
        for (member, CommitRange { owned, new, request_id }) in (1..).zip(batch) {
            columns.tenants.push(owned.tenant().0);
            columns.sessions.push(owned.id().0);
            columns.starts.push(new.range.start() as i64);
            columns.ends.push(new.range.end() as i64);
            columns.checksums.push(new.crc32c.into());
            columns.objects.push(new.object);
            columns.credentials.push(owned.credential().as_str().to_owned());
            columns.request_ids.push(request_id.clone());
            columns.url_generations.push(owned.url_generation().map(|generation| generation as i32));
            for piece in &new.pieces {
                columns.piece_members.push(member);
                columns.piece_starts.push(piece.range.start() as i64);
                columns.piece_ends.push(piece.range.end() as i64);
                columns.piece_checksums.push(piece.crc32c.into());
            }
        }
        columns
    }
}
