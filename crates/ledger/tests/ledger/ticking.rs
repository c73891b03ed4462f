//! Decisions about the instants of schedules.

use crate::runs::*;
use kin_core::{Decided, Decision, JobName, Tick, Time};
use kin_ledger::{Batch, Durability, Error, Ledger, Retention, TickQuery};

fn tick(job: &str, at: i64) -> Tick {
    Tick { job: JobName::parse(job).expect("a name"), schedule: u64::MAX - 3, at }
}

fn decided(job: &str, at: i64, decision: Decision) -> Decided {
    Decided { tick: tick(job, at), decided_at: Time(at * 1_000_000_000 + 1_234_567), decision, moved: None }
}

fn decide(ledger: &mut Ledger, ticks: &[Decided]) -> Result<(), Error> {
    ledger.apply(&Batch { ticks: ticks.to_vec(), ..Batch::default() }, Durability::Full).map(drop)
}

fn every_kind() -> Vec<Decided> {
    let kinds = [
        Decision::Run { run: no(1) },
        Decision::CaughtUp { run: no(2), missed: 7 },
        Decision::SkippedOverlap { run: no(3), live: None },
        Decision::SkippedOverlap { run: no(3), live: Some(no(2)) },
        Decision::SkippedLineFull { run: no(3), waiting: 5 },
        Decision::SkippedDisabled { run: Some(no(4)) },
        Decision::SkippedDisabled { run: None },
        Decision::Suppressed { by: "holidays".into() },
        Decision::Paused,
        Decision::Missed { count: 3, until: 1_800_000_600 },
    ];
    (0..).zip(kinds).map(|(n, kind)| decided("job", 1_800_000_000 + 60 * n, kind)).collect()
}

#[test]
fn a_tick_is_decided_once() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    decide(&mut ledger, &[decided("job", 60, Decision::Paused)]).expect("a commit");
    let again = [decided("other", 60, Decision::Paused), decided("job", 60, Decision::Run { run: no(1) })];
    let refused = decide(&mut ledger, &again);
    assert!(matches!(&refused, Err(Error::Decided { tick: which }) if *which == tick("job", 60)), "{refused:?}");
    let reader = ledger.reader().expect("a reader");
    assert_eq!(reader.tick(&tick("other", 60)).expect("readable"), None, "all of a batch or nothing");
    let kept = reader.tick(&tick("job", 60)).expect("readable").map(|decided| decided.decision);
    assert_eq!(kept, Some(Decision::Paused));
    // An edited schedule is another one.
    let edited = Tick { schedule: 1, ..tick("job", 60) };
    let decision = Decided { tick: edited, ..decided("job", 60, Decision::Paused) };
    decide(&mut ledger, &[decision]).expect("a commit");
}

#[test]
fn every_decision_comes_back_newest_first_page_by_page() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let all = every_kind();
    decide(&mut ledger, &all).expect("a commit");
    decide(&mut ledger, &[decided("other", 60, Decision::Paused)]).expect("a commit");
    let reader = ledger.reader().expect("a reader");
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let query = TickQuery { job: Some("job".into()), before, limit: 3 };
        let page = reader.ticks(&query).expect("a page");
        found.extend(page.ticks);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    found.reverse();
    assert_eq!(found, all);
    let newest = reader.ticks(&TickQuery { limit: 1, ..TickQuery::default() }).expect("a page");
    assert_eq!(newest.ticks[0].tick.job.as_str(), "other");
    let nobody = TickQuery { job: Some("nobody".into()), limit: 1, ..TickQuery::default() };
    assert_eq!(reader.ticks(&nobody).expect("a page").ticks, []);
    let of = |glob: &str| {
        let query = TickQuery { job: Some(glob.into()), limit: 100, ..TickQuery::default() };
        reader.ticks(&query).expect("a page").ticks.len()
    };
    assert_eq!((of("j?b"), of("o*"), of("*"), of("[jo]*"), of("x*")), (all.len(), 1, all.len() + 1, all.len() + 1, 0));
    let last = reader.last_tick(&tick("job", 0).job, u64::MAX - 3).expect("readable");
    assert_eq!(last, Some(1_800_000_600), "a missed stretch counts to its end");
    assert_eq!(reader.last_tick(&tick("job", 0).job, 1).expect("readable"), None);
    assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());
}

#[test]
fn old_decisions_go_with_the_runs_of_their_time() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    decide(&mut ledger, &every_kind()).expect("a commit");
    let retention = Retention { max_age_ms: Some(1_000), ..Retention::default() };
    let swept = ledger.sweep(&retention, Time(1_800_000_122 * 1_000_000_000), 100).expect("a sweep");
    assert_eq!(swept.ticks, 3);
    let left = ledger.reader().and_then(|reader| reader.ticks(&TickQuery { limit: 100, ..TickQuery::default() }));
    assert_eq!(left.expect("a page").ticks.len(), every_kind().len() - 3);
}

/// A clock that was far ahead once has left them.
#[test]
fn decisions_dated_in_the_future_keep_nothing_old() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let paused = |at| decided("job", at, Decision::Paused);
    let (now, day) = (1_800_000_000, 86_400);
    // More of them than a slice; then old ones, young ones, and an old one that was caught up late.
    let ats = (0..25).map(|n| now + 1_000 * day + n).chain((0..15).map(|n| now - 9 * day + n));
    let ats: Vec<i64> = ats.chain([now - 5, now - 4, now - 8 * day]).collect();
    decide(&mut ledger, &ats.into_iter().map(paused).collect::<Vec<_>>()).expect("a commit");
    let retention = Retention { max_age_ms: Some(86_400_000), ..Retention::default() };
    let mut swept = 0;
    loop {
        let slice = ledger.sweep(&retention, Time(now * 1_000_000_000), 10).expect("a sweep");
        swept += slice.ticks;
        if !slice.more {
            break;
        }
    }
    assert_eq!(swept, 16);
    let again = ledger.sweep(&retention, Time((now + 2 * day) * 1_000_000_000), 10).expect("a sweep");
    assert!(again.more, "it begins at the oldest again, and steps over those of the future");
}

#[test]
fn a_damaged_ledger_keeps_what_was_decided() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    decide(&mut ledger, &every_kind()).expect("a commit");
    drop(ledger);
    let conn = rusqlite::Connection::open(dir.path().join("kin.db")).expect("readable");
    conn.execute("UPDATE tick SET at = at + 1 WHERE seq = 2", []).expect("a vandal");
    drop(conn);
    let opened = Ledger::open(dir.path(), NOON).expect("a ledger");
    assert!(matches!(opened.found, kin_ledger::Found::SetAside { .. }), "{:?}", opened.found);
    let left =
        opened.ledger.reader().and_then(|reader| reader.ticks(&TickQuery { limit: 100, ..TickQuery::default() }));
    let mut kept = left.expect("a page").ticks;
    kept.reverse();
    let mut believed = every_kind();
    believed.remove(1);
    assert_eq!(kept, believed);
}
