//! The validated world: what a config means once every fault has been ruled out.
//!
//! Nothing in here is optional because the user forgot it; defaults are filled in, paths are absolute, sizes are
//! bytes and times are [`Duration`]s. The rest of the program never looks at TOML.

mod audio;
mod logs;
mod media;
mod video;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::GlobSet;
use serde::{Deserialize, Serialize};

use crate::npy::Dtype;
use crate::source::{Hash, Place};

pub use audio::*;
pub use logs::*;
pub use media::*;
pub use video::*;

/// A whole config file.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from, absolute.
    pub file: PathBuf,
    pub service: Service,
    /// At least one; names and outputs are unique.
    pub datasets: Vec<Dataset>,
}

/// `[service]`
#[derive(Debug, Clone)]
pub struct Service {
    /// Decode threads, at least 1 (0 in the file has become the number of cores).
    pub workers: usize,
    /// Ceiling, in bytes, on decoded rows that wait for the writer.
    pub memory_bytes: u64,
    /// Where the status page, `/metrics` and `/healthz` listen.
    pub listen: Option<SocketAddr>,
    /// A dataset is paused while the disk of its output has less room than this.
    pub min_free: MinFree,
}

/// How much room is left to others on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinFree {
    /// Nothing was said: 256 MiB, or a twentieth of a disk on which that is less.
    Default,
    /// So many bytes, whatever the disk.
    Bytes(u64),
}

impl MinFree {
    /// Bytes to be left free on a disk of so many.
    pub fn bytes(self, disk_bytes: u64) -> u64 {
        match self {
            Self::Default => (256 << 20).min(disk_bytes / 20),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// One `[[dataset]]`.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub name: String,
    /// The folder of the config file, absolute: what the ledger's relative paths are relative to.
    pub base: PathBuf,
    /// The main `.npy` file, absolute.
    pub output: PathBuf,
    pub row: RowFormat,
    pub watch: Watch,
    pub decoder: DecoderOptions,
    pub columns: Columns,
    pub commit: Commit,
    /// From `[service]`.
    pub min_free: MinFree,
}

/// The shape and dtype of one row of the main file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFormat {
    /// Dimensions of one row, outermost first; the file's shape is `(N, *shape)`.
    pub shape: Vec<usize>,
    pub dtype: Dtype,
}

impl RowFormat {
    /// Bytes of one row. Validation has ruled out an overflow and zero.
    pub fn row_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.itemsize()
    }
}

impl Dataset {
    /// A watched folder, absolute.
    pub fn root(&self, folder: usize) -> &Path {
        self.watch.folders.get(folder).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The absolute path of a source.
    pub fn source_path(&self, place: &Place) -> PathBuf {
        self.root(place.folder).join(&place.below)
    }

    /// The path of a source as the ledger has it.
    pub fn ledger_path(&self, place: &Place) -> PathBuf {
        self.watch.folder_names.get(place.folder).map_or(Path::new(""), PathBuf::as_path).join(&place.below)
    }

    /// The place of an absolute path, if it lies in a watched folder.
    pub fn place_of(&self, path: &Path) -> Option<Place> {
        self.watch.folders.iter().enumerate().find_map(|(folder, root)| {
            let below = path.strip_prefix(root).ok()?.to_owned();
            Some(Place { folder, below })
        })
    }

    /// The ledger's path for an absolute one, if it lies in a watched folder.
    pub fn ledger_path_of(&self, path: &Path) -> Option<PathBuf> {
        self.place_of(path).map(|place| self.ledger_path(&place))
    }
}

/// `[dataset.watch]`
#[derive(Debug, Clone)]
pub struct Watch {
    /// The watched folders, absolute, none inside another.
    pub folders: Vec<PathBuf>,
    /// The same folders as the ledger names them: relative to the config file's folder where the config gives them so.
    /// A project that is moved as a whole keeps its ledger's paths.
    pub folder_names: Vec<PathBuf>,
    /// Which paths below a folder are sources, and which are not. Matching ignores case.
    pub include: GlobSet,
    pub exclude: GlobSet,
    pub recursive: bool,
    /// How long a file must be quiet to count as finished.
    pub settle: Duration,
    pub mode: WatchMode,
    pub rescan: Duration,
    pub order: Order,
    pub after: Disposal,
    pub rejected: Disposal,
    pub changed: Changed,
    pub duplicates: Duplicates,
    pub hard_links: HardLinks,
}

impl Watch {
    /// Whether a file whose content is not `known`, under a name for which the ledger has a committed source with that content, has
    /// nothing to be decoded: it is known, or disregarded. (Where the name is another source's by now, the writer asks again.)
    pub fn needs_no_rows(&self, known: Option<Hash>, content: &Hash) -> bool {
        known.is_some_and(|known| known == *content || self.disregards_changed())
    }

