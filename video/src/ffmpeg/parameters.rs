//! What the sequence parameters of H.264 tell before anything is decoded: ITU-T H.264, 7.3.2.1.1 and E.1.1; their place in MP4
//! is ISO/IEC 14496-15, 5.3.3.1.

use super::units::Bits;

/// By how many frames the order of decoding and that of showing differ at most: told by the configuration of a video whose
/// frames are all progressive, with one set of parameters. `None`: it does not tell, or not in a way that is read here.
pub fn reordered_frames(configuration: &[u8]) -> Option<u32> {
    let [1, _, _, _, _, count, high, low, rest @ ..] = configuration else { return None };
    let parameters = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
    if count & 0x1f != 1 || parameters.first()? & 0x1f != 7 {
        return None;
    }
    let bytes = without_prevention(parameters.get(1..)?);
    of_parameters(&mut Bits::new(&bytes))
}

/// No start code may stand within a unit: behind two zeros a 3 is put in.
fn without_prevention(bytes: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let is_kept = |byte: &&u8| {
        let is_put_in = zeros >= 2 && **byte == 3;
        zeros = if **byte == 0 { zeros + 1 } else { 0 };
        !is_put_in
    };
    bytes.iter().filter(is_kept).copied().collect()
}

fn of_parameters(bits: &mut Bits<'_>) -> Option<u32> {
    let profile = bits.number(8)?;
    bits.number(16)?;
    bits.exp_golomb()?;
    if matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244) {
        let chroma = bits.exp_golomb()?;
        bits.number(u32::from(chroma == 3))?;
        bits.skip_codes(2)?;
        // The transform bypass; no scaling lists.
        bits.number(1)?;
        absent(bits)?;
    }
    bits.exp_golomb()?;
    match bits.exp_golomb()? {
        0 => bits.skip_codes(1)?,
        1 => {
            bits.number(1)?;
            bits.skip_codes(2)?;
            let count = bits.exp_golomb()?;
            bits.skip_codes(count)?;
        }
        _ => {}
    }
    bits.exp_golomb()?;
    bits.number(1)?;
    bits.skip_codes(2)?;
    let is_frames_only = bits.number(1)? == 1;
    bits.number(1)?;
    let cropped = bits.number(1)?;
    bits.skip_codes(4 * cropped)?;
    let has_usability = bits.number(1)? == 1;
    if is_frames_only && has_usability { of_usability(bits) } else { None }
}

fn of_usability(bits: &mut Bits<'_>) -> Option<u32> {
    const OTHER_SHAPE: u32 = 255;
    if bits.number(1)? == 1 && bits.number(8)? == OTHER_SHAPE {
        bits.number(32)?;
    }
    if bits.number(1)? == 1 {
        bits.number(1)?;
    }
    if bits.number(1)? == 1 {
        bits.number(4)?;
        let colours = bits.number(1)?;
        bits.number(24 * colours)?;
    }
    let located = bits.number(1)?;
    bits.skip_codes(2 * located)?;
    if bits.number(1)? == 1 {
        bits.number(32)?;
        bits.number(32)?;
        bits.number(1)?;
    }
    // No buffer of either kind is described, and no picture says how its fields are shown.
    absent(bits)?;
    absent(bits)?;
    absent(bits)?;
    if bits.number(1)? == 0 {
        return None;
    }
    bits.number(1)?;
    bits.skip_codes(4)?;
    bits.exp_golomb()
}

fn absent(bits: &mut Bits<'_>) -> Option<()> {
    (bits.number(1)? == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a video by x264: 640 x 360, two frames reordered.
    const BY_X264: &[u8] = &[
        0x01, 0x64, 0x00, 0x1e, 0xff, 0xe1, 0x00, 0x1a, 0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9,
        0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2d, 0x96, 0x01, 0x00,
        0x04, 0x68, 0xef, 0x8f, 0xcb, 0xfd, 0xf8, 0xf8, 0x00,
    ];
    /// Likewise, with `tff=1`.
    const INTERLACED: &[u8] = &[
        0x01, 0x64, 0x00, 0x1e, 0xff, 0xe1, 0x00, 0x1a, 0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x63, 0xf3,
        0xe0, 0x22, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x78, 0x3e, 0x28, 0x53, 0x2c, 0x01, 0x00,
        0x06, 0x68, 0xfb, 0xa3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
    ];

    #[test]
    fn the_number_of_reordered_frames_is_told() {
        assert_eq!(reordered_frames(BY_X264), Some(2));
    }

    #[test]
    fn what_is_cut_short_or_of_several_tells_nothing() {
        let end = 8 + usize::from(BY_X264[7]);
        for length in 0..end {
            assert_eq!(reordered_frames(&BY_X264[..length]), None, "{length}");
        }
        let mut two = BY_X264.to_vec();
        two[5] = 0xe2;
        assert_eq!(reordered_frames(&two), None);
    }

    #[test]
    fn interlaced_videos_tell_nothing() {
        assert_eq!(reordered_frames(INTERLACED), None);
    }
}
