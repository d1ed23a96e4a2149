//! A whole simulated filesystem as a value: cheap to copy, so that every instant of a run can be kept.
//!
//! Names are kept like contents: what is visible, what is durable, and the changes between. A change is one call: a rename
//! takes the old name away and puts the new one in place, and a power cut keeps both or neither, as every journal does.
//! Apart from that, any subset of the changes survives.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::Content;
use super::{FileStatus, Tearing};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    File(u64),
    Folder(u64),
}

/// Compared byte by byte, which is faster than component by component.
type Name = Arc<OsStr>;
type Names = Arc<BTreeMap<Name, Node>>;

/// What one call did to names.
#[derive(Debug, Clone, Hash)]
struct Change {
    names: Arc<[(Name, Option<Node>)]>,
}

#[derive(Debug, Clone)]
struct File {
    device: u64,
    content: Content,
    mtime_ns: i64,
    ctime_ns: i64,
    /// The time that a power cut leaves.
    durable_mtime_ns: i64,
}

impl File {
    fn new(device: u64, content: Content, time_ns: i64) -> Self {
        Self { device, content, mtime_ns: time_ns, ctime_ns: time_ns, durable_mtime_ns: time_ns }
    }

    fn has_pending(&self) -> bool {
        self.content.has_pending() || self.mtime_ns != self.durable_mtime_ns
    }

    fn after_power_cut(&self, tearing: Tearing, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let content = self.content.after_power_cut(tearing == Tearing::Units, choose);
        Self { content, mtime_ns: self.durable_mtime_ns, ..*self }
    }
}

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Counts the changes; also the time, ten seconds each: no two files are of the same time.
    clock: i64,
    inodes: u64,
    files: BTreeMap<u64, Arc<File>>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<Change>,
    /// Folders that another device is mounted at. Their own names are durable.
    devices: Arc<[PathBuf]>,
}

impl Image {
    /// Mounts another device at a folder, which need not be there yet.
    pub fn put_device(&mut self, folder: &Path) {
        self.devices = self.devices.iter().cloned().chain([folder.to_owned()]).collect();
    }

    /// 0 is the one that everything else is on.
    fn device(&self, path: &Path) -> u64 {
        self.devices.iter().zip(1..).find(|(folder, _)| path.starts_with(folder)).map_or(0, |(_, number)| number)
    }