    /// Whether a committed source that was overwritten is left alone.
    pub fn disregards_changed(&self) -> bool {
        self.after == Disposal::Keep && self.changed == Changed::Ignore
    }

    /// Whether sources are moved to places of which this is one.
    pub fn moves_to(&self, path: &Path) -> bool {
        let is_below = |disposal: &Disposal| matches!(disposal, Disposal::Move(target) if path.starts_with(target));
        is_below(&self.after) || is_below(&self.rejected)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    Events,
    Poll,
    /// Events, except where the filesystem sends none (NFS, SMB, FUSE).
    Auto,
}

/// The order of what one scan finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By inode change time: when the file came under its name, as the kernel saw it.
    Arrival,
    Name,
    Mtime,
}

/// What becomes of a source once its fate is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposal {
    Keep,
    Delete,
    /// Moved below this folder (absolute), at the same relative path.
    Move(PathBuf),
}

/// A committed source that was overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    Ignore,
    Append,
}

/// The same content under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    Append,
    Skip,
}

/// A file that has further names, in this folder or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardLinks {
    Take,
    Refuse,
}

/// The one decoder table of a dataset.
#[derive(Debug, Clone)]
pub enum DecoderOptions {
    Image(ImageOptions),
    Audio(AudioOptions),
    Records(RecordsOptions),
    Csv(CsvOptions),
    Gps(GpsOptions),
    Npy(NpyOptions),
    Command(CommandOptions),
    Video(VideoOptions),
}

impl DecoderOptions {
    /// Whether sources are taken in parts, while they are still being written.
    pub fn follows(&self) -> bool {
        match self {
            Self::Records(options) => options.follow,
            Self::Csv(options) => options.follow,
            Self::Image(_) | Self::Video(_) | Self::Audio(_) | Self::Gps(_) | Self::Npy(_) | Self::Command(_) => false,
        }
    }
}

/// `[dataset.image]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageOptions {
    pub fit: Fit,
    pub filter: Filter,
    pub layout: Layout,
    /// Channels of a row: 1, 3 or 4. Derived from `shape` and `layout`.
    pub channels: usize,
    /// Whether the channel axis is in `shape` (false for `[H, W]`).
    pub channel_axis: bool,
    pub height: usize,
    pub width: usize,
    /// Sample type and byte order of a row.
    pub sample: SampleType,
    pub big_endian: bool,
    /// Fill of `contain`, and the ground of `alpha = "blend"`; on the 0 to 255 scale, one for each channel (length = `channels`).
    pub pad: Vec<f64>,
    /// `row = (value * scale - mean) / std` for float samples; each of length `channels`.
    pub scale: f64,
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
    pub orient: bool,
    pub alpha: Alpha,
    pub frames: Frames,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fit {
    Cover,
    Contain,
    Stretch,
    Exact,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos3,
    Area,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    Hwc,
    Chw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SampleType {
    U8,
    U16,
    F16,
    F32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alpha {
    Drop,
    Blend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frames {
    First,
    All,
}

/// `[dataset.columns]`
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    pub source: bool,
    pub index: bool,
    pub time: bool,
    /// `label = "folder"`.
    pub label: bool,
    pub split: Option<Split>,
}

/// `split = { train = 0.9, val = 0.1, by = "source" }`
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Names and fractions in the file's order; the place in this list is the value in the column. The fractions sum to 1.
    pub parts: Vec<(String, f64)>,
    pub by: SplitBy,
}

/// What is hashed to choose a row's split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitBy {
    /// The path below the watched folder: all rows of a source go together.
    Source,
    /// The content: the same bytes under two names go together.
    Content,
    /// The folder that holds the source: a recording session goes together.
    Folder,
    /// Source and row number: each row by itself.
    Row,
}

/// `[dataset.commit]`: a commit is due at whichever limit comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub max_delay: Duration,
    pub max_rows: u64,
    pub max_bytes: u64,
    pub durability: Durability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Each source is a commit of its own.
    Source,
    /// Sources are committed in groups.
    Batch,
    /// No fsync: safe against a killed process, not against a power cut.
    None,
}
