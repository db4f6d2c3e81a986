//! Resolves a name to its resource, with one read, for the guard.

use std::sync::Arc;

use sqlx::PgConnection;
use tracing::debug_span;
use uuid::Uuid;

use super::{
    Error, Store, Terms,
    batch::{Answer, Operation, member},
    corrupt,
    find_document::FindDocument,
    read_session::{ReadSession, SessionRead},
};
use crate::{
    name::{DocumentId, JobName, Queue, SessionId, TenantId},
    session::{Caller, Document, Principal, Printer, Session},
};

/// The result for the name of a printer or share.
#[derive(Debug)]
pub struct FoundPrinter {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The printer, named itself or through its share, if it exists.
    pub printer: Option<Printer>,
}

/// The result for the name of a job, or of its document.
#[derive(Debug, Default)]
pub struct FoundDocument {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The job's document, if it exists.
    pub document: Option<Document>,
    /// Whether the job has a print task in `processing` that the calling application's own trigger started.
    pub has_own_task: bool,
    /// The session that `{document}/uploadSession` means for the caller, if it exists.
    pub session: Option<Session>,
}

/// The result for a session's id.
#[derive(Debug)]
pub struct FoundSession {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The session, if it exists.
    pub session: Option<Session>,
}

/// Which session of a document to find.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// The caller's active one, else the caller's latest one, else another owner's.
    Latest,
    /// The one with this id, or none.
    WithEtag(SessionId),
}

/// What a session or document is resolved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To cancel it. Cancels have queues and connections of their own: no other call can delay them.
    Cancel,
    /// To read the session. All of it is read at once.
    Read,
    /// Anything else.
    Other,
}

/// Finds a session by its id.
#[derive(Debug, Clone)]
pub(super) struct FindSession {
    tenant: TenantId,
    id: SessionId,
}

impl Store {
    /// Resolves the name of a printer or share.
    pub async fn printer_of(&self, tenant: TenantId, queue: &Queue) -> Result<FoundPrinter, Error> {
        let (printer, share) = printer_or_share(queue);
        let query = sqlx::query!(
            r#"
            -- A program that does not know the mark can have given the subscription back.
            select t.subscription_active and t.delete_time is null as "subscription_active!",
                   p.printer_id as "printer_id?"
            from tenant t
            left join printer_share h on h.tenant_id = t.tenant_id and h.share_id = $3
            left join printer p on p.tenant_id = t.tenant_id and p.printer_id = coalesce(h.printer_id, $2)
            where t.tenant_id = $1
            "#,
            tenant.0,
            printer,
            share,
        );
        let span = debug_span!("store.printer_of");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;

        let Some(row) = row else { return Ok(FoundPrinter { subscription_active: false, printer: None }) };
        let printer = row.printer_id.map(|id| Printer { tenant, id });
        Ok(FoundPrinter { subscription_active: row.subscription_active, printer })
    }

    /// Resolves the name of a job, or of its document if `document` is given. With `wanted`, also finds a session of the
    /// document.
    pub async fn document_of(
        &self,
        caller: &Caller,
        job: &JobName,
        document: Option<DocumentId>,
        wanted: Option<Wanted>,
        purpose: Purpose,
    ) -> Result<FoundDocument, Error> {
        let find = FindDocument { caller: caller.clone(), job: job.clone(), document, wanted };
        self.batchers.find_document(purpose).answer(debug_span!("store.document_of"), find).await
    }

    /// Resolves a session's id.
    pub async fn session_by_id(
        &self,
        tenant: TenantId,
        id: SessionId,
        purpose: Purpose,
    ) -> Result<FoundSession, Error> {
        if purpose == Purpose::Read {
            let read = self.batchers.read_session.answer(debug_span!("store.read_session"), ReadSession { tenant, id });
            if let Some(SessionRead { subscription_active, session }) = read.await? {
                let (owner, url_generation) = (session.owner.clone(), session.url_generation);
                let session = Session { tenant, id, owner, url_generation, contents: Some(Arc::new(session)) };
                return Ok(FoundSession { subscription_active, session: Some(session) });
            }
        }
        let find = FindSession { tenant, id };
        self.batchers.find_session(purpose).answer(debug_span!("store.session_by_id"), find).await
    }
}

impl Operation for FindSession {
    type Answer = FoundSession;
    const IS_REPEATABLE: bool = true;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn run_batch(
        connection: &mut PgConnection,
        _: &Terms,
        batch: &[Self],
    ) -> Result<Vec<Option<Answer<Self>>>, sqlx::Error> {
        let (tenants, ids): (Vec<_>, Vec<_>) = batch.iter().map(|find| (find.tenant.0, find.id.0)).unzip();
        let query = sqlx::query!(
            r#"
            select member as "member!", subscription_active as "subscription_active!",
                   session_id as "session_id?", owner as "owner?", url_generation as "url_generation?"
            from unnest($1::uuid[], $2::uuid[]) with ordinality as asked (tenant_id, id, member)
            cross join lateral (
                select subscription_active and delete_time is null as subscription_active from tenant
                where tenant_id = asked.tenant_id offset 0
            ) t
            -- `offset 0`: a look-up by key for each, whatever Postgres makes of the arrays.
            left join lateral (
                select session_id, owner, url_generation from upload_session
                where tenant_id = asked.tenant_id and session_id = asked.id offset 0
            ) s on true
            "#,
            &tenants,
            &ids,
        );
        let none = |_: &Self| Some(Ok(FoundSession { subscription_active: false, session: None }));
        let mut answers: Vec<_> = batch.iter().map(none).collect();
        for row in query.fetch_all(connection).await? {
            let (find, answer) = member(batch, &mut answers, row.member);
            let session = session(find.tenant, row.session_id, row.owner, row.url_generation);
            *answer =
                Some(session.map(|session| FoundSession { subscription_active: row.subscription_active, session }));
        }
        Ok(answers)
    }
}

pub(super) fn printer_or_share(queue: &Queue) -> (Option<&String>, Option<&String>) {
    match queue {
        Queue::Printer(printer) => (Some(printer), None),
        Queue::Share(share) => (None, Some(share)),
    }
}

pub(super) fn session(
    tenant: TenantId,
    id: Option<Uuid>,
    owner: Option<String>,
    url_generation: Option<i32>,
) -> Result<Option<Session>, Error> {
    let (Some(id), Some(owner), Some(url_generation)) = (id.map(SessionId), owner, url_generation) else {
        return Ok(None);
    };
    let corrupt = |column| corrupt("upload_session", column, id);
    let owner = Principal::parse(&owner).ok_or_else(|| corrupt("owner"))?;
    let url_generation = u32::try_from(url_generation).map_err(|_| corrupt("url_generation"))?;
    Ok(Some(Session { tenant, id, owner, url_generation, contents: None }))
}
