//! Forgetting.

use crate::runs::*;
use kin_core::{Decided, Decision, RunState, Tick, Time};
use kin_ledger::{Batch, Durability, Ledger, NewDone, NewKey, Query, Retention, Swept};

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

/// The names of jobs as the file has them, and its tags.
fn names(dir: &std::path::Path) -> (Vec<String>, Vec<String>) {
    let conn = rusqlite::Connection::open(dir.join("kin.db")).expect("opens");
    let texts = |sql: &str| {
        let mut select = conn.prepare(sql).expect("prepared");
        let rows = select.query_map([], |row| row.get(0)).expect("asked");
        rows.collect::<Result<Vec<String>, _>>().expect("read")
    };
    (texts("SELECT name FROM job ORDER BY name"), texts("SELECT tag FROM tagged ORDER BY tag"))
}

fn forget_names(ledger: &mut Ledger) -> u64 {
    let mut idle = ledger.reader().and_then(|reader| reader.idle_names()).expect("a look");
    let mut gone = 0;
    while !idle.is_empty() {
        gone += ledger.forget_names(&mut idle, 3).expect("a slice");
    }
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
    gone
}

#[test]
fn names_go_with_the_last_that_names_them() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let tagged = |name: &str, n: u64, tag: &str| kin_core::Run { tags: vec![tag.into()], ..ok(name, n) };
    let old: Vec<_> = (0..20).map(|n| tagged(&format!("old{n}"), n, &format!("tag{n}"))).collect();
    let told = tagged("told", 20, "told");
    let ticked = tagged("ticked", 21, "ticked");
    let lives = kin_core::Run { tags: vec!["b".into()], ..live("lives", 22, RunState::Queued) };
    let before = tagged("lives", 23, "a");
    put(&mut ledger, &old);
    let event = event(&told);
    let tick = Tick { job: ticked.job.clone(), schedule: 1, at: NOON.0 / 1_000_000_000 };
    let decided = Decided { tick, decided_at: NOON, decision: Decision::Run { run: ticked.no }, moved: None };
    let batch = Batch {
        runs: vec![&told, &ticked, &lives, &before],
        events: vec![event],
        ticks: vec![decided],
        ..Batch::default()
    };
    ledger.apply(&batch, Durability::Normal).expect("a commit");
    put(&mut ledger, &[ok("newest", 24)]);
    assert_eq!(forget_names(&mut ledger), 0, "all have runs");

    let all = Retention { max_count: Some(0), events_max_count: Some(1), ..Retention::default() };
    // What `put` told of the others is gone by then.
    ledger
        .apply(&Batch { events: vec![self::event(&told)], ..Batch::default() }, Durability::Normal)
        .expect("a commit");
    assert_eq!(sweep_all(&mut ledger, &all, NOON, 50).runs.len(), 24);
    assert_eq!(forget_names(&mut ledger), 20 + 24, "jobs and tags, without what is counted below");
    let (jobs, tags) = names(dir.path());
    assert_eq!(jobs, ["lives", "newest", "ticked", "told"]);
    assert_eq!(tags, ["b"]);
    let reader = ledger.reader().expect("a reader");
    let events = reader.events_after(0, 10).expect("events");
    assert!(events.iter().any(|event| event.run.as_ref().is_some_and(|run| run.job.as_str() == "told")));

    // A name comes back, with another number, and with its tag.
    put(&mut ledger, &[tagged("old3", 30, "tag3")]);
    let query = |tag: &str| Query { tag: Some(tag.into()), ..Query::default() };
    assert_eq!(reader.runs(&query("tag3")).expect("a page").runs.len(), 1);
    assert_eq!(reader.runs(&query("b")).expect("a page").runs.len(), 1);
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn a_name_that_is_named_again_after_the_look_stays() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let tagged = |name: &str, n: u64| kin_core::Run { tags: vec!["t".into()], ..ok(name, n) };
    let runs: Vec<_> = ["again", "swept", "gone", "newest"].iter().zip(0..).map(|(name, n)| tagged(name, n)).collect();
    put(&mut ledger, &runs);
    let all = Retention { max_count: Some(0), events_max_count: Some(0), ..Retention::default() };
    sweep_all(&mut ledger, &all, NOON, 50);
    let mut idle = ledger.reader().and_then(|reader| reader.idle_names()).expect("a look");
    // One has a run again; of the other nothing is left but an event.
    put(&mut ledger, &[tagged("again", 10)]);
    let swept = tagged("swept", 11);
    ledger.apply(&Batch { events: vec![event(&swept)], ..Batch::default() }, Durability::Normal).expect("a commit");
    while !idle.is_empty() {
        ledger.forget_names(&mut idle, 1).expect("a slice");
    }
    assert_eq!(names(dir.path()).0, ["again", "newest", "swept"]);
    let reader = ledger.reader().expect("a reader");
    let tagged = reader.runs(&Query { tag: Some("t".into()), ..Query::default() }).expect("a page").runs;
    assert_eq!(tagged.len(), 1);
    assert!(reader.events_after(0, 10).is_ok());
}

#[test]
fn what_was_done_under_a_key_stays_a_day_and_is_done_once() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let new = NewDone { key: "k\0é".into(), content: u64::MAX - 7, at: NOON, answer: "backup-00000001\n".into() };
    let batch = Batch { done: vec![new.clone()], ..Batch::default() };
    ledger.apply(&batch, Durability::Full).expect("a commit");
    drop(ledger);
    let mut ledger = open(dir.path());
    assert_eq!(ledger.done("k\0é").expect("readable"), Some((new.content, new.answer)));
    assert_eq!(ledger.done("k").expect("readable"), None);
    ledger.apply(&batch, Durability::Full).expect_err("it was done");
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
    let hours = |n: i64| NOON.plus(n * 3_600_000_000_000);
    assert_eq!(sweep_all(&mut ledger, &Retention::default(), hours(23), 10).keys, 0);
    assert_eq!(sweep_all(&mut ledger, &Retention::default(), hours(25), 10).keys, 1);
    assert_eq!(ledger.done("k\0é").expect("readable"), None);
}
