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
