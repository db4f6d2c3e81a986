//! The generated messages, clients and servers of `proto/`, and the descriptor that reflection and the guard read.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

tonic::include_proto!("print.upload.v1");

/// The encoded `FileDescriptorSet` of every proto file, with comments and custom options.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
