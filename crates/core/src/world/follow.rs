//! What follows from the end of a run, decided in the commit that records it.

use super::make::Birth;
use super::{Closing, Mutant, World, again};
use crate::effect::Effects;
use crate::job::Millis;
use crate::run::{StopWhy, Trigger};
use crate::{JobName, LostWhy, Outcome, Rest, Run, RunNo, Time};
use alloc::vec::Vec;

impl World {
    pub(super) fn follow(&mut self, now: Time, run: &Run, why: Option<StopWhy>, fx: &mut Effects) {
        let Some(job) = self.job(&run.job) else { return };
        if job.life.is_service() { self.follow_service(now, run, why, fx) } else { self.follow_once(now, run, why, fx) }
    }

    /// What is run: tried again, or its chain goes on.
    fn follow_once(&mut self, now: Time, run: &Run, why: Option<StopWhy>, fx: &mut Effects) {
        let Some(outcome) = run.outcome() else { return };
        if *outcome == Outcome::Ok {
            self.alter(&run.job, fx, |standing| standing.done = Some(run.no));
            self.look_jobs.extend(self.graph.dependents.get(&run.job).into_iter().flatten().cloned());
        }
        let Some(job) = self.job(&run.job) else { return };
        let next = again::next_try(&job.life, run.no, run.attempt, outcome, false)
            .filter(|_| is_its_own_end(why) && !self.is_disabled(&run.job));
        match next {
            Some(_) if self.breaks(Mutant::ForgetFollow) => {}
            Some((attempt, wait)) => {
                let of = run.trigger.nominal().filter(|_| !self.breaks(Mutant::ForgetInstant));
                self.make_next(now, run, attempt, wait, Trigger::Retry { run: run.no, of }, fx);
                if self.breaks(Mutant::SkipTooSoon) {
                    self.skip_in_vain(now, run, fx);
                }
            }
            None => {
                self.chain(now, run, fx);
                // Of a run that gives way, another one is made: by whoever wanted that, or, where what it needs goes down, for
                // those that wait for it.
                if why == Some(StopWhy::Planned) {
                    self.gave_way.insert(run.job.clone());
                } else {
                    self.skip_in_vain(now, run, fx);
                }
            }
        }
    }

    fn follow_service(&mut self, now: Time, run: &Run, why: Option<StopWhy>, fx: &mut Effects) {
        let Some(outcome) = run.outcome() else { return };
        if !self.wants_slot(&run.job, run.slot) || self.is_disabled(&run.job) {
            return;
        }
        let Some(job) = self.job(&run.job) else { return };
        let healthy = run.health.healthy_at.is_some_and(|at| run.ended_at.unwrap_or(now) >= at);
        let next = again::next_try(&job.life, run.no, run.attempt, outcome, healthy);
        let is_left_empty = self.jobs.get(&run.job).is_some_and(|post| post.standing.rest.contains_key(&run.slot));
        if is_left_empty {
            // It is not restarted; if it would not have been, its end is that of the service.
            if next.is_none() && is_its_own_end(why) {
                self.chain(now, run, fx);
            }
            return;
        }
        let stopped = matches!(why, Some(StopWhy::Asked | StopWhy::Interrupt));
        if stopped && !self.breaks(Mutant::RestartStopped) {
            return self.rest(run, Rest::Stopped, fx);
        }
        if why == Some(StopWhy::Planned) {
            // At a server's end the next server finds the slot empty.
            if self.closing == Closing::No {
                let trigger = self.why_renewed(run);
                self.make_next(now, run, 1, Millis(0), trigger, fx);
            }
            return;
        }
        if *outcome == Outcome::Lost(LostWhy::Reboot) {
            return self.make_next(now, run, 1, Millis(0), Trigger::Boot, fx);
        }
        if self.is_first_of_its_revision(run) && self.goes_back(now, &run.job, fx) {
            // The former may have had fewer slots, or be disabled.
            if !self.wants_slot(&run.job, run.slot) || self.is_disabled(&run.job) {
                return;
            }
            return self.make_next(now, run, 1, Millis(0), Trigger::Restart { run: run.no }, fx);
        }
        let Some(job) = self.job(&run.job) else { return };
        match next {
            Some(_) if self.breaks(Mutant::ForgetFollow) => self.rest(run, Rest::Finished, fx),
            Some((attempt, wait)) => {
                let wait = match () {
                    () if self.breaks(Mutant::HalfBackoff) => Millis(wait.0 / 2),
                    () if self.breaks(Mutant::LongBackoff) => Millis(wait.0 + 1000),
                    () => wait,
                };
                self.make_next(now, run, attempt, wait, Trigger::Restart { run: run.no }, fx);
            }
            None => {
                let used_up = job.life.again.tries.is_some_and(|tries| run.attempt >= tries) && *outcome != Outcome::Ok;
                self.rest(run, if used_up { Rest::GaveUp } else { Rest::Finished }, fx);
                self.chain(now, run, fx);
            }
        }
    }

