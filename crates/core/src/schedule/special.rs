//! The words that begin with `@`: `@daily`, `@reboot`, `@every 90s`, `@at 2026-12-24T18:00:00+01:00`.

use super::hash::stable;
use super::pattern::{ALL_MONTHS, Days, Join, MonthDays, Pattern, WeekDays, Years};
use super::problem::{Field, Found, Part, Problems};
use super::remark::{self, Remark};
use super::wall::{DAY, Date, HOUR, MINUTE, Wall, YEAR_MAX, YEAR_MIN, days_in_month};
use super::words::month_name;
use super::{When, cron, near};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(super) fn parse(whole: Part<'_>, job: &str) -> Result<(When, Vec<Remark>), Problems> {
    let mut found = Found::default();
    let end = whole.text.find(char::is_whitespace).unwrap_or(whole.text.len());
    let (word, rest) = (whole.until(end), whole.from(end).trim());
    let bare = word.text.trim_start_matches('@').to_ascii_lowercase();
    match bare.as_str() {
        "every" => return every(rest, word, job),
        "at" => return at(rest, word),
        _ if !rest.text.is_empty() => {
            let why = format!("nothing may follow {}; the time zone and the rest are settings of their own", word.text);
            found.add(rest, None, why);
        }
        "reboot" => return Ok((When::Reboot, Vec::new())),
        name => {
            if let Some((_, text)) = near::SPECIALS.iter().find(|(special, _)| *special == name) {
                let (pattern, remarks) = cron::parse(Part::whole(text), job)?;
                return Ok((When::Pattern(Box::new(pattern)), remarks));
            }
            let meant = near::special(word.text).map_or_else(
                || {
                    String::from(
                        "these are known: @hourly @daily @midnight @weekly @monthly @yearly @annually @reboot \
                         @every 90s @at 2026-12-24T18:00:00Z",
                    )
                },
                |name| format!("did you mean {name}?"),
            );
            found.add(word, None, format!("{:?} is not known; {meant}", word.text));
        }
    }
    found.or((When::Reboot, Vec::new()))
}

fn every(rest: Part<'_>, word: Part<'_>, job: &str) -> Result<(When, Vec<Remark>), Problems> {
    let mut found = Found::default();
    let (mut length, mut anchor) = (None, None);
    let (span, after) = match rest.split("anchor=") {
        Some((span, after)) => (span.trim(), Some(after.trim())),
        None => (rest, None),
    };
    if span.text.is_empty() {
        found.add(word, None, "how often? write @every 90s, @every 15m or @every 1h30m");
    } else {
        match seconds(span.text) {
            Ok(0) => found.add(span, None, "every 0 seconds is never over; one second is the least"),
            Ok(n) if n > 366 * DAY => {
                found.add(span, None, "that is longer than a year; write when with cron's fields");
            }
            Ok(n) => length = Some(n),
            Err(why) => found.add(span, None, why),
        }
    }
    if let Some(after) = after {
        match instant(after.text) {
            Some(Moment::Instant(at)) => anchor = Some(at),
            Some(Moment::Wall(_)) => found.add(after, None, "an anchor needs its offset, as in 2026-01-01T00:00:00Z"),
            None => found.add(after, None, "an anchor is a time as 2026-01-01T00:00:00Z"),
        }
    }
    let period = length.unwrap_or(1);
    let phase = anchor.unwrap_or_else(|| (stable(job, "every") % period.unsigned_abs()) as i64).rem_euclid(period);
    let remarks = remark::of_every(period);
    found.or((When::Every { period, phase }, remarks))
}

/// `90`, `90s`, `1h30m`, `1h 30m`: whole seconds.
fn seconds(text: &str) -> Result<i64, String> {
    let (mut sum, mut rest) = (0i64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: i64 = match number.parse() {
            Ok(_) if after.starts_with(['.', ',']) => {
                return Err("kin's schedules are of whole seconds, and its numbers whole; write 90s, or 1h30m".into());
            }
            Ok(n) => n,
            Err(_) if number.is_empty() => {
                return Err(format!("{rest:?} is no length of time; write 90s, 15m or 1h30m"));
            }
            Err(_) => return Err(format!("{number} is too large")),
        };
        let unit = match unit {
            "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => MINUTE,
            "h" | "hour" | "hours" => HOUR,
            "d" | "day" | "days" => DAY,
            "w" | "week" | "weeks" => 7 * DAY,
            "" if rest == text && after.is_empty() => 1,
            "" => return Err(format!("{number} has no unit; the units are s, m, h, d and w")),
            "ms" => return Err("kin's schedules are of whole seconds".into()),
            _ => return Err(format!("{unit:?} is no unit here; the units are s, m, h, d and w")),
        };
        sum = number.checked_mul(unit).and_then(|n| sum.checked_add(n)).ok_or("that is too long")?;
        rest = after.trim_start();
    }
    Ok(sum)
}

