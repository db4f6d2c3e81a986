//! Reads what a range needs to know of its session, for many ranges at once.

use sqlx::{PgConnection, postgres::types::PgRange};

use super::{
    Error, Terms,
    batch::{Answer, Operation, member},
    corrupt,
    range::{byte_range, byte_ranges},
};
use crate::{
    name::{SessionId, TenantId},
    range::ByteRange,
    session::{RangeView, State},
};

/// Reads a session for one of its ranges.
#[derive(Debug, Clone)]
pub(super) struct ViewRange {
    pub(super) tenant: TenantId,
    pub(super) session: SessionId,
    pub(super) range: ByteRange,
}

struct RangeViewRow {
    member: i64,
    state: String,
    is_overdue: bool,
    size_bytes: i64,
    fragment_count: i32,
    completing_range: Option<PgRange<i64>>,
    completing_crc32c: Option<i64>,
    new: Vec<PgRange<i64>>,
    url_generation: i32,
}

impl Operation for ViewRange {
    type Answer = Option<RangeView>;
    const IS_REPEATABLE: bool = true;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn run_batch(
        connection: &mut PgConnection,
        _: &Terms,
        batch: &[Self],
    ) -> Result<Vec<Option<Answer<Self>>>, sqlx::Error> {
        let (tenants, ids): (Vec<_>, Vec<_>) = batch.iter().map(|view| (view.tenant.0, view.session.0)).unzip();
        let (starts, ends): (Vec<_>, Vec<_>) =
            batch.iter().map(|view| (view.range.start() as i64, view.range.end() as i64)).unzip();
        let query = sqlx::query_as!(
            RangeViewRow,
            r#"
            select member as "member!", state, state = 'active' and expire_time <= now() as "is_overdue!",
                   size_bytes, fragment_count, completing_range, completing_crc32c, url_generation,
                   new as "new!: Vec<PgRange<i64>>"
            from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[]) with ordinality
                 as asked (tenant_id, session_id, start_byte, end_byte, member)
            -- `offset 0`: a look-up by key for each, whatever Postgres makes of the arrays.
            cross join lateral (
                select s.*, array(
                    select r from unnest(int8multirange(int8range(asked.start_byte, asked.end_byte)) - received) r
                ) as new
                from upload_session s
                where (s.tenant_id, s.session_id) = (asked.tenant_id, asked.session_id) offset 0
            ) s
            "#,
            &tenants,
            &ids,
            &starts,
            &ends,
        );
        let mut answers: Vec<_> = batch.iter().map(|_| Some(Ok(None))).collect();
        for row in query.fetch_all(connection).await? {
            let (view, answer) = member(batch, &mut answers, row.member);
            *answer = Some(row.into_view(view.session).map(Some));
        }
        Ok(answers)
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
            url_generation: u32::try_from(self.url_generation).map_err(|_| corrupt("url_generation"))?,
        })
    }
}
