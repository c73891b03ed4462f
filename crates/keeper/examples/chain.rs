//! Elder and keeper without a daemon, tortured: runs are started and both are killed at random instants.
//!
//! ```text
//! cargo run --release -p kin-keeper --example chain -- [KILLS] [SEED]
//! ```
//! Each run prints a pattern of its own and ends with a code or a signal of its own; in the end every byte and every
//! code must be what the program wrote and said, and each program must have been started once.

use kin_core::RunNo;
use kin_keeper::spec::Spec;
use kin_keeper::table::{DRAINED, Snapshot, Table, flag};
use kin_keeper::wire::{Ask, PACKET, PROTOCOL, Role, Tell, records};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|a| a.to_str()) {
        Some("keep") => kin_keeper::main(args),
        Some("daemon") => {
            // A stand-in: it only lives, until the torture ends it.
            let run = args.skip_while(|a| a != "--run").nth(1).map(PathBuf::from).unwrap_or_default();
            std::fs::write(run.join("daemon.pid"), std::process::id().to_string()).expect("written");
            loop {
                std::thread::park();
            }
        }
        kills => {
            let kills = kills.and_then(|k| k.parse().ok()).unwrap_or(200);
            let seed = args.next().and_then(|s| s.to_str()?.parse().ok()).unwrap_or(1);
            torture(kills, seed)
        }
    }
}

/// Ends what we started, by pid: the stand-in daemons, then whoever still serves a table.
fn end_all(run: &Path, dir: &Path) {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let ours = line.contains(&*dir.to_string_lossy());
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| ours)
            && rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_err()
        {
            println!("{pid:?} was gone already");
        }
    }
    drop(std::fs::remove_file(run.join("daemon.pid")));
    if let Some(path) = kin_keeper::cgroup::Cgroups::open(&dir.join("state")).path() {
        drop(std::fs::remove_dir(path));
    }
}

struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Clone, Debug)]
struct Wanted {
    lines: u64,
    code: u64,
    started: Option<Instant>,
}

struct Link {
    socket: OwnedFd,
}

fn connect(path: &Path) -> Option<Link> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).ok()?).ok()?;
    let link = Link { socket };
    link.ask(Ask::Hello { protocol: PROTOCOL, role: Role::Watcher });
    Some(link)
}

impl Link {
    fn ask(&self, ask: Ask) -> bool {
        rustix::net::send(&self.socket, &ask.encode(), rustix::net::SendFlags::NOSIGNAL).is_ok()
    }
    /// `None`: hung up.
    fn hear(&self) -> Option<Vec<Tell>> {
        let mut buffer = [0u8; PACKET];
        let mut tells = Vec::new();
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
                Ok((0, _)) => return if tells.is_empty() { None } else { Some(tells) },
                Ok((n, _)) => tells.extend(records(&buffer[..n]).filter_map(Tell::decode)),
                Err(rustix::io::Errno::AGAIN) => return Some(tells),
                Err(_) => return None,
            }
        }
    }
}

