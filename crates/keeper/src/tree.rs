//! All processes of a run, where no cgroup knows them.
//!
//! A run's tree is: its leader, whoever is in the leader's session or process group, all descendants of those, and the
//! orphans that fell to one of kin's processes and carry a trace of the run: `KIN_RUN_ID` in their environment, or one
//! of its pipes on descriptor 1 or 2. Every process that forks away twice resurfaces as such an orphan. One that gave
//! up all of these (its session, its environment, its output, its parent) is not found.
//!
//! A tree is killed in two stages, each by pidfd and start time, so that no bystander is ever hit:
//! ```text
//!   Stopping   STOP to all that are not stopped; again, until a look at all processes finds nobody new
//!   Killing    KILL to all that live; again, until a look finds nobody
//!   Empty      a second look finds nobody either: gone
//! ```
//! A stopped process makes no children, so a tree that forks faster than one can look comes to rest in a few rounds.
//!
//! Looking at all processes of a busy machine takes long; it is done in pieces, and one look serves all runs that ask.
//!
//! Where both keepers died at once nobody of kin is anybody's parent any more, and a run is found by what any process at
//! all carries of it (`abandoned`): its cgroup, or its environment.

use crate::abandoned::{Traces, is_shortage};
use crate::boot::Stat;
use crate::sys::pages::Buffer;
use crate::sys::wait::{pidfd_open, pidfd_send_signal};
use crate::text::{Text, hash, number, read_start_at};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::time::ClockId;
use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;

/// How long one call may look.
const BUDGET_NS: u64 = 5_000_000;
/// After so many rounds of STOP somebody cannot be stopped (a process stuck in the kernel): KILL follows anyway.
const STOP_ROUNDS: u32 = 16;
/// So much of an orphan's environment is searched.
const ENVIRON_MAX: usize = 256 * 1024;
pub const REAPERS_MAX: usize = 8;

/// What a run's processes are known by.
#[derive(Clone, Copy, Debug)]
pub struct TreeRun<'a> {
    /// The value of KIN_RUN_ID in its environment.
    pub id: &'a str,
    pub leader: u32,
    /// The leader's, so that its number is not mistaken for a later process's; zero: not known.
    pub start_ticks: u64,
    /// Inodes of its pipes; zero: none.
    pub pipes: [u64; 2],
    /// Processes that were members before, each with its start, in order: they are, whoever of the others has died since.
    pub known: &'a [(u32, u64)],
}

/// How far a kill is. Begin with the default, and keep it as long as the same kill goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    stage: Stage,
    rounds: u32,
    /// The last look that it acted upon; a newer one is needed to go on.
    look: Option<u64>,
    /// How many were alive at that look.
    living: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Stopping,
    Killing,
    Empty,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Call again soon; so many were alive when last seen.
    Again { living: usize },
    /// Nobody is left.
    Gone,
}

/// One process as it was seen.
#[derive(Clone, Copy, Debug)]
struct Process {
    pid: u32,
    stat: Stat,
    /// For orphans only: the hash of the run id in its environment (zero: none), and the pipes on 1 and 2.
    mark: u64,
    pipes: [u64; 2],
    /// The hash of the number of the run whose cgroup it is in; zero: of none, or it was not looked for.
    cgroup: u64,
    member: bool,
}

impl Process {
    fn lives(&self) -> bool {
        !matches!(self.stat.state, b'Z' | b'X' | b'x')
    }
    fn is_stopped(&self) -> bool {
        matches!(self.stat.state, b'T' | b't')
    }
}

/// The processes of this machine as last seen, in order of their pids.
#[derive(Debug)]
pub struct Processes {
    /// /proc, opened anew for each look: the place in it is shared with whoever inherits it by fork.
    proc: OwnedFd,
    /// Who began the look; a copy of this in a forked process begins its own.
    owner: u32,
    seen: Buffer<Process>,
    /// Grows with each look begun.
    look: u64,
    complete: bool,
    /// Where in /proc an incomplete look goes on.
    next: u64,
    reapers: [u32; REAPERS_MAX],
    /// There: everybody may be an orphan, and is asked for these.
    traces: Option<Traces>,
}

