//! The judge: what the rules promise, in words of its own, over what was recorded before and after each commit.

use super::almanac::Words;
use super::host::{Ledger, SECOND, is_going};
use super::ticking::{Commit, TickJudge, waits_for_its_jitter};
use crate::job::{Backoff, Job, Overlap, Restart};
use crate::run::{Hold, StopWhy};
use crate::wish::Wish;
use crate::{JobName, Outcome, Run, RunNo, RunState, SkipWhy, Standing, Time, Trigger};
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Judge {
    known: BTreeSet<RunNo>,
    ended: BTreeSet<RunNo>,
    released: BTreeSet<RunNo>,
    executed: BTreeSet<RunNo>,
    followed: BTreeSet<RunNo>,
    /// Stops that were granted, and until when each is to have been honoured.
    stopped: BTreeMap<RunNo, i64>,
    /// When a process was over, by the time that really passes.
    over: BTreeMap<RunNo, i64>,
    /// Of a restart or retry: when it was made, and between which instants it may go on.
    waits: BTreeMap<RunNo, Wait>,
    pub(super) ticks: TickJudge,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) made: i64,
    pub(super) least: i64,
    pub(super) most: i64,
}

pub(super) type Check = Result<(), String>;

impl Judge {
    pub(super) fn process_ended(&mut self, run: RunNo, passed: i64) {
        self.over.entry(run).or_insert(passed);
    }

    /// Nobody saw by how much: of what waits now, no length can be asked for.
    pub(super) fn clock_unseen(&mut self, ledger: &Ledger) {
        self.waits.clear();
        self.over.clear();
        self.over.extend(ledger.runs.keys().map(|no| (*no, i64::MIN)));
    }

    /// Nobody looked until now: neither machine nor daemon was there.
    pub(super) fn slept(&mut self, passed: i64, by: i64) {
        for wait in self.waits.values_mut() {
            wait.most = wait.most.max(passed);
        }
        for until in self.stopped.values_mut() {
            *until += by;
        }
    }

    pub(super) fn rebooted(&mut self, ledger: &Ledger) {
        self.ticks.rebooted(ledger);
        self.over.extend(ledger.runs.keys().map(|no| (*no, i64::MIN)));
    }

    pub(super) fn executed(&mut self, run: RunNo, ledger: &Ledger) -> Check {
        let row = ledger.runs.get(&run).ok_or_else(|| format!("run {run} is executed, and not recorded"))?;
        if !matches!(row.state, RunState::Starting { generation: Some(_) } | RunState::Stopping { .. }) {
            return Err(format!("{} is executed while it is {:?}", row.id(), row.state));
        }
        if self.executed.insert(run) { Ok(()) } else { Err(format!("{} is executed twice", row.id())) }
    }

    pub(super) fn stop_was_granted(&mut self, run: RunNo, ledger: &Ledger, until: i64) -> Check {
        // Of one whose process had ended by itself, that end stands, and what follows from it.
        let had_ended = |state: &RunState| matches!(state, RunState::Draining { why } if *why != Some(StopWhy::Asked));
        if let Some(run) = ledger.runs.get(&run).filter(|run| had_ended(&run.state)) {
            let (standing, job) = (ledger.standings.get(&run.job), in_force(ledger, &run.job));
            if let (Some(standing), Some(job)) = (standing, job)
                && run.is_defined()
                && job.life.is_service()
                && standing.up
                && run.slot < instances(standing, job)
                && !standing.rest.contains_key(&run.slot)
            {
                return Err(format!("the stop of {} was granted, and its slot is to be filled", run.id()));
            }
            return Ok(());
        }
        self.stopped.entry(run).or_insert(until);
        match ledger.runs.get(&run).map(|run| &run.state) {
            None | Some(RunState::Stopping { .. } | RunState::Draining { .. } | RunState::Ended { .. }) => Ok(()),
            Some(state) => Err(format!("the stop of run {run} was granted, and it is {state:?}")),
        }
    }

    pub(super) fn nothing_due_is_forgotten(&self, ledger: &Ledger, now: Time, passed: i64) -> Check {
        for run in ledger.runs.values() {
            if self.stopped.get(&run.no).is_some_and(|until| passed > *until) {
                return Err(format!("{} was stopped, and is still {:?}", run.id(), run.state));
            }
            if let RunState::Waiting { until, .. } = run.state
                && until.plus(SECOND) < now
            {
                return Err(format!("{} was due at {until:?}, and it is {now:?}", run.id()));
            }
            if let (RunState::Running { .. }, None, Some(by)) = (&run.state, run.health.ready_at, run.health.ready_by)
                && by.plus(SECOND) < now
            {
                return Err(format!("{} was to be ready by {by:?}, and it is {now:?}", run.id()));
            }
        }
        Ok(())
    }

