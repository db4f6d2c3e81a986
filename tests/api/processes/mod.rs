//! The programs as processes: `serve`, `gateway`, their secrets and certificates.

mod gateway;
mod secret_files;
mod serve;
mod tls;
