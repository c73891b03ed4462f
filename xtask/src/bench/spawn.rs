//! Inside the keeper: elder and keeper of the real code, driven by their wire, without a daemon.
//!
//! This program stands in for kin: the elder starts itself again as `keep` and `daemon` (see `main`), and the daemon does
//! nothing. The backup of pipes at the elder is always on; the cgroup is what differs between the two series.

use super::Bench;
use super::figure::{Figure, Target, median};
use kin_core::{Mint, RunNo, Time};
use kin_keeper::spec::Spec;
use kin_keeper::table::{DRAINED, RUNNING, Table};
use kin_keeper::wire::{Ask, Guard, PACKET, PROTOCOL, Role, Tell, records};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use testkit::procfs;

const RUNS: usize = 600;
const KILLS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn run(bench: &Bench) -> Vec<Figure> {
    let mut plain = Chain::start(false);
    let mut grouped = Chain::start(true);
    let [mut added, mut added_grouped, mut rate, mut rate_grouped] = [const { Vec::new() }; 4];
    let (mut floor_each, mut served) = (Vec::new(), Vec::new());
    plain.burst(50, 2);
    grouped.burst(50, 2);
    for round in 0..bench.rounds {
        eprintln!("   round {}", round + 1);
        let floor = bench.spawn_floor("spawn-pipes", RUNS as u64, None);
        let bare = floor.wall.as_secs_f64() / RUNS as f64;
        floor_each.push(bare * 1e6);
        added.push((median(&plain.one_by_one(RUNS)) - bare) * 1e6);
        added_grouped.push((median(&grouped.one_by_one(RUNS)) - bare) * 1e6);
        let two = bench.spawn_floor("spawn-two", 2 * RUNS as u64, None);
        rate.push(plain.burst(2 * RUNS, 2) / two.rate());
        rate_grouped.push(grouped.burst(2 * RUNS, 2) / two.rate());
    }
    for _ in 0..KILLS {
        served.push(plain.kill_and_start().as_secs_f64() * 1e3);
    }
    plain.end();
    grouped.end();
    vec![
        Figure::new("a run over the bare one, backup", added, "µs", Target::AtMost(60.0))
            .beside(format!("floor {:.0} µs", median(&floor_each))),
        Figure::new("a run over the bare one, backup and cgroup", added_grouped, "µs", Target::AtMost(150.0)),
        Figure::new("runs/s of true, two at a time, backup", rate, "×", Target::AtLeast(0.95)),
        Figure::new("runs/s of true, two at a time, backup and cgroup", rate_grouped, "×", Target::AtLeast(0.8)),
        Figure::new("keeper killed to the next start", served, "ms", Target::AtMost(5.0)),
    ]
}

/// Elder, keeper, and a connection to the keeper.
struct Chain {
    dir: tempfile::TempDir,
    mark: String,
    mint: Mint,
    cgroups: bool,
    socket: OwnedFd,
    table: Table,
}

