//! The REST gateway.

mod browsers;
mod cancel;
mod early_answer;
mod encodings;
mod errors;
mod openapi;
mod paths;
mod print_jobs;
mod upload;
