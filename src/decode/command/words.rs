//! The command line of a program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::Dataset;
use crate::decode::process::{in_path, is_program};

/// The command line, with what is the same for all sources filled in.
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn new(argv: &[String], dataset: &Dataset) -> Self {
        let shape = dataset.row.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let fill = |word: &String| {
            word.replace("{dataset}", &dataset.name)
                .replace("{shape}", &shape)
                .replace("{dtype}", &dataset.row.dtype.descr())
        };
        Self(argv.iter().map(fill).collect())
    }

    pub(super) fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The program, to be run in `folder`: with a slash it is relative to that, else a name in `PATH`.
    fn place(&self, folder: &Path) -> PathBuf {
        let program = self.program();
        if program.contains('/') { folder.join(program) } else { PathBuf::from(program) }
    }

    /// The program for a source, to be run in `folder`.
    pub(super) fn command(&self, source: &Path, folder: &Path) -> Command {
        let mut command = Command::new(self.place(folder));
        command.args(self.0.iter().skip(1).map(|word| with_source(word, source.as_os_str()))).current_dir(folder);
        command
    }
}

/// The program of a dataset.
///
/// # Errors
/// It is not there, or may not be run: in words.
pub fn find_program(argv: &[String], dataset: &Dataset) -> Result<PathBuf, String> {
    let words = Words::new(argv, dataset);
    let place = words.place(&dataset.base);
    match place.is_absolute() {
        true if is_program(&place) => Ok(place),
        true => Err(format!("the program {} (`argv`) is not there, or may not be run", place.display())),
        false => in_path(&place).ok_or_else(|| format!("the program \"{}\" (`argv`) is not in PATH", words.program())),
    }
}

/// A path is bytes, not always text.
fn with_source(word: &str, source: &OsStr) -> OsString {
    let mut filled = OsString::new();
    for (place, part) in word.split("{source}").enumerate() {
        if place > 0 {
            filled.push(source);
        }
        filled.push(part);
    }
    filled
}
