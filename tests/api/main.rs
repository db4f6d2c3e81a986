//! The service as its callers see it: over real sockets, with real tokens, a real Postgres and real files.

#![allow(clippy::single_range_in_vec_init, reason = "a list of missing ranges may well have one")]

mod auth;
mod catalog;
mod client;
mod commands;
mod crashes;
mod database;
mod dev;
mod documents;
mod harness;
mod limits;
mod operators;
mod print_jobs;
mod processes;
mod ranges;
mod replicas;
mod rest;
mod retention;
mod sessions;
mod stores;
mod strangers;
