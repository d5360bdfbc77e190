//! Compiles `proto/fleet/v1/*.proto` with protox, so that no protoc has to be installed, and lists
//! every RPC of their descriptor set.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from("proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("fleet/v1"))?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "proto"))
        .collect();
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    // Requests that can be judged without being done, by the name of their message.
    let judged: BTreeSet<String> = descriptors
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .filter(|message| message.field.iter().any(|field| field.name() == "dry_run"))
        .map(|message| format!(".fleet.v1.{}", message.name()))
        .collect();
    let (mut rpcs, mut dry_runs) = (String::from("&[\n"), String::from("&[\n"));
    for service in descriptors.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            writeln!(rpcs, "    ({:?}, {:?}),", service.name(), method.name())?;
            if judged.contains(method.input_type()) {
                writeln!(dry_runs, "    ({:?}, {:?}),", service.name(), method.name())?;
            }
        }
    }
    rpcs.push(']');
    dry_runs.push(']');
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?);
    std::fs::write(out.join("rpcs.rs"), rpcs)?;
    std::fs::write(out.join("dry_runs.rs"), dry_runs)?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::SmallCodec")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