fn at(rest: Part<'_>, word: Part<'_>) -> Result<(When, Vec<Remark>), Problems> {
    let mut found = Found::default();
    let mut when = When::At(0);
    match instant(rest.text) {
        Some(Moment::Instant(at)) => when = When::At(at),
        Some(Moment::Wall(wall)) => when = When::Pattern(Box::new(once(wall))),
        None => {
            let at = if rest.text.is_empty() { word } else { rest };
            found.add(at, None, no_moment(rest.text));
        }
    }
    let year = match &when {
        When::At(at) => Wall(*at).date().year,
        When::Pattern(_) | When::Every { .. } | When::Reboot => YEAR_MIN,
    };
    if !(YEAR_MIN..=YEAR_MAX).contains(&year) {
        found.add(rest, Some(Field::Year), Field::Year.range());
    }
    found.or((when, Vec::new()))
}

/// What is wrong with a text that is no moment.
fn no_moment(text: &str) -> String {
    const SAMPLE: &str =
        "write @at 2026-12-24T18:00:00Z, with an offset as +01:00, or without one for the job's time zone";
    let mut reader = Digits(text);
    let mut date = || {
        let year = reader.number(4)?;
        reader.mark("-")?;
        let month = reader.number(2)?;
        reader.mark("-")?;
        Some((year, month, reader.number(2)?))
    };
    let Some((year, month, day)) = date() else { return format!("when? {SAMPLE}") };
    let small = |n: u32| u8::try_from(n).unwrap_or(u8::MAX);
    let shown = text.get(..10).unwrap_or(text);
    if Date::new(year as i32, small(month), small(day)).is_none() {
        return match month {
            1..=12 => format!(
                "there is no {shown}: {} {year} has {} days",
                month_name(small(month)),
                days_in_month(year as i32, small(month))
            ),
            _ => format!("there is no {shown}: {}", Field::Month.range()),
        };
    }
    if !(YEAR_MIN..=YEAR_MAX).contains(&(year as i32)) {
        return Field::Year.range().into();
    }
    if text.len() == 10 {
        return format!("at what time of {shown}? {SAMPLE}");
    }
    format!("{text:?} is no time; {SAMPLE}")
}

/// The pattern of a single reading.
fn once(wall: Wall) -> Pattern {
    let date = wall.date();
    Pattern {
        seconds: 1 << wall.second(),
        minutes: 1 << wall.minute(),
        hours: 1 << wall.hour(),
        days: Days {
            month: MonthDays { days: 1 << date.day, ..MonthDays::default() },
            week: WeekDays::ANY,
            join: Join::Both,
        },
        months: (1 << date.month) & ALL_MONTHS,
        years: Years::NONE.with(date.year),
        fixed: true,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Instant(i64),
    Wall(Wall),
}

/// `2026-12-24T18:00:00+01:00`, `2026-12-24 18:00Z`, `2026-12-24 18:00`.
fn instant(text: &str) -> Option<Moment> {
    let mut reader = Digits(text);
    let year = reader.number(4)?;
    reader.mark("-")?;
    let month = reader.number(2)?;
    reader.mark("-")?;
    let day = reader.number(2)?;
    reader.mark("T").or_else(|| reader.mark("t")).or_else(|| reader.mark(" "))?;
    let hour = reader.number(2).filter(|n| *n < 24)?;
    reader.mark(":")?;
    let minute = reader.number(2).filter(|n| *n < 60)?;
    let second = if reader.mark(":").is_some() { reader.number(2).filter(|n| *n < 60)? } else { 0 };
    let small = |n: u32| u8::try_from(n).ok();
    let date = Date::new(year as i32, small(month)?, small(day)?)?;
    if !(YEAR_MIN..=YEAR_MAX).contains(&date.year) {
        return None;
    }
    let wall = Wall::new(date, small(hour)?, small(minute)?, small(second)?);
    let rest = reader.0.trim_start();
    let offset = match rest {
        "" => return Some(Moment::Wall(wall)),
        "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let mut reader = Digits(rest.strip_prefix(['+', '-'])?);
            let hours = reader.number(2).filter(|n| *n < 24)?;
            reader.mark(":");
            let minutes = reader.number(2).filter(|n| *n < 60)?;
            reader.0.is_empty().then_some(sign * i64::from(hours * 3600 + minutes * 60))?
        }
    };
    Some(Moment::Instant(wall.0 - offset))
}

struct Digits<'a>(&'a str);

impl Digits<'_> {
    fn number(&mut self, count: usize) -> Option<u32> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        head.bytes().all(|b| b.is_ascii_digit()).then(|| head.parse().ok())?
    }
    fn mark(&mut self, mark: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(mark)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (text, n) in
            [("90", 90), ("90s", 90), ("1h30m", 5400), ("1h 30m", 5400), ("2 days", 172_800), ("1w", 604_800)]
        {
            assert_eq!(seconds(text), Ok(n), "{text}");
        }
        for text in ["soon", "1x", "5m 3", "-1s", "1.5h", "99999999999999999999s", "9999999999999999999w", "500ms"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments() {
        assert_eq!(instant("2026-12-24T18:00:00+01:00"), Some(Moment::Instant(1_798_131_600)));
        assert_eq!(instant("2026-12-24 17:00Z"), Some(Moment::Instant(1_798_131_600)));
        assert_eq!(instant("2026-12-24T18:00"), Some(Moment::Wall(Wall(1_798_135_200))));
        for text in [
            "",
            "tomorrow",
            "2026-02-29T10:00Z",
            "2026-12-24",
            "2026-12-24T24:00Z",
            "2026-12-24T10:00+1",
            "1969-12-31T23:59:59Z",
            "２０２６",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
