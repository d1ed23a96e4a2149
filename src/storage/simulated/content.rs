//! The bytes of one simulated file: what readers see, what is durable, and what lies between.
//!
//! A file is a length and its sectors; a sector that is not there is zero. Every write makes a new version of each sector
//! that it touches, on top of what is visible. A power cut leaves each sector at any one of the versions since the durable
//! one, and the length likewise, all independently of each other: that is every subset of the writes, in every order, as
//! far as a page cache and a drive can produce it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// The drive writes a sector as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// What survives as a whole where sectors are torn, too: harsher than any drive, see [`super::Tearing`].
pub const UNIT_BYTES: usize = 16;

static ZERO: LazyLock<Arc<Sector>> = LazyLock::new(|| Arc::new(Sector::new([0; SECTOR_BYTES])));

/// One sector's bytes.
#[derive(Debug)]
struct Sector {
    bytes: [u8; SECTOR_BYTES],
    /// Of the bytes, so that images of whole disks can be told apart cheaply.
    digest: u64,
}

impl Sector {
    fn new(bytes: [u8; SECTOR_BYTES]) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self { bytes, digest: hasher.finish() }
    }

    fn is_zero(&self) -> bool {
        self.digest == ZERO.digest
    }
}

/// Sectors by their place. Shared between copies of a file until one of them changes.
type Sectors = Arc<BTreeMap<u64, Arc<Sector>>>;

/// A write that is not durable.
#[derive(Debug, Clone)]
struct Version<T> {
    value: T,
    /// A sync that should have made it durable failed: no later sync does.
    is_lost: bool,
}

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub struct Content {
    length: u64,
    sectors: Sectors,
    durable_length: u64,
    durable_sectors: Sectors,
    pending_sectors: BTreeMap<u64, Vec<Version<Arc<Sector>>>>,
    pending_lengths: Vec<Version<u64>>,
}

impl Content {
    /// A file that has been on the disk for long.
    pub fn durable(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write(bytes, 0);
        content.sync();
        content
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// As many bytes as there are from `offset` on.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let wanted = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let mut done = 0;
        while done < wanted {
            let (index, start) = place(offset + done as u64);
            let take = (SECTOR_BYTES - start).min(wanted - done);
            let (Some(target), source) = (buffer.get_mut(done..done + take), self.sectors.get(&index)) else { break };
            match source.and_then(|sector| sector.bytes.get(start..start + take)) {
                Some(bytes) => target.copy_from_slice(bytes),
                None => target.fill(0),
            }
            done += take;
        }
        wanted
    }

    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (index, start) = place(offset + done as u64);
            let take = (SECTOR_BYTES - start).min(bytes.len() - done);
            let mut sector = self.sectors.get(&index).map_or([0; SECTOR_BYTES], |sector| sector.bytes);
            if let (Some(target), Some(source)) = (sector.get_mut(start..start + take), bytes.get(done..done + take)) {
                target.copy_from_slice(source);
            }
            self.put(index, Arc::new(Sector::new(sector)));
            done += take;
        }
        let end = offset + bytes.len() as u64;
        if end > self.length && !bytes.is_empty() {
            self.put_length(end);
        }
    }

    pub fn set_length(&mut self, bytes: u64) {
        if bytes == self.length {
            return;
        }
        let beyond: Vec<u64> = self.sectors.range(place(bytes).0..).map(|(index, _)| *index).collect();
        for index in beyond {
            let (cut_index, cut) = place(bytes);
            let mut sector = [0; SECTOR_BYTES];
            if index == cut_index
                && let Some(old) = self.sectors.get(&index)
                && let (Some(target), Some(source)) = (sector.get_mut(..cut), old.bytes.get(..cut))
            {
                if old.bytes.iter().skip(cut).all(|byte| *byte == 0) {
                    continue;
                }
                target.copy_from_slice(source);
            }
            self.put(index, Arc::new(Sector::new(sector)));
        }
        self.put_length(bytes);
    }

    /// Everything written so far becomes durable, but for what an earlier sync failed to make so.
    pub fn sync(&mut self) {
        let durable = Arc::make_mut(&mut self.durable_sectors);
        self.pending_sectors.retain(|index, versions| match versions.last() {
            Some(last) if !last.is_lost => {
                set(durable, *index, last.value.clone());
                false
            }
            _ => true,
        });
        if let Some(last) = self.pending_lengths.last()
            && !last.is_lost
        {
            self.durable_length = last.value;
            self.pending_lengths.clear();
        }
    }

    /// A sync failed: the pages count as clean from now on, whatever became of them.
    pub fn lose_sync(&mut self) {
        for version in self.pending_sectors.values_mut().flatten() {
            version.is_lost = true;
        }
        for version in &mut self.pending_lengths {
            version.is_lost = true;
        }
    }

    /// The file after a power cut. `choose` is asked for each sector and for the length, in a fixed order, with the number
    /// of different states that it can have been left in: 0 is the durable one.
    pub fn after_power_cut(&self, tears_sectors: bool, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let mut sectors = self.durable_sectors.clone();
        for (index, versions) in &self.pending_sectors {
            let durable = self.durable_sectors.get(index).unwrap_or(&ZERO);
            let mut states: Vec<&Arc<Sector>> = vec![durable];
            for version in versions {
                if states.iter().all(|state| state.digest != version.value.digest) {
                    states.push(&version.value);
                }
            }
            if states.len() == 1 {
                continue;
            }
            let chosen = if tears_sectors {
                torn(&states, choose)
            } else {
                states.get(choose(states.len())).map_or_else(|| durable.clone(), |state| (*state).clone())
            };
            set(Arc::make_mut(&mut sectors), *index, chosen);
        }
        let mut lengths = vec![self.durable_length];
        for version in &self.pending_lengths {
            if !lengths.contains(&version.value) {
                lengths.push(version.value);
            }
        }
        let length = match lengths.len() {
            1 => self.durable_length,
            count => lengths.get(choose(count)).copied().unwrap_or(self.durable_length),
        };
        let mut left = Self { length: u64::MAX, sectors, ..Self::default() };
        // What lies past the end is nowhere.
        left.set_length(length);
        left.length = length;
        Self {
            length,
            sectors: left.sectors.clone(),
            durable_length: length,
            durable_sectors: left.sectors,
            ..Self::default()
        }
    }

    /// Whether a power cut can change it.
    pub fn has_pending(&self) -> bool {
        !self.pending_sectors.is_empty() || !self.pending_lengths.is_empty()
    }

    /// Of what readers see and of what a power cut could leave.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        let mut all = |length: u64, sectors: &Sectors| {
            length.hash(hasher);
            for (index, sector) in sectors.iter() {
                (index, sector.digest).hash(hasher);
            }
        };
        all(self.length, &self.sectors);
        if self.has_pending() {
            all(self.durable_length, &self.durable_sectors);
            for (index, versions) in &self.pending_sectors {
                for version in versions {
                    (index, version.value.digest, version.is_lost).hash(hasher);
                }
            }
            for version in &self.pending_lengths {
                (version.value, version.is_lost).hash(hasher);
            }
        }
    }

    fn put(&mut self, index: u64, sector: Arc<Sector>) {
        self.pending_sectors.entry(index).or_default().push(Version { value: sector.clone(), is_lost: false });
        set(Arc::make_mut(&mut self.sectors), index, sector);
    }

    fn put_length(&mut self, bytes: u64) {
        self.length = bytes;
        self.pending_lengths.push(Version { value: bytes, is_lost: false });
    }
}

