//! Values that say when: dates, times, lengths, rules.

use super::line::Line;
use super::{Wrong, day, wrong};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use kin_core::schedule::{Date, Every, NthDay, Recurrence};

const DAY: i64 = 86_400;

#[derive(Clone, Debug)]
pub(super) enum Moment {
    Day(DateTime),
    /// By nobody's clock: what it says.
    Local(DateTime),
    /// By the clocks of a zone, UTC among them.
    In(DateTime, TimeZone),
}

/// Where a rule ends.
pub(super) enum Until {
    Never,
    Count(usize),
    /// With this day.
    Day(DateTime),
    Local(DateTime),
    At(Timestamp),
}

/// Seconds as if the clock were that of UTC.
fn seconds(wall: DateTime) -> i64 {
    day(wall).days() * DAY + i64::from(wall.hour()) * 3600 + i64::from(wall.minute()) * 60 + i64::from(wall.second())
}

/// A reading that is skipped is meant by the clock before; of one that comes twice, the first.
fn instant(wall: DateTime, zone: &TimeZone) -> Timestamp {
    zone.to_ambiguous_timestamp(wall).compatible().unwrap_or(Timestamp::MAX)
}

impl Moment {
    fn wall(&self) -> DateTime {
        match self {
            Moment::Day(wall) | Moment::Local(wall) | Moment::In(wall, _) => *wall,
        }
    }

    pub(super) fn date(&self) -> Date {
        day(self.wall())
    }

    /// Schedules know its year.
    pub(super) fn is_known(&self) -> bool {
        self.date().year <= 2199
    }

    /// The same time on another day.
    pub(super) fn on(&self, to: Date) -> Moment {
        let date = jiff::civil::Date::new(
            i16::try_from(to.year).unwrap_or(i16::MAX),
            i8::try_from(to.month).unwrap_or(1),
            i8::try_from(to.day).unwrap_or(1),
        );
        let with = |wall: &DateTime| date.map_or(*wall, |date| date.to_datetime(wall.time()));
        match self {
            Moment::Day(wall) => Moment::Day(with(wall)),
            Moment::Local(wall) => Moment::Local(with(wall)),
            Moment::In(wall, zone) => Moment::In(with(wall), zone.clone()),
        }
    }

    /// What tells it from other moments of an event that begins like `start`. A day means all of it.
    pub(super) fn key(&self, start: &Moment) -> i64 {
        match (self, start) {
            (Moment::In(wall, zone), _) => instant(*wall, zone).as_second(),
            (other, _) => seconds(other.wall()),
        }
    }

    /// The first and the last day, as days since 1970, of what begins here.
    pub(super) fn days(&self, length: i64, here: &TimeZone) -> (i64, i64) {
        let after = |wall: DateTime| wall.saturating_add(length.seconds());
        let (from, to) = match self {
            Moment::Day(wall) | Moment::Local(wall) => (*wall, after(*wall)),
            Moment::In(wall, zone) => {
                (here.to_datetime(instant(*wall, zone)), here.to_datetime(instant(after(*wall), zone)))
            }
        };
        // What ends at midnight does not touch the day that begins then.
        let last = if length > 0 { to.saturating_sub(1.second()).max(from) } else { from };
        (day(from).days(), day(last).days())
    }

    fn kind(&self) -> &'static str {
        match self {
            Moment::Day(_) => "a day",
            Moment::Local(_) => "a time without a zone",
            Moment::In(..) => "a time in a zone",
        }
    }
}

impl Until {
    pub(super) fn has(&self, moment: &Moment) -> bool {
        match (self, moment) {
            (Until::Never | Until::Count(_), _) => true,
            (Until::Day(last), moment) => moment.date() <= day(*last),
            (Until::Local(last), moment) => moment.wall() <= *last,
            (Until::At(last), Moment::In(wall, zone)) => instant(*wall, zone) <= *last,
            (Until::At(_), Moment::Day(_) | Moment::Local(_)) => false,
        }
    }
}

pub(super) fn moment(line: &Line) -> Result<Moment, Wrong> {
    one(line, &line.value)
}

/// Several, of the kind of the first.
pub(super) fn moments(start: &Moment, line: &Line) -> Result<Vec<Moment>, Wrong> {
    let all = line.value.split(',').map(|text| one(line, text)).collect::<Result<Vec<_>, _>>()?;
    match all.iter().find(|moment| moment.kind() != start.kind()) {
        None => Ok(all),
        Some(other) => wrong(line, format!("{} has {}, and DTSTART {}", line.name, other.kind(), start.kind())),
    }
}

