//! What starting and reaping a run costs beside a bare `clone3` and `exec`, and at how many open descriptors.
//!
//! `cargo run --release -p kin-keeper --example spawn_cost -- /bin/true [PROGRAM...]`

use kin_keeper::cgroup::Cgroups;
use kin_keeper::spawn::{Arena, Prepared, Restore, Way, spawn};
use kin_keeper::spec::{Spec, SpecView, User};
use kin_keeper::sys::clone::floor;
use kin_keeper::sys::wait::{Waited, peek, reap};
use kin_keeper::table::Table;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::CString;
use std::time::Instant;

const ROUNDS: usize = 7;
const RUNS: usize = 300;
/// As many descriptors as a thousand runs keep open.
const OPEN: usize = 7_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut programs: Vec<String> = std::env::args().skip(1).collect();
    if programs.is_empty() {
        programs.push("/bin/true".to_string());
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most)?;
    let dir = tempfile::tempdir()?;
    let table = Table::create(&dir.path().join("tab"), 1, "boot")?;
    let cgroups = Cgroups::open(dir.path());
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    for program in programs {
        let name = CString::new(program.as_str())?;
        let mut spec = Spec::new(b"/", b"/nowhere");
        spec.programs = vec![program.clone().into_bytes()];
        spec.argv = vec![program.clone().into_bytes()];
        spec.env = (0..20).map(|i| format!("VARIABLE_{i}=some value or other").into_bytes()).collect();
        let plain = spec.encode()?;
        spec.user = Some(User { uid: 65_534, gid: 65_534, groups: vec![] });
        let user = spec.encode()?;
        let restore = Restore { nofile: Some((1024, 4096)), oom_score_adj: Some(0) };
        let mut arena = Arena::new()?;
        let mut old = Arena::new()?;
        old.force(Way::Clone);
        let prepared = |bytes| -> std::io::Result<Prepared<'_>> {
            Ok(Prepared {
                view: SpecView::check(bytes).map_err(std::io::Error::other)?,
                stdin: None,
                out: null.as_fd(),
                err: null.as_fd(),
                tty_slave: None,
                extra: &[],
                cgroup: None,
                slot: &table.slots()[0],
                restore: &restore,
            })
        };
        println!("{program}: median of {ROUNDS} rounds of {RUNS}, microseconds a run, in turns");
        let run = |arena: &mut Arena, p: &Prepared<'_>| {
            let pidfd = spawn(arena, p);
            let pidfd = pidfd.map_err(|(step, errno)| std::io::Error::other(format!("{}: {errno}", step.word())))?;
            pidfd.ok_or_else(|| std::io::Error::other("no descriptor left"))
        };
        let is_root = rustix::process::geteuid().is_root();
        let mut times: [Vec<f64>; 6] = Default::default();
        for _ in 0..ROUNDS {
            times[0].push(time(|| floor(&arena, &name))?);
            times[1].push(time(|| run(&mut arena, &prepared(&plain)?))?);
            if is_root {
                times[2].push(time(|| run(&mut arena, &prepared(&user)?))?);
            }
            times[3].push(time(|| run(&mut old, &prepared(&plain)?))?);
            if cgroups.is_some() {
                times[4].push(time(|| {
                    let directory = cgroups.create(c"run")?;
                    let mut p = prepared(&plain)?;
                    p.cgroup = Some(directory.as_fd());
                    let pidfd = run(&mut arena, &p)?;
                    end(&pidfd)?;
                    cgroups.remove(c"run")?;
                    Ok(pidfd)
                })?);
            }
            let many = (0..OPEN).map(|_| null.try_clone()).collect::<Result<Vec<_>, _>>()?;
            times[5].push(time(|| run(&mut arena, &prepared(&plain)?))?);
            drop(many);
        }
        let floor_us = median(&mut times[0]);
        let names = [
            "floor",
            "spawn",
            "spawn, other user (copied memory)",
            "spawn, old clone",
            "spawn, own cgroup",
            "spawn, 7,000 descriptors open",
        ];
        for (name, times) in names.into_iter().zip(&mut times) {
            let us = median(times);
            println!("  {name:36} {us:8.1}  {:+7.1}  x{:.2}", us - floor_us, us / floor_us);
        }
    }
    if let Some(path) = cgroups.path() {
        std::fs::remove_dir(path)?;
    }
    Ok(())
}

/// Microseconds from before the start until after the reaping, the median of the runs of one round.
fn time(mut start: impl FnMut() -> std::io::Result<OwnedFd>) -> std::io::Result<f64> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begun = Instant::now();
        let pidfd = start()?;
        end(&pidfd)?;
        times.push(begun.elapsed().as_nanos() as f64 / 1000.0);
    }
    Ok(median(&mut times))
}

/// Waits as a keeper does: readable pidfd, look, then reap.
fn end(pidfd: &OwnedFd) -> std::io::Result<()> {
    rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None)?;
    match (peek(pidfd), reap(pidfd)) {
        (Waited::Zombie { si_status: 0, .. }, Waited::Zombie { .. }) | (Waited::NotOurs, Waited::NotOurs) => Ok(()),
        (seen, _) => Err(std::io::Error::other(format!("the program did not end well: {seen:?}"))),
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
