//! Services: what is wished, and what is. `tend` compares the two, and may be asked at any time.

use super::make::Birth;
use super::needs::is_ready;
use super::{Mutant, World, plan};
use crate::effect::Effects;
use crate::job::{Job, Life, Port};
use crate::run::{StopWhy, Trigger};
use crate::wish::Granted;
use crate::{JobName, Outcome, Refusal, Renewal, Run, RunNo, RunState, SkipWhy, Time};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// Whether a service can have so many instances. Files are held to the same when they are read.
pub(super) fn may_have(job: &Job, instances: u32) -> Result<(), Refusal> {
    if instances > Life::MOST_INSTANCES {
        return Err(Refusal::TooMany { job: job.name.clone(), instances, most: Life::MOST_INSTANCES });
    }
    match job.around.port {
        Some(Port::From(first)) if u32::from(first) + instances.saturating_sub(1) > u32::from(u16::MAX) => {
            Err(Refusal::NoPort { job: job.name.clone(), instances, first })
        }
        Some(Port::From(_) | Port::Auto) | None => Ok(()),
    }
}

impl World {
    // ---- wishes ----

    pub(super) fn up(&mut self, now: Time, name: &JobName, by: String, fx: &mut Effects) -> Result<Granted, Refusal> {
        self.check_service(name)?;
        self.pull(now, name, fx);
        self.start(now, name, &Birth::first(Trigger::Manual { by }), fx);
        fx.promises = true;
        Ok(self.job_granted(name))
    }

    pub(super) fn down(&mut self, now: Time, name: &JobName, fx: &mut Effects) -> Result<Granted, Refusal> {
        let job = self.job(name).ok_or_else(|| Refusal::UnknownJob { job: name.clone() })?;
        fx.promises = true;
        if job.life.is_service() {
            self.alter(name, fx, |standing| {
                standing.up = false;
                standing.rest.clear();
                standing.renewal = None;
                standing.former = None;
            });
            self.look_jobs.extend(self.with_all_dependents(name));
            return Ok(self.job_granted(name));
        }
        let runs: Vec<Run> = self.runs_of(name).cloned().collect();
        for run in &runs {
            self.stop(now, run.no, crate::StopKind::Ladder, StopWhy::Asked, fx)?;
        }
        Ok(Granted::Job(runs))
    }

    pub(super) fn restart(
        &mut self,
        now: Time,
        name: &JobName,
        by: String,
        rolling: Option<bool>,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        let job = self.job(name).ok_or_else(|| Refusal::UnknownJob { job: name.clone() })?;
        let rolling = rolling.unwrap_or(job.life.rolling);
        fx.promises = true;
        if !job.life.is_service() {
            let run = self.run_instead(now, name, by, fx);
            return Ok(Granted::Job(run.into_iter().collect()));
        }
        let trigger = Trigger::Manual { by };
        self.renew(name, trigger.clone(), rolling, fx);
        self.pull(now, name, fx);
        self.start(now, name, &Birth::first(trigger), fx);
        Ok(self.job_granted(name))
    }

    pub(super) fn scale(
        &mut self,
        now: Time,
        name: &JobName,
        instances: u32,
        by: String,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        self.check_service(name)?;
        self.job(name).map_or(Ok(()), |job| may_have(job, instances))?;
        fx.promises = true;
        let as_defined = self.job(name).is_some_and(|job| job.life.instances == instances);
        self.alter(name, fx, |standing| {
            standing.scale = Some(instances).filter(|_| !as_defined);
            standing.rest.retain(|slot, _| *slot < instances);
        });
        self.fill(now, name, &Birth::first(Trigger::Manual { by }), fx);
        Ok(self.job_granted(name))
    }

    pub(super) fn disable(&mut self, name: &JobName, fx: &mut Effects) -> Result<Granted, Refusal> {
        self.gate_by_hand(name, true, fx)
    }

    pub(super) fn enable(
        &mut self,
        now: Time,
        name: &JobName,
        by: String,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        self.gate_by_hand(name, false, fx)?;
        self.alter(name, fx, |standing| standing.paused = None);
        self.fill(now, name, &Birth::first(Trigger::Manual { by }), fx);
        self.dependents_ask_again(now, name, fx);
        Ok(self.job_granted(name))
    }