/// Every 16 bytes from any one of the states.
fn torn(states: &[&Arc<Sector>], choose: &mut dyn FnMut(usize) -> usize) -> Arc<Sector> {
    let mut sector = [0; SECTOR_BYTES];
    for (number, target) in sector.chunks_exact_mut(UNIT_BYTES).enumerate() {
        let start = number * UNIT_BYTES;
        let mut units: Vec<&[u8]> = Vec::with_capacity(states.len());
        for state in states {
            let unit = state.bytes.get(start..start + UNIT_BYTES).unwrap_or_default();
            if !units.contains(&unit) {
                units.push(unit);
            }
        }
        let chosen = if units.len() == 1 { 0 } else { choose(units.len()) };
        target.copy_from_slice(units.get(chosen).copied().unwrap_or(&[0; UNIT_BYTES]));
    }
    Arc::new(Sector::new(sector))
}

/// Zero sectors are not kept.
fn set(sectors: &mut BTreeMap<u64, Arc<Sector>>, index: u64, sector: Arc<Sector>) {
    match sectors.entry(index) {
        Entry::Occupied(entry) if sector.is_zero() => drop(entry.remove()),
        Entry::Occupied(mut entry) => drop(entry.insert(sector)),
        Entry::Vacant(_) if sector.is_zero() => {}
        Entry::Vacant(entry) => drop(entry.insert(sector)),
    }
}

/// The sector of an offset, and the place in it.
fn place(offset: u64) -> (u64, usize) {
    let bytes = SECTOR_BYTES as u64;
    (offset / bytes, (offset % bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0; content.length() as usize];
        assert_eq!(content.read(&mut bytes, 0), bytes.len());
        bytes
    }

    #[test]
    fn a_power_cut_takes_any_subset_of_what_was_not_synced() {
        let mut content = Content::durable(&[1; 1000]);
        content.write(&[2; 1000], 0);
        content.write(&[3; 10], 1000);
        let mut found = std::collections::BTreeSet::new();
        // Sector 0 has two states; sector 1 has three (durable, the first write, both); the length has two.
        for choice in 0..12 {
            let (mut rest, mut asked) = (choice, Vec::new());
            let left = content.after_power_cut(false, &mut |states| {
                asked.push(states);
                let chosen = rest % states;
                rest /= states;
                chosen
            });
            assert_eq!(asked, [2, 3, 2]);
            assert!(!left.has_pending());
            found.insert(bytes(&left));
        }
        assert!(found.contains(&vec![1; 1000]) && found.contains(&bytes(&content)));
        // Where the length did not survive, the last ten bytes make no difference.
        assert_eq!(found.len(), 4 + 6);
        content.sync();
        assert_eq!(
            bytes(&content.after_power_cut(false, &mut |_| unreachable!("nothing is pending"))),
            bytes(&content)
        );
    }

    #[test]
    fn a_failed_sync_cannot_be_repeated() {
        let mut content = Content::durable(&[1; 8]);
        content.write(&[2; 8], 0);
        content.lose_sync();
        content.sync();
        assert_eq!(bytes(&content.after_power_cut(false, &mut |_| 0)), [1; 8]);
        content.write(&[3; 8], 0);
        content.sync();
        assert_eq!(bytes(&content.after_power_cut(false, &mut |_| 0)), [3; 8]);
    }

    #[test]
    fn what_was_cut_comes_back_as_zeros() {
        let mut content = Content::durable(&[7; 1200]);
        content.set_length(100);
        content.set_length(1100);
        assert_eq!(bytes(&content)[..100], [7; 100]);
        assert_eq!(bytes(&content)[100..], [0; 1000]);
    }
}
