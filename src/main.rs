//! The `npy-ingest` program. See `npy_ingest::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    npy_ingest::cli::main()
}
