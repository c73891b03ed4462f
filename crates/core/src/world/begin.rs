//! How a run that is not held any more comes to be started.

use super::{Mutant, World, places};
use crate::effect::{Act, Effects};
#[cfg(test)]
use crate::fact::Fact;
use crate::run::{Hold, StopWhy};
use crate::{Run, RunNo, RunState, SpawnStep, Time};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

impl World {
    /// Where a run stands that no latch and no instant keeps.
    pub(super) fn next_state(&self, run: &Run) -> RunState {
        let missing = self.missing(run);
        if !missing.is_empty() {
            return RunState::Held { on: Hold::Needs(missing) };
        }
        if places::gates(run).is_empty() { RunState::Starting { generation: None } } else { RunState::Queued }
    }

    /// Its latch is released, it is due, or what it needs is ready: further, as far as it goes.
    pub(super) fn let_go(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        let state = self.next_state(run);
        if matches!(state, RunState::Starting { .. }) {
            return self.begin(now, no, fx);
        }
        if run.state != state {
            let comes =
                matches!(state, RunState::Held { .. }) && !matches!(run.state, RunState::Held { on: Hold::Needs(_) });
            let job = self.job_of(run).filter(|_| comes && !self.breaks(Mutant::AskOnce)).cloned();
            self.change(now, no, fx, |run| run.state = state);
            // What was done when it was made need not be done now.
            if let Some(job) = job {
                self.run_what_it_needs(now, &job, fx);
            }
        }
    }

    /// Decided to start. A run of `exec` has its spec, and is given to the keeper at once when one is known; every other is
    /// once its spec is made.
    pub(super) fn begin(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        let defined = run.is_defined();
        // What is started is what is defined now, however long it waited.
        let rev = self.jobs.get(&run.job).filter(|_| defined).map(|post| post.standing.rev);
        let slot = if defined { self.slot_for(run) } else { run.slot };
        self.change(now, no, fx, |run| {
            run.state = RunState::Starting { generation: None };
            run.terms.rev = rev.unwrap_or(run.terms.rev);
            run.slot = slot;
            if defined {
                run.directory.clear();
            }
        });
        if defined {
            fx.make.insert(no);
        } else {
            self.give(now, no, fx);
        }
    }

    pub(super) fn give(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        let Some(generation) = self.keeper.filter(|_| !self.is_closing()) else { return };
        fx.promises = true;
        self.given.insert(no, generation);
        self.change(now, no, fx, |run| run.state = RunState::Starting { generation: Some(generation) });
        fx.acts.push(Act::Start { run: no, generation });
    }

    /// A service's run keeps its slot; every other takes the lowest that no going run of its job has.
    fn slot_for(&self, run: &Run) -> u32 {
        if self.job(&run.job).is_some_and(|job| job.life.is_service()) {
            return run.slot;
        }
        let going = self.runs_of(&run.job).filter(|other| other.state.is_going());
        let taken: BTreeSet<u32> = going.map(|other| other.slot).collect();
        (0..u32::MAX).find(|slot| !taken.contains(slot)).unwrap_or(0)
    }

    pub(super) fn unmakeable(
        &mut self,
        now: Time,
        no: RunNo,
        step: SpawnStep,
        errno: i32,
        message: String,
        fx: &mut Effects,
    ) {
        let Some(run) = self.live.get(&no).filter(|run| run.is_being_made()).cloned() else { return };
        self.note(now, "run.unmakeable", Some(run.id()), message, fx);
        self.end_unmade(now, run, crate::Outcome::SpawnFailed { step, errno }, None, fx);
    }

    /// Nobody can have started it, so there is nobody to ask.
    pub(super) fn end_unmade(
        &mut self,
        now: Time,
        mut run: Run,
        outcome: crate::Outcome,
        why: Option<StopWhy>,
        fx: &mut Effects,
    ) -> Run {
        run.directory = self.job_of(&run).and_then(|job| job.around.dir.clone()).unwrap_or_default();
        self.end(now, run, outcome, why, fx)
    }

    pub(super) fn made(
        &mut self,
        now: Time,
        no: RunNo,
        directory: String,
        (port, auto): (Option<u16>, bool),
        left_out: Vec<String>,
        fx: &mut Effects,
    ) {
        // It may have been stopped while it was made.
        let Some(run) = self.live.get(&no).filter(|run| run.is_being_made()) else { return };
        let (job, slot) = (run.job.clone(), run.slot);
        for why in &left_out {
            self.note(now, "run.left-out", Some(run.id()), why.clone(), fx);
        }
        self.change(now, no, fx, |run| {
            run.directory = directory;
            run.notes.port = port;
            run.notes.left_out = left_out;
        });
        if let Some(port) = port.filter(|_| auto) {
            self.alter(&job, fx, |standing| {
                standing.ports.insert(slot, port);
            });
        }
        self.give(now, no, fx);
    }

    /// The port that `auto` found before for a run's slot.
    pub fn port_before(&self, no: RunNo) -> Option<u16> {
        let run = self.live.get(&no)?;
        self.jobs.get(&run.job)?.standing.ports.get(&run.slot).copied()
    }

    /// Every port that `auto` found for some slot.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.jobs.values().flat_map(|post| post.standing.ports.values().copied())
    }

    /// What is not ready of what a run needs; or is, and needs something that must go, for which the run would go at once.
    pub(super) fn missing(&self, run: &Run) -> Vec<crate::JobName> {
        if !run.is_defined() || self.breaks(Mutant::IgnoreNeeds) {
            return Vec::new();
        }
        let needs = self.job_of(run).map(|job| job.life.needs.as_slice()).unwrap_or_default();
        needs
            .iter()
            .filter(|need| !self.is_ready(&need.job) || self.is_leaving(&need.job))
            .map(|need| need.job.clone())
            .collect()
    }
}

#[cfg(test)]
impl World {
    /// As a daemon does it that never has to wait for anything.
    pub(super) fn make_at_once(&mut self, now: Time, fx: &mut Effects) {
        let mut done = BTreeSet::new();
        while let Some(run) = fx.make.difference(&done).next().copied() {
            done.insert(run);
            let made = Fact::Made { run, directory: "/".into(), port: None, auto: false, left_out: Vec::new() };
            self.fact(now, made, fx);
        }
    }
}
