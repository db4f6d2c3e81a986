//! The REST gateway.

mod cancel;
mod early_answer;
mod errors;
mod openapi;
mod print_jobs;
mod upload;