    /// `wish`: the one that was granted with it. `single`: of one wish or fact, so that all of it was decided by what stands
    /// there.
    pub(super) fn look(
        &mut self,
        commit: Commit<'_>,
        words: &BTreeMap<JobName, Rc<Words>>,
        wish: Option<&Wish>,
        single: bool,
    ) -> Check {
        let Commit { changed, before, after, passed, .. } = commit;
        self.ticks.look(commit, words, &mut self.waits)?;
        for no in changed {
            let Some(run) = after.runs.get(no) else { continue };
            let old = before.runs.get(no);
            let say =
                |what: &str| Err(format!("{} {what}: {:?} → {:?}", run.id(), old.map(|run| &run.state), run.state));
            if self.ended.contains(no) {
                return say("changed after its end");
            }
            match old {
                None if !self.known.insert(*no) => return say("has a number that was given out before"),
                Some(old) if is_going(old) && run.state.is_pending() => return say("goes back"),
                Some(old) if old.trigger != run.trigger => return say("has another trigger"),
                None | Some(_) => {}
            }
            self.latch(run, old, wish)?;
            if old.is_none() {
                self.birth(run, before, after)?;
                self.cause(run, commit, wish)?;
            }
            let begins = is_going(run) && old.is_none_or(|old| old.state.is_pending());
            if begins {
                self.begins(run, before, after, passed, single)?;
            }
            self.waited(run, old, passed)?;
            order(run, old, after)?;
        }
        for no in changed {
            if let Some(run) = after.runs.get(no).filter(|run| run.outcome().is_some()) {
                self.ended.insert(*no);
                self.waits.remove(no);
                self.ends(run, commit, single)?;
            }
        }
        if let Some(Wish::Release { latch }) = wish {
            let held = |run: &&Run| matches!(&run.state, RunState::Held { on: Hold::Latch(on) } if on == latch);
            // One that it made (its runs began, and failed at once; a chain went on) waits for the next release.
            if let Some(run) = after.runs.values().filter(|run| before.runs.contains_key(&run.no)).find(held) {
                return Err(format!("{latch} was released, and {} is held by it", run.id()));
            }
        }
        needs_are_run(commit)?;
        whole(after)
    }

    fn latch(&mut self, run: &Run, old: Option<&Run>, wish: Option<&Wish>) -> Check {
        let at_latch = |run: &Run| matches!(run.state, RunState::Held { on: Hold::Latch(_) });
        let was = old.is_some_and(at_latch);
        if at_latch(run) && !was && (old.is_some() || run.follows.is_some()) {
            return Err(format!("{} is held again", run.id()));
        }
        if was && !at_latch(run) && run.outcome().is_none() && !self.released.insert(run.no) {
            return Err(format!("{} was released twice", run.id()));
        }
        if let Some(RunState::Held { on: Hold::Latch(latch) }) = old.map(|old| &old.state)
            && !at_latch(run)
            && run.outcome().is_none()
            && !matches!(wish, Some(Wish::Release { latch: released }) if released == latch)
        {
            return Err(format!("{} was held by {latch}, and goes on without its release", run.id()));
        }
        Ok(())
    }

    /// Every run has one cause, and it is there. (Ticks are judged apart.)
    fn cause(&self, run: &Run, commit: Commit<'_>, wish: Option<&Wish>) -> Check {
        let Commit { before, after, changed, .. } = commit;
        let renewed = run.follows.is_some();
        let right = match &run.trigger {
            Trigger::Manual { .. } => {
                renewed
                    || matches!(
                        wish,
                        Some(
                            Wish::RunJob { .. }
                                | Wish::Up { .. }
                                | Wish::Restart { .. }
                                | Wish::Scale { .. }
                                | Wish::Enable { .. }
                                | Wish::Plan(_)
                                | Wish::Submit { .. }
                        )
                    )
            }
            Trigger::Watch { .. } => renewed || matches!(wish, Some(Wish::Changed { .. })),
            // Just now, and by the words of one of the two.
            Trigger::Chain { run: cause, error } => {
                let ended = changed.contains(cause) && after.runs.get(cause).is_some_and(|run| run.outcome().is_some());
                let names = |ledger: &Ledger| {
                    let from = after.runs.get(cause).and_then(|cause| in_force(ledger, &cause.job));
                    let list = from.map(|job| if *error { &job.chain.error } else { &job.chain.next });
                    let joins = in_force(ledger, &run.job).and_then(|job| job.chain.after.as_ref());
                    let cause = after.runs.get(cause).map(|cause| &cause.job);
                    list.is_some_and(|list| list.contains(&run.job))
                        || (!error && joins.is_some_and(|after| after.jobs.iter().any(|job| Some(job) == cause)))
                };
                renewed || (ended && (names(before) || names(after)))
            }
            // A service that is up is there again, with all its slots.
            Trigger::Boot => {
                let service = in_force(after, &run.job).is_some_and(|job| job.life.is_service());
                !commit.ticks.is_empty() || renewed || service
            }
            Trigger::Schedule { .. } => !commit.ticks.is_empty() || renewed,
            Trigger::Restart { .. } | Trigger::Retry { .. } => renewed,
            // A service that somebody has stopped is there again when a person wants what needs it.
            Trigger::Dependency => {
                let person = matches!(wish, Some(Wish::RunJob { .. } | Wish::Up { .. } | Wish::Restart { .. }));
                let service = in_force(after, &run.job).is_some_and(|job| job.life.is_service());
                let was_up = before.standings.get(&run.job).is_none_or(|standing| standing.up);
                renewed || person || !service || was_up
            }
            Trigger::Adopt { .. } => true,
        };
        if right {
            Ok(())
        } else {
            Err(format!("{} is there, and nothing is the cause of {:?}", run.id(), run.trigger))
        }
    }

