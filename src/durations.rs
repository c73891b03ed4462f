//! Lengths of time, as people write and read them: `90`, `90s`, `1h 30m`, `1h30m`, `500ms`.

use std::time::Duration;

const UNITS: [(&str, f64); 6] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0), ("w", 604_800.0)];
/// A hundred years; more is a slip of the finger.
const SECONDS_MAX: f64 = 100.0 * 365.25 * 86_400.0;

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadDuration {
    #[error("it is empty; write 90, 90s, 1h 30m or 500ms")]
    Empty,
    #[error("{0:?} is not a number with a unit; write 90, 90s, 1h 30m or 500ms")]
    NoNumber(String),
    #[error("{0:?} is no unit of time; the units are ms, s, m, h, d and w")]
    Unit(String),
    #[error("{0} has no unit; only a number that stands alone means seconds")]
    NoUnit(String),
    #[error("it is longer than a hundred years")]
    Long,
}

pub(crate) fn parse(text: &str) -> Result<Duration, BadDuration> {
    let text = text.trim();
    if text.is_empty() {
        return Err(BadDuration::Empty);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let value: f64 = number.parse().map_err(|_| BadDuration::NoNumber(rest.to_owned()))?;
        let (unit, after) = split(after.trim_start(), char::is_alphabetic);
        seconds += match UNITS.iter().find(|(word, _)| *word == unit) {
            Some((_, length)) => value * length,
            None if !unit.is_empty() => return Err(BadDuration::Unit(unit.to_owned())),
            None if number == text => value,
            None if after.trim().is_empty() || after.starts_with(char::is_numeric) => {
                return Err(BadDuration::NoUnit(number.to_owned()));
            }
            None => return Err(BadDuration::NoNumber(after.to_owned())),
        };
        rest = after.trim_start();
    }
    if seconds > SECONDS_MAX {
        return Err(BadDuration::Long);
    }
    Ok(Duration::from_millis((seconds * 1000.0).round() as u64))
}

fn split(text: &str, take: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !take(c)).unwrap_or(text.len()))
}

/// `2s`, `1m 18s`, `1h 2m 3s`, `2d 0h 0m 5s`: whole seconds, as Kinetic shows them.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m {}s", minutes % 60, seconds % 60),
        (_, _, _) => format!("{days}d {}h {}m {}s", hours % 24, minutes % 60, seconds % 60),
    }
}

/// A length that somebody asked for, which may be less than a second: as they may have written it, `1d` and not `1d 0h 0m 0s`.
pub(crate) fn exact(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let said: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if said.is_empty() { "0s".into() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write() {
        for (text, ms) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0.5", 500),
            (" 1.5 h ", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (text, why) in [
            ("", "it is empty; write 90, 90s, 1h 30m or 500ms"),
            ("soon", "\"soon\" is not a number with a unit; write 90, 90s, 1h 30m or 500ms"),
            ("5 parsecs", "\"parsecs\" is no unit of time; the units are ms, s, m, h, d and w"),
            ("1h 30", "30 has no unit; only a number that stands alone means seconds"),
            ("1 2s", "1 has no unit; only a number that stands alone means seconds"),
            ("-5s", "\"-5s\" is not a number with a unit; write 90, 90s, 1h 30m or 500ms"),
            ("1.2.3s", "\"1.2.3s\" is not a number with a unit; write 90, 90s, 1h 30m or 500ms"),
            ("9999999w", "it is longer than a hundred years"),
        ] {
            assert_eq!(parse(text).expect_err(text).to_string(), why);
        }
    }

    #[test]
    fn as_kinetic_shows_them() {
        for (seconds, shown) in [(0, "0s"), (2, "2s"), (78, "1m 18s"), (3723, "1h 2m 3s"), (172_805, "2d 0h 0m 5s")] {
            assert_eq!(show(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn what_was_asked_for_has_no_parts_that_are_zero() {
        for (ms, shown) in [
            (0, "0s"),
            (500, "500ms"),
            (1500, "1s 500ms"),
            (60_000, "1m"),
            (86_400_000, "1d"),
            (90_061_000, "1d 1h 1m 1s"),
        ] {
            assert_eq!(exact(Duration::from_millis(ms)), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_written(seconds in 0u64..3_000_000_000) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,20}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(duration.as_secs_f64() <= SECONDS_MAX + 1.0);
            }
        }
    }
}
