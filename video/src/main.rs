//! npy-ingest-video: decodes videos, and sound of which npy-ingest knows nothing, one file after the other, in a sandbox.
//!
//! npy-ingest starts it and keeps it running. Its standard input is a socket: each line is a task, as JSON, and comes with
//! the open file that it is about. It answers on standard output with rows; the protocol is that of npy-ingest's
//! docs/command.md. It ends when its input does.
//!
//! | file | holds |
//! |---|---|
//! | `sandbox` | what the process may do once it runs |
//! | `tasks` | lines and open files from the socket |
//! | `answer` | rows and words to standard output |
//! | `ahead` | packets that were read, and which of them need not be decoded |
//! | `matroska`, `riff`, `mxf`, `ogg` | how long a Matroska, AVI, WAV, Wave64, Windows Media or MXF file should be, whether an Ogg file has its end |
//! | `mlp` | the same of raw MLP and TrueHD, and sums of their samples |
//! | `transport` | which packets of an MPEG transport stream are missing, and where recordings were only joined |
//! | `decode` | one video, from its packets to its rows; `decode/read`: packets, `keys`: key frames by themselves, `leap`: over what is not wanted, `cut`: of what parts are missing, `end` |
//! | `clock` | time stamps that begin anew within a stream |
//! | `losses` | what is lost of a damaged video |
//! | `sound` | one sound track, from its packets to its samples |
//! | `picture` | a decoded frame into a picture of a row |
//! | `colour` | luma and chroma into RGB |
//! | `ffmpeg/` | FFmpeg's libraries, safe to call |

mod ahead;
mod answer;
mod clock;
mod colour;
mod decode;
mod ffmpeg;
mod losses;
mod matroska;
mod mlp;
mod mxf;
mod ogg;
mod picture;
mod riff;
mod sandbox;
mod sound;
mod tasks;
mod transport;

use std::process::ExitCode;

use npy_ingest::decode::DecodeError;
use npy_ingest::decode::ffmpeg::{Task, Wanted};

use answer::Answer;
use tasks::Tasks;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["--version" | "-V"] => {
            println!("{}", version());
            return ExitCode::SUCCESS;
        }
        ["--try-sandbox"] => return try_sandbox(),
        _ => {
            eprintln!(
                "npy-ingest-video is started by npy-ingest and told of videos on its standard input; see --version and --try-sandbox"
            );
            return ExitCode::from(2);
        }
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("npy-ingest-video: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Enters the sandbox, and tells what came of trying what it forbids.
fn try_sandbox() -> ExitCode {
    if let Err(error) = sandbox::enter() {
        eprintln!("npy-ingest-video: {error}");
        return ExitCode::FAILURE;
    }
    let mut is_shut = true;
    for (what, result) in sandbox::tries() {
        match result {
            Ok(()) => {
                is_shut = false;
                println!("{what}: done, which should have failed");
            }
            Err(error) => println!("{what}: {error}"),
        }
    }
    if is_shut { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn version() -> String {
    format!("npy-ingest-video {}, {}", env!("CARGO_PKG_VERSION"), ffmpeg::versions())
}

fn serve() -> Result<(), String> {
    ffmpeg::listen();
    answer::widen_output();
    sandbox::enter()?;
    let mut tasks = Tasks::new().map_err(|error| format!("standard input is no socket from npy-ingest: {error}"))?;
    let mut answer = Answer::new().map_err(|error| format!("no thread for the answer: {error}"))?;
    while let Some((line, file)) = tasks.next().map_err(|error| error.to_string())? {
        let Task { source, wanted } =
            serde_json::from_str(&line).map_err(|error| format!("a task that is not understood: {error}"))?;
        let result = match wanted {
            Wanted::Frames { options, threads } => decode::decode(&source, &options, threads, file, &mut answer),
            Wanted::Samples => sound::decode(&source, file, &mut answer),
        };
        let told = match result {
            Ok(()) => answer.done(),
            Err(DecodeError::Rejected(rejection)) => answer.error(&rejection.reason),
            Err(error) => answer.error(&error.to_string()),
        };
        // Nobody listens any more.
        if told.is_err() {
            break;
        }
    }
    Ok(())
}
