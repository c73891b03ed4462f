//! Two keepers that only pretend: one thread that speaks `wire` over real sockets and keeps real run tables, and does
//! with starts, stops and forgets what the contract says. Runs are nobody: they end when a test says so.

use super::super::dirs::Dirs;
use kin_core::RunNo;
use kin_keeper::sys::misc::{receive, send};
use kin_keeper::table::{DRAINED, EXITED, FREE, INTENT, RUNNING, Slot, Table, flag};
use kin_keeper::wire::{self, Ask, Guard, PACKET, PROTOCOL, Refusal, Tell};
use rustix::event::{PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;

struct Generation {
    table: Table,
    listener: Arc<OwnedFd>,
}

struct Conn {
    generation: u64,
    socket: Arc<OwnedFd>,
}

struct Host {
    dirs: Dirs,
    boot: String,
    generations: BTreeMap<u64, Generation>,
    elder: u64,
    current: u64,
    conns: Vec<Conn>,
    /// Nothing is read.
    deaf: bool,
    /// Runs end at once, with this code.
    all_exit_with: Option<u8>,
    executed: BTreeMap<u64, u32>,
    next_pid: Option<u32>,
    signals: Vec<(u64, u8)>,
    closing: bool,
    stopped: bool,
    next_generation: u64,
}

struct Shared {
    host: Mutex<Host>,
    changed: Condvar,
    wake: OwnedFd,
}

pub(super) struct Fake {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

impl Fake {
    pub(super) fn new(run: &Path, boot: &str) -> Fake {
        let mut host = Host {
            dirs: Dirs { state: PathBuf::new(), run: run.to_path_buf() },
            boot: boot.to_string(),
            generations: BTreeMap::new(),
            elder: 0,
            current: 0,
            conns: Vec::new(),
            deaf: false,
            all_exit_with: None,
            executed: BTreeMap::new(),
            next_pid: None,
            signals: Vec::new(),
            closing: false,
            stopped: false,
            next_generation: now_ns() & 0xffff_ffff_ff00,
        };
        host.elder = host.new_generation();
        host.current = host.new_generation();
        let wake = eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("an eventfd");
        let shared = Arc::new(Shared { host: Mutex::new(host), changed: Condvar::new(), wake });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || theirs.serve());
        Fake { shared, thread: Some(thread) }
    }

    /// Changes something, and has the thread look again.
    fn with<T>(&self, change: impl FnOnce(&mut Host) -> T) -> T {
        let out = change(&mut self.host());
        self.shared.changed.notify_all();
        rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes()).expect("woken");
        out
    }
    fn host(&self) -> MutexGuard<'_, Host> {
        self.shared.host.lock().expect("the host")
    }
    fn until(&self, what: impl Fn(&Host) -> bool) -> MutexGuard<'_, Host> {
        let waited = self.shared.changed.wait_timeout_while(self.host(), Duration::from_secs(20), |h| !what(h));
        let (host, result) = waited.expect("the host");
        assert!(!result.timed_out(), "in time");
        host
    }

    pub(super) fn current(&self) -> u64 {
        self.host().current
    }
    pub(super) fn generation_of(&self, no: RunNo) -> Option<u64> {
        self.host().find(no.get()).map(|(generation, _)| generation)
    }
    pub(super) fn slot_state(&self, no: RunNo) -> Option<u32> {
        let host = self.host();
        let (generation, at) = host.find(no.get())?;
        Some(host.slot(generation, at).state.load(Ordering::Acquire))
    }
    pub(super) fn executed(&self, no: RunNo) -> u32 {
        self.host().executed.get(&no.get()).copied().unwrap_or(0)
    }
    pub(super) fn executions(&self) -> u32 {
        self.host().executed.values().sum()
    }
    pub(super) fn until_free(&self, no: RunNo) {
        drop(self.until(|host| host.find(no.get()).is_none()));
    }
    pub(super) fn until_signalled(&self, no: RunNo, signal: u8) {
        drop(self.until(|host| host.signals.contains(&(no.get(), signal))));
    }
    pub(super) fn until_closing(&self) {
        drop(self.until(|host| host.closing));
    }
    pub(super) fn deaf(&self, deaf: bool) {
        self.with(|host| host.deaf = deaf);
    }
    pub(super) fn all_exit_with(&self, code: Option<u8>) {
        self.with(|host| host.all_exit_with = code);
    }
    /// The next run's process.
    pub(super) fn next_pid(&self, pid: u32) {
        self.with(|host| host.next_pid = Some(pid));
    }

    /// A running run comes to its end.
    pub(super) fn exits(&self, no: RunNo, code: u8) {
        drop(self.until(|host| {
            host.find(no.get()).is_some_and(|(g, at)| host.slot(g, at).state.load(Ordering::Acquire) == RUNNING)
        }));
        self.with(|host| host.end(no.get(), CLD_EXITED, i32::from(code)));
    }

    /// So many slots are left in the current table.
    pub(super) fn room(&self, slots: usize) {
        self.with(|host| {
            let table = &host.generations[&host.current].table;
            for slot in &table.slots()[slots..] {
                slot.state.store(RUNNING, Ordering::Release);
            }
        });
    }

    /// The elder takes its table over, removes it if it is empty, and makes a new keeper.
    pub(super) fn keeper_dies(&self) {
        self.with(|host| {
            let old = host.current;
            host.conns.retain(|conn| conn.generation != old);
            let table = &host.generations[&old].table;
            for slot in table.slots() {
                if slot.state.load(Ordering::Acquire) == INTENT {
                    slot.state.store(FREE, Ordering::Release);
                }
            }
            if table.slots().iter().all(|slot| slot.state.load(Ordering::Acquire) == FREE) {
                host.retire(old);
            }
            host.current = host.new_generation();
            host.tell_all(host.chain());
        });
    }

    pub(super) fn both_die(&self) {
        self.with(|host| {
            host.conns.clear();
            host.generations.clear();
        });
    }

    pub(super) fn born_again(&self) {
        self.with(|host| {
            host.elder = host.new_generation();
            host.current = host.new_generation();
        });
    }

    /// The last run of a closing server has ended: what nobody read goes to `left`.
    pub(super) fn leaves(&self, state: &Path) {
        self.with(|host| {
            let left = state.join("left");
            std::fs::create_dir_all(&left).expect("left");
            let all: Vec<u64> = host.generations.keys().copied().collect();
            for generation in all {
                let unread = host.generations[&generation].table.snapshots().any(|s| s.state == DRAINED);
                if unread {
                    std::fs::copy(host.dirs.table(generation), left.join(format!("{generation:016x}.tab")))
                        .expect("left");
                }
                host.retire(generation);
            }
            host.conns.clear();
        });
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.with(|host| host.stopped = true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the keepers");
        }
    }
}

