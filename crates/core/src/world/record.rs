//! The only ways in which a run or a job's standing changes: into the indices, the batch, and the history.

use super::{Mutant, World, places};
use crate::effect::{Effects, Event, What};
use crate::{JobName, Run, RunId, RunNo, Standing, Time};
use alloc::string::String;

impl World {
    pub(super) fn change(&mut self, now: Time, no: RunNo, fx: &mut Effects, how: impl FnOnce(&mut Run)) {
        if let Some(run) = self.live.get(&no) {
            let mut run = run.clone();
            let from = run.state.word();
            how(&mut run);
            self.record(now, run, Some(from), fx);
        }
    }

    /// Every change of every run goes through here. It also says what must be looked at because of it.
    pub(super) fn record(&mut self, now: Time, run: Run, from: Option<&'static str>, fx: &mut Effects) {
        if from != Some(run.state.word()) {
            let what = What::State { run: run.id(), from, to: run.state.clone(), exit: run.exit };
            fx.events.push(Event { at: now, what });
            self.look_gates.extend(places::counts_at(&run));
        }
        if run.is_defined() {
            self.look_around(&run.job);
        }
        fx.changed.insert(run.no, run.clone());
        self.take(run.no);
        if run.outcome().is_none() {
            self.put(run);
        }
    }

    /// It, those that need it (may they start?), and those that it needs (may they go?).
    pub(super) fn look_around(&mut self, name: &JobName) {
        let job = self.jobs.get(name).and_then(|post| post.definitions.get(&post.standing.rev));
        self.look_jobs.extend(job.iter().flat_map(|job| job.life.needs.iter().map(|need| need.job.clone())));
        self.look_jobs.extend(self.graph.dependents.get(name).into_iter().flatten().cloned());
        if !self.is_calm(name) {
            self.look_jobs.insert(name.clone());
        }
    }

    /// Nothing that is done for a job when it is looked at follows from how one of its runs stands: what follows an end is
    /// decided with it, what has not begun waits for others, and all of its runs are made from what is in force. (A look
    /// goes through all runs of the job, and one for each start and end of ten thousand would be a hundred millions.)
    fn is_calm(&self, name: &JobName) -> bool {
        let Some(post) = self.jobs.get(name) else { return false };
        let standing = &post.standing;
        let as_it_is_to_be = standing.renewal.is_none() && standing.former.is_none() && post.definitions.len() == 1;
        as_it_is_to_be && !self.is_closing() && !self.is_disabled(name) && !self.is_leaving(name)
    }

    pub(super) fn put(&mut self, run: Run) {
        self.places.add(&run);
        self.live.insert(run.no, run);
    }

    fn take(&mut self, no: RunNo) {
        if let Some(run) = self.live.remove(&no) {
            let leaks = self.breaks(Mutant::LeakPlace) && run.state.is_going();
            if !leaks {
                self.places.remove(&run);
            }
        }
    }

    /// Every change of a job's standing goes through here.
    pub(super) fn alter(&mut self, job: &JobName, fx: &mut Effects, how: impl FnOnce(&mut Standing)) {
        let Some(post) = self.jobs.get_mut(job) else { return };
        let before = post.standing.clone();
        how(&mut post.standing);
        if post.standing != before {
            let standing = post.standing.clone();
            let key = |standing: &Standing| (standing.rev, standing.removed, standing.ticks);
            let rearm = key(&standing) != key(&before);
            fx.standings.insert(job.clone(), Some(standing));
            self.look_jobs.insert(job.clone());
            if rearm {
                self.rearm(job);
            }
        }
    }

    pub(super) fn note(&self, now: Time, kind: &'static str, run: Option<RunId>, message: String, fx: &mut Effects) {
        fx.events.push(Event { at: now, what: What::Note { kind, run, message } });
    }
}
