//! What comes after a run's end, as its job's definition and the other jobs say it now: as data, for whoever tells it.

use super::{World, again};
use crate::job::{AfterRule, Millis, Restart};
use crate::{JobName, Outcome, Run, RunId, RunState, Time};
use alloc::vec::Vec;

/// Of a run whose job is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    pub restart: Restart,
    /// Runs in all; `None`: without end.
    pub tries: Option<u32>,
    /// The attempt that follows when it ends badly now, and after what wait. `None`: none follows.
    pub again: Option<(u32, Millis)>,
    /// Of a service: alive until then, its end begins the count of attempts anew.
    pub healthy_at: Option<Time>,
    pub next: Vec<JobName>,
    pub error: Vec<JobName>,
    /// Jobs whose `after` names its job.
    pub joins: Vec<Join>,
    /// Runs that are held until its job is ready, or has ended ok.
    pub held: Vec<RunId>,
    /// Services that are restarted with it.
    pub restarted_with: Vec<JobName>,
}

/// A job that runs once for each round of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    pub job: JobName,
    pub rule: AfterRule,
    /// All that its `after` names.
    pub of: Vec<JobName>,
    /// Those whose end is missing in the round as it stands (for `AllOk`, their good end).
    pub waits_for: Vec<JobName>,
}

impl World {
    /// Also of a run that is over. `None`: its job is not defined, or not any more.
    pub fn outlook(&self, now: Time, run: &Run) -> Option<Outlook> {
        let (job, post) = (self.job(&run.job)?, self.jobs.get(&run.job)?);
        if !run.is_defined() {
            return None;
        }
        // Any end that its definition takes for a bad one, and wants to be tried again.
        let on = &job.life.again.on;
        let code = match &on.codes {
            Some(codes) => codes.iter().next().copied(),
            None => (1..=u8::MAX).find(|code| !job.life.success.contains(code)),
        };
        let bad = match code {
            Some(code) => Outcome::Failed { code },
            None if on.timeout => Outcome::TimedOut,
            None => Outcome::Signaled { signal: 9 },
        };
        let end = run.ended_at.unwrap_or(now);
        let healthy = run.health.healthy_at.is_some_and(|at| end >= at);
        let disabled = self.is_disabled(&run.job);
        let wanted = !job.life.is_service() || self.wants_slot(&run.job, run.slot);
        let again = again::next_try(&job.life, run.no, run.attempt, &bad, healthy).filter(|_| wanted && !disabled);
        let joins = self.graph.joins.get(&run.job).into_iter().flatten().filter_map(|name| self.join(name)).collect();
        let held = |other: &&Run| {
            matches!(other.state, RunState::Held { .. } | RunState::Queued) && self.missing(other).contains(&run.job)
        };
        Some(Outlook {
            restart: job.life.restart,
            tries: job.life.again.tries,
            again,
            healthy_at: run.health.healthy_at.filter(|_| job.life.is_service()),
            next: job.chain.next.clone(),
            error: job.chain.error.clone(),
            joins,
            held: self.dependents(&run.job).flat_map(|name| self.runs_of(name).filter(held)).map(Run::id).collect(),
            restarted_with: self
                .dependents(&post.standing.job)
                .filter(|name| self.job(name).is_some_and(|job| super::needs::is_restarted_with(job, &run.job)))
                .cloned()
                .collect(),
        })
    }

    pub(super) fn join(&self, name: &JobName) -> Option<Join> {
        let after = self.job(name)?.chain.after.clone()?;
        let round = &self.jobs.get(name)?.standing.round;
        let missing = |job: &&JobName| match (after.rule, round.get(*job)) {
            (AfterRule::AllOk, said) => said != Some(&true),
            (AfterRule::AllDone | AfterRule::Any, said) => said.is_none(),
        };
        let waits_for = after.jobs.iter().filter(missing).cloned().collect();
        Some(Join { job: name.clone(), rule: after.rule, of: after.jobs, waits_for })
    }
}
