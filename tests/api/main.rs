//! The service as its callers see it: through the generated client, over a real socket, with real tokens, a real Postgres
//! and real files.

#![allow(clippy::single_range_in_vec_init, reason = "a list of missing ranges may well have one")]

mod bad_bodies;
mod bad_ranges;
mod capability;
mod catalog;
mod client;
mod command_failures;
mod command_interrupt;
mod command_output;
mod command_resume;
mod create;
mod delete;
mod delete_at_expiry;
mod delete_named;
mod delete_race;
mod disk;
mod documents;
mod embedded;
mod expiry;
mod faults;
mod first_message;
mod gateway_process;
mod harness;
mod isolation;
mod issuers;
mod job_deletion;
mod openapi;
mod permissions;
mod print_job_cancel;
mod print_job_cancel_race;
mod print_job_catalog;
mod print_job_faults;
mod print_job_task;
mod print_jobs;
mod printers_and_owners;
mod process;
mod purge;
mod range_digests;
mod range_limits;
mod ranges;
mod reclaim;
mod replicas;
mod resolve;
mod rest_cancel;
mod rest_early_answer;
mod rest_errors;
mod rest_jobs;
mod rest_upload;
mod session;
mod states;
mod stores;
mod tls;
mod tokens;
mod writers;
