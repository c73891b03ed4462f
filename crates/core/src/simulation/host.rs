//! The machine: a ledger, a keeper with its processes, clocks, and a daemon around the world.

mod daemon;

use super::almanac::{Cal, Words};
use super::dice::Dice;
use super::judge::Judge;
use super::ticking::Commit;
use super::times::Atlas;
use super::{Mutant, Told, jobs};
use crate::effect::{Act, Effects};
use crate::fact::{Fact, Settled, StartRefusal};
use crate::job::{Job, Queue};
use crate::seen::{Close, How, Phase, Seen};
use crate::wish::{Granted, JobPlan, Plan, QueuePlan, Wish};
use crate::world::Definition;
use crate::{Decided, Exit, JobName, Mint, Refusal, Run, RunNo, RunState, SpawnStep, Standing, Time, Timed, World};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;
use std::{format, println, vec};

pub(super) const SECOND: i64 = 1_000_000_000;
const KEEPER: u64 = 7;
/// So long the daemon waits for a spec.
const PATIENCE: i64 = 30 * SECOND;
/// No wall clock shows less than this, or more than that.
const WALL: std::ops::Range<i64> = 1_770_000_000 * SECOND..2_050_000_000 * SECOND;

/// What is on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) runs: BTreeMap<RunNo, Run>,
    pub(super) standings: BTreeMap<JobName, Standing>,
    pub(super) definitions: Arc<BTreeMap<(JobName, u64), Arc<Job>>>,
    pub(super) queues: BTreeMap<String, Queue>,
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) started: Time,
    pub(super) code: u8,
    /// When it was over, by both clocks.
    pub(super) ended: Option<(Time, i64)>,
    /// Until when others hold its pipes, by the time that really passes.
    pub(super) drains: i64,
    pub(super) stopped: bool,
    pub(super) answers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    Client,
    Fault,
    /// The daemon hears of a slot.
    Tell(RunNo),
    Exits(RunNo),
    Answers(RunNo),
    Sickens(RunNo),
    /// Its spec is made; or the daemon waits for it no longer.
    Made {
        run: RunNo,
        in_time: bool,
    },
    /// The daemon is there again.
    Back,
}

/// What is being recorded.
#[derive(Clone, Copy)]
enum Cause<'a> {
    /// `looked`: it was asked what is due; `only`: and nothing else.
    Facts {
        looked: bool,
        only: bool,
        /// The clock was set by so much.
        stepped: Option<i64>,
    },
    Wish(&'a Wish),
}

pub(super) struct Host {
    pub(super) dice: Dice,
    pub(super) talk: bool,
    pub(super) told: Told,
    /// Time that really passes, and by how much the wall clock is ahead of it.
    pub(super) passed: i64,
    ahead: i64,
    agenda: BTreeMap<(i64, u64), Happens>,
    seq: u64,
    pub(super) ledger: Ledger,
    pub(super) table: BTreeMap<RunNo, Process>,
    specs: BTreeSet<RunNo>,
    /// What the daemon is making. It dies with it.
    making: BTreeSet<RunNo>,
    boot: u32,
    pub(super) world: World,
    mutant: Option<Mutant>,
    minted: u64,
    calm: bool,
    pub(super) rev: u64,
    pub(super) count: u64,
    pub(super) judge: Judge,
    /// Everything takes longer by that factor.
    pub(super) pace: u64,
    steps_left: u64,
    /// The clock was set by so much, and that is not recorded yet: it is said before everything else until it is.
    unsaid: i64,
    pub(super) atlas: Atlas,
    /// The calendars by which instants are judged, until others are recorded.
    pub(super) calendars: Arc<Vec<Cal>>,
    /// Of each revision that has a schedule.
    times: BTreeMap<(JobName, u64), Arc<Timed>>,
    words: BTreeMap<(JobName, u64), Rc<Words>>,
    /// What is known of the ends of an earlier boot.
    left: Vec<Fact>,
    /// No daemon is there.
    away: bool,
    away_since: i64,
}

