//! Time: what is due, and what a set clock means.
//!
//! `now` is wall time, because people and logs read it; but waits are lengths. So whoever keeps the clocks says
//! `Fact::Stepped` when the wall clock was set, before anything else with the new time, and everything that waits for an
//! instant waits as long as it was to. What nobody could say (the clock was set while no daemon lived) is bounded: a clock
//! that went back shows itself, because a wait would be longer than it is in all, and begins anew from now; so no wait is
//! ever more than twice what it was to be, and none hangs. A clock that went forward unseen ends waits early.

use super::{Mutant, World};
use crate::effect::Effects;
use crate::run::StopWhy;
use crate::{Run, RunNo, RunState, Time};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

impl World {
    /// When `Fact::Time` has something to do next.
    pub fn due(&self) -> Option<Time> {
        let begins = !self.is_closing() && !self.breaks(Mutant::ForgetDue);
        let waiting = self.places.waiting.first().map(|(at, _)| *at).filter(|_| begins);
        let ready_by = self.places.ready_by.first().map(|(at, _)| *at);
        let tick = self.next_tick().filter(|_| !self.is_closing() && !self.breaks(Mutant::ForgetTick));
        [waiting, ready_by, tick].into_iter().flatten().min()
    }

    pub(super) fn time(&mut self, now: Time, fx: &mut Effects) {
        // At a server's end nothing begins any more: what is due waits for the next one, which has no spec of it to find.
        while let Some((_, no)) = self.places.waiting.first().copied().filter(|(at, _)| *at <= now)
            && !self.is_closing()
            && !self.breaks(Mutant::ForgetDue)
        {
            self.comes_due(now, no, fx);
        }
        let late = self.places.ready_by.range(..=(now, RunNo::LAST)).map(|(_, no)| *no);
        for no in late.collect::<Vec<_>>() {
            let why = self.unready.get(&no).map_or_else(Default::default, |why| alloc::format!(": {why}"));
            let id = self.live.get(&no).map(Run::id);
            self.note(now, "run.not-ready", id, alloc::format!("it was not ready in time{why}"), fx);
            self.stop_for(now, no, StopWhy::NotReady, fx);
        }
        self.decide_some_ticks(now, fx);
    }

    /// The wall clock was set by so much.
    pub(super) fn stepped(&mut self, now: Time, by: i64, fx: &mut Effects) {
        let far = self.tell_ticks_of_the_clock(now, Some(by), fx);
        let way = if by < 0 { "back" } else { "forward" };
        let schedules = if far == 0 { String::new() } else { gone_back(far) };
        self.note(now, "clock.set", None, format!("the clock was set {way} by {}{schedules}", length(by)), fx);
        if self.breaks(Mutant::IgnoreStep) {
            return;
        }
        self.move_instants(now, fx, |_, _, at| at.plus(by));
    }

    /// At the first word after a death, and whenever it is earlier than it was: no wait is longer than it is in all.
    pub(super) fn notice_the_time(&mut self, now: Time, fx: &mut Effects) {
        let back = now < self.latest;
        self.latest = now;
        if back {
            let far = self.tell_ticks_of_the_clock(now, None, fx);
            if far > 0 {
                self.note(now, "clock.back", None, format!("the clock was set back far{}", gone_back(far)), fx);
            }
        }
        if back && !self.breaks(Mutant::IgnoreStep) {
            self.move_instants(now, fx, |now, whole, at| at.min(now.plus(whole)));
        }
    }

    /// Each instant that is waited for, with the length of the whole wait.
    fn move_instants(&mut self, now: Time, fx: &mut Effects, how: impl Fn(Time, i64, Time) -> Time) {
        let mut moved = Vec::new();
        for run in self.live.values() {
            let mut run = run.clone();
            let job = self.job_of(&run).cloned();
            if let RunState::Waiting { until, wait } = &mut run.state {
                *until = how(now, wait.ns(), *until);
            }
            let within = job.as_ref().and_then(|job| job.life.ready.as_ref()?.within);
            let healthy = job.as_ref().map(|job| job.life.again.healthy_after);
            let moves = |at: Option<Time>, whole: Option<i64>| Some(how(now, whole.unwrap_or(i64::MAX), at?));
            run.health.ready_by = moves(run.health.ready_by, within.map(crate::job::Millis::ns));
            // Of a leader that is dead nothing is waited for: it had become healthy, or had not.
            if !matches!(run.state, RunState::Draining { .. }) {
                run.health.healthy_at = moves(run.health.healthy_at, healthy.map(crate::job::Millis::ns));
            }
            if self.live.get(&run.no) != Some(&run) {
                moved.push(run);
            }
        }
        for run in moved {
            let from = run.state.word();
            self.record(now, run, Some(from), fx);
        }
    }
}

fn gone_back(far: usize) -> String {
    format!("; {} by what it shows now, and instants may come again", go(far, "schedule"))
}

/// `3 schedules go`, `1 schedule goes`.
fn go(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what} goes") } else { format!("{n} {what}s go") }
}

/// For people: `1 d 2 h`, `250 ms`.
pub(super) fn length(ns: i64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let mut ms = (ns.unsigned_abs() + 500_000) / 1_000_000;
    if ms < 1000 {
        return format!("{ms} ms");
    }
    // A reading of two clocks is not exact to the millisecond.
    ms = (ms + 500) / 1000 * 1000;
    let mut words = Vec::new();
    for (unit, word) in UNITS {
        if ms >= unit && words.len() < 2 {
            words.push(format!("{} {word}", ms / unit));
            ms %= unit;
        } else if !words.is_empty() {
            break;
        }
    }
    words.join(" ")
}
