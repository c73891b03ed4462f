//! Elder and keeper without a daemon, tortured: runs are started and both are killed at random instants.
//!
//! ```text
//! cargo run --release -p kin-keeper --example chain -- [KILLS] [SEED] [NOFILE]
//! ```
//! Each run prints a pattern of its own and ends with a code or a signal of its own; in the end every byte and every
//! code must be what the program wrote and said, and each program must have been started once. Some leave a process that
//! goes on writing after their end, some are stopped, some read what was handed in, some what is typed at their terminal.
//! At each socket there is one more who listens and never reads.

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
            if let Some(most) = args.next().and_then(|s| s.to_str()?.parse().ok()) {
                let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
                rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("a lower limit");
            }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Leaves a process that goes on writing.
    Leaky,
    /// Stays until it is stopped.
    Stopped,
    /// Says what stands on its descriptor 0.
    Handed,
    /// Says what is typed at its terminal.
    Typed,
}

const LATE: u64 = 30;

#[derive(Debug)]
struct Wanted {
    kind: Kind,
    lines: u64,
    code: u64,
    started: Option<Instant>,
    asked: Option<Instant>,
    door: Door,
}

impl Wanted {
    fn out(&self) -> Vec<u8> {
        let mut text: String = (0..self.lines).map(|i| format!("line {i}\n")).collect();
        match self.kind {
            Kind::Plain => {}
            Kind::Leaky => text.extend((0..LATE).map(|i| format!("late {i}\n"))),
            Kind::Stopped => text.push_str("here\n"),
            Kind::Handed | Kind::Typed => text.push_str(&String::from_utf8_lossy(&self.door.text)),
        }
        text.into_bytes()
    }
    fn end(&self) -> (i32, i32) {
        match (self.kind, self.code) {
            (Kind::Stopped, _) => (2, 15),
            (_, code) if code >= 128 => (2, if code.is_multiple_of(2) { 9 } else { 15 }),
            (_, code) => (1, code as i32),
        }
    }
}

/// The small door, as a client uses it: asks until it is answered, and comes again when it is cut off.
#[derive(Debug, Default)]
struct Door {
    socket: Option<OwnedFd>,
    text: Vec<u8>,
    /// What was answered: bytes typed, or one for what was handed in.
    taken: usize,
    said: Option<Instant>,
}

