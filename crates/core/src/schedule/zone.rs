//! A time zone: which offset its clocks had, have and will have.
//!
//! A zone is a line of *spans*, each with one offset, without a hole between them. Its rule for years to come is written out
//! up to the end of [`YEAR_MAX`] when the zone is read, so nothing here computes a rule.
//!
//! Beside each span stands its *high water*: the latest reading that a clock in this zone had ever shown when the span began.
//! Where the span begins above it, the readings between were skipped (a gap); where below, readings are shown again (a fold).
//! "Once" is then a single sentence, whatever the size of the change: *a reading is due at the first instant at which the
//! clock shows it or something later.*

use super::posix::Rule;
use super::wall::{DAY, Date, Wall, YEAR_MAX};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The last instant that schedules know: the end of 2199, in UTC.
pub const LAST: i64 = Date { year: YEAR_MAX + 1, month: 1, day: 1 }.days() * DAY - 1;
/// The first one: 1970 begins.
pub const FIRST: i64 = 0;
/// No clock is further from UTC; what RFC 9636 allows, with a little to spare.
pub const OFFSET_MAX: i32 = 26 * 3600;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    /// The first begins at `i64::MIN`; starts increase, neighbours differ in their offset.
    spans: Vec<Span>,
}

/// A stretch of time with one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: i64,
    /// The latest reading before it.
    high: Wall,
    /// Seconds east of UTC.
    offset: i32,
}

/// A span as schedules use it, its end included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub index: usize,
    /// In UTC seconds; `i64::MIN` for the first.
    pub start: i64,
    /// The first instant after it; `i64::MAX` for the last.
    pub end: i64,
    pub offset: i32,
    /// The latest reading that clocks had shown before it.
    pub high: Wall,
}

impl Stretch {
    pub const fn wall(&self, at: i64) -> Wall {
        Wall(at.saturating_add(self.offset as i64))
    }
    pub const fn instant(&self, wall: Wall) -> i64 {
        wall.0.saturating_sub(self.offset as i64)
    }
    pub const fn first_wall(&self) -> Wall {
        self.wall(self.start)
    }
    pub const fn end_wall(&self) -> Wall {
        self.wall(self.end)
    }
}

/// A change of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The first instant with the new offset.
    pub at: i64,
    pub before: i32,
    pub after: i32,
}

impl Change {
    /// What the clock would have shown at that instant without the change.
    pub const fn from(&self) -> Wall {
        Wall(self.at + self.before as i64)
    }
    /// What it shows.
    pub const fn to(&self) -> Wall {
        Wall(self.at + self.after as i64)
    }
    /// Whether readings are skipped; else they are shown again.
    pub const fn is_gap(&self) -> bool {
        self.after > self.before
    }
}

impl Zone {
    pub fn utc() -> Zone {
        Zone::fixed("UTC", 0)
    }

    /// A zone that never changes.
    pub fn fixed(name: &str, offset: i32) -> Zone {
        let first = Span { start: i64::MIN, high: Wall(i64::MIN), offset };
        Zone { name: name.to_string(), spans: Vec::from([first]) }
    }

    /// From a rule as `$TZ` may hold: `CET-1CEST,M3.5.0,M10.5.0/3`. It holds from 1970 on.
    pub fn of_rule(text: &str) -> Option<Zone> {
        let rule = Rule::parse(text.as_bytes())?;
        Some(Zone::new(text, rule.standard(), rule.changes_after(FIRST - 1)))
    }

    /// From its first offset and its changes: the instant, and the offset from then on. Changes are in order.
    pub fn new(name: &str, first: i32, changes: impl IntoIterator<Item = (i64, i32)>) -> Zone {
        let mut zone = Zone::fixed(name, first);
        for (start, offset) in changes {
            zone.push(start, offset);
        }
        zone
    }

