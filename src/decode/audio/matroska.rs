//! Which tracks a Matroska or WebM file calls its default ones: all that do not say otherwise, of which the library of containers
//! does not know.
//!
//! Source: RFC 9559, section 5.1.4.1.

use crate::decode::SourceFile;
use crate::decode::ebml::{Element, element, segment, unsigned};

const TRACKS: u64 = 0x1654_AE6B;
const TRACK: u64 = 0xAE;
const NUMBER: u64 = 0xD7;
const IS_DEFAULT: u64 = 0x88;
/// Elements that are looked at in one file.
const ELEMENTS_MAX: usize = 1 << 16;

/// The numbers of the tracks that are not called other than default. Damage is left to those who decode.
pub(super) fn default_tracks(file: &SourceFile) -> Vec<u64> {
    let mut left = ELEMENTS_MAX;
    let mut within = |around: Element| elements(file, around, &mut left);
    let Some(segment) = segment(file.file()) else { return Vec::new() };
    let segment = Element { end: segment.end.or(Some(file.size())), ..segment };
    let Some(tracks) = within(segment).into_iter().find(|found| found.identifier == TRACKS) else { return Vec::new() };
    let tracks = within(tracks).into_iter().filter(|found| found.identifier == TRACK);
    let number = |track: Element| {
        let about = within(track);
        let value = |identifier| unsigned(file.file(), about.iter().find(|found| found.identifier == identifier)?);
        value(NUMBER).filter(|_| value(IS_DEFAULT) != Some(0))
    };
    tracks.filter_map(number).collect()
}

/// The elements within one, up to what is none; in a segment up to its tracks.
fn elements(file: &SourceFile, around: Element, left: &mut usize) -> Vec<Element> {
    let mut found: Vec<Element> = Vec::new();
    let mut place = around.begin;
    while around.end.is_some_and(|end| place < end) && found.last().is_none_or(|last| last.identifier != TRACKS) {
        let Some(next) = left.checked_sub(1).zip(element(file.file(), place)) else { break };
        *left = next.0;
        found.push(next.1);
        let Some(end) = next.1.end else { break };
        place = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn default_of(tracks: &[&[u8]]) -> Vec<u64> {
        let sized = |identifier: &[u8], content: &[u8]| [identifier, &[0x80 | content.len() as u8], content].concat();
        let tracks: Vec<_> = tracks.iter().map(|track| sized(&[0xAE], track)).collect();
        let tracks = sized(&[0x16, 0x54, 0xAE, 0x6B], &tracks.concat());
        let header = [0x1A, 0x45, 0xDF, 0xA3, 0x82, 0xEC, 0x80, 0x18, 0x53, 0x80, 0x67, 0xFF, 0xEC, 0x83, 1, 2, 3];
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&header[..], &tracks].concat()).unwrap();
        default_tracks(&SourceFile::of(file).unwrap())
    }

    #[test]
    fn tracks_are_default_unless_they_say_otherwise() {
        assert_eq!(default_of(&[&[0xD7, 0x81, 1, 0x88, 0x81, 0], &[0xD7, 0x81, 2]]), [2]);
        assert_eq!(default_of(&[&[0xD7, 0x82, 1, 4, 0x88, 0x81, 1], &[0x88, 0x81, 0, 0xD7, 0x81, 2]]), [260]);
        assert_eq!(default_of(&[]), [0; 0]);
    }
}
