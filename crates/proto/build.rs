//! Compiles the `.proto` files with protox, so that no `protoc` is needed, and generates prost messages; client stubs
//! only with the feature `client`.

const FILES: [&str; 7] =
    ["mvcc.proto", "auth.proto", "rpc.proto", "health.proto", "lock.proto", "election.proto", "bowline.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_client(std::env::var_os("CARGO_FEATURE_CLIENT").is_some())
        // Keys, values and blobs share the buffer they arrived in.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
