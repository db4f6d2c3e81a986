//! Callers without a credential: what they can take of the service, and for how long.

mod connections;
mod open_calls;

use std::time::Duration;

/// How long anything may take here that takes for ever otherwise. Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
