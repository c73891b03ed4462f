//! From readings to instants: the next tick after an instant, and the last one before it.
//!
//! Zones are walked span by span. Within a span readings and instants advance together, so what is found is in order by
//! construction; a gap belongs to the span that begins with it.

use super::pattern::Pattern;
use super::wall::Wall;
use super::zone::{FIRST, LAST, Stretch, Zone};
use super::{Dst, Schedule, When};
use alloc::vec::Vec;

/// An instant at which a job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// In UTC seconds; with the job and the revision of its schedule, the tick's identity.
    pub at: i64,
    /// What the schedule asked for: the reading of the clock at that instant, except where it was moved.
    pub due: Wall,
    pub how: How,
}

/// How a tick came to its instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The clock shows what is due.
    Exact,
    /// The clock skipped what is due; the gap ends at this instant. `due` is the earliest reading that fell into it.
    Moved,
    /// The clock shows it again, and the schedule wants that.
    Again,
}

impl Schedule {
    /// The first tick after that instant. `None`: no more until the end of 2199, or it is due by the boot and not by a clock.
    pub fn next_after(&self, at: i64, zone: &Zone) -> Option<Tick> {
        let from = at.max(FIRST - 1).saturating_add(1);
        if from > LAST {
            return None;
        }
        let tick = match &self.when {
            When::Pattern(pattern) => self.next_of(pattern, from, zone),
            When::Every { period, phase } => Some(exact(from + (phase - from).rem_euclid(*period), zone)),
            When::At(when) => (*when >= from).then(|| exact(*when, zone)),
            When::Reboot => None,
        };
        let tick = tick.filter(|tick| tick.at <= LAST);
        debug_assert!(tick.is_none_or(|tick| tick.at > at), "ticks increase strictly");
        tick
    }

    /// The last tick before that instant: what was missed, however long ago, without walking there.
    pub fn last_before(&self, at: i64, zone: &Zone) -> Option<Tick> {
        let until = at.min(LAST + 1).checked_sub(1).filter(|until| *until >= FIRST)?;
        let tick = match &self.when {
            When::Pattern(pattern) => self.last_of(pattern, until, zone),
            When::Every { period, phase } => Some(exact(until - (until - phase).rem_euclid(*period), zone)),
            When::At(when) => (*when <= until).then(|| exact(*when, zone)),
            When::Reboot => None,
        };
        let tick = tick.filter(|tick| tick.at >= FIRST);
        debug_assert!(tick.is_none_or(|tick| tick.at < at), "ticks increase strictly");
        tick
    }

    /// Ticks after that instant, in order.
    pub fn after<'a>(&'a self, at: i64, zone: &'a Zone) -> impl Iterator<Item = Tick> + 'a {
        core::iter::successors(self.next_after(at, zone), move |tick| self.next_after(tick.at, zone))
    }

    /// The next `n` ticks after that instant.
    pub fn coming(&self, n: usize, at: i64, zone: &Zone) -> Vec<Tick> {
        self.after(at, zone).take(n).collect()
    }

    /// Readings of a span that are due where the clock shows them.
    fn shown(&self, pattern: &Pattern, span: &Stretch) -> Wall {
        if pattern.fixed && self.dst != Dst::Both { span.first_wall().max(span.high) } else { span.first_wall() }
    }

    /// The tick of a gap, due at the instant in which the span begins.
    fn of_gap(&self, pattern: &Pattern, span: &Stretch) -> Option<Tick> {
        if !pattern.fixed || self.dst == Dst::Skip || span.start < FIRST {
            return None;
        }
        let due = pattern.next(span.high, span.first_wall())?;
        Some(Tick { at: span.start, due, how: How::Moved })
    }

    fn in_span(&self, pattern: &Pattern, span: &Stretch, due: Wall) -> Tick {
        let again = pattern.fixed && self.dst == Dst::Both && due < span.high;
        Tick { at: span.instant(due), due, how: if again { How::Again } else { How::Exact } }
    }

    fn next_of(&self, pattern: &Pattern, from: i64, zone: &Zone) -> Option<Tick> {
        let mut span = zone.stretch_at(from);
        loop {
            if span.start >= from
                && let Some(tick) = self.of_gap(pattern, &span)
            {
                return Some(tick);
            }
            let first = span.wall(from.max(span.start)).max(self.shown(pattern, &span));
            if let Some(due) = pattern.next(first, span.end_wall()) {
                return Some(self.in_span(pattern, &span, due));
            }
            span = zone.stretch(span.index + 1)?;
        }
    }

    fn last_of(&self, pattern: &Pattern, until: i64, zone: &Zone) -> Option<Tick> {
        let mut span = zone.stretch_at(until);
        loop {
            let end = span.wall(until.saturating_add(1).min(span.end));
            let shown = pattern.last(self.shown(pattern, &span), end).map(|due| self.in_span(pattern, &span, due));
            if let Some(tick) = shown.filter(|tick| tick.at > span.start) {
                return Some(tick);
            }
            if let Some(tick) = self.of_gap(pattern, &span) {
                return Some(tick);
            }
            if shown.is_some() {
                return shown;
            }
            if span.start < FIRST {
                return None;
            }
            span = zone.stretch(span.index.checked_sub(1)?)?;
        }
    }
}

fn exact(at: i64, zone: &Zone) -> Tick {
    Tick { at, due: zone.wall(at), how: How::Exact }
}

/// All schedules of one job, each with its zone: due whenever one of them is, and once where several are.
#[derive(Clone, Debug, Default)]
pub struct Plan<'a> {
    parts: Vec<(&'a Schedule, &'a Zone)>,
}

impl<'a> Plan<'a> {
    pub fn new(parts: impl IntoIterator<Item = (&'a Schedule, &'a Zone)>) -> Plan<'a> {
        Plan { parts: parts.into_iter().collect() }
    }

    /// The first tick after that instant, and which schedule it is of: the first of those that name it.
    pub fn next_after(&self, at: i64) -> Option<(usize, Tick)> {
        let ticks = self.parts.iter().enumerate().filter_map(|(i, (s, zone))| Some((i, s.next_after(at, zone)?)));
        ticks.min_by_key(|(i, tick)| (tick.at, *i))
    }

    /// The last tick before that instant, likewise.
    pub fn last_before(&self, at: i64) -> Option<(usize, Tick)> {
        let ticks = self.parts.iter().enumerate().filter_map(|(i, (s, zone))| Some((i, s.last_before(at, zone)?)));
        ticks.max_by_key(|(i, tick)| (tick.at, core::cmp::Reverse(*i)))
    }

    /// Ticks after that instant, in order.
    pub fn after(&self, at: i64) -> impl Iterator<Item = (usize, Tick)> + '_ {
        core::iter::successors(self.next_after(at), |(_, tick)| self.next_after(tick.at))
    }
}
