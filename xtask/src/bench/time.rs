//! Schedules under real time: two thousand jobs that are due in the same second, beside a floor that only starts as many
//! processes at an instant; jitter; and what ten thousand schedules cost while nothing is due.

use super::Bench;
use super::figure::{Figure, Target, quantile};
use super::memory::SETTLES;
use super::rig::Rig;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::procfs;
use testkit::server::{DEADLINE, Options};
use testkit::wait::{eventually, let_time_pass};
use testkit::witness::unix_ns;

const JOBS: usize = 2000;
const SCHEDULES: usize = 10_000;
const SECOND: u64 = 1_000_000_000;
/// All jobs are due so often; in the middle between two such seconds it is the floor's turn.
const PERIOD: u64 = 30;
const JITTER: u64 = 8;

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let mut figures = same_second(bench, "fast", 1.25);
    figures.extend(same_second(bench, "full", 1.5));
    figures.extend(spread(bench));
    figures.extend(idle(bench));
    figures
}

/// Sorted, in ms after the instant.
fn lateness(file: &Path, due: u64) -> Vec<f64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let stamps = text.lines().filter_map(|line| line.parse::<u64>().ok());
    let of_this = stamps.filter(|at| (due..due + PERIOD * SECOND / 2).contains(at));
    let mut late: Vec<f64> = of_this.map(|at| (at - due) as f64 / 1e6).collect();
    late.sort_by(f64::total_cmp);
    late
}

/// `JOBS` jobs that stamp a file.
fn jobs(bench: &Bench, durability: &str, schedule: &str, more: &str) -> (Rig, std::path::PathBuf) {
    let server = Options::new(&bench.kin).durability(durability).prepare();
    let file = server.home().join("stamps");
    let mut text = String::new();
    for n in 0..JOBS {
        let exec = format!("exec = [{:?}, 'stamp', {:?}]", bench.floor.display(), file.display());
        writeln!(text, "[j{n}]\n{exec}\nschedule = '{schedule}'\noverlap = 'allow'\n{more}").expect("text");
    }
    std::fs::write(server.home().join("jobs.toml"), text).expect("writes");
    server.start_again();
    let mut rig = Rig::of(server);
    eventually("all jobs are known", DEADLINE, || {
        let list = rig.http.get("/v1/ticks/next?limit=10000&within_ms=3600000").json();
        (list["due"].as_array().map_or(0, Vec::len) >= JOBS).then_some(())
    });
    (rig, file)
}

/// The next full second that is so many after a multiple of the period, and not too near.
fn next(after: u64) -> u64 {
    let now = unix_ns() + 2 * SECOND;
    let mut at = now / (PERIOD * SECOND) * PERIOD * SECOND + after * SECOND;
    while at < now {
        at += PERIOD * SECOND;
    }
    at
}

fn until(at: u64) {
    let_time_pass(Duration::from_nanos(at.saturating_sub(unix_ns())));
}

fn same_second(bench: &Bench, durability: &str, most: f64) -> Vec<Figure> {
    let (rig, file) = jobs(bench, durability, &format!("*/{PERIOD} * * * * *"), "");
    let floor_file = rig.server.home().join("floor");
    let [mut ratio, mut p50, mut p99, mut last, mut floor_last, mut dropped] = [const { Vec::new() }; 6];
    let mut instants = Vec::new();
    for round in 0..bench.rounds {
        eprintln!("   round {}", round + 1);
        let due = next(0);
        until(due + PERIOD * SECOND / 2 - 3 * SECOND);
        let late = lateness(&file, due);
        let at = next(PERIOD / 2);
        let mut floor = Command::new(&bench.floor);
        floor.args(["burst", &JOBS.to_string()]).arg(format!(
            "{} stamp {}",
            bench.floor.display(),
            floor_file.display()
        ));
        assert!(floor.arg(at.to_string()).status().expect("the floor runs").success());
        let bare = lateness(&floor_file, at);
        assert_eq!(bare.len(), JOBS, "the floor starts all");
        dropped.push(JOBS as f64 - late.len() as f64);
        let (mine, its) = (late.last().copied().unwrap_or(f64::NAN), bare[JOBS - 1]);
        ratio.push(mine / its);
        p50.push(quantile(&late, 0.5));
        p99.push(quantile(&late, 0.99));
        last.push(mine);
        floor_last.push(its);
        instants.push(due / SECOND);
    }
    let recorded = recorded(rig, &instants);
    let name = |what: &str| format!("2,000 jobs due in one second, durability {durability}: {what}");
    let floor = quantile(
        &{
            let mut all = floor_last;
            all.sort_by(f64::total_cmp);
            all
        },
        0.5,
    );
    vec![
        Figure::new(name("the last start"), ratio, "×", Target::AtMost(most))
            .beside(format!("floor's last {floor:.0} ms")),
        Figure::new("… lateness, p50", p50, "ms", Target::None),
        Figure::new("… lateness, p99", p99, "ms", Target::None),
        Figure::new("… lateness, maximum", last, "ms", Target::None),
        Figure::new("… not started", dropped, "", Target::AtMost(0.0)),
        Figure::new(
            "… instants of which no decision is recorded with its lateness",
            vec![recorded],
            "",
            Target::AtMost(0.0),
        ),
    ]
}

