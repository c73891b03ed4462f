//! Random lives of a machine: clocks that jump, deaths at any moment, other words.

use super::{
    COUNTED, Calendar, CatchUp, DAY, DAY_0, Decided, Decision, HOUR, Job, Machine, Millis, Timed, job, name, timed,
};
use crate::effect::Effects;
use crate::fact::Fact;
use crate::wish::Wish;
use crate::world::ticks::NS;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::vec;

#[derive(Clone, Debug)]
enum Happens {
    Passes(i64),
    /// The clock jumps, or nobody was there.
    Set(i64),
    Dies,
    /// Before what it had decided was recorded.
    DiesUnrecorded,
    Reboots,
    Edits(usize, usize, bool),
    Busy(bool),
    Enabled(bool),
}

/// The night before clocks go back in New York.
const BEGIN: i64 = DAY_0 - 20 * DAY - 12 * HOUR;

const TEXTS: [&str; 8] = [
    "*/7 * * * *",
    "0 * * * *",
    "30 2 * * *",
    "0 0 * * SUN",
    "@every 1000s",
    "15,45 1-3 * * *",
    "*/20 * * * * *",
    "30 2 1 * *",
];

fn happens(far: i64) -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..2 * HOUR).prop_map(Happens::Passes),
        3 => (-far..far).prop_map(Happens::Set),
        1 => (0..20 * DAY).prop_map(Happens::Set),
        2 => Just(Happens::Dies),
        2 => Just(Happens::DiesUnrecorded),
        1 => Just(Happens::Reboots),
        2 => (0..TEXTS.len(), 0..4usize, any::<bool>()).prop_map(|(text, policy, calendar)| Happens::Edits(text, policy, calendar)),
        1 => any::<bool>().prop_map(Happens::Busy),
        1 => any::<bool>().prop_map(Happens::Enabled),
    ]
}

fn edited(text: usize, policy: usize, calendar: bool) -> Job {
    let mut job = job(TEXTS[text]);
    job.time.timezone = Some("America/New_York".to_string());
    job.time.catch_up = [None, Some(CatchUp::None), Some(CatchUp::Once), Some(CatchUp::All)][policy];
    job.time.catch_up_max = 4;
    job.time.catch_up_delay = Millis::seconds(30);
    job.time.jitter = Millis::seconds(if policy == 2 { 100 } else { 0 });
    if calendar {
        job.time.calendars = vec!["work".to_string()];
    }
    job
}

/// Each instant that was said to be decided: by a decision of its own, or in a stretch that was missed.
fn covered(decided: &Decided, timed: &Timed) -> Vec<i64> {
    let Decision::Missed { count, until } = decided.decision else { return vec![decided.tick.at] };
    let from = timed.next_after(decided.tick.at - 1);
    let all: Vec<i64> =
        core::iter::successors(from, |at| timed.next_after(*at)).take_while(|at| *at <= until).collect();
    assert_eq!(all.first().copied(), Some(decided.tick.at), "a stretch begins with an instant");
    assert_eq!(all.last().copied(), Some(until), "and ends with one");
    assert_eq!(count, (all.len() as u64).min(COUNTED));
    all
}

/// A life around the change of the clocks in New York. `see` is told, after each thing that happens, by which timing it
/// went until then, by which it goes from now on, and what was decided.
fn live(lives: Vec<Happens>, mut see: impl FnMut(i64, &Timed, &Timed, Vec<Decided>)) {
    let mut machine = Machine::at(BEGIN);
    machine.calendars.push(Calendar { weekdays: 0b011_1110, ..Calendar::open("work") });
    let mut current = edited(0, 0, false);
    machine.put(current.clone());
    let mut schedule = timed(&current, &machine.calendars).expect("a schedule");
    for happens in lives {
        match happens {
            Happens::Passes(seconds) => {
                let until = machine.now.0 / NS + seconds;
                machine.pass(until);
                machine.look(until);
            }
            Happens::Set(by) => machine.look((machine.now.0 / NS + by).max(1)),
            Happens::Dies => machine.restart(),
            Happens::DiesUnrecorded => {
                machine.now = machine.now.plus(HOUR * NS);
                let mut fx = Effects::default();
                machine.world.fact(machine.now, Fact::Time, &mut fx);
                machine.restart();
            }
            Happens::Reboots => machine.reboot(),
            Happens::Edits(text, policy, calendar) => {
                // Time has passed since it was looked at last.
                machine.now = machine.now.plus(1800 * NS);
                current = edited(text, policy, calendar);
                machine.put(current.clone());
            }
            Happens::Busy(busy) => machine.busy = busy,
            Happens::Enabled(true) => machine.wish(Wish::Enable { job: name("backup"), by: "uid:0".into() }),
            Happens::Enabled(false) => machine.wish(Wish::Disable { job: name("backup") }),
        }
        let new = timed(&current, &machine.calendars).expect("a schedule");
        see(machine.now.0 / NS, &schedule, &new, core::mem::take(&mut machine.decided));
        schedule = new;
        assert!(machine.world.next_tick().is_none_or(|due| due > machine.now), "nothing due is left");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Clocks that jump, deaths at any moment, other words: each instant is decided once, by itself or in one stretch.
    #[test]
    fn every_instant_is_decided_exactly_once(lives in proptest::collection::vec(happens(50 * 60), 0..40)) {
        // Clocks go back for less than three hours in all.
        let mut back = 0;
        let mut near = Vec::new();
        for happens in lives {
            if let Happens::Set(by) = happens {
                back = (back - by).max(0);
                if back > 10_000 { break; }
            }
            near.push(happens);
        }
        let (mut known, mut looked, mut expected, mut said) = (BEGIN, BEGIN, Vec::new(), Vec::new());
        live(near, |now, before, after, decided| {
            // Up to now it went by the old words.
            let due = core::iter::successors(before.next_after(known), |at| before.next_after(*at));
            expected.extend(due.take_while(|at| *at <= now));
            known = known.max(now);
            for decided in decided {
                looked = looked.max(decided.decided_at.0 / NS);
                said.extend(covered(&decided, before));
            }
            // Other words count from now; where the clock was set back, from when it was reckoned with last.
            if before.sum != after.sum {
                looked = now.max(looked);
                known = looked;
            }
        });
        let in_order = said.clone();
        expected.sort_unstable();
        said.sort_unstable();
        prop_assert_eq!(&expected, &said);
        prop_assert_eq!(in_order, said, "and in order");
    }

    /// However far the clock goes: no tick twice (`Machine::commit` looks), and nothing due is ever left or silent.
    #[test]
    fn no_tick_is_decided_twice(lives in proptest::collection::vec(happens(3000 * DAY), 0..30)) {
        live(lives, |_, _, _, _| {});
    }

    /// After any life, on a clock that goes right, a job of every hour runs within the next four.
    #[test]
    fn no_clock_silences_a_job(lives in proptest::collection::vec((1..DAY_0 * 2, any::<bool>()), 0..10)) {
        let mut machine = Machine::at(DAY_0);
        machine.put(job("0 * * * *"));
        for (at, dies) in lives {
            machine.look(at);
            if dies {
                machine.restart();
            }
        }
        machine.decided.clear();
        let now = machine.now.0 / NS;
        machine.pass(now + 4 * HOUR + 1);
        let runs = machine.decided.iter().any(|decided| matches!(decided.decision, Decision::Run { .. }));
        prop_assert!(runs);
    }
}
