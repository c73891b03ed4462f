//! `needs`: who may start when, and who must go before whom.

use super::{Closing, Mutant, World};
use crate::effect::Effects;
use crate::job::Job;
use crate::run::{Hold, StopWhy, Trigger};
use crate::{JobName, LostWhy, Outcome, Run, RunNo, RunState, SkipWhy, Time};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

impl World {
    /// A service is ready when one of its runs is; what is run is ready when it has ended ok. What is about to go is not.
    pub(super) fn is_ready(&self, name: &JobName) -> bool {
        let (Some(job), Some(post)) = (self.job(name), self.jobs.get(name)) else { return false };
        if !job.life.is_service() {
            return post.standing.done.is_some() && self.is_of_this_boot(&post.standing.boot);
        }
        let ready = |run: &Run| is_ready(run) && self.is_of_this_boot(&run.boot);
        !self.is_leaving(name) && self.runs_of(name).any(ready)
    }

    /// Ends of a boot before are said before that boot itself is: what follows from them must not go by what was then.
    fn is_of_this_boot(&self, boot: &str) -> bool {
        boot == self.boot || self.breaks(Mutant::OldBoot)
    }

    /// It is not to be there, itself.
    pub(super) fn must_go(&self, name: &JobName) -> bool {
        let Some(post) = self.jobs.get(name) else { return false };
        let service = post.definitions.get(&post.standing.rev).is_some_and(|job| job.life.is_service());
        self.closing == Closing::Stop || post.standing.removed || (service && !post.standing.up)
    }

    /// It, or something that it needs, must go.
    pub(super) fn is_leaving(&self, name: &JobName) -> bool {
        let mut seen: BTreeSet<&JobName> = BTreeSet::new();
        let mut todo = Vec::from([name]);
        while let Some(next) = todo.pop() {
            let Some(post) = self.jobs.get(next) else { continue };
            if self.must_go(next) {
                return true;
            }
            let needs = post.definitions.get(&post.standing.rev).map(|job| job.life.needs.as_slice());
            todo.extend(needs.unwrap_or_default().iter().map(|need| &need.job).filter(|job| seen.insert(job)));
        }
        false
    }

    /// Those that are held for what they need, and those in lines, may go on now.
    pub(super) fn look_at_needs(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let pending: Vec<RunNo> = self.runs_of(name).filter(|run| run.state.is_pending()).map(|run| run.no).collect();
        for no in pending {
            let Some(run) = self.live.get(&no) else { continue };
            match &run.state {
                RunState::Held { on: Hold::Needs(_) } => self.let_go(now, no, fx),
                RunState::Queued if self.job_of(run).is_some_and(|job| !job.life.needs.is_empty()) => {
                    self.look_gates.extend(super::places::gates(run));
                }
                RunState::Held { .. }
                | RunState::Waiting { .. }
                | RunState::Queued
                | RunState::Starting { .. }
                | RunState::Running { .. }
                | RunState::Stopping { .. }
                | RunState::Draining { .. }
                | RunState::Ended { .. } => {}
            }
        }
    }

    /// What must go goes: first those that need it, then itself. Nobody keeps a list: it is looked at again at each end.
    pub(super) fn dismiss(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let must_go = self.must_go(name);
        let closing = self.is_closing();
        let service = self.jobs.get(name).and_then(|post| post.definitions.get(&post.standing.rev));
        let service = service.is_some_and(|job| job.life.is_service());
        let runs: Vec<RunNo> = self.runs_of(name).map(|run| run.no).collect();
        if must_go && !closing {
            for no in &runs {
                if self.live.get(no).is_some_and(|run| run.state.is_pending()) {
                    self.stop_for(now, *no, StopWhy::Planned, fx);
                }
            }
            // What is run, and is not defined any more, still comes to its end.
            if !service {
                return;
            }
        }
        let held_up = self.dependents(name).any(|dependent| self.runs_of(dependent).any(|run| self.is_there(run)));
        if held_up && !self.breaks(Mutant::StopAtOnce) {
            return;
        }
        let why = if closing && !service { StopWhy::Asked } else { StopWhy::Planned };
        for no in runs {
            if self.live.get(&no).is_some_and(|run| self.is_there(run)) {
                self.stop_for(now, no, why, fx);
            }
        }
    }

    /// It has, or may come to have, a process. At a server's end nothing new is started.
    fn is_there(&self, run: &Run) -> bool {
        run.state.is_going() && !(self.is_closing() && run.state == RunState::Starting { generation: None })
    }

