//! One job after another: `next`, `error`, and `after`.
//!
//! A chain carries the jobs it has come through. It comes to no job twice, and is at most `LONGEST` jobs long: what would
//! go on beyond is recorded as `skipped(loop)`. A service that a chain has started hands it on, restarts included. So a chain
//! ends, whatever the definitions say.

use super::make::Birth;
use super::{Mutant, World};
use crate::effect::Effects;
use crate::job::AfterRule;
use crate::run::Trigger;
use crate::{JobName, Run, SkipWhy, Time};
use alloc::vec::Vec;

/// Jobs in one chain.
pub(super) const LONGEST: usize = 32;

impl World {
    pub(super) fn go_on_to(&mut self, now: Time, run: &Run, target: &JobName, error: bool, fx: &mut Effects) {
        let trigger = Trigger::Chain { run: run.no, error };
        let mut chain = run.terms.chain.clone();
        chain.push(run.job.clone());
        if self.job(target).is_none() {
            let message = alloc::format!("{target}, which was to follow {}, is not defined", run.job);
            return self.note(now, "chain.broken", Some(run.id()), message, fx);
        }
        if (chain.contains(target) || chain.len() > LONGEST) && !self.breaks(Mutant::ChainRound) {
            let birth = Birth { chain, ..Birth::first(trigger) };
            self.make_skipped(now, target, birth, SkipWhy::Loop, fx);
            return;
        }
        self.ask(now, target, trigger, chain, fx);
    }

    /// `after`: each end counts once in a round; when the round is full, or with `Any` at its first good end, the job runs.
    /// `Any`'s round is over when every one has ended, or one ends that had ended in it before.
    pub(super) fn rounds(&mut self, now: Time, run: &Run, ok: bool, fx: &mut Effects) {
        let joins: Vec<JobName> = self.graph.joins.get(&run.job).into_iter().flatten().cloned().collect();
        for name in joins {
            let Some(after) = self.job(&name).and_then(|job| job.chain.after.clone()) else { continue };
            let mut complete = false;
            self.alter(&name, fx, |standing| {
                if after.rule == AfterRule::Any && standing.round.contains_key(&run.job) {
                    standing.round.clear();
                    standing.rung = false;
                }
                standing.round.insert(run.job.clone(), ok);
                let all = after.jobs.iter().all(|job| standing.round.contains_key(job));
                let all_ok = all && after.jobs.iter().all(|job| standing.round.get(job) == Some(&true));
                let over = match after.rule {
                    AfterRule::AllOk => all_ok,
                    AfterRule::AllDone | AfterRule::Any => all,
                };
                complete = match after.rule {
                    AfterRule::AllOk | AfterRule::AllDone => over,
                    AfterRule::Any => ok && !standing.rung,
                };
                standing.rung |= complete;
                if over {
                    standing.round.clear();
                    standing.rung = false;
                }
            });
            if complete {
                self.go_on_to(now, run, &name, false, fx);
            }
        }
    }
}
