//! Tells the compiler which FFmpeg is installed, as far as that makes a difference (`src/ffmpeg/version.rs`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ffmpeg_6_1)");
    // Set by the build of `ffmpeg-sys-next`, which has asked the headers.
    if std::env::var("DEP_FFMPEG_FFMPEG_6_1").is_ok_and(|found| found == "true") {
        println!("cargo::rustc-cfg=ffmpeg_6_1");
    }
}
