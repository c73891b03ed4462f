//! Points in time, as people write and read them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time; write 2h (ago), 14:30, today, yesterday, 2026-11-20, '2026-11-20 14:30' or 2026-11-20T14:30:00Z"
)]
pub(crate) struct BadTime(String);

/// What `text` means when it is `now`: a length of time means so long ago.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    let bad = || BadTime(text.to_owned());
    let text = text.trim();
    let local = |at: DateTime| at.to_zoned(now.time_zone().clone()).map(|z| z.timestamp()).map_err(|_| bad());
    match text.to_ascii_lowercase().as_str() {
        "now" => return Ok(now.timestamp()),
        "today" => return local(now.date().at(0, 0, 0, 0)),
        "yesterday" => return local(now.date().checked_sub(1.day()).map_err(|_| bad())?.at(0, 0, 0, 0)),
        _ => {}
    }
    if let Ok(ago) = crate::durations::parse(text.strip_suffix("ago").unwrap_or(text))
        && !text.bytes().all(|b| b.is_ascii_digit())
    {
        return now.timestamp().checked_sub(ago).map_err(|_| bad());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // Whatever has a date would also read as its time alone, which is one of today.
    if !text.contains('-')
        && let Ok(time) = text.parse::<Time>()
    {
        return local(now.date().to_datetime(time));
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return local(at);
    }
    text.parse::<Date>().map_err(|_| bad()).and_then(|date| local(date.at(0, 0, 0, 0)))
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotLater {
    #[error(
        "{0:?} is no time to come; write 2h (from now), 18:00, tomorrow, 2026-12-24, '2026-12-24 18:00' or 2026-12-24T18:00:00Z"
    )]
    No(String),
    #[error(
        "{0:?} is out of range: the last day that can be written is 9999-12-30; without a time it is until kin enable"
    )]
    Far(String),
}

/// What `text` means of the time to come: a length of time means so long from now, a time of day the next one.
pub(crate) fn later(text: &str, now: &Zoned) -> Result<Timestamp, NotLater> {
    let bad = || NotLater::No(text.to_owned());
    let text = text.trim();
    if text.get(..10).is_some_and(|day| day.parse::<Date>().is_ok()) && parse(text, now).is_err() {
        return Err(NotLater::Far(text.to_owned()));
    }
    let tomorrow = || now.date().checked_add(1.day()).map_err(|_| bad());
    let local = |at: DateTime| at.to_zoned(now.time_zone().clone()).map(|z| z.timestamp()).map_err(|_| bad());
    let at = if text.eq_ignore_ascii_case("tomorrow") {
        local(tomorrow()?.at(0, 0, 0, 0))?
    } else if let Ok(wait) = crate::durations::parse(text)
        && !text.bytes().all(|b| b.is_ascii_digit())
    {
        now.timestamp().checked_add(wait).map_err(|_| bad())?
    } else {
        let at = parse(text, now).map_err(|_| bad())?;
        match text.parse::<Time>() {
            Ok(time) if at <= now.timestamp() && !text.contains('-') => local(tomorrow()?.to_datetime(time))?,
            Ok(_) | Err(_) => at,
        }
    };
    if at > now.timestamp() { Ok(at) } else { Err(bad()) }
}

/// As it travels: RFC 3339 in UTC with milliseconds.
pub(crate) fn wire(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// As it came; `None` for what is no time.
pub(crate) fn from_wire(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn show(at: Timestamp, zone: &TimeZone, form: &str) -> String {
    at.to_zoned(zone.clone()).strftime(form).to_string()
}

/// `13:54`
pub(crate) fn minute(at: Timestamp, zone: &TimeZone) -> String {
    show(at, zone, "%H:%M")
}
/// `2026-11-20 13:54:01`
pub(crate) fn second(at: Timestamp, zone: &TimeZone) -> String {
    show(at, zone, "%Y-%m-%d %H:%M:%S")
}
/// `2026-11-20 13:54:01 +01:00`
pub(crate) fn with_offset(at: Timestamp, zone: &TimeZone) -> String {
    show(at, zone, "%Y-%m-%d %H:%M:%S %:z")
}
/// `2026-11-20 13:54:01.120`
pub(crate) fn millisecond(at: Timestamp, zone: &TimeZone) -> String {
    show(at, zone, "%Y-%m-%d %H:%M:%S.%3f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let paris = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        let now: Timestamp = "2026-11-20T13:54:01.120Z".parse().expect("a time");
        let now = now.to_zoned(paris);
        for (text, at) in [
            ("2h", "2026-11-20T11:54:01.120Z"),
            ("1h 30m ago", "2026-11-20T12:24:01.120Z"),
            ("now", "2026-11-20T13:54:01.120Z"),
            ("today", "2026-11-19T23:00:00.000Z"),
            ("Yesterday", "2026-11-18T23:00:00.000Z"),
            ("14:30", "2026-11-20T13:30:00.000Z"),
            ("2026-07-01", "2026-06-30T22:00:00.000Z"),
            ("2026-11-20 14:30", "2026-11-20T13:30:00.000Z"),
            ("2026-07-01 14:30", "2026-07-01T12:30:00.000Z"),
            ("2026-07-01T14:30", "2026-07-01T12:30:00.000Z"),
            ("2026-11-20T14:30:00Z", "2026-11-20T14:30:00.000Z"),
            ("2026-11-20T14:30:00+05:00", "2026-11-20T09:30:00.000Z"),
        ] {
            assert_eq!(parse(text, &now).map(wire), Ok(at.to_owned()), "{text}");
        }
        for (text, at) in [
            ("2h", "2026-11-20T15:54:01.120Z"),
            ("18:00", "2026-11-20T17:00:00.000Z"),
            ("09:00", "2026-11-21T08:00:00.000Z"),
            ("tomorrow", "2026-11-20T23:00:00.000Z"),
            ("2026-12-24 18:00", "2026-12-24T17:00:00.000Z"),
        ] {
            assert_eq!(later(text, &now).map(wire), Ok(at.to_owned()), "{text}");
        }
        for text in ["yesterday", "today", "2026-11-19", "now", "5", "soon"] {
            assert_eq!(later(text, &now), Err(NotLater::No(text.to_owned())));
        }
        for text in ["9999-12-31", "9999-12-31 18:00"] {
            assert_eq!(later(text, &now), Err(NotLater::Far(text.to_owned())));
        }
        for text in ["", "soon", "25:99", "2026-13-01", "12345"] {
            assert_eq!(parse(text, &now), Err(BadTime(text.to_owned())));
        }
    }
}
