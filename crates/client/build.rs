//! Generates the messages and the client stubs from `proto/`, without `protoc`: protox parses the files, and
//! tonic-prost-build drives prost and tonic-build.

use std::error::Error;

const PROTO: &str = "../../proto";

const PROTOS: [&str; 6] = [
    "print/upload/v1/reason.proto",
    "print/upload/v1/rule.proto",
    "print/upload/v1/upload_sessions.proto",
    "print/upload/v1/print_documents.proto",
    "print/upload/v1/print_jobs.proto",
    "print/upload/v1/print_catalog.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let mut compiler = protox::Compiler::new([PROTO])?;
    compiler.include_imports(true).open_files(PROTOS)?;
    tonic_prost_build::configure().bytes(".").build_server(false).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
