//! A run that is no job's: of `exec`, or a process that lived already.

use super::World;
use crate::effect::Effects;
use crate::run::{Health, Hold, Terms, Trigger};
use crate::wish::{Granted, NewRun};
use crate::{LostWhy, Outcome, Refusal, Run, RunNo, RunState, Time};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;

impl World {
    pub(super) fn submit(&mut self, now: Time, no: RunNo, new: NewRun, fx: &mut Effects) -> Result<Granted, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        if self.live.contains_key(&no) {
            return Err(Refusal::Malformed { what: alloc::format!("the run number {no} is taken") });
        }
        if new.no_overlap
            && let Some(live) =
                self.places.jobs.get(&new.job).and_then(BTreeSet::first).and_then(|no| self.live.get(no))
        {
            return Err(Refusal::Overlap { live: live.id() });
        }
        if let Some(serial) = &new.serial
            && serial.max == 0
        {
            return Err(Refusal::NoPlaces { group: serial.group.clone() });
        }
        let state = match (&new.latch, &new.serial) {
            (Some(latch), _) => RunState::Held { on: Hold::Latch(latch.clone()) },
            (None, Some(_)) => RunState::Queued,
            (None, None) => RunState::Starting { generation: None },
        };
        let run = self.fresh(now, no, new, state.clone());
        fx.promises = true;
        self.record(now, run, None, fx);
        if matches!(state, RunState::Starting { .. }) {
            self.give(now, no, fx);
        }
        self.granted(no)
    }
    pub(super) fn adopt(
        &mut self,
        now: Time,
        no: RunNo,
        new: NewRun,
        (pid, started_at): (u32, Time),
        fx: &mut Effects,
    ) -> Result<Granted, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        if self.live.contains_key(&no) {
            return Err(Refusal::Malformed { what: alloc::format!("the run number {no} is taken") });
        }
        // The verbs of a job would not see it: kin did not start it by that definition.
        if self.job(&new.job).is_some() {
            return Err(Refusal::IsDefined { job: new.job });
        }
        let same = |run: &&Run| run.pid == Some(pid) && run.boot == self.boot && run.state.is_going();
        if let Some(run) = self.live.values().find(same) {
            return Err(Refusal::IsRun { pid, run: run.id() });
        }
        let state = RunState::Running { unowned: true, interrupted: false };
        let started_at = Some(started_at.min(now));
        let run = Run { pid: Some(pid), started_at, ..self.fresh(now, no, new, state) };
        fx.promises = true;
        self.record(now, run, None, fx);
        self.granted(no)
    }

    /// How it will end is nobody's to know any more, and so the run is lost, with that reason.
    pub(super) fn disown(&mut self, now: Time, no: RunNo, fx: &mut Effects) -> Result<Granted, Refusal> {
        let run = self.live.get(&no).ok_or(Refusal::Unknown { run: no })?;
        if !matches!(run.trigger, Trigger::Adopt { .. }) {
            return Err(Refusal::NotAdopted { run: run.id() });
        }
        let run = run.clone();
        fx.promises = true;
        Ok(Granted::Run(Box::new(self.end(now, run, Outcome::Lost(LostWhy::Disowned), None, fx))))
    }

    fn fresh(&self, now: Time, no: RunNo, new: NewRun, state: RunState) -> Run {
        let (group, group_max) = new.serial.map_or((None, 0), |serial| (Some(serial.group), serial.max));
        Run {
            no,
            job: new.job,
            slot: 0,
            attempt: 1,
            follows: None,
            trigger: new.trigger,
            state,
            exit: None,
            pid: None,
            created_at: now,
            started_at: None,
            ended_at: None,
            out_bytes: 0,
            err_bytes: 0,
            out_dropped: 0,
            err_dropped: 0,
            max_rss_bytes: None,
            cpu_ms: None,
            left_behind: 0,
            group,
            group_max,
            command: new.command,
            directory: new.directory,
            timeout_ms: new.timeout_ms,
            tags: new.tags,
            tty: new.tty,
            boot: self.boot.clone(),
            terms: Terms::default(),
            notes: crate::run::Notes::default(),
            health: Health::default(),
        }
    }
}
