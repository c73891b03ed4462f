//! Counters are kept, and equal a recount, whatever was done.

use crate::runs::*;
use kin_core::{Outcome, Run};
use kin_ledger::{OutcomeKind, Query, Retention};
use proptest::prelude::*;
use std::collections::BTreeMap;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn counters_equal_a_recount(
        steps in prop::collection::vec((prop::collection::vec((0..12u64, any_run()), 0..6), any::<bool>()), 1..12),
    ) {
        let dir = scratch();
        let mut ledger = open(dir.path());
        let mut model: BTreeMap<_, Run> = BTreeMap::new();
        for (runs, sweep) in steps {
            // Few numbers, so that runs are replaced, by others of another job, class and making.
            let runs: Vec<Run> = runs.into_iter().map(|(n, run)| Run { no: no(n), ..run }).collect();
            put(&mut ledger, &runs);
            model.extend(runs.into_iter().map(|run| (run.no, run)));
            if sweep {
                let retention = Retention { max_count: Some(3), ..Retention::default() };
                let swept = ledger.sweep(&retention, NOON, 2).expect("a sweep");
                for id in swept.runs {
                    let gone = model.remove(&id.no).expect("it was there");
                    prop_assert!(gone.outcome().is_some(), "a living run was swept");
                }
            }
        }
        let counters = ledger.reader().expect("a reader").counters().expect("counters");
        let count = |kind| model.values().filter(|run| run.outcome().map(OutcomeKind::of) == kind).count() as u64;
        prop_assert_eq!(counters.live, count(None));
        for (kind, n) in counters.by_outcome {
            prop_assert_eq!(n, count(Some(kind)), "{}", kind.word());
        }
        prop_assert_eq!(ledger.quick_check().expect("a check"), Vec::<String>::new());

        // Each making that is kept has as many users as runs refer to it.
        let conn = rusqlite::Connection::open(dir.path().join("kin.db")).expect("readable");
        let users: i64 = conn.query_row("SELECT coalesce(sum(runs), 0) FROM making", [], |row| row.get(0)).expect("a sum");
        let unused: i64 =
            conn.query_row("SELECT count(*) FROM making WHERE runs <= 0", [], |row| row.get(0)).expect("a count");
        prop_assert_eq!((users, unused), (model.len() as i64, 0));
    }

    #[test]
    fn listings_equal_a_model(
        runs in prop::collection::btree_map(0..200u64, (0..4usize, any_run()), 0..60),
        limit in 1..7u32,
    ) {
        let dir = scratch();
        let mut ledger = open(dir.path());
        let names = ["backup", "backup-db", "web", "x.y_z"];
        let runs: Vec<Run> =
            runs.into_iter().map(|(n, (name, run))| Run { no: no(n), job: job(names[name]), ..run }).collect();
        put(&mut ledger, &runs);
        let reader = ledger.reader().expect("a reader");
        let check = |query: Query, wanted: &dyn Fn(&Run) -> bool| {
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let page = reader.runs(&Query { limit, before, ..query.clone() }).expect("a page");
                assert!(page.runs.len() <= limit as usize && page.damaged.is_empty());
                found.extend(page.runs.into_iter().map(|run| run.no));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            let expected: Vec<_> = runs.iter().rev().filter(|run| wanted(run)).map(|run| run.no).collect();
            assert_eq!(found, expected, "{query:?}");
        };
        use kin_ledger::{OutcomeIs, Stage, StateIs};
        let all = Query::default();
        check(all.clone(), &|_| true);
        for glob in ["backup", "backup*", "*", "?eb", "[wx]*", "none", ""] {
            let matches = |run: &Run| match glob {
                "backup*" => run.job.as_str().starts_with("backup"),
                "*" => true,
                "?eb" => run.job.as_str() == "web",
                "[wx]*" => run.job.as_str().starts_with(['w', 'x']),
                exact => run.job.as_str() == exact,
            };
            let query = Query { job: Some(glob.into()), ..all.clone() };
            check(query.clone(), &|run| matches(run));
            let failing = |run: &Run| run.outcome().is_some_and(Outcome::is_failure);
            check(Query { outcome: Some(OutcomeIs::Failure), ..query.clone() }, &|run| matches(run) && failing(run));
            let never_began = |outcome: &Outcome| matches!(outcome, Outcome::Skipped(_) | Outcome::Cancelled);
            let began = |run: &Run| run.outcome().is_some_and(|outcome| !never_began(outcome));
            check(Query { outcome: Some(OutcomeIs::Began), ..query.clone() }, &|run| matches(run) && began(run));
            check(Query { state: Some(StateIs::Live), ..query.clone() }, &|run| matches(run) && run.outcome().is_none());
            check(Query { state: Some(StateIs::Ended), ..query.clone() }, &|run| matches(run) && run.outcome().is_some());
            check(Query { tag: Some("a".into()), ..query }, &|run| matches(run) && run.tags.contains(&"a".to_owned()));
        }
        for kind in OutcomeKind::ALL {
            let query = Query { outcome: Some(OutcomeIs::Kind(kind)), ..all.clone() };
            check(query, &|run| run.outcome().map(OutcomeKind::of) == Some(kind));
        }
        for stage in Stage::ALL {
            let query = Query { state: Some(StateIs::Stage(stage)), ..all.clone() };
            check(query, &|run| Stage::of(&run.state) == stage);
        }
        let contradiction =
            Query { state: Some(StateIs::Live), outcome: Some(OutcomeIs::Kind(OutcomeKind::Ok)), ..all.clone() };
        check(contradiction, &|_| false);
        let mut times: Vec<_> = runs.iter().map(|run| run.created_at).collect();
        times.sort();
        for window in times.chunks(9) {
            let (since, until) = (window[0], window[window.len() - 1]);
            check(Query { since: Some(since), ..all.clone() }, &|run| run.created_at >= since);
            check(Query { until: Some(until), ..all.clone() }, &|run| run.created_at < until);
            let both = Query { since: Some(since), until: Some(until), ..all.clone() };
            check(both, &|run| (since..until).contains(&run.created_at));
        }
    }
}
