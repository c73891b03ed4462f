//! The rule of a zone for years to come, as TZif files end with and `$TZ` may hold: `CET-1CEST,M3.5.0,M10.5.0/3`.

use super::wall::{DAY, Date, YEAR_MAX, YEAR_MIN, days_in_month, is_leap, weekday};
use super::zone::LAST;
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summer {
    offset: i32,
    start: On,
    end: On,
}

/// A day of each year, and the time on it by the clock as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct On {
    day: Day,
    time: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// `Jn`: 1 to 365, 29 February never counted.
    Julian(u16),
    /// `n`: 0 to 365.
    Zero(u16),
    /// `Mm.w.d`: the w-th such weekday of the month, the 5th being the last.
    Month { month: u8, week: u8, weekday: u8 },
}

impl Rule {
    pub(super) fn parse(text: &[u8]) -> Option<Rule> {
        let mut reader = Reader(text);
        reader.name()?;
        let standard = -reader.time(24)?;
        if reader.0.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        reader.name()?;
        let offset = if reader.0.first() == Some(&b',') { standard + 3600 } else { -reader.time(24)? };
        reader.byte(b',')?;
        let start = reader.on()?;
        reader.byte(b',')?;
        let end = reader.on()?;
        reader.0.is_empty().then_some(Rule { standard, summer: Some(Summer { offset, start, end }) })
    }

    /// The offset without summer time.
    pub(super) const fn standard(&self) -> i32 {
        self.standard
    }

    /// Each change after that instant, up to the end of the last year that schedules know.
    pub(super) fn changes_after(&self, after: i64) -> Vec<(i64, i32)> {
        let Some(summer) = self.summer else { return Vec::new() };
        let first = Date::from_days(after.div_euclid(DAY).clamp(-100_000, 100_000)).year.max(YEAR_MIN) - 1;
        let mut changes = Vec::new();
        for year in first..=YEAR_MAX + 1 {
            changes.push((summer.start.local(year) - i64::from(self.standard), summer.offset));
            changes.push((summer.end.local(year) - i64::from(summer.offset), self.standard));
        }
        // Summer time that ends in the instant in which it begins never ends: the later word counts, which is its start.
        changes.sort_by_key(|(at, offset)| (*at, *offset == summer.offset));
        changes.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                *earlier = *later;
            }
            same
        });
        changes.retain(|(at, _)| *at > after && *at <= LAST);
        changes
    }
}

impl On {
    /// In seconds since 1970-01-01 00:00 of the clock as it was before.
    fn local(self, year: i32) -> i64 {
        let first = Date { year, month: 1, day: 1 }.days();
        let days = match self.day {
            Day::Julian(n) => first + i64::from(n) - 1 + i64::from(is_leap(year) && n >= 60),
            Day::Zero(n) => first + i64::from(n),
            Day::Month { month, week, weekday: wanted } => {
                let first = Date { year, month, day: 1 }.days();
                let to_first = i64::from((wanted + 7 - weekday(first)) % 7);
                let nth = to_first + 7 * i64::from(week - 1);
                first + if nth < i64::from(days_in_month(year, month)) { nth } else { nth - 7 }
            }
        };
        days * DAY + i64::from(self.time)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        let rest = self.0.strip_prefix(&[wanted])?;
        self.0 = rest;
        Some(())
    }

    /// Letters, or anything of `[A-Za-z0-9+-]` between `<` and `>`.
    fn name(&mut self) -> Option<()> {
        let length = if self.byte(b'<').is_some() {
            let length = self.0.iter().position(|b| *b == b'>')?;
            let quoted = self.0.get(..length)?;
            let known = quoted.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-'));
            self.0 = self.0.get(length + 1..)?;
            known.then_some(length)?
        } else {
            let length = self.0.iter().take_while(|b| b.is_ascii_alphabetic()).count();
            self.0 = self.0.get(length..)?;
            length
        };
        (length >= 3).then_some(())
    }

    fn number(&mut self, most: i32) -> Option<i32> {
        let length = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let digits = self.0.get(..length).filter(|digits| (1..=3).contains(&digits.len()))?;
        self.0 = self.0.get(length..)?;
        let n = digits.iter().fold(0, |n, b| n * 10 + i32::from(b - b'0'));
        (n <= most).then_some(n)
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    fn time(&mut self, hours_max: i32) -> Option<i32> {
        let sign = if self.byte(b'-').is_some() {
            -1
        } else {
            self.byte(b'+');
            1
        };
        let mut seconds = self.number(hours_max)? * 3600;
        if self.byte(b':').is_some() {
            seconds += self.number(59)? * 60;
            if self.byte(b':').is_some() {
                seconds += self.number(59)?;
            }
        }
        Some(sign * seconds)
    }

    fn on(&mut self) -> Option<On> {
        let small = |n: i32| u8::try_from(n).ok();
        let day = if self.byte(b'M').is_some() {
            let month = small(self.number(12)?).filter(|n| *n >= 1)?;
            self.byte(b'.')?;
            let week = small(self.number(5)?).filter(|n| *n >= 1)?;
            self.byte(b'.')?;
            Day::Month { month, week, weekday: small(self.number(6)?)? }
        } else if self.byte(b'J').is_some() {
            Day::Julian(u16::try_from(self.number(365)?).ok().filter(|n| *n >= 1)?)
        } else {
            Day::Zero(u16::try_from(self.number(365)?).ok()?)
        };
        let time = if self.byte(b'/').is_some() { self.time(167)? } else { 2 * 3600 };
        Some(On { day, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::zone::Zone;
    use std::string::ToString;

    fn zone(text: &str) -> Zone {
        Zone::of_rule(text).expect(text)
    }

    #[test]
    fn rules_of_this_world() {
        for (text, at, walls) in [
            // 2026-03-29T01:00Z, 2026-10-25T01:00Z: a second before, and then.
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_774_746_000, ["2026-03-29 01:59:59", "2026-03-29 03:00:00"]),
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_792_890_000, ["2026-10-25 02:59:59", "2026-10-25 02:00:00"]),
            ("EST5EDT,M3.2.0,M11.1.0", 1_772_953_200, ["2026-03-08 01:59:59", "2026-03-08 03:00:00"]),
            // Half an hour, south of the equator.
            ("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 1_775_314_800, ["2026-04-05 01:59:59", "2026-04-05 01:30:00"]),
            // At a negative hour: the evening before.
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1_774_746_000, ["2026-03-28 22:59:59", "2026-03-29 00:00:00"]),
        ] {
            let zone = zone(text);
            assert_eq!([at - 1, at].map(|at| zone.wall(at).to_string()), walls, "{text}");
        }
    }

    #[test]
    fn summer_without_end_and_none_at_all() {
        assert_eq!(zone("AAA3BBB4,0/0,J365/23").changes_after(40_000_000).count(), 0);
        assert_eq!(zone("IST-5:30").offset(0), 19_800);
    }

    #[test]
    fn what_is_no_rule() {
        for text in [
            "",
            "C",
            "CET",
            "CET-1CEST",
            "CET-1CEST,M3.5.0",
            "CET-1CEST,M13.5.0,M10.5.0",
            "CET-1CEST,M3.6.0,M1.1.1",
            "CET-25",
            "<CET-1",
        ] {
            assert_eq!(Rule::parse(text.as_bytes()), None, "{text}");
        }
    }
}
