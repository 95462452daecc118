//! Makes Rust of the protocol's definition, without a compiler of protocol buffers on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "proto/open_inference.proto";
    println!("cargo::rerun-if-changed={file}");
    #[cfg(feature = "serve")]
    {
        let descriptors = protox::compile([file], ["proto"])?;
        tonic_prost_build::configure().build_client(false).compile_fds(descriptors)?;
    }
    Ok(())
}
