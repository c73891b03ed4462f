//! The run table: what a generation of keeper knows of its runs, in memory that outlives it.
//!
//! A file on tmpfs, mapped shared by elder, keeper and daemon. Only its owner writes: the keeper that serves it; of one that
//! nobody serves any more the daemon, which then sees to the runs that outlived their keepers. (And, between clone and exec, the
//! child: its pid is put there by the kernel before it first runs, its failed step by itself). Each change is plain
//! stores followed by a release store of `state`, so a reader that sees the state sees what belongs to it.
//!
//! ```text
//!   FREE ──▶ INTENT ───exec───▶ RUNNING ──zombie seen──▶ EXITED ──pipes at EOF, or linger──▶ DRAINED ──Forget──▶ FREE
//!    ▲         │ pid still 0 at takeover: nothing ran       │ reaped only after the store
//!    └─────────┘
//! ```
//! A run's place is found by its number: it lies at `run % slots`, or the nearest free slot after it, never further on
//! than `reach` in the header says.
//!
//! The file is flocked by the processes that own it, for life: "lock free" means that nobody serves it any more.

use crate::sys::map::Mapping;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

pub const MAGIC: u64 = u64::from_le_bytes(*b"KINTABLE");
/// Grows when a slot's meaning changes; a reader knows this one and the one before.
pub const LAYOUT: u32 = 1;
pub const SLOTS: usize = 4096;
const HEADER: usize = 4096;
const SLOT: usize = 256;

pub const FREE: u32 = 0;
pub const INTENT: u32 = 2;
pub const RUNNING: u32 = 3;
pub const EXITED: u32 = 4;
pub const DRAINED: u32 = 5;

/// In `Slot::stop_signal`: whoever takes over need not send it.
pub const SIGNAL_SENT: u32 = 1 << 16;
/// In `Slot::stop_signal`: the signal, and above it the rung.
pub const SIGNAL_BITS: u32 = 0xff;
pub const RUNG: u32 = 8;
pub const RUNG_BITS: u32 = 0xff;
/// Rungs before the first signal, without a signal of their own: its stop command goes; it has ended well.
pub const RUNG_COMMAND: u32 = 0xfe;
pub const RUNG_ASKED: u32 = 0xff;

/// Bits of `Slot::flags`.
pub mod flag {
    /// Served by another keeper than the one that started it.
    pub const ADOPTED: u32 = 1;
    pub const OOM: u32 = 1 << 1;
    pub const TIMED_OUT: u32 = 1 << 2;
    /// Its descriptors could not be backed up at the elder.
    pub const DEGRADED: u32 = 1 << 3;
    /// The leader ended, and no keeper could learn how.
    pub const STATUS_UNKNOWN: u32 = 1 << 4;
    /// The disk is full: the child waits.
    pub const OUTPUT_BLOCKED: u32 = 1 << 5;
    /// The stop ladder was begun by a wish (not by the timeout), while its leader lived as far as anybody knew.
    pub const STOP_ASKED: u32 = 1 << 6;
    /// The ladder reached KILL.
    pub const KILLED: u32 = 1 << 7;
    /// Pipes were still held when the linger was over.
    pub const LEAKY: u32 = 1 << 8;
    /// It lives in a cgroup of its own.
    pub const CGROUP: u32 = 1 << 9;
    pub const TTY: u32 = 1 << 10;
    /// It came from INTENT to DRAINED without ever being the program: see step and errno.
    pub const SPAWN_FAILED: u32 = 1 << 11;
}

/// First page of the file.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    pub magic: AtomicU64,
    pub layout: AtomicU32,
    pub slots: AtomicU32,
    pub generation: AtomicU64,
    /// The pid that serves it now.
    pub owner: AtomicU32,
    /// How far from its home any run was ever put.
    pub reach: AtomicU32,
    /// The boot identity's first 64 bytes, zero-padded.
    pub boot: [AtomicU64; 8],
    /// Not zero: some slot may be DEGRADED. A hint that saves looking at all of them.
    pub strained: AtomicU32,
    /// Whether runs have cgroups, and if not why (`cgroup::Lack`).
    pub cgroups: AtomicU32,
}

