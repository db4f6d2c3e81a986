//! Generates from `proto/` the server traits, which use the messages of the client crate, and the descriptor, which
//! reflection and the guard read. Needs no `protoc`: protox parses the files, and tonic-prost-build drives prost and
//! tonic-build.

use std::{env, error::Error, fs, path::Path};

const PROTOS: [&str; 6] = [
    "print/upload/v1/reason.proto",
    "print/upload/v1/rule.proto",
    "print/upload/v1/upload_sessions.proto",
    "print/upload/v1/print_documents.proto",
    "print/upload/v1/print_jobs.proto",
    "print/upload/v1/print_catalog.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(PROTOS)?;

    // Encoded by the compiler itself: prost's own descriptor types would drop the custom options that the guard reads.
    let descriptor = Path::new(&env::var("OUT_DIR")?).join("descriptor.bin");
    fs::write(descriptor, compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".print.upload.v1", "::print_upload_client::proto")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
