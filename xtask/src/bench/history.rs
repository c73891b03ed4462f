//! A long history: pages of it inside the ledger, the same as whole commands, and its size.

use super::Bench;
use super::figure::{Figure, Target, median};
use kin_core::{Exit, JobName, Mint, Outcome, Run, RunState, Time, Trigger};
use kin_ledger::{Ledger, OutcomeIs, Query, Reader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use testkit::rng::Rng;
use testkit::server::{Options, Server};
use testkit::{procfs, witness};

const MILLION: u64 = 1_000_000;
const JOBS: u64 = 1_000;
/// The history lies in the days before now: what is older than thirty of them, a server removes.
const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 25;

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let mut figures = Vec::new();
    for runs in if bench.full { vec![MILLION, 10 * MILLION] } else { vec![MILLION] } {
        let server = prepared(bench, runs, None);
        let bytes: u64 =
            procfs::files_below(&server.state()).iter().filter_map(|f| Some(f.metadata().ok()?.len())).sum();
        let million = runs / MILLION;
        let each = vec![bytes as f64 / runs as f64];
        figures.push(Figure::new(format!("on disk, of {million} million runs"), each, "B/run", Target::AtMost(80.0)));
        for (name, query) in questions() {
            let name = format!("{name}, {million} million runs, in the ledger");
            figures.push(Figure::new(name, pages(bench, &server.state(), &query), "ms", Target::AtMost(1.0)));
        }
        server.start_again();
        for (name, words) in commands() {
            let name = format!("{name}, {million} million runs, whole command");
            figures.push(Figure::new(name, typed(bench, &server, &words), "ms", Target::AtMost(5.0)));
        }
        server.shutdown();
    }
    figures
}

fn questions() -> [(&'static str, Query); 4] {
    let job = Some("job-500".to_string());
    let failed = Some(OutcomeIs::Failure);
    [
        ("first page", Query::default()),
        ("… of one job", Query { job: job.clone(), ..Query::default() }),
        ("… of failures", Query { outcome: failed, ..Query::default() }),
        ("… of one job's failures", Query { job, outcome: failed, ..Query::default() }),
    ]
}

fn commands() -> [(&'static str, Vec<&'static str>); 4] {
    [
        ("kin log", vec!["log"]),
        ("kin log of one job", vec!["log", "--job", "job-500"]),
        ("kin log of failures", vec!["log", "--failed"]),
        ("kin log of one job's failures", vec!["log", "--job", "job-500", "--failed"]),
    ]
}

/// Milliseconds of a page, by a reader whose cache is warm.
fn pages(bench: &Bench, state: &Path, query: &Query) -> Vec<f64> {
    let reader = Reader::open(state).expect("a reader");
    let ask = || {
        let start = Instant::now();
        let page = reader.runs(query).expect("a page");
        assert_eq!(page.runs.len(), 50);
        start.elapsed().as_secs_f64() * 1e3
    };
    ask();
    (0..bench.rounds).map(|_| median(&(0..20).map(|_| ask()).collect::<Vec<_>>())).collect()
}

fn typed(bench: &Bench, server: &Server, words: &[&str]) -> Vec<f64> {
    let ask = || {
        let mut command = server.command();
        command.args(words).stdout(Stdio::null()).stderr(Stdio::inherit());
        let start = Instant::now();
        assert!(command.status().expect("kin starts").success(), "{words:?}");
        start.elapsed().as_secs_f64() * 1e3
    };
    ask();
    (0..bench.rounds).map(|_| median(&(0..10).map(|_| ask()).collect::<Vec<_>>())).collect()
}

/// A server, started, whose ledger holds so many ended runs.
pub(super) fn server_with(bench: &Bench, runs: u64, durability: Option<&str>) -> Server {
    let server = prepared(bench, runs, durability);
    server.start_again();
    server
}

fn prepared(bench: &Bench, runs: u64, durability: Option<&str>) -> Server {
    let options = Options::new(&bench.kin);
    let server = durability.map_or(options.clone(), |word| options.durability(word)).prepare();
    eprintln!("   writing {runs} runs");
    let state = server.state();
    std::fs::create_dir_all(&state).expect("a state");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&state, private).expect("a state of our own");
    let opened = Ledger::open(&state, now()).expect("a ledger");
    let mut ledger = opened.ledger;
    let done = ledger.bulk_insert(&mut History::new(runs)).expect("writes");
    assert_eq!(done, runs);
    ledger.close().expect("closes");
    server
}

fn now() -> Time {
    Time::from_millis(i64::try_from(witness::unix_ns() / 1_000_000).expect("this century"))
}

/// Ended runs as a busy machine would have them: a thousand jobs, one in twenty fails.
struct History {
    left: u64,
    rng: Rng,
    mint: Mint,
    jobs: Vec<JobName>,
    now_ms: i64,
    /// From one run to the next, on average.
    apart_ms: i64,
}

impl History {
    fn new(runs: u64) -> History {
        let jobs = (0..JOBS).map(|n| JobName::parse(&format!("job-{n}")).expect("a name")).collect();
        let began_ms = now().millis() - (DAYS + 1) * DAY_MS;
        let apart_ms = DAYS * DAY_MS / i64::try_from(runs.max(1)).expect("not so many");
        History { left: runs, rng: Rng::new(7), mint: Mint::after(0), jobs, now_ms: began_ms, apart_ms }
    }
}

impl Iterator for History {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        self.left = self.left.checked_sub(1)?;
        self.now_ms += self.rng.between(1, 2 * self.apart_ms.unsigned_abs()) as i64;
        let created = Time::from_millis(self.now_ms);
        let took_ms = self.rng.between(2, 90_000) as i64;
        let job = self.rng.pick(&self.jobs).clone();
        let code = if self.rng.percent(5) { self.rng.between(1, 9) as u8 } else { 0 };
        let outcome = if code == 0 { Outcome::Ok } else { Outcome::Failed { code } };
        Some(Run {
            no: self.mint.next(created),
            slot: 0,
            attempt: 1,
            follows: None,
            trigger: Trigger::Manual { by: "uid:1000".into() },
            state: RunState::Ended { outcome },
            exit: Some(Exit::Code(code)),
            pid: Some(self.rng.between(300, 4_000_000) as u32),
            created_at: created,
            started_at: Some(created.plus(self.rng.between(300_000, 3_000_000) as i64)),
            ended_at: Some(created.plus(took_ms * 1_000_000)),
            out_bytes: self.rng.below(20_000),
            err_bytes: if self.rng.percent(10) { self.rng.below(500) } else { 0 },
            out_dropped: 0,
            err_dropped: 0,
            max_rss_bytes: Some(self.rng.between(1_000, 90_000) * 1024),
            cpu_ms: Some(self.rng.below(5_000)),
            left_behind: 0,
            group: None,
            group_max: 0,
            command: vec!["/usr/local/bin/work".into(), job.as_str().into()],
            directory: "/srv/work".into(),
            timeout_ms: None,
            tags: Vec::new(),
            tty: false,
            boot: "bench".into(),
            terms: kin_core::Terms::default(),
            health: kin_core::Health::default(),
            notes: kin_core::run::Notes::default(),
            job,
        })
    }
}
