//! Both days of the clock change, and stranger ones. The first test is the table of what others get wrong.

use super::{at, coming, zone};
use crate::schedule::{Dst, How, Plan, Schedule, Wall, Zone};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

fn ticks(text: &str, dst: Dst, name: &str, from: &str, n: usize) -> Vec<String> {
    let schedule = Schedule::parse(text, "backup", dst).expect(text);
    coming(&schedule, &zone(name), from, n)
}

const NEW_YORK: &str = "America/New_York";
/// The evening before 2:00 became 3:00.
const SPRING: &str = "2026-03-07 20:00";
/// The evening before 2:00 became 1:00.
const AUTUMN: &str = "2026-10-31 20:00";

#[test]
fn what_we_promise() {
    for (text, from, expected) in [
        ("30 2 * * *", SPRING, &["2026-03-08 03:00:00 -04:00", "2026-03-09 02:30:00 -04:00"][..]),
        ("30 2,14 * * *", SPRING, &["2026-03-08 03:00:00 -04:00", "2026-03-08 14:30:00 -04:00"]),
        (
            "30 1-3 * * *",
            SPRING,
            &[
                "2026-03-08 01:30:00 -05:00",
                "2026-03-08 03:00:00 -04:00",
                "2026-03-08 03:30:00 -04:00",
                "2026-03-09 01:30:00 -04:00",
            ],
        ),
        ("30 1 * * *", AUTUMN, &["2026-11-01 01:30:00 -04:00", "2026-11-02 01:30:00 -05:00"]),
        ("30 1,13 * * *", AUTUMN, &["2026-11-01 01:30:00 -04:00", "2026-11-01 13:30:00 -05:00"]),
        (
            "*/30 * * * *",
            "2026-11-01 00:30",
            &[
                "2026-11-01 01:00:00 -04:00",
                "2026-11-01 01:30:00 -04:00",
                "2026-11-01 01:00:00 -05:00",
                "2026-11-01 01:30:00 -05:00",
                "2026-11-01 02:00:00 -05:00",
            ],
        ),
        ("*/30 * * * *", "2026-03-08 01:00", &["2026-03-08 01:30:00 -05:00", "2026-03-08 03:00:00 -04:00"]),
        ("0 0 LW * *", SPRING, &["2026-03-31 00:00:00 -04:00", "2026-04-30 00:00:00 -04:00"]),
        ("0 0 13 * FRI", SPRING, &["2026-03-13 00:00:00 -04:00", "2026-03-20 00:00:00 -04:00"]),
        ("0 0 13 * +FRI", SPRING, &["2026-03-13 00:00:00 -04:00", "2026-11-13 00:00:00 -05:00"]),
        // The second table.
        ("*/15 2 * * *", SPRING, &["2026-03-09 02:00:00 -04:00", "2026-03-09 02:15:00 -04:00"]),
        (
            "*/30 1 * * *",
            AUTUMN,
            &[
                "2026-11-01 01:00:00 -04:00",
                "2026-11-01 01:30:00 -04:00",
                "2026-11-01 01:00:00 -05:00",
                "2026-11-01 01:30:00 -05:00",
                "2026-11-02 01:00:00 -05:00",
            ],
        ),
        // Two fixed times in one gap are one tick, and one that is due when it ends is the same.
        ("15,45 2 * * *", SPRING, &["2026-03-08 03:00:00 -04:00", "2026-03-09 02:15:00 -04:00"]),
        ("0,30 2,3 * * *", SPRING, &["2026-03-08 03:00:00 -04:00", "2026-03-08 03:30:00 -04:00"]),
        // systemd's language obeys the same rule.
        ("calendar: *-*-* 02:30", SPRING, &["2026-03-08 03:00:00 -04:00", "2026-03-09 02:30:00 -04:00"]),
        ("calendar: *:0/30", "2026-03-08 01:00", &["2026-03-08 01:30:00 -05:00", "2026-03-08 03:00:00 -04:00"]),
        ("@at 2026-03-08 02:30", SPRING, &["2026-03-08 03:00:00 -04:00"]),
    ] {
        assert_eq!(ticks(text, Dst::Once, NEW_YORK, from, expected.len()), expected, "{text}");
    }
}

#[test]
fn half_an_hour_on_lord_howe() {
    // On 5 April 2026 2:00 becomes 1:30; on 4 October 2:00 becomes 2:30.
    for (text, from, expected) in [
        ("45 1 * * *", "2026-04-05 00:00", &["2026-04-05 01:45:00 +11:00", "2026-04-06 01:45:00 +10:30"][..]),
        (
            "*/15 * * * *",
            "2026-04-05 01:30",
            &["2026-04-05 01:45:00 +11:00", "2026-04-05 01:30:00 +10:30", "2026-04-05 01:45:00 +10:30"],
        ),
        ("15 2 * * *", "2026-10-04 00:00", &["2026-10-04 02:30:00 +11:00", "2026-10-05 02:15:00 +11:00"]),
        ("45 1,2 * * *", "2026-10-04 00:00", &["2026-10-04 01:45:00 +10:30", "2026-10-04 02:45:00 +11:00"]),
    ] {
        assert_eq!(ticks(text, Dst::Once, "Australia/Lord_Howe", from, expected.len()), expected, "{text}");
    }
}