    pub(super) fn pause(&mut self, name: &JobName, until: Time, fx: &mut Effects) -> Result<Granted, Refusal> {
        self.job(name).ok_or_else(|| Refusal::UnknownJob { job: name.clone() })?;
        fx.promises = true;
        self.alter(name, fx, |standing| standing.paused = Some(until.0.div_euclid(1_000_000_000)));
        Ok(self.job_granted(name))
    }

    fn gate_by_hand(&mut self, name: &JobName, disabled: bool, fx: &mut Effects) -> Result<Granted, Refusal> {
        let job = self.job(name).ok_or_else(|| Refusal::UnknownJob { job: name.clone() })?;
        let as_defined = job.disabled == disabled;
        fx.promises = true;
        self.alter(name, fx, |standing| standing.disabled = Some(disabled).filter(|_| !as_defined));
        Ok(self.job_granted(name))
    }

    fn check_service(&self, name: &JobName) -> Result<(), Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        let job = self.job(name).ok_or_else(|| Refusal::UnknownJob { job: name.clone() })?;
        if job.life.is_service() { Ok(()) } else { Err(Refusal::NoService { job: name.clone() }) }
    }

    fn job_granted(&self, name: &JobName) -> Granted {
        Granted::Job(self.runs_of(name).cloned().collect())
    }

    // ---- what they come to ----

    /// It is to be there: slots that rested are filled, too.
    pub(super) fn start(&mut self, now: Time, name: &JobName, birth: &Birth, fx: &mut Effects) {
        self.alter(name, fx, |standing| {
            standing.up = true;
            standing.rest.clear();
        });
        self.look_jobs.extend(self.with_all_dependents(name));
        self.fill(now, name, birth, fx);
    }

    /// Every run that has begun, or waits after a failure, gives way to a new one.
    pub(super) fn renew(&mut self, name: &JobName, why: Trigger, rolling: bool, fx: &mut Effects) {
        let begun = |run: &&Run| run.state.is_going() || matches!(run.state, RunState::Waiting { .. });
        let upto = self.runs_of(name).filter(begun).map(|run| run.no).max();
        self.alter(name, fx, |standing| standing.renewal = upto.map(|upto| Renewal { upto, why, rolling }));
    }

    /// Whether that slot is to have a run.
    pub(super) fn wants_slot(&self, name: &JobName, slot: u32) -> bool {
        let up = self.jobs.get(name).is_some_and(|post| post.standing.up && !post.standing.removed);
        up && slot < self.instances(name)
    }

    /// A run for each slot that has none and is to have one.
    pub(super) fn fill(&mut self, now: Time, name: &JobName, birth: &Birth, fx: &mut Effects) {
        let is_service = self.job(name).is_some_and(|job| job.life.is_service());
        let Some(post) = self.jobs.get(name).filter(|_| is_service) else { return };
        if self.is_closing() || !post.standing.up || self.is_disabled(name) {
            return;
        }
        let mut taken: BTreeSet<u32> = post.standing.rest.keys().copied().collect();
        if !self.breaks(Mutant::DoubleSlot) {
            taken.extend(self.runs_of(name).map(|run| run.slot));
        }
        let free: Vec<u32> = (0..self.instances(name)).filter(|slot| !taken.contains(slot)).collect();
        for slot in free {
            self.make(now, name, Birth { slot, ..birth.clone() }, fx);
        }
    }

    pub(super) fn tend(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        if !self.jobs.contains_key(name) {
            return;
        }
        self.look_at_needs(now, name, fx);
        if self.is_leaving(name) {
            self.dismiss(now, name, fx);
        }
        if self.jobs.get(name).is_some_and(|post| post.standing.removed) {
            if self.runs_of(name).next().is_none() {
                self.jobs.remove(name);
                fx.standings.insert(name.clone(), None);
                self.draw_graph();
            }
            return self.forget_definitions(name);
        }
        if self.is_closing() {
            return self.forget_definitions(name);
        }
        if self.is_disabled(name) {
            self.skip_pending(now, name, fx);
        }
        if self.job(name).is_some_and(|job| job.life.is_service()) {
            self.give_up_spare(now, name, fx);
            if !self.is_leaving(name) {
                self.replace_stale(now, name, fx);
            }
            // Whoever wished for it has filled it already: it was up when this server, or this machine, was started.
            if !self.breaks(Mutant::DoubleSlot) {
                self.fill(now, name, &Birth::first(Trigger::Boot), fx);
            }
            self.finish_roll(name, fx);
        }
        self.forget_definitions(name);
    }

    /// Nothing of a disabled job begins.
    pub(super) fn skip_pending(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let pending: Vec<Run> = self.runs_of(name).filter(|run| run.state.is_pending()).cloned().collect();
        for run in pending {
            self.end(now, run, Outcome::Skipped(SkipWhy::Disabled), None, fx);
        }
    }

    /// The highest slots go first when there are fewer.
    pub(super) fn give_up_spare(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        if self.breaks(Mutant::KeepSpare) {
            return;
        }
        let spare = |run: &&Run| !self.wants_slot(name, run.slot) && self.may_be_stopped(run);
        let spare: Vec<RunNo> = self.runs_of(name).filter(spare).map(|run| run.no).collect();
        if self.jobs.get(name).is_some_and(|post| post.standing.up) {
            for no in spare {
                self.stop_for(now, no, StopWhy::Planned, fx);
            }
        }
    }

    const fn may_be_stopped(&self, run: &Run) -> bool {
        !matches!(run.state, RunState::Stopping { .. } | RunState::Draining { .. })
    }

    /// Runs of a definition that would run otherwise now, or from before a restart. One by one: the lowest slot, once every
    /// other slot has a run that is ready; one that is not ready serves nobody, and goes at once.
    fn replace_stale(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let Some(job) = self.job(name).cloned() else { return };
        let mut at_once: Vec<RunNo> = Vec::new();
        let mut in_turn: Vec<(u32, RunNo)> = Vec::new();
        for run in self.runs_of(name).filter(|run| self.may_be_stopped(run)) {
            let Some(rolling) = self.is_stale(run, job.life.rolling) else { continue };
            if rolling && is_ready(run) {
                in_turn.push((run.slot, run.no));
            } else {
                at_once.push(run.no);
            }
        }
        if at_once.is_empty() && in_turn.is_empty() {
            return;
        }
        let whole = at_once.is_empty() && self.all_steady(name);
        at_once.extend(in_turn.iter().min().map(|(_, no)| *no).filter(|_| whole));
        for no in at_once {
            self.stop_for(now, no, StopWhy::Planned, fx);
        }
    }

    /// `None`: it is as it should be; else whether it goes in its turn. What waits after a failure tries the new at once;
    /// everything else that has not begun will begin by what is defined then.
    fn is_stale(&self, run: &Run, rolling: bool) -> Option<bool> {
        let post = self.jobs.get(&run.job)?;
        let renewed = post.standing.renewal.as_ref().filter(|renewal| run.no <= renewal.upto);
        let begun = run.state.is_going();
        if !begun && !matches!(run.state, RunState::Waiting { .. }) {
            return None;
        }
        if let Some(renewal) = renewed {
            return Some(renewal.rolling && begun);
        }
        if !begun || run.terms.rev == post.standing.rev {
            return None;
        }
        let now = post.definitions.get(&post.standing.rev)?;
        let differs = post.definitions.get(&run.terms.rev).is_none_or(|then| plan::must_restart(then, now));
        differs.then_some(rolling)
    }

    /// Each slot has a run that is ready, or is to have none.
    fn all_steady(&self, name: &JobName) -> bool {
        let resting = self.jobs.get(name).into_iter().flat_map(|post| post.standing.rest.keys().copied());
        let serving = self.runs_of(name).filter(|run| is_ready(run)).map(|run| run.slot);
        let steady: BTreeSet<u32> = resting.chain(serving).collect();
        (0..self.instances(name)).all(|slot| steady.contains(&slot))
    }

    fn finish_roll(&mut self, name: &JobName, fx: &mut Effects) {
        let Some(post) = self.jobs.get(name) else { return };
        let Some(job) = self.job(name) else { return };
        if post.standing.renewal.is_none() && post.standing.former.is_none() {
            return;
        }
        let upto = post.standing.renewal.as_ref().map(|renewal| renewal.upto);
        let renewed = !self.runs_of(name).any(|run| {
            let begun = run.state.is_going() || matches!(run.state, RunState::Waiting { .. });
            begun && upto.is_some_and(|upto| run.no <= upto)
        });
        let rolled =
            self.runs_of(name).all(|run| self.is_stale(run, job.life.rolling).is_none()) && self.all_steady(name);
        self.alter(name, fx, |standing| {
            if renewed {
                standing.renewal = None;
            }
            if rolled {
                standing.former = None;
            }
        });
    }
}