impl Processes {
    pub fn new() -> io::Result<Processes> {
        Ok(Processes {
            proc: open_proc()?,
            owner: std::process::id(),
            seen: Buffer::with_capacity(1024)?,
            look: 0,
            complete: true,
            next: 0,
            reapers: [0; REAPERS_MAX],
            traces: None,
        })
    }

    /// Of runs whose keepers are dead: members are known by what they carry, whoever is their parent now. The `reapers` of
    /// every call are then kin's own processes of today, which may live inside such a run and are never part of it.
    pub fn abandoned(traces: Traces) -> io::Result<Processes> {
        Ok(Processes { traces: Some(traces), ..Processes::new()? })
    }

    /// Begins a look at all processes. Orphans are the children of `reapers`.
    fn begin(&mut self, reapers: &[u32]) -> io::Result<()> {
        self.proc = open_proc()?;
        self.owner = std::process::id();
        self.seen.clear();
        self.look += 1;
        self.complete = false;
        self.next = 0;
        self.reapers = [0; REAPERS_MAX];
        for (to, from) in self.reapers.iter_mut().zip(reapers) {
            *to = *from;
        }
        Ok(())
    }

    /// Goes on looking until all were seen or the time is over; gives whether all were seen.
    fn go_on(&mut self, until: u64) -> io::Result<bool> {
        if self.complete {
            return Ok(true);
        }
        rustix::fs::seek(&self.proc, SeekFrom::Start(self.next))?;
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(&self.proc, &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let next = entry.next_entry_cookie();
            let Some(pid) = number(entry.file_name().to_bytes()).filter(|pid| *pid <= u64::from(u32::MAX)) else {
                self.next = next;
                continue;
            };
            if let Some(process) = look_at(&self.proc, pid as u32, &self.reapers, self.traces.as_ref())? {
                self.seen.push(process)?;
            }
            self.next = next;
            if now() >= until {
                return Ok(false);
            }
        }
        self.seen.as_mut_slice().sort_unstable_by_key(|process| process.pid);
        self.complete = true;
        Ok(true)
    }

    /// A look at all, at once.
    pub fn look_now(&mut self, reapers: &[u32]) -> io::Result<()> {
        self.begin(reapers)?;
        self.go_on(u64::MAX)?;
        Ok(())
    }

    /// How many looks were begun.
    pub fn looks(&self) -> u64 {
        self.look
    }

    /// Marks the members of `run` in what was seen.
    fn mark_members(&mut self, run: &TreeRun<'_>) {
        let reapers = self.reapers;
        let mark = hash(run.id.as_bytes());
        let cgroup = hash(run.id.rsplit('-').next().unwrap_or_default().as_bytes());
        let abandoned = self.traces.is_some();
        let seen = self.seen.as_mut_slice();
        let is_leader = |p: &Process| p.pid == run.leader && [0, p.stat.start_ticks].contains(&run.start_ticks);
        // Another process has the leader's number now: sessions and groups of that number are its own.
        // Where nobody keeps that number from being used again, it is the leader's only while he is there to be seen.
        let number_passed_on = find(seen, run.leader).map_or(abandoned, |i| !is_leader(&seen[i]));
        for process in seen.iter_mut() {
            let kin = reapers.contains(&process.pid) || process.pid <= 1;
            let orphan = abandoned || reapers.contains(&process.stat.ppid);
            let same_group = !number_passed_on && [process.stat.sid, process.stat.pgid].contains(&run.leader);
            let in_cgroup = process.cgroup != 0;
            let marked = if in_cgroup { process.cgroup == cgroup } else { process.mark == mark };
            let of_another = orphan && !marked && (in_cgroup || process.mark != 0);
            let traced = marked || process.pipes.iter().any(|pipe| *pipe != 0 && run.pipes.contains(pipe));
            let is_known = run.known.binary_search(&(process.pid, process.stat.start_ticks)).is_ok();
            let found = same_group && !of_another || orphan && !of_another && traced;
            process.member = !kin && (is_leader(process) || is_known || found);
        }
        let mut grew = true;
        while grew {
            grew = false;
            for i in 0..seen.len() {
                let Process { pid, stat, member, .. } = seen[i];
                if !member
                    && !reapers.contains(&pid)
                    && let Some(parent) = find(seen, stat.ppid)
                    && seen[parent].member
                    && seen[parent].stat.start_ticks <= stat.start_ticks
                {
                    seen[i].member = true;
                    grew = true;
                }
            }
        }
    }