impl Host {
    fn new_generation(&mut self) -> u64 {
        self.next_generation += 1;
        let generation = self.next_generation;
        let table = Table::create(&self.dirs.table(generation), generation, &self.boot).expect("a table");
        table.lock().expect("a lock");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        // As the keepers do: bound first, so that who hears of the name finds somebody.
        let hidden = self.dirs.run.join(format!(".{generation:x}"));
        rustix::net::bind(&listener, &SocketAddrUnix::new(&hidden).expect("an address")).expect("bound");
        rustix::net::listen(&listener, 64).expect("listening");
        std::fs::rename(&hidden, self.dirs.socket(generation)).expect("named");
        self.generations.insert(generation, Generation { table, listener: Arc::new(listener) });
        generation
    }

    fn retire(&mut self, generation: u64) {
        std::fs::remove_file(self.dirs.table(generation)).expect("a table");
        std::fs::remove_file(self.dirs.socket(generation)).expect("a socket");
        self.generations.remove(&generation);
        self.conns.retain(|conn| conn.generation != generation);
    }

    fn find(&self, run: u64) -> Option<(u64, u32)> {
        self.generations.iter().find_map(|(generation, g)| Some((*generation, g.table.find(run)?)))
    }
    fn slot(&self, generation: u64, at: u32) -> &Slot {
        &self.generations[&generation].table.slots()[at as usize]
    }
    fn chain(&self) -> Tell {
        Tell::Chain { elder: self.elder, keeper: self.current, guard: Guard::Whole, turn: self.current }
    }

    fn tell(&self, conn: &Conn, tell: Tell) {
        // Whoever does not listen any more will read the table.
        let _unheard = send(&*conn.socket, &tell.encode(), &[]).is_err();
    }
    fn tell_generation(&self, generation: u64, tell: Tell) {
        for conn in self.conns.iter().filter(|conn| conn.generation == generation) {
            self.tell(conn, tell);
        }
    }
    fn tell_all(&self, tell: Tell) {
        for conn in &self.conns {
            self.tell(conn, tell);
        }
    }

    fn end(&mut self, run: u64, si_code: i32, si_status: i32) {
        let Some((generation, at)) = self.find(run) else { return };
        let slot = self.slot(generation, at);
        slot.si_code.store(si_code, Ordering::Relaxed);
        slot.si_status.store(si_status, Ordering::Relaxed);
        slot.t_exit.store(now_ns(), Ordering::Relaxed);
        slot.state.store(EXITED, Ordering::Release);
        self.tell_generation(generation, Tell::Changed { run, slot: at });
        let slot = self.slot(generation, at);
        slot.t_drained.store(now_ns(), Ordering::Relaxed);
        slot.state.store(DRAINED, Ordering::Release);
        self.tell_generation(generation, Tell::Changed { run, slot: at });
    }