fn one(line: &Line, text: &str) -> Result<Moment, Wrong> {
    let text = text.trim();
    let of = line.param("VALUE").map(str::to_ascii_uppercase);
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i16>().ok()
    };
    let small = |from: usize, to: usize| number(from, to).and_then(|n| i8::try_from(n).ok());
    let date = || jiff::civil::Date::new(number(0, 4)?, small(4, 6)?, small(6, 8)?).ok();
    let time = || {
        // A leap second is no second of any clock here.
        jiff::civil::Time::new(small(9, 11)?, small(11, 13)?, small(13, 15)?.min(59), 0).ok()
    };
    let no_date = || wrong(line, format!("'{text}' is no date or time; they are as 20261225 and 20261225T090000Z"));
    match (of.as_deref(), text.len()) {
        (None | Some("DATE"), 8) => match (date(), line.param("TZID")) {
            (None, _) => no_date(),
            (Some(_), Some(_)) => wrong(line, "a day has no time zone"),
            (Some(date), None) => Ok(Moment::Day(date.to_datetime(jiff::civil::Time::midnight()))),
        },
        (None | Some("DATE-TIME"), 15 | 16) if text.as_bytes()[8] == b'T' => {
            let (Some(date), Some(time)) = (date(), time()) else { return no_date() };
            let wall = date.to_datetime(time);
            match (text.get(15..), line.param("TZID")) {
                (Some("Z" | "z"), None) => Ok(Moment::In(wall, TimeZone::UTC)),
                (Some(""), None) => Ok(Moment::Local(wall)),
                (Some(""), Some(name)) => match TimeZone::get(name) {
                    Ok(zone) => Ok(Moment::In(wall, zone)),
                    Err(_) => wrong(line, format!("'{name}' is no time zone that this machine knows")),
                },
                _ => no_date(),
            }
        }
        (None | Some("DATE" | "DATE-TIME"), _) => no_date(),
        (Some(other), _) => wrong(line, format!("VALUE={other} is not understood")),
    }
}

/// How long it is from the one to the other, by the first one's clock.
pub(super) fn length_to(start: &Moment, end: &Moment, line: &Line) -> Result<i64, Wrong> {
    let length = match (start, end) {
        (Moment::Day(from), Moment::Day(to)) | (Moment::Local(from), Moment::Local(to)) => {
            seconds(*to) - seconds(*from)
        }
        (Moment::In(from, zone), Moment::In(to, other)) => {
            seconds(zone.to_datetime(instant(*to, other))) - seconds(*from)
        }
        _ => return wrong(line, format!("DTEND is {}, and DTSTART {}", end.kind(), start.kind())),
    };
    if length < 0 || (length == 0 && matches!(start, Moment::Day(_))) {
        return wrong(line, "it ends before it begins; of whole days, DTEND is the day after the last");
    }
    Ok(length)
}

/// `P2W`, `P1DT12H`, `PT30M`.
pub(super) fn duration(start: &Moment, line: &Line) -> Result<i64, Wrong> {
    let text = line.value.trim();
    let bad = || wrong(line, format!("'{text}' is no length of time; they are as P2D, P1W and PT1H30M"));
    let Some(mut rest) = text.strip_prefix('+').unwrap_or(text).strip_prefix('P') else { return bad() };
    let (mut all, mut in_time, mut some) = (0i64, false, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T').filter(|_| !in_time) {
            (rest, in_time) = (after, true);
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, unit) = rest.split_at(end);
        let unit_of = |c: char| match (c, in_time) {
            ('W', false) => Some(7 * DAY),
            ('D', false) => Some(DAY),
            ('H', true) => Some(3600),
            ('M', true) => Some(60),
            ('S', true) => Some(1),
            _ => None,
        };
        let (Some(c), Ok(n)) = (unit.chars().next(), digits.parse::<u32>()) else { return bad() };
        let Some(seconds) = unit_of(c) else { return bad() };
        all = all.saturating_add(i64::from(n) * seconds);
        some = true;
        rest = &unit[1..];
    }
    if !some {
        return bad();
    }
    if matches!(start, Moment::Day(_)) && (all == 0 || all % DAY != 0) {
        return wrong(line, "an event of whole days lasts whole days");
    }
    Ok(all)
}

