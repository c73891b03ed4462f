//! The end of a run: it is recorded, its place is free, and what follows is decided.

use super::World;
use crate::effect::{Act, Effects};
use crate::run::StopWhy;
use crate::{Outcome, Run, RunState, Time};

impl World {
    /// `why`: who wanted it, if anybody did.
    pub(super) fn end(
        &mut self,
        now: Time,
        mut run: Run,
        outcome: Outcome,
        why: Option<StopWhy>,
        fx: &mut Effects,
    ) -> Run {
        let from = self.live.get(&run.no).map(|run| run.state.word());
        let no = run.no;
        if !matches!(run.state, RunState::Draining { .. }) {
            run.health.healthy_at = healthy_by(&run, now);
        }
        run.state = RunState::Ended { outcome };
        run.ended_at = run.ended_at.or(Some(now));
        self.record(now, run.clone(), from, fx);
        self.given.remove(&no);
        self.roomless.remove(&no);
        self.unready.remove(&no);
        fx.acts.push(Act::RemoveSpec { run: no });
        fx.acts.push(Act::Forget { run: no });
        self.room(fx);
        if run.is_defined() {
            self.follow(now, &run, why, fx);
            self.has_ended(now, &run, fx);
        }
        run
    }
}

/// When it was healthy, where that is over as its end is heard of. (The end itself may be told by a clock that was set back
/// since.)
pub(super) fn healthy_by(run: &Run, now: Time) -> Option<Time> {
    run.health.healthy_at.filter(|at| *at <= now)
}

/// Who wanted the end of a run in this state.
pub(super) const fn wanted_end(state: &RunState) -> Option<StopWhy> {
    match state {
        RunState::Stopping { why, .. } => Some(*why),
        RunState::Draining { why } => *why,
        RunState::Running { interrupted: true, .. } => Some(StopWhy::Interrupt),
        RunState::Running { interrupted: false, .. }
        | RunState::Held { .. }
        | RunState::Waiting { .. }
        | RunState::Queued
        | RunState::Starting { .. }
        | RunState::Ended { .. } => None,
    }
}
