//! Generates the messages and the client stubs from `proto/`, without `protoc`: protox parses the files, and
//! tonic-prost-build drives prost and tonic-build.

use std::{error::Error, fs, io};

const PROTO: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let mut protos = fs::read_dir(format!("{PROTO}/print/upload/v1"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    protos.sort();
    let mut compiler = protox::Compiler::new([PROTO])?;
    compiler.include_imports(true).open_files(protos)?;
    tonic_prost_build::configure().bytes(".").build_server(false).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