/// One run. 256 bytes, atomics only.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Slot {
    pub state: AtomicU32,
    /// Written by the kernel before the child first runs.
    pub pid: AtomicU32,
    pub run: AtomicU64,
    pub flags: AtomicU32,
    /// A `SpawnStep`, when the child could not become the program; written by the child.
    pub step: AtomicU32,
    pub errno: AtomicI32,
    pub si_code: AtomicI32,
    pub si_status: AtomicI32,
    pub stop_stage: AtomicU32,
    /// Where the ladder stands: the rung's signal in the lowest eight bits, which rung in the next eight, from zero, and
    /// `SIGNAL_SENT` once that signal was sent.
    pub stop_signal: AtomicU32,
    pub left_behind: AtomicU32,
    /// Wall clock, Unix ns.
    pub t_intent: AtomicU64,
    pub t_start: AtomicU64,
    pub t_exit: AtomicU64,
    pub t_drained: AtomicU64,
    /// Monotonic ns; zero: none.
    pub stop_deadline: AtomicU64,
    pub timeout_deadline: AtomicU64,
    pub linger_deadline: AtomicU64,
    pub out_len: AtomicU64,
    pub err_len: AtomicU64,
    pub out_dropped: AtomicU64,
    pub err_dropped: AtomicU64,
    pub user_us: AtomicU64,
    pub system_us: AtomicU64,
    pub max_rss_kib: AtomicU64,
    /// Field 22 of /proc/PID/stat: with the pid, the name of a process within one boot.
    pub start_ticks: AtomicU64,
    /// Wall clock, Unix ns: since when its output cannot be written; zero: it can, or nobody wrote it down.
    pub t_blocked: AtomicU64,
    /// Which error keeps its output from its file, while one does.
    pub blocked_errno: AtomicU64,
    /// Input of a terminal: bytes taken from clients, and bytes given to the terminal. What lies between is in a pipe.
    /// Written by whoever minds the small door.
    pub typed: AtomicU64,
    pub typed_on: AtomicU64,
    /// From and to disks, by the leader and whom it waited for.
    pub read_bytes: AtomicU64,
    pub write_bytes: AtomicU64,
    /// Where in its stream the bytes belong that lie in a stream's second pipe (see `byhand`).
    pub out_placed: AtomicU64,
    pub err_placed: AtomicU64,
    /// How many of the dropped bytes its index tells of, plus one; zero: nobody counts that (see `dropped`).
    pub out_said: AtomicU64,
    pub err_said: AtomicU64,
    /// What is just being lost (see `dropped`); zero: nothing.
    pub losing: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == SLOT && size_of::<Header>() <= HEADER);

/// A slot as it was at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub slot: u32,
    pub state: u32,
    pub run: u64,
    pub pid: u32,
    pub flags: u32,
    pub step: u32,
    pub errno: i32,
    pub si_code: i32,
    pub si_status: i32,
    pub stop_stage: u32,
    pub left_behind: u32,
    pub t_start: u64,
    pub t_exit: u64,
    pub t_drained: u64,
    pub out_len: u64,
    pub err_len: u64,
    pub out_dropped: u64,
    pub err_dropped: u64,
    pub user_us: u64,
    pub system_us: u64,
    pub max_rss_kib: u64,
    pub start_ticks: u64,
    pub stop_signal: u32,
    pub t_blocked: u64,
    pub blocked_errno: u64,
    /// Zero also from a keeper that does not count them.
    pub read_bytes: u64,
    pub write_bytes: u64,
}