const WEEKDAYS: [&str; 7] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];

pub(super) fn rule(start: &Moment, line: &Line) -> Result<(Recurrence, Until), Wrong> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for part in line.value.trim().trim_end_matches(';').split(';') {
        let Some((key, value)) = part.split_once('=') else {
            return wrong(line, format!("'{part}' is no part of a rule; they are as FREQ=YEARLY"));
        };
        let key = key.trim().to_ascii_uppercase();
        if parts.iter().any(|(other, _)| *other == key) {
            return wrong(line, format!("{key} stands twice in this rule"));
        }
        parts.push((key, value.trim().to_ascii_uppercase()));
    }
    let of = |key: &str| parts.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
    let every = match of("FREQ") {
        Some("YEARLY") => Every::Year,
        Some("MONTHLY") => Every::Month,
        Some("WEEKLY") => Every::Week,
        Some("DAILY") => Every::Day,
        Some(other) => {
            return wrong(line, format!("FREQ={other} is not understood; it is YEARLY, MONTHLY, WEEKLY or DAILY"));
        }
        None => return wrong(line, "this rule has no FREQ"),
    };
    let mut rule = Recurrence::new(every);
    let mut until = Until::Never;
    let several = matches!(every, Every::Year | Every::Month);
    for (key, value) in &parts {
        let bad = || wrong(line, format!("{key}={value} is not understood"));
        let number = || value.parse::<u32>().ok().filter(|n| *n > 0);
        match key.as_str() {
            "FREQ" => {}
            "INTERVAL" => match number() {
                Some(n) => rule.interval = n,
                None => return bad(),
            },
            "COUNT" | "UNTIL" if of("COUNT").is_some() && of("UNTIL").is_some() => {
                return wrong(line, "COUNT and UNTIL exclude each other");
            }
            "COUNT" => match number() {
                Some(n) => until = Until::Count(n as usize),
                None => return bad(),
            },
            "UNTIL" => until = self::until(start, line, value)?,
            "BYMONTH" => {
                for month in value.split(',') {
                    match month.parse::<u8>() {
                        Ok(month @ 1..=12) => rule.months |= 1 << month,
                        _ => return bad(),
                    }
                }
            }
            "BYMONTHDAY" if every == Every::Week => return wrong(line, "BYMONTHDAY does not go with FREQ=WEEKLY"),
            "BYMONTHDAY" => {
                for day in value.split(',') {
                    match day.parse::<i8>() {
                        Ok(day @ (1..=31 | -31..=-1)) => rule.month_days.push(day),
                        _ => return bad(),
                    }
                }
            }
            "BYDAY" => {
                for day in value.split(',') {
                    let Some(nth) = nth_day(day) else { return bad() };
                    if nth.nth.is_some() && !several {
                        return wrong(
                            line,
                            format!("'{day}' counts within a month or a year, and the rule has neither"),
                        );
                    }
                    rule.weekdays.push(nth);
                }
            }
            "WKST" => match WEEKDAYS.iter().position(|name| name == value) {
                Some(n) => rule.week_start = n as u8,
                None => return bad(),
            },
            _ => return wrong(line, format!("{key} in a rule is not understood")),
        }
    }
    Ok((rule, until))
}

/// `MO`, `-1FR`, `+2TU`.
fn nth_day(text: &str) -> Option<NthDay> {
    let (number, name) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let weekday = WEEKDAYS.iter().position(|known| *known == name)? as u8;
    let nth = match number {
        "" => None,
        some => Some(some.parse::<i8>().ok().filter(|n| *n != 0 && n.abs() <= 53)?),
    };
    Some(NthDay { nth, weekday })
}

fn until(start: &Moment, line: &Line, text: &str) -> Result<Until, Wrong> {
    let bare = Line::bare(line, text);
    match (start, one(&bare, text)?) {
        (_, Moment::Day(last)) => Ok(Until::Day(last)),
        (Moment::Local(_), Moment::Local(last)) => Ok(Until::Local(last)),
        (Moment::In(..), Moment::In(last, zone)) => Ok(Until::At(instant(last, &zone))),
        (start, last) => wrong(line, format!("UNTIL is {}, and DTSTART {}", last.kind(), start.kind())),
    }
}