#[test]
fn the_other_policies() {
    for (dst, expected) in [
        (Dst::Skip, &["2026-03-08 14:30:00 -04:00", "2026-03-09 02:30:00 -04:00"]),
        (Dst::Both, &["2026-03-08 03:00:00 -04:00", "2026-03-08 14:30:00 -04:00"]),
    ] {
        assert_eq!(ticks("30 2,14 * * *", dst, NEW_YORK, SPRING, 2), expected, "{dst:?}");
    }
    for (dst, expected) in [
        (Dst::Skip, &["2026-11-01 01:30:00 -04:00", "2026-11-02 01:30:00 -05:00"]),
        (Dst::Both, &["2026-11-01 01:30:00 -04:00", "2026-11-01 01:30:00 -05:00"]),
    ] {
        assert_eq!(ticks("30 1 * * *", dst, NEW_YORK, AUTUMN, 2), expected, "{dst:?}");
    }
}

#[test]
fn whole_days_that_never_were() {
    // Samoa had no 30 December 2011; Kwajalein no 21 August 1993.
    for (name, text, from, expected) in [
        (
            "Pacific/Apia",
            "0 9 * * FRI",
            "2011-12-29 12:00",
            &["2011-12-31 00:00:00 +14:00", "2012-01-06 09:00:00 +14:00"][..],
        ),
        (
            "Pacific/Apia",
            "0 9 * * *",
            "2011-12-29 08:00",
            &["2011-12-29 09:00:00 -10:00", "2011-12-31 00:00:00 +14:00", "2011-12-31 09:00:00 +14:00"],
        ),
        (
            "Pacific/Apia",
            "0 * * * *",
            "2011-12-29 22:30",
            &["2011-12-29 23:00:00 -10:00", "2011-12-31 00:00:00 +14:00"],
        ),
        (
            "Pacific/Kwajalein",
            "30 12 21 8 *",
            "1993-08-20 12:00",
            &["1993-08-22 00:00:00 +12:00", "1994-08-21 12:30:00 +12:00"],
        ),
    ] {
        assert_eq!(ticks(text, Dst::Once, name, from, expected.len()), expected, "{name} {text}");
    }
}

#[test]
fn how_each_tick_came_to_its_instant() {
    let zone = zone(NEW_YORK);
    let schedule = Schedule::parse("30 1,2 * * *", "x", Dst::Both).expect("a schedule");
    let how = |from: &str, n: usize| -> Vec<(String, How)> {
        let ticks = schedule.coming(n, at(from, &zone), &zone);
        ticks.iter().map(|tick| (std::format!("{}", tick.due), tick.how)).collect()
    };
    let s = |text: &str| String::from(text);
    assert_eq!(how(SPRING, 2), [(s("2026-03-08 01:30:00"), How::Exact), (s("2026-03-08 02:30:00"), How::Moved)]);
    assert_eq!(
        how(AUTUMN, 3),
        [
            (s("2026-11-01 01:30:00"), How::Exact),
            (s("2026-11-01 01:30:00"), How::Again),
            (s("2026-11-01 02:30:00"), How::Exact),
        ]
    );
}

#[test]
fn the_last_tick_is_found_without_a_walk() {
    let zone = zone(NEW_YORK);
    for text in ["30 2 * * *", "*/30 * * * *", "15,45 1,2 * * *", "@every 7m", "0 0 29 2 *", "* * * * * *"] {
        for dst in Dst::ALL {
            let schedule = Schedule::parse(text, "x", dst).expect(text);
            for from in [SPRING, AUTUMN] {
                let ticks = schedule.coming(40, at(from, &zone), &zone);
                for pair in ticks.windows(2) {
                    assert_eq!(schedule.last_before(pair[1].at, &zone), Some(pair[0]), "{text}");
                    assert_eq!(schedule.last_before(pair[0].at + 1, &zone), Some(pair[0]), "{text}");
                }
            }
        }
    }
    let leap = Schedule::parse("0 0 29 2 *", "x", Dst::Once).expect("a schedule");
    assert_eq!(
        leap.last_before(at("2107-01-01 00:00", &zone), &zone).map(|t| std::format!("{}", t.due)),
        Some("2104-02-29 00:00:00".into())
    );
    assert_eq!(leap.last_before(1, &zone), None);
}

