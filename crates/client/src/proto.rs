//! The generated messages and client stubs of `proto/`.

#![allow(clippy::all, clippy::pedantic)]

tonic::include_proto!("print.upload.v1");