    fn push(&mut self, start: i64, offset: i32) {
        let last = self.spans[self.spans.len() - 1];
        debug_assert!(start > last.start, "changes are in order");
        if offset != last.offset {
            let high = last.high.max(Wall(start.saturating_add(i64::from(last.offset))));
            self.spans.push(Span { start, high, offset });
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which span an instant lies in.
    fn index(&self, at: i64) -> usize {
        self.spans.partition_point(|span| span.start <= at) - 1
    }

    pub(super) fn stretch(&self, index: usize) -> Option<Stretch> {
        let span = self.spans.get(index)?;
        let end = self.spans.get(index + 1).map_or(i64::MAX, |next| next.start);
        Some(Stretch { index, start: span.start, end, offset: span.offset, high: span.high })
    }

    pub(super) fn stretch_at(&self, at: i64) -> Stretch {
        let index = self.index(at);
        let span = self.spans[index];
        let end = self.spans.get(index + 1).map_or(i64::MAX, |next| next.start);
        Stretch { index, start: span.start, end, offset: span.offset, high: span.high }
    }

    /// Seconds east of UTC at that instant.
    pub fn offset(&self, at: i64) -> i32 {
        self.spans[self.index(at)].offset
    }

    /// What a clock shows at that instant.
    pub fn wall(&self, at: i64) -> Wall {
        Wall(at.saturating_add(i64::from(self.offset(at))))
    }

    /// All instants at which the clock shows that, in order: one, mostly; none in a gap; two in a fold.
    pub fn instants(&self, wall: Wall) -> impl Iterator<Item = i64> + '_ {
        let first = self.index(wall.0.saturating_sub(i64::from(OFFSET_MAX)));
        let past = wall.0.saturating_add(i64::from(OFFSET_MAX));
        (first..self.spans.len()).map_while(|i| self.stretch(i)).take_while(move |s| s.start <= past).filter_map(
            move |s| {
                let at = s.instant(wall);
                (s.start <= at && at < s.end).then_some(at)
            },
        )
    }

    /// The first instant at which the clock shows that or something later.
    pub fn first_reaching(&self, wall: Wall) -> i64 {
        let first = self.index(wall.0.saturating_sub(i64::from(OFFSET_MAX)));
        for stretch in (first..self.spans.len()).map_while(|i| self.stretch(i)) {
            if wall < stretch.end_wall() || stretch.end == i64::MAX {
                return stretch.instant(wall).max(stretch.start);
            }
        }
        i64::MAX
    }

    /// Changes after an instant, in order.
    pub fn changes_after(&self, at: i64) -> impl Iterator<Item = Change> + '_ {
        self.spans[self.index(at)..].windows(2).map(|pair| Change {
            at: pair[1].start,
            before: pair[0].offset,
            after: pair[1].offset,
        })
    }
}

/// An offset as people write it: `+01:00`, `-03:30`, `+00:19:32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(pub i32);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let seconds = self.0.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
        if seconds.is_multiple_of(60) { Ok(()) } else { write!(f, ":{:02}", seconds % 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_zone() -> impl Strategy<Value = Zone> {
        let change = (1i64..40 * 3600, -50_000i32..50_000);
        (-50_000i32..50_000, proptest::collection::vec(change, 0..12)).prop_map(|(first, steps)| {
            let mut at = 0;
            Zone::new(
                "any",
                first,
                steps.into_iter().map(move |(wait, offset)| {
                    at += wait;
                    (at, offset)
                }),
            )
        })
    }

    #[test]
    fn a_gap_and_a_fold() {
        let zone = Zone::new("z", 0, [(10_000, 3600), (50_000, 0)]);
        assert_eq!(zone.instants(Wall(9_999)).collect::<Vec<_>>(), [9_999]);
        assert_eq!(zone.instants(Wall(10_000)).count(), 0);
        assert_eq!(zone.instants(Wall(13_600)).collect::<Vec<_>>(), [10_000]);
        assert_eq!(zone.instants(Wall(50_000)).collect::<Vec<_>>(), [46_400, 50_000]);
        assert_eq!(zone.first_reaching(Wall(10_001)), 10_000);
        assert_eq!(zone.first_reaching(Wall(50_000)), 46_400);
        let changes: Vec<_> = zone.changes_after(10_000).collect();
        assert_eq!(changes, [Change { at: 50_000, before: 3600, after: 0 }]);
        assert!(!changes[0].is_gap());
        assert_eq!(Offset(-12_600).to_string(), "-03:30");
        assert_eq!(Offset(1172).to_string(), "+00:19:32");
    }

    proptest! {
        /// Against the definition, second by second around a reading, for zones wilder than any real one.
        #[test]
        fn instants_are_those_at_which_the_clock_shows_it(zone in any_zone(), wall in -100_000i64..500_000) {
            let wall = Wall(wall);
            let mut near = wall.0 - 110_000..wall.0 + 110_000;
            let slow: Vec<i64> = near.clone().filter(|at| zone.wall(*at) == wall).collect();
            prop_assert_eq!(zone.instants(wall).collect::<Vec<_>>(), slow);
            let first = near.find(|at| zone.wall(*at) >= wall);
            prop_assert_eq!(Some(zone.first_reaching(wall)), first);
        }
    }
}
