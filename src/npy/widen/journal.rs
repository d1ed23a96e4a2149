//! Moving the rows within their file, so that every instant can be the last.
//!
//! The journal is a file beside the array, `.NAME.moving`:
//!
//! ```text
//! plan     magic, both headers, the file's length and inode, the size of a piece, a BLAKE3 hash of all that
//! slot 0   number, place, length, a BLAKE3 hash, and the bytes of a piece: pieces 0, 2, 4, ...
//! slot 1   the same: pieces 1, 3, 5, ...
//! ```
//!
//! 1. The journal is written with both slots filled (so that there is room for them), and synced.
//! 2. The file's first 16 bytes become a mark with the start of the plan's hash, and are synced: from here on no reader takes
//!    it for an array, and anybody who opens it here finishes the move. Only then the file is extended: behind an array that
//!    can be read, another program would append its rows to the zeros.
//! 3. From the end of the file to its start, piece by piece: the piece goes into its slot, sync; to its new place, sync.
//! 4. The new header, all but its first 16 bytes, sync; its first 16 bytes, sync. The journal is removed.
//!
//! After a crash: with the old header nothing has happened, with the new one all has, and the journal is removed. With the mark
//! the newest piece whose hash is right is written again, and the move goes on below it. The piece before that one is durable
//! in its new place, because its sync came before the slot of its successor was written. A journal that is shorter than it was
//! written, or whose slots say what no crash leaves, is refused.
//!
//! A header that only has to be rewritten across two sectors is a move by 0 bytes: no mark, no pieces, one write. It is gone on
//! with where each block of 16 bytes is one of the old header or of the new one.
//!
//! Whatever else stands there was written since then. In the same inode nothing is left of what the journal is about, and it is
//! removed if there is an array; in another one, the file that it is about may have another name now, and the journal is kept
//! for it. A file of the journal's name that does not begin as one was never ours, and is refused.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::super::append::{AppendError, Opened};
use super::super::header::MOVING;
use super::super::inspect::read_header_on;
use super::beside::remove_copy;
use super::{beside, copy_piece, fill, folder, open_own, read_start};
use crate::storage::{Access, Disk, DiskFile, read_exact_at, write_all_at, write_block_at};

const MAGIC: [u8; 16] = *b"npy-ingest move2";
const BLOCK_BYTES: usize = 16;
/// Bytes of a piece; fewer when the file is smaller. Small on the simulated disk, where it is to take several.
const PIECE_BYTES_MAX: u64 = if cfg!(feature = "simulation") { 1 << 10 } else { 4 << 20 };
/// Number, place and length of a slot's piece,
const SLOT_NUMBERS_BYTES: usize = 3 * 8;
/// and its hash.
const SLOT_HEAD_BYTES: usize = SLOT_NUMBERS_BYTES + 32;
const SLOT_ALIGNMENT: u64 = 4096;
/// Both headers are read from a file of this program, which has checked their length; a damaged one is found by its hash.
const PLAN_BYTES_MAX: u64 = 4 << 20;

/// The file beside an array whose rows are being moved. It is there only while they are, or after that was cut off.
pub fn journal_path(path: &Path) -> PathBuf {
    beside(path, ".moving")
}

struct Plan {
    old_header: Vec<u8>,
    new_header: Vec<u8>,
    /// Bytes of the file before the move.
    length: u64,
    inode: u64,
    piece_bytes: u64,
}

/// Where a file stands in a move that was cut off.
enum Stage {
    /// Nothing has happened yet.
    Before,
    Within,
    /// All but that the journal is there.
    Behind,
    /// It is no file of this move.
    Other,
}

impl Plan {
    fn shift(&self) -> u64 {
        (self.new_header.len() as u64).saturating_sub(self.old_header.len() as u64)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let lengths = [self.old_header.len() as u64, self.new_header.len() as u64];
        let numbers = lengths.into_iter().chain([self.length, self.inode, self.piece_bytes]);
        bytes.extend(numbers.flat_map(u64::to_le_bytes));
        bytes.extend_from_slice(&self.old_header);
        bytes.extend_from_slice(&self.new_header);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        bytes
    }

