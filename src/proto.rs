//! The generated code of `proto/`: the messages of the client crate, the server traits, and the descriptor, which
//! reflection and the guard read.

#![allow(clippy::all, clippy::pedantic)]

pub use print_upload_client::proto::*;

tonic::include_proto!("print.upload.v1");

/// The encoded `FileDescriptorSet` of every proto file, with comments and custom options.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