impl Slot {
    /// `None` when the slot changed hands while it was read; the reader will be told again.
    pub fn snapshot(&self, slot: u32) -> Option<Snapshot> {
        let state = self.state.load(Ordering::Acquire);
        let run = self.run.load(Ordering::Relaxed);
        let copy = Snapshot {
            slot,
            state,
            run,
            pid: self.pid.load(Ordering::Relaxed),
            flags: self.flags.load(Ordering::Relaxed),
            step: self.step.load(Ordering::Relaxed),
            errno: self.errno.load(Ordering::Relaxed),
            si_code: self.si_code.load(Ordering::Relaxed),
            si_status: self.si_status.load(Ordering::Relaxed),
            stop_stage: self.stop_stage.load(Ordering::Relaxed),
            left_behind: self.left_behind.load(Ordering::Relaxed),
            t_start: self.t_start.load(Ordering::Relaxed),
            t_exit: self.t_exit.load(Ordering::Relaxed),
            t_drained: self.t_drained.load(Ordering::Relaxed),
            out_len: self.out_len.load(Ordering::Relaxed),
            err_len: self.err_len.load(Ordering::Relaxed),
            out_dropped: self.out_dropped.load(Ordering::Relaxed),
            err_dropped: self.err_dropped.load(Ordering::Relaxed),
            user_us: self.user_us.load(Ordering::Relaxed),
            system_us: self.system_us.load(Ordering::Relaxed),
            max_rss_kib: self.max_rss_kib.load(Ordering::Relaxed),
            start_ticks: self.start_ticks.load(Ordering::Relaxed),
            stop_signal: self.stop_signal.load(Ordering::Relaxed),
            t_blocked: self.t_blocked.load(Ordering::Relaxed),
            blocked_errno: self.blocked_errno.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            write_bytes: self.write_bytes.load(Ordering::Relaxed),
        };
        std::sync::atomic::fence(Ordering::Acquire);
        (self.state.load(Ordering::Relaxed) == state && self.run.load(Ordering::Relaxed) == run).then_some(copy)
    }

    /// Empties every field but `state` and `run`, for the next run.
    pub fn clear(&self) {
        for word in [&self.pid, &self.flags, &self.step, &self.stop_stage, &self.stop_signal, &self.left_behind] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&self.errno, &self.si_code, &self.si_status] {
            word.store(0, Ordering::Relaxed);
        }
        for long in [
            &self.t_intent,
            &self.t_start,
            &self.t_exit,
            &self.t_drained,
            &self.stop_deadline,
            &self.timeout_deadline,
            &self.linger_deadline,
            &self.out_len,
            &self.err_len,
            &self.out_dropped,
            &self.err_dropped,
            &self.user_us,
            &self.system_us,
            &self.max_rss_kib,
            &self.start_ticks,
            &self.t_blocked,
            &self.blocked_errno,
            &self.typed,
            &self.typed_on,
            &self.read_bytes,
            &self.write_bytes,
            &self.out_placed,
            &self.err_placed,
            &self.out_said,
            &self.err_said,
            &self.losing,
        ] {
            long.store(0, Ordering::Relaxed);
        }
    }

    pub fn set_flag(&self, bits: u32) {
        self.flags.fetch_or(bits, Ordering::Relaxed);
    }
    pub fn clear_flag(&self, bits: u32) {
        self.flags.fetch_and(!bits, Ordering::Relaxed);
    }
    pub fn has_flag(&self, bits: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & bits != 0
    }
}

/// A mapped run table.
#[derive(Debug)]
pub struct Table {
    map: Mapping,
    file: OwnedFd,
    slots: usize,
}

