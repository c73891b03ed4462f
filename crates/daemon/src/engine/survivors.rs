//! Runs that no keeper has: those that outlived both keepers, and processes that were adopted. Nobody holds their pipes,
//! and nobody of ours is their parent, but they live.
//!
//! A run lives as long as its leader does, or anybody who carries its cgroup or its environment
//! (`kin_keeper::abandoned`). One of them is watched by pidfd; when that one is gone, it is looked who else there is.
//! While a run lives it counts as any other, and a stop works on it; when it is gone, the kernel may still say how its
//! leader ended (from 6.15 on), else nobody knows and the run is lost.
//!
//! What is done with a run is noted in its slot, as its keeper would have: the table is ours while nobody serves it. So the
//! ladder and the timeout go on where they were, whoever dies (`ladder`). A run whose table is gone too has a slot in our
//! memory, and its ladder begins anew with the next daemon.

mod ladder;
#[cfg(test)]
mod tests;

use super::adopt::Adopted;
use super::dirs::Dirs;
use super::link::Link;
use super::slot;
use kin_core::{Close, How, Phase, RunId, RunNo, Seen, Time};
use kin_keeper::abandoned::{Traces, is_shortage};
use kin_keeper::boot::start_ticks;
use kin_keeper::sys::wait::{Corpse, ExitInfo, corpse, exit_info, has_ended, pidfd_open};
use kin_keeper::table::{RUNNING, Slot, Snapshot, Table, flag};
use kin_keeper::tree::{Kill, Processes, REAPERS_MAX, TreeRun};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// After so long a leader's zombie that nobody reaps, and of which we may not know how it ended, is looked at again; and
/// after so long nobody will.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const REAPED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at all processes for the same run.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// The same, for one that no KILL has ended in its time.
const PAUSE_GIVEN_UP: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Survivor {
    id: String,
    generation: Option<u64>,
    /// Its leader, as the table said; zeros: no table did.
    pid: u32,
    ticks: u64,
    /// The signal of its stop and the wait after it, in milliseconds: of an adopted process, which has no spec.
    stop: Option<(u8, u64)>,
    /// Those of an adopted one that were seen: they carry nothing of it, and its death would hide them.
    known: Vec<(u32, u64)>,
    /// There when no table has it.
    slot: Option<Box<Slot>>,
    watch: Option<Watch>,
    kill: Kill,
    /// When it is looked at though nobody spoke, and how long the pause before was.
    look_at: Option<Instant>,
    pause: Duration,
    /// Its leader lies there dead; until then somebody may reap it.
    reaped_by: Option<Instant>,
    /// Its leader's end, when somebody could tell.
    exit: Option<How>,
    /// The last look found nobody. A process that just dies has lost what it is known by before it is gone, and one that
    /// was just forked may have been missed: nobody twice is nobody.
    seen_empty: bool,
    /// How it ended; said again until it is recorded.
    ended: Option<Seen>,
}

impl Survivor {
    fn new(id: String, generation: Option<u64>, (pid, ticks): (u32, u64)) -> Survivor {
        Survivor {
            id,
            generation,
            pid,
            ticks,
            stop: None,
            known: Vec::new(),
            slot: None,
            look_at: None,
            watch: None,
            kill: Kill::default(),
            pause: PAUSE,
            reaped_by: None,
            exit: None,
            seen_empty: false,
            ended: None,
        }
    }

    fn tree(&self) -> TreeRun<'_> {
        TreeRun { id: &self.id, leader: self.pid, start_ticks: self.ticks, pipes: [0; 2], known: &self.known }
    }

    /// Whom a look for it found.
    fn learn(&mut self, met: Vec<(u32, u64)>) {
        if self.stop.is_some() {
            self.known.extend(met);
            self.known = in_order(std::mem::take(&mut self.known));
        }
    }
}

