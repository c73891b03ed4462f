//! Lengths of time and sizes: as people write them, and back.

/// A hundred years; more is a slip of the finger.
pub const LENGTH_MAX: u64 = 36_525 * 86_400_000;

const LENGTHS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// `90`, `90s`, `1h 30m`, `500ms`: milliseconds.
pub fn length(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty; write 90, \"90s\" or \"1h 30m\"".into());
    }
    let (mut sum, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let value: f64 = number.parse().map_err(|_| format!("'{rest}' is no length of time; write \"1h 30m\""))?;
        let (unit, after) = split(after.trim_start(), char::is_alphabetic);
        sum += match LENGTHS.iter().find(|(word, _)| *word == unit) {
            Some((_, ms)) => value * (*ms as f64),
            None if !unit.is_empty() => {
                return Err(format!("'{unit}' is no unit of time; the units are ms, s, m, h, d and w"));
            }
            None if number == text => value * 1000.0,
            None => return Err(format!("{number} has no unit; only a number that stands alone means seconds")),
        };
        rest = after.trim_start();
    }
    milliseconds(sum)
}

pub(crate) fn milliseconds(ms: f64) -> Result<u64, String> {
    if ms.is_nan() || ms < 0.0 {
        return Err("a length of time is not negative".into());
    }
    if ms > LENGTH_MAX as f64 {
        return Err("it is longer than a hundred years".into());
    }
    Ok(ms.round() as u64)
}

/// So that `length` gives the same again.
pub fn show_length(ms: u64) -> String {
    let mut rest = ms;
    let mut words = Vec::new();
    for (unit, size) in LENGTHS.iter().filter(|(unit, _)| *unit != "w") {
        if rest >= *size {
            words.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if words.is_empty() { "0s".into() } else { words.join(" ") }
}

const SIZES: [(&str, u32); 5] = [("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10)];

/// `512M`, `1.5G`, `4096`: bytes. K is 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = split(text, |c| c.is_ascii_digit() || c == '.');
    let value: f64 = number.parse().map_err(|_| format!("'{text}' is no size; write \"512M\" or \"1.5G\""))?;
    let unit = unit.trim_start().to_ascii_uppercase();
    let letter = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    let shift = match SIZES.iter().find(|(word, _)| *word == letter) {
        Some((_, shift)) => *shift,
        None if letter.is_empty() && unit != "IB" => 0,
        None => return Err(format!("'{unit}' is no unit of size; the units are K, M, G, T and P")),
    };
    // A whole number is counted exactly: a real one has room for 53 bits.
    if let Ok(exact) = number.parse::<u64>() {
        return in_range(exact.saturating_mul(1 << shift));
    }
    let bytes = value * (1u64 << shift) as f64;
    if bytes >= 9.0e18 { Err("it is too large".into()) } else { Ok(bytes.round() as u64) }
}

fn in_range(bytes: u64) -> Result<u64, String> {
    if bytes > i64::MAX as u64 { Err("it is too large".into()) } else { Ok(bytes) }
}

/// So that `size` gives the same again.
pub fn show_size(bytes: u64) -> String {
    let unit = SIZES.iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1u64 << shift));
    unit.map_or_else(|| bytes.to_string(), |(word, shift)| format!("{}{word}", bytes >> shift))
}

fn split(text: &str, take: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !take(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write() {
        let lengths =
            [("90", 90_000), ("1h 30m", 5_400_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5 h", 5_400_000)];
        for (text, ms) in lengths.into_iter().chain([("0", 0), ("2w", 1_209_600_000)]) {
            assert_eq!(length(text), Ok(ms), "{text}");
        }
        let sizes = [
            ("512M", 512 << 20),
            ("1.5G", 3 << 29),
            ("64k", 64 << 10),
            ("10 MiB", 10 << 20),
            ("4096", 4096),
            ("1B", 1),
        ];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in ["", "soon", "5 parsecs", "1h 30", "-5s", "99999999w", "1.2.3s", "NaN"] {
            assert!(length(text).is_err(), "{text}");
        }
        for text in ["", "M", "12Q", "-1", "9999999P", "1iB", "1e9"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(ms in 0..LENGTH_MAX, bytes in 0..i64::MAX as u64) {
            prop_assert_eq!(length(&show_length(ms)), Ok(ms));
            let shown = show_size(bytes);
            prop_assert_eq!(size(&shown), Ok(bytes), "{}", shown);
            prop_assert_eq!(size(&show_size(bytes << 20 >> 20)), Ok(bytes << 20 >> 20));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,20}") {
            prop_assert!(length(&text).is_ok_and(|ms| ms <= LENGTH_MAX) || length(&text).is_err());
            prop_assert!(size(&text).is_ok_and(|n| n <= i64::MAX as u64) || size(&text).is_err());
        }
    }
}
