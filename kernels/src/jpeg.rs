//! Plain JPEGs by libjpeg-turbo's decoder: at a half, a quarter or an eighth of their size where that is enough, and no
//! more of them than is wanted.
//!
//! The decoder is the one of mozjpeg, whose additions are all in the encoder: it is what can be compiled with nothing
//! but a C compiler, and uses vector instructions where `nasm` is there as well ([`is_vectorised`]).
//!
//! It complains about nothing in words: with the first error or warning it refuses the file, for a stricter decoder to
//! say what is wrong.

// The only unsafe code of this package: five calls into jpeg.c.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::ptr::NonNull;

// Its library is what jpeg.c calls.
use mozjpeg_sys as _;

/// What is known of a file from its header, and what is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The picture's size.
    pub width: u32,
    pub height: u32,
    /// 1: gray; 3: YCbCr, which becomes RGB.
    pub components: usize,
    /// The size to decode at: 8 is the full one, 4 the half, 2 and 1.
    pub eighths: u32,
    /// The part to give, in pixels of that size. Its left side is a multiple of [`Wish::column_pixels`].
    pub left: u32,
    pub top: u32,
    pub part_width: u32,
    pub part_height: u32,
}

impl Wish {
    /// A side of the picture at the wished size.
    pub fn scaled(side: u32, eighths: u32) -> u32 {
        (u64::from(side) * u64::from(eighths)).div_ceil(8) as u32
    }

    /// Pixels of a column of blocks at the wished size: only between those a picture can be cut. `horizontal_max`: the
    /// largest horizontal sampling factor.
    pub fn column_pixels(eighths: u32, horizontal_max: u32) -> u32 {
        eighths * horizontal_max
    }

    fn bytes(&self) -> Option<usize> {
        (self.part_width as usize).checked_mul(self.part_height as usize)?.checked_mul(self.components)
    }
}

/// The library refused: something is wrong with the file, or it is not what the wish says, or there is no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// The library's state, used again for every image. Holds a few KiB between two of them.
#[derive(Debug, Default)]
pub struct Decoder {
    state: Option<State>,
}

/// Whether the library was compiled with vector instructions, and this processor has them. Without, it is slower than
/// others at full size.
pub fn is_vectorised() -> bool {
    // SAFETY: takes nothing, and looks at the processor.
    unsafe { npy_jpeg_is_vectorised() != 0 }
}

impl Decoder {
    /// Decodes the wished part of a file to the start of `pixels`, line after line.
    ///
    /// # Errors
    /// Any fault that the library sees, anywhere in the file. `pixels` then hold anything.
    pub fn decode(&mut self, bytes: &[u8], wish: &Wish, pixels: &mut [u8]) -> Result<(), Refused> {
        let wanted = wish.bytes().ok_or(Refused)?;
        if !matches!(wish.components, 1 | 3) || !matches!(wish.eighths, 1 | 2 | 4 | 8) || pixels.len() < wanted {
            return Err(Refused);
        }
        let state = match &mut self.state {
            Some(state) => state,
            none => none.insert(State::new().ok_or(Refused)?),
        };
        let wish = CWish {
            bytes: bytes.as_ptr(),
            length: bytes.len(),
            width: wish.width,
            height: wish.height,
            components: wish.components as c_uint,
            eighths: wish.eighths,
            left: wish.left,
            top: wish.top,
            part_width: wish.part_width,
            part_height: wish.part_height,
            pixels: pixels.as_mut_ptr(),
        };
        // SAFETY: the state is one that `npy_jpeg_new` made and nobody else uses; `bytes` are read within their length;
        // `pixels` have room for part_width x part_height x components bytes, and the C side checks, before it writes
        // any, that a line has so many. Nothing of it is kept by the library after the call but a pointer that the next
        // call replaces before use.
        let done = unsafe { npy_jpeg_decode(state.0.as_ptr(), &wish) };
        if done == 1 { Ok(()) } else { Err(Refused) }
    }
}

/// Owns what `npy_jpeg_new` gave.
#[derive(Debug)]
struct State(NonNull<CState>);

// SAFETY: memory of its own, which no thread is tied to and nothing else points to.
unsafe impl Send for State {}

impl State {
    fn new() -> Option<Self> {
        // SAFETY: takes nothing; gives null or a state that is ready.
        NonNull::new(unsafe { npy_jpeg_new() }).map(Self)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: made by `npy_jpeg_new`, freed once.
        unsafe { npy_jpeg_free(self.0.as_ptr()) };
    }
}

#[repr(C)]
struct CState {
    _opaque: [u8; 0],
}

/// `struct npy_jpeg_wish`.
#[repr(C)]
struct CWish {
    bytes: *const u8,
    length: usize,
    width: c_uint,
    height: c_uint,
    components: c_uint,
    eighths: c_uint,
    left: c_uint,
    top: c_uint,
    part_width: c_uint,
    part_height: c_uint,
    pixels: *mut u8,
}

unsafe extern "C" {
    fn npy_jpeg_is_vectorised() -> c_int;
    fn npy_jpeg_new() -> *mut CState;
    fn npy_jpeg_free(decoder: *mut CState);
    fn npy_jpeg_decode(decoder: *mut CState, wish: *const CWish) -> c_int;
}
