//! Reads sessions, many at once.

use sqlx::{PgConnection, postgres::types::PgRange};

use super::{
    Terms,
    batch::{Answer, Operation, member},
    session::SessionRow,
};
use crate::{
    name::{SessionId, TenantId},
    session::UploadSession,
};

/// Reads a session, and whether its tenant has an active subscription.
#[derive(Debug, Clone)]
pub(super) struct ReadSession {
    pub(super) tenant: TenantId,
    pub(super) id: SessionId,
}

/// What was read of a session.
#[derive(Debug)]
pub(super) struct SessionRead {
    pub(super) subscription_active: bool,
    pub(super) session: UploadSession,
}

impl Operation for ReadSession {
    type Answer = Option<SessionRead>;
    const IS_REPEATABLE: bool = true;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn run_batch(
        connection: &mut PgConnection,
        _: &Terms,
        batch: &[Self],
    ) -> Result<Vec<Option<Answer<Self>>>, sqlx::Error> {
        let (tenants, ids): (Vec<_>, Vec<_>) = batch.iter().map(|read| (read.tenant.0, read.id.0)).unzip();
        let query = sqlx::query!(
            r#"
            select member as "member!", subscription_active as "subscription_active!", session_id, s.document_id,
                   printer_id, job_id, owner, document_name, content_type, size_bytes, state,
                   state = 'active' and expire_time <= now() as "is_overdue!", missing as "missing!: Vec<PgRange<i64>>",
                   create_time, expire_time, expire_limit, end_time, ended_by, end_reason, url_generation
            from unnest($1::uuid[], $2::uuid[]) with ordinality as asked (tenant_id, id, member)
            -- `offset 0`: a look-up by key for each, whatever Postgres makes of the arrays.
            cross join lateral (
                select subscription_active and delete_time is null as subscription_active from tenant
                where tenant_id = asked.tenant_id offset 0
            ) t
            cross join lateral (
                select *, array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r) as missing
                from upload_session
                where tenant_id = asked.tenant_id and session_id = asked.id offset 0
            ) s
            cross join lateral (
                select printer_id, job_id from print_document d
                where (d.tenant_id, d.document_id) = (s.tenant_id, s.document_id) offset 0
            ) d
            "#,
            &tenants,
            &ids,
        );
        let mut answers: Vec<_> = batch.iter().map(|_| Some(Ok(None))).collect();
        for row in query.fetch_all(connection).await? {
            let (_, answer) = member(batch, &mut answers, row.member);
            let session = SessionRow {
                session_id: row.session_id,
                document_id: row.document_id,
                printer_id: row.printer_id,
                job_id: row.job_id,
                owner: row.owner,
                document_name: row.document_name,
                content_type: row.content_type,
                size_bytes: row.size_bytes,
                state: row.state,
                is_overdue: row.is_overdue,
                missing: row.missing,
                create_time: row.create_time,
                expire_time: row.expire_time,
                expire_limit: row.expire_limit,
                end_time: row.end_time,
                ended_by: row.ended_by,
                end_reason: row.end_reason,
                url_generation: row.url_generation,
            };
            let subscription_active = row.subscription_active;
            *answer = Some(session.into_session().map(|session| Some(SessionRead { subscription_active, session })));
        }
        Ok(answers)
    }
}
