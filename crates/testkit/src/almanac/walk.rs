//! When an expression is due, minute by minute.
//!
//! Times of day are walked on the wall: each minute that a clock could show is asked for, and the other library says whether
//! it is shown once, never, or twice. What follows real time is walked in real time: what does the clock show now?

use super::expression::{Expression, Policy};
use super::zones::{offset, timestamp};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

const DAY: i64 = 86_400;

/// What a clock shows in one minute of real time.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: i64,
    date: Date,
    hour: usize,
    minute: usize,
}

/// Those of `from..=until`, both whole minutes.
pub fn readings(zone: &TimeZone, from: i64, until: i64) -> impl Iterator<Item = Reading> {
    (from..=until).step_by(60).map(|at| {
        let shown = at + i64::from(offset(zone, at));
        let (hour, minute) = (shown.rem_euclid(DAY) / 3600, shown.rem_euclid(3600) / 60);
        let date = Offset::UTC.to_datetime(timestamp(shown)).date();
        Reading { at, date, hour: hour as usize, minute: minute as usize }
    })
}

/// All instants of `from..=until` at which it is due. `real_time` are the readings of these minutes.
pub fn walk(
    expression: &Expression,
    zone: &TimeZone,
    (from, until): (i64, i64),
    real_time: impl Iterator<Item = Reading>,
) -> Vec<i64> {
    let mut due = Vec::new();
    if expression.fixed {
        // No clock is further from UTC than a day and two hours.
        let first = Offset::UTC.to_datetime(timestamp(from - DAY)).date().yesterday().expect("a day before");
        let last = Offset::UTC.to_datetime(timestamp(until + DAY)).date().tomorrow().expect("a day after");
        for date in first.series(jiff::Span::new().days(1)).take_while(|date| *date <= last) {
            on_the_wall(expression, zone, date, &mut due);
        }
    } else {
        in_real_time(expression, real_time, &mut due);
    }
    due.retain(|at| (from..=until).contains(at));
    due.sort_unstable();
    due.dedup();
    due
}

fn on_the_wall(expression: &Expression, zone: &TimeZone, date: Date, due: &mut Vec<i64>) {
    if !expression.on(date) {
        return;
    }
    for hour in 0..24 {
        for minute in 0..60 {
            if expression.hours[hour] && expression.minutes[minute] {
                for second in &expression.seconds {
                    due.extend(instants(expression.policy, zone, date.at(hour as i8, minute as i8, *second as i8, 0)));
                }
            }
        }
    }
}

fn instants(policy: Policy, zone: &TimeZone, wall: DateTime) -> Vec<i64> {
    let with = |offset: Offset| offset.to_timestamp(wall).expect("an instant that it knows");
    match (zone.to_ambiguous_timestamp(wall).offset(), policy) {
        (AmbiguousOffset::Unambiguous { offset }, _) => vec![with(offset).as_second()],
        (AmbiguousOffset::Gap { .. }, Policy::Skip) => Vec::new(),
        // With the new offset the reading lies before the change: the next change is the one that skipped it.
        (AmbiguousOffset::Gap { after, .. }, Policy::Once | Policy::Both) => {
            zone.following(with(after)).map(|change| change.timestamp().as_second()).take(1).collect()
        }
        (AmbiguousOffset::Fold { before, .. }, Policy::Once | Policy::Skip) => vec![with(before).as_second()],
        (AmbiguousOffset::Fold { before, after }, Policy::Both) => {
            vec![with(before).as_second(), with(after).as_second()]
        }
    }
}

fn in_real_time(expression: &Expression, readings: impl Iterator<Item = Reading>, due: &mut Vec<i64>) {
    let mut today = (Date::MIN, false);
    for reading in readings {
        if expression.minutes[reading.minute] && expression.hours[reading.hour] {
            if today.0 != reading.date {
                today = (reading.date, expression.on(reading.date));
            }
            if today.1 {
                due.extend(expression.seconds.iter().map(|second| reading.at + *second as i64));
            }
        }
    }
}
