//! What came while nobody was there, and what waits to be run for it.

use super::*;

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

/// Found by seed 130955632 of the simulation: what a replacement cancelled was for nobody.
#[test]
fn a_tick_that_replaces_is_run_for_what_waited_to_be_caught_up() {
    let mut machine = Machine::at(DAY_0);
    let mut hourly = job("0 * * * *");
    hourly.time.catch_up = Some(CatchUp::All);
    hourly.time.catch_up_delay = Millis::seconds(7200);
    machine.put(hourly.clone());
    machine.look(DAY_0 + HOUR + 1800);
    machine.look(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["1:00 caught up for 0", "2:00 run"]);
    hourly.time.catch_up = Some(CatchUp::Once);
    hourly.gates.overlap = Overlap::Replace;
    machine.put(hourly);
    machine.look(DAY_0 + 3 * HOUR);
    assert_eq!(machine.told(), ["3:00 caught up for 1"]);
}

/// Closed days are no runs, and take nobody's place among those that are caught up.
#[test]
fn closed_days_leave_the_places_of_what_is_caught_up_to_others() {
    let told = |text: &str| {
        let mut machine = Machine::at(DAY_0 + DAY + 12 * HOUR);
        machine.calendars.push(Calendar { weekdays: 0b011_1110, ..Calendar::open("work") });
        let mut job = job(text);
        job.time.catch_up = Some(CatchUp::All);
        (job.time.catch_up_max, job.time.catch_up_window) = (2, Millis::seconds(7 * 86_400));
        job.time.calendars = vec!["work".into()];
        machine.put(job);
        machine.look(DAY_0 + 8 * DAY + 11 * HOUR + 1800);
        machine.told()
    };
    let nightly = told("0 3 * * *");
    let open = ["123:00 caught up for 0", "147:00 caught up for 0"];
    assert_eq!(nightly, [&["51:00 3 missed to 99:00"], &open[..], &["171:00 work", "195:00 work"]].concat());
    // Of many closed ones the last are told one by one.
    let hourly = told("0 * * * *");
    let open = ["166:00 caught up for 0", "167:00 caught up for 0"];
    let rest = ["168:00 34 missed to 201:00", "202:00 work", "203:00 work"];
    assert_eq!(hourly[1..], [&open[..], &rest].concat());
}
