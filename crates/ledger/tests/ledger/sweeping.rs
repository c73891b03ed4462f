//! Forgetting.

use crate::runs::*;
use kin_core::{RunState, Time};
use kin_ledger::{Batch, Durability, Ledger, NewKey, Query, Retention, Swept};

fn sweep_all(ledger: &mut Ledger, retention: &Retention, now: Time, slice: u32) -> Swept {
    let mut all = Swept::default();
    for _ in 0..1_000 {
        let swept = ledger.sweep(retention, now, slice).expect("a sweep");
        assert!(swept.runs.len() <= slice as usize && swept.events <= u64::from(slice));
        all.runs.extend(swept.runs);
        all.events += swept.events;
        all.keys += swept.keys;
        if !swept.more {
            return all;
        }
    }
    panic!("the sweep does not end");
}

fn left(ledger: &Ledger) -> Vec<u64> {
    let page = ledger.reader().and_then(|reader| reader.runs(&Query { limit: 10_000, ..Query::default() }));
    page.expect("a page").runs.iter().rev().map(|run| run.no.get() - FIRST).collect()
}

#[test]
fn the_oldest_go_and_those_that_live_stay() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let living = |n: u64| n % 10 == 3;
    let run = |n| {
        if living(n) { live("web", n, RunState::Running { unowned: false, interrupted: false }) } else { ok("job", n) }
    };
    put(&mut ledger, &(0..100).map(run).collect::<Vec<_>>());
    let retention = Retention { max_count: Some(20), ..Retention::default() };
    let swept = sweep_all(&mut ledger, &retention, NOON, 7);
    assert_eq!(swept.runs.len(), 70);
    assert!(swept.runs.iter().all(|id| id.job.as_str() == "job"));
    let expected: Vec<u64> = (0..100).filter(|n| living(*n) || *n >= 78).collect();
    assert_eq!(left(&ledger), expected);
    assert_eq!(ledger.live().expect("readable").runs.len(), 10);
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
    assert_eq!(sweep_all(&mut ledger, &retention, NOON, 7), Swept::default());
}

#[test]
fn age_is_counted_from_the_end() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    // Number 0 began first and ended last.
    let mut long = ok("long", 0);
    long.ended_at = Some(NOON.plus(3_600_000_000_000));
    let short: Vec<_> = (1..50).map(|n| ok("short", n)).collect();
    put(&mut ledger, &[&[long], short.as_slice()].concat());
    let retention = Retention { max_age_ms: Some(60_000), ..Retention::default() };
    assert_eq!(sweep_all(&mut ledger, &retention, NOON.plus(30_000_000_000), 10).runs, []);
    assert_eq!(sweep_all(&mut ledger, &retention, NOON.plus(600_000_000_000), 10).runs.len(), 49);
    assert_eq!(left(&ledger), [0]);
    assert_eq!(sweep_all(&mut ledger, &retention, NOON.plus(7_200_000_000_000), 10).runs.len(), 1);
}