    /// The wait counts from the end of the process, as far as that is not in the future (a clock may have been set since).
    fn make_next(&mut self, now: Time, run: &Run, attempt: u32, wait: Millis, trigger: Trigger, fx: &mut Effects) {
        let ended = run.ended_at.unwrap_or(now).min(now);
        let birth = Birth {
            slot: run.slot,
            attempt,
            follows: Some(run.no),
            trigger,
            chain: run.terms.chain.clone(),
            wait: Some((ended.plus(wait.ns()), wait)),
            unasked: false,
        };
        self.make(now, &run.job, birth, fx);
    }

    /// Somebody stopped a service's run whose process has ended already: nothing is to take its slot.
    pub(super) fn leave_empty(&mut self, no: RunNo, fx: &mut Effects) {
        let Some(run) = self.live.get(&no).filter(|run| run.is_defined()).cloned() else { return };
        let service = self.job(&run.job).is_some_and(|job| job.life.is_service());
        if service && self.wants_slot(&run.job, run.slot) && !self.breaks(Mutant::RestartStopped) {
            self.rest(&run, Rest::Stopped, fx);
        }
    }

    fn rest(&mut self, run: &Run, why: Rest, fx: &mut Effects) {
        let slot = run.slot;
        self.alter(&run.job, fx, |standing| {
            standing.rest.insert(slot, why);
        });
    }

    /// While a new revision replaces instances one by one: a run of it that was never ready.
    fn is_first_of_its_revision(&self, run: &Run) -> bool {
        let Some(post) = self.jobs.get(&run.job) else { return false };
        post.standing.former.is_some() && run.terms.rev == post.standing.rev && run.health.ready_at.is_none()
    }

    /// To the revision before: what runs by it stays, what runs by the new one is replaced (service.rs). Unless that one
    /// cannot be had any more beside what is defined now: no plan could be made again until somebody changed it.
    fn goes_back(&mut self, now: Time, name: &JobName, fx: &mut Effects) -> bool {
        let Some(post) = self.jobs.get(name) else { return false };
        let (rev, Some(former)) = (post.standing.rev, post.standing.former) else { return false };
        let fits = match post.definitions.get(&former).cloned() {
            Some(former) => self.still_fits(&former),
            None => return false,
        };
        if let Err(why) = fits {
            self.alter(name, fx, |standing| standing.former = None);
            let message = alloc::format!(
                "{name} does not become ready by revision {rev}, and cannot go back to {former}, which does not fit any more: {why}"
            );
            self.note(now, "job.stays", None, message, fx);
            return false;
        }
        self.alter(name, fx, |standing| {
            standing.rev = former;
            standing.former = None;
            standing.failed = Some(rev);
        });
        self.go_back_in_time(now, name, fx);
        let message = alloc::format!("{name} does not become ready by revision {rev}, and goes back to {former}");
        self.note(now, "job.back", None, message, fx);
        self.draw_graph();
        self.make_anew(now, name, fx);
        self.ask_again_for_needs(now, name, fx);
        true
    }

    fn why_renewed(&self, run: &Run) -> Trigger {
        let renewal = self.jobs.get(&run.job).and_then(|post| post.standing.renewal.as_ref());
        match renewal.filter(|renewal| run.no <= renewal.upto) {
            Some(renewal) => renewal.why.clone(),
            None => Trigger::Restart { run: run.no },
        }
    }

    /// Whose end this is: `next` and `error` of its definition, and those that wait for it with others.
    pub(super) fn chain(&mut self, now: Time, run: &Run, fx: &mut Effects) {
        let Some(outcome) = run.outcome() else { return };
        if self.breaks(Mutant::ForgetChain) {
            return;
        }
        let Some(job) = self.job(&run.job) else { return };
        let ok = *outcome == Outcome::Ok;
        let targets: Vec<JobName> = if ok {
            job.chain.next.clone()
        } else if outcome.is_failure() && *outcome != Outcome::Interrupted {
            job.chain.error.clone()
        } else {
            Vec::new()
        };
        for target in targets {
            self.go_on_to(now, run, &target, !ok, fx);
        }
        if !matches!(outcome, Outcome::Skipped(_) | Outcome::Cancelled) {
            self.rounds(now, run, ok, fx);
        }
    }
}

/// Nobody wanted it, or kin did because the run was unwell.
const fn is_its_own_end(why: Option<StopWhy>) -> bool {
    match why {
        None | Some(StopWhy::Sick | StopWhy::NotReady) => true,
        Some(StopWhy::Asked | StopWhy::Interrupt | StopWhy::Planned) => false,
    }
}