impl Table {
    /// Makes a new table, all of its pages present, so that touching one can never fail. The caller locks it.
    pub fn create(path: &Path, generation: u64, boot: &str) -> io::Result<Table> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        let len = HEADER + SLOTS * SLOT;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len as u64)?;
        let table = Table { map: Mapping::shared(&file, len, true)?, file, slots: SLOTS };
        let header = table.header();
        header.layout.store(LAYOUT, Ordering::Relaxed);
        header.slots.store(SLOTS as u32, Ordering::Relaxed);
        header.generation.store(generation, Ordering::Relaxed);
        header.owner.store(std::process::id(), Ordering::Relaxed);
        for (i, word) in header.boot.iter().enumerate() {
            let mut bytes = [0; 8];
            for (to, from) in bytes.iter_mut().zip(boot.bytes().skip(8 * i)) {
                *to = from;
            }
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        header.magic.store(MAGIC, Ordering::Release);
        Ok(table)
    }

    /// Maps a table for reading. Refuses what is not a whole table of a layout we know.
    pub fn open(path: &Path) -> io::Result<Table> {
        // Followed on purpose: after the directory was made again, the name is a link to a living keeper's descriptor.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Table::from_file(rustix::fs::open(path, flags, Mode::empty())?, false)
    }

    /// Maps a table that nobody serves any more, to go on noting in it what is done with the runs that outlived its keepers.
    pub fn open_orphan(path: &Path) -> io::Result<Table> {
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
        Table::from_file(file, true)
    }

    /// Maps a table that was handed over as a descriptor (after an upgrade).
    pub fn from_file(file: OwnedFd, writable: bool) -> io::Result<Table> {
        let len = rustix::fs::fstat(&file)?.st_size as usize;
        if len < HEADER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a run table"));
        }
        let map = Mapping::shared(&file, len, writable)?;
        let mut table = Table { map, file, slots: 0 };
        let header = table.header();
        let slots = header.slots.load(Ordering::Relaxed) as usize;
        if header.magic.load(Ordering::Acquire) != MAGIC
            || header.layout.load(Ordering::Relaxed) != LAYOUT
            || len != HEADER + slots * SLOT
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a run table of this layout"));
        }
        table.slots = slots;
        Ok(table)
    }

    pub fn header(&self) -> &Header {
        &self.map.view::<Header>(0, 1)[0]
    }
    pub fn slots(&self) -> &[Slot] {
        self.map.view::<Slot>(HEADER, self.slots)
    }
    /// Whether a run lives whose slot is DEGRADED. `settles`: the header forgets it when there is none.
    pub(crate) fn is_strained(&self, settles: bool) -> bool {
        let word = &self.header().strained;
        let is_any = || {
            let lives = |slot: &Slot| matches!(slot.state.load(Ordering::Acquire), INTENT | RUNNING | EXITED);
            self.slots().iter().any(|slot| slot.has_flag(flag::DEGRADED) && lives(slot))
        };
        if word.load(Ordering::Acquire) == 0 {
            return false;
        }
        // Never taken away while there is one, not even for the time of a look: who is told to look finds it so.
        if is_any() {
            return true;
        }
        if settles {
            word.store(0, Ordering::Release);
        }
        // Who is strained from here on says so anew; who was meanwhile is seen now.
        let is_one = is_any();
        if is_one {
            word.store(1, Ordering::Release);
        }
        is_one
    }
    pub fn generation(&self) -> u64 {
        self.header().generation.load(Ordering::Relaxed)
    }
    pub fn boot(&self) -> String {
        let bytes: Vec<u8> = self.header().boot.iter().flat_map(|w| w.load(Ordering::Relaxed).to_le_bytes()).collect();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string()
    }
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Keeps it in memory, where we may; see `Mapping::pin`.
    pub fn pin(&self) -> bool {
        self.map.pin()
    }

    /// Takes the lock that says "somebody serves this table". It is inherited by fork and ends with the last holder.
    pub fn lock(&self) -> io::Result<()> {
        Ok(rustix::fs::flock(self.file.as_fd(), rustix::fs::FlockOperation::NonBlockingLockExclusive)?)
    }
    /// Whether any process serves it. Must be asked on a descriptor of one's own (`Table::open`).
    pub fn is_served(&self) -> bool {
        match rustix::fs::flock(self.file.as_fd(), rustix::fs::FlockOperation::NonBlockingLockShared) {
            Ok(()) => rustix::fs::flock(self.file.as_fd(), rustix::fs::FlockOperation::Unlock).is_err(),
            Err(_) => true,
        }
    }

    /// The slot of a run, if it has one.
    pub fn find(&self, run: u64) -> Option<u32> {
        let reach = (self.header().reach.load(Ordering::Relaxed) as usize).min(self.slots.saturating_sub(1));
        let slots = self.slots();
        let home = (run % self.slots.max(1) as u64) as usize;
        (0..=reach).map(|step| (home + step) % self.slots).find_map(|i| {
            let taken = slots[i].state.load(Ordering::Acquire) != FREE && slots[i].run.load(Ordering::Relaxed) == run;
            taken.then_some(i as u32)
        })
    }

    /// A free slot for a run that has none, or `None` when the table is full. Only the owner asks.
    pub fn place(&self, run: u64) -> Option<u32> {
        let slots = self.slots();
        let home = (run % self.slots as u64) as usize;
        let step =
            (0..self.slots).find(|step| slots[(home + step) % self.slots].state.load(Ordering::Relaxed) == FREE)?;
        self.header().reach.fetch_max(step as u32, Ordering::Release);
        Some(((home + step) % self.slots) as u32)
    }

    /// Every slot in use, as it is now.
    pub fn snapshots(&self) -> impl Iterator<Item = Snapshot> {
        self.slots().iter().enumerate().filter_map(|(i, slot)| slot.snapshot(i as u32)).filter(|s| s.state != FREE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_where_it_was_placed_also_when_its_home_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("t");
        let table = Table::create(&path, 9, "boot-1").expect("a table");
        for run in [5, 5 + SLOTS as u64, 5 + 2 * SLOTS as u64] {
            let at = table.place(run).expect("room");
            let slot = &table.slots()[at as usize];
            slot.run.store(run, Ordering::Relaxed);
            slot.state.store(INTENT, Ordering::Release);
        }
        table.slots()[5].state.store(FREE, Ordering::Release);
        let reader = Table::open(&path).expect("a reader");
        assert_eq!(reader.find(5), None);
        assert_eq!(reader.find(5 + 2 * SLOTS as u64), Some(7));
        assert_eq!((reader.boot().as_str(), reader.generation()), ("boot-1", 9));
        assert_eq!(reader.snapshots().count(), 2);
    }

    #[test]
    fn a_strain_is_there_for_others_while_it_is_looked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("t");
        let table = Table::create(&path, 1, "b").expect("a table");
        let slot = table.slots().last().expect("slots");
        slot.state.store(RUNNING, Ordering::Relaxed);
        slot.set_flag(flag::DEGRADED);
        table.header().strained.store(1, Ordering::Release);
        let other = Table::open(&path).expect("a reader");
        std::thread::scope(|both| {
            let looks = both.spawn(|| (0..500).all(|_| table.is_strained(true)));
            while !looks.is_finished() {
                assert_eq!(other.header().strained.load(Ordering::Acquire), 1);
            }
            assert!(looks.join().expect("no panic"));
        });
        slot.clear_flag(flag::DEGRADED);
        assert!(!table.is_strained(true) && table.header().strained.load(Ordering::Acquire) == 0);
    }

    #[test]
    fn a_full_table_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let table = Table::create(&dir.path().join("t"), 1, "b").expect("a table");
        for slot in table.slots() {
            slot.state.store(RUNNING, Ordering::Relaxed);
        }
        assert_eq!(table.place(1), None);
    }

    #[test]
    fn served_is_known_by_the_lock() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("t");
        let table = Table::create(&path, 1, "b").expect("a table");
        assert!(!Table::open(&path).expect("a reader").is_served());
        table.lock().expect("a lock");
        assert!(Table::open(&path).expect("a reader").is_served());
        drop(table);
        assert!(!Table::open(&path).expect("a reader").is_served());
    }

    #[test]
    fn a_cut_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("t");
        drop(Table::create(&path, 1, "b").expect("a table"));
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
        file.set_len(8192).expect("cut");
        assert!(Table::open(&path).is_err());
    }
}