    fn birth(&mut self, run: &Run, before: &Ledger, after: &Ledger) -> Check {
        let named = match run.trigger {
            Trigger::Restart { run } | Trigger::Retry { run, .. } => Some(run),
            Trigger::Manual { .. }
            | Trigger::Schedule { .. }
            | Trigger::Chain { .. }
            | Trigger::Boot
            | Trigger::Watch { .. }
            | Trigger::Adopt { .. }
            | Trigger::Dependency => run.follows,
        };
        if named != run.follows {
            return Err(format!("{} says that it follows {:?} and {named:?}", run.id(), run.follows));
        }
        if run.terms.chain.contains(&run.job) && !matches!(run.state, RunState::Ended { .. }) {
            return Err(format!("{} goes round: {:?}", run.id(), run.terms.chain));
        }
        if let Trigger::Chain { run: cause, .. } = run.trigger
            && !self.ended.contains(&cause)
            && after.runs.get(&cause).is_none_or(|cause| cause.outcome().is_none())
        {
            return Err(format!("{} comes of the end of {cause}, which has not ended", run.id()));
        }
        let Some(prev) = run.follows else { return Ok(()) };
        if !self.followed.insert(prev) {
            return Err(format!("{} is the second to follow {prev}", run.id()));
        }
        if self.stopped.contains_key(&prev) {
            return Err(format!("{} follows {prev}, which was asked to stop", run.id()));
        }
        if let (Trigger::Retry { .. }, Some(prev)) = (&run.trigger, before.runs.get(&prev))
            && run.attempt != prev.attempt + 1
        {
            return Err(format!("{} is attempt {} after {}", run.id(), run.attempt, prev.attempt));
        }
        if let (Trigger::Retry { of, .. }, Some(prev)) = (&run.trigger, before.runs.get(&prev))
            && *of != prev.trigger.nominal()
        {
            return Err(format!("{} is for {of:?}, and the try before it for {:?}", run.id(), prev.trigger));
        }
        Ok(())
    }