impl Door {
    fn ask(&mut self, path: &Path, bytes: &[u8], fds: &[rustix::fd::BorrowedFd<'_>]) {
        if self.said.is_some_and(|at| at.elapsed() < Duration::from_millis(30)) {
            return;
        }
        self.said = Some(Instant::now());
        if self.socket.is_none() {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            self.socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .ok()
                .filter(|s| SocketAddrUnix::new(path).is_ok_and(|to| rustix::net::connect(s, &to).is_ok()));
        }
        if let Some(socket) = &self.socket
            && kin_keeper::sys::misc::send(socket, bytes, fds).is_err()
        {
            self.socket = None;
        }
    }
    fn hear(&mut self) {
        let Some(socket) = &self.socket else { return };
        let mut answer = [0u8; 64];
        match kin_keeper::sys::misc::receive(socket, &mut answer) {
            Ok(packet) if packet.len == 8 && &answer[..8] == b"KINHAND+" => self.taken = 1,
            Ok(packet) if packet.len == 16 && &answer[..8] == b"KININPUT" => {
                let taken = u64::from_le_bytes(answer[8..16].try_into().expect("eight")) as usize;
                self.taken = self.taken.max(taken);
                self.said = None;
            }
            Err(rustix::io::Errno::AGAIN) => {}
            Ok(_) | Err(_) => self.socket = None,
        }
    }
    /// `true` once the keeper has the descriptor.
    fn hand(&mut self, path: &Path, key: u64) -> bool {
        self.hear();
        if self.taken == 0 {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
            rustix::io::write(&write, &self.text).expect("it has room");
            drop(write);
            let packet = [&b"KINHAND1"[..], &key.to_le_bytes()].concat();
            self.ask(path, &packet, &[rustix::fd::AsFd::as_fd(&read)]);
        }
        self.taken != 0
    }
    fn type_on(&mut self, path: &Path, run: u64) {
        self.hear();
        if self.taken < self.text.len() {
            let end = self.text.len().min(self.taken + 700);
            let offset = self.taken as u64;
            let packet =
                [&b"KININPUT"[..], &run.to_le_bytes(), &offset.to_le_bytes(), &self.text[self.taken..end]].concat();
            self.ask(path, &packet, &[]);
        }
    }
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
    let mut last_turn = 0;
    let (mut adopted, mut upgrades) = (0, 0);
    let mut dead: BTreeSet<u64> = BTreeSet::new();
    let mut unknown = 0;
    let mut deaf: Vec<Link> = Vec::new();
    let mut heard: Vec<(Instant, u64, Tell)> = Vec::new();
    let mut asked = [0u64; 5];
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
                // One more, who never reads what it is told.
                deaf.truncate(20);
                deaf.extend(connect(&entry.path()));
            }
        }
        let mut gone = Vec::new();
        let mut fresh = (0, 0, false);
        for (id, link) in &links {
            match link.hear() {
                None => gone.push(*id),
                Some(tells) => {
                    for tell in tells {
                        if matches!(tell, Tell::Chain { .. }) {
                            heard.push((Instant::now(), *id, tell));
                        }
                        // One that was said before the last kill may still lie in a socket.
                        if let Tell::Chain { elder, keeper, guard, turn } = tell
                            && turn >= last_turn
                            && !dead.contains(&elder)
                            && !dead.contains(&keeper)
                        {
                            last_turn = turn;
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
        let mut known: BTreeMap<u64, u64> = BTreeMap::new();
        for entry in std::fs::read_dir(&run).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(id) = name.strip_prefix("keeper.").and_then(|n| n.strip_suffix(".tab")) else { continue };
            let Ok(id) = u64::from_str_radix(id, 16) else { continue };
            let Ok(table) = Table::open(&entry.path()) else { continue };
            for snapshot in table.snapshots() {
                known.insert(snapshot.run, id);
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
            let kind = match rng.below(16) {
                0..8 => Kind::Plain,
                8..10 => Kind::Leaky,
                10..12 => Kind::Stopped,
                12..14 => Kind::Handed,
                _ => Kind::Typed,
            };
            let mut want = Wanted {
                kind,
                lines: rng.below(400),
                code: rng.below(140),
                started: None,
                asked: None,
                door: Door::default(),
            };
            let base = state.join(format!("logs/t/t-{no}"));
            let mut spec = Spec::new(b"/", base.to_str().expect("text").as_bytes());
            let last = if want.code >= 128 {
                format!("kill -{} $$", if want.code.is_multiple_of(2) { 9 } else { 15 })
            } else {
                format!("exit {}", want.code)
            };
            let nap = if rng.below(3) == 0 { "sleep 0.0$((RANDOM % 10))" } else { ":" };
            let middle = match kind {
                Kind::Plain => nap.to_string(),
                Kind::Leaky => {
                    spec.linger_ms = 10 + rng.below(40);
                    format!("(i=0; while [ $i -lt {LATE} ]; do echo late $i; sleep 0.01; i=$((i+1)); done) &")
                }
                Kind::Stopped => "echo here; echo err >&2; exec sleep 1000".to_string(),
                Kind::Handed => {
                    spec.stdin = kin_keeper::spec::Stdin::Handed;
                    spec.hand_key = no.get();
                    let lines = 1 + rng.below(2000);
                    want.door.text = (0..lines).flat_map(|i| format!("in {i}\n").into_bytes()).collect();
                    "cat".to_string()
                }
                Kind::Typed => {
                    spec.output = kin_keeper::spec::Output::Tty { rows: 24, cols: 80 };
                    want.lines = 0;
                    let lines = 1 + rng.below(3000);
                    want.door.text = (0..lines).flat_map(|i| format!("in {i}\n").into_bytes()).collect();
                    format!("stty raw -echo; touch {}/{no}.ready; head -c {}", dir.display(), want.door.text.len())
                }
            };
            let err = if kind == Kind::Typed { "" } else { "echo err >&2;" };
            let script = format!(
                "echo {no} >> {}/started; i=0; while [ $i -lt {} ]; do echo line $i; i=$((i+1)); done; {middle}\n {err} {last}",
                dir.display(),
                want.lines
            );
            spec.programs = vec![b"/bin/bash".to_vec()];
            spec.argv = vec![b"bash".to_vec(), b"-c".to_vec(), script.into_bytes()];
            spec.env = vec![format!("KIN_RUN_ID=t-{no}").into_bytes(), b"PATH=/usr/bin:/bin".to_vec()];
            spec.cgroup = if rng.below(2) == 0 { b"yes".to_vec() } else { Vec::new() };
            asked[kind as usize] += 1;
            std::fs::write(run.join(format!("spec/{no}")), spec.encode().expect("encodes")).expect("written");
            wanted.insert(no.get(), want);
        }
        if chain.1 != 0
            && let Some(link) = links.get(&chain.1)
        {
            for (no, want) in &mut wanted {
                // Again only what no table knows, and not in the same breath: a Start may be on its way.
                let due = want.started.is_none_or(|at| at.elapsed() > Duration::from_millis(50));
                let handed = want.kind != Kind::Handed || want.door.hand(&run.join("hand.sock"), *no);
                if !ended.contains_key(no)
                    && !known.contains_key(no)
                    && due
                    && handed
                    && link.ask(Ask::Start { run: *no })
                {
                    want.started = Some(Instant::now());
                }
            }
        }
        for (no, want) in wanted.iter_mut().filter(|(no, _)| !ended.contains_key(no)) {
            let Some(link) = known.get(no).and_then(|generation| links.get(generation)) else { continue };
            let name = RunNo::new(*no).expect("a number");
            if want.kind == Kind::Typed && dir.join(format!("{name}.ready")).exists() {
                want.door.type_on(&run.join("hand.sock"), *no);
            }
            // Asked again and again, as after each reconnect.
            let due = want.asked.is_none_or(|at| at.elapsed() > Duration::from_millis(40));
            if want.kind == Kind::Stopped && due && state.join(format!("logs/t/t-{name}.err")).exists() {
                want.asked = Some(Instant::now());
                link.ask(Ask::Stop { run: *no, why: kin_keeper::wire::StopKind::Ladder });
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
                println!("  {} known {}", RunNo::new(*no).expect("a number"), known.contains_key(no));
            }
            for (at, id, tell) in heard.iter().rev().take(12).rev() {
                println!("  {:?} ago {id:016x} said {tell:?}, dead {}", at.elapsed(), dead.contains(id));
            }
            // What they say of the chain when they are asked anew.
            for entry in std::fs::read_dir(&run)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|e| e.path().extension().is_some_and(|x| x == "sock"))
            {
                let Some(link) = connect(&entry.path()) else { continue };
                std::thread::park_timeout(Duration::from_millis(200));
                println!("  {:?} says {:?}", entry.file_name(), link.hear());
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
        let code = want.end();
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
        let text = want.out();
        let file = |name: &str| std::fs::read(state.join(format!("logs/t/t-{name}"))).unwrap_or_default();
        let (out, err) = (format!("{name}.out"), format!("{name}.err"));
        // What a run left behind may still be writing.
        let until = Instant::now() + Duration::from_secs(10);
        while want.kind == Kind::Leaky && file(&out).len() < text.len() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let no_err = want.kind == Kind::Typed;
        if file(&out) != text || file(&err) != if no_err { &b""[..] } else { b"err\n" } {
            let (out, err) = (file(&out), file(&err));
            let same = out.iter().zip(&text).take_while(|(a, b)| a == b).count();
            println!(
                "{name}: {:?}: output {} of {} bytes, the same up to {same}, err {err:?}",
                want.kind,
                out.len(),
                text.len()
            );
            bad += 1;
        }
    }
    // Nobody is left, so nothing of a cgroup is.
    if let Some(base) = kin_keeper::cgroup::Cgroups::open(&state).path() {
        let left = || std::fs::read_dir(base).into_iter().flatten().flatten().filter(|e| e.path().is_dir()).count();
        let until = Instant::now() + Duration::from_secs(5);
        while left() > 0 && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if left() > 0 {
            let names: Vec<_> =
                std::fs::read_dir(base).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
            println!("{} cgroups are left in {}: {names:?}", left(), base.display());
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