/// Of how many instants there is no record.
fn recorded(mut rig: Rig, instants: &[u64]) -> f64 {
    let (mut known, mut before) = (0, String::new());
    loop {
        rig.connect();
        let page = rig.http.get(&format!("/v1/ticks?limit=10000{before}")).json();
        let ticks = page["ticks"].as_array().cloned().unwrap_or_default();
        let is_meant = |tick: &&Value| {
            let at = tick["at"].as_str().and_then(testkit::witness::ns_of).map(|ns| ns / SECOND);
            at.is_some_and(|at| instants.contains(&at)) && tick["decision"] == "run" && tick["late_ms"].is_u64()
        };
        known += ticks.iter().filter(is_meant).count();
        match page["next"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    rig.server.shutdown();
    (instants.len() * JOBS) as f64 - known as f64
}

/// With jitter they are spread, and none is later than that.
fn spread(bench: &Bench) -> Vec<Figure> {
    let (rig, file) = jobs(bench, "fast", &format!("*/{PERIOD} * * * * *"), &format!("jitter = '{JITTER}s'\n"));
    let (mut fullest, mut over) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(2) {
        let due = next(0);
        until(due + (JITTER + 4) * SECOND);
        let late = lateness(&file, due);
        let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
        for ms in &late {
            *seconds.entry((ms / 1e3) as u64).or_default() += 1;
        }
        let mean = JOBS as f64 / JITTER as f64;
        fullest.push(seconds.values().copied().max().unwrap_or(0) as f64 / mean);
        over.push(JOBS as f64 - late.iter().filter(|ms| **ms < (JITTER * 1000 + 500) as f64).count() as f64);
    }
    rig.server.shutdown();
    vec![
        Figure::new("with a jitter of 8 s: the fullest second over the mean", fullest, "×", Target::AtMost(1.3)),
        Figure::new("… not started within it", over, "", Target::AtMost(0.0)),
    ]
}

/// Twenty seconds in which ten thousand schedules are not due.
fn idle(bench: &Bench) -> Vec<Figure> {
    let server = Options::new(&bench.kin).prepare();
    let hour = (unix_ns() / SECOND / 3600 + 12) % 24;
    let job = |n: usize| format!("[j{n}]\ncommand = 'true'\nschedule = '{} {hour} * * *'\ntimezone = 'UTC'\n", n % 60);
    std::fs::write(server.home().join("jobs.toml"), (0..SCHEDULES).map(job).collect::<String>()).expect("writes");
    server.start_again();
    let mut rig = Rig::of(server);
    eventually("all jobs are known", DEADLINE, || {
        let list = rig.http.get("/v1/ticks/next?limit=10000").json();
        (list["due"].as_array().map_or(0, Vec::len) >= SCHEDULES).then_some(())
    });
    let_time_pass(SETTLES);
    let look = || (procfs::switches(rig.pids.daemon).expect("it lives"), rig.used().total());
    let before = look();
    let_time_pass(Duration::from_secs(20));
    let after = look();
    let (woken, cpu) = (after.0.saturating_sub(before.0) as f64, after.1.saturating_sub(before.1).as_secs_f64() * 1e6);
    let memory = procfs::anonymous(rig.pids.daemon).expect("it lives") as f64 / f64::from(1 << 20);
    rig.server.shutdown();
    vec![
        Figure::new(
            "10,000 schedules: wake-ups of the daemon in 20 s before the next is due",
            vec![woken],
            "",
            Target::AtMost(0.0),
        ),
        Figure::new("… CPU of all of kin", vec![cpu], "µs", Target::None),
        Figure::new("… memory of the daemon", vec![memory], "MiB", Target::None),
    ]
}