    pub(super) fn begins(&self, run: &Run, before: &Ledger, after: &Ledger, passed: i64, single: bool) -> Check {
        let say = |what: String| Err(format!("{} begins, {what}", run.id()));
        if let Some(wait) = self.waits.get(&run.no)
            && passed < wait.least
        {
            return say(format!("{} ms too early", (wait.least - passed) / 1_000_000));
        }
        if let Some(group) = &run.group {
            let going = after.runs.values().filter(|run| is_going(run) && run.group.as_ref() == Some(group)).count();
            return if going > run.group_max as usize {
                say(format!("as number {going} of its group"))
            } else {
                Ok(())
            };
        }
        if !run.is_defined() {
            return Ok(());
        }
        // A tick that was due by the words before a plan began it, and the same plan took its job away.
        let due = !before.runs.contains_key(&run.no) && matches!(run.trigger, Trigger::Schedule { .. });
        let taken = due && in_force(after, &run.job).is_none();
        let defined = if taken { before } else { after };
        let (Some(standing), Some(job)) = (defined.standings.get(&run.job), in_force(defined, &run.job)) else {
            return say("and nobody has defined it".into());
        };
        if is_disabled(standing, job) {
            return say("and is disabled".into());
        }
        // A tick that was due by the words before a plan began it by these, in the commit of the plan.
        let by_before = before.standings.get(&run.job).filter(|standing| standing.rev == run.terms.rev);
        let begun_by = by_before.and_then(|standing| definition(before, standing)).unwrap_or(job);
        for need in &begun_by.life.needs {
            // (What ended in an earlier boot is no use in this one.)
            let boot = |ledger: &Ledger| ledger.standings.get(&need.job).map(|standing| standing.boot.clone());
            let was_ready = is_ready(before, &need.job) && boot(before) == boot(after);
            if !is_ready(after, &need.job) && !was_ready {
                return say(format!("and {} is not ready", need.job));
            }
        }
        let others = || after.runs.values().filter(|other| is_going(other) && other.no != run.no);
        for mutex in &run.terms.mutex {
            if let Some(other) = others().find(|other| other.terms.mutex.contains(mutex)) {
                return say(format!("and {} has {mutex}", other.id()));
            }
        }
        if run.terms.turn > 0 {
            let going = others().filter(|other| other.job == run.job && other.is_defined()).count();
            if going >= instances(standing, job).max(1) as usize {
                return say(format!("and {going} of its job are going"));
            }
        }
        // Or it had one before that plan, and is stopped by it.
        let had_it = by_before.is_some_and(|before| run.slot < instances(before, begun_by));
        // Or a plan gave it one, and its service went back in the same commit, because another could not be made.
        let leaves = (had_it || !single) && matches!(run.state, RunState::Stopping { .. });
        if job.life.is_service() && run.slot >= instances(standing, job) && !leaves {
            return say(format!("in slot {} of {}", run.slot, instances(standing, job)));
        }
        if let Some(queue) = run.terms.queue.as_ref().filter(|_| single) {
            let slots = after.queues.get(queue).map(|queue| queue.slots.clone());
            let slots = slots.unwrap_or_else(|| BTreeMap::from([("slots".to_string(), 1)]));
            if is_paused(before, run) && is_paused(after, run) {
                return say("and its queue is paused".into());
            }
            for (resource, slots) in slots {
                let going =
                    after.runs.values().filter(|other| is_going(other) && other.terms.queue.as_ref() == Some(queue));
                let used: u32 = going.map(|other| takes(other, &resource)).sum();
                if used > slots && takes(run, &resource) > 0 {
                    return say(format!("and {used} of {slots} {resource} are taken"));
                }
            }
            let overtaken = after.runs.values().find(|other| {
                other.terms.queue.as_ref() == Some(queue)
                    && is_before(other, run)
                    && waits_only_for_its_queue(after, other)
            });
            if let Some(other) = overtaken {
                return say(format!("and overtakes {}", other.id()));
            }
        }
        Ok(())
    }

    /// A wait that is over was not too long.
    fn waited(&self, run: &Run, old: Option<&Run>, passed: i64) -> Check {
        let was = old.is_some_and(|old| matches!(old.state, RunState::Waiting { .. }));
        let is = matches!(run.state, RunState::Waiting { .. } | RunState::Ended { .. });
        match self.waits.get(&run.no).filter(|_| was && !is) {
            Some(wait) if passed > wait.most.max(wait.made) + 50_000_000 => {
                Err(format!("{} waited {} ms too long", run.id(), (passed - wait.most) / 1_000_000))
            }
            Some(wait) if passed < wait.least => Err(format!("{} waited too short", run.id())),
            Some(_) | None => Ok(()),
        }
    }

