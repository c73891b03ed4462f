//! The torture: runs are submitted, watched and judged while kin's processes are killed at random instants.
//!
//! ```text
//!   runners ──submit, release, wait, judge──▶ kin ◀──kill when whole── killer
//!   watchers ──list, show: never false──────▶  │
//!                                              └─▶ guests ──▶ the witness, which kin has no part in
//! ```
//! A *plan* is drawn from the seed for each run: sizes and pace of its output, and how it ends. The guest tells the
//! witness when it begins and when it is about to end; its output is a pattern in which each byte knows its place. So
//! three independent accounts exist of every run (plan, witness, kin), and they must agree.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what a run is to do |
//! | [`field`] | what all threads share: accepted runs, the witness, kills, chains, the first failure |
//! | [`killer`] | who dies when |
//! | [`runner`] | submits, repeats, releases, waits, and judges one run after another |
//! | [`watcher`] | reads listings in between |
//! | [`judge`] | the three accounts compared |
//! | [`jobs`] | defined jobs, in use meanwhile |
//! | [`story`] | many talkative runs while only the daemon dies |
//! | [`ticks`] | jobs that are due each second, while the daemon dies around it |

pub mod field;
pub mod jobs;
pub mod judge;
pub mod killer;
pub mod plan;
pub mod runner;
pub mod story;
pub mod ticks;
pub mod watcher;

use crate::procfs;
use crate::server::{self, Role, Server};
use crate::wait::within;
use field::Field;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Options {
    pub kin: PathBuf,
    pub kills: u64,
    pub victims: Vec<Role>,
    /// Runs at a time.
    pub jobs: u64,
    pub seed: u64,
    /// Kills two within 5 ms, and asks only for: no false state, nothing twice, no guessed code.
    pub pairs: bool,
    /// So many kills of a hundred are aimed at a fault point, if the program has them.
    pub faults_percent: u64,
    /// As on a kernel before 6.15: `lost(unknown)` is allowed, exactly where details say.
    pub no_pidfd_info: bool,
    /// Defined jobs too: services, queues, chains. Not with pairs of kills, nor where codes may be unknown.
    pub with_jobs: bool,
    /// Ends earlier than by the count of kills.
    pub at_most: Option<Duration>,
    /// Says how it goes, on stderr.
    pub talk: bool,
}

impl Options {
    pub fn new(kin: PathBuf, kills: u64, seed: u64) -> Options {
        Options {
            kin,
            kills,
            victims: Role::ALL.into(),
            jobs: 8,
            seed,
            pairs: false,
            faults_percent: 20,
            no_pidfd_info: false,
            with_jobs: false,
            at_most: None,
            talk: false,
        }
    }
}

/// What a torture that held shows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub runs: u64,
    pub repeats: u64,
    pub latched: u64,
    pub unknown: u64,
    pub listings: u64,
    pub output_bytes: u64,
    /// Of defined jobs: runs that were asked for, those that an end led to, and what else was asked of jobs.
    pub job_runs: u64,
    pub followed: u64,
    pub turns: u64,
    pub kills: BTreeMap<&'static str, u64>,
    pub aimed: BTreeMap<String, u64>,
    /// From each kill to a guard that is whole again.
    pub recovery: BTreeMap<&'static str, Vec<Duration>>,
    pub elapsed: Duration,
}

impl Report {
    pub fn kills_in_all(&self) -> u64 {
        self.kills.values().sum()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.output_bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "torture: seed {}, {} kills, {} runs ({} waited at a latch, {} submits repeated), {mib:.1} MiB of output, \
             {} listings read, {} lost(unknown), {:.1} s",
            self.seed,
            self.kills_in_all(),
            self.runs,
            self.latched,
            self.repeats,
            self.listings,
            self.unknown,
            self.elapsed.as_secs_f64()
        )?;
        if self.job_runs > 0 {
            let (runs, followed, turns) = (self.job_runs, self.followed, self.turns);
            writeln!(f, "  jobs: {runs} runs asked for, {followed} followed them, {turns} restarts and pauses")?;
        }
        for (role, times) in &self.recovery {
            let mut times = times.clone();
            times.sort();
            if let (Some(min), Some(max)) = (times.first(), times.last()) {
                let ms = |d: &Duration| d.as_secs_f64() * 1e3;
                let median = times[times.len() / 2];
                let count = self.kills.get(role).copied().unwrap_or_default();
                writeln!(
                    f,
                    "  {role:<14} {count:>5} kills, whole again after {:.1} / {:.1} / {:.1} ms (min / median / max)",
                    ms(min),
                    ms(&median),
                    ms(max)
                )?;
            }
        }
        if !self.aimed.is_empty() {
            let list: Vec<String> = self.aimed.iter().map(|(point, n)| format!("{point} {n}")).collect();
            writeln!(f, "  aimed at fault points: {}", list.join(", "))?;
        }
        Ok(())
    }
}

