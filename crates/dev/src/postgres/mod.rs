//! A private Postgres for development and tests: started by us, reachable on the loopback address
//! only, and gone when we are, however we end.
//!
//! Layout of a cluster's folder: `data` (Postgres' own), `password` (ours alone), `postgres.log`,
//! `lock` (held by the owning process) and `server.lock` (held by the server while it runs).

mod account;
mod binaries;
mod cluster;
mod durability;
mod folder;
mod initdb;
mod start;
mod supervised;

pub use binaries::Binaries;
pub use cluster::Cluster;
pub use durability::Durability;
