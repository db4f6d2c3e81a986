//! What must be true once a history is over and every session of it has ended: nothing is left behind, and the
//! database, the store and the audit trail agree.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::Path,
};

use sqlx::PgConnection;
use uuid::Uuid;

/// A session as the database has it.
#[derive(Debug, sqlx::FromRow)]
struct SessionRow {
    session_id: Uuid,
    document_id: Uuid,
    state: String,
    /// Whether its job was deleted: then its bytes were freed.
    is_freed: bool,
    is_queued: bool,
    objects: Vec<Uuid>,
    actions: Vec<String>,
}

/// Checks the sessions of these documents. Returns what is wrong, a sentence each.
pub async fn check(
    connection: &mut PgConnection,
    objects_folder: &Path,
    documents: &[Uuid],
) -> anyhow::Result<HashMap<Uuid, Vec<String>>> {
    let sessions: Vec<SessionRow> = sqlx::query_as(
        "select s.session_id, s.document_id, s.state, j.delete_time is not null as is_freed,
                exists (select from reclaim r where (r.tenant_id, r.session_id) = (s.tenant_id, s.session_id)) as is_queued,
                array(select distinct f.object_id from fragment f
                      where (f.tenant_id, f.session_id) = (s.tenant_id, s.session_id)) as objects,
                array(select a.action from audit a
                      where (a.tenant_id, a.session_id) = (s.tenant_id, s.session_id) order by a.audit_id) as actions
         from upload_session s
         join print_document d using (tenant_id, document_id)
         join print_job j using (tenant_id, printer_id, job_id)
         where s.document_id = any($1)",
    )
    .bind(documents)
    .fetch_all(connection)
    .await?;
    let mut problems: HashMap<Uuid, Vec<String>> = HashMap::new();
    for session in &sessions {
        let files = files_in(&objects_folder.join(session.session_id.to_string()))?;
        let wrong = session.problems(files.as_ref());
        if !wrong.is_empty() {
            problems.entry(session.document_id).or_default().extend(wrong);
        }
    }
    Ok(problems)
}

impl SessionRow {
    fn problems(&self, files: Option<&BTreeSet<String>>) -> Vec<String> {
        let id = self.session_id;
        let mut problems = Vec::new();
        if self.state == "active" {
            problems.push(format!("session {id} is still active, long after it must have expired"));
        }
        if self.is_queued {
            problems.push(format!("session {id} is still queued for reclaiming"));
        }
        let keeps_bytes = self.state == "completed" && !self.is_freed;
        let kept = self.objects.iter().map(Uuid::to_string).collect::<BTreeSet<_>>();
        let expected = keeps_bytes.then_some(&kept);
        if files != expected {
            problems.push(format!("session {id} ({}) has the files {files:?}, not {expected:?}", self.state));
        }
        let expected = self.expected_actions();
        if self.actions != expected {
            problems.push(format!(
                "session {id} ({}) has the audit trail {:?}, not {expected:?}",
                self.state, self.actions
            ));
        }
        problems
    }

    /// The audit trail that fits the state.
    fn expected_actions(&self) -> Vec<&'static str> {
        match self.state.as_str() {
            "completed" if self.is_freed => vec!["create", "complete", "free"],
            "completed" => vec!["create", "complete"],
            "canceled" => vec!["create", "cancel"],
            "expired" => vec!["create", "expire"],
            _ => vec!["create"],
        }
    }
}

/// The names of the files in a folder, or `None` if there is no such folder.
fn files_in(folder: &Path) -> io::Result<Option<BTreeSet<String>>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<_>>().map(Some)
}