/// One process of a survivor that lives.
#[derive(Debug)]
struct Watch {
    number: u64,
    pidfd: OwnedFd,
    is_leader: bool,
}

#[derive(Debug)]
pub(super) struct Survivors {
    runs: BTreeMap<RunNo, Survivor>,
    /// Tables that nobody serves, to write in.
    tables: BTreeMap<u64, Table>,
    traces: Traces,
    processes: Option<Processes>,
    /// Of whom a look found nobody, and when that was first: a process that becomes another program, or dies, carries
    /// nothing for a moment.
    empty: BTreeMap<RunNo, Instant>,
    /// All processes were looked at since this look around began.
    is_fresh: bool,
    /// Processes of kin as it is now: never part of a run, though its server may have been started by one.
    ours: [u32; REAPERS_MAX],
    /// All of them were told. Until then nothing is done to anybody.
    knows_ours: bool,
}

/// What became of a run that nobody serves.
#[derive(Debug)]
pub(super) enum Fate {
    Alive,
    /// It was watched until its end.
    Ended(Seen),
    /// It was gone before anybody watched it.
    Gone,
    /// Nobody of it was found, for the first time: it is to be looked for once more, after `PAUSE`.
    Unclear,
}

impl Survivors {
    pub(super) fn new(dirs: &Dirs) -> Survivors {
        let mut ours = [0; REAPERS_MAX];
        ours[0] = std::process::id();
        Survivors {
            runs: BTreeMap::new(),
            tables: BTreeMap::new(),
            traces: Traces::new(&dirs.state, &dirs.run),
            processes: None,
            empty: BTreeMap::new(),
            is_fresh: false,
            ours,
            knows_ours: false,
        }
    }
    pub(super) fn has(&self, no: RunNo) -> bool {
        self.runs.contains_key(&no)
    }
    pub(super) fn of_generation(&self, generation: u64) -> usize {
        self.runs.values().filter(|s| s.generation == Some(generation)).count()
    }
    pub(super) fn all(&self) -> BTreeSet<RunNo> {
        self.runs.keys().copied().collect()
    }
    /// Of one that is watched.
    pub(super) fn fate(&self, no: RunNo) -> Option<Fate> {
        Some(self.runs.get(&no)?.ended.clone().map_or(Fate::Alive, Fate::Ended))
    }
    /// Those that have ended, and how.
    pub(super) fn ended(&self) -> Vec<(RunNo, Seen)> {
        self.runs.iter().filter_map(|(no, survivor)| Some((*no, survivor.ended.clone()?))).collect()
    }
    /// The other processes of kin, as far as they are known; `all`: that is all of them.
    pub(super) fn ours_are(&mut self, others: &BTreeSet<u32>, all: bool) {
        self.ours = [0; REAPERS_MAX];
        let own = std::process::id();
        let pids = std::iter::once(own).chain(others.iter().copied().filter(|pid| *pid != 0 && *pid != own));
        for (to, from) in self.ours.iter_mut().zip(pids) {
            *to = from;
        }
        self.knows_ours |= all;
    }
    pub(super) fn knows_ours(&self) -> bool {
        self.knows_ours
    }
    /// Whether it is a process of kin itself.
    pub(super) fn is_ours(&self, pid: u32) -> bool {
        self.ours.contains(&pid)
    }

    /// What was seen of all processes is old: another look around begins.
    pub(super) fn begin_look(&mut self) {
        self.is_fresh = false;
    }