/// What did not hold, with what is needed to look at it again.
#[derive(Clone, Debug)]
pub struct Failure {
    pub what: String,
    pub seed: u64,
    pub kills: u64,
    pub state: PathBuf,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "after {} kills: {}\nseed {}; the state is kept in {}",
            self.kills,
            self.what,
            self.seed,
            self.state.display()
        )
    }
}

/// Runs it. Everything that must hold is checked on the way and at the end.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let started = Instant::now();
    let faults = tempfile::Builder::new().prefix("kin-faults-").tempdir_in("/tmp").expect("a directory for faults");
    let mut server = server::Options::new(&options.kin).env("KIN_FAULTS", faults.path().to_string_lossy());
    if options.no_pidfd_info {
        server = server.env("KIN_NO_PIDFD_INFO", "1");
    }
    let server = server.prepare();
    if options.with_jobs {
        server.write_jobs(&jobs::definitions());
    }
    server.start_again();
    if options.with_jobs {
        jobs::begin(&server);
    }
    let before = descriptor_counts(&server);
    let field = Field::new(options.clone(), server, faults.path().into());

    std::thread::scope(|scope| {
        for lane in 0..options.jobs {
            let field = &field;
            scope.spawn(move || field.guarded("runner", || runner::drive(field, lane)));
        }
        if options.with_jobs {
            jobs::lanes(scope, &field);
        }
        for lane in 0..2 {
            let field = &field;
            scope.spawn(move || field.guarded("watcher", || watcher::drive(field, lane)));
        }
        field.guarded("killer", || killer::drive(&field));
        field.finish();
    });

    let mut report = field.report();
    report.elapsed = started.elapsed();
    let mut result = field.verdict();
    if options.with_jobs && result.is_ok() {
        result = jobs::finish(&field);
    }
    let mut server = field.into_server();
    if result.is_ok() {
        result = last_look(&server, &before);
    }
    match result {
        Ok(()) => {
            server.shutdown();
            Ok(report)
        }
        Err(what) => {
            let what = format!("{what}\nprocesses:{}", server.describe());
            Err(Failure { what, seed: options.seed, kills: report.kills_in_all(), state: server.keep() })
        }
    }
}

fn descriptor_counts(server: &Server) -> BTreeMap<&'static str, usize> {
    let roles = [Role::Elder, Role::Keeper, Role::Daemon];
    // The daemon keeps a bounded number of readers of the ledger open, as many as were ever needed at once.
    let ledger = |target: &str| target.contains("/kin.db");
    let count = |role: Role| {
        let fds = procfs::descriptors(server.pid(role)?).ok()?;
        Some(fds.values().filter(|target| !ledger(target)).count())
    };
    roles.into_iter().filter_map(|role| Some((role.word(), count(role)?))).collect()
}

/// When all runs have ended: none is live, no spec lies about, and nobody holds more descriptors than before.
fn last_look(server: &Server, before: &BTreeMap<&'static str, usize>) -> Result<(), String> {
    let mut why = String::new();
    let looked = within(Duration::from_secs(20), || {
        why = leftovers(server, before)?;
        why.is_empty().then_some(())
    });
    looked.ok_or_else(|| format!("left over at the end: {why}"))
}

fn leftovers(server: &Server, before: &BTreeMap<&'static str, usize>) -> Option<String> {
    let mut why = Vec::new();
    server.ensure_front();
    let live = server.http().send(&crate::http::Request::get("/v1/runs?state=live")).ok()?;
    let live = live.json()["runs"].as_array().map(Vec::len);
    if live != Some(0) {
        why.push(format!("{live:?} runs are live"));
    }
    let specs = procfs::files_below(&server.run_dir().join("spec")).len();
    if specs > 0 {
        why.push(format!("{specs} specs"));
    }
    for (role, now) in descriptor_counts(server) {
        let then = before.get(role).copied().unwrap_or_default();
        if now > then + 8 {
            let held = Role::parse(role).and_then(|r| server.pid(r)).and_then(|pid| procfs::descriptors(pid).ok());
            why.push(format!("the {role} holds {now} descriptors, {then} at the start: {held:?}"));
        }
    }
    Some(why.join("; "))
}