fn torture(kills: u64, seed: u64) -> ExitCode {
    println!("kills {kills} seed {seed}");
    let mut rng = Rng(seed);
    let dir = PathBuf::from(format!("/dev/shm/kin-chain-{}", std::process::id()));
    let (state, run) = (dir.join("state"), dir.join("run"));
    for d in [state.join("logs/t"), run.join("spec")] {
        std::fs::create_dir_all(d).expect("directories");
    }
    let lock = std::fs::File::create(state.join("server.lock")).expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).expect("inheritable");
    let me = std::env::current_exe().expect("a program");
    let log = std::fs::File::create(state.join("server.log")).expect("a log");
    let mut command = Command::new(me);
    command.args(["keep", "--elder", "--state"]).arg(&state).arg("--run").arg(&run);
    std::fs::write(run.join("upgrade"), std::env::current_exe().expect("a program").to_str().expect("text"))
        .expect("written");
    let status = command.arg("--lock-fd").arg(lock.as_raw_fd().to_string()).stderr(log).status().expect("started");
    assert!(status.success(), "the elder stands");
    drop(lock);

    let mut wanted: BTreeMap<u64, Wanted> = BTreeMap::new();
    let mut ended: BTreeMap<u64, Snapshot> = BTreeMap::new();
    let mut forgotten: BTreeSet<u64> = BTreeSet::new();
    let mut links: BTreeMap<u64, Link> = BTreeMap::new();
    let mut mint = kin_core::Mint::after(0);
    let (mut killed, mut bad) = (0u64, 0u64);
    let mut elder_kills = 0;
    let mut whole_after: Vec<Duration> = Vec::new();
    let mut last_kill: Option<Instant> = None;
    let mut deadline = Instant::now() + Duration::from_secs(60);
    let mut next_kill = Instant::now() + Duration::from_millis(20);
    let mut chain = (0u64, 0u64, false);
    let (mut adopted, mut upgrades) = (0, 0);
    let mut dead: BTreeSet<u64> = BTreeSet::new();
    let mut unknown = 0;
    loop {
        // Connect to every generation there is.
        for entry in std::fs::read_dir(&run).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(id) = name.strip_prefix("keeper.").and_then(|n| n.strip_suffix(".sock")) else { continue };
            let Ok(id) = u64::from_str_radix(id, 16) else { continue };
            if let std::collections::btree_map::Entry::Vacant(place) = links.entry(id)
                && let Some(link) = connect(&entry.path())
            {
                place.insert(link);
            }
        }
        let mut gone = Vec::new();
        let mut fresh = (0, 0, false);
        for (id, link) in &links {
            match link.hear() {
                None => gone.push(*id),
                Some(tells) => {
                    for tell in tells {
                        // One that was said before the last kill may still lie in a socket.
                        if let Tell::Chain { elder, keeper, guard, turn: _ } = tell
                            && !dead.contains(&elder)
                            && !dead.contains(&keeper)
                        {
                            fresh = (elder, keeper, guard == kin_keeper::wire::Guard::Whole);
                        }
                    }
                }
            }
        }
        for id in &gone {
            links.remove(id);
        }
        if fresh.0 != 0 {
            chain = fresh;
            if let (true, Some(at)) = (chain.2, last_kill.take()) {
                whole_after.push(at.elapsed());
            }
        }
        // Read every table; forget what has ended, start again what is nowhere.
        let mut known: BTreeSet<u64> = BTreeSet::new();
        for entry in std::fs::read_dir(&run).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(id) = name.strip_prefix("keeper.").and_then(|n| n.strip_suffix(".tab")) else { continue };
            let Ok(id) = u64::from_str_radix(id, 16) else { continue };
            let Ok(table) = Table::open(&entry.path()) else { continue };
            for snapshot in table.snapshots() {
                known.insert(snapshot.run);
                if snapshot.state == DRAINED {
                    if let Some(before) = ended.get(&snapshot.run) {
                        if (before.si_code, before.si_status) != (snapshot.si_code, snapshot.si_status) {
                            println!("run {} ended twice: {before:?} {snapshot:?}", snapshot.run);
                            bad += 1;
                        }
                    } else {
                        ended.insert(snapshot.run, snapshot);
                        if let Some(no) = RunNo::new(snapshot.run) {
                            drop(std::fs::remove_file(run.join(format!("spec/{no}"))));
                        }
                    }
                    if let Some(link) = links.get(&id) {
                        link.ask(Ask::Forget { run: snapshot.run });
                        forgotten.insert(snapshot.run);
                    }
                }
            }
        }
        let live = wanted.len() - ended.len();
        if killed < kills && live < 8 {
            let no = mint.next(kin_core::Time::from_millis(1_800_000_000_000));
            let want = Wanted { lines: rng.below(400), code: rng.below(140), started: None };
            let base = state.join(format!("logs/t/t-{no}"));
            let mut spec = Spec::new(b"/", base.to_str().expect("text").as_bytes());
            let last = if want.code >= 128 {
                format!("kill -{} $$", if want.code.is_multiple_of(2) { 9 } else { 15 })
            } else {
                format!("exit {}", want.code)
            };
            let nap = if rng.below(3) == 0 { "sleep 0.0$((RANDOM % 10))" } else { ":" };
            let script = format!(
                "echo {no} >> {}/started; i=0; while [ $i -lt {} ]; do echo line $i; i=$((i+1)); done; {nap}; echo err >&2; {last}",
                dir.display(),
                want.lines
            );
            spec.programs = vec![b"/bin/bash".to_vec()];
            spec.argv = vec![b"bash".to_vec(), b"-c".to_vec(), script.into_bytes()];
            spec.env = vec![format!("KIN_RUN_ID=t-{no}").into_bytes(), b"PATH=/usr/bin:/bin".to_vec()];
            spec.cgroup = if rng.below(2) == 0 { b"yes".to_vec() } else { Vec::new() };
            std::fs::write(run.join(format!("spec/{no}")), spec.encode().expect("encodes")).expect("written");
            wanted.insert(no.get(), want);
        }
        if chain.1 != 0
            && let Some(link) = links.get(&chain.1)
        {
            for (no, want) in &mut wanted {
                // Again only what no table knows, and not in the same breath: a Start may be on its way.
                let due = want.started.is_none_or(|at| at.elapsed() > Duration::from_millis(50));
                if !ended.contains_key(no) && !known.contains(no) && due && link.ask(Ask::Start { run: *no }) {
                    want.started = Some(Instant::now());
                }
            }
        }
        if killed < kills && chain.2 && last_kill.is_none() && Instant::now() >= next_kill {
            let id = if rng.below(5) < 2 { chain.0 } else { chain.1 };
            let path = run.join(format!("keeper.{id:016x}.tab"));
            if rng.below(6) == 0 {
                // Now and then it becomes its own program anew, which nobody may notice; and is killed all the same.
                if let Some(link) = links.get(&id) {
                    upgrades += u64::from(link.ask(Ask::Upgrade));
                }
            } else if let Ok(table) = Table::open(&path) {
                let pid = table.header().owner.load(std::sync::atomic::Ordering::Relaxed);
                if let Some(pid) = rustix::process::Pid::from_raw(pid as i32)
                    && rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
                {
                    killed += 1;
                    dead.insert(id);
                    elder_kills += u64::from(id == chain.0);
                    last_kill = Some(Instant::now());
                    chain.2 = false;
                    deadline = Instant::now() + Duration::from_secs(20);
                }
            }
            next_kill = Instant::now() + Duration::from_micros(500 + rng.below(14_000));
        }
        if killed >= kills && wanted.len() == ended.len() {
            break;
        }
        if Instant::now() > deadline {
            println!("stuck: chain {chain:?}, {} of {} ended", ended.len(), wanted.len());
            for no in wanted.keys().filter(|no| !ended.contains_key(no)) {
                println!("  {} known {}", RunNo::new(*no).expect("a number"), known.contains(no));
            }
            println!("state kept in {}", dir.display());
            end_all(&run, &dir);
            return ExitCode::FAILURE;
        }
        // Between two looks at all the tables; nothing is waited for with it.
        std::thread::park_timeout(Duration::from_micros(300));
    }
    let started = std::fs::read_to_string(dir.join("started")).unwrap_or_default();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for line in started.lines() {
        *counts.entry(line).or_default() += 1;
    }
    for (no, want) in &wanted {
        let name = RunNo::new(*no).expect("a number").to_string();
        let end = &ended[no];
        adopted += u64::from(end.flags & flag::ADOPTED != 0);
        let code = match want.code {
            c if c >= 128 => (2, if c.is_multiple_of(2) { 9 } else { 15 }),
            c => (1, c as i32),
        };
        if end.flags & flag::STATUS_UNKNOWN != 0 {
            unknown += 1;
        } else if (end.si_code, end.si_status) != code {
            println!("{name}: wanted {code:?}, got {end:?}");
            bad += 1;
        }
        if counts.get(name.as_str()) != Some(&1) {
            println!("{name}: started {:?} times", counts.get(name.as_str()));
            bad += 1;
        }
        let text: String = (0..want.lines).map(|i| format!("line {i}\n")).collect();
        let out = std::fs::read_to_string(state.join(format!("logs/t/t-{name}.out"))).unwrap_or_default();
        let err = std::fs::read_to_string(state.join(format!("logs/t/t-{name}.err"))).unwrap_or_default();
        if out != text || (err != "err\n") {
            println!("{name}: output {} of {} bytes, err {err:?}", out.len(), text.len());
            bad += 1;
        }
    }
    whole_after.sort();
    let middle = whole_after.get(whole_after.len() / 2).copied().unwrap_or_default();
    let most = whole_after.last().copied().unwrap_or_default();
    println!(
        "{} runs, {killed} kills ({elder_kills} of the elder), {upgrades} upgrades, {adopted} adopted, {unknown} unknown, {bad} bad; whole again after {middle:?}, at most {most:?}",
        wanted.len()
    );
    for link in links.values() {
        link.ask(Ask::Shutdown { leave: true });
    }
    end_all(&run, &dir);
    if bad > 0 {
        println!("state kept in {}", dir.display());
        return ExitCode::FAILURE;
    }
    drop(std::fs::remove_dir_all(&dir));
    ExitCode::SUCCESS
}
