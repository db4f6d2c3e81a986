//! Creates jobs and sessions within the limits of their printer, their user and their tenant.
//!
//! The limits of printers and users are exact. Creates that count the same wait for each other: by locks that Postgres
//! holds until the end of the transaction, of the printer first and then of the user, before the job's row is locked.
//! What is used is counted from rows, under the locks. There is no counter. So what ends a session frees what it held,
//! and writes nothing for that. Without such limits nothing is locked or counted, and a create is one statement.

use time::OffsetDateTime;
use tracing::Span;

use super::{Error, NewPrintJob, Store, database::Transaction, uses::SessionUses};
use crate::{
    name::{SessionId, TenantId},
    quotas::{Reached, first_reached},
    session::{PermittedDocument, PermittedPrinter, Principal, Properties, UploadSession},
};

/// Why nothing was created. The transaction is rolled back.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Error),
    Reached(Reached),
}

/// What a create counts, as the names of its locks.
struct Keys {
    printer: Option<String>,
    user: Option<String>,
}

impl Store {
    /// Inserts a job, unless a limit is reached. Returns its time; `None` if there is a job with the same id, or one of
    /// an earlier request with the same id.
    pub(super) async fn create_within_limits(
        &self,
        permitted: &PermittedPrinter,
        job: &str,
        new: &NewPrintJob,
    ) -> Result<Option<OffsetDateTime>, Stop> {
        let (printer, creator) = (permitted.printer(), &permitted.caller().principal);
        let quotas = self.terms.quotas.of(creator);
        let keys = Keys {
            printer: quotas.limits_printer().then(|| printer_key(printer.tenant, &printer.id)),
            user: quotas.limits_user_jobs().then(|| user_key(printer.tenant, creator)),
        };
        if keys.is_empty() {
            return Ok(self.insert_print_job(None, permitted, job, new).await?);
        }
        let _turn = self.turns.take(&keys.in_turn()).await?;
        let created = self.database.transaction(Span::current(), async |transaction| {
            keys.lock(transaction).await?;
            let counted = self.count_for_job(transaction, permitted, new, &quotas).await?;
            match first_reached(counted.uses) {
                Some(reached) if !counted.is_repeated => Err(Stop::Reached(reached)),
                _ => Ok(self.insert_print_job(Some(transaction), permitted, job, new).await?),
            }
        });
        let created: Result<_, Stop> = created.await;
        let created = created?;
        crash_point!("job_create.committed");
        Ok(created)
    }

    /// Opens a session, as [`Store::open_session`] does, unless a limit of its printer or its user is reached.
    pub(super) async fn open_within_limits(
        &self,
        permitted: &PermittedDocument,
        id: SessionId,
        properties: &Properties,
        request_id: &str,
    ) -> Result<Option<UploadSession>, Stop> {
        let (document, owner) = (permitted.document(), &permitted.caller().principal);
        let quotas = self.terms.quotas.of(owner);
        let keys = Keys {
            printer: quotas.limits_waiting_jobs().then(|| printer_key(document.tenant, &document.job.printer)),
            user: quotas.limits_user_bytes().then(|| user_key(document.tenant, owner)),
        };
        if keys.is_empty() {
            return Ok(self.open_session(None, permitted, id, properties, request_id).await?);
        }
        let _turn = self.turns.take(&keys.in_turn()).await?;
        let opened = self.database.transaction(Span::current(), async |transaction| {
            keys.lock(transaction).await?;
            let counted = self.count_for_session(transaction, permitted, properties, &quotas).await?;
            // If the job is deleted, nothing is counted or created.
            let reached = counted.as_ref().and_then(|counted| first_reached(counted.uses));
            if let (Some(reached), Some(SessionUses { would_create: true, .. })) = (reached, &counted) {
                return Err(Stop::Reached(reached));
            }
            let opened = self.open_session(Some(transaction), permitted, id, properties, request_id).await?;
            match reached {
                // The document's session has ended since it was counted.
                Some(reached) if opened.as_ref().is_some_and(|session| session.id == id) => Err(Stop::Reached(reached)),
                _ => Ok(opened),
            }
        });
        let opened: Result<_, Stop> = opened.await;
        let opened = opened?;
        crash_point!("create.committed");
        Ok(opened)
    }
}

impl Keys {
    fn is_empty(&self) -> bool {
        self.printer.is_none() && self.user.is_none()
    }

    /// For the turn on this replica. Users first: one with many calls does not keep others from a printer.
    fn in_turn(&self) -> Vec<&str> {
        [&self.user, &self.printer].into_iter().flatten().map(String::as_str).collect()
    }

    /// Locks the printer, then the user, until the end of the transaction. A missing one is not locked.
    async fn lock(&self, transaction: &mut Transaction) -> Result<(), Error> {
        let query = sqlx::query!(
            "with printer as materialized (select pg_advisory_xact_lock(hashtextextended($1::text, 0)))
             select pg_advisory_xact_lock(hashtextextended($2::text, 0)) from printer",
            self.printer.as_deref(),
            self.user.as_deref(),
        );
        transaction.statement(async |connection| query.execute(connection).await).await?;
        Ok(())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn printer_key(tenant: TenantId, printer: &str) -> String {
    format!("printer {} {printer}", tenant.0)
}

fn user_key(tenant: TenantId, user: &Principal) -> String {
    format!("user {} {user}", tenant.0)
}
