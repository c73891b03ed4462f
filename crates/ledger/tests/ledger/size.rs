//! Small and fast: bytes a run on the disk, and the first page of a listing.

use crate::runs::*;
use kin_core::{Run, RunState};
use kin_ledger::Ledger;
use std::path::Path;

const BULK: u64 = 200_000;
const LIVED: u64 = 80_000;

/// A second apart, a thousand jobs by turns in no order, one in twenty failing.
fn nth(n: u64) -> Run {
    let name = format!("job-{}", n.wrapping_mul(2_654_435_761) % 1_000);
    let at = 64_000 * n;
    let run = if n % 20 == 7 { failed(&name, at) } else { ok(&name, at) };
    Run { cpu_ms: Some(n % 100), out_bytes: 50 + n % 5_000, ..run }
}

fn bytes_a_run(dir: &Path, runs: u64) -> u64 {
    std::fs::metadata(dir.join("kin.db")).expect("there").len() / runs
}

#[test]
fn a_run_takes_at_most_80_bytes_in_bulk() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    assert_eq!(ledger.bulk_insert((0..BULK).map(nth)).expect("a commit"), BULK);
    ledger.close().expect("closed");
    let bytes = bytes_a_run(dir.path(), BULK);
    eprintln!("{bytes} bytes a run, in bulk");
    assert!(bytes <= 80, "{bytes} bytes a run");
}

/// As a day leaves it: queued, running, ended, each in a commit of its own, and others in between.
#[test]
fn a_run_takes_at_most_80_bytes_when_it_has_lived() {
    let dir = scratch();
    let mut ledger = open(dir.path());
    let batches: Vec<Vec<Run>> =
        (0..LIVED / 100).map(|batch| (100 * batch..100 * (batch + 1)).map(nth).collect()).collect();
    let in_state = |runs: &[Run], state: RunState| -> Vec<Run> {
        let started_at = |run: &Run| if state == RunState::Queued { None } else { run.started_at };
        let pid = |run: &Run| if state == RunState::Queued { None } else { run.pid };
        runs.iter()
            .map(|run| Run {
                started_at: started_at(run),
                pid: pid(run),
                ..live(run.job.as_str(), run.no.get() - FIRST, state.clone())
            })
            .collect()
    };
    for n in 0..batches.len() {
        quiet(&mut ledger, &in_state(&batches[n], RunState::Queued));
        quiet(&mut ledger, &in_state(&batches[n], RunState::Starting { generation: Some(u64::MAX / 3) }));
        quiet(&mut ledger, &in_state(&batches[n], RunState::Running { unowned: false, interrupted: false }));
        if let Some(before) = n.checked_sub(5) {
            quiet(&mut ledger, &batches[before]);
        }
    }
    ledger.close().expect("closed");
    let bytes = bytes_a_run(dir.path(), LIVED);
    eprintln!("{bytes} bytes a run, lived");
    assert!(bytes <= 80, "{bytes} bytes a run");
}

fn quiet(ledger: &mut Ledger, runs: &[Run]) {
    let batch = kin_ledger::Batch { runs: runs.iter().collect(), ..Default::default() };
    ledger.apply(&batch, kin_ledger::Durability::Normal).expect("a commit");
}
