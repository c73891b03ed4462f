//! One run of a defined job: by hand, by its schedule, by a chain, because something changed.

use super::make::Birth;
use super::overtake::waits_late;
use super::{Mutant, World, post::Post};
use crate::effect::Effects;
use crate::job::Overlap;
use crate::run::{StopWhy, Trigger};
use crate::wish::Granted;
use crate::{JobName, Refusal, Rest, Run, RunId, RunNo, SkipWhy, Time};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Whether there is room for one more run of a job.
pub(super) enum Room {
    Free,
    /// It waits for its turn, as its job says.
    Waits,
    /// It takes the place of these.
    Replaces(Vec<RunNo>),
    /// It cannot be; by this one.
    Full(RunId),
    /// So many wait as may.
    LineFull(RunId, u32),
}

impl World {
    /// By hand. A full job is refused, unless its runs wait for their turn; a disabled one records a skipped run.
    pub(super) fn run_job(
        &mut self,
        now: Time,
        name: &JobName,
        by: String,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        let job = self.job(name).ok_or_else(|| Refusal::UnknownJob { job: name.clone() })?;
        if job.life.is_service() {
            return Err(Refusal::IsService { job: name.clone() });
        }
        let disabled = self.is_disabled(name);
        if !disabled {
            match self.room_for(name, None) {
                Room::Free | Room::Waits => {}
                Room::Full(live) => return Err(overlap(live)),
                Room::LineFull(live, most) => return Err(Refusal::LineFull { live, most }),
                Room::Replaces(runs) => {
                    let first = runs.first().and_then(|no| self.live.get(no)).map(Run::id);
                    return Err(first.map_or_else(|| Refusal::UnknownJob { job: name.clone() }, overlap));
                }
            }
        }
        self.pull(now, name, fx);
        match self.ask(now, name, Trigger::Manual { by }, Vec::new(), fx) {
            Some(run) => Ok(Granted::Run(Box::new(run))),
            None => Err(Refusal::UnknownJob { job: name.clone() }),
        }
    }

    /// A service gives way to a new one, run by run; what is run is run.
    pub(super) fn path_changed(
        &mut self,
        now: Time,
        name: &JobName,
        path: String,
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        let rolling = self.job(name).filter(|job| job.life.is_service()).map(|job| job.life.rolling);
        let trigger = Trigger::Watch { path };
        let Some(rolling) = rolling else { return self.by_rule(now, name, trigger, fx) };
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        if self.jobs.get(name).is_some_and(|post| post.standing.up) {
            self.renew(name, trigger, rolling, fx);
        }
        Ok(Granted::Job(self.runs_of(name).cloned().collect()))
    }