    /// Looks whether the run lives, and watches it if so. `snapshot`: its slot in a table that nobody serves; without one,
    /// it is known by what its processes carry alone.
    pub(super) fn look(
        &mut self,
        link: &mut Link,
        dirs: &Dirs,
        run: &RunId,
        found: Option<(u64, &Snapshot)>,
    ) -> io::Result<Fate> {
        if let Some(fate) = self.fate(run.no) {
            return Ok(fate);
        }
        let (generation, snapshot) = (found.map(|(generation, _)| generation), found.map(|(_, snapshot)| snapshot));
        let (pid, ticks) = snapshot.map_or((0, 0), |s| (s.pid, s.start_ticks));
        let id = run.to_string();
        let leader = watch_leader(link, pid, ticks, &id)?;
        let ticks = if ticks == 0 && leader.is_some() { start_ticks(pid).unwrap_or(0) } else { ticks };
        if leader.is_none() {
            let tree = TreeRun { id: &id, leader: pid, start_ticks: ticks, pipes: [0; 2], known: &[] };
            self.look_around()?;
            if self.members(&tree).is_empty() {
                let first = *self.empty.entry(run.no).or_insert_with(Instant::now);
                if first.elapsed() < PAUSE {
                    return Ok(Fate::Unclear);
                }
                self.empty.remove(&run.no);
                return Ok(Fate::Gone);
            }
        }
        self.empty.remove(&run.no);
        let survivor = Survivor {
            // Whoever else there is, is watched from the next look on.
            look_at: leader.is_none().then(Instant::now),
            watch: leader,
            ..Survivor::new(id, generation, (pid, ticks))
        };
        self.runs.insert(run.no, survivor);
        self.find_slot(dirs, run.no, generation);
        self.take_up(run.no);
        Ok(Fate::Alive)
    }