#[test]
fn time_ends_where_it_is_said_to() {
    let utc = Zone::utc();
    let daily = Schedule::parse("@daily", "x", Dst::Once).expect("a schedule");
    let last = at("2199-12-31 00:00", &utc);
    assert_eq!(daily.next_after(last, &utc), None);
    assert_eq!(daily.next_after(last - 1, &utc).map(|t| t.at), Some(last));
    assert_eq!(daily.last_before(i64::MAX, &utc).map(|t| t.at), Some(last));
    assert_eq!(daily.next_after(i64::MIN, &utc).map(|t| t.at), Some(0));
    assert_eq!(daily.last_before(0, &utc), None);
    assert_eq!(daily.next_after(i64::MAX, &utc), None);
    assert_eq!(daily.last_before(i64::MIN, &utc), None);
    assert_eq!(daily.after(last - 86_400 * 3, &utc).count(), 3);
}

#[test]
fn several_schedules_are_one_plan() {
    let (utc, berlin) = (Zone::utc(), zone("Europe/Berlin"));
    let read = |text: &str| Schedule::parse(text, "x", Dst::Once).expect(text);
    let (a, b, boot) = (read("0 8 * * *"), read("0 9,12 * * *"), read("@reboot"));
    let plan = Plan::new([(&a, &utc), (&b, &berlin), (&boot, &utc)]);
    let from = at("2026-01-10 00:00", &utc);
    let ticks: Vec<_> = plan.after(from).take(3).map(|(which, tick)| (which, (tick.at - from) / 3600)).collect();
    // 9:00 in Berlin is 8:00 in UTC: one tick.
    assert_eq!(ticks, [(0, 8), (1, 11), (0, 32)]);
    assert_eq!(plan.last_before(from + 9 * 3600).map(|(which, tick)| (which, (tick.at - from) / 3600)), Some((0, 8)));
    assert_eq!(Plan::default().next_after(0), None);
}

const BASE: i64 = 1_000_000_020;
const SPAN: i64 = 20 * 86_400;

/// Clocks that change every few hours by up to a day, back and forth, one change within the gap or the fold of another.
fn wild() -> impl Strategy<Value = Zone> {
    let offset = || (-780i32..840).prop_map(|minutes| minutes * 60);
    (offset(), proptest::collection::vec((1i64..2400, offset()), 0..12)).prop_map(|(first, steps)| {
        let mut at = BASE + 2 * 86_400;
        Zone::new(
            "Wild",
            first,
            steps.into_iter().map(move |(minutes, offset)| {
                at += minutes * 60;
                (at, offset)
            }),
        )
    })
}

proptest! {
    /// The sentences of the page, word for word, where no real zone has ever been.
    #[test]
    fn the_rules_hold_for_clocks_that_no_country_has(
        zone in wild(),
        text in "(0|30|7,44|10-50/13|\\*/25) (1|2,3|5-9/2|22-3|\\*|\\*/7) \\* \\* (\\*|MON-WED|\\*/2)",
        dst in proptest::sample::select(&Dst::ALL[..]),
    ) {
        let schedule = Schedule::parse(&text, "x", dst).expect("a schedule");
        // UTC shows every reading once: there the schedule is the set of its readings.
        let readings: BTreeSet<Wall> =
            schedule.after(BASE - 2 * 86_400, &Zone::utc()).map(|t| t.due).take_while(|due| due.0 < BASE + SPAN + 2 * 86_400).collect();
        let minutes = || (BASE..BASE + SPAN).step_by(60);
        let mut expected: BTreeSet<i64> = BTreeSet::new();
        if schedule.follows_real_time() {
            expected.extend(minutes().filter(|at| readings.contains(&zone.wall(*at))));
        } else {
            let first = |due: &Wall| zone.first_reaching(*due);
            match dst {
                Dst::Once => expected.extend(readings.iter().map(first)),
                Dst::Skip => expected.extend(readings.iter().filter(|due| zone.wall(first(due)) == **due).map(first)),
                Dst::Both => {
                    expected.extend(readings.iter().map(first));
                    expected.extend(minutes().filter(|at| readings.contains(&zone.wall(*at))));
                }
            }
            expected.retain(|at| (BASE..BASE + SPAN).contains(at));
        }
        let expected: Vec<i64> = expected.into_iter().collect();
        let ticks: Vec<_> = schedule.after(BASE - 1, &zone).take_while(|tick| tick.at < BASE + SPAN).collect();
        prop_assert_eq!(ticks.iter().map(|tick| tick.at).collect::<Vec<_>>(), expected, "{}", text);
        for pair in ticks.windows(2) {
            prop_assert_eq!(schedule.last_before(pair[1].at, &zone), Some(pair[0]), "{}", text);
        }
        for tick in &ticks {
            let shown = zone.wall(tick.at);
            let explained = if tick.how == How::Moved { shown > tick.due } else { shown == tick.due };
            prop_assert!(explained, "{:?}", tick);
        }
    }
}
