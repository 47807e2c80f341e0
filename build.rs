//! Compiles `proto/` into Rust, and into the descriptor set that server
//! reflection answers from. Needs no `protoc`: protox is a compiler in Rust.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

const ROOT: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    println!("cargo::rerun-if-changed=policies");
    let files = proto_files(&Path::new(ROOT).join("roster/v1"))?;
    let descriptors = protox::compile(files, [ROOT])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("roster.bin"), descriptors.encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

fn proto_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
