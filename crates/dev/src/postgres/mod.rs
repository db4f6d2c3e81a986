//! A private Postgres for development and tests. It is started by this process, listens on loopback only, and stops
//! when this process ends, however it ends.
//!
//! A cluster's folder holds `data` (Postgres' own), `password` (readable by this process alone), `postgres.log`, `lock`
//! (held by the owning process) and `server.lock` (held by the server while it runs).

mod account;
mod binaries;
mod cluster;
mod durability;
mod folder;
mod initdb;
mod standby;
mod start;
mod supervised;

pub use binaries::Binaries;
pub use cluster::Cluster;
pub use durability::Durability;
