//! A job as the world has it: how it stands, and its definitions.

use super::World;
use crate::job::Job;
use crate::{JobName, Run, Standing, Timed};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

/// One revision of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub rev: u64,
    pub job: Arc<Job>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Post {
    pub(super) standing: Standing,
    /// The one in force, the one to go back to, and those of live runs.
    pub(super) definitions: BTreeMap<u64, Arc<Job>>,
    /// Likewise, of those that have a schedule.
    pub(super) timed: BTreeMap<u64, Arc<Timed>>,
}

impl Post {
    pub(super) const fn new(standing: Standing) -> Post {
        Post { standing, definitions: BTreeMap::new(), timed: BTreeMap::new() }
    }
}

impl World {
    /// The definition in force. A job that is only still ending has none.
    pub(super) fn job(&self, name: &JobName) -> Option<&Arc<Job>> {
        let post = self.jobs.get(name).filter(|post| !post.standing.removed)?;
        post.definitions.get(&post.standing.rev)
    }

    /// What a run was made from, as far as that is still known; else what is in force.
    pub(super) fn job_of(&self, run: &Run) -> Option<&Arc<Job>> {
        if !run.is_defined() {
            return None;
        }
        let post = self.jobs.get(&run.job)?;
        post.definitions.get(&run.terms.rev).or_else(|| post.definitions.get(&post.standing.rev))
    }

    /// The definition in force of a job, for whoever makes specs or probes.
    pub fn defined(&self, name: &JobName) -> Option<Definition> {
        let job = self.job(name)?.clone();
        Some(Definition { rev: self.jobs.get(name)?.standing.rev, job })
    }

    /// The definition of that revision, while anybody needs it.
    pub fn revision(&self, name: &JobName, rev: u64) -> Option<&Arc<Job>> {
        self.jobs.get(name)?.definitions.get(&rev)
    }

    pub(super) fn is_disabled(&self, name: &JobName) -> bool {
        let Some(post) = self.jobs.get(name) else { return false };
        let by_definition = self.job(name).is_some_and(|job| job.disabled);
        post.standing.disabled.unwrap_or(by_definition) && !self.breaks(super::Mutant::IgnoreDisabled)
    }

    /// How many slots a service has, or how many runs of another job may be at once.
    pub(super) fn instances(&self, name: &JobName) -> u32 {
        let by_hand = self.jobs.get(name).and_then(|post| post.standing.scale);
        by_hand.or_else(|| self.job(name).map(|job| job.life.instances)).unwrap_or(0)
    }

    /// The live runs of a definition, oldest first.
    pub(super) fn runs_of(&self, name: &JobName) -> impl DoubleEndedIterator<Item = &Run> {
        let runs = self.places.jobs.get(name).into_iter().flatten();
        #[cfg(test)]
        let runs = runs.inspect(|_| self.looked.set(self.looked.get() + 1));
        runs.filter_map(|no| self.live.get(no)).filter(|run| run.is_defined())
    }

    /// Asked at each end of a run, so nobody looks through all the others when there is nothing to forget.
    pub(super) fn forget_definitions(&mut self, name: &JobName) {
        let kept = |post: &Post| {
            let in_use = |rev: &u64| *rev == post.standing.rev || Some(*rev) == post.standing.former;
            post.definitions.keys().chain(post.timed.keys()).all(in_use)
        };
        if self.jobs.get(name).is_none_or(kept) {
            return;
        }
        let mut needed: BTreeSet<u64> = self.runs_of(name).map(|run| run.terms.rev).collect();
        if let Some(post) = self.jobs.get_mut(name) {
            needed.insert(post.standing.rev);
            needed.extend(post.standing.former);
            post.definitions.retain(|rev, _| needed.contains(rev));
            post.timed.retain(|rev, _| needed.contains(rev));
        }
    }
}
