//! Jobs that are due each second, while the daemon is killed around each of these seconds: every instant is decided once,
//! and what is decided to be run is run once.
//!
//! Three accounts must agree: what the schedules say (each second), what kin says it decided, and what the runs wrote down
//! themselves.

use crate::procfs;
use crate::rng::Rng;
use crate::server::{DEADLINE, Options, Role, Server};
use crate::wait::{eventually, let_time_pass, within};
use crate::witness::{ns_of, unix_ns};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
/// So far from a full second at most.
const NEAR: u64 = 250_000_000;
/// Where a daemon is told to die between two steps.
const POINTS: [&str; 4] = ["ticks-decided", "ticks-committed", "start-committed", "start-sent"];
/// Those that are due each second, and what becomes of them.
const EACH: [&str; 4] = ["all", "some", "narrow", "wide"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub kills: u64,
    /// Of them between two steps that were aimed at.
    pub aimed: BTreeMap<String, u64>,
    pub decisions: BTreeMap<String, u64>,
    pub ran: u64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ticks: seed {}, {} kills (aimed: {:?}), {} runs, ", self.seed, self.kills, self.aimed, self.ran)?;
        write!(f, "decided: {:?}", self.decisions)
    }
}

/// Panics on the first thing that is not true.
pub fn run(kin: &Path, kills: u64, seed: u64) -> Report {
    let mut rng = Rng::new(seed);
    let mut report = Report { seed, ..Report::default() };
    let faults = tempfile::tempdir().expect("a directory");
    let server = Options::new(kin).env("KIN_FAULTS", faults.path().to_string_lossy()).prepare();
    let write = "command = 'echo $KIN_TICK $KIN_RUN_ID >> $HOME/witness";
    let text = format!(
        "[all]\nschedule = '* * * * * *'\n{write}'\noverlap = 'allow'\ncatch_up = 'all'\ncatch_up_max = 1000\ncatch_up_delay = '0s'\n\
         [some]\nschedule = '@every 1s'\n{write}'\noverlap = 'allow'\n\
         [narrow]\nschedule = 'calendar: *:*:*'\n{write}; sleep 1.4'\n\
         [wide]\nschedule = '@every 1s'\n{write}'\noverlap = 'allow'\njitter = '800ms'\n"
    );
    std::fs::write(server.home().join("jobs.toml"), text).expect("writes");
    server.start_again();
    let from = unix_ns() / SECOND + 1;
    for _ in 0..kills {
        let next = (unix_ns() + NEAR) / SECOND * SECOND + SECOND;
        let at = next - NEAR + rng.below(2 * NEAR);
        if rng.percent(40) {
            let point = *rng.pick(&POINTS);
            report.aimed.entry(point.into()).and_modify(|n| *n += 1).or_insert(1);
            step_on(&server, &faults.path().join(point), at);
        } else {
            let_time_pass(Duration::from_nanos(at.saturating_sub(unix_ns())));
            assert!(server.kill(Role::Daemon).is_some(), "there was a daemon to kill");
        }
        server.wait_whole(DEADLINE);
        report.kills += 1;
    }
    let to = unix_ns() / SECOND;
    for job in EACH {
        let path = format!("/v1/jobs/{job}/disable");
        server.http().insist(&crate::http::Request::post(&path, &json!({})), DEADLINE).expect("an answer").expect(200);
    }
    eventually("all runs have ended", DEADLINE, || {
        let server = server.http().get("/v1/server").expect(200).json();
        (server["live_runs"] == 0).then_some(())
    });
    judge(&server, from, to, &mut report);
    server.shutdown();
    report
}

/// The daemon kills itself when it comes by there next.
fn step_on(server: &Server, point: &Path, at: u64) {
    let daemon = server.pid(Role::Daemon).expect("a daemon");
    let_time_pass(Duration::from_nanos(at.saturating_sub(unix_ns() + 2 * NEAR)));
    std::fs::write(point, "").expect("lays out a fault");
    let died = procfs::gone_within(daemon, DEADLINE);
    assert!(died, "something is due each second, and nobody came by {}", point.display());
}

fn all(server: &Server, path: &str, of: &str) -> Vec<Value> {
    let (mut items, mut before) = (Vec::new(), String::new());
    loop {
        let page = server.http().get(&format!("{path}?limit=1000{before}")).expect(200).json();
        items.extend(page[of].as_array().cloned().expect("items"));
        before = match &page["next"] {
            Value::Null => return items,
            Value::String(next) => format!("&before={next}"),
            next @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                format!("&before={next}")
            }
        };
    }
}

fn second(value: &Value) -> u64 {
    value.as_str().and_then(ns_of).expect("an instant") / SECOND
}

fn judge(server: &Server, from: u64, to: u64, report: &mut Report) {
    let runs: BTreeMap<String, Value> = all(server, "/v1/runs", "runs")
        .into_iter()
        .map(|run| (run["id"].as_str().expect("an id").to_string(), run))
        .collect();
    let witness = within(DEADLINE, || std::fs::read_to_string(server.home().join("witness")).ok()).expect("a witness");
    let mut wrote: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for line in witness.lines() {
        let (at, id) = line.split_once(' ').expect("two words");
        *wrote.entry((id, at.parse().expect("a second"))).or_default() += 1;
    }
    let ticks = all(server, "/v1/ticks", "ticks");
    let mut decided: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut made = BTreeSet::new();
    for tick in &ticks {
        let (job, at) = (tick["job"].as_str().expect("a job"), second(&tick["at"]));
        let until = if tick["until"].is_null() { at } else { second(&tick["until"]) };
        let word = tick["decision"].as_str().expect("a word");
        *report.decisions.entry(word.into()).or_default() += until - at + 1;
        let of_job = decided.entry(job).or_default();
        assert!((at..=until).all(|at| of_job.insert(at)), "decided twice: {tick}");
        let Some(id) = tick["run"].as_str() else {
            // The last kill is over when the jobs are disabled.
            assert!(word == "missed" || (word == "skipped-disabled" && at >= to), "{tick}");
            continue;
        };
        let run = runs.get(id).unwrap_or_else(|| panic!("its run is not there: {tick}"));
        assert_eq!(second(&run["trigger"]["at"]), at, "{tick}: {run}");
        assert!(made.insert(id), "two ticks made {id}");
        let ran = wrote.get(&(id, at)).copied().unwrap_or(0);
        let outcome = run["outcome"].as_str().expect("it has ended");
        let expected = u64::from(outcome == "ok");
        assert!(["ok", "skipped"].contains(&outcome), "{run}");
        assert_eq!(ran, expected, "{tick}: {run}");
        assert!(["run", "caught-up"].contains(&word) || outcome == "skipped", "{tick}: {run}");
        report.ran += ran;
    }
    assert_eq!(wrote.values().sum::<u64>(), report.ran, "each that wrote was made by a tick");
    for job in EACH {
        let seconds = &decided[job];
        let left_out: Vec<u64> = (from..to).filter(|at| !seconds.contains(at)).collect();
        assert!(left_out.is_empty(), "nobody decided these of {job}: {left_out:?}");
    }
    let of_all = ticks.iter().filter(|tick| tick["job"] == "all" && second(&tick["at"]) < to);
    for tick in of_all {
        assert!(["run", "caught-up"].contains(&tick["decision"].as_str().expect("a word")), "it runs all: {tick}");
    }
}
