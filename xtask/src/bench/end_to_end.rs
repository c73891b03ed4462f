//! From a request to a recorded end, with everything in between: HTTP, rules, ledger, keeper.

use super::Bench;
use super::figure::{Figure, Target, median};
use super::floors::Cost;
use super::rig::Rig;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::{procfs, witness};

const RUNS: u64 = 1000;
const BATCH: usize = 500;
const TYPED: u64 = 150;
const STAMPS: u64 = 150;

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let mut fast = Rig::start(bench, "fast");
    let mut full = Rig::start(bench, "full");
    let dir = tempfile::tempdir().expect("a directory");
    let synced = dir.path().join("synced");

    let mut floors = Vec::new();
    let mut synced_floors = Vec::new();
    let [mut rate_fast, mut cpu_fast, mut rate_full, mut cpu_full] = [const { Vec::new() }; 4];
    let [mut batch_fast, mut batch_full, mut typed, mut typed_cpu] = [const { Vec::new() }; 4];
    let [mut stamp_api, mut stamp_cli, mut stamp_floor] = [const { Vec::new() }; 3];
    // The first runs of a server open files and fill caches: they are not counted.
    one_at_a_time(&mut fast, 50);
    one_at_a_time(&mut full, 50);
    for round in 0..bench.rounds {
        eprintln!("   round {}", round + 1);
        let floor = bench.spawn_floor("spawn", RUNS, None);
        let kin = one_at_a_time(&mut fast, RUNS);
        rate_fast.push(kin.rate() / floor.rate());
        cpu_fast.push(kin.cpu_each() / floor.cpu_each());
        let batch = in_batches(&mut fast, RUNS);
        batch_fast.push(batch.rate() / floor.rate());
        let synced_floor = bench.spawn_floor("spawn-sync", RUNS / 2, Some(&synced));
        let kin = one_at_a_time(&mut full, RUNS / 2);
        rate_full.push(kin.rate() / synced_floor.rate());
        cpu_full.push(kin.cpu_each() / synced_floor.cpu_each());
        batch_full.push(in_batches(&mut full, RUNS).rate() / floor.rate());
        let by_hand = by_command(&mut fast, TYPED);
        typed.push(by_hand.rate() / floor.rate());
        typed_cpu.push(by_hand.cpu_each() * 1e3);
        floors.push(floor);
        synced_floors.push(synced_floor);

        let floor = median(&stamps_of_floor(bench, dir.path()));
        stamp_floor.push(floor);
        stamp_api.push(median(&stamps(bench, &mut fast, dir.path(), false)) / floor);
        stamp_cli.push(median(&stamps(bench, &mut fast, dir.path(), true)) / floor);
    }
    let words = |costs: &[Cost]| costs.get(costs.len() / 2).map(|c| c.words()).unwrap_or_default();
    let (beside, beside_synced) = (words(&floors), words(&synced_floors));
    let mut figures = vec![
        Figure::new("runs/s, one connection, durability fast", rate_fast, "×", Target::AtLeast(1.1)).beside(beside),
        Figure::new("… their CPU, the runs' own included", cpu_fast, "×", Target::AtMost(1.35)),
        Figure::new("runs/s, one connection, durability full", rate_full, "×", Target::AtLeast(0.85))
            .beside(format!("synced {beside_synced}")),
        Figure::new("… their CPU", cpu_full, "×", Target::None),
        Figure::new("500 in one batch, durability fast", batch_fast, "×", Target::AtLeast(1.25)),
        Figure::new("500 in one batch, durability full", batch_full, "×", Target::AtLeast(1.1)),
        Figure::new("kin exec --detach, a process each", typed, "×", Target::AtLeast(0.65)),
        Figure::new("… CPU of the client", typed_cpu, "ms", Target::AtMost(1.0)),
        Figure::new("request to the child's first instruction", stamp_api, "×", Target::AtMost(1.9))
            .beside(format!("floor {:.0} µs", median(&stamp_floor) * 1e6)),
        Figure::new("… by the command line", stamp_cli, "×", Target::AtMost(2.8)),
    ];
    fast.server.shutdown();
    full.server.shutdown();
    if bench.full {
        figures.push(beside_a_long_history(bench));
    }
    figures
}

