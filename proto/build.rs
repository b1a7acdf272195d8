//! Compiles the .proto files with a compiler written in Rust, so that no protoc is needed on the machine.
use std::path::Path;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = ["common", "repo", "logic", "queue", "task", "admin"]
        .map(|name| root.join(format!("gochat/{name}/v1/{name}.proto")));
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root]).expect("the .proto files compile");
    tonic_prost_build::configure()
        .bytes(".gochat.queue.v1")
        .compile_fds(descriptors)
        .expect("code is generated from the .proto files");
}
