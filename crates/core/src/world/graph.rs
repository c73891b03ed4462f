//! Who needs whom, and who waits for whose end: the other direction of what definitions say.

use super::World;
use crate::JobName;
use crate::job::Job;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Graph {
    /// Those that need it.
    pub(super) dependents: BTreeMap<JobName, BTreeSet<JobName>>,
    /// Those whose `after` names it.
    pub(super) joins: BTreeMap<JobName, BTreeSet<JobName>>,
}

impl World {
    pub(super) fn draw_graph(&mut self) {
        let mut graph = Graph::default();
        for post in self.jobs.values() {
            // What is only still ending is still ordered.
            let Some(job) = post.definitions.get(&post.standing.rev) else { continue };
            for need in &job.life.needs {
                graph.dependents.entry(need.job.clone()).or_default().insert(job.name.clone());
            }
            for before in job.chain.after.iter().flat_map(|after| &after.jobs).filter(|_| !post.standing.removed) {
                graph.joins.entry(before.clone()).or_default().insert(job.name.clone());
            }
        }
        self.graph = graph;
    }

    pub(super) fn dependents(&self, name: &JobName) -> impl Iterator<Item = &JobName> {
        self.graph.dependents.get(name).into_iter().flatten()
    }

    /// Itself, and all that need it, and all that need those.
    pub(super) fn with_all_dependents(&self, name: &JobName) -> BTreeSet<JobName> {
        let mut all = BTreeSet::from([name.clone()]);
        let mut todo = Vec::from([name]);
        while let Some(next) = todo.pop() {
            todo.extend(self.dependents(next).filter(|dependent| all.insert((*dependent).clone())));
        }
        all
    }
}

/// A circle in `needs`, if there is one: its jobs in order, the first again at the end.
pub(super) fn circle(jobs: &BTreeMap<&JobName, &Arc<Job>>) -> Option<Vec<JobName>> {
    let mut done: BTreeSet<&JobName> = BTreeSet::new();
    for start in jobs.keys() {
        // The way from the start to here, each with how many of its needs were looked at.
        let mut way: Vec<(&JobName, usize)> = Vec::from([(*start, 0)]);
        while let Some((here, n)) = way.last_mut() {
            let here = *here;
            let next = jobs.get(here).and_then(|job| job.life.needs.get(*n)).map(|need| &need.job);
            *n += 1;
            let Some(next) = next else {
                done.insert(here);
                way.pop();
                continue;
            };
            if let Some(from) = way.iter().position(|(job, _)| *job == next) {
                return Some(way[from..].iter().map(|(job, _)| (*job).clone()).chain([next.clone()]).collect());
            }
            if !done.contains(next) {
                way.push((next, 0));
            }
        }
    }
    None
}