/// Submitted one after another over one connection; done when every end is recorded.
pub(super) fn one_at_a_time(rig: &mut Rig, n: u64) -> Cost {
    let request = rig.request(&["/bin/true"]);
    measured(rig, n, |rig| {
        let mut last = String::new();
        for _ in 0..n {
            last = rig.submit(&request);
        }
        last
    })
}

fn in_batches(rig: &mut Rig, n: u64) -> Cost {
    let request = rig.request(&["/bin/true"]);
    measured(rig, n, |rig| {
        let mut last = String::new();
        for _ in 0..n as usize / BATCH {
            last = rig.submit_batch(&request, BATCH).pop().expect("a batch has runs");
        }
        last
    })
}

fn measured(rig: &mut Rig, n: u64, work: impl FnOnce(&mut Rig) -> String) -> Cost {
    rig.connect();
    let before = rig.used();
    let start = Instant::now();
    let last = work(rig);
    rig.wait_all(&last);
    let wall = start.elapsed();
    Cost { wall, cpu: rig.used().since(before).total(), n }
}

/// The processor time is the clients' alone here.
fn by_command(rig: &mut Rig, n: u64) -> Cost {
    let mine = || procfs::cpu(std::process::id()).expect("me").waited;
    let before = mine();
    let start = Instant::now();
    let mut last = String::new();
    for _ in 0..n {
        let mut command = rig.server.command();
        command.args(["exec", "--detach", "--", "/bin/true"]).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let out = command.output().expect("kin exec runs");
        assert!(out.status.success(), "kin exec --detach ends well");
        last = String::from_utf8(out.stdout).expect("an id").trim().to_string();
    }
    rig.wait_all(&last);
    Cost { wall: start.elapsed(), cpu: mine().saturating_sub(before), n }
}

/// Seconds from just before the request to the child's own first word, each.
fn stamps(bench: &Bench, rig: &mut Rig, dir: &Path, typed: bool) -> Vec<f64> {
    let file = dir.join("stamps");
    let floor = bench.floor.to_string_lossy().into_owned();
    let words = [floor.as_str(), "stamp", file.to_str().expect("text")];
    let request = rig.request(&words);
    rig.connect();
    each_stamp(&file, || {
        if typed {
            let mut command: Command = rig.server.command();
            command.args(["exec", "--detach", "--"]).args(words).stdout(Stdio::null());
            assert!(command.status().expect("kin exec runs").success());
        } else {
            rig.submit(&request);
        }
    })
}

fn stamps_of_floor(bench: &Bench, dir: &Path) -> Vec<f64> {
    let file = dir.join("stamps");
    let program = format!("{} stamp {}", bench.floor.display(), file.display());
    let (mut child, mut connection) = bench.daemon_floor(dir, &program);
    let times = each_stamp(&file, || {
        connection.write_all(b"s").expect("asks");
        connection.read_exact(&mut [0]).expect("is answered");
    });
    drop(connection);
    child.wait().expect("the floor ends with its client");
    times
}

fn each_stamp(file: &Path, mut ask: impl FnMut()) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..STAMPS {
        if file.exists() {
            std::fs::remove_file(file).expect("the last stamp goes");
        }
        let asked = witness::unix_ns();
        ask();
        let stamp: u64 = testkit::eventually("a stamp", Duration::from_secs(10), || {
            std::fs::read_to_string(file).ok()?.trim_end_matches('\n').parse().ok()
        });
        times.push(Duration::from_nanos(stamp.saturating_sub(asked)).as_secs_f64());
    }
    times
}

/// The same work where the ledger holds ten million runs already.
fn beside_a_long_history(bench: &Bench) -> Figure {
    let mut empty = Rig::start(bench, "fast");
    let mut long = Rig::of(super::history::server_with(bench, 10_000_000, Some("fast")));
    let mut ratios = Vec::new();
    for _ in 0..bench.rounds {
        let a = one_at_a_time(&mut empty, RUNS);
        ratios.push(one_at_a_time(&mut long, RUNS).rate() / a.rate());
    }
    empty.server.shutdown();
    long.server.shutdown();
    Figure::new("runs/s beside 10 million recorded ones, over an empty ledger", ratios, "×", Target::AtLeast(0.95))
}
