//! What a test may set of a debug build, and nobody of a release: times and sizes that would take days and gigabytes.
//!
//! `KIN_TEST_CARE_MS` says how long after a run's end old runs and logs are looked at; `KIN_TEST_KEEP` says what of them
//! is kept: `count=100 per_job=10 events=1000 job_bytes=100000`. `KIN_TEST_MAKE_MS` says how long a run's surroundings are waited for; with
//! `KIN_TEST_HANGS` an env file, or a run's directory of logs, does not answer while another of its name with `.hangs` after it is there. The clock's own is in
//! `clock.rs`.

use kin_ledger::Retention;
use std::time::Duration;

const MAKE_WITHIN: Duration = Duration::from_secs(30);
const CARE_AFTER: Duration = Duration::from_secs(300);

/// The file that stands for systemd's socket: `KIN_TEST_SYSTEMD`.
pub(crate) fn systemd() -> Option<std::path::PathBuf> {
    set("KIN_TEST_SYSTEMD").map(Into::into)
}

pub(crate) fn care_after() -> Duration {
    set("KIN_TEST_CARE_MS").and_then(|text| text.parse().ok()).map_or(CARE_AFTER, Duration::from_millis)
}

/// What a run finds around it is waited for so long.
pub(crate) fn make_within() -> Duration {
    set("KIN_TEST_MAKE_MS").and_then(|text| text.parse().ok()).map_or(MAKE_WITHIN, Duration::from_millis)
}

/// As a file on a network that is away.
pub(crate) fn hang(path: &std::path::Path) {
    if set("KIN_TEST_HANGS").is_some() {
        let mark = std::path::PathBuf::from(format!("{}.hangs", path.display()));
        while mark.exists() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

/// What is kept, but for what a test says.
pub(crate) fn keep(retention: Retention, job_output_max: u64) -> (Retention, u64) {
    let (mut retention, mut job_bytes) = (retention, job_output_max);
    for (name, value) in set("KIN_TEST_KEEP").iter().flat_map(|text| text.split(' ')).filter_map(|w| w.split_once('='))
    {
        let value: Option<u64> = value.parse().ok();
        match name {
            "count" => retention.max_count = value,
            "per_job" => retention.per_job = value,
            "events" => retention.events_max_count = value,
            "job_bytes" => job_bytes = value.unwrap_or(job_bytes),
            _ => {}
        }
    }
    (retention, job_bytes)
}

#[cfg(debug_assertions)]
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(not(debug_assertions))]
fn set(_name: &str) -> Option<String> {
    None
}
