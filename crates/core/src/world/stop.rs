//! The end of a run as a wish: stop, signal, and the end of the server.

use super::{Closing, Mutant, World};
use crate::effect::{Act, Effects};
use crate::run::StopWhy;
use crate::wish::{Farewell, Granted, StopKind};
use crate::{Outcome, Refusal, RunNo, RunState, Time};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl World {
    pub(super) fn stop(
        &mut self,
        now: Time,
        no: RunNo,
        kind: StopKind,
        why: StopWhy,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        let run = self.live.get(&no).ok_or(Refusal::Unknown { run: no })?;
        match &run.state {
            RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued => {
                fx.promises = true;
                let run = run.clone();
                return Ok(Granted::Run(Box::new(self.end(now, run, Outcome::Cancelled, Some(why), fx))));
            }
            RunState::Starting { .. } if self.breaks(Mutant::ForgetStop) => return self.granted(no),
            RunState::Starting { .. } if run.is_being_made() => {
                fx.promises = true;
                let run = run.clone();
                return Ok(Granted::Run(Box::new(self.end_unmade(now, run, Outcome::Cancelled, Some(why), fx))));
            }
            // Nobody has it as far as we know. But a start that an earlier daemon said may still be on its way.
            RunState::Starting { generation } if generation.is_none() || self.roomless.contains(&no) => {
                self.roomless.remove(&no);
                fx.promises = true;
                self.change(now, no, fx, |run| run.state = RunState::Stopping { why, kind });
                fx.acts.push(Act::Withdraw { run: no });
            }
            RunState::Starting { .. } | RunState::Running { .. } => {
                fx.promises = true;
                self.change(now, no, fx, |run| run.state = RunState::Stopping { why, kind });
            }
            // A person's plain stop outweighs an interruption and every plan of kin's own; nothing outweighs it. And a kill
            // outweighs the ladder, whoever asks for it.
            RunState::Stopping { why: why_before, kind: kind_before }
                if (why == StopWhy::Asked && *why_before != StopWhy::Asked) || kind > *kind_before =>
            {
                fx.promises = true;
                let why = if why == StopWhy::Asked { why } else { *why_before };
                let kind = kind.max(*kind_before);
                self.change(now, no, fx, |run| run.state = RunState::Stopping { why, kind });
            }
            // Of a draining run, what it left behind is ended; its own end came before, and is not explained by this.
            RunState::Draining { .. } if why == StopWhy::Asked => {
                fx.promises = true;
                self.leave_empty(no, fx);
            }
            RunState::Stopping { .. } | RunState::Draining { .. } => {}
            RunState::Ended { outcome } => {
                return Err(Refusal::Ended { run: run.id(), outcome: outcome.clone() });
            }
        }
        if !self.breaks(Mutant::ForgetLadder) {
            fx.acts.push(Act::Stop { run: no, kind });
        }
        self.granted(no)
    }

    /// A stop of kin's own. A run that is ending already is left to its end.
    pub(super) fn stop_for(&mut self, now: Time, no: RunNo, why: StopWhy, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        if matches!(run.state, RunState::Stopping { .. } | RunState::Draining { .. }) {
            return;
        }
        // Live and not stopping: there is nothing that could be refused.
        let granted = self.stop(now, no, StopKind::Ladder, why, fx);
        debug_assert!(granted.is_ok(), "a live run can be stopped");
    }

    pub(super) fn signal(
        &mut self,
        now: Time,
        no: RunNo,
        signal: u8,
        leader_only: bool,
        interrupt: bool,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        let run = self.live.get(&no).ok_or(Refusal::Unknown { run: no })?;
        match &run.state {
            // Nothing could take the signal, but the wish behind an interrupt is clear: it shall not go on.
            RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued | RunState::Starting { .. }
                if interrupt =>
            {
                return self.stop(now, no, StopKind::Ladder, StopWhy::Interrupt, fx);
            }
            RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued | RunState::Starting { .. } => {
                return Err(Refusal::NotStarted { run: run.id() });
            }
            RunState::Running { unowned, interrupted: false } if interrupt => {
                let unowned = *unowned;
                self.change(now, no, fx, |run| run.state = RunState::Running { unowned, interrupted: true });
            }
            RunState::Running { .. } | RunState::Stopping { .. } => {}
            RunState::Draining { .. } => return Err(Refusal::LeaderEnded { run: run.id() }),
            RunState::Ended { outcome } => {
                return Err(Refusal::Ended { run: run.id(), outcome: outcome.clone() });
            }
        }
        fx.acts.push(Act::Signal { run: no, signal, leader_only });
        self.granted(no)
    }

    pub(super) fn shutdown(&mut self, now: Time, stop_runs: bool, cancel: bool, fx: &mut Effects) -> Granted {
        self.close(stop_runs);
        let mut farewell = Farewell::default();
        let all: Vec<RunNo> = self.live.keys().copied().collect();
        for no in all {
            let Some(run) = self.live.get(&no) else { continue };
            let (id, defined) = (run.id(), run.is_defined());
            let is_service = self.job_of(run).is_some_and(|job| job.life.is_service());
            let cancels = stop_runs && (!defined || (cancel && !is_service));
            let unmade = run.is_being_made();
            match run.state {
                // Of a service they stay: it is up, and so for the next server.
                RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued if cancels => {
                    self.stop_for(now, no, StopWhy::Asked, fx);
                    farewell.cancelled.push(id);
                }
                RunState::Starting { .. } if unmade && cancels => {
                    self.stop_for(now, no, StopWhy::Asked, fx);
                    farewell.cancelled.push(id);
                }
                RunState::Starting { generation: None } if unmade || !stop_runs => farewell.waiting.push(id),
                RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued => farewell.waiting.push(id),
                RunState::Starting { generation: Some(_) } if !stop_runs && self.roomless.remove(&no) => {
                    self.given.remove(&no);
                    self.change(now, no, fx, |run| run.state = RunState::Starting { generation: None });
                    farewell.waiting.push(id);
                }
                RunState::Starting { .. }
                | RunState::Running { .. }
                | RunState::Stopping { .. }
                | RunState::Draining { .. }
                    if stop_runs =>
                {
                    // Runs of jobs go in the order of their needs (service.rs).
                    if !defined {
                        self.stop_for(now, no, StopWhy::Asked, fx);
                    }
                    farewell.stopping.push(id);
                }
                RunState::Starting { .. }
                | RunState::Running { .. }
                | RunState::Stopping { .. }
                | RunState::Draining { .. } => farewell.left.push(id),
                RunState::Ended { .. } => {}
            }
        }
        if self.closing == Closing::Stop {
            self.look_jobs.extend(self.jobs.keys().cloned());
        }
        Granted::Farewell(farewell)
    }
}
