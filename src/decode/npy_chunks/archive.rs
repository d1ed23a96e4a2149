//! One array of an `.npz` archive.

use std::io::{self, Read};

use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};
use zip::{CompressionMethod, ZipArchive};

use super::rejected;
use crate::decode::DecodeError;
use crate::decode::metered::Metered;

/// Names that a reason lists.
const LISTED_MAX: usize = 10;
/// Bytes of one unpacked array: 16 GiB. A small archive can unpack to a thousand times its size.
const MEMBER_BYTES_MAX: u64 = 16 << 30;
/// Members of an archive that is opened.
const MEMBERS_MAX: usize = 10_000;

/// Opens the member called so (with or without `.npy`), or the only one, and hands it on with the size that the archive
/// says it has.
pub(super) fn with_member(
    bytes: &[u8],
    wanted: Option<&str>,
    take: impl FnOnce(&mut dyn Read, u64) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let damaged = |error: zip::result::ZipError| rejected(format!("not an .npz archive that can be read: {error}"));
    let mut archive = ZipArchive::new(Metered::new(bytes, 0)).map_err(damaged)?;
    if archive.len() > MEMBERS_MAX {
        let found = archive.len();
        return Err(rejected(format!("the archive has {found} members, more than the {MEMBERS_MAX} that are allowed")));
    }
    if entries(bytes, archive.central_directory_start()) > archive.len() {
        return Err(rejected(
            "the archive has members of the same name, and which of them is meant cannot be told: save it anew"
                .to_owned(),
        ));
    }
    let members: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let arrays = arrays(&members);
    let plain = |name: &str| name.strip_suffix(".npy").unwrap_or(name).to_owned();
    let listed = || {
        let mut listed: Vec<_> = arrays.iter().take(LISTED_MAX).map(|name| plain(name)).collect();
        if arrays.len() > LISTED_MAX {
            listed.push("...".to_owned());
        }
        listed.join(", ")
    };
    let name = match wanted {
        _ if arrays.is_empty() => return Err(rejected("the archive is empty".to_owned())),
        Some(wanted) => members
            .iter()
            .map(String::as_str)
            .find(|name| plain(name) == plain(wanted))
            .ok_or_else(|| rejected(format!("the archive has no array \"{wanted}\", but {}", listed())))?,
        None => match arrays.as_slice() {
            [only] => only,
            _ => {
                let count = arrays.len();
                return Err(rejected(format!("the archive has {count} arrays: {}; name one with `member`", listed())));
            }
        },
    };
    let number = archive.index_for_name(name).unwrap_or(usize::MAX);
    let method = archive.by_index_raw(number).map_err(damaged)?.compression();
    if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(rejected(format!(
            "the array \"{}\" is compressed by {method}, which is not read: save it with numpy.savez or \
             numpy.savez_compressed",
            plain(name)
        )));
    }
    let mut member = archive.by_index(number).map_err(damaged)?;
    let size = member.size();
    if size > MEMBER_BYTES_MAX {
        return Err(rejected(format!(
            "the array \"{}\" has {size} bytes, more than the {MEMBER_BYTES_MAX} that are unpacked: save it as .npy",
            plain(name)
        )));
    }
    let expected = member.crc32();
    let crc = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
    let mut reader = Summed { reader: &mut member, digest: crc.digest() };
    take(&mut reader, size)?;
    // The library does not check all archives: those that NumPy compresses pass it with wrong bytes.
    match reader.digest.finalize() {
        found if found == expected => Ok(()),
        _ => Err(rejected(format!("the archive is damaged: the checksum of \"{}\" is wrong", plain(name)))),
    }
}

/// So many members the archive lists from byte `start` on, of which the library keeps one of each name.
fn entries(bytes: &[u8], start: u64) -> usize {
    let mut rest = usize::try_from(start).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
    let mut count = 0;
    while rest.starts_with(b"PK\x01\x02") {
        let length = |at: usize| {
            rest.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |of| usize::from(u16::from_le_bytes(*of)))
        };
        // Behind what each entry has: its name, further fields and a comment.
        let size = 46 + length(28) + length(30) + length(32);
        count += 1;
        rest = rest.get(size..).unwrap_or_default();
    }
    count
}

/// Members that NumPy reads as arrays: others, and folders, may lie beside them. Without any, all members but folders.
fn arrays(members: &[String]) -> Vec<&str> {
    let named = |is_array: fn(&str) -> bool| -> Vec<&str> {
        members.iter().map(String::as_str).filter(|name| is_array(name)).collect()
    };
    let arrays = named(|name| name.ends_with(".npy"));
    if arrays.is_empty() { named(|name| !name.ends_with('/')) } else { arrays }
}

/// Sums up what passes.
struct Summed<'a, 'b> {
    reader: &'a mut dyn Read,
    digest: Digest<'b, u32, Table<16>>,
}

impl Read for Summed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.digest.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
