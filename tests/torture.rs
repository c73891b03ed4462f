//! The promise itself, in short: any process of kin is killed at any instant, and nothing is lost, nothing runs twice, no
//! state is false. The long form is `cargo xtask torture`.

use std::time::Duration;
use testkit::rng::Rng;
use testkit::torture::{self, Options, Report};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

fn options(kills: u64) -> Options {
    Options::new(KIN.into(), kills, Rng::fresh_seed() % 1_000_000_000)
}

fn tortured(options: &Options) -> Report {
    match torture::run(options) {
        Ok(report) => {
            println!("{report}");
            report
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// Each run that was accepted starts once, ends as it ended, and has each byte of its output once and in order.
#[test]
fn inv_01_an_accepted_run_starts_exactly_once_whoever_is_killed() {
    let report = tortured(&Options { at_most: Some(Duration::from_secs(55)), ..options(320) });
    assert!(report.kills_in_all() >= 300, "{report}");
    assert!(report.runs > 50 && report.latched > 0 && report.repeats > 0, "{report}");
    assert_eq!(report.unknown, 0, "{report}");
}

/// Defined jobs in use meanwhile: no slot has two runs, no queue more than its places, no chain a step too many.
#[test]
fn inv_01_what_is_defined_holds_whoever_is_killed() {
    let with_jobs = Options { with_jobs: true, jobs: 2, at_most: Some(Duration::from_secs(20)), ..options(90) };
    let report = tortured(&with_jobs);
    assert!(report.kills_in_all() >= 40, "{report}");
    assert!(report.job_runs > 30 && report.followed > 10 && report.turns > 5, "{report}");
}

/// Where the kernel tells only parents, `lost(unknown)` stands exactly where it may, and a code is never made up.
#[test]
fn inv_02_an_exit_code_is_never_guessed() {
    let without = Options { no_pidfd_info: true, at_most: Some(Duration::from_secs(25)), jobs: 4, ..options(80) };
    tortured(&without);
    let pairs =
        Options { pairs: true, faults_percent: 0, at_most: Some(Duration::from_secs(25)), jobs: 4, ..options(60) };
    tortured(&pairs);
}
