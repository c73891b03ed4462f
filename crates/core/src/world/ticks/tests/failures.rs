//! What happened to users of other schedulers, by its number in docs/schedules.md, and must not happen here.

use super::*;

/// Kubernetes gives up a job for ever after 100 missed times.
#[test]
fn failure_1_a_job_that_missed_a_year_of_minutes_goes_on() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("* * * * *"));
    machine.load();
    machine.look(DAY_0 + 365 * DAY + 30);
    let missed = format!("0:01 {COUNTED} missed to 8759:59");
    assert_eq!(machine.told(), [missed, "8760:00 run".to_string()]);
    let told = "nobody was there when a job was due, from 2026-11-21 00:01:00 UTC on: 0 caught up, 1000 or more missed";
    assert_eq!(machine.events, [format!("ticks.late: {told}")]);
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
fn a_jitter_longer_than_the_distance_of_ticks_neither_silences_a_job_nor_runs_two_at_once() {
    for mode in [JitterMode::Stable, JitterMode::Random] {
        for overlap in [Overlap::Skip, Overlap::Queue(2), Overlap::Replace] {
            let mut machine = Machine::at(DAY_0);
            machine.busy = true;
            let mut often = job("@every 2s");
            often.time.jitter = Millis::seconds(30);
            often.time.jitter_mode = mode;
            often.gates.overlap = overlap;
            machine.put(often);
            let mut most_waiting = 0;
            for second in 1..=200 {
                machine.pass(DAY_0 + second);
                let going: Vec<RunNo> =
                    machine.world.live().filter(|run| run.state.is_going()).map(|run| run.no).collect();
                assert!(going.len() <= 1, "{going:?} at once, {overlap:?}");
                let waits = |run: &&Run| matches!(run.state, RunState::Waiting { .. });
                most_waiting = most_waiting.max(machine.world.live().filter(waits).count());
                if second % 5 == 0 {
                    going.into_iter().for_each(|run| machine.end(run));
                }
            }
            assert!(most_waiting > 1, "the jitter is long");
            let ran = machine.runs.values().filter(|run| run.started_at.is_some()).count();
            assert!(ran > 25, "only {ran} in 200 s, {overlap:?} {mode:?}");
            assert!(machine.world.len() < 40, "they pile up: {}", machine.world.len());
        }
    }
}
