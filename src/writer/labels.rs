//! The class names of a dataset: their ids, and the file that tells readers of them.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::Path;

use crate::config::Paths;
use crate::storage::{Access, Disk, write_all_at};

/// What `labels.json` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There is none.
    Nothing,
    /// Just these names.
    These,
    /// Others, or something else.
    Others,
}

/// Class names by their ids, which are their places in the order in which they came.
#[derive(Debug, Default)]
pub struct Labels {
    ids: HashMap<String, i64>,
    /// Names in `labels.json`.
    published: usize,
}

impl Labels {
    /// Goes back to the names that the ledger has.
    pub fn reset(&mut self, names: &[String]) {
        self.ids = (0..).zip(names).map(|(id, name)| (name.clone(), id)).collect();
    }

    /// The id of a class, and whether it is a new one.
    pub fn id_of(&mut self, name: &str) -> (i64, bool) {
        if let Some(id) = self.ids.get(name) {
            return (*id, false);
        }
        let id = self.ids.len() as i64;
        self.ids.insert(name.to_owned(), id);
        (id, true)
    }

    pub fn published(&self) -> usize {
        self.published
    }

    pub fn set_published(&mut self, names: usize) {
        self.published = names;
    }

    /// Replaces `labels.json` by all these names, durably.
    pub fn write(&mut self, disk: &dyn Disk, paths: &Paths, names: &[String]) -> io::Result<()> {
        let temporary = paths.labels.with_extension("json.tmp");
        if disk.status(&temporary)?.is_some() {
            disk.remove_file(&temporary)?;
        }
        let file = disk.open(&temporary, Access::CreateNew)?;
        write_all_at(&*file, &mut [IoSlice::new(&text_of(names))], 0)?;
        file.sync_data()?;
        disk.rename(&temporary, &paths.labels)?;
        disk.sync_folder(paths.folder())?;
        self.published = names.len();
        Ok(())
    }

    /// Holds the file against these names.
    pub fn written(disk: &dyn Disk, path: &Path, names: &[String]) -> io::Result<Written> {
        let wanted = text_of(names);
        let file = match disk.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Written::Nothing),
            Err(error) => return Err(error),
        };
        if file.status()?.size != wanted.len() as u64 {
            return Ok(Written::Others);
        }
        let mut found = vec![0; wanted.len()];
        crate::storage::read_exact_at(&*file, &mut found, 0)?;
        Ok(if found == wanted { Written::These } else { Written::Others })
    }
}

/// A JSON array in one line.
fn text_of(names: &[String]) -> Vec<u8> {
    // Strings always have a JSON form.
    let mut text = serde_json::to_vec(names).unwrap_or_default();
    text.push(b'\n');
    text
}