    fn hear(&mut self, at: usize, ask: Ask) {
        let conn = &self.conns[at];
        let generation = conn.generation;
        match ask {
            Ask::Hello { .. } => {
                self.tell(conn, Tell::Hello { protocol: PROTOCOL, pid: std::process::id(), generation });
                self.tell(conn, self.chain());
                self.tell(conn, Tell::Front { pid: 0 });
            }
            Ask::Start { run } => self.start(at, generation, run),
            Ask::Stop { run, .. } => {
                let running = self.generations[&generation].table.find(run).is_some_and(|at| {
                    let slot = self.slot(generation, at);
                    slot.set_flag(flag::STOP_ASKED);
                    slot.state.load(Ordering::Acquire) == RUNNING
                });
                if running {
                    self.end(run, CLD_KILLED, 15);
                }
            }
            Ask::Signal { run, signal, .. } => self.signals.push((run, signal)),
            Ask::Forget { run } => {
                if let Some(at) = self.generations[&generation].table.find(run) {
                    let slot = self.slot(generation, at);
                    assert_eq!(slot.state.load(Ordering::Acquire), DRAINED, "only what is over is forgotten");
                    let spec = self.dirs.spec(RunNo::new(run).expect("a number"));
                    assert!(!spec.exists(), "the spec goes before the slot");
                    slot.state.store(FREE, Ordering::Release);
                }
            }
            Ask::Shutdown { .. } => self.closing = true,
            Ask::Upgrade | Ask::WantDaemon | Ask::Ready | Ask::Await { .. } => {}
        }
    }

    fn start(&mut self, conn: usize, generation: u64, run: u64) {
        let refuse = |host: &Host, why| host.tell(&host.conns[conn], Tell::Refused { run, why });
        if let Some((generation, at)) = self.find(run) {
            return self.tell_generation(generation, Tell::Changed { run, slot: at });
        }
        if generation != self.current {
            return refuse(self, Refusal::NotCurrent);
        }
        if !self.dirs.spec(RunNo::new(run).expect("a number")).exists() {
            return refuse(self, Refusal::NoSpec);
        }
        let Some(at) = self.generations[&generation].table.place(run) else { return refuse(self, Refusal::Full) };
        let pid = self.next_pid.take().unwrap_or(std::process::id());
        let slot = self.slot(generation, at);
        slot.clear();
        slot.run.store(run, Ordering::Relaxed);
        slot.state.store(INTENT, Ordering::Release);
        slot.pid.store(pid, Ordering::Relaxed);
        slot.t_start.store(now_ns(), Ordering::Relaxed);
        slot.start_ticks.store(kin_keeper::boot::start_ticks(pid).unwrap_or(1), Ordering::Relaxed);
        slot.state.store(RUNNING, Ordering::Release);
        *self.executed.entry(run).or_default() += 1;
        self.tell_generation(generation, Tell::Changed { run, slot: at });
        if let Some(code) = self.all_exit_with {
            self.end(run, CLD_EXITED, i32::from(code));
        }
    }
}

impl Shared {
    fn serve(&self) {
        loop {
            let (listeners, conns) = {
                let host = self.host.lock().expect("the host");
                if host.stopped {
                    return;
                }
                let listeners: Vec<(u64, Arc<OwnedFd>)> =
                    host.generations.iter().map(|(id, g)| (*id, Arc::clone(&g.listener))).collect();
                let conns: Vec<Arc<OwnedFd>> = host.conns.iter().map(|conn| Arc::clone(&conn.socket)).collect();
                if host.deaf { (Vec::new(), Vec::new()) } else { (listeners, conns) }
            };
            let wake = [self.wake.as_fd()];
            let all =
                wake.into_iter().chain(listeners.iter().map(|(_, l)| l.as_fd())).chain(conns.iter().map(|c| c.as_fd()));
            let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            poll(&mut fds, None).expect("poll");
            let mut count = [0; 8];
            let _quiet = rustix::io::read(&self.wake, &mut count).is_err();
            let mut host = self.host.lock().expect("the host");
            if host.deaf {
                continue;
            }
            for (generation, listener) in &listeners {
                while let Ok(socket) =
                    rustix::net::accept_with(&**listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
                {
                    // Whoever came to a generation that has died meanwhile is hung up on.
                    if host.generations.contains_key(generation) {
                        host.conns.push(Conn { generation: *generation, socket: Arc::new(socket) });
                    }
                }
            }
            for socket in conns {
                self.read(&mut host, &socket);
            }
            drop(host);
            self.changed.notify_all();
        }
    }

    fn read(&self, host: &mut Host, socket: &Arc<OwnedFd>) {
        let mut buffer = [0; PACKET];
        loop {
            let Some(at) = host.conns.iter().position(|conn| Arc::ptr_eq(&conn.socket, socket)) else { return };
            match receive(&**socket, &mut buffer) {
                Ok(packet) if packet.len > 0 => {
                    let asks: Vec<Ask> = wire::records(&buffer[..packet.len]).filter_map(Ask::decode).collect();
                    for ask in asks {
                        host.hear(at, ask);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Ok(_) | Err(_) => {
                    host.conns.remove(at);
                    return;
                }
            }
        }
    }
}
