//! Records a history: its document, what its clients know of it, and every call.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU16},
    time::Duration,
};

use parking_lot::Mutex;
use print_upload_client::Transport;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    call::{Actor, Outcome, Target},
    client::Client,
    grpc::Grpc,
    history::Recorded,
    rest::Rest,
    script::{Script, Via, Which},
};
use crate::sample;

/// How long a client waits after a call whose outcome is unknown.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(150);

/// How often a read is tried at the end.
const READ_TRIES: usize = 20;

/// The callers of a system, shared by all histories.
pub struct Callers {
    /// By replica and actor.
    pub grpc: HashMap<(usize, Actor), Grpc>,
    /// By replica: the application that maintains the catalog.
    pub catalog: Vec<Grpc>,
    pub rest: HashMap<Actor, Rest>,
    /// By replica.
    pub transports: Vec<Transport>,
}

/// Records the calls on one document.
pub struct Recorder {
    pub callers: Arc<Callers>,
    pub job: String,
    pub document: Uuid,
    /// Oldest first.
    pub sessions: Mutex<Vec<Known>>,
    pub recorded: Mutex<Vec<Recorded>>,
    /// The next content that no client has sent yet.
    pub contents: AtomicU16,
}

/// A session that an answer has named.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: Uuid,
    pub upload_url: String,
    pub owner: Actor,
}

impl Recorder {
    pub fn new(callers: Arc<Callers>, job: String, document: Uuid) -> Self {
        let (sessions, recorded, contents) = (Mutex::default(), Mutex::default(), AtomicU16::new(1));
        Self { callers, job, document, sessions, recorded, contents }
    }

    /// Runs a script to its end.
    pub async fn run(&self, number: usize, script: Script) {
        let mut client = Client::new(self, number, script.actor);
        for step in script.steps {
            sleep(step.pause).await;
            client.step(step).await;
            // While nothing answers, the script must not be used up.
            if self.recorded.lock().last().is_some_and(|call| call.outcome == Outcome::Unknown) {
                sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    /// Reads everything once more, as every actor, until each read is answered.
    pub async fn read_everything(&self, number: usize) {
        for actor in Actor::ALL {
            let mut client = Client::new(self, number, actor);
            let targets = self.sessions.lock().clone();
            let own = targets.iter().filter(|known| known.owner == actor).map(|known| Target::Id(known.id));
            for target in own.chain([Target::Name]) {
                for _ in 0..READ_TRIES {
                    if client.get(Via::Replica(0), target, None).await != Outcome::Unknown {
                        break;
                    }
                }
            }
        }
        let mut client = Client::new(self, number, Actor::Other);
        for _ in 0..READ_TRIES {
            if client.download(Via::Replica(1)).await != Outcome::Unknown {
                break;
            }
        }
    }

    pub fn into_calls(self) -> Vec<Recorded> {
        self.recorded.into_inner()
    }

    pub fn job_name(&self) -> String {
        format!("printers/{}/jobs/{}", sample::PRINTER, self.job)
    }

    pub fn document_name(&self) -> String {
        format!("{}/documents/{}", self.job_name(), self.document)
    }

    pub fn known(&self, which: Which) -> Option<Known> {
        let sessions = self.sessions.lock();
        match which {
            Which::Latest => sessions.last().cloned(),
            Which::Older => sessions.iter().rev().nth(1).or(sessions.last()).cloned(),
        }
    }

    pub fn learn(&self, outcome: &Outcome, upload_url: Option<String>, owner: Actor) {
        let (Outcome::Session(seen), Some(upload_url)) = (outcome, upload_url) else { return };
        let Some(id) = seen.id else { return };
        let mut sessions = self.sessions.lock();
        if !sessions.iter().any(|known| known.id == id) {
            sessions.push(Known { id, upload_url, owner });
        }
    }
}
