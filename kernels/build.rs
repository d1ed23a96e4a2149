//! Compiles the C side of `jpeg`, against the headers of the library that it calls.

use std::error::Error;

#[cfg(not(feature = "turbo"))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}

#[cfg(feature = "turbo")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/jpeg.c");
    // Said here as well: of a dependency cargo shows no warnings.
    let is_x86 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|name| name.starts_with("x86"));
    if is_x86 && std::process::Command::new("nasm").arg("-v").output().is_err() {
        println!(
            "cargo:warning=nasm is not installed: JPEGs will be decoded more slowly. Install it, then: cargo clean -p \
             mozjpeg-sys -p npy-ingest-kernels"
        );
    }
    let folders = std::env::var_os("DEP_JPEG_INCLUDE").ok_or("mozjpeg-sys does not tell where its headers are")?;
    let mut compiler = cc::Build::new();
    compiler.file("src/jpeg.c").includes(std::env::split_paths(&folders)).warnings_into_errors(false);
    compiler.try_compile("npy_ingest_jpeg")?;
    Ok(())
}
