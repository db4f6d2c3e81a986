//! Statements that answer many callers at once. One statement for 32 calls costs Postgres, and the disk, little more
//! than one for a single call.
//!
//! ```text
//!   callers ─ answer ─> queue ─ take ─> batch ─ one statement on the batcher's own connection ─> an answer for each
//!                                         └─ skipped, or refused as a batch ─> alone, on a connection of the pool
//! ```
//!
//! Each kind of operation has a [`Batcher`], with a queue and connections of its own. While one batch runs, the
//! operations of later callers gather for the next one. So an operation that is alone waits for nothing. If many changes
//! have gathered, the next batch begins while the first is committed.
//!
//! - A batch for callers never waits for a row: it skips rows that another transaction has locked. The operations that
//!   were skipped run alone, and wait.
//! - If Postgres refuses a batch, nothing of it was done, and each of its operations runs alone. So a bad operation does
//!   not harm the others.
//! - If the connection is lost, nobody knows whether the batch was done. It runs once more if that does no harm;
//!   otherwise each caller gets an error.
//! - An operation is served to the end, also if its caller has gone.
//! - A batch that takes long does not hold up the next one: that runs on another connection. If all batches that may run
//!   hang, those who wait for the next one get an error after a while: nothing of theirs was done.

mod queue;

use std::{fmt::Debug, mem, sync::Arc, time::Duration};

use metrics::histogram;
use parking_lot::Mutex;
use sqlx::PgConnection;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument, Span};

use self::queue::Queue;
use super::{
    BatchLimits, Error, Terms,
    database::{ACQUIRE_TIMEOUT, BatchConnection, Database, statement_span},
};
use crate::{
    name::{SessionId, TenantId},
    telemetry::meters,
};

/// How long a batch may take before the next one begins on another connection.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many batches of a kind may run at once.
const MAX_RUNNING: usize = 4;

/// How many batches of changes run at once while none takes long. Postgres works on one while the disk syncs the other.
const LANES: usize = 2;

/// From how many waiting changes on a second batch begins beside the first. For fewer, it costs more than it gains.
const SECOND_LANE: usize = 16;

/// What one caller asks of the database. Many of a kind fit into one statement.
pub(super) trait Operation: Debug + Clone + Send + Sync + 'static {
    type Answer: Debug + Send + 'static;

    /// Whether to do it twice has the effect, and the answer, of doing it once.
    const IS_REPEATABLE: bool;

    /// The tenant whose turn it takes.
    fn tenant(&self) -> TenantId;

    /// The session that it changes, if any.
    fn changes(&self) -> Option<SessionId> {
        None
    }

    /// Runs one statement for all. If callers wait for it, it does not wait for locked rows. Returns an answer for each,
    /// in their order; `None` for an operation that must run alone.
    fn run_batch(
        connection: &mut PgConnection,
        terms: &Terms,
        batch: &[Self],
    ) -> impl Future<Output = Result<Vec<Option<Answer<Self>>>, sqlx::Error>> + Send;

    /// Runs it alone. A change waits for the locked row.
    fn run_alone(self, database: &Database, terms: &Terms) -> impl Future<Output = Answer<Self>> + Send {
        run_as_batch_of_one(self, database, terms)
    }
}

/// Runs an operation that never waits for a row.
async fn run_as_batch_of_one<O: Operation>(operation: O, database: &Database, terms: &Terms) -> Answer<O> {
    let batch = [operation];
    let run = async |connection: &mut PgConnection| O::run_batch(connection, terms, &batch).await;
    let mut answers = database.statement(Span::current(), run).await?;
    answers.pop().flatten().unwrap_or(Err(Error::Impossible("a read was not answered")))
}

/// How many batches of the operation's kind run at once while none takes long. Reads have one lane.
fn lanes_of<O: Operation>(operation: &O) -> usize {
    if operation.changes().is_some() { LANES } else { 1 }
}

