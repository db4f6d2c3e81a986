//! Generates from `proto/` the server traits, which use the messages of the client crate, and the descriptor, which
//! reflection and the guard read. Needs no `protoc`: protox parses the files, and tonic-prost-build drives prost and
//! tonic-build.

use std::{env, error::Error, fs, io, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let mut protos =
        fs::read_dir("proto/print/upload/v1")?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    protos.sort();
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos)?;

    // Encoded by the compiler itself: prost's own descriptor types would drop the custom options that the guard reads.
    let descriptor = Path::new(&env::var("OUT_DIR")?).join("descriptor.bin");
    fs::write(descriptor, compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".print.upload.v1", "::print_upload_client::proto")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