impl Chain {
    fn start(cgroups: bool) -> Chain {
        let dir = tempfile::Builder::new().prefix("kin-bench-").tempdir_in("/dev/shm").expect("a directory");
        let (state, run) = (dir.path().join("state"), dir.path().join("run"));
        for made in [state.join("logs/b"), run.join("spec")] {
            std::fs::create_dir_all(made).expect("directories");
        }
        let lock = std::fs::File::create(state.join("server.lock")).expect("a lock");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).expect("inheritable");
        let mark = format!("bench-{}-{cgroups}", std::process::id());
        let log = std::fs::File::create(state.join("server.log")).expect("a log");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["keep", "--elder", "--state"]).arg(&state).arg("--run").arg(&run);
        command.arg("--lock-fd").arg(lock.as_raw_fd().to_string());
        command.env(procfs::MARK, &mark).env("KIN_NO_CGROUP", if cgroups { "0" } else { "1" });
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).status().expect("the elder starts");
        assert!(status.success(), "the elder stands");
        let (socket, table) = connect(&run);
        Chain { dir, mark, mint: Mint::after(0), cgroups, socket, table }
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn prepare(&mut self) -> u64 {
        let no = self.mint.next(Time::from_millis(1_800_000_000_000));
        let base = self.dir.path().join(format!("state/logs/b/b-{no}"));
        let mut spec = Spec::new(b"/", base.to_str().expect("text").as_bytes());
        spec.programs = vec![b"/bin/true".to_vec()];
        spec.argv = vec![b"true".to_vec()];
        spec.cgroup = if self.cgroups { no.to_string().into_bytes() } else { Vec::new() };
        std::fs::write(self.run_dir().join(format!("spec/{no}")), spec.encode().expect("encodes")).expect("a spec");
        no.get()
    }

    fn ask(&self, ask: Ask) {
        rustix::net::send(&self.socket, &ask.encode(), SendFlags::NOSIGNAL).expect("the keeper listens");
    }

    /// Runs that have come to that state, among those of the next packet.
    fn hear(&self, state: u32) -> Vec<u64> {
        let mut buffer = [0; PACKET];
        let (n, _) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty()).expect("the keeper speaks");
        assert_ne!(n, 0, "the keeper hung up");
        let mut runs = Vec::new();
        for tell in records(&buffer[..n]).filter_map(Tell::decode) {
            if let Tell::Refused { run, why } = tell {
                panic!("run {run} was refused: {why:?}");
            }
            if let Tell::Changed { run, .. } = tell
                && self.is_at(run, state)
                && !runs.contains(&run)
            {
                runs.push(run);
            }
        }
        runs
    }

    /// Whether the run has come to that state, or further.
    fn is_at(&self, run: u64, state: u32) -> bool {
        let slot = self.table.find(run).and_then(|at| self.table.slots()[at as usize].snapshot(at));
        slot.is_some_and(|slot| slot.run == run && slot.state >= state)
    }

    fn forget(&self, run: u64) {
        let no = RunNo::new(run).expect("a run's number");
        std::fs::remove_file(self.run_dir().join(format!("spec/{no}"))).expect("the spec goes");
        self.ask(Ask::Forget { run });
    }

    /// Seconds of each, from the Start to the news of its end.
    fn one_by_one(&mut self, n: usize) -> Vec<f64> {
        let runs: Vec<u64> = (0..n).map(|_| self.prepare()).collect();
        let times = runs.into_iter().map(|run| {
            let start = Instant::now();
            self.ask(Ask::Start { run });
            while !self.hear(DRAINED).contains(&run) {}
            let took = start.elapsed().as_secs_f64();
            self.forget(run);
            took
        });
        times.collect()
    }

    /// Runs a second, with so many on their way at any time.
    fn burst(&mut self, n: usize, abreast: usize) -> f64 {
        let mut waiting: VecDeque<u64> = (0..n).map(|_| self.prepare()).collect();
        let mut going: Vec<u64> = Vec::new();
        let start = Instant::now();
        while !waiting.is_empty() || !going.is_empty() {
            while going.len() < abreast
                && let Some(run) = waiting.pop_front()
            {
                self.ask(Ask::Start { run });
                going.push(run);
            }
            for ended in self.hear(DRAINED) {
                if let Some(at) = going.iter().position(|run| *run == ended) {
                    going.swap_remove(at);
                    self.forget(ended);
                }
            }
        }
        n as f64 / start.elapsed().as_secs_f64()
    }

    /// From the keeper's death to the first start that its follower serves.
    fn kill_and_start(&mut self) -> Duration {
        let run = self.prepare();
        let owner = self.table.header().owner.load(Ordering::Relaxed);
        let start = Instant::now();
        assert!(procfs::kill_marked(owner, &self.mark, rustix::process::Signal::KILL).expect("kills it"));
        (self.socket, self.table) = testkit::eventually("another keeper", DEADLINE, || {
            let (socket, table) = connect(&self.run_dir());
            (table.header().owner.load(Ordering::Relaxed) != owner && table.generation() != self.table.generation())
                .then_some((socket, table))
        });
        self.ask(Ask::Start { run });
        while !self.hear(RUNNING).contains(&run) {}
        let took = start.elapsed();
        while !self.is_at(run, DRAINED) {
            self.hear(DRAINED);
        }
        self.forget(run);
        // A keeper that is killed before it heard that leaves a run behind which nobody will ever forget.
        testkit::eventually("the run is forgotten", DEADLINE, || self.table.find(run).is_none().then_some(()));
        took
    }

    fn end(self) {
        let shutdown = Ask::Shutdown { leave: false };
        let elder = testkit::eventually("the elder answers", DEADLINE, || greet(&self.run_dir(), "elder"));
        rustix::net::send(&elder.0, &shutdown.encode(), SendFlags::NOSIGNAL).expect("the elder listens");
        self.ask(shutdown);
        let gone = testkit::within(DEADLINE, || {
            let left = procfs::marked(&self.mark);
            // The daemon that does nothing does not end either.
            for pid in left.iter().filter(|pid| procfs::command_line(**pid).contains(" daemon")) {
                procfs::kill_marked(*pid, &self.mark, rustix::process::Signal::KILL).expect("kills it");
            }
            left.is_empty().then_some(())
        });
        let left: Vec<String> = procfs::marked(&self.mark).into_iter().map(procfs::command_line).collect();
        assert!(gone.is_some(), "elder and keeper end when they are told to: {left:?}");
    }
}

/// To the keeper of now, once it says that its guard is whole: before that it takes no starts.
fn connect(run: &Path) -> (OwnedFd, Table) {
    testkit::eventually("the keeper answers, its guard whole", DEADLINE, || {
        let (socket, table) = greet(run, "keeper")?;
        let mut buffer = [0; PACKET];
        let (n, _) = rustix::net::recv(&socket, &mut buffer, RecvFlags::empty()).ok()?;
        let whole =
            |tell| matches!(tell, Tell::Chain { keeper, guard: Guard::Whole, .. } if keeper == table.generation());
        records(&buffer[..n]).filter_map(Tell::decode).any(whole).then_some((socket, table))
    })
}

/// Whoever that symlink names: greeted, the answer not heard yet.
fn greet(run: &Path, link: &str) -> Option<(OwnedFd, Table)> {
    let name = std::fs::read_link(run.join(link)).ok()?;
    let path = run.join(name.file_name()?);
    let table = Table::open(&path.with_extension("tab")).ok()?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(&path).ok()?).ok()?;
    let hello = Ask::Hello { protocol: PROTOCOL, role: Role::Watcher };
    rustix::net::send(&socket, &hello.encode(), SendFlags::NOSIGNAL).ok()?;
    Some((socket, table))
}
