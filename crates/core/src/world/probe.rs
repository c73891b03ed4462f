//! Ready and alive: what probes say, and what follows.

use super::World;
use super::plan::must_restart;
use crate::effect::Effects;
use crate::job::Job;
use crate::run::{Health, StopWhy};
use crate::{Run, RunNo, RunState, Time};
use alloc::string::String;
use alloc::sync::Arc;

/// A run that a probe is to look at. The probes that there are follow from these alone.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    pub run: &'a Run,
    /// By which it is ready.
    pub job: &'a Arc<Job>,
    /// By which it is alive: the one in force, unless the run must give way to another by it.
    pub alive_by: &'a Arc<Job>,
    /// Whether it is ready is to be found out.
    pub ready: bool,
    /// It is ready, and whether it is alive is to be found out again and again.
    pub alive: bool,
}

impl World {
    pub fn watched(&self) -> impl Iterator<Item = Watched<'_>> {
        self.live.values().filter(|run| matches!(run.state, RunState::Running { .. })).filter_map(|run| {
            let job = self.job_of(run)?;
            let alive_by = self.job(&run.job).filter(|now| !must_restart(job, now)).unwrap_or(job);
            let ready = job.life.ready.is_some() && run.health.ready_at.is_none();
            // What it says itself of its end is believed: no look may hurry it.
            let alive = alive_by.life.alive.is_some() && run.health.ready_at.is_some() && !run.notes.leaving;
            (ready || alive).then_some(Watched { run, job, alive_by, ready, alive })
        })
    }

    /// Of a run that has just been seen alive for the first time. What it has time for counts from now: while nobody
    /// listened no probe looked either, and its start may have been written down before the clock was set.
    pub(super) fn health_at_start(&self, run: &Run, started: Time, now: Time) -> Health {
        let Some(job) = self.job_of(run) else { return Health::default() };
        match &job.life.ready {
            None => Health { ready_at: Some(started), ..self.healthy_from(run, now) },
            Some(ready) => Health { ready_by: ready.within.map(|within| now.plus(within.ns())), ..Health::default() },
        }
    }

    fn healthy_from(&self, run: &Run, at: Time) -> Health {
        let job = self.job_of(run).filter(|job| job.life.is_service());
        let healthy_at = job.map(|job| at.plus(job.life.again.healthy_after.ns()));
        Health { ready_at: Some(at), ready_by: None, healthy_at }
    }

    pub(super) fn ready(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        let waits = matches!(run.state, RunState::Running { .. }) && run.health.ready_at.is_none();
        if !waits || !run.is_defined() {
            return;
        }
        let (health, id) = (self.healthy_from(run, now), run.id());
        self.unready.remove(&no);
        self.change(now, no, fx, |run| run.health = health);
        self.note(now, "run.ready", Some(id), "it is ready".into(), fx);
    }

    pub(super) fn not_ready(&mut self, no: RunNo, why: String) {
        if self.live.get(&no).is_some_and(|run| run.health.ready_at.is_none()) {
            self.unready.insert(no, why);
        }
    }

    /// In its own words; for people.
    pub(super) fn status(&mut self, now: Time, no: RunNo, text: String, fx: &mut Effects) {
        let same = |run: &Run| run.notes.status.as_deref() == Some(text.as_str());
        if self.live.get(&no).is_some_and(|run| run.state.is_going() && !same(run)) {
            self.change(now, no, fx, |run| run.notes.status = Some(text));
        }
    }

    pub(super) fn leaving(&mut self, now: Time, no: RunNo, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        if matches!(run.state, RunState::Running { .. }) && !run.notes.leaving {
            let id = run.id();
            self.change(now, no, fx, |run| run.notes.leaving = true);
            self.note(now, "run.leaving", Some(id), "it says that it is on its way out".into(), fx);
        }
    }

    pub(super) fn sick(&mut self, now: Time, no: RunNo, why: &str, fx: &mut Effects) {
        let Some(run) = self.live.get(&no) else { return };
        if run.is_defined() && matches!(run.state, RunState::Running { .. }) && !run.notes.leaving {
            self.note(now, "run.sick", Some(run.id()), alloc::format!("it does not answer any more: {why}"), fx);
            self.stop_for(now, no, StopWhy::Sick, fx);
        }
    }
}