    /// What is run, and needed, and has not been run yet. (Services are up or not: that is a wish of its own.)
    pub(super) fn run_what_it_needs(&mut self, now: Time, job: &Job, fx: &mut Effects) {
        for need in &job.life.needs {
            let to_run = self.job(&need.job).is_some_and(|needed| !needed.life.is_service())
                && !self.is_ready(&need.job)
                && !self.is_disabled(&need.job)
                && self.runs_of(&need.job).next().is_none();
            if to_run {
                self.ask(now, &need.job, Trigger::Dependency, Vec::new(), fx);
            }
        }
    }

    /// Something that it needs may not count as done any more, or may be run now: what waits for it asks again. Not at each
    /// look: one that ends badly at once would be run for ever.
    pub(super) fn ask_again_for_needs(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        if self.is_closing() || self.breaks(Mutant::AskOnce) {
            return;
        }
        let Some(job) = self.job(name).filter(|job| !job.life.needs.is_empty()).cloned() else { return };
        if self.runs_of(name).any(waits_at_a_gate) {
            self.run_what_it_needs(now, &job, fx);
        }
    }

    pub(super) fn dependents_ask_again(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let dependents: Vec<JobName> = self.dependents(name).cloned().collect();
        for dependent in dependents {
            self.ask_again_for_needs(now, &dependent, fx);
        }
    }

    /// What is run, and needed, has ended badly, and nothing tries it again: tasks that are held for it would wait for
    /// ever. A service goes on waiting, because it is to be up; so does what waits for a job that its schedule runs again.
    pub(super) fn skip_in_vain(&mut self, now: Time, run: &Run, fx: &mut Effects) {
        let Some(outcome) = run.outcome() else { return };
        // (What the machine's end took with it is run again in a moment.)
        let another_is_the_reason = matches!(outcome, Outcome::Skipped(why) if *why != SkipWhy::Dependency)
            || *outcome == Outcome::Lost(LostWhy::Reboot);
        let comes_again = self.job(&run.job).is_none_or(|job| !job.time.schedules.is_empty())
            || self.runs_of(&run.job).next().is_some();
        let too_soon = self.breaks(Mutant::SkipTooSoon);
        if another_is_the_reason || (comes_again && !too_soon) || self.is_ready(&run.job) {
            return;
        }
        if self.breaks(Mutant::WaitInVain) {
            return;
        }
        let in_vain: Vec<RunNo> = self
            .dependents(&run.job)
            .filter(|name| self.job(name).is_some_and(|job| !job.life.is_service()))
            .flat_map(|name| self.runs_of(name).filter(|other| waits_at_a_gate(other)))
            .filter(|other| self.missing(other).contains(&run.job))
            .map(|other| other.no)
            .collect();
        for no in in_vain {
            let Some(other) = self.live.get(&no).cloned() else { continue };
            let message = format!("{} ended {outcome}, and {} needs {} to end ok", run.id(), other.job, run.job);
            self.note(now, "run.skipped", Some(other.id()), message, fx);
            self.end(now, other, Outcome::Skipped(SkipWhy::Dependency), None, fx);
        }
    }

    /// A run of a job has ended: services that are to be restarted with it are, once no other run of it is ready. (What is
    /// run is not torn down: half of its work may be done.)
    pub(super) fn has_ended(&mut self, now: Time, run: &Run, fx: &mut Effects) {
        let needed = self.dependents(&run.job).next().is_some();
        if needed && run.health.ready_at.is_some() && !self.is_closing() && !self.runs_of(&run.job).any(is_ready) {
            let with_it: Vec<RunNo> = self
                .dependents(&run.job)
                .filter(|name| self.job(name).is_some_and(|job| is_restarted_with(job, &run.job)))
                // What goes anyway goes in its turn.
                .filter(|name| !self.is_leaving(name))
                .flat_map(|name| self.runs_of(name))
                // What an earlier boot had is lost, and nothing else.
                .filter(|run| run.state.is_going() && run.boot == self.boot)
                .map(|run| run.no)
                .collect();
            for no in with_it {
                self.stop_for(now, no, StopWhy::Planned, fx);
            }
        }
        self.forget_definitions(&run.job);
    }
}

/// Neither a latch nor an instant keeps it.
const fn waits_at_a_gate(run: &Run) -> bool {
    matches!(run.state, RunState::Held { on: Hold::Needs(_) } | RunState::Queued)
}

pub(super) const fn is_ready(run: &Run) -> bool {
    matches!(run.state, RunState::Running { .. }) && run.health.ready_at.is_some() && !run.notes.leaving
}

pub(super) fn is_restarted_with(job: &Job, needed: &JobName) -> bool {
    job.life.is_service() && job.life.needs.iter().any(|need| need.job == *needed && need.restart)
}