    /// Watches a process that was adopted, if it is still the same one.
    pub(super) fn adopt(&mut self, link: &mut Link, dirs: &Dirs, run: &RunId, adopted: &Adopted) -> io::Result<Fate> {
        if let Some(fate) = self.fate(run.no) {
            return Ok(fate);
        }
        let Adopted { pid, ticks, signal, wait_ms } = *adopted;
        let pidfd = match pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(Fate::Gone),
            Err(e) => return Err(e),
        };
        match start_ticks(pid) {
            Some(there) if there == ticks => {}
            // It is there, and it cannot be read now which one it is.
            None if !has_ended(&pidfd) => {
                return Err(unreadable(pid));
            }
            Some(_) | None => return Ok(Fate::Gone),
        }
        let number = link.watch_survivor(&pidfd)?;
        let survivor = Survivor {
            stop: Some((signal, wait_ms)),
            watch: Some(Watch { number, pidfd, is_leader: true }),
            ..Survivor::new(run.to_string(), None, (pid, ticks))
        };
        self.runs.insert(run.no, survivor);
        self.find_slot(dirs, run.no, None);
        Ok(Fate::Alive)
    }

    /// Where it is noted what is done with it.
    fn find_slot(&mut self, dirs: &Dirs, no: RunNo, generation: Option<u64>) {
        if let Some(generation) = generation
            && !self.tables.contains_key(&generation)
        {
            match Table::open_orphan(&dirs.table(generation)) {
                Ok(table) => drop(self.tables.insert(generation, table)),
                Err(e) => crate::say!("kin daemon: what is done with runs of {generation:016x} is not noted: {e}"),
            }
        }
        let there = generation.and_then(|g| self.tables.get(&g)?.find(no.get()));
        if there.is_none()
            && let Some(survivor) = self.runs.get_mut(&no)
        {
            let slot = Box::<Slot>::default();
            slot.run.store(no.get(), Ordering::Relaxed);
            slot.state.store(RUNNING, Ordering::Relaxed);
            survivor.slot = Some(slot);
        }
    }

    fn slot(&self, no: RunNo) -> Option<&Slot> {
        let survivor = self.runs.get(&no)?;
        if let Some(slot) = &survivor.slot {
            return Some(slot);
        }
        let table = self.tables.get(&survivor.generation?)?;
        table.slots().get(table.find(no.get())? as usize)
    }

    fn open_processes(&mut self) -> io::Result<()> {
        if self.processes.is_none() {
            self.processes = Some(Processes::abandoned(self.traces.clone())?);
        }
        Ok(())
    }

    /// All processes of the machine, unless that was done since this look around began.
    fn look_around(&mut self) -> io::Result<()> {
        self.open_processes()?;
        if let Some(processes) = self.processes.as_mut().filter(|_| !self.is_fresh) {
            processes.look_now(&self.ours)?;
            self.is_fresh = true;
        }
        Ok(())
    }

    fn members(&mut self, tree: &TreeRun<'_>) -> Vec<(u32, u64)> {
        self.processes.as_mut().map(|processes| processes.members(tree)).unwrap_or_default()
    }

    /// A pidfd spoke: its run, and how it ended if it is quite gone. One look around serves all that spoke before it began.
    pub(super) fn spoke(&mut self, link: &mut Link, number: u64, now: Time) -> Option<(RunNo, Seen)> {
        let is_it = |s: &Survivor| s.watch.as_ref().is_some_and(|watch| watch.number == number);
        let no = self.runs.iter().find(|(_, s)| is_it(s)).map(|(no, _)| *no)?;
        self.follow(link, no, now).map(|seen| (no, seen))
    }

    /// Looks how it stands. Its end, when that is now.
    fn follow(&mut self, link: &mut Link, no: RunNo, now: Time) -> Option<Seen> {
        let survivor = self.runs.get_mut(&no).filter(|survivor| survivor.ended.is_none())?;
        if let Some(watch) = &survivor.watch {
            if !has_ended(&watch.pidfd) {
                return None;
            }
            if watch.is_leader {
                let until = *survivor.reaped_by.get_or_insert_with(|| Instant::now() + REAPED_WITHIN);
                match last_word(&watch.pidfd) {
                    Ok(info) => survivor.exit = slot::exit(info.code, info.status).map(How::Exit),
                    // Its parent has not taken its exit yet; only then may the kernel tell us.
                    Err(Corpse::Closed) if Instant::now() < until => {
                        survivor.look_at = Some(Instant::now() + LOOK_AGAIN);
                        return None;
                    }
                    Err(_) => {}
                }
            }
            link.unwatch_survivor(watch.number, &watch.pidfd);
            survivor.watch = None;
        }
        self.follow_others(link, no, now)
    }

    /// Its leader is gone, or nobody knows who that was.
    fn follow_others(&mut self, link: &mut Link, no: RunNo, now: Time) -> Option<Seen> {
        let again = |survivor: &mut Survivor| {
            survivor.pause = (survivor.pause * 2).min(PAUSE_MAX);
            survivor.look_at = Some(Instant::now() + survivor.pause);
        };
        if let Err(e) = self.look_around() {
            crate::say!("kin daemon: cannot look for the processes of run {no}: {e}");
            again(self.runs.get_mut(&no)?);
            return None;
        }
        let Survivors { processes, runs, .. } = self;
        let members = processes.as_mut()?.members(&runs.get(&no)?.tree());
        let is_stopped = self.slot(no).is_some_and(|slot| slot.stop_stage.load(Ordering::Relaxed) > 0);
        let survivor = self.runs.get_mut(&no)?;
        let (was_empty, is_empty) = (survivor.seen_empty, members.is_empty());
        survivor.seen_empty = is_empty;
        if survivor.stop.is_some() {
            survivor.known = in_order(members.clone());
        }
        if survivor.exit.is_some() && !is_stopped || is_empty && was_empty {
            return Some(self.end(no, u32::try_from(members.len()).unwrap_or(u32::MAX), now));
        }
        for (pid, ticks) in members {
            // The descriptor first: what is then asked by number is asked of this process, or the number was used again.
            let Ok(pidfd) = pidfd_open(pid) else { continue };
            if start_ticks(pid) != Some(ticks) {
                continue;
            }
            match link.watch_survivor(&pidfd) {
                Ok(number) => {
                    survivor.pause = PAUSE;
                    survivor.watch = Some(Watch { number, pidfd, is_leader: false });
                    return None;
                }
                Err(e) => crate::say!("kin daemon: cannot watch process {pid} of run {no}: {e}"),
            }
        }
        again(survivor);
        None
    }

    fn end(&mut self, no: RunNo, left: u32, now: Time) -> Seen {
        let exit = self.runs.get(&no).and_then(|survivor| survivor.exit);
        let snapshot = self.slot(no).and_then(|slot| slot.snapshot(0));
        let flags = snapshot.map_or(0, |s| s.flags);
        let close = Close {
            how: exit.unwrap_or(How::Unknown),
            at: now,
            timed_out: flags & flag::TIMED_OUT != 0,
            oom: flags & flag::OOM != 0,
        };
        let phase = Phase::Drained(close);
        let mut seen = snapshot.as_ref().and_then(slot::seen).unwrap_or(Seen::bare(phase.clone()));
        (seen.phase, seen.left_behind) = (phase, left);
        if let Some(survivor) = self.runs.get_mut(&no) {
            survivor.look_at = None;
            survivor.ended = Some(seen.clone());
        }
        seen
    }

    /// Its end is in the ledger, or it never was a run.
    pub(super) fn forget(&mut self, link: &mut Link, no: RunNo) -> bool {
        self.empty.remove(&no);
        let Some(gone) = self.runs.remove(&no) else { return false };
        if let Some(watch) = gone.watch {
            link.unwatch_survivor(watch.number, &watch.pidfd);
        }
        if let Some(generation) = gone.generation.filter(|generation| self.of_generation(*generation) == 0) {
            self.tables.remove(&generation);
        }
        if self.runs.is_empty() {
            self.processes = None;
        }
        true
    }
}

