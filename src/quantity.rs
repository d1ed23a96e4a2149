//! Quantities as people read them, on the terminal and on the status page.

/// `1234567` as `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 source`, `2 sources`.
pub fn number_of(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// Bytes with a binary unit.
#[cfg_attr(not(feature = "program"), allow(dead_code))]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1024 {
        return number_of(value, "byte", "bytes");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = "KiB";
    for next in UNITS.iter().skip(1) {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    format!("{scaled:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([number_of(1, "row", "rows"), number_of(2000, "row", "rows")], ["1 row", "2,000 rows"]);
        assert_eq!([bytes(0), bytes(1), bytes(1023)], ["0 bytes", "1 byte", "1,023 bytes"]);
        assert_eq!([bytes(1536), bytes(5 << 40)], ["1.5 KiB", "5.0 TiB"]);
    }
}
