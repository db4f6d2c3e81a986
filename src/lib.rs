//! Upload sessions of print jobs, over gRPC.

pub mod proto;
