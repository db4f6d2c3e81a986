//! The service as its callers see it: through the generated client, over a real socket, with real tokens, a real Postgres
//! and real files.

mod harness;
mod session;
