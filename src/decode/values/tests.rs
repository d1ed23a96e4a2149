use super::*;
use crate::npy::Dtype;

fn scalar(dtype: &str) -> Scalar {
    Dtype::parse(dtype).unwrap().scalar().unwrap()
}

fn one(
    source: &str,
    bits: Option<(u32, u32)>,
    scale: impl Into<Coefficient>,
    add: impl Into<Coefficient>,
    target: &str,
    bytes: &[u8],
) -> Result<Vec<u8>, String> {
    let (source, target) = (scalar(source), scalar(target));
    let mut plan = Plan::new(source.bytes, target.bytes);
    let (scale, add) = (scale.into(), add.into());
    plan.value(&Value { name: "x", from: 0, source, bits, scale, add, to: 0, target });
    let mut row = vec![0; target.bytes];
    plan.convert(bytes, &mut row).map(|()| row).map_err(|bad| bad.text)
}

#[test]
fn numbers_become_numbers() {
    for (source, target, from, to) in [
        (">u2", "<u2", vec![1, 2], vec![2, 1]),
        ("<i2", "<f4", (-2_i16).to_le_bytes().to_vec(), (-2.0_f32).to_le_bytes().to_vec()),
        (">f8", "<f4", 0.5_f64.to_be_bytes().to_vec(), 0.5_f32.to_le_bytes().to_vec()),
        ("<f4", ">i4", 2.5_f32.to_le_bytes().to_vec(), 2_i32.to_be_bytes().to_vec()),
        ("<f4", "i1", (-3.5_f32).to_le_bytes().to_vec(), vec![252]),
        ("<u8", "<f8", u64::MAX.to_le_bytes().to_vec(), (u64::MAX as f64).to_le_bytes().to_vec()),
        ("<c8", ">c8", vec![1, 2, 3, 4, 5, 6, 7, 8], vec![4, 3, 2, 1, 8, 7, 6, 5]),
        ("<f2", "<f8", ::half::f16::from_f32(0.25).to_le_bytes().to_vec(), 0.25_f64.to_le_bytes().to_vec()),
    ] {
        assert_eq!(one(source, None, 1.0, 0.0, target, &from), Ok(to), "{source} {target}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_value() {
    let refused = |source: &str, target: &str, bytes: &[u8]| one(source, None, 1.0, 0.0, target, bytes).unwrap_err();
    assert_eq!(refused("<i2", "u1", &300_i16.to_le_bytes()), "\"x\" is 300, which u1 does not hold");
    assert_eq!(refused("<i2", "u1", &(-1_i16).to_le_bytes()), "\"x\" is -1, which u1 does not hold");
    assert_eq!(refused("<f4", "<i2", &f32::NAN.to_le_bytes()), "\"x\" is NaN, which i2 does not hold");
    assert_eq!(refused("<f4", "<i2", &1e9_f32.to_le_bytes()), "\"x\" is 1000000000, which i2 does not hold");
    assert_eq!(refused("<u8", "<i8", &u64::MAX.to_le_bytes()), "\"x\" is 18446744073709551615, which i8 does not hold");
    assert_eq!(
        refused("<f8", "<i8", &9.3e18_f64.to_le_bytes()),
        "\"x\" is 9300000000000000000, which i8 does not hold"
    );
    assert_eq!(refused("u1", "?", &[2]), "\"x\" is 2, which ? does not hold");
}

/// The bug: the least integer became NaT without a word.
#[test]
fn no_number_becomes_not_a_time() {
    let (least, next) = (i64::MIN.to_le_bytes(), (i64::MIN + 1).to_le_bytes());
    for time in ["<M8[ns]", "<m8[s]"] {
        for (source, scale, add, bytes) in [
            ("<i8", 1.0, 0.0, &least[..]),
            ("<i8", 1.0, -1.0, &next),
            ("<i4", i64::MIN as f64, 0.0, &[1, 0, 0, 0]),
            ("<f8", 1.0, 0.0, &(i64::MIN as f64).to_le_bytes()),
        ] {
            let text = one(source, None, scale, add, time, bytes).unwrap_err();
            assert!(text.starts_with("\"x\" is -922337203685477"), "{source} {scale} {add}: {text}");
            assert!(text.ends_with(", which a time of 64 bits does not hold"), "{text}");
        }
        assert_eq!(one("<i8", None, 1.0, 0.0, time, &next), Ok(next.to_vec()));
        // What is NaT already stays it.
        assert_eq!(one(time, None, 1.0, 0.0, time, &least), Ok(least.to_vec()));
    }
    assert_eq!(one("<i8", None, 1.0, -1.0, "<i8", &next), Ok(least.to_vec()));
}

#[test]
fn bits_scale_and_add() {
    let value = 0b1011_0110_u8;
    assert_eq!(one("u1", Some((1, 3)), 1.0, 0.0, "u1", &[value]), Ok(vec![0b011]));
    assert_eq!(one("i1", Some((4, 4)), 1.0, 0.0, "i1", &[value]), Ok(vec![(-5_i8).cast_unsigned()]));
    assert_eq!(one(">u8", Some((63, 1)), 1.0, 0.0, "?", &u64::MAX.to_be_bytes()), Ok(vec![1]));
    assert_eq!(one(">u8", Some((0, 64)), 1.0, 0.0, "<f8", &5_u64.to_be_bytes()), Ok(5.0_f64.to_le_bytes().to_vec()));
    let scaled = one("<i2", None, 0.01, -40.0, "<f8", &2500_i16.to_le_bytes());
    assert_eq!(scaled, Ok((2500.0 * 0.01 - 40.0_f64).to_le_bytes().to_vec()));
    // Exact, where f8 would lose the last digits.
    let time = one("<u8", None, 1e6, 0.0, "<i8", &1_700_000_000_123_u64.to_le_bytes());
    assert_eq!(time, Ok(1_700_000_000_123_000_000_i64.to_le_bytes().to_vec()));
    assert!(one("<i8", None, 1000.0, 0.0, "<i8", &i64::MAX.to_le_bytes()).is_err());
}

#[test]
fn the_bad_record_is_named_behind_the_first_block_too() {
    let mut plan = Plan::new(2, 1);
    let (source, target) = (scalar("<u2"), scalar("u1"));
    plan.value(&Value { name: "x", from: 0, source, bits: None, scale: 1.0.into(), add: 0.0.into(), to: 0, target });
    let mut records = vec![0_u8; 2 * 1200];
    records[2 * 1100 + 1] = 1;
    assert_eq!(plan.convert(&records, &mut vec![0; 1200]).unwrap_err().record, 1100);
}

/// The ways of one pass give what the others give, to the bit.
#[test]
fn one_pass_gives_what_several_give() {
    let mut random = fastrand::Rng::with_seed(5);
    let numbers = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"];
    let mut found = 0;
    for (source, target) in numbers.iter().flat_map(|source| numbers.iter().map(move |target| (source, target))) {
        for (orders, (scale, add)) in
            ["<<", "<>", "><", ">>"].iter().zip([(1.0, 0.0), (0.1, 180.0), (-1.0, 0.0), (1.0, 0.0)])
        {
            for (scale, add) in [(scale, add), (0.005, -3.0)] {
                let (source, target) =
                    (scalar(&format!("{}{source}", &orders[..1])), scalar(&format!("{}{target}", &orders[1..])));
                let mut plan = Plan::new(source.bytes + 3, target.bytes + 2);
                let (scale, add) = (Coefficient::from(scale), Coefficient::from(add));
                plan.value(&Value { name: "x", from: 1, source, bits: None, scale, add, to: 2, target });
                let mut records: Vec<u8> = (0..700 * plan.record_bytes).map(|_| random.u8(..)).collect();
                if matches!(source.kind, Kind::Bool) {
                    records.iter_mut().for_each(|byte| *byte &= 1);
                }
                let (mut rows, mut expected) = (vec![7; 700 * plan.row_bytes], vec![7; 700 * plan.row_bytes]);
                let result = plan.convert(&records, &mut rows);
                let [step] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
                match step {
                    Step::Convert(conversion) => {
                        let blocks =
                            records.chunks(512 * plan.record_bytes).zip(expected.chunks_mut(512 * plan.row_bytes));
                        let all: Result<Vec<()>, _> =
                            blocks.map(|(records, rows)| plan.convert_values(conversion, records, rows)).collect();
                        assert_eq!(result.is_ok(), all.is_ok(), "{source:?} {target:?}");
                    }
                    Step::Copy { bytes, .. } | Step::SwapBytes { bytes, .. } => {
                        let is_turned = matches!(step, Step::SwapBytes { .. });
                        for (record, row) in
                            records.chunks_exact(plan.record_bytes).zip(expected.chunks_exact_mut(plan.row_bytes))
                        {
                            row[2..2 + bytes].copy_from_slice(&record[1..1 + bytes]);
                            if is_turned {
                                row[2..2 + bytes].reverse();
                            }
                        }
                    }
                }
                if result.is_ok() {
                    assert_eq!(rows, expected, "{source:?} {target:?} {scale:?} {add:?}");
                    found += 1;
                }
            }
        }
    }
    assert!(found > 300, "{found}");
}

#[test]
fn neighbours_are_moved_together() {
    let mut plan = Plan::new(12, 12);
    for (place, dtype) in [(0, "<u4"), (4, "<f4"), (8, "<i4")] {
        let scalar = scalar(dtype);
        plan.value(&Value {
            name: "x",
            from: place,
            source: scalar,
            bits: None,
            scale: Coefficient::Whole(1),
            add: Coefficient::Whole(0),
            to: place,
            target: scalar,
        });
    }
    assert!(plan.is_identity());
}

/// Beyond 2^53 they went through `f8`: 1 ms and this start were 936 ns too early.
#[test]
fn whole_coefficients_of_64_bits_are_exact() {
    let whole = |value: i64| Coefficient::Whole(value);
    let start = 1_714_564_800_000_000_000;
    for (value, scale, expected) in [(1, 1, 1), (100, 1, 100), (300, 1, 300), (3, 1_000_000, 3_000_000)] {
        let found = one("<u4", None, whole(scale), whole(start), "<i8", &u32::to_le_bytes(value));
        assert_eq!(found, Ok((start + expected).to_le_bytes().to_vec()));
    }
    let found = one(">i8", None, whole(1), whole(9_007_199_254_740_993), "<i8", &0_i64.to_be_bytes());
    assert_eq!(found, Ok(9_007_199_254_740_993_i64.to_le_bytes().to_vec()));
}

/// Every sum that the row holds is taken, also where it is beyond 2^63 on the way, and every other one is refused.
#[test]
fn whole_numbers_are_computed_as_wide_as_they_need() {
    let mut random = fastrand::Rng::with_seed(8);
    let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, 2, 4_000_000_000, i64::MAX - 1, i64::MAX];
    let some = |random: &mut fastrand::Rng| match random.u8(..4) {
        0 => ends[random.usize(..ends.len())],
        1 => random.i64(..) >> random.u32(..64),
        2 => random.i64(-300..300),
        _ => 1,
    };
    let mut taken = [0, 0];
    for _ in 0..20_000 {
        let (scale, add) = (some(&mut random), some(&mut random));
        if scale == 0 {
            continue;
        }
        let (source, bytes, value) = match random.u8(..4) {
            0 => ("u1", vec![7], 7),
            1 => ("<i4", (-9_i32).to_le_bytes().to_vec(), -9),
            2 => {
                let value = some(&mut random);
                ("<i8", value.to_le_bytes().to_vec(), i128::from(value))
            }
            _ => {
                let value = some(&mut random).cast_unsigned();
                (">u8", value.to_be_bytes().to_vec(), i128::from(value))
            }
        };
        let result = value * i128::from(scale) + i128::from(add);
        let (signed, unsigned) = (i64::try_from(result).ok(), u64::try_from(result).ok());
        let coefficients = (Coefficient::Whole(scale), Coefficient::Whole(add));
        for (target, expected) in [("<i8", signed.map(i64::to_le_bytes)), ("<u8", unsigned.map(u64::to_le_bytes))] {
            let found = one(source, None, coefficients.0, coefficients.1, target, &bytes);
            let expected = expected.map(|bytes| bytes.to_vec());
            let kind = &target[1..];
            let refused = || format!("\"x\" is {result}, which {kind} does not hold");
            taken[usize::from(expected.is_some())] += 1;
            assert_eq!(found, expected.ok_or_else(refused), "{source} {value} x {scale} + {add} {target}");
        }
    }
    assert!(taken[0] > 2000 && taken[1] > 2000, "{taken:?}");
}

/// They were -1, and refused.
#[test]
fn all_bits_of_an_unsigned_integer_are_its_value() {
    let all = Some((0, 64));
    let bytes = u64::MAX.to_le_bytes();
    assert_eq!(one("<u8", all, 1.0, 0.0, "<u8", &bytes), Ok(bytes.to_vec()));
    assert_eq!(one("<u8", all, 1.0, 0.0, "<f8", &bytes), Ok((u64::MAX as f64).to_le_bytes().to_vec()));
    assert_eq!(one("<i8", all, 1.0, 0.0, "<f8", &bytes), Ok((-1.0_f64).to_le_bytes().to_vec()));
}

/// They became infinite without a word.
#[test]
fn finite_numbers_stay_finite() {
    let refused = |source: &str, scale: f64, target: &str, bytes: &[u8]| one(source, None, scale, 0.0, target, bytes);
    let text = |value: &str, target: &str| Err(format!("\"x\" is {value}, which {target} does not hold"));
    for order in ["<", ">"] {
        let (f4, f2) = (format!("{order}f4"), format!("{order}f2"));
        assert_eq!(refused("<f8", 1.0, &f4, &1e39_f64.to_le_bytes()), text("1e39", "f4"));
        assert_eq!(refused("<f8", 2.0, &f4, &(-5e38_f64).to_le_bytes()), text("-1e39", "f4"));
        assert_eq!(refused("<f4", 1.0, &f2, &70000_f32.to_le_bytes()), text("70000", "f2"));
        assert_eq!(refused("<u4", 1.0, &f2, &65520_u32.to_le_bytes()), text("65520", "f2"));
        assert!(refused("<f4", 1.0, &f2, &65519_f32.to_le_bytes()).is_ok());
        assert!(refused("<f8", 1.0, &f4, &f64::from(f32::MAX).next_up().to_le_bytes()).is_ok());
    }
    let bytes = 1e300_f64.to_le_bytes();
    assert_eq!(refused("<f8", 1e10, "<f8", &bytes), text("1e300 x 10000000000 + 0", "f8"));
    for value in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        for (target, expected) in [
            ("<f8", (value * 2.0).to_le_bytes().to_vec()),
            ("<f4", (value as f32).to_le_bytes().to_vec()),
            (">f4", (value as f32).to_be_bytes().to_vec()),
            ("<f2", ::half::f16::from_f64(value).to_le_bytes().to_vec()),
        ] {
            assert_eq!(refused("<f8", 2.0, target, &value.to_le_bytes()), Ok(expected), "{value} {target}");
        }
    }
}

/// It was 1.0: rounded to an `f4` before.
#[test]
fn halves_are_rounded_once() {
    let value = 1.0 + 2.0_f64.powi(-11) + 2.0_f64.powi(-30);
    let expected = ::half::f16::from_f32(1.001).to_le_bytes().to_vec();
    assert_eq!(one("<f8", None, 1.0, 0.0, "<f2", &value.to_le_bytes()), Ok(expected));
}
