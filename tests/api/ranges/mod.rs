//! Ranges: their headers, bodies and digests, their limits, and several writers at once.

mod bad_bodies;
mod bad_headers;
mod digests;
mod fairness;
mod limits;
mod model;
mod writers;