    fn ends(&mut self, run: &Run, commit: Commit<'_>, single: bool) -> Check {
        let Commit { changed, before, after, passed, .. } = commit;
        let Some(outcome) = run.outcome() else { return Ok(()) };
        let ran = self.executed.contains(&run.no);
        match outcome {
            Outcome::Ok | Outcome::Failed { .. } | Outcome::Signaled { .. } | Outcome::Stopped if !ran => {
                return Err(format!("{} ended {outcome}, and was never executed", run.id()));
            }
            Outcome::Skipped(_) | Outcome::Cancelled if ran => {
                return Err(format!("{} ended {outcome}, and was executed", run.id()));
            }
            Outcome::Lost(_) | Outcome::SpawnFailed { .. } | Outcome::Unhealthy(_) => {}
            Outcome::Ok
            | Outcome::Failed { .. }
            | Outcome::Signaled { .. }
            | Outcome::Stopped
            | Outcome::TimedOut
            | Outcome::OomKilled
            | Outcome::Interrupted
            | Outcome::Skipped(_)
            | Outcome::Cancelled => {}
        }
        let (Some(standing), Some(job)) = (after.standings.get(&run.job), in_force(after, &run.job)) else {
            return Ok(());
        };
        // A plan changes what follows from an end within the same commit.
        let same = before.standings.get(&run.job).is_some_and(|before| before.rev == standing.rev);
        if !run.is_defined() || !same || is_disabled(standing, job) || !before.runs.contains_key(&run.no) {
            return Ok(());
        }
        if single && *outcome == Outcome::Skipped(SkipWhy::Dependency) {
            is_in_vain(run, job, before, after)?;
        }
        // It began and failed in one commit; what was wanted of it in between, nobody wrote down.
        let began_and_failed = matches!(outcome, Outcome::SpawnFailed { .. })
            && before.runs.get(&run.no).is_some_and(|old| old.state.is_pending());
        if began_and_failed {
            return Ok(());
        }
        // Whether it was healthy for long enough, nobody can say who did not see the clock being set.
        if job.life.is_service() && self.over.get(&run.no) == Some(&i64::MIN) {
            return Ok(());
        }
        let new =
            || changed.iter().filter_map(|no| after.runs.get(no)).filter(|new| !before.runs.contains_key(&new.no));
        let next = new().find(|new| new.follows == Some(run.no));
        let why = before.runs.get(&run.no).and_then(|old| match old.state {
            RunState::Stopping { why, .. } => Some(why),
            RunState::Draining { why } => why,
            RunState::Held { .. } | RunState::Waiting { .. } | RunState::Queued if *outcome == Outcome::Cancelled => {
                Some(StopWhy::Planned)
            }
            RunState::Starting { .. } if *outcome == Outcome::Cancelled && old.is_being_made() => {
                Some(StopWhy::Planned)
            }
            RunState::Held { .. }
            | RunState::Waiting { .. }
            | RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Ended { .. } => None,
        });
        let own = matches!(why, None | Some(StopWhy::Sick | StopWhy::NotReady));
        if let Some(old) = before.runs.get(&run.no).filter(|old| waits_for_its_jitter(old))
            && let RunState::Waiting { until, .. } = old.state
            && commit.only_time
            && until > commit.now
            && matches!(outcome, Outcome::Cancelled | Outcome::Skipped(_))
        {
            return Err(format!("{} ended {outcome}, and waited for its jitter still", run.id()));
        }
        let had_ended = matches!(before.runs.get(&run.no).map(|old| &old.state), Some(RunState::Draining { .. }));
        if had_ended && *outcome == Outcome::Stopped && own {
            return Err(format!("{} ended {outcome}, and its process had ended by itself before", run.id()));
        }
        let left_empty =
            had_ended && before.standings.get(&run.job).is_some_and(|job| job.rest.contains_key(&run.slot));
        if left_empty && job.life.is_service() && standing.rest.contains_key(&run.slot) {
            return match next {
                Some(next) => Err(format!("{} follows {}, whose slot is to be empty", next.id(), run.id())),
                None => Ok(()),
            };
        }
        // It was stopped and ended in one commit: who wanted that, nobody wrote down.
        if !single && why.is_none() && *outcome == Outcome::Stopped {
            return Ok(());
        }
        // It was lost, and in the same commit another run of its job took its place (a chain began it before the loss was told).
        let replaced = job.gates.overlap == Overlap::Replace
            && new().any(|new| new.job == run.job && new.follows.is_none() && new.no != run.no);
        if !single && !job.life.is_service() && replaced && matches!(outcome, Outcome::Lost(_)) && next.is_none() {
            return Ok(());
        }
        let healthy = job.life.is_service()
            && run.health.healthy_at.is_some_and(|at| run.ended_at.is_some_and(|ended| ended >= at));
        let wanted = own
            && (counts(job, outcome) || (job.life.restart == Restart::Always))
            && (healthy || job.life.again.tries.is_none_or(|tries| run.attempt < tries));
        if job.life.is_service() {
            let slot = standing.up && run.slot < instances(standing, job);
            let rests = standing.rest.contains_key(&run.slot);
            // (By a chain that came back to it in the same commit, for example.)
            let filled = after.runs.values().any(|other| {
                other.job == run.job && other.slot == run.slot && other.outcome().is_none() && other.is_defined()
            });
            if slot && next.is_none() && !rests && !filled {
                return Err(format!("nothing follows {} ({outcome}, {why:?})", run.id()));
            }
            if slot && wanted && next.is_none() {
                return Err(format!("{} ended {outcome}, and is not restarted", run.id()));
            }
            if next.is_some() && own && !wanted && !matches!(outcome, Outcome::Lost(_)) {
                return Err(format!("{} ended {outcome}, and is restarted", run.id()));
            }
        } else if wanted && next.is_none() {
            return Err(format!("{} ended {outcome}, and is not tried again", run.id()));
        } else if !wanted {
            if next.is_some() {
                return Err(format!("{} ended {outcome}, and is tried again", run.id()));
            }
            if own && single && !matches!(outcome, Outcome::Skipped(_)) {
                nobody_waits_in_vain(run, job, before, after)?;
            }
            let bad = outcome.is_failure() && *outcome != Outcome::Interrupted;
            let (targets, error) = match *outcome == Outcome::Ok {
                true => (job.chain.next.as_slice(), false),
                false if bad => (job.chain.error.as_slice(), true),
                false => (&[][..], false),
            };
            for target in targets {
                let cause = Trigger::Chain { run: run.no, error };
                let told = new().any(|new| new.job == *target && new.trigger == cause);
                let service = in_force(after, target).is_none_or(|job| job.life.is_service());
                if !told && !service {
                    return Err(format!("{} ended {outcome}, and {target} does not follow", run.id()));
                }
            }
        }
        let reboot = matches!(outcome, Outcome::Lost(_)) && job.life.is_service();
        if let Some(next) = next.filter(|_| own && !reboot) {
            self.backoff(run, next, job, healthy, passed)?;
        }
        Ok(())
    }

