//! Paging under fire, and the cap on the work for one page.

use crate::runs::*;
use kin_ledger::{LOOKED_AT_MAX, OutcomeIs, OutcomeKind, Query};

#[test]
fn pages_give_each_run_once_while_new_ones_come() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let runs: Vec<_> = (0..100).map(|n| ok(["a", "b", "c"][(n % 3) as usize], 10 * n)).collect();
    put(&mut ledger, &runs);
    let reader = ledger.reader().expect("a reader");
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = reader.runs(&Query { limit: 7, before, ..Query::default() }).expect("a page");
        found.extend(page.runs.into_iter().map(|run| run.no));
        put(&mut ledger, &[ok("new", 10_000 + found.len() as u64)]);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, runs.iter().rev().map(|run| run.no).collect::<Vec<_>>());
}

#[test]
fn a_page_looks_at_so_many_runs_and_says_where_to_go_on() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    // One good run, and above it more bad ones than one page looks at.
    let bad = LOOKED_AT_MAX as u64 + 500;
    ledger.bulk_insert((0..=bad).map(|n| if n == 0 { ok("a", n) } else { failed("a", n) })).expect("a commit");
    let reader = ledger.reader().expect("a reader");
    let query = Query { outcome: Some(OutcomeIs::Kind(OutcomeKind::Ok)), ..Query::default() };
    let first = reader.runs(&query).expect("a page");
    assert!(first.runs.is_empty() && first.next.is_some());
    let second = reader.runs(&Query { before: first.next, ..query }).expect("a page");
    assert_eq!(second.runs, [ok("a", 0)]);
    assert_eq!(second.next, None);
}

#[test]
fn a_glob_of_many_jobs_finds_them_below_many_others() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    // A hundred jobs by turns, one run in five failing; above them more runs of another job than are tried first.
    let old = (0..1_000).map(|n| {
        let name = format!("job-{}", n % 100);
        if n % 5 == 0 { failed(&name, n) } else { ok(&name, n) }
    });
    let new = (1_000..2_500).map(|n| failed("other", n));
    ledger.bulk_insert(old.chain(new)).expect("a commit");
    let reader = ledger.reader().expect("a reader");
    for (outcome, step) in [(None, 1), (Some(OutcomeIs::Failure), 5)] {
        let query = Query { job: Some("job-*".into()), outcome, limit: 7, ..Query::default() };
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = reader.runs(&Query { before, ..query.clone() }).expect("a page");
            assert!(page.runs.len() == 7 || page.next.is_none());
            found.extend(page.runs.into_iter().map(|run| run.no.get() - FIRST));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, (0..1_000).rev().filter(|n| n % step == 0).collect::<Vec<_>>());
    }
}

#[test]
fn the_next_runs_of_a_job_come_oldest_first() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    put(&mut ledger, &(0..40).map(|n| ok(["a", "b"][(n % 2) as usize], n)).collect::<Vec<_>>());
    let reader = ledger.reader().expect("a reader");
    let after = |job: &str, n: u64, limit| {
        let runs = reader.runs_after(&ok(job, 0).job, ok(job, n).no, limit).expect("runs");
        runs.iter().map(|run| run.no.get() - FIRST).collect::<Vec<_>>()
    };
    assert_eq!(after("a", 5, 3), [6, 8, 10]);
    assert_eq!(after("b", 37, 9), [39]);
    assert!(after("a", 38, 9).is_empty() && after("nobody", 0, 9).is_empty());
}