    /// The living processes of a run as of the last look, each with its start; the oldest first.
    pub fn members(&mut self, run: &TreeRun<'_>) -> Vec<(u32, u64)> {
        self.mark_members(run);
        let mut all: Vec<(u32, u64)> = self.living_members().map(|p| (p.pid, p.stat.start_ticks)).collect();
        all.sort_unstable_by_key(|(pid, ticks)| (*ticks, *pid));
        all
    }

    fn living_members(&self) -> impl Iterator<Item = &Process> {
        self.seen.as_slice().iter().filter(|process| process.member && process.lives())
    }
}

/// Kills all of the run, a bounded piece of work a call; `reapers` are the elder and the keepers, to whom orphans fall.
/// Who cannot be killed (stuck in the kernel, or another user's) makes it `Again` for ever: the caller has the clock.
pub fn kill_tree(processes: &mut Processes, reapers: &[u32], run: &TreeRun<'_>, kill: &mut Kill) -> Swept {
    kill_tree_and_tell(processes, reapers, run, kill, |_, _| {})
}

/// As `kill_tree`; `met` is told of everybody whom a look found alive, with his start. Only here every look is whole: one
/// that the call ends in the middle of knows nobody whose number is high.
pub fn kill_tree_and_tell(
    processes: &mut Processes,
    reapers: &[u32],
    run: &TreeRun<'_>,
    kill: &mut Kill,
    mut met: impl FnMut(u32, u64),
) -> Swept {
    let until = now() + BUDGET_NS;
    // A look that was begun before this kill may have missed somebody.
    let mut last = *kill.look.get_or_insert(processes.look);
    loop {
        let stale = processes.complete && processes.look <= last || processes.owner != std::process::id();
        let begun = if stale { processes.begin(reapers) } else { Ok(()) };
        match begun.and_then(|()| processes.go_on(until)) {
            Ok(true) if processes.look > last => {}
            Ok(true) => continue,
            // Out of time, or of memory or descriptors: what is not done now is done at the next call.
            Ok(false) => return Swept::Again { living: kill.living },
            Err(_) => {
                processes.complete = true;
                kill.look = Some(processes.look);
                return Swept::Again { living: kill.living };
            }
        }
        last = processes.look;
        kill.look = Some(last);
        processes.mark_members(run);
        kill.living = processes.living_members().count();
        for process in processes.living_members() {
            met(process.pid, process.stat.start_ticks);
        }
        kill.rounds += 1;
        match (kill.stage, kill.living) {
            (Stage::Empty, 0) => return Swept::Gone,
            (Stage::Stopping | Stage::Killing, 0) => kill.stage = Stage::Empty,
            (Stage::Stopping, _) => {
                let mut new = 0;
                for process in processes.living_members().filter(|process| !process.is_stopped()) {
                    new += usize::from(signal(process, libc::SIGSTOP));
                }
                if new == 0 || kill.rounds >= STOP_ROUNDS {
                    kill.stage = Stage::Killing;
                    send_kill(processes);
                }
            }
            (Stage::Killing | Stage::Empty, _) => {
                kill.stage = Stage::Killing;
                send_kill(processes);
            }
        }
        if now() >= until {
            return Swept::Again { living: kill.living };
        }
    }
}

fn send_kill(processes: &Processes) {
    for process in processes.living_members() {
        signal(process, libc::SIGKILL);
    }
}

/// Sends a signal once to each living process of the run; gives to how many. Looks at all processes at once.
pub fn signal_tree(processes: &mut Processes, reapers: &[u32], run: &TreeRun<'_>, number: i32) -> io::Result<usize> {
    processes.look_now(reapers)?;
    processes.mark_members(run);
    Ok(processes.living_members().filter(|process| signal(process, number)).count())
}