    fn backoff(&mut self, run: &Run, next: &Run, job: &Job, healthy: bool, passed: i64) -> Check {
        let again = &job.life.again;
        let attempt = if healthy { 1 } else { run.attempt };
        let factor = if again.backoff == Backoff::Exponential { 2u128.pow((attempt - 1).min(60)) } else { 1 };
        let least = (u128::from(again.delay.0) * factor).min(u128::from(again.max_delay.0));
        let most = (least + least * u128::from(again.jitter_percent) / 100).min(u128::from(again.max_delay.0));
        // What could not be started waits a tenth of a second at the least.
        let floor = if matches!(run.outcome(), Some(Outcome::SpawnFailed { .. })) { 100 } else { 0 };
        let (least, most) = (least.max(floor), most.max(floor));
        if let RunState::Waiting { wait, .. } = next.state
            && !(least..=most).contains(&u128::from(wait.0))
        {
            return Err(format!("{} waits {} ms; {least} to {most} are stated", next.id(), wait.0));
        }
        if next.attempt != if healthy { 1 } else { run.attempt + 1 } {
            return Err(format!("{} is attempt {} after {}", next.id(), next.attempt, run.attempt));
        }
        let over = self.over.get(&run.no).copied().unwrap_or(passed);
        if over == i64::MIN {
            return Ok(());
        }
        let ns = |ms: u128| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let wait = Wait { made: passed, least: over.saturating_add(ns(least)), most: over.saturating_add(ns(most)) };
        // By a tick of the same commit that replaces it, for example: it never began.
        if matches!(next.outcome(), Some(Outcome::Cancelled | Outcome::Skipped(_))) {
            return Ok(());
        }
        if !next.state.is_pending() && passed < wait.least {
            return Err(format!("{} does not wait at all", next.id()));
        }
        self.waits.insert(next.no, wait);
        Ok(())
    }
}

/// What comes to wait for a task, and what waits for one that does not count as done any more, waits for a run of it.
fn needs_are_run(commit: Commit<'_>) -> Check {
    let Commit { before, after, changed, .. } = commit;
    let waits = |run: &Run| matches!(run.state, RunState::Held { on: Hold::Needs(_) } | RunState::Queued);
    for run in after.runs.values().filter(|run| run.is_defined() && waits(run)) {
        let Some(job) = in_force(after, &run.job) else { continue };
        let comes = changed.contains(&run.no) && !before.runs.get(&run.no).is_some_and(waits);
        for need in &job.life.needs {
            let (Some(standing), Some(needed)) = (after.standings.get(&need.job), in_force(after, &need.job)) else {
                continue;
            };
            let was_done = before.standings.get(&need.job).is_some_and(|standing| standing.done.is_some());
            let asks = comes || (was_done && standing.done.is_none());
            let of_it = |other: &Run| other.job == need.job && other.is_defined();
            // (One that was made and failed in this commit is one.)
            let there = after
                .runs
                .values()
                .any(|other| of_it(other) && (other.outcome().is_none() || changed.contains(&other.no)));
            if asks
                && !needed.life.is_service()
                && !is_disabled(standing, needed)
                && !is_ready(after, &need.job)
                && !there
            {
                return Err(format!("{} waits for {}, and nobody runs it", run.id(), need.job));
            }
        }
    }
    Ok(())
}

/// A task that was held for a task which has failed for good is not held any more.
fn nobody_waits_in_vain(run: &Run, job: &Job, before: &Ledger, after: &Ledger) -> Check {
    let another = after.runs.values().any(|other| other.job == run.job && other.outcome().is_none());
    // (What the machine's end took is run again when it is wanted.)
    let reboot = matches!(run.outcome(), Some(Outcome::Lost(crate::LostWhy::Reboot)));
    if another || reboot || is_ready(after, &run.job) || !job.time.schedules.is_empty() {
        return Ok(());
    }
    let held = |run: &Run| matches!(run.state, RunState::Held { on: Hold::Needs(_) } | RunState::Queued);
    let in_vain = after.runs.values().filter(|other| other.is_defined() && held(other)).find(|other| {
        let needs = |job: &Arc<Job>| !job.life.is_service() && job.life.needs.iter().any(|need| need.job == run.job);
        before.runs.get(&other.no).is_some_and(held) && in_force(after, &other.job).is_some_and(needs)
    });
    match in_vain {
        Some(other) => Err(format!("{} waits for {}, which ended badly for good", other.id(), run.id())),
        None => Ok(()),
    }
}

