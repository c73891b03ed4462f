//! How a run of a defined job comes to be.

use super::{Mutant, World};
use crate::effect::Effects;
use crate::job::{Job, Millis, Overlap, Program};
use crate::run::{Health, Hold, Terms, Trigger};
use crate::{JobName, Outcome, Run, RunNo, RunState, SkipWhy, Time};
use alloc::string::String;
use alloc::vec::Vec;

/// What is particular about a new run.
#[derive(Clone, Debug)]
pub(super) struct Birth {
    pub(super) slot: u32,
    pub(super) attempt: u32,
    pub(super) follows: Option<RunNo>,
    pub(super) trigger: Trigger,
    pub(super) chain: Vec<JobName>,
    /// Not before: until when, and how long that is in all.
    pub(super) wait: Option<(Time, Millis)>,
    /// Whether there is room for it is asked when that wait is over.
    pub(super) unasked: bool,
}

impl Birth {
    pub(super) const fn first(trigger: Trigger) -> Birth {
        Birth { slot: 0, attempt: 1, follows: None, trigger, chain: Vec::new(), wait: None, unasked: false }
    }
}

impl World {
    /// A run that goes as far as it can at once. `None`: the job is not defined.
    pub(super) fn make(&mut self, now: Time, name: &JobName, birth: Birth, fx: &mut Effects) -> Option<RunNo> {
        let job = self.job(name)?.clone();
        let rev = self.jobs.get(name)?.standing.rev;
        // Its latch was released for the line of runs that it goes on with.
        let latch = job.gates.latch.clone().filter(|_| birth.follows.is_none() || self.breaks(Mutant::HoldAgain));
        let wait = birth.wait.filter(|(until, _)| *until > now);
        let unasked = birth.unasked;
        let mut run = self.bare(now, &job, rev, birth);
        run.state = match (latch, wait) {
            (Some(latch), _) => RunState::Held { on: Hold::Latch(latch) },
            (None, Some((until, wait))) => {
                if unasked {
                    run.terms.turn = 0;
                }
                RunState::Waiting { until, wait }
            }
            (None, None) => self.next_state(&run),
        };
        let no = run.no;
        let begins = matches!(run.state, RunState::Starting { .. });
        let needs = !self.missing(&run).is_empty();
        fx.promises = true;
        self.record(now, run, None, fx);
        if begins {
            self.begin(now, no, fx);
        }
        if needs {
            self.run_what_it_needs(now, &job, fx);
        }
        Some(no)
    }

    /// A run that never was, for the history.
    pub(super) fn make_skipped(
        &mut self,
        now: Time,
        name: &JobName,
        birth: Birth,
        why: SkipWhy,
        fx: &mut Effects,
    ) -> Option<Run> {
        let job = self.job(name)?.clone();
        let rev = self.jobs.get(name)?.standing.rev;
        let mut run = self.bare(now, &job, rev, birth);
        run.state = RunState::Ended { outcome: Outcome::Skipped(why) };
        run.ended_at = Some(now);
        fx.promises = true;
        self.record(now, run.clone(), None, fx);
        Some(run)
    }

    fn bare(&mut self, now: Time, job: &Job, rev: u64, birth: Birth) -> Run {
        Run {
            no: self.mint.next(now),
            job: job.name.clone(),
            slot: birth.slot,
            attempt: birth.attempt,
            follows: birth.follows,
            trigger: birth.trigger,
            state: RunState::Queued,
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
            group: None,
            group_max: 0,
            command: command(&job.program),
            directory: job.around.dir.clone().unwrap_or_default(),
            timeout_ms: job.life.timeout.map(|timeout| timeout.0),
            tags: job.tags.clone(),
            tty: job.around.tty,
            boot: self.boot.clone(),
            terms: terms(job, rev, birth.chain),
            health: Health::default(),
            notes: crate::run::Notes::default(),
        }
    }

    /// Its runs that have not begun are made of the definition in force from now on.
    pub(super) fn make_anew(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let Some(job) = self.job(name).cloned() else { return };
        let Some(rev) = self.jobs.get(name).map(|post| post.standing.rev) else { return };
        // Some of them begin now, so those that must not are told before.
        if self.is_disabled(name) {
            self.skip_pending(now, name, fx);
        }
        if job.life.is_service() {
            self.give_up_spare(now, name, fx);
        }
        let pending: Vec<RunNo> = self.runs_of(name).filter(|run| run.state.is_pending()).map(|run| run.no).collect();
        for no in pending {
            if let Some(run) = self.live.get(&no) {
                // The gates that it waited for, and those that it will wait for.
                self.look_gates.extend(super::places::gates(run));
            }
            let unasked = self.live.get(&no).is_some_and(super::overtake::may_be_unasked);
            self.change(now, no, fx, |run| {
                run.terms = terms(&job, rev, core::mem::take(&mut run.terms.chain));
                if unasked {
                    run.terms.turn = 0;
                }
                run.command = command(&job.program);
                run.directory = job.around.dir.clone().unwrap_or_default();
                run.timeout_ms = job.life.timeout.map(|timeout| timeout.0);
                run.tags.clone_from(&job.tags);
                run.tty = job.around.tty;
            });
            if let Some(run) = self.live.get(&no).filter(|run| run.state == RunState::Queued) {
                let gates = super::places::gates(run);
                if gates.is_empty() {
                    self.let_go(now, no, fx);
                } else {
                    self.look_gates.extend(gates);
                }
            }
        }
    }
}

fn terms(job: &Job, rev: u64, chain: Vec<JobName>) -> Terms {
    let waits_for_its_turn = !job.life.is_service() && job.gates.overlap != Overlap::Allow;
    Terms {
        rev,
        priority: job.gates.priority,
        queue: job.gates.queue.clone(),
        need: job.gates.need.clone(),
        mutex: job.gates.mutex.clone(),
        turn: if waits_for_its_turn { job.life.instances.max(1) } else { 0 },
        chain,
    }
}

/// For people.
fn command(program: &Program) -> Vec<String> {
    match program {
        Program::Shell(line) => Vec::from(["sh".into(), "-c".into(), line.clone()]),
        Program::Exec(words) => words.clone(),
    }
}
