//! When which job is due next: kept in order, so that nobody looks through all schedules for the next one.

use crate::JobName;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// One instant for each job that has any, in UTC seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Agenda {
    order: BTreeSet<(i64, JobName)>,
    next: BTreeMap<JobName, i64>,
}

impl Agenda {
    pub(super) fn set(&mut self, job: &JobName, next: Option<i64>) {
        let before = match next {
            Some(at) => self.next.insert(job.clone(), at),
            None => self.next.remove(job),
        };
        if let Some(at) = before {
            self.order.remove(&(at, job.clone()));
        }
        if let Some(at) = next {
            self.order.insert((at, job.clone()));
        }
    }

    pub(super) fn of(&self, job: &JobName) -> Option<i64> {
        self.next.get(job).copied()
    }

    pub(super) fn first(&self) -> Option<i64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// All that were due before `late`, and so many of the others that are due, in the same order.
    pub(super) fn due_by_turns(&self, now: i64, late: i64, turn: usize) -> Vec<JobName> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        let (mut jobs, mut on_time) = (Vec::new(), 0);
        for (at, job) in due {
            on_time += usize::from(*at >= late);
            if on_time > turn {
                break;
            }
            jobs.push(job.clone());
        }
        jobs
    }

    /// Those that are due, the one that was due first before the others.
    pub(super) fn due(&self, now: i64) -> Vec<JobName> {
        self.order.iter().take_while(|(at, _)| *at <= now).map(|(_, job)| job.clone()).collect()
    }
}
