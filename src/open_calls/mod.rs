//! The calls that need no credential: health (`grpc.health.v1`) and reflection. Whoever makes them costs little: few of
//! them run at once, each of them is short, has a small request, and is reset when its caller does not take the answer.

mod answer;
mod request;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use metrics::counter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::Routes};
use tonic_health::server::{HealthReporter, health_reporter};

use self::answer::OpenAnswer;
use crate::{
    listen::Call,
    proto::DESCRIPTOR,
    telemetry::{self, meters},
};

/// The largest message, in bytes. It contains the name of a service or of a symbol.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// How long a call may take, except health's `Watch`.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a caller may take nothing of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How many health checks run at once, and how many reflection streams. How many callers watch the health is limited by
/// the number of connections.
const MAX_CALLS: usize = 32;

const WATCH_PATH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION_PREFIX: &str = "/grpc.reflection.";

/// The permits of the calls that run.
#[derive(Debug)]
struct OpenCalls {
    checks: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
}

/// What a call keeps until its answer has been taken.
#[derive(Debug)]
struct Permits {
    _of_connection: OwnedSemaphorePermit,
    /// `None` unless its handler goes on while the answer is taken.
    _of_kind: Option<OwnedSemaphorePermit>,
}

/// When a call has to end.
#[derive(Debug, Clone)]
struct Limits {
    /// `None` for a `Watch`.
    deadline: Option<Instant>,
    /// Canceled when the call has sent too much.
    too_much: CancellationToken,
    /// Canceled when the call has ended.
    ended: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Check,
    Watch,
    Reflection,
}

/// The routes of health and, if `with_reflection`, of reflection. They are observed like all calls.
pub fn routes(with_reflection: bool) -> anyhow::Result<(HealthReporter, Router)> {
    let (reporter, health) = health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // With these, tools can print the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::new(health.max_decoding_message_size(MAX_MESSAGE_BYTES));
    if with_reflection {
        routes = routes
            .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_MESSAGE_BYTES))
            // grpcurl before 1.8.8 supports only this version.
            .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_MESSAGE_BYTES));
    }
    let limited = middleware::from_fn_with_state(Arc::new(OpenCalls::new()), limit);
    // The fallback is not limited: it answers at once, without reading.
    let routes = routes.into_axum_router().route_layer(limited).layer(middleware::from_fn(telemetry::observe));
    Ok((reporter, routes))
}

/// The middleware around the handlers.
async fn limit(State(calls): State<Arc<OpenCalls>>, request: Request, next: Next) -> Response {
    calls.run(request, next).await.unwrap_or_else(|status| status.into_http::<Body>())
}

impl OpenCalls {
    fn new() -> Self {
        let permits = |number| Arc::new(Semaphore::new(number));
        Self { checks: permits(MAX_CALLS), reflections: permits(MAX_CALLS) }
    }

    async fn run(&self, request: Request, next: Next) -> Result<Response, Status> {
        let kind = Kind::of(request.uri().path());
        let call = request.extensions().get::<Call>().cloned();
        let call = call.ok_or_else(|| Status::internal("the call does not belong to a connection"))?;
        call.limit_answer(ANSWER_TIMEOUT);
        let of_connection = call.open_permit().ok_or_else(|| {
            refuse(Status::resource_exhausted("too many calls without a credential at once on one connection"))
        })?;
        let mut limits = Limits::new(Some(Instant::now() + CALL_TIMEOUT));
        let ended = limits.ended.clone().drop_guard();
        let (mut parts, body) = request.into_parts();
        request::shrink(&mut parts)?;
        // A request of one message keeps nothing but its connection waiting, so it needs no permit until it is there.
        let body = match kind {
            Kind::Reflection => request::stream(body, limits.clone()),
            Kind::Check | Kind::Watch => limits.keep(&call, request::whole(body)).await?.into(),
        };
        let of_kind = self.permit(kind)?;
        let response = async { Ok(next.run(Request::from_parts(parts, body)).await) };
        let response = limits.keep(&call, response).await?;
        if kind == Kind::Watch {
            limits.deadline = None;
        }
        // The handler of a check has ended. Whoever does not take the answer keeps nobody else from checking.
        let of_kind = of_kind.filter(|_| kind == Kind::Reflection);
        let permits = Permits { _of_connection: of_connection, _of_kind: of_kind };
        Ok(response.map(|body| Body::new(OpenAnswer::new(body, &call, limits, permits, ended))))
    }

    fn permit(&self, kind: Kind) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let permits = match kind {
            Kind::Check => &self.checks,
            Kind::Watch => return Ok(None),
            Kind::Reflection => &self.reflections,
        };
        let refused = || refuse(Status::unavailable("too many calls without a credential at once; retry"));
        Arc::clone(permits).try_acquire_owned().map(Some).map_err(|_| refused())
    }
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            WATCH_PATH => Self::Watch,
            path if path.starts_with(REFLECTION_PREFIX) => Self::Reflection,
            _ => Self::Check,
        }
    }
}

fn refuse(status: Status) -> Status {
    counter!(meters::REFUSALS, "limit" => meters::LIMIT_OF_OPEN_CALLS).increment(1);
    status
}

impl Limits {
    fn new(deadline: Option<Instant>) -> Self {
        Self { deadline, too_much: CancellationToken::new(), ended: CancellationToken::new() }
    }

    /// Why the call has to end, if it has to.
    fn exceeded(&self) -> Option<Status> {
        if self.too_much.is_cancelled() {
            return Some(request::too_large());
        }
        self.deadline.filter(|deadline| *deadline <= Instant::now()).map(|_| too_slow())
    }

    /// Completes when the call has to end, with the reason.
    async fn exceed(self, call: Call) -> Status {
        let deadline = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = call.closing() => Status::unavailable("the connection is being closed; call again on a new one"),
            () = self.too_much.cancelled() => request::too_large(),
            () = deadline => too_slow(),
        }
    }

    /// The result, unless the call has to end first.
    async fn keep<T>(&self, call: &Call, result: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            biased;
            result = result => result,
            status = self.clone().exceed(call.clone()) => Err(status),
        }
    }
}

fn too_slow() -> Status {
    Status::deadline_exceeded(format!("a call without a credential may take {} s", CALL_TIMEOUT.as_secs()))
}