/// The operation that a row of a batch's result belongs to, and its answer. `number` counts from 1.
pub(super) fn member<'a, O, A>(batch: &'a [O], answers: &'a mut [A], number: i64) -> (&'a O, &'a mut A) {
    let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
    (&batch[index], &mut answers[index])
}

/// The answer to one operation.
pub(super) type Answer<O> = Result<<O as Operation>::Answer, Error>;

/// Runs the operations of one kind in batches.
#[derive(Debug)]
pub(super) struct Batcher<O: Operation> {
    database: Database,
    terms: Terms,
    /// The size of a batch. With 1, every operation runs alone.
    size: usize,
    /// Never locked across an await.
    state: Mutex<State<O>>,
    running: Arc<Semaphore>,
    /// Wakes the task that takes batches when enough operations wait for a second one.
    gathered: Notify,
}

#[derive(Debug)]
struct State<O: Operation> {
    waiting: Queue<Member<O>>,
    /// The connections that the next batches use.
    connections: Vec<BatchConnection>,
    /// Whether a task takes batches from the queue.
    is_draining: bool,
}

/// An operation in the queue, and its caller.
#[derive(Debug)]
struct Member<O: Operation> {
    operation: O,
    /// When it came into the queue.
    since: Instant,
    /// The span in which its caller waits. The statement of a batch belongs to the first one's.
    span: Span,
    caller: oneshot::Sender<Answer<O>>,
}

impl<O: Operation> Batcher<O> {
    /// Opens no connection before it is used.
    pub(super) fn new(database: &Database, terms: &Terms, limits: BatchLimits) -> Arc<Self> {
        let state = State { waiting: Queue::new(limits.queue), connections: Vec::new(), is_draining: false };
        Arc::new(Self {
            database: database.clone(),
            terms: terms.clone(),
            size: limits.size,
            state: Mutex::new(state),
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
            gathered: Notify::new(),
        })
    }

    /// Runs an operation, together with others that wait. `span` is the operation's span.
    pub(super) async fn answer(self: &Arc<Self>, span: Span, operation: O) -> Answer<O> {
        if self.size <= 1 {
            // Boxed: otherwise this path would make the future of every call some KiB larger, and each layer moves it.
            return Box::pin(operation.run_alone(&self.database, &self.terms)).instrument(span).await;
        }
        let waiting = span.in_scope(statement_span);
        let tenant = operation.tenant();
        let (number, mut answer) = self.enqueue(operation, waiting.clone())?;
        let answered = async {
            // It waits as long as that only if the batches before it hang.
            if let Ok(answered) = timeout(ACQUIRE_TIMEOUT, &mut answer).await {
                return answered;
            }
            if self.state.lock().waiting.remove(tenant, number).is_some() {
                return Ok(Err(Error::no_batch()));
            }
            answer.await
        };
        answered
            .instrument(waiting)
            .await
            .unwrap_or(Err(Error::Impossible("a batch ended without an answer for each caller")))
    }

    /// Closes its idle connections.
    pub(super) async fn close(&self) {
        let kept = mem::take(&mut self.state.lock().connections);
        for connection in kept {
            connection.close().await;
        }
    }

    /// Returns the operation's number in the queue, and its answer.
    fn enqueue(self: &Arc<Self>, operation: O, span: Span) -> Result<(u64, oneshot::Receiver<Answer<O>>), Error> {
        let (tenant, session) = (operation.tenant(), operation.changes());
        let (caller, answer) = oneshot::channel();
        let mut state = self.state.lock();
        let member = Member { operation, since: Instant::now(), span, caller };
        let number = state.waiting.push(tenant, session, member).map_err(|_| Error::TooManyWaiting)?;
        if !state.is_draining {
            state.is_draining = true;
            tokio::spawn(Arc::clone(self).drain());
        } else if state.waiting.len() >= SECOND_LANE {
            self.gathered.notify_one();
        }
        Ok((number, answer))
    }

