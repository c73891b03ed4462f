//! A tick that comes while runs that were caught up still wait for their delay.
//!
//! They have not begun, so they are in nobody's way, and `overlap` has nothing to say about them. With `catch_up = "all"`
//! the new one goes behind them, so that all are run in order. Else it is run for them, as it is when it comes in the same
//! moment.

use super::make::Birth;
use super::{Mutant, World};
use crate::effect::Effects;
use crate::job::{CatchUp, Millis, Overlap};
use crate::run::{StopWhy, Trigger};
use crate::{JobName, Run, RunNo, RunState, Time, Timed};
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
        let others = self.runs_of(name).count() - ahead.len();
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

    /// The run that was caught up and that this one waits for, if it does.
    pub(super) fn goes_behind(&self, run: &Run) -> Option<&Run> {
        let RunState::Waiting { until, .. } = run.state else { return None };
        let before = self.runs_of(&run.job).filter(|before| before.no < run.no && !run.trigger.is_late());
        before.rev().find(|before| waits_late(before).is_some_and(|last| until.0 - last.0 < 1_000_000))
    }
}

/// Until when, of one that was caught up and has not begun.
fn waits_late(run: &Run) -> Option<Time> {
    let RunState::Waiting { until, .. } = run.state else { return None };
    run.trigger.is_late().then_some(until)
}

/// From `from`, in whole milliseconds, and no shorter.
fn length(from: Time, until: Time) -> Millis {
    let ns = until.0.saturating_sub(from.0).max(0).cast_unsigned();
    Millis(ns.div_ceil(1_000_000))
}
