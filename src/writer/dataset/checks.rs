//! What is looked at before anything is written.

use super::{DatasetWriter, Fault};

impl DatasetWriter {
    /// Whether the paths still name the open files: rows in a file that nobody can open are lost, and their sources must not
    /// be disposed of.
    pub(super) fn check_names(&self) -> Result<(), Fault> {
        let files = self.columns.iter().map(|column| &column.file).chain([&self.main]);
        for file in files {
            let named = self.disk.status(file.path()).map_err(|error| Fault::io("looking for", file.path(), &error))?;
            if named.is_none_or(|named| named.inode != file.inode()) {
                return Err(Fault::Passing(format!(
                    "{} is not there any more, or is another file: it was moved, removed or replaced under the running \
                     service; put it back, or restart to begin with what is there",
                    file.path().display()
                )));
            }
        }
        Ok(())
    }

    /// Whether the disk has room for so many bytes, and for what is to stay free. A disk that cannot be asked has.
    pub fn check_room(&self, needed: u64) -> Result<(), Fault> {
        let folder = self.paths.folder();
        if let Ok(Some((free, disk_bytes))) = self.disk.room(folder) {
            let min_free = self.options.min_free.bytes(disk_bytes);
            if free < min_free.saturating_add(needed) {
                return Err(Fault::little_room(folder, free, needed, min_free));
            }
        }
        Ok(())
    }
}