/// The living processes of the run, as many as fit; gives how many there are. Looks at all processes at once.
pub fn pids_of(processes: &mut Processes, reapers: &[u32], run: &TreeRun<'_>, pids: &mut [u32]) -> io::Result<usize> {
    processes.look_now(reapers)?;
    processes.mark_members(run);
    for (to, process) in pids.iter_mut().zip(processes.living_members()) {
        *to = process.pid;
    }
    Ok(processes.living_members().count())
}

/// Signals the very process that was seen, not one that has its number now; gives whether it was told.
fn signal(process: &Process, number: i32) -> bool {
    let Ok(pidfd) = pidfd_open(process.pid) else { return false };
    let same = crate::boot::start_ticks(process.pid) == Some(process.stat.start_ticks);
    same && pidfd_send_signal(&pidfd, number, false).is_ok()
}

fn open_proc() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(c"/proc", flags, Mode::empty())?)
}

fn find(seen: &[Process], pid: u32) -> Option<usize> {
    seen.binary_search_by_key(&pid, |process| process.pid).ok()
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// `None`: it has gone. An error says nothing of it: there is nothing left to ask with.
fn look_at(proc: &OwnedFd, pid: u32, reapers: &[u32], traces: Option<&Traces>) -> io::Result<Option<Process>> {
    let mut path = Text::<32>::new();
    if write!(path, "{pid}/stat").is_err() {
        return Ok(None);
    }
    let mut buffer = [0; 1024];
    let stat = match read_start_at(proc, path.as_cstr(), &mut buffer).map_err(io::Error::from) {
        Ok(bytes) => Stat::parse(bytes),
        Err(e) if is_shortage(&e) => return Err(e),
        Err(_) => None,
    };
    let Some(stat) = stat else { return Ok(None) };
    let mut process = Process { pid, stat, mark: 0, pipes: [0; 2], cgroup: 0, member: false };
    if let Some(traces) = traces {
        if process.lives() {
            (process.mark, process.cgroup) = traces.of_process(pid)?;
        }
    } else if reapers.contains(&stat.ppid) && process.lives() {
        process.mark = mark_of(proc, pid);
        process.pipes = [pipe_of(proc, pid, 1), pipe_of(proc, pid, 2)];
    }
    Ok(Some(process))
}

/// The hash of the run id in a process's environment; zero when there is none or it may not be read.
fn mark_of(proc: &OwnedFd, pid: u32) -> u64 {
    const NAME: &[u8] = b"KIN_RUN_ID=";
    let mut path = Text::<32>::new();
    let Ok(file) = write!(path, "{pid}/environ")
        .map_err(|_| rustix::io::Errno::INVAL)
        .and_then(|()| rustix::fs::openat(proc, path.as_cstr(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
    else {
        return 0;
    };
    let mut buffer = [0u8; 4096];
    let (mut filled, mut total) = (0, 0);
    // Whether the buffer begins at the beginning of a variable; one longer than the buffer is skipped to its end.
    let mut at_start = true;
    while total < ENVIRON_MAX {
        let Ok(count) = rustix::io::read(&file, &mut buffer[filled..]) else { return 0 };
        if count == 0 {
            return 0;
        }
        total += count;
        filled += count;
        let mut start = 0;
        while let Some(length) = buffer[start..filled].iter().position(|b| *b == 0) {
            let variable = &buffer[start..start + length];
            if at_start && let Some(id) = variable.strip_prefix(NAME) {
                return hash(id);
            }
            at_start = true;
            start += length + 1;
        }
        if start == 0 && filled == buffer.len() {
            at_start = false;
            start = filled;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
    0
}

/// The inode of the pipe on a descriptor of another process; zero when it is none.
fn pipe_of(proc: &OwnedFd, pid: u32, fd: u32) -> u64 {
    let mut path = Text::<32>::new();
    let mut space = [MaybeUninit::uninit(); 64];
    if write!(path, "{pid}/fd/{fd}").is_err() {
        return 0;
    }
    // The text of the link, and never a look through it: that could wait for a dead server.
    let Ok((target, _)) = rustix::fs::readlinkat_raw(proc, path.as_cstr(), &mut space) else { return 0 };
    let target: &[u8] = target;
    target.strip_prefix(b"pipe:[").and_then(number).unwrap_or(0)
}