    /// What stands where the magic of an array did: of this move alone.
    fn mark(&self) -> [u8; BLOCK_BYTES] {
        let plan = self.encode();
        let hash = plan.last_chunk::<32>().copied().unwrap_or_default();
        let mut mark = [0; BLOCK_BYTES];
        mark.iter_mut().zip(MOVING.iter().chain(&hash)).for_each(|(to, from)| *to = *from);
        mark
    }

    /// By its first bytes.
    fn stage(&self, start: &[u8]) -> Stage {
        if start.starts_with(&self.old_header) {
            Stage::Before
        } else if start.starts_with(&self.new_header) {
            Stage::Behind
        } else if self.shift() > 0 {
            if start.starts_with(&self.mark()) { Stage::Within } else { Stage::Other }
        } else {
            let [found, old, new] =
                [start, &self.old_header, &self.new_header].map(|header| header.chunks(BLOCK_BYTES));
            let mut each = found.zip(old.zip(new));
            let is_mixed =
                start.len() == self.new_header.len() && each.all(|(found, (old, new))| found == old || found == new);
            if is_mixed { Stage::Within } else { Stage::Other }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (old, rest) = number(rest)?;
        let (new, rest) = number(rest)?;
        let (length, rest) = number(rest)?;
        let (inode, rest) = number(rest)?;
        let (piece_bytes, rest) = number(rest)?;
        let (old_header, rest) = rest.split_at_checked(usize::try_from(old).ok()?)?;
        let (new_header, rest) = rest.split_at_checked(usize::try_from(new).ok()?)?;
        let hashed = bytes.get(..bytes.len().checked_sub(rest.len())?)?;
        let is_sound = rest.first_chunk::<32>()? == blake3::hash(hashed).as_bytes() && piece_bytes > 0;
        let (old_header, new_header) = (old_header.to_vec(), new_header.to_vec());
        is_sound.then_some(Self { old_header, new_header, length, inode, piece_bytes })
    }

    /// Where a piece is before the move, and how long it is; 0 behind the last one. The first is the end of the file.
    fn piece(&self, number: u64) -> (u64, u64) {
        let start = self.old_header.len() as u64;
        let end = |pieces: u64| self.length.saturating_sub(pieces.saturating_mul(self.piece_bytes)).max(start);
        let place = end(number.saturating_add(1));
        (place, end(number).saturating_sub(place))
    }

    /// How the slot of a piece begins, but for its hash.
    fn slot_numbers(&self, number: u64) -> [u8; SLOT_NUMBERS_BYTES] {
        let (place, length) = self.piece(number);
        let mut numbers = [0; SLOT_NUMBERS_BYTES];
        let bytes = [number, place, length].into_iter().flat_map(u64::to_le_bytes);
        numbers.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        numbers
    }

    /// Where the slot of a piece begins.
    fn slot(&self, number: u64) -> u64 {
        let plan_bytes = self.encode().len() as u64;
        let slot_bytes = (SLOT_HEAD_BYTES as u64 + self.piece_bytes).next_multiple_of(SLOT_ALIGNMENT);
        plan_bytes.next_multiple_of(SLOT_ALIGNMENT) + number % 2 * slot_bytes
    }

    fn bytes(&self) -> u64 {
        self.slot(1) + SLOT_HEAD_BYTES as u64 + self.piece_bytes
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// A piece in its slot.
struct Piece {
    number: u64,
    /// Where it was before the move.
    place: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn head(&self) -> Vec<u8> {
        let numbers = [self.number, self.place, self.bytes.len() as u64];
        let mut head: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let hash = blake3::Hasher::new().update(&head).update(&self.bytes).finalize();
        head.extend_from_slice(hash.as_bytes());
        head
    }

    fn write(&self, journal: &dyn DiskFile, plan: &Plan) -> io::Result<()> {
        write_all_at(journal, &mut [IoSlice::new(&self.head()), IoSlice::new(&self.bytes)], plan.slot(self.number))
    }

    /// `None` where the slot holds no whole piece.
    fn read(journal: &dyn DiskFile, plan: &Plan, slot: u64) -> io::Result<Option<Self>> {
        let mut head = [0; SLOT_HEAD_BYTES];
        if !read_all_or_nothing(journal, &mut head, plan.slot(slot))? {
            return Ok(None);
        }
        let Some(((piece, rest), place, length)) = number(&head).and_then(|(piece, rest)| {
            let (place, rest) = number(rest)?;
            let (length, rest) = number(rest)?;
            Some(((piece, rest), place, length))
        }) else {
            return Ok(None);
        };
        let _ = rest;
        if length > plan.piece_bytes || piece % 2 != slot {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let start = plan.slot(slot) + SLOT_HEAD_BYTES as u64;
        if !read_all_or_nothing(journal, &mut bytes, start)? {
            return Ok(None);
        }
        let piece = Self { number: piece, place, bytes };
        Ok((piece.head() == head).then_some(piece))
    }
}

/// `false` where the file ends before.
fn read_all_or_nothing(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match read_exact_at(file, buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the file another header, which may be longer.
pub(super) fn move_rows(disk: &dyn Disk, opened: &Opened, new_header: &[u8]) -> Result<(), AppendError> {
    let length = opened.file_bytes;
    let data_bytes = length.saturating_sub(opened.header_bytes.len() as u64);
    let inode = opened.file.status().map_err(AppendError::disk("looking at", &opened.path))?.inode;
    let plan = Plan {
        old_header: opened.header_bytes.clone(),
        new_header: new_header.to_vec(),
        length,
        inode,
        piece_bytes: data_bytes.clamp(1, PIECE_BYTES_MAX),
    };
    let path = journal_path(&opened.path);
    let (file, is_move) = (&*opened.file, plan.shift() > 0);
    let preparing = || AppendError::disk("preparing to move the rows of", &opened.path);
    let journal = disk.open(&path, Access::CreateNew).map_err(preparing())?;
    let prepare = || {
        write_all_at(&*journal, &mut [IoSlice::new(&plan.encode())], 0)?;
        if is_move {
            fill(&*journal, plan.slot(0), plan.bytes())?;
        }
        journal.sync_data()?;
        disk.sync_folder(folder(&path))?;
        if is_move { reserve(disk, opened, length + plan.shift()) } else { Ok(()) }
    };
    if let Err(error) = prepare() {
        // Nothing has been moved. What cannot be undone now is undone by whoever opens the file next.
        let _ = disk.remove_file(&path);
        return Err(preparing()(error));
    }
    if is_move && let Err(error) = mark_and_extend(file, &plan) {
        // Where this fails as well, the mark stays, and whoever opens the file next goes on with the move.
        return Err(match unmark(file, &plan).and_then(|()| disk.remove_file(&path)) {
            Ok(()) => preparing()(error),
            Err(_) => unfinished(&opened.path, error),
        });
    }
    let moved = run(file, &*journal, &plan, 0);
    moved.and_then(|()| remove(disk, &path)).map_err(|source| unfinished(&opened.path, source))
}

/// What is moved into a hole needs room as well. The holes that were filled before there was too little of it could not be
/// told from the others, so that none is where there cannot be enough.
fn reserve(disk: &dyn Disk, opened: &Opened, bytes: u64) -> io::Result<()> {
    let (file, length) = (&*opened.file, opened.file_bytes);
    let room = disk.room(folder(&opened.path)).ok().flatten();
    if let (Some(allocated), Some((free, _))) = (file.allocated()?, room)
        && allocated < length
        && bytes - allocated > free
    {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "its holes would be filled, which takes {} bytes, and {free} are free: without --in-place a copy is made, in \
                 which holes stay holes",
                bytes - allocated
            ),
        ));
    }
    file.reserve(0, bytes).inspect_err(|_| {
        // What was taken behind the end is free again. Where it cannot be, the next attempt uses it.
        let _ = file.status().and_then(|found| file.set_len(found.size));
    })
}

/// Step 2.
fn mark_and_extend(file: &dyn DiskFile, plan: &Plan) -> io::Result<()> {
    write_block_at(file, &plan.mark(), 0)?;
    file.sync_data()?;
    fill(file, plan.length, plan.length + plan.shift())?;
    file.sync_data()
}

/// Takes step 2 back. The zeros are gone for good before the file is an array again.
fn unmark(file: &dyn DiskFile, plan: &Plan) -> io::Result<()> {
    file.set_len(plan.length)?;
    file.sync_data()?;
    let first = plan.old_header.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    write_block_at(file, first, 0)?;
    file.sync_data()
}

fn unfinished(path: &Path, source: io::Error) -> AppendError {
    AppendError::Disk {
        operation: "moving the rows (run ensure-appendable again to finish it) of",
        path: path.into(),
        source,
    }
}

/// Steps 3 and 4. So many pieces have been moved.
fn run(file: &dyn DiskFile, journal: &dyn DiskFile, plan: &Plan, moved: u64) -> io::Result<()> {
    let shift = plan.shift();
    if shift == 0 {
        write_all_at(file, &mut [IoSlice::new(&plan.new_header)], 0)?;
        return file.sync_data();
    }
    for number in moved.. {
        let (place, length) = plan.piece(number);
        if length == 0 {
            break;
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        copy_piece(file, &mut bytes, place)?;
        let piece = Piece { number, place, bytes };
        piece.write(journal, plan)?;
        journal.sync_data()?;
        put(file, &piece, shift)?;
    }
    let (first, rest) = plan.new_header.split_first_chunk::<BLOCK_BYTES>().ok_or(io::ErrorKind::InvalidData)?;
    write_all_at(file, &mut [IoSlice::new(rest)], BLOCK_BYTES as u64)?;
    file.sync_data()?;
    write_block_at(file, first, 0)?;
    file.sync_data()
}

fn put(file: &dyn DiskFile, piece: &Piece, shift: u64) -> io::Result<()> {
    write_all_at(file, &mut [IoSlice::new(&piece.bytes)], piece.place + shift)?;
    file.sync_data()
}

fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.remove_file(path)?;
    disk.sync_folder(folder(path))
}

/// Refuses to make an array where one was renamed or removed in the middle of a move: the journal is that one's.
pub(in super::super) fn refuse_beside_journal(disk: &dyn Disk, path: &Path) -> Result<(), AppendError> {
    let journal = journal_path(path);
    match open_own(disk, path, &journal, &MAGIC)? {
        Some(_) => Err(AppendError::Journal { path: path.to_owned(), journal, problem: "it is not there".to_owned() }),
        None => Ok(()),
    }
}

/// Finishes what a crash has cut off, or undoes it where nothing has been moved. The caller has the file's lock. By how many
/// bytes the rows were moved, where there was something left to do.
pub(in super::super) fn finish(disk: &dyn Disk, path: &Path, file: &dyn DiskFile) -> Result<Option<u64>, AppendError> {
    remove_copy(disk, path)?;
    let journal_path = journal_path(path);
    let Some(journal) = open_own(disk, path, &journal_path, &MAGIC)? else { return Ok(None) };
    let foreign = |problem: &str| AppendError::Journal {
        path: path.to_owned(),
        journal: journal_path.clone(),
        problem: problem.to_owned(),
    };
    let damaged =
        |problem: String| AppendError::DamagedJournal { path: path.to_owned(), journal: journal_path.clone(), problem };
    let read_error = |source| AppendError::Disk { operation: "reading", path: journal_path.clone(), source };
    let plan = read_plan(&*journal).map_err(read_error)?;
    let start = |bytes| read_start(file, bytes).map_err(AppendError::disk("reading", path));
    let remove = || remove(disk, &journal_path).map(|()| None).map_err(|source| unfinished(path, source));
    let remove_beside_array = || match read_header_on(file) {
        Ok(_) => remove(),
        Err(error) => Err(foreign(&error.to_string())),
    };
    let Some(plan) = plan else {
        // It was never finished, so nothing was begun.
        return match start(BLOCK_BYTES)?.starts_with(&MOVING) {
            true => Err(damaged("its plan is not what was written".to_owned())),
            false => remove_beside_array(),
        };
    };
    let shift = plan.shift();
    let status = file.status().map_err(AppendError::disk("looking at", path))?;
    let (length, is_same) = (status.size, status.inode == plan.inode);
    let found = start(plan.new_header.len())?;
    match plan.stage(&found) {
        Stage::Within => {}
        Stage::Before | Stage::Other if shift > 0 && !is_same => {
            return Err(foreign("the file is another one, which was made since then"));
        }
        // The file was not touched: what lies behind its rows now is another program's.
        Stage::Before => return remove(),
        Stage::Other if found.starts_with(&MOVING) => return Err(foreign("the file has the mark of another move")),
        Stage::Other => return remove_beside_array(),
        // Without the sync a power cut could bring the mark back, and no journal with it.
        Stage::Behind => {
            file.sync_data().map_err(|source| unfinished(path, source))?;
            return remove();
        }
    }
    if length < plan.length {
        return Err(foreign("it is shorter than it was"));
    }
    let journal_bytes = journal.status().map_err(read_error)?.size;
    if shift > 0 && journal_bytes < plan.bytes() {
        return Err(damaged(format!("it has {journal_bytes} bytes, and {} were written", plan.bytes())));
    }
    let go_on = || {
        // Whoever was killed may have left the mark and the newest piece in the page cache alone; nothing is moved on by
        // them before they are durable.
        journal.sync_data()?;
        file.sync_data()?;
        let moved = if shift > 0 { resume(file, &*journal, &plan)? } else { Some(0) };
        moved.map(|moved| run(file, &*journal, &plan, moved)).transpose()
    };
    match go_on().map_err(|source| unfinished(path, source))? {
        Some(()) => remove().map(|_| Some(shift)),
        None => Err(damaged("the newest piece in it is not what was written".to_owned())),
    }
}

/// Puts the newest piece to its place again. How many pieces have been moved; `None` where the journal is damaged.
///
/// A power cut can leave a slot half written. Then nothing of its piece has been moved yet, so its numbers are those of the
/// piece before, and what is in the file is whole; or they are its own, and what is in the file has the hash that they say.
fn resume(file: &dyn DiskFile, journal: &dyn DiskFile, plan: &Plan) -> io::Result<Option<u64>> {
    let slots = [Piece::read(journal, plan, 0)?, Piece::read(journal, plan, 1)?];
    let newest = slots.into_iter().flatten().max_by_key(|piece| piece.number);
    let next = newest.as_ref().map_or(0, |piece| piece.number + 1);
    let slot_head = |number: u64| {
        let mut head = [0; SLOT_HEAD_BYTES];
        read_exact_at(journal, &mut head, plan.slot(number)).map(|()| head)
    };
    let head = slot_head(next)?;
    let is_empty = |head: &[u8]| head.iter().all(|byte| *byte == 0);
    let is_of_next = plan.piece(next).1 > 0 && head.starts_with(&plan.slot_numbers(next));
    let is_older = match next.checked_sub(2) {
        Some(before) => head.starts_with(&plan.slot_numbers(before)),
        None => is_empty(&head),
    };
    if !is_of_next && !is_older || newest.is_none() && !is_empty(&slot_head(1)?) {
        return Ok(None);
    }
    let put_newest = || newest.as_ref().map_or(Ok(()), |piece| put(file, piece, plan.shift()));
    let (place, length) = plan.piece(next);
    for (shift, is_moved) in [(0, false), (plan.shift(), true)] {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        if !is_of_next || !read_all_or_nothing(file, &mut bytes, place + shift)? {
            continue;
        }
        let piece = Piece { number: next, place, bytes };
        if piece.head() == head {
            put_newest()?;
            // Sound again, before the other slot is written.
            piece.write(journal, plan)?;
            journal.sync_data()?;
            return Ok(Some(next + u64::from(is_moved)));
        }
    }
    match is_older {
        true => put_newest().map(|()| Some(next)),
        false => Ok(None),
    }
}

fn read_plan(journal: &dyn DiskFile) -> io::Result<Option<Plan>> {
    let bytes = journal.status()?.size.min(PLAN_BYTES_MAX);
    Ok(Plan::decode(&read_start(journal, usize::try_from(bytes).unwrap_or(0))?))
}

#[cfg(test)]
mod tests;
