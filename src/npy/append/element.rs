//! Rust types whose bytes are a NumPy dtype's.

use super::super::dtype::{ByteOrder, Dtype, Kind};

/// A number that can be appended and read as it is: `u8` to `u64`, `i8` to `i64`, `f32`, `f64`, `half::f16`, and `[f32; 2]`
/// and `[f64; 2]` for complex numbers.
///
/// `i64` stands for datetimes and timedeltas as well, whose unit the dtype knows.
pub trait Element: bytemuck::Pod + private::Sealed {
    /// What it is to NumPy.
    const KIND: Kind;

    /// The dtype of this type on this machine.
    fn dtype() -> Dtype {
        Dtype::scalar_of(Self::KIND, size_of::<Self>(), ByteOrder::NATIVE)
    }

    /// Whether elements of this dtype are elements of this type, byte for byte.
    fn is(dtype: &Dtype) -> bool {
        let Some(scalar) = dtype.scalar() else { return false };
        let is_time = Self::KIND == Kind::Int && matches!(scalar.kind, Kind::Datetime | Kind::Timedelta);
        (scalar.kind == Self::KIND || is_time)
            && scalar.bytes == size_of::<Self>()
            && (scalar.order == ByteOrder::NATIVE || scalar.order == ByteOrder::NotApplicable)
    }
}

mod private {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($kind:ident: $($element:ty),*;)*) => {
        $($(
            impl private::Sealed for $element {}
            impl Element for $element {
                const KIND: Kind = Kind::$kind;
            }
        )*)*
    };
}

elements! {
    Uint: u8, u16, u32, u64;
    Int: i8, i16, i32, i64;
    Float: half::f16, f32, f64;
    Complex: [f32; 2], [f64; 2];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_know_their_dtypes() {
        assert_eq!(u8::dtype().descr(), "|u1");
        assert_eq!(<[f64; 2]>::dtype(), Dtype::parse("c16").unwrap());
        assert_eq!(half::f16::dtype(), Dtype::parse("f2").unwrap());
        let is = |text: &str| i64::is(&Dtype::parse(text).unwrap());
        assert!(is("i8") && is("M8[us]") && is("m8"));
        assert!(!is(">i8") && !is("u8") && !is("f8") && !is("[('a', 'i8')]"));
    }
}
