//! One client of a history: runs its steps, and records every call.

use std::{sync::atomic::Ordering, time::Duration};

use print_upload_client::{Credential, proto::DocumentProperties};
use tokio::time::timeout;

use super::{
    call::{Actor, Call, Outcome, SentRange, Target},
    content::{self, DOCUMENT_BYTES},
    grpc::{Grpc, now},
    history::Recorded,
    model::Content,
    recorder::{Known, Recorder},
    rest::Rest,
    script::{Action, Naming, Step, Via},
};
use crate::sample;

/// How long a client waits for an answer. Then it hangs up, and the outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(3);

/// The revision of a deletion: newer than every other.
const DELETION: i64 = i64::MAX;

/// One client. It remembers its last range.
pub struct Client<'a> {
    recorder: &'a Recorder,
    number: usize,
    actor: Actor,
    last: Option<SentRange>,
    last_content: Content,
}

impl<'a> Client<'a> {
    pub fn new(recorder: &'a Recorder, number: usize, actor: Actor) -> Self {
        Self { recorder, number, actor, last: None, last_content: 0 }
    }

    pub async fn step(&mut self, step: Step) {
        let via = step.via;
        match step.action {
            Action::Create { variant } => self.create(via, variant).await,
            Action::Send { which, cells, has_digest, stall } => {
                let Some(known) = self.recorder.known(which) else { return };
                self.last_content = self.recorder.contents.fetch_add(1, Ordering::Relaxed);
                let bytes = content::bytes_of(cells.clone(), self.last_content);
                self.send(via, &known, SentRange { session: known.id, cells, bytes, has_digest, stall }).await;
            }
            Action::Repeat { has_digest } => {
                let Some(last) = self.last.clone() else { return };
                let known = self.recorder.sessions.lock().iter().find(|known| known.id == last.session).cloned();
                let Some(known) = known else { return };
                self.send(via, &known, SentRange { has_digest, stall: Duration::ZERO, ..last }).await;
            }
            Action::Get { by } => {
                let Some((target, known)) = self.target(by) else { return };
                self.get(via, target, known.as_ref()).await;
            }
            Action::Delete { by } => {
                let Some((target, known)) = self.target(by) else { return };
                self.delete(via, target, known.as_ref()).await;
            }
            Action::CancelJob => self.cancel_job(via).await,
            Action::DeleteJob => self.delete_job(via).await,
            Action::Download => {
                self.download(via).await;
            }
        }
    }

    /// What a naming means at the moment, and the upload URL if it is used.
    fn target(&self, by: Naming) -> Option<(Target, Option<Known>)> {
        match by {
            Naming::Document => Some((Target::Name, None)),
            Naming::Id(which) => Some((Target::Id(self.recorder.known(which)?.id), None)),
            Naming::UploadUrl(which) => {
                let known = self.recorder.known(which)?;
                Some((Target::Id(known.id), Some(known)))
            }
        }
    }

    async fn create(&mut self, via: Via, variant: u8) {
        let properties = DocumentProperties {
            document_name: format!("variant {variant}"),
            content_type: "application/pdf".into(),
            size_bytes: DOCUMENT_BYTES as i64,
        };
        let document = self.recorder.document_name();
        let mut upload_url = None;
        let call = Call::Create { by: self.actor, variant };
        let outcome = self.record(via, call, async {
            let (outcome, url) = match via {
                Via::Replica(replica) => self.grpc(replica).create(&document, &properties).await,
                Via::Gateway => self.rest().create(&document, &properties).await,
            };
            upload_url = url;
            outcome
        });
        let outcome = outcome.await;
        self.recorder.learn(&outcome, upload_url, self.actor);
    }

    async fn send(&mut self, via: Via, known: &Known, mut range: SentRange) {
        // Over REST there is no digest.
        range.has_digest &= via != Via::Gateway;
        let SentRange { session, cells, has_digest, .. } = range.clone();
        let call = Call::Send { session, cells, content: self.last_content, has_digest };
        self.last = Some(range.clone());
        self.record(via, call, async {
            match via {
                Via::Replica(replica) if known.owner == self.actor => self.grpc(replica).send(range).await,
                Via::Replica(replica) => match self.with_upload_url(replica, known) {
                    Ok(holder) => holder.send(range).await,
                    Err(_) => Outcome::Nothing,
                },
                Via::Gateway => self.rest().send(&known.upload_url, range).await,
            }
        })
        .await;
    }

