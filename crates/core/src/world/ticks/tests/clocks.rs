//! Clocks that are set, boots, pauses and many jobs at once.

use super::*;

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
    assert_eq!((looks, most, machine.ticks.len()), (4, crate::world::ticks::TURN, 200));
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

/// The machine has another name, or its zone is another, when a server begins: nobody edited anything.
#[test]
fn the_same_words_elsewhere_go_on_after_an_absence() {
    let mut hourly = job("0 * * * *");
    hourly.time.catch_up = Some(CatchUp::Once);
    let mut late = Job { name: name("late"), ..hourly.clone() };
    (late.time.timezone, late.time.jitter) = (Some("UTC".into()), Millis::seconds(1000));
    let noon = Job { name: name("noon"), ..job("0 12 * * *") };
    let mut machine = Machine::at(DAY_0);
    for job in [&hourly, &late, &noon] {
        machine.put(job.clone());
    }
    machine.pass(DAY_0 + HOUR + 1800);
    assert_eq!(machine.told(), ["1:00 run", "1:00 run"]);
    let berlin = |of: Option<&str>| zone(of.or(Some("Europe/Berlin")));
    for ((name, _), timed) in &mut machine.times {
        let job = [&hourly, &late, &noon].into_iter().find(|job| job.name == *name).expect("one of them");
        let other = Timed::read(job, "other", berlin, |_| None).expect("good").expect("a schedule");
        assert_eq!(timed.sum == other.sum, name.as_str() == "late", "a jitter is part of the words by its length");
        *timed = Arc::new(other);
    }
    machine.now = Time((DAY_0 + 11 * HOUR + 1800) * NS);
    machine.events.clear();
    machine.restart();
    let hours = ["2:00 9 missed to 10:00", "11:00 caught up for 9"];
    let noon = ["11:00 caught up for 0"];
    assert_eq!(machine.told(), [&hours[..], &noon, &hours].concat(), "12:00 is 11:00 there");
    assert_eq!(machine.events.len(), 1, "{:?}", machine.events);
    machine.restart();
    assert_eq!(machine.told(), Vec::<String>::new());
    // An edit goes on to count from now.
    machine.now = Time((DAY_0 + 13 * HOUR + 1800) * NS);
    machine.put(Job { name: name("noon"), ..job("0 13 * * *") });
    assert!(machine.told().iter().all(|told| !told.starts_with("13:00 run")));
}

/// As whoever keeps the clocks says it.
fn step(machine: &mut Machine, by: i64) {
    machine.now = machine.now.plus(by * NS);
    machine.fact(Fact::Stepped { by: by * NS });
    machine.fact(Fact::Time);
}

/// What follows real time goes on when the clock is set back by less than three hours, as cron's jobs with a wildcard do.
#[test]
fn a_rhythm_goes_on_when_the_clock_is_set_back_a_little() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("@every 20m anchor=2026-11-21T00:00:00Z"));
    machine.put(Job { name: name("hourly"), ..job("0 * * * *") });
    machine.put(Job { name: name("daily"), ..job("0 2 * * *") });
    machine.put(Job {
        name: name("both"),
        time: crate::job::Timing { schedules: vec!["0 2 * * *".into(), "30 * * * *".into()], ..job("@every 1m").time },
        ..job("@every 1m")
    });
    machine.pass(DAY_0 + 2 * HOUR + 600);
    machine.told();
    machine.events.clear();
    step(&mut machine, -2 * HOUR);
    let words =
        "clock.set: the clock was set back by 2 h; 2 schedules go by what it shows now, and instants may come again";
    assert_eq!(machine.events, [words]);
    machine.pass(DAY_0 + HOUR);
    // Twenty minutes after the last, in each of them; times of day, and what has one among others, wait.
    let twenty = ["0:20 run", "0:40 run"];
    let mut told = machine.told();
    told.sort();
    assert_eq!(told, [&twenty[..], &["1:00 run", "1:00 run"]].concat());
    machine.restart();
    machine.pass(DAY_0 + 2 * HOUR + 3600);
    let told = machine.told();
    assert!(told.iter().filter(|told| *told == "2:00 run").count() == 2, "neither `daily` nor `both`: {told:?}");
    assert!(told.contains(&"2:30 run".to_string()), "{told:?}");
}

/// A clock that is corrected by a moment makes no two beats of one.
#[test]
fn a_rhythm_does_not_beat_twice_when_the_clock_is_corrected() {
    for back in [1, 59, 90, 1700] {
        let mut machine = Machine::at(DAY_0);
        machine.put(job("0 * * * *"));
        machine.pass(DAY_0 + HOUR + 30);
        machine.told();
        step(&mut machine, -back);
        machine.pass(DAY_0 + 2 * HOUR);
        assert_eq!(machine.told(), ["2:00 run"], "{back}");
    }
    // After more than half of its distance it is another beat.
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.pass(DAY_0 + HOUR + 2000);
    machine.told();
    step(&mut machine, -2100);
    machine.pass(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["1:00 run", "2:00 run"]);
}

/// A laptop that is never there in time shows by two days that its clock is right.
#[test]
fn a_clock_that_was_once_ahead_ends_no_catching_up() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 3 * * *"));
    machine.look(DAY_0 + 3650 * DAY);
    machine.look(DAY_0);
    machine.told();
    for (day, told) in [
        (1, "3:00 1 missed to 3:00"),
        (2, "27:00 1 missed to 27:00"),
        (3, "51:00 caught up for 0"),
        (4, "75:00 caught up for 0"),
    ] {
        machine.look(DAY_0 + (day - 1) * DAY + 6 * HOUR + 420);
        machine.restart();
        assert_eq!(machine.told(), [told]);
    }
}
