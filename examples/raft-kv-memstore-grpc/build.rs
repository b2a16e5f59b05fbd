//! Compiles the wire format without `protoc`: `protox` parses, `tonic-prost-build` generates.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/kv.proto"], ["proto"])?;
    tonic_prost_build::compile_fds(files)?;
    Ok(())
}
