//! What kin holds while runs are quiet, and whether it sleeps.

use super::Bench;
use super::figure::{Figure, Target};
use super::rig::Rig;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testkit::procfs;
use testkit::server::Options;
use testkit::wait::let_time_pass;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Memory in bytes.
struct Held {
    /// What each of the two has for itself alone.
    elder: f64,
    keeper: f64,
    /// What is no file's, of all of them, and what two share counted once.
    all: f64,
}

fn held(rig: &Rig) -> Held {
    let look = |pid: u32| procfs::memory(pid).expect("it lives");
    let processes = [rig.pids.elder, rig.pids.keeper, rig.pids.daemon].into_iter().chain(rig.server.front_pid());
    let all = processes.map(|pid| look(pid).anonymous_share).sum::<u64>() as f64;
    Held { elder: look(rig.pids.elder).private as f64, keeper: look(rig.pids.keeper).private as f64, all }
}

/// Starts more of them, until so many run.
fn quiet_runs(rig: &mut Rig, from: usize, to: usize) {
    let request = rig.request(&["/bin/sleep", "100000"]);
    let mut left = to - from;
    while left > 0 {
        let now = left.min(250);
        rig.submit_batch(&request, now);
        left -= now;
    }
    testkit::eventually("all of them run", Duration::from_secs(120), || {
        let list = rig.http.get("/v1/runs?state=running&limit=10000").json();
        (list["runs"].as_array().map(Vec::len) == Some(to)).then_some(())
    });
}

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let mut rig = Rig::of(Options::new(&bench.kin).start());
    let mut at = Vec::new();
    let before_kernel = settled_kernel();
    at.push((0, held(&rig)));
    quiet_runs(&mut rig, 0, 100);
    at.push((100, held(&rig)));
    quiet_runs(&mut rig, 100, 1000);
    at.push((1000, held(&rig)));
    let kernel = settled_kernel() - before_kernel;
    rig.server.shutdown();
    let floor_kernel = sleeping_floor(1000);

    let mut figures = Vec::new();
    for (n, held) in &at {
        let (elder, keeper) = (vec![held.elder / KIB], vec![held.keeper / KIB]);
        figures.push(Figure::new(format!("elder for itself, {n} quiet runs"), elder, "KiB", Target::AtMost(250.0)));
        figures.push(Figure::new(format!("keeper for itself, {n} quiet runs"), keeper, "KiB", Target::AtMost(250.0)));
        let target = match n {
            0 => Target::AtMost(15.0),
            1000 => Target::AtMost(20.0),
            _ => Target::None,
        };
        figures.push(Figure::new(format!("all of kin, {n} quiet runs"), vec![held.all / MIB], "MiB", target));
    }
    if let (Some((_, none)), Some((_, thousand))) = (at.first(), at.last()) {
        let user = (thousand.elder + thousand.keeper - none.elder - none.keeper) / 1000.0 / KIB;
        figures.push(Figure::new("a run, in elder and keeper", vec![user], "KiB", Target::AtMost(1.5)));
        let all = user + (kernel - floor_kernel) / 1000.0 / KIB;
        figures.push(
            Figure::new("a run, with the kernel's memory", vec![all], "KiB", Target::AtMost(8.0))
                .beside(format!("over a bare child's {:.1} KiB of kernel memory", floor_kernel / 1000.0 / KIB)),
        );
    }
    figures
}

/// Slab is freed lazily: the least of a few looks.
fn settled_kernel() -> f64 {
    let look = |_| {
        let_time_pass(Duration::from_millis(300));
        procfs::kernel_memory().expect("meminfo") as f64
    };
    (0..5).map(look).fold(f64::INFINITY, f64::min)
}

/// The kernel's memory for so many children that sleep, without kin.
fn sleeping_floor(n: usize) -> f64 {
    let before = settled_kernel();
    let start = |_| {
        let mut command = Command::new("/bin/sleep");
        command.arg("100000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("sleep starts")
    };
    let children: Vec<Child> = (0..n).map(start).collect();
    let after = settled_kernel();
    for mut child in children {
        child.kill().expect("kills it");
        child.wait().expect("reaped");
    }
    after - before
}

/// Threads that read files and ask SQLite end when they had nothing to do for ten seconds; that is no wake-up of a server
/// at rest.
pub(super) const SETTLES: Duration = Duration::from_secs(13);

/// How often these were woken in a time in which nothing happens.
pub(super) fn quiet(pids: [u32; 3], time: Duration) -> f64 {
    let look = || pids.map(|pid| procfs::switches(pid).expect("it lives")).iter().sum::<u64>();
    let before = look();
    let_time_pass(time);
    look().saturating_sub(before) as f64
}

/// Twenty seconds in which nothing happens.
pub(super) fn idle(bench: &Bench) -> Vec<Figure> {
    let mut rig = Rig::of(Options::new(&bench.kin).start());
    quiet_runs(&mut rig, 0, 100);
    let_time_pass(SETTLES);
    let pids = [rig.pids.elder, rig.pids.keeper, rig.pids.daemon];
    let look = || pids.map(|pid| (procfs::switches(pid).expect("it lives"), procfs::cpu(pid).expect("it lives").own));
    let before = look();
    let_time_pass(Duration::from_secs(20));
    let after = look();
    rig.server.shutdown();
    let mut figures = Vec::new();
    for (i, role) in ["elder", "keeper", "daemon"].into_iter().enumerate() {
        let woken = after[i].0.saturating_sub(before[i].0) as f64;
        let cpu = after[i].1.saturating_sub(before[i].1).as_secs_f64() * 1e6;
        let name = format!("{role}, wake-ups in 20 s beside 100 quiet runs");
        figures.push(Figure::new(name, vec![woken], "", Target::AtMost(0.0)));
        figures.push(Figure::new("… CPU", vec![cpu], "µs", Target::AtMost(0.0)));
    }
    figures
}
