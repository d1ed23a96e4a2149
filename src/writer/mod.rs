//! The writer: the only one that writes outputs. Every column file, the ledger and the lock are its own.
//!
//! | file | |
//! |---|---|
//! | `dataset` | [`DatasetWriter`]: the commit protocol of one dataset |
//! | `batch` | what is staged for the next transaction |
//! | `chain` | checksums that go on |
//! | `clean` | which rows the next start need not check |
//! | `column` | the aligned columns and their values |
//! | `labels` | class names, their ids and their file |
//! | `parts` | logs that are followed: rows and offset in one commit |
//! | `paths` | the names of a dataset's files |
//! | `fault` | why nothing can be written: what may pass, and what needs a restart |
//! | `dispose` | what becomes of a source after its commit |
//! | `disposer` | the thread that does it |
//! | `relocate` | moving and removing files, never another one than is meant |
//! | `aside` | files that are set aside meanwhile |
//! | `whereabouts` | where a rejected source is that was moved |
//! | `slot` | one dataset's sources in their order, and what happens when a disk fails |
//! | `thread` | [`Writer`]: all datasets, message by message |

mod aside;
mod batch;
mod chain;
mod clean;
mod column;
mod dataset;
mod dispose;
mod disposer;
mod fault;
mod labels;
mod parts;
mod relocate;
mod slot;
mod thread;
mod whereabouts;

pub use aside::{has_room_aside, home_of, is_any_aside, is_aside, put_back_if_free, put_back_if_left, set_aside};
pub use batch::{is_elsewhere, rules};
pub use column::Column;
pub use dataset::{DatasetWriter, Finish, FinishedSource, SourceResult, StagedAs, check_room};
#[cfg(feature = "simulation")]
pub use dispose::{Disposed, Leaving, dispose};
pub use dispose::{make_folders, reason_path};
pub use disposer::Disposer;
pub use fault::Fault;
pub use labels::{Labels, Written};
pub use parts::FinishedPart;
#[cfg(feature = "simulation")]
pub use relocate::Asks;
pub use relocate::{copy_near, is_temporary, move_aside, move_beside};
pub use slot::Opening;
#[cfg(feature = "simulation")]
pub use slot::Slot;
pub use thread::{Opener, Writer};
pub use whereabouts::{find_moved, is_it, missing_folder};