/// A task is skipped for what it needs only when nothing runs that again. (What its own end led to came afterwards.)
fn is_in_vain(run: &Run, job: &Job, before: &Ledger, after: &Ledger) -> Check {
    let again = |name: &JobName| {
        let live = |other: &Run| other.job == *name && other.outcome().is_none() && other.is_defined();
        let mut runs = after.runs.values().filter(|other| live(other));
        runs.any(|other| other.follows.is_some() || before.runs.contains_key(&other.no))
    };
    let task = |job: &Arc<Job>| !job.life.is_service() && job.time.schedules.is_empty();
    let mut needs = job.life.needs.iter().map(|need| &need.job);
    match needs.any(|name| in_force(after, name).is_some_and(task) && !is_ready(after, name) && !again(name)) {
        true => Ok(()),
        false => Err(format!("{} is skipped, and what it needs may still end well", run.id())),
    }
}

/// What needs goes before what is needed.
fn order(run: &Run, old: Option<&Run>, after: &Ledger) -> Check {
    let told = matches!(run.state, RunState::Stopping { why: StopWhy::Planned, .. })
        && old.is_some_and(|old| !matches!(old.state, RunState::Stopping { .. } | RunState::Draining { .. }));
    let Some(standing) = after.standings.get(&run.job).filter(|_| told) else { return Ok(()) };
    let service = definition(after, standing).is_some_and(|job| job.life.is_service());
    if standing.up || !service {
        return Ok(());
    }
    let dependent = after.runs.values().find(|other| {
        let of = after.standings.get(&other.job).and_then(|standing| definition(after, standing));
        is_going(other) && of.is_some_and(|job| job.life.needs.iter().any(|need| need.job == run.job))
    });
    match dependent {
        Some(other) => Err(format!("{} goes before {}, which needs it", run.id(), other.id())),
        None => Ok(()),
    }
}

/// What must hold of everything together.
fn whole(after: &Ledger) -> Check {
    let mut slots: BTreeSet<(&JobName, u32)> = BTreeSet::new();
    for run in after.runs.values().filter(|run| run.is_defined() && run.outcome().is_none()) {
        let Some(standing) = after.standings.get(&run.job) else {
            return Err(format!("{} lives, and its job is forgotten", run.id()));
        };
        let Some(job) = in_force(after, &run.job) else { continue };
        if job.life.is_service() {
            if !slots.insert((&run.job, run.slot)) {
                return Err(format!("{} is the second in slot {}", run.id(), run.slot));
            }
            let leaves = matches!(run.state, RunState::Stopping { .. } | RunState::Draining { .. });
            if standing.up && run.slot >= instances(standing, job) && !leaves {
                return Err(format!("{} has slot {} of {}", run.id(), run.slot, instances(standing, job)));
            }
        }
        let ready = || job.life.needs.iter().all(|need| is_met(after, &need.job));
        if matches!(run.state, RunState::Held { on: Hold::Needs(_) }) && ready() {
            return Err(format!("{} is held, and all that it needs is ready", run.id()));
        }
        if run.state == RunState::Queued && ready() && is_free(after, run) {
            return Err(format!("{} waits for nothing", run.id()));
        }
    }
    for (name, standing) in &after.standings {
        let Some(job) = in_force(after, name).filter(|job| job.life.is_service()) else { continue };
        if standing.up && !is_disabled(standing, job) {
            let empty = (0..instances(standing, job))
                .find(|slot| !slots.contains(&(name, *slot)) && !standing.rest.contains_key(slot));
            if let Some(slot) = empty {
                return Err(format!("slot {slot} of {name} is empty"));
            }
        }
    }
    Ok(())
}

// ---- what stands there ----

pub(super) fn definition<'a>(ledger: &'a Ledger, standing: &Standing) -> Option<&'a Arc<Job>> {
    ledger.definitions.get(&(standing.job.clone(), standing.rev))
}

pub(super) fn in_force<'a>(ledger: &'a Ledger, name: &JobName) -> Option<&'a Arc<Job>> {
    definition(ledger, ledger.standings.get(name).filter(|standing| !standing.removed)?)
}

pub(super) fn instances(standing: &Standing, job: &Job) -> u32 {
    standing.scale.unwrap_or(job.life.instances)
}

pub(super) fn is_disabled(standing: &Standing, job: &Job) -> bool {
    standing.disabled.unwrap_or(job.disabled)
}