    fn by_rule(&mut self, now: Time, name: &JobName, trigger: Trigger, fx: &mut Effects) -> Result<Granted, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        if self.job(name).is_none() {
            return Err(Refusal::UnknownJob { job: name.clone() });
        }
        self.revive(now, name, fx);
        match self.ask(now, name, trigger, Vec::new(), fx) {
            Some(run) => Ok(Granted::Run(Box::new(run))),
            None => Ok(Granted::Job(self.runs_of(name).cloned().collect())),
        }
    }

    /// A run, or a record that there was none; of a service: it is started. `None`: there is nothing to tell.
    pub(super) fn ask(
        &mut self,
        now: Time,
        name: &JobName,
        trigger: Trigger,
        chain: Vec<JobName>,
        fx: &mut Effects,
    ) -> Option<Run> {
        self.ask_for(now, name, Birth { chain, ..Birth::first(trigger) }, fx)
    }

    pub(super) fn ask_for(&mut self, now: Time, name: &JobName, mut birth: Birth, fx: &mut Effects) -> Option<Run> {
        let job = self.job(name)?;
        let (service, latch) = (job.life.is_service(), job.gates.latch.is_some());
        if self.is_disabled(name) {
            return self.make_skipped(now, name, birth, SkipWhy::Disabled, fx);
        }
        if service {
            self.start(now, name, &birth, fx);
            return None;
        }
        birth.unasked = birth.wait.is_some_and(|(until, _)| until > now) && !birth.trigger.is_late() && !latch;
        let room = match birth.unasked && !self.breaks(Mutant::JitterInTheWay) {
            true => Room::Free,
            false => self.room_for(name, None),
        };
        match room {
            Room::Free | Room::Waits => {}
            Room::Replaces(runs) => {
                for no in runs {
                    self.stop_for(now, no, StopWhy::Planned, fx);
                }
            }
            Room::Full(live) => {
                return self.make_skipped(now, name, birth, SkipWhy::Overlap { live: Some(live.no) }, fx);
            }
            Room::LineFull(_, most) => {
                let skipped = self.make_skipped(now, name, birth, SkipWhy::LineFull { waiting: most }, fx)?;
                self.note(now, "run.skipped", Some(skipped.id()), line_is_full(most), fx);
                return Some(skipped);
            }
        }
        let no = self.make(now, name, birth, fx)?;
        self.live.get(&no).or_else(|| fx.changed.get(&no)).cloned()
    }

    /// `due`: for one that has waited for its jitter, and is neither in its own way nor kept by what is caught up later.
    pub(super) fn room_for(&self, name: &JobName, due: Option<RunNo>) -> Room {
        let Some(job) = self.job(name) else { return Room::Free };
        let counts = |run: &&Run| match due {
            Some(no) => run.no != no && !self.is_unasked(run) && waits_late(run).is_none(),
            None => !self.is_unasked(run) || self.breaks(Mutant::JitterInTheWay),
        };
        let live: Vec<&Run> = self.runs_of(name).filter(counts).collect();
        let Some(first) = live.first() else { return Room::Free };
        if live.len() < self.instances(name).max(1) as usize {
            return Room::Free;
        }
        match job.gates.overlap {
            Overlap::Allow => Room::Free,
            Overlap::Skip => Room::Full(first.id()),
            Overlap::Replace => Room::Replaces(live.iter().map(|run| run.no).collect()),
            Overlap::Queue(most) => {
                let waiting = live.iter().filter(|run| run.state.is_pending()).count();
                if waiting < most as usize { Room::Waits } else { Room::LineFull(first.id(), most) }
            }
        }
    }

    /// A restart of what is run: those that live give way to a new one.
    pub(super) fn run_instead(&mut self, now: Time, name: &JobName, by: String, fx: &mut Effects) -> Option<Run> {
        if !self.is_disabled(name) {
            let live: Vec<RunNo> = self.runs_of(name).map(|run| run.no).collect();
            for no in live {
                self.stop_for(now, no, StopWhy::Planned, fx);
            }
        }
        let trigger = Trigger::Manual { by };
        if self.is_disabled(name) {
            return self.make_skipped(now, name, Birth::first(trigger), SkipWhy::Disabled, fx);
        }
        let no = self.make(now, name, Birth::first(trigger), fx)?;
        self.live.get(&no).or_else(|| fx.changed.get(&no)).cloned()
    }

    /// Starts what it needs, and what that needs: a person who wants it wants them.
    pub(super) fn pull(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let Some(job) = self.job(name).cloned() else { return };
        for need in &job.life.needs {
            let is_service = self.job(&need.job).is_some_and(|job| job.life.is_service());
            let up = |post: &Post| post.standing.up && post.standing.rest.is_empty();
            if is_service && !self.jobs.get(&need.job).is_some_and(up) {
                self.pull(now, &need.job, fx);
                self.start(now, &need.job, &Birth::first(Trigger::Dependency), fx);
            }
        }
    }

    /// A schedule or a change wants it: services that it needs and that gave up, or had come to their end, are started
    /// again. What somebody has stopped stays so.
    pub(super) fn revive(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        if self.breaks(Mutant::PullStopped) {
            return self.pull(now, name, fx);
        }
        let Some(job) = self.job(name).cloned() else { return };
        for need in &job.life.needs {
            let is_service = self.job(&need.job).is_some_and(|job| job.life.is_service());
            let has_given_up =
                |post: &Post| post.standing.up && post.standing.rest.values().any(|rest| *rest != Rest::Stopped);
            if is_service && self.jobs.get(&need.job).is_some_and(has_given_up) {
                self.revive(now, &need.job, fx);
                self.alter(&need.job, fx, |standing| standing.rest.retain(|_, rest| *rest == Rest::Stopped));
                self.look_jobs.extend(self.with_all_dependents(&need.job));
                self.fill(now, &need.job, &Birth::first(Trigger::Dependency), fx);
            }
        }
    }
}

/// In words.
pub(super) fn line_is_full(most: u32) -> String {
    let runs = if most == 1 { "a run waits".into() } else { format!("{most} runs wait") };
    format!("{runs} already, and `overlap_max` lets no more wait")
}

const fn overlap(live: RunId) -> Refusal {
    Refusal::Overlap { live }
}
