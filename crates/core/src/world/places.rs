//! Who stands where: by latch, gate, job and instant. Wholly derived from the live runs; changed only by `World::put` and
//! `World::take`, so that no place can leak.

use crate::run::Hold;
use crate::{JobName, Run, RunNo, RunState, Time};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Places {
    pub(super) latches: BTreeMap<String, BTreeSet<RunNo>>,
    pub(super) gates: BTreeMap<Gate, Gatehouse>,
    /// Every live run of a name, of `exec` too.
    pub(super) jobs: BTreeMap<JobName, BTreeSet<RunNo>>,
    /// When waiting runs are due.
    pub(super) waiting: BTreeSet<(Time, RunNo)>,
    /// When runs must be ready.
    pub(super) ready_by: BTreeSet<(Time, RunNo)>,
}

/// What lets only so many runs through at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    /// The serial group of an `exec`.
    Group(String),
    Mutex(String),
    /// The runs of one job, where they wait for each other.
    Turn(JobName),
    Queue(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gatehouse {
    pub(super) going: BTreeSet<RunNo>,
    /// Who waits: the greatest priority first, then the oldest.
    pub(super) line: BTreeSet<(Reverse<i32>, RunNo)>,
}

/// The gates a run has to pass.
pub(super) fn gates(run: &Run) -> Vec<Gate> {
    let mut gates = Vec::new();
    gates.extend(run.group.clone().map(Gate::Group));
    gates.extend(run.terms.mutex.iter().cloned().map(Gate::Mutex));
    if run.terms.turn > 0 {
        gates.push(Gate::Turn(run.job.clone()));
    }
    gates.extend(run.terms.queue.clone().map(Gate::Queue));
    gates
}

/// The gates at which a run counts while it goes. Among the runs of its job that is every one, also one that did not have to
/// wait for its turn: a definition that has come since may say that others wait for it.
pub(super) fn counts_at(run: &Run) -> Vec<Gate> {
    let mut gates = gates(run);
    if run.is_defined() && run.terms.turn == 0 {
        gates.push(Gate::Turn(run.job.clone()));
    }
    gates
}

pub(super) const fn place_in_line(run: &Run) -> (Reverse<i32>, RunNo) {
    (Reverse(run.terms.priority), run.no)
}

impl Places {
    pub(super) fn add(&mut self, run: &Run) {
        self.jobs.entry(run.job.clone()).or_default().insert(run.no);
        match &run.state {
            RunState::Held { on: Hold::Latch(latch) } => {
                self.latches.entry(latch.clone()).or_default().insert(run.no);
            }
            RunState::Waiting { until, .. } => {
                self.waiting.insert((*until, run.no));
            }
            RunState::Queued => {
                for gate in gates(run) {
                    self.gates.entry(gate).or_default().line.insert(place_in_line(run));
                }
            }
            RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. } => {
                for gate in counts_at(run) {
                    self.gates.entry(gate).or_default().going.insert(run.no);
                }
            }
            RunState::Held { on: Hold::Needs(_) } | RunState::Ended { .. } => {}
        }
        if let Some(at) = ready_by(run) {
            self.ready_by.insert((at, run.no));
        }
    }

    pub(super) fn remove(&mut self, run: &Run) {
        remove_from(&mut self.jobs, &run.job, run.no);
        match &run.state {
            RunState::Held { on: Hold::Latch(latch) } => remove_from(&mut self.latches, latch, run.no),
            RunState::Waiting { until, .. } => {
                self.waiting.remove(&(*until, run.no));
            }
            RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. } => {
                for gate in counts_at(run) {
                    let Some(house) = self.gates.get_mut(&gate) else { continue };
                    house.going.remove(&run.no);
                    house.line.remove(&place_in_line(run));
                    if house.going.is_empty() && house.line.is_empty() {
                        self.gates.remove(&gate);
                    }
                }
            }
            RunState::Held { on: Hold::Needs(_) } | RunState::Ended { .. } => {}
        }
        if let Some(at) = ready_by(run) {
            self.ready_by.remove(&(at, run.no));
        }
    }
}

/// Only what runs and is not ready can be too late.
fn ready_by(run: &Run) -> Option<Time> {
    let runs = matches!(run.state, RunState::Running { .. }) && run.health.ready_at.is_none();
    run.health.ready_by.filter(|_| runs)
}

fn remove_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<RunNo>>, key: &K, no: RunNo) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&no);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
