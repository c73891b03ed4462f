//! Runs of ticks that wait: for the delay of what is caught up, or for their jitter.
//!
//! A run that waits for its jitter comes when that is over: `overlap` is asked then, as if its tick came then. Else a job
//! that is due more often than its jitter is long would never run, or several times at once.
//!
//! A tick may come while runs that were caught up still wait for their delay.
//!
//! They have not begun, so they are in nobody's way, and `overlap` has nothing to say about them. With `catch_up = "all"`
//! the new one goes behind them, so that all are run in order. Else it is run for them, as it is when it comes in the same
//! moment.

use super::make::Birth;
use super::run_job::{Room, line_is_full};
use super::{Mutant, World};
use crate::effect::Effects;
use crate::job::{CatchUp, Millis, Overlap};
use crate::run::{StopWhy, Trigger};
use crate::{JobName, Outcome, Run, RunNo, RunState, SkipWhy, Time, Timed};
use alloc::format;
use alloc::vec::Vec;

/// How the run of a tick comes to be.
pub(super) enum Way {
    /// As any other.
    Asks,
    /// Beside those that are there; it takes its turn.
    Behind,
    /// In the place of those that waited: for so many instants that they stood for.
    For(u64),
}

impl World {
    /// `late`: it is caught up itself. Its wait counts from `from`.
    pub(super) fn overtake(
        &mut self,
        now: Time,
        name: &JobName,
        timed: &Timed,
        (late, from): (bool, Time),
        birth: &mut Birth,
        fx: &mut Effects,
    ) -> Way {
        let Some(job) = self.job(name) else { return Way::Asks };
        if job.life.is_service() || job.gates.overlap == Overlap::Allow || self.breaks(Mutant::CaughtUpInTheWay) {
            return Way::Asks;
        }
        let ahead: Vec<RunNo> = self.runs_of(name).filter(|run| waits_late(run).is_some()).map(|run| run.no).collect();
        let Some(last) = self.runs_of(name).filter_map(waits_late).max() else { return Way::Asks };
        if timed.catch_up == CatchUp::All {
            let behind = length(from, last);
            let own = birth.wait.map_or(from, |(until, _)| until);
            if last > own && !self.breaks(Mutant::OvertakeCaughtUp) {
                birth.wait = Some((from.plus(behind.ns()), behind));
            }
            return Way::Behind;
        }
        // One that is late too does not take the place of one that waits already: who comes again and again would never run.
        // Nor does one for which there is no room, unless it makes itself room: then it is run for all that it replaces.
        let others = self.runs_of(name).filter(|run| !self.is_unasked(run)).count() - ahead.len();
        let replaces = job.gates.overlap == Overlap::Replace;
        if late || (others >= self.instances(name).max(1) as usize && !replaces) {
            return Way::Asks;
        }
        let mut stood_for = 0;
        for no in ahead {
            if let Some(Trigger::Schedule { missed, .. }) = self.live.get(&no).map(|run| &run.trigger) {
                stood_for += missed + 1;
            }
            let id = self.live.get(&no).map(Run::id);
            let message = format!("{name} is due again, and on time: that run stands for this one too");
            self.note(now, "run.overtaken", id, message, fx);
            self.stop_for(now, no, StopWhy::Planned, fx);
        }
        Way::For(stood_for)
    }

    /// It waits for the jitter of its tick, and comes when that is over: only then is it asked whether there is room for it.
    /// Until then it is in nobody's way, and nothing is in its way.
    pub(super) fn is_unasked(&self, run: &Run) -> bool {
        may_be_unasked(run)
            && self.job(&run.job).is_some_and(|job| !job.life.is_service() && job.gates.overlap != Overlap::Allow)
    }

    /// Its wait is over.
    pub(super) fn comes_due(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        let Some(run) = self.live.get(&no).filter(|run| self.is_unasked(run)).cloned() else {
            return self.let_go(now, no, fx);
        };
        let Some(job) = self.job(&run.job).cloned() else { return self.let_go(now, no, fx) };
        let places = self.instances(&run.job).max(1);
        let is_due = |other: &&Run| {
            let until = |run: &Run| if let RunState::Waiting { until, .. } = run.state { Some(until) } else { None };
            (until(&run), no) < (until(other), other.no) && until(other) <= Some(now) && self.is_unasked(other)
        };
        // Those that come with it, and after it, would stop it again at once.
        let gives_way =
            job.gates.overlap == Overlap::Replace && self.runs_of(&run.job).filter(is_due).count() >= places as usize;
        if gives_way {
            return self.stop_for(now, no, StopWhy::Planned, fx);
        }
        match self.room_for(&run.job, Some(no)) {
            Room::Free | Room::Waits => {}
            Room::Replaces(runs) => {
                for other in runs {
                    self.stop_for(now, other, StopWhy::Planned, fx);
                }
            }
            Room::Full(live) => {
                self.end(now, run, Outcome::Skipped(SkipWhy::Overlap { live: Some(live.no) }), None, fx);
                return;
            }
            Room::LineFull(_, most) => {
                self.note(now, "run.skipped", Some(run.id()), line_is_full(most), fx);
                self.end(now, run, Outcome::Skipped(SkipWhy::LineFull { waiting: most }), None, fx);
                return;
            }
        }
        self.change(now, no, fx, |run| run.terms.turn = places);
        self.let_go(now, no, fx);
    }

    /// The run that was caught up and that this one waits for, if it does.
    pub(super) fn goes_behind(&self, run: &Run) -> Option<&Run> {
        let RunState::Waiting { until, .. } = run.state else { return None };
        let before = self.runs_of(&run.job).filter(|before| before.no < run.no && !run.trigger.is_late());
        before.rev().find(|before| waits_late(before).is_some_and(|last| until.0 - last.0 < 1_000_000))
    }
}

/// As far as the run itself tells: what is asked at once gets its turn with its terms.
pub(super) fn may_be_unasked(run: &Run) -> bool {
    let waits = matches!(run.state, RunState::Waiting { .. }) && run.is_defined();
    waits && run.follows.is_none() && run.terms.turn == 0 && !run.trigger.is_late()
}

/// Until when, of one that was caught up and has not begun.
pub(super) fn waits_late(run: &Run) -> Option<Time> {
    let RunState::Waiting { until, .. } = run.state else { return None };
    run.trigger.is_late().then_some(until)
}

/// From `from`, in whole milliseconds, and no shorter.
fn length(from: Time, until: Time) -> Millis {
    let ns = until.0.saturating_sub(from.0).max(0).cast_unsigned();
    Millis(ns.div_ceil(1_000_000))
}