impl Host {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>, talk: bool) -> Host {
        let mut dice = Dice::new(seed);
        let count = dice.between(2, 8);
        let pace = [1, 10, 100][dice.below(3) as usize];
        let steps_left = dice.between(50, 500);
        let atlas = Atlas::new(&mut dice, pace);
        Host {
            dice,
            talk,
            told: Told::default(),
            passed: 0,
            ahead: atlas.begin * SECOND + 500_000_000,
            agenda: BTreeMap::new(),
            seq: 0,
            ledger: Ledger::default(),
            table: BTreeMap::new(),
            specs: BTreeSet::new(),
            making: BTreeSet::new(),
            boot: 1,
            world: World::default(),
            mutant,
            minted: 0,
            calm: false,
            rev: 0,
            count,
            judge: Judge::default(),
            pace,
            steps_left,
            unsaid: 0,
            calendars: atlas.calendars.clone(),
            atlas,
            times: BTreeMap::new(),
            words: BTreeMap::new(),
            left: Vec::new(),
            away: false,
            away_since: 0,
        }
    }

    pub(super) const fn now(&self) -> Time {
        Time(self.passed + self.ahead)
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.talk {
            println!("{:>14.3} {}", self.passed as f64 / 1e9, what());
        }
    }

    fn later(&mut self, after: i64, what: Happens) {
        self.seq += 1;
        self.agenda.insert((self.passed + after.max(0), self.seq), what);
    }

    fn soon(&mut self, longest_ms: u64) -> i64 {
        (self.dice.below(longest_ms * self.pace + 1) as i64) * 1_000_000
    }

    // ---- the life ----

    pub(super) fn live_on(&mut self) -> Result<(), String> {
        self.daemon_starts()?;
        let mut plan = Plan::default();
        for n in 0..self.count {
            let job = self.any_job(n);
            self.rev += 1;
            plan.jobs.push(JobPlan::Put { job: Arc::new(job), rev: self.rev });
        }
        let slots = BTreeMap::from([("slots".to_string(), 3), ("gpu".to_string(), 2)]);
        plan.queues.push(QueuePlan::Put(Queue { name: "q".into(), slots, paused: false }));
        self.wants(Wish::Plan(plan))?;
        self.later(0, Happens::Client);
        self.later(SECOND, Happens::Fault);
        while self.steps_left > 0 {
            // Ticks alone make no story.
            let tells = self.agenda.len() < 3 || self.dice.one_in(3);
            self.steps_left -= u64::from(tells);
            self.step()?;
        }
        while self.away {
            self.step()?;
        }
        Ok(())
    }

    /// Job `n`, with a schedule mostly.
    pub(super) fn any_job(&mut self, n: u64) -> Job {
        let mut job = jobs::any_job(&mut self.dice, n, self.count);
        if !self.dice.one_in(3) {
            job.time = self.atlas.some_timing(&mut self.dice);
        }
        job
    }

    /// Nobody wants anything and nothing breaks any more: what was promised must come to be.
    pub(super) fn calm_down(&mut self) -> Result<(), String> {
        self.say(|| "calm".into());
        self.calm = true;
        self.agenda.retain(|_, what| !matches!(what, Happens::Client | Happens::Fault));
        let all: Vec<JobName> = self.ledger.standings.keys().cloned().collect();
        for job in all.iter().cloned() {
            self.wants(Wish::Enable { job, by: "calm".into() })?;
        }
        for latch in ["l0", "l1"] {
            self.wants(Wish::Release { latch: latch.into() })?;
        }
        self.wants(Wish::Queue { name: "q".into(), how: crate::wish::QueueWish::Resume })?;
        // All retries, all queues; services come and go meanwhile.
        let until = self.passed + self.pace as i64 * 5 * 3600 * SECOND;
        for _ in 0..200 {
            if self.passed < until {
                self.step()?;
            }
        }
        self.no_more_ticks()?;
        for job in all {
            self.wants(Wish::Down { job })?;
        }
        let mut patience = 5_000;
        while !self.ledger.runs.is_empty() {
            for latch in ["l0", "l1"] {
                self.wants(Wish::Release { latch: latch.into() })?;
            }
            // Joins of joins may go round for ever, as they were written; and what needs a service that is down waits.
            let waits: Vec<RunNo> = self.world.live().map(|run| run.no).collect();
            let quiet = self.agenda.is_empty() && self.world.due().is_none();
            if patience < 4_000 || quiet {
                for run in waits {
                    self.stop(run)?;
                }
            }
            patience -= 1;
            if patience == 0 {
                let left: Vec<&Run> = self.ledger.runs.values().collect();
                return Err(format!("after everything was stopped there still are {left:#?}"));
            }
            self.step()?;
        }
        self.step_rest()?;
        if !self.table.is_empty() || !self.specs.is_empty() {
            return Err(format!("left behind: slots {:?}, specs {:?}", self.table.keys(), self.specs));
        }
        Ok(())
    }

    fn no_more_ticks(&mut self) -> Result<(), String> {
        let mut plan = Plan::default();
        for job in self.ledger.standings.keys() {
            let Some(known) = self.world.defined(job) else { continue };
            let mut job = (*known.job).clone();
            job.time = crate::job::Timing::default();
            self.rev += 1;
            plan.jobs.push(JobPlan::Put { job: Arc::new(job), rev: self.rev });
        }
        match self.wish(Wish::Plan(plan))? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(format!("schedules cannot be taken away: {refusal}")),
        }
    }

    fn step_rest(&mut self) -> Result<(), String> {
        while !self.agenda.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    /// What comes next, comes.
    fn step(&mut self) -> Result<(), String> {
        let due = self.world.due().filter(|_| !self.away).map(|at| (at.0 - self.ahead).max(self.passed));
        let next = self.agenda.first_key_value().map(|(at, what)| (*at, *what));
        match (due, next) {
            (Some(due), next) if next.is_none_or(|((at, _), _)| due <= at) => {
                self.pass(due);
                if !self.calm && self.dice.one_in(20) {
                    let late = self.some_moment();
                    self.sleep(late);
                }
                let deaths = self.told.deaths;
                self.facts(vec![Fact::Time])?;
                let again = self.world.due().filter(|again| *again <= self.now() && deaths == self.told.deaths);
                if let Some(again) = again.filter(|_| !self.judge.ticks.is_left()) {
                    return Err(format!("the alarm that rang at {:?} is set to {again:?} again", self.now()));
                }
            }
            (_, Some((at, what))) => {
                self.agenda.remove(&at);
                self.pass(at.0.max(self.passed));
                self.happens(what)?;
            }
            (_, None) => {}
        }
        if self.away {
            return Ok(());
        }
        self.alarm_is_right()?;
        if let Some(run) = self.ledger.runs.values().find(|run| run.is_being_made() && !self.making.contains(&run.no)) {
            return Err(format!("{} is to be made, and nobody makes it", run.id()));
        }
        self.judge.nothing_due_is_forgotten(&self.ledger, self.now(), self.passed)
    }

    /// It is set to what is due next, no later and no earlier.
    fn alarm_is_right(&self) -> Result<(), String> {
        let next = |run: &Run| {
            if let RunState::Waiting { until, .. } = run.state {
                return Some(until);
            }
            let unready = matches!(run.state, RunState::Running { .. }) && run.health.ready_at.is_none();
            run.health.ready_by.filter(|_| unready)
        };
        let tick = self.judge.ticks.alarm().map(|at| Time(at * SECOND));
        let right = self.ledger.runs.values().filter_map(next).chain(tick).min();
        // It asks to be asked at once when a job went back to a revision that has another schedule.
        if self.world.due() == right || self.world.due() == Some(Time(0)) {
            return Ok(());
        }
        let due = self.world.due();
        let busy = due.is_some_and(|due| right.is_none_or(|right| due < right));
        let why = if busy { "is busy: it rings" } else { "sleeps over what is due: it rings" };
        Err(format!("the alarm {why} at {due:?}; due is {right:?}, a tick {tick:?}"))
    }

    /// A little late, about as late as a tick may be, or later.
    fn some_moment(&mut self) -> i64 {
        match self.dice.below(4) {
            0 => self.dice.below(5_000) as i64 * 1_000_000,
            1 => self.dice.between(57, 64) as i64 * SECOND,
            2 => self.dice.below(300) as i64 * SECOND,
            _ => self.dice.below(7_200 * self.pace) as i64 * SECOND,
        }
    }

    /// The machine stands still, and its wall clock goes on.
    fn sleep(&mut self, by: i64) {
        self.say(|| format!("the machine sleeps for {} s", by / SECOND));
        let agenda = std::mem::take(&mut self.agenda);
        self.agenda = agenda.into_iter().map(|((at, seq), what)| ((at + by, seq), what)).collect();
        self.pass(self.passed + by);
        self.judge.slept(self.passed, by);
    }

    fn pass(&mut self, until: i64) {
        self.told.passed += until - self.passed;
        self.passed = until;
    }

    fn happens(&mut self, what: Happens) -> Result<(), String> {
        match what {
            Happens::Back => {
                self.say(|| "the daemon is there again".into());
                self.away = false;
                if self.dice.one_in(3) {
                    self.elsewhere();
                }
                self.judge.slept(self.passed, self.passed - self.away_since);
                self.daemon_starts()?;
            }
            Happens::Tell(_) | Happens::Sickens(_) | Happens::Made { .. } if self.away => {}
            Happens::Client if self.away => self.later(SECOND, Happens::Client),
            Happens::Fault if self.away => self.later(SECOND, Happens::Fault),
            Happens::Answers(run) if self.away => {
                if let Some(process) = self.table.get_mut(&run).filter(|process| process.ended.is_none()) {
                    process.answers = true;
                }
            }
            Happens::Client => {
                // Mostly all that was due is done by then; but what is wanted may come first.
                if self.dice.one_in(12) {
                    let late = self.some_moment();
                    self.sleep(late);
                    self.client()?;
                    self.facts(vec![Fact::Time])?;
                } else {
                    self.client()?;
                }
                let next = if self.dice.one_in(3) { self.soon(2_000) } else { self.soon(300_000) };
                self.later(next, Happens::Client);
            }
            Happens::Fault => {
                self.fault()?;
                let next = self.soon(600_000);
                self.later(next, Happens::Fault);
            }
            Happens::Tell(run) => {
                let passed = self.passed;
                if let Some(fact) = self.table.get(&run).map(|process| Fact::Slot { run, seen: seen(process, passed) })
                {
                    self.facts(vec![fact])?;
                }
            }
            Happens::Exits(run) => {
                let now = (self.now(), self.passed);
                // Whom a stop ends, it ends with all that it left.
                let alone = self.table.get(&run).is_some_and(|process| process.stopped) || !self.dice.one_in(4);
                let drains = if alone { 0 } else { self.soon(5_000) };
                if let Some(process) = self.table.get_mut(&run).filter(|process| process.ended.is_none()) {
                    process.ended = Some(now);
                    process.drains = self.passed + drains;
                    if drains > 0 {
                        self.later(drains, Happens::Tell(run));
                    }
                    self.judge.process_ended(run, self.passed);
                    let after = self.soon(100);
                    self.later(after.min(SECOND), Happens::Tell(run));
                }
            }
            Happens::Answers(run) => {
                if let Some(process) = self.table.get_mut(&run).filter(|process| process.ended.is_none()) {
                    process.answers = true;
                    self.facts(vec![Fact::Ready { run }])?;
                }
            }
            // Also of one that was stopped meanwhile: the rules are to take no notice of it.
            Happens::Made { run, in_time } if self.making.remove(&run) => {
                if in_time && self.world.get(run).is_some_and(Run::is_being_made) {
                    self.specs.insert(run);
                }
                self.facts(vec![if in_time { daemon::made(run) } else { daemon::unmakeable(run) }])?;
            }
            // Of a daemon before this one.
            Happens::Made { .. } => {}
            Happens::Sickens(run) => {
                if self.world.watched().any(|watched| watched.run.no == run && watched.alive) {
                    self.facts(vec![Fact::Sick { run, why: "no answer".into() }])?;
                }
            }
        }
        Ok(())
    }

    fn fault(&mut self) -> Result<(), String> {
        match self.dice.below(10) {
            0..=3 => self.daemon_dies(),
            4 | 5 => self.clock_is_set(),
            6 if self.dice.one_in(3) => self.reboot(),
            7 => {
                let by = self.some_moment();
                self.sleep(by);
                self.facts(vec![Fact::Time])
            }
            8 => {
                self.say(|| "the daemon is killed, and is gone for a while".into());
                self.told.deaths += 1;
                self.away = true;
                self.away_since = self.passed;
                let back = self.some_moment();
                self.later(back, Happens::Back);
                Ok(())
            }
            _ => {
                // A clock that is set while no daemon lives is seen by nobody.
                let by = self.some_step();
                self.ahead += by;
                self.judge.clock_unseen(&self.ledger);
                self.say(|| format!("the clock is set by {} s unseen", by / SECOND));
                self.daemon_dies()
            }
        }
    }

    fn some_step(&mut self) -> i64 {
        let by = match self.dice.below(12) {
            0 => self.dice.between(20, 28) as i64 * 3600 * SECOND,
            1 => self.dice.between(1, 31) as i64 * 86_400 * SECOND,
            2 => self.dice.between(50, 70) as i64 * SECOND,
            _ => (self.dice.between(1, 7200) as i64) * SECOND,
        };
        let by = if self.dice.one_in(2) { by } else { -by };
        if WALL.contains(&(self.now().0 + by)) { by } else { -by }
    }

    fn clock_is_set(&mut self) -> Result<(), String> {
        // What ended before is heard of before.
        let ended: Vec<RunNo> =
            self.table.iter().filter(|(_, process)| process.ended.is_some()).map(|(no, _)| *no).collect();
        for run in ended {
            if let Some(process) = self.table.get_mut(&run) {
                process.drains = process.drains.min(self.passed);
            }
            self.happens(Happens::Tell(run))?;
        }
        let by = self.some_step();
        self.ahead += by;
        self.say(|| format!("the clock is set by {} s", by / SECOND));
        self.unsaid = by;
        self.facts(vec![Fact::Stepped { by }])
    }

    fn reboot(&mut self) -> Result<(), String> {
        self.say(|| "the machine is restarted".into());
        self.boot += 1;
        if self.dice.one_in(2) {
            let off = self.some_moment();
            self.sleep(off);
        }
        self.judge.rebooted(&self.ledger);
        // Tables that were left, and end records, tell of some that ended before.
        let passed = self.passed;
        let ended = self.table.iter().filter(|(_, process)| process.ended.is_some());
        let ended: Vec<(RunNo, Process)> = ended.map(|(no, process)| (*no, process.clone())).collect();
        for (run, process) in ended {
            if self.dice.one_in(2) {
                self.left.push(Fact::Slot { run, seen: seen(&Process { drains: passed, ..process }, passed) });
            }
        }
        self.table.clear();
        self.specs.clear();
        self.agenda.retain(|_, what| matches!(what, Happens::Client | Happens::Fault));
        self.daemon_starts()
    }
}

/// What its slot says of a process.
fn seen(process: &Process, passed: i64) -> Seen {
    let exit = match process.stopped {
        true => Exit::Signal { signal: 15, core: false },
        false => Exit::Code(process.code),
    };
    let phase = match process.ended {
        None => Phase::Running,
        Some((at, _)) => {
            let close = Close { how: How::Exit(exit), at, timed_out: false, oom: false };
            if passed < process.drains { Phase::Exited(close) } else { Phase::Drained(close) }
        }
    };
    Seen { pid: Some(42), started_at: Some(process.started), ..Seen::bare(phase) }
}

/// Whether a run was decided to start, or more.
pub(super) const fn is_going(run: &Run) -> bool {
    matches!(
        run.state,
        RunState::Starting { .. } | RunState::Running { .. } | RunState::Stopping { .. } | RunState::Draining { .. }
    )
}