fn is_ready(ledger: &Ledger, name: &JobName) -> bool {
    let (Some(job), Some(standing)) = (in_force(ledger, name), ledger.standings.get(name)) else { return false };
    if !job.life.is_service() {
        return standing.done.is_some();
    }
    let ready = |run: &Run| matches!(run.state, RunState::Running { .. }) && run.health.ready_at.is_some();
    stays(ledger, name) && ledger.runs.values().any(|run| run.job == *name && run.is_defined() && ready(run))
}

/// It is ready, and stays.
fn is_met(ledger: &Ledger, name: &JobName) -> bool {
    is_ready(ledger, name) && stays(ledger, name)
}

/// Neither it nor anything that it needs is to go.
fn stays(ledger: &Ledger, name: &JobName) -> bool {
    let Some(standing) = ledger.standings.get(name) else { return true };
    let Some(job) = definition(ledger, standing) else { return true };
    let goes = standing.removed || (job.life.is_service() && !standing.up);
    !goes && job.life.needs.iter().all(|need| stays(ledger, &need.job))
}

/// As its job's definition has it: which bad ends are tried again.
fn counts(job: &Job, outcome: &Outcome) -> bool {
    let on = &job.life.again.on;
    match outcome {
        Outcome::Failed { code } => on.codes.as_ref().is_none_or(|codes| codes.contains(code)),
        Outcome::Signaled { .. } | Outcome::OomKilled => on.signals,
        Outcome::TimedOut => on.timeout,
        Outcome::Unhealthy(_) => true,
        Outcome::SpawnFailed { .. } => on.spawn,
        Outcome::Lost(_) => on.lost,
        Outcome::Ok | Outcome::Stopped | Outcome::Interrupted | Outcome::Skipped(_) | Outcome::Cancelled => false,
    }
}

fn takes(run: &Run, resource: &str) -> u32 {
    run.terms.need.get(resource).copied().unwrap_or(u32::from(resource == "slots"))
}

fn is_before(one: &Run, other: &Run) -> bool {
    (-i64::from(one.terms.priority), one.no) < (-i64::from(other.terms.priority), other.no)
}

fn is_paused(ledger: &Ledger, run: &Run) -> bool {
    run.terms.queue.as_ref().and_then(|queue| ledger.queues.get(queue)).is_some_and(|queue| queue.paused)
}

/// In a line, and neither paused nor kept by its needs.
fn could_go(ledger: &Ledger, run: &Run) -> bool {
    let needs = in_force(ledger, &run.job).is_some_and(|job| job.life.needs.iter().all(|n| is_met(ledger, &n.job)));
    run.state == RunState::Queued && run.is_defined() && needs && !is_paused(ledger, run)
}

fn waits_only_for_its_queue(ledger: &Ledger, run: &Run) -> bool {
    if !could_go(ledger, run) {
        return false;
    }
    let first = |same: &dyn Fn(&Run) -> bool| {
        !ledger
            .runs
            .values()
            .any(|other| other.no != run.no && same(other) && is_before(other, run) && could_go(ledger, other))
    };
    let mutexes = run.terms.mutex.iter().all(|mutex| {
        let same = |other: &Run| other.terms.mutex.contains(mutex);
        first(&same) && !ledger.runs.values().any(|other| is_going(other) && same(other))
    });
    let same = |other: &Run| other.job == run.job && other.terms.turn > 0;
    let standing = ledger.standings.get(&run.job);
    let most = standing.and_then(|standing| Some(instances(standing, in_force(ledger, &run.job)?))).unwrap_or(0);
    let of_job = |other: &Run| other.job == run.job && other.is_defined();
    let going = ledger.runs.values().filter(|other| is_going(other) && of_job(other)).count();
    let turn = run.terms.turn == 0 || (first(&same) && going < most.max(1) as usize);
    mutexes && turn
}

/// Nothing is in the way of a queued run.
fn is_free(ledger: &Ledger, run: &Run) -> bool {
    if !waits_only_for_its_queue(ledger, run) {
        return false;
    }
    let Some(name) = &run.terms.queue else { return true };
    let same = |other: &&Run| other.terms.queue.as_ref() == Some(name);
    let slots = ledger.queues.get(name).map(|queue| queue.slots.clone());
    let slots = slots.unwrap_or_else(|| BTreeMap::from([("slots".to_string(), 1)]));
    let fits = slots.iter().all(|(resource, slots)| {
        let going = ledger.runs.values().filter(same).filter(|other| is_going(other));
        going.map(|other| takes(other, resource)).sum::<u32>() + takes(run, resource) <= *slots
    });
    fits && !ledger
        .runs
        .values()
        .filter(same)
        .any(|other| is_before(other, run) && waits_only_for_its_queue(ledger, other))
}
