//! The runs whose readiness or health is to be looked at: told to the probes after each commit that may have changed them.

use super::{Batch, Engine};
use crate::probe::Said;
use kin_core::job::Job;
use kin_core::{Effects, Fact, JobName, RunId, RunNo, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A run to look at, and by which definition.
#[derive(Clone, Debug)]
pub struct Probed {
    pub id: RunId,
    pub pid: Option<u32>,
    pub started_at: Time,
    pub is_ready: bool,
    pub job: Arc<Job>,
    pub alive_by: Arc<Job>,
}

/// Who is looked at, as it was said last.
#[derive(Debug, Default)]
pub(super) struct Looked {
    runs: BTreeSet<RunNo>,
    jobs: BTreeSet<JobName>,
}

impl Engine {
    /// Not each time that anything changes: it takes a look at every run that lives.
    pub(super) fn probes_may_differ(&self, fx: &Effects) -> bool {
        let looks = |job: &Arc<Job>| job.life.ready.is_some() || job.life.alive.is_some();
        let job_looks = |job: &JobName| {
            self.looked.jobs.contains(job)
                || self.world.standing(job).is_some_and(|now| self.world.revision(job, now.rev).is_some_and(looks))
        };
        fx.changed.values().any(|run| {
            self.looked.runs.contains(&run.no)
                || self.world.revision(&run.job, run.terms.rev).is_some_and(looks)
                || job_looks(&run.job)
        }) || fx.standings.keys().any(job_looks)
    }

    /// The same of watched files, and all that is defined.
    pub(super) fn watching_may_differ(&self, fx: &Effects) -> bool {
        let is_watched = |job: &JobName| {
            let standing = self.world.standing(job);
            standing.is_some_and(|now| self.world.revision(job, now.rev).is_some_and(|job| !job.watch.is_empty()))
                || self.watching.borrow().iter().any(|watched| watched.name == *job)
        };
        !fx.defined.is_empty() || fx.standings.keys().any(is_watched)
    }

    /// Jobs whose files are to be watched: not those that nothing would follow for.
    pub(super) fn tell_watching(&self) {
        let watching = self.world.standings().filter(|standing| !standing.removed).filter_map(|standing| {
            let job = self.world.revision(&standing.job, standing.rev)?;
            (!job.watch.is_empty()).then(|| Arc::clone(job))
        });
        let now: Vec<Arc<Job>> = watching.collect();
        self.watching.send_if_modified(|before| {
            let same = before.len() == now.len() && before.iter().zip(&now).all(|(a, b)| Arc::ptr_eq(a, b));
            *before = now;
            !same
        });
    }

    pub(super) fn tell_probes(&mut self) {
        let all = self.world.watched().map(|watched| Probed {
            id: watched.run.id(),
            pid: watched.run.pid,
            started_at: watched.run.started_at.unwrap_or(watched.run.created_at),
            is_ready: watched.run.health.ready_at.is_some(),
            job: Arc::clone(watched.job),
            alive_by: Arc::clone(watched.alive_by),
        });
        let all: Vec<Probed> = all.collect();
        self.looked = Looked {
            runs: all.iter().map(|probed| probed.id.no).collect(),
            jobs: all.iter().map(|probed| probed.job.name.clone()).collect(),
        };
        self.probed.send_replace(all);
    }
}

/// A run may say how it is as often as it likes; it is recorded so often.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// What runs said of themselves, and was not recorded yet: the last word of each.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    said: BTreeMap<RunNo, String>,
    /// When they are to be recorded.
    at: Option<Instant>,
    before: Option<Instant>,
}

impl Statuses {
    pub(super) const fn wake_at(&self) -> Option<Instant> {
        self.at
    }
    fn say(&mut self, run: RunNo, text: String) {
        self.said.insert(run, text);
        let now = Instant::now();
        let next = self.before.map_or(now, |before| (before + STATUS_EVERY).max(now));
        self.at = self.at.or(Some(next));
    }
    fn due(&mut self) -> BTreeMap<RunNo, String> {
        if self.at.is_none_or(|at| at > Instant::now()) {
            return BTreeMap::new();
        }
        self.before = self.at.take();
        std::mem::take(&mut self.said)
    }
}

impl Engine {
    /// What a probe says, as far as the rules ask for it.
    pub(super) fn said(&mut self, said: Said, batch: &mut Batch) {
        let fact = match said {
            Said::Ready { run } => Fact::Ready { run },
            Said::NotReady { run, why } => Fact::NotReady { run, why },
            Said::Sick { run, why } => Fact::Sick { run, why },
            Said::Stopping { run } => Fact::Leaving { run },
            Said::Status { run, text } => return self.statuses.say(run, text),
        };
        // The others are said again for as long as they are so.
        if matches!(fact, Fact::Ready { .. } | Fact::Leaving { .. }) {
            batch.once.push(fact.clone());
        }
        self.fact(fact, batch);
    }

    pub(super) fn record_statuses(&mut self, batch: &mut Batch) {
        for (run, text) in self.statuses.due() {
            self.fact(Fact::Status { run, text }, batch);
        }
    }
}