    /// With `known`, by its upload URL: then its holder is its owner.
    pub async fn get(&mut self, via: Via, target: Target, known: Option<&Known>) -> Outcome {
        let via = self.possible(via, target, known);
        let call = Call::Get { by: known.map_or(self.actor, |known| known.owner), target };
        let document = self.recorder.document_name();
        let name = session_name(target, &document);
        self.record(via, call, async {
            match (via, known) {
                (Via::Replica(replica), None) => self.grpc(replica).get(&name).await,
                (Via::Replica(replica), Some(known)) => match self.with_upload_url(replica, known) {
                    Ok(holder) => holder.get(&name).await,
                    Err(_) => Outcome::Nothing,
                },
                (Via::Gateway, None) => self.rest().get_by_document(&document).await,
                (Via::Gateway, Some(known)) => self.rest().get_by_url(&known.upload_url).await,
            }
        })
        .await
    }

    async fn delete(&mut self, via: Via, target: Target, known: Option<&Known>) {
        let via = self.possible(via, target, known);
        let call = Call::Delete { by: known.map_or(self.actor, |known| known.owner), target };
        let document = self.recorder.document_name();
        let name = session_name(target, &document);
        self.record(via, call, async {
            match (via, known) {
                (Via::Replica(replica), None) => self.grpc(replica).delete(&name).await,
                (Via::Replica(replica), Some(known)) => match self.with_upload_url(replica, known) {
                    Ok(holder) => holder.delete(&name).await,
                    Err(_) => Outcome::Nothing,
                },
                (Via::Gateway, None) => self.rest().delete_by_document(&document).await,
                (Via::Gateway, Some(known)) => self.rest().delete_by_url(&known.upload_url).await,
            }
        })
        .await;
    }

    async fn cancel_job(&mut self, via: Via) {
        let job = self.recorder.job_name();
        let callers = &self.recorder.callers;
        self.record(via, Call::CancelJob, async {
            match via {
                Via::Replica(replica) => callers.grpc[&(replica, Actor::Creator)].cancel_job(&job).await,
                Via::Gateway => callers.rest[&Actor::Creator].cancel_job(&job).await,
            }
        })
        .await;
    }

    async fn delete_job(&mut self, via: Via) {
        let job = format!("tenants/{}/{}", sample::TENANT, self.recorder.job_name());
        let replica = if let Via::Replica(replica) = via { replica } else { 0 };
        let catalog = &self.recorder.callers.catalog[replica];
        self.record(Via::Replica(replica), Call::DeleteJob, catalog.delete_job(&job, DELETION)).await;
    }

    pub async fn download(&mut self, via: Via) -> Outcome {
        let document = self.recorder.document_name();
        self.record(via, Call::Download, async {
            match via {
                Via::Replica(replica) => self.grpc(replica).download(&document).await,
                Via::Gateway => self.rest().download(&document).await,
            }
        })
        .await
    }

    /// Over REST a session has no name besides its document's and its upload URL.
    fn possible(&self, via: Via, target: Target, known: Option<&Known>) -> Via {
        match (via, target, known) {
            (Via::Gateway, Target::Id(_), None) => Via::Replica(self.number % 2),
            (via, ..) => via,
        }
    }

    fn grpc(&self, replica: usize) -> &Grpc {
        &self.recorder.callers.grpc[&(replica, self.actor)]
    }

    fn rest(&self) -> &Rest {
        &self.recorder.callers.rest[&self.actor]
    }

    fn with_upload_url(&self, replica: usize, known: &Known) -> anyhow::Result<Grpc> {
        let transport = self.recorder.callers.transports[replica].clone();
        Ok(Grpc::over(transport, Credential::of_upload_url(&known.upload_url)?))
    }

    async fn record(&self, via: Via, call: Call, answer: impl Future<Output = Outcome>) -> Outcome {
        let invoked = now();
        let outcome = timeout(PATIENCE, answer).await.unwrap_or(Outcome::Unknown);
        let (client, via, answered) = (self.number, via.name(), now());
        let recorded = Recorded { client, via, call, outcome: outcome.clone(), invoked, answered };
        self.recorder.recorded.lock().push(recorded);
        outcome
    }
}

impl Via {
    fn name(self) -> &'static str {
        match self {
            Self::Replica(0) => "replica 0",
            Self::Replica(_) => "replica 1",
            Self::Gateway => "gateway",
        }
    }
}

fn session_name(target: Target, document: &str) -> String {
    match target {
        Target::Id(id) => format!("uploadSessions/{id}"),
        Target::Name => format!("{document}/uploadSession"),
    }
}
