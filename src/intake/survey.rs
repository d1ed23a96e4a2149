//! What is in the folders, without taking any of it: for `check` and `status`.

use std::path::Path;
use std::sync::Arc;

use super::bare::BareFolders;
use super::look::{LogLook, Look};
use super::scan::walk;
use crate::config::{Dataset, Disposal};
use crate::ledger::{Fate, FirstLook, LedgerError};
use crate::source::Place;
use crate::storage::FileStatus;

/// How many files have which prospects.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Survey {
    /// To be taken.
    pub new: u64,
    /// Their size in bytes.
    pub new_bytes: u64,
    pub committed: u64,
    /// Committed, and still to be moved or deleted, unless their content is another one by now.
    pub leaving: u64,
    pub rejected: u64,
    /// Overwritten after their commit, and disregarded by `changed = "ignore"`.
    pub ignored: u64,
    /// Symbolic links, which are not followed.
    pub links: u64,
    /// Folders and files that cannot be read.
    pub problems: Vec<String>,
}

impl Survey {
    /// A log that is followed: it has something new, or all of it is there.
    fn add_log(&mut self, log: &LogLook, status: &FileStatus) {
        let taken = match log {
            LogLook::Nothing => return self.committed += 1,
            LogLook::Grown { state, .. } => state.part.end,
            LogLook::Replaced(_) | LogLook::New => 0,
        };
        self.new += 1;
        self.new_bytes += status.size.saturating_sub(taken);
    }
}

/// Walks the folders of one dataset and asks its ledger, if there is one, about every file.
pub fn survey(options: &Arc<Dataset>) -> Result<Survey, LedgerError> {
    let look = Look::open_for_survey(options)?;
    let mut survey = Survey::default();
    for (folder, root) in options.watch.folders.iter().enumerate() {
        let mut failure = None;
        let walked = walk(root, Path::new(""), &options.watch, &mut BareFolders::default(), &mut |below, status| {
            let place = Place { folder, below };
            if options.decoder.follows() {
                let log = look.as_ref().map_or(Ok(LogLook::New), |look| look.log(&place, &status));
                match log {
                    Ok(log) => survey.add_log(&log, &status),
                    Err(error) => failure = Some(error),
                }
                return;
            }
            let first = match &look {
                Some(look) => look.at(&place, &status),
                None => Ok(FirstLook::Read { known_hash: None }),
            };
            match first {
                // Touched: its content is compared, and disregarded where it is another one.
                Ok(FirstLook::Read { known_hash: Some(_) }) if options.watch.disregards_changed() => {
                    survey.committed += 1
                }
                Ok(FirstLook::Read { known_hash: Some(_) }) if options.watch.after != Disposal::Keep => {
                    survey.leaving += 1;
                }
                Ok(FirstLook::Read { .. }) => {
                    survey.new += 1;
                    survey.new_bytes += status.size;
                }
                Ok(FirstLook::Known(entry)) => match entry.fate {
                    Fate::Committed(_) => survey.committed += 1,
                    Fate::Rejected { .. } => survey.rejected += 1,
                },
                Ok(FirstLook::Ignored(_)) => survey.ignored += 1,
                Err(error) => failure = Some(error),
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        match walked {
            Ok(walked) => {
                survey.links += walked.links;
                let text = |problem: super::scan::Problem| format!("{}: {}", problem.path.display(), problem.error);
                survey.problems.extend(walked.problems.into_iter().map(text));
            }
            Err(error) => survey.problems.push(format!("{}: {error}", root.display())),
        }
    }
    Ok(survey)
}
