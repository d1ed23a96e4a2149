//! The arguments, and the help that teaches them.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::failure::Failure;
use crate::config::{self, Config, Dataset};

const AFTER_HELP: &str = "\
Examples:
  npy-ingest --config ingest.toml            watch the folders until SIGTERM or Ctrl-C
  npy-ingest --config ingest.toml --once     take what is there, and end
  npy-ingest check --config ingest.toml      what would happen
  npy-ingest sources --config ingest.toml --rejected
  producer | npy-ingest append frames.npy -  append to any .npy file

Read the array while it grows:
  import numpy as np
  rows = np.load(\"data/frames.npy\", mmap_mode=\"r\")

Exit codes: 0 done; 1 failed; 2 the command line or the config is wrong; 3 --once ended with
sources rejected.

SIGTERM and SIGINT commit what is decoded, and end; the next start begins a long decode again.
SIGHUP reads the config again. SIGUSR1 scans now.";

/// Turns files that are dropped into folders into rows of growing .npy arrays, exactly once each.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Arguments {
    #[command(flatten)]
    of_service: ConfigOptions,

    /// Take what is in the folders now, commit it, and end.
    #[arg(long)]
    pub once: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the service takes, and each command that reads its config: they may stand before the command or behind it.
#[derive(Debug, Args)]
pub struct ConfigOptions {
    /// The config: which folders, which arrays, how a file becomes a row. See config.example.toml.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How the log on standard error looks: auto unless set.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// One event a line, whatever the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Events with their fields to the journal where standard error goes there, else text.
    Auto,
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Validate the config and say, per dataset, what a run would do. Changes nothing.
    Check(ConfigOptions),
    /// Rows, backlog, rate, rejected sources and last commit of each dataset, whether a service runs or not.
    Status {
        #[command(flatten)]
        config: ConfigOptions,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Which sources the datasets have, which of them gave a row, and which were rejected and why.
    Sources(SourcesOptions),
    /// Give rejected sources another chance: the next scan takes them again.
    Retry(RetryOptions),
    /// Show the header of any .npy file, whether it can grow in place, and what lies past its last row.
    Inspect {
        /// The array: any .npy file.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Draw rows of any .npy file on one picture: images as they are, signals as plots, numbers and records as curves.
    Preview {
        /// The array: any .npy file in C order whose rows are numbers, or records with numbers in them.
        file: PathBuf,
        /// Which rows, counted as Python does: 0:64, -16:, 7. Unless given the first 64; of curves all.
        #[arg(long, short, value_name = "A:B", allow_hyphen_values = true)]
        rows: Option<String>,
        /// The picture to write.
        #[arg(long, short, value_name = "FILE.png")]
        output: PathBuf,
    },
    /// Look at a folder and print a config for it.
    Init {
        /// The folder whose files are to become rows, with those in it. It is looked at, and nothing in it is changed.
        folder: PathBuf,
    },
    /// Check that headers, file sizes and ledger agree. Changes nothing.
    Verify {
        #[command(flatten)]
        config: ConfigOptions,
        /// Check this one file's header against its size, without a config.
        file: Option<PathBuf>,
        /// Recompute the checksum of every row as well. Reads the whole array.
        #[arg(long, conflicts_with = "file")]
        deep: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Append arrays to any .npy file, under live readers: in C order along the first axis, in Fortran order along the last.
    Append(AppendArguments),
    /// Make a .npy file that was cut short readable: its count becomes the number of whole rows that are there, those that a
    /// killed append left included.
    Recover(RecoverArguments),
    /// Give the header of a .npy file room for a larger count. Nobody should open or read it meanwhile: its rows may move.
    EnsureAppendable(EnsureAppendableArguments),
}

#[derive(Debug, Args)]
pub struct AppendArguments {
    /// The array. It is created, with the dtype and the row shape of the first input, if it does not exist.
    pub file: PathBuf,
    /// What is appended: .npy files, or - for standard input (one .npy array or several, one after the other).
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// Standard input holds nothing but rows, in the array's dtype and byte order, each in C order as `row.tobytes()` gives it.
    #[arg(long)]
    pub raw: bool,
    /// The dtype of raw rows: needed to create the array, compared with it where it is there.
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<String>,
    /// The shape of one raw row: 224,224,3. Without it a row of an array that is created is one element.
    #[arg(long, value_name = "SHAPE")]
    pub shape: Option<RowShape>,
    /// Turn the bytes of numbers that are in the other byte order. No other conversion is made.
    #[arg(long)]
    pub convert_byte_order: bool,
    /// When rows become durable and visible: each input by itself, all together, or visible at once and never synced.
    #[arg(long, value_enum, default_value_t = AppendDurability::Batch, value_name = "WHEN")]
    pub durability: AppendDurability,
    /// Wait for another process that writes to the array, rather than fail.
    #[arg(long)]
    pub wait: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The shape of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowShape(pub Vec<usize>);

impl std::str::FromStr for RowShape {
    type Err = String;

    /// Takes what NumPy prints as well: `(3,)`, `(3, 2)`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let sides = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text).trim();
        if sides.is_empty() && text == "()" {
            return Ok(Self(Vec::new()));
        }
        let sides = sides.strip_suffix(',').unwrap_or(sides).split(',').map(|side| side.trim().parse());
        let sides = sides.collect::<Result<_, _>>();
        sides.map(Self).map_err(|_| "a shape is written 224,224,3, or as NumPy prints it: \"(224, 224, 3)\"".to_owned())
    }
}

/// As `durability` of the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AppendDurability {
    /// Each input is a commit, and each array on standard input; raw rows are committed as they come.
    Source,
    /// All inputs are one commit, at their end: all of them are appended or none. Raw rows are committed when the producer
    /// pauses, and four times a second.
    Batch,
    /// As source, but nothing is synced. Safe against a killed process, not against a power cut.
    None,
}

#[derive(Debug, Args)]
pub struct RecoverArguments {
    /// The array: any .npy file that belongs to no dataset. It is changed in its place.
    pub file: PathBuf,
    /// Fill an incomplete last row with zeros, rather than cut it off.
    #[arg(long)]
    pub zero_fill: bool,
    /// Wait for another process that writes to the array, rather than fail.
    #[arg(long)]
    pub wait: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EnsureAppendableArguments {
    /// The array: any .npy file that belongs to no dataset.
    pub file: PathBuf,
    /// Move the rows within the file, if they have to move, rather than write a copy and put it in the file's place.
    #[arg(long)]
    pub in_place: bool,
    /// Wait for another process that writes to the array, rather than fail.
    #[arg(long)]
    pub wait: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SourcesOptions {
    #[command(flatten)]
    config: ConfigOptions,
    /// Only this dataset.
    #[arg(long, short, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Only the source that gave this row, counted from 0.
    #[arg(long, short, value_name = "N", conflicts_with = "rejected")]
    pub row: Option<u64>,
    /// Only the rejected sources.
    #[arg(long)]
    pub rejected: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RetryOptions {
    #[command(flatten)]
    config: ConfigOptions,
    /// Only this dataset.
    #[arg(long, short, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Only these sources, given as a path or as `sources --rejected` shows them, or where they were moved to. Without any: all
    /// rejected sources.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

impl Arguments {
    /// Those behind the command.
    fn of_command(&self) -> Option<&ConfigOptions> {
        match self.command.as_ref()? {
            Command::Check(config) | Command::Status { config, .. } | Command::Verify { config, .. } => Some(config),
            Command::Sources(options) => Some(&options.config),
            Command::Retry(options) => Some(&options.config),
            _ => None,
        }
    }

    pub fn log_format(&self) -> LogFormat {
        let behind = self.of_command().and_then(|options| options.log_format);
        behind.or(self.of_service.log_format).unwrap_or(LogFormat::Auto)
    }

    /// On either side of the command.
    fn named_config(&self) -> Option<&Path> {
        let behind = self.of_command().and_then(|options| options.config.as_deref());
        behind.or(self.of_service.config.as_deref())
    }

    pub fn names_config(&self) -> bool {
        self.named_config().is_some()
    }

    pub fn config_file(&self) -> Result<&Path, Failure> {
        self.named_config().ok_or_else(|| {
            let or_file = match &self.command {
                Some(Command::Verify { .. }) => ", or a .npy file that is to be checked",
                _ => "",
            };
            Failure::wrong_config(format!(
                "no config: name one with --config FILE{or_file}; config.example.toml shows every key"
            ))
        })
    }

    pub fn config(&self) -> Result<Config, Failure> {
        Ok(config::load(self.config_file()?)?)
    }
}

/// The datasets that were asked for: all, or the one of this name.
pub fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a Dataset>, Failure> {
    let Some(name) = name else { return Ok(config.datasets.iter().collect()) };
    match config.datasets.iter().find(|dataset| dataset.name == name) {
        Some(dataset) => Ok(vec![dataset]),
        None => {
            let names: Vec<&str> = config.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
            let names = names.join(", ");
            Err(Failure::wrong_config(format!("there is no dataset \"{name}\" in the config; it has: {names}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_config_can_be_named_on_either_side_of_the_command() {
        for line in ["npy-ingest --config a check", "npy-ingest check --config a"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.config_file().unwrap(), Path::new("a"));
        }
        for line in ["npy-ingest --log-format json verify", "npy-ingest sources --log-format json --rejected"] {
            assert_eq!(Arguments::try_parse_from(line.split(' ')).unwrap().log_format(), LogFormat::Json);
        }
    }

    /// The bug: each command listed `--config` and `--log-format`, also those that only work on a single file.
    #[test]
    fn only_the_commands_that_read_a_config_take_one() {
        let takes = |command: &&clap::Command| command.get_arguments().any(|argument| argument.get_id() == "config");
        let program = Arguments::command();
        let names: Vec<&str> = program.get_subcommands().filter(takes).map(clap::Command::get_name).collect();
        assert_eq!(names, ["check", "status", "sources", "retry", "verify"]);
    }

    #[test]
    fn a_shape_is_taken_as_numpy_prints_it() {
        let parsed = |text: &str| text.parse().ok().map(|RowShape(sides)| sides);
        for text in ["3,2", "3, 2", "(3, 2)", "(3,2,)", " 3,2, "] {
            assert_eq!(parsed(text), Some(vec![3, 2]), "{text}");
        }
        assert_eq!((parsed("(3,)"), parsed("3,"), parsed("()")), (Some(vec![3]), Some(vec![3]), Some(vec![])));
        for text in ["", ",", "3x2", "(3", "3,,2", "-1"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    /// The bug: they were broken once more where the help is wrapped.
    #[test]
    fn the_lines_of_the_help_fit() {
        assert!(AFTER_HELP.lines().all(|line| line.len() <= 100), "{AFTER_HELP}");
    }
}