    /// Runs one batch after the other until nothing waits.
    async fn drain(self: Arc<Self>) {
        loop {
            let Ok(permit) = Arc::clone(&self.running).acquire_owned().await else { return };
            let batch = {
                let mut state = self.state.lock();
                let batch = state.waiting.take(self.size);
                state.is_draining = !batch.is_empty();
                batch
            };
            if batch.is_empty() {
                return;
            }
            let lanes = batch.first().map_or(1, |first| lanes_of(&first.operation));
            let run = tokio::spawn(Arc::clone(&self).run(batch, permit));
            // A batch that takes longer goes on in its task.
            tokio::select! {
                _ = run => {}
                () = self.wait_for_second_lane(), if lanes > 1 => {}
                () = sleep(PATIENCE) => {}
            }
        }
    }

    /// Waits until a second batch may begin beside the first.
    async fn wait_for_second_lane(&self) {
        loop {
            self.gathered.notified().await;
            let running = MAX_RUNNING - self.running.available_permits();
            if running < LANES && self.state.lock().waiting.len() >= SECOND_LANE {
                return;
            }
        }
    }

    async fn run(self: Arc<Self>, batch: Vec<Member<O>>, permit: OwnedSemaphorePermit) {
        let span = batch.first().map_or_else(Span::none, |first| first.span.clone());
        let waits = histogram!(meters::DATABASE_WAIT, "kind" => meters::KIND_BATCH);
        batch.iter().for_each(|member| waits.record(member.since.elapsed()));
        let operations: Vec<O> = batch.iter().map(|member| member.operation.clone()).collect();
        match self.run_once_or_twice(&operations).instrument(span).await {
            Ok(answers) => {
                for (member, answer) in batch.into_iter().zip(answers) {
                    match answer {
                        Some(answer) => drop(member.caller.send(answer)),
                        None => self.run_alone(member),
                    }
                }
            }
            // Postgres refused the batch, and did nothing of it.
            Err(Error::Driver(sqlx::Error::Database(_))) => batch.into_iter().for_each(|member| self.run_alone(member)),
            Err(error) => {
                let error = Arc::new(error);
                for member in batch {
                    drop(member.caller.send(Err(Error::BatchFailed(Arc::clone(&error)))));
                }
            }
        }
        drop(permit);
        self.gathered.notify_one();
    }

    fn run_alone(self: &Arc<Self>, member: Member<O>) {
        let (batcher, Member { operation, span, caller, .. }) = (Arc::clone(self), member);
        let answer = async move { drop(caller.send(operation.run_alone(&batcher.database, &batcher.terms).await)) };
        tokio::spawn(answer.instrument(span));
    }

    async fn run_once_or_twice(&self, batch: &[O]) -> Result<Vec<Option<Answer<O>>>, Error> {
        let first = self.run_once(batch).await;
        match first {
            Err(error) if O::IS_REPEATABLE && error.is_lost_connection() => self.run_once(batch).await,
            _ => first,
        }
    }

    async fn run_once(&self, batch: &[O]) -> Result<Vec<Option<Answer<O>>>, Error> {
        let mut connection = self.connection().await?;
        let run = async |connection: &mut PgConnection| O::run_batch(connection, &self.terms, batch).await;
        let answers = connection.statement(run).await?;
        // Kept only if all went well. Whatever is wrong with it, a new one is better.
        let mut state = self.state.lock();
        if state.connections.len() < batch.first().map_or(1, lanes_of) {
            state.connections.push(connection);
        }
        Ok(answers)
    }

    async fn connection(&self) -> Result<BatchConnection, Error> {
        let kept = self.state.lock().connections.pop();
        if let Some(mut connection) = kept
            && connection.is_usable().await
        {
            return Ok(connection);
        }
        self.database.connect_for_batches().await
    }
}