#[test]
fn each_job_keeps_its_newest() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    // Interleaved, and more jobs than one sweep counts.
    let runs: Vec<_> = (0..1_000u64).map(|n| ok(&format!("job{}", n % 100), n)).collect();
    put(&mut ledger, &runs);
    put(&mut ledger, &[live("job0", 0, RunState::Queued)]);
    let retention = Retention { per_job: Some(3), ..Retention::default() };
    let swept = sweep_all(&mut ledger, &retention, NOON, 50);
    assert_eq!(swept.runs.len(), 699);
    let expected: Vec<u64> = (0..1_000).filter(|n| *n >= 700 || *n == 0).collect();
    assert_eq!(left(&ledger), expected);
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn events_go_and_their_numbers_go_on() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    put(&mut ledger, &(0..100).map(|n| ok("a", n)).collect::<Vec<_>>());
    let retention = Retention { events_max_count: Some(30), ..Retention::default() };
    assert_eq!(sweep_all(&mut ledger, &retention, NOON, 8).events, 70);
    let reader = ledger.reader().expect("a reader");
    assert_eq!(reader.events_after(0, 100).expect("events").first().map(|event| event.seq), Some(71));
    let retention = Retention { events_max_age_ms: Some(1), ..Retention::default() };
    assert_eq!(sweep_all(&mut ledger, &retention, NOON.plus(60_000_000_000), 8).events, 30);
    put(&mut ledger, &[ok("a", 100)]);
    assert_eq!(reader.events_after(0, 100).expect("events").first().map(|event| event.seq), Some(101));
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn a_key_stays_a_day_or_until_its_run_has_ended() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let (short, long) = (ok("short", 1), live("long", 2, RunState::Running { unowned: false, interrupted: false }));
    let key = |run: &kin_core::Run| NewKey { key: run.job.to_string(), content: 5, run: run.no, at: NOON };
    let batch = Batch { runs: vec![&short, &long], keys: vec![key(&short), key(&long)], ..Batch::default() };
    ledger.apply(&batch, Durability::Full).expect("a commit");
    let hours = |n: i64| NOON.plus(n * 3_600_000_000_000);
    let none = Retention::default();
    assert_eq!(sweep_all(&mut ledger, &none, hours(23), 10).keys, 0);
    assert_eq!(sweep_all(&mut ledger, &none, hours(25), 10).keys, 1);
    assert_eq!(ledger.key("short").expect("readable"), None);
    assert_eq!(ledger.key("long").expect("readable"), Some((5, long.no)));
    put(&mut ledger, &[ok("long", 2)]);
    assert_eq!(sweep_all(&mut ledger, &none, hours(25), 10).keys, 1);
}

#[test]
fn a_job_may_ask_for_less_than_the_server() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let job = |n: u64| if n.is_multiple_of(2) { "few" } else { "many" };
    put(&mut ledger, &(0..40).map(|n| ok(job(n), n)).collect::<Vec<_>>());
    let few = Retention { jobs: [("few".to_string(), 3)].into(), ..Retention::default() };
    assert_eq!(sweep_all(&mut ledger, &few, NOON, 7).runs.len(), 17);
    assert_eq!(left(&ledger).iter().filter(|n| n.is_multiple_of(2)).count(), 3);
    let both = Retention { per_job: Some(2), ..few };
    assert_eq!(sweep_all(&mut ledger, &both, NOON, 7).runs.len(), 19);
}

#[test]
fn what_is_dated_in_the_future_keeps_nothing_old() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let mut runs: Vec<_> = (0..50).map(|n| ok("a", n)).collect();
    let later = NOON.plus(365 * 86_400_000_000_000);
    (runs[0].created_at, runs[0].started_at, runs[0].ended_at) = (later, Some(later), Some(later));
    let events = runs.iter().map(|run| kin_ledger::NewEvent { at: run.created_at, ..event(run) }).collect();
    let batch = Batch { runs: runs.iter().collect(), events, ..Batch::default() };
    ledger.apply(&batch, Durability::Full).expect("a commit");
    let retention = Retention { max_age_ms: Some(1), events_max_age_ms: Some(1), ..Retention::default() };
    let swept = sweep_all(&mut ledger, &retention, NOON.plus(86_400_000_000_000), 8);
    assert_eq!((swept.runs.len(), swept.events), (49, 50));
    assert_eq!(left(&ledger), [0]);
}

#[test]
fn what_is_held_stays_and_stands_in_nobodys_way() {
    let held = |n: &[u64]| n.iter().map(|n| no(*n)).collect();
    let ways = [
        Retention { per_job: Some(1), held: held(&[0, 1, 2]), ..Retention::default() },
        Retention { max_count: Some(4), held: held(&[0, 1, 2]), ..Retention::default() },
        Retention { max_age_ms: Some(1), held: held(&[0, 1, 2, 9]), ..Retention::default() },
    ];
    for retention in ways {
        let dir = scratch();
        let mut ledger = open(dir.path());
        put(&mut ledger, &(0..10).map(|n| ok("a", n)).collect::<Vec<_>>());
        sweep_all(&mut ledger, &retention, NOON.plus(86_400_000_000_000), 2);
        assert_eq!(left(&ledger), [0, 1, 2, 9], "{retention:?}");
    }
}