    /// Puts a folder on the disk, durably, with those above it.
    pub fn put_folder(&mut self, path: &Path) {
        for folder in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if self.node(folder).is_none() {
                self.inodes += 1;
                self.put(folder, Node::Folder(self.inodes));
            }
        }
    }

    /// Puts a file on the disk, durably; in place of one that may be there. Its inode.
    pub fn put_file(&mut self, path: &Path, bytes: &[u8]) -> u64 {
        if let Some(folder) = path.parent() {
            self.put_folder(folder);
        }
        let time_ns = self.tick();
        self.inodes += 1;
        let file = File::new(self.device(path), Content::durable(bytes), time_ns);
        self.files.insert(self.inodes, Arc::new(file));
        self.put(path, Node::File(self.inodes));
        self.inodes
    }

    /// Makes a durable file longer, with zeros.
    pub fn put_length(&mut self, path: &Path, bytes: u64) {
        if let Some(Node::File(inode)) = self.node(path)
            && let Ok(content) = self.content_mut(inode)
        {
            content.set_length(bytes);
            self.sync(inode, true).ok();
        }
    }

    /// Renames a file, durably.
    pub fn put_rename(&mut self, from: &Path, to: &Path) {
        if let Some(node) = self.node(from) {
            for names in [&mut self.names, &mut self.durable_names] {
                Arc::make_mut(names).remove(from.as_os_str());
            }
            self.put(to, node);
        }
    }

    /// The files below a folder, in the order of their names.
    pub fn files_below(&self, folder: &Path) -> Vec<PathBuf> {
        let below = |name: &Name| Path::new(&**name).strip_prefix(folder).is_ok_and(|rest| rest != Path::new(""));
        let files = self.names.iter().filter(|(name, node)| matches!(node, Node::File(_)) && below(name));
        files.map(|(name, _)| PathBuf::from(&**name)).collect()
    }

    /// All names of a file.
    pub fn names_of(&self, inode: u64) -> Vec<PathBuf> {
        let names = self.names.iter().filter(|(_, node)| **node == Node::File(inode));
        names.map(|(name, _)| PathBuf::from(&**name)).collect()
    }

    /// The bytes of a file as a reader sees them.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let content = self.content(path)?;
        let mut bytes = vec![0; usize::try_from(content.length()).ok()?];
        content.read(&mut bytes, 0);
        Some(bytes)
    }

    /// At most so many bytes of a file, from `offset` on.
    pub fn read_at(&self, path: &Path, bytes_max: usize, offset: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; bytes_max];
        let read = self.content(path)?.read(&mut bytes, offset);
        bytes.truncate(read);
        Some(bytes)
    }

    pub fn is_folder(&self, path: &Path) -> bool {
        matches!(self.node(path), Some(Node::Folder(_)))
    }

    pub fn status(&self, path: &Path) -> Option<FileStatus> {
        match self.node(path)? {
            Node::File(inode) => self.file_status(inode).ok(),
            Node::Folder(inode) => Some(FileStatus {
                device: self.device(path),
                inode,
                size: 0,
                mtime_ns: 0,
                ctime_ns: 0,
                born_ns: None,
                is_regular: false,
                is_folder: true,
            }),
        }
    }

    /// The disk when power comes back. `choose` is asked for each thing that was pending, in a fixed order, with the number
    /// of states that it can have been left in: 0 is the durable one.
    pub fn after_power_cut(&self, tearing: Tearing, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let mut names = self.durable_names.clone();
        for change in &self.pending_names {
            if choose(2) == 1 {
                apply(Arc::make_mut(&mut names), change);
            }
        }
        // Whatever lies in a folder whose own name did not survive is gone with it.
        if !self.pending_names.is_empty() {
            let whole = names.clone();
            Arc::make_mut(&mut names).retain(|name, _| {
                let above = Path::new(&**name).ancestors().skip(1);
                above.into_iter().all(|folder| matches!(whole.get(folder.as_os_str()), Some(Node::Folder(_))))
            });
        }
        let mut files = BTreeMap::new();
        for node in names.values() {
            if let Node::File(inode) = node
                && let Some(file) = self.files.get(inode)
            {
                files.entry(*inode).or_insert_with(|| match file.has_pending() {
                    false => file.clone(),
                    true => Arc::new(file.after_power_cut(tearing, choose)),
                });
            }
        }
        Self {
            clock: self.clock,
            inodes: self.inodes,
            files,
            names: names.clone(),
            durable_names: names,
            pending_names: Vec::new(),
            devices: self.devices.clone(),
        }
    }

    /// The machine goes on after a process died.
    pub fn after_kill(&self) -> Self {
        let mut image = self.clone();
        image.settle_folders();
        image
    }

    /// The names of new folders become durable, as they do with time.
    pub(super) fn settle_folders(&mut self) {
        self.settle(|change| change.names.iter().all(|(_, node)| matches!(node, Some(Node::Folder(_)))));
    }

    /// Tells images apart by what is visible and what is pending.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        for (name, node) in self.names.iter() {
            (name, node).hash(hasher);
            if let Node::File(inode) = node
                && let Some(file) = self.files.get(inode)
            {
                file.content.digest(hasher);
                // It tells a copy from another file.
                if file.device != 0 {
                    file.mtime_ns.hash(hasher);
                }
            }
        }
        self.pending_names.hash(hasher);
    }

    pub(super) fn inode(&self, path: &Path) -> io::Result<u64> {
        match self.node(path) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        if self.node(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.needs_folder_of(path)?;
        let time_ns = self.tick();
        self.inodes += 1;
        let file = File::new(self.device(path), Content::default(), time_ns);
        self.files.insert(self.inodes, Arc::new(file));
        self.change(&[(path, Some(Node::File(self.inodes)))]);
        Ok(self.inodes)
    }

    pub(super) fn create_folders(&mut self, path: &Path) -> io::Result<()> {
        for folder in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            match self.node(folder) {
                Some(Node::Folder(_)) => {}
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    self.inodes += 1;
                    self.change(&[(folder, Some(Node::Folder(self.inodes)))]);
                }
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
        let node = self.node(from).ok_or(io::ErrorKind::NotFound)?;
        self.needs_folder_of(to)?;
        if self.device(from) != self.device(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        if !replaces && self.node(to).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let time_ns = self.tick();
        if let Node::File(inode) = node
            && let Some(file) = self.files.get_mut(&inode)
        {
            Arc::make_mut(file).ctime_ns = time_ns;
        }
        self.change(&[(from, None), (to, Some(node))]);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.inode(path)?;
        self.change(&[(path, None)]);
        Ok(())
    }

    /// All changes in this folder become durable, and with a rename both of its names.
    pub(super) fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        if !self.is_folder(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.settle(|change| change.names.iter().any(|(name, _)| Path::new(&**name).parent() == Some(folder)));
        Ok(())
    }

    pub(super) fn file_status(&self, inode: u64) -> io::Result<FileStatus> {
        let file = self.files.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        Ok(FileStatus {
            device: file.device,
            inode,
            size: file.content.length(),
            mtime_ns: file.mtime_ns,
            ctime_ns: file.ctime_ns,
            born_ns: None,
            is_regular: true,
            is_folder: false,
        })
    }

    pub(super) fn content_of(&self, inode: u64) -> io::Result<&Content> {
        Ok(&self.files.get(&inode).ok_or(io::ErrorKind::NotFound)?.content)
    }

    pub(super) fn content_mut(&mut self, inode: u64) -> io::Result<&mut Content> {
        let time_ns = self.tick();
        let file = Arc::make_mut(self.files.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?);
        (file.mtime_ns, file.ctime_ns) = (time_ns, time_ns);
        Ok(&mut file.content)
    }

    pub(super) fn sync(&mut self, inode: u64, succeeds: bool) -> io::Result<()> {
        let file = self.files.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        if !file.has_pending() {
            return Ok(());
        }
        let file = Arc::make_mut(file);
        if succeeds {
            file.content.sync();
            file.durable_mtime_ns = file.mtime_ns;
        } else {
            file.content.lose_sync();
        }
        Ok(())
    }

    pub(super) fn copy_times(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mtime_ns = self.file_status(self.inode(from)?)?.mtime_ns;
        let (inode, ctime_ns) = (self.inode(to)?, self.tick());
        let file = Arc::make_mut(self.files.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?);
        (file.mtime_ns, file.ctime_ns) = (mtime_ns, ctime_ns);
        Ok(())
    }

    fn node(&self, path: &Path) -> Option<Node> {
        self.names.get(path.as_os_str()).copied()
    }

    fn content(&self, path: &Path) -> Option<&Content> {
        self.content_of(self.inode(path).ok()?).ok()
    }

    fn needs_folder_of(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(folder) if self.is_folder(folder) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change(&mut self, names: &[(&Path, Option<Node>)]) {
        let names = names.iter().map(|(path, node)| (Name::from(path.as_os_str()), *node)).collect();
        let change = Change { names };
        apply(Arc::make_mut(&mut self.names), &change);
        self.pending_names.push(change);
    }

    /// Makes changes durable, with all earlier ones of the same names.
    fn settle(&mut self, is_wanted: impl Fn(&Change) -> bool) {
        let mut settled: Vec<bool> = self.pending_names.iter().map(is_wanted).collect();
        for later in (0..settled.len()).rev() {
            if settled.get(later) != Some(&true) {
                continue;
            }
            let Some(names) = self.pending_names.get(later).map(|change| change.names.clone()) else { continue };
            for (is_settled, earlier) in settled.iter_mut().zip(&self.pending_names).take(later) {
                *is_settled |= earlier.names.iter().any(|(name, _)| names.iter().any(|(other, _)| other == name));
            }
        }
        let mut pending = Vec::new();
        for (change, is_settled) in std::mem::take(&mut self.pending_names).into_iter().zip(settled) {
            if is_settled {
                apply(Arc::make_mut(&mut self.durable_names), &change);
            } else {
                pending.push(change);
            }
        }
        self.pending_names = pending;
    }

    fn put(&mut self, path: &Path, node: Node) {
        self.settle(|change| change.names.iter().any(|(name, _)| **name == *path.as_os_str()));
        for names in [&mut self.names, &mut self.durable_names] {
            Arc::make_mut(names).insert(path.as_os_str().into(), node);
        }
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock * 10_000_000_000
    }
}

fn apply(names: &mut BTreeMap<Name, Node>, change: &Change) {
    for (name, node) in &*change.names {
        match node {
            Some(node) => drop(names.insert(name.clone(), *node)),
            None => drop(names.remove(name)),
        }
    }
}