/// The leader, if it is still there.
fn watch_leader(link: &mut Link, pid: u32, ticks: u64, id: &str) -> io::Result<Option<Watch>> {
    if pid == 0 {
        return Ok(None);
    }
    // The descriptor first: what is then asked by number is asked of this process, or the number was used again.
    let pidfd = match pidfd_open(pid) {
        Ok(pidfd) => pidfd,
        Err(e) if is_shortage(&e) => return Err(e),
        Err(_) => return Ok(None),
    };
    let there = match start_ticks(pid) {
        Some(there) => there,
        None if has_ended(&pidfd) => return Ok(None),
        None => return Err(unreadable(pid)),
    };
    let same = if ticks != 0 { there == ticks } else { carries(pid, id)? };
    if !same {
        return Ok(None);
    }
    let number = link.watch_survivor(&pidfd)?;
    Ok(Some(Watch { number, pidfd, is_leader: true }))
}

/// How a dead leader ended, by what lies there of it, or what the kernel kept when it was taken away.
fn last_word(pidfd: &OwnedFd) -> Result<ExitInfo, Corpse> {
    // First the corpse: it may be taken away in between, and then the kernel is asked.
    match (corpse(pidfd), exit_info(pidfd)) {
        (Corpse::Ended(info), _) | (_, Some(info)) => Ok(info),
        (corpse, None) => Err(corpse),
    }
}

fn in_order(mut known: Vec<(u32, u64)>) -> Vec<(u32, u64)> {
    known.sort_unstable();
    known.dedup();
    known
}

/// Whether a process is of this run, by its environment.
fn carries(pid: u32, id: &str) -> io::Result<bool> {
    let want = format!("KIN_RUN_ID={id}");
    match std::fs::read(format!("/proc/{pid}/environ")) {
        Ok(bytes) => Ok(bytes.split(|b| *b == 0).any(|entry| entry == want.as_bytes())),
        Err(e) if is_shortage(&e) => Err(e),
        Err(_) => Ok(false),
    }
}

/// It is there, and it cannot be read now which one it is.
fn unreadable(pid: u32) -> io::Error {
    io::Error::other(format!("/proc/{pid}/stat cannot be read"))
}
