//! Processes that kin did not start, given into its care.
//!
//! ```text
//!   looked at ──▶ <state>/adopted/<run> written ──▶ row committed ──▶ answered
//!                        ▲                              │
//!                        └── each daemon finds it again ┘ and watches it by pidfd, until it is gone
//! ```
//! A number alone says nothing for long, so the file has the instant of the process's start too: another process of the
//! same number is never taken for it. Its exit code is known to a daemon that watched it when it ended: from /proc while its
//! parent has not taken its exit, and after that from the kernel (6.15 and later); otherwise it is lost.

use super::link::Link;
use super::{AGAIN, Accepted, Batch, Engine, Key, slot};
use kin_core::{Close, Fact, Granted, How, NewRun, Phase, Refusal, RunNo, Seen, StopKind, Time, Trigger, Wish};
use kin_keeper::boot::start_ticks;
use kin_keeper::sys::wait::{Corpse, ExitInfo, corpse, exit_info, pidfd_open, pidfd_send_signal};
use kin_ledger::NewKey;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A wish for a process to become a run, looked at.
#[derive(Clone, Debug)]
pub struct Adopt {
    pub new: NewRun,
    pub process: Adopted,
    pub started_at: Time,
    pub key: Option<Key>,
}

/// Which process it is, and how it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub pid: u32,
    /// When it started, as /proc has it.
    pub ticks: u64,
    pub signal: u8,
    pub wait_ms: u64,
}

impl Adopted {
    fn write(&self, path: &Path) -> io::Result<()> {
        let Adopted { pid, ticks, signal, wait_ms } = self;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(format!("{pid} {ticks} {signal} {wait_ms}\n").as_bytes())?;
        std::fs::rename(new, path)
    }

    fn read(path: &Path) -> io::Result<Adopted> {
        let text = std::fs::read_to_string(path)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "it is not what was written");
        let [pid, ticks, signal, wait_ms] = words[..] else { return Err(strange()) };
        let (Ok(pid), Ok(ticks), Ok(signal), Ok(wait_ms)) =
            (pid.parse(), ticks.parse(), signal.parse(), wait_ms.parse())
        else {
            return Err(strange());
        };
        Ok(Adopted { pid, ticks, signal, wait_ms })
    }
}

/// There was no slot that anybody could have written, and there is nothing more to come.
pub(super) const fn over(run: RunNo, close: Close) -> Fact {
    Fact::Slot { run, seen: Seen::bare(Phase::Drained(close)) }
}

const SIGKILL: i32 = 9;
/// How long a zombie may wait for its parent before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So long its parent is waited for; one that never reaps keeps no run alive.
const REAP_MAX: Duration = Duration::from_secs(10);

/// One that is watched.
#[derive(Debug)]
struct Watched {
    process: Adopted,
    number: u64,
    pidfd: OwnedFd,
    /// When the ladder comes to KILL.
    kill_at: Option<Instant>,
    /// It is dead, and not yet reaped: when it is looked at again, and since when.
    look_at: Option<Instant>,
    dead_since: Option<Instant>,
    /// How it ended; said again until it is recorded.
    close: Option<Close>,
}

#[derive(Debug, Default)]
pub(super) struct Adoptions {
    runs: BTreeMap<RunNo, Watched>,
}

impl Adoptions {
    pub(super) fn has(&self, no: RunNo) -> bool {
        self.runs.contains_key(&no)
    }

    /// Watches it, if it is still the same process.
    fn watch(&mut self, link: &mut Link, no: RunNo, process: &Adopted) -> io::Result<bool> {
        if self.has(no) {
            return Ok(true);
        }
        // The descriptor first: what is then asked by number is asked of this process, or the number was used again.
        let pidfd = match pidfd_open(process.pid) {
            Ok(pidfd) => pidfd,
            Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(false),
            Err(e) => return Err(e),
        };
        if start_ticks(process.pid) != Some(process.ticks) {
            return Ok(false);
        }
        let number = link.watch_survivor(&pidfd)?;
        let (process, dead_since, close) = (*process, None, None);
        self.runs.insert(no, Watched { process, number, pidfd, kill_at: None, look_at: None, dead_since, close });
        Ok(true)
    }

    fn close_of(&self, no: RunNo) -> Option<Close> {
        self.runs.get(&no).and_then(|watched| watched.close.clone())
    }

    /// Its end is in the ledger, or it never became a run.
    pub(super) fn forget(&mut self, link: &mut Link, no: RunNo) {
        if let Some(watched) = self.runs.remove(&no)
            && watched.close.is_none()
        {
            link.unwatch_survivor(watched.number, &watched.pidfd);
        }
    }

    /// A pidfd spoke: its run, and how it ended if it is quite gone.
    pub(super) fn spoke(&mut self, link: &mut Link, number: u64, now: Time) -> Option<(RunNo, Close)> {
        let no = self.runs.iter().find(|(_, watched)| watched.number == number).map(|(no, _)| *no)?;
        self.ended(link, no, now)
    }

    fn ended(&mut self, link: &mut Link, no: RunNo, now: Time) -> Option<(RunNo, Close)> {
        let watched = self.runs.get_mut(&no).filter(|watched| watched.close.is_none())?;
        watched.look_at = None;
        let how = |info: ExitInfo| slot::exit(info.code, info.status).map_or(How::Unknown, How::Exit);
        let how = match (exit_info(&watched.pidfd), corpse(&watched.pidfd)) {
            (Some(info), _) | (None, Corpse::Ended(info)) => how(info),
            // Dead, and we may not look; once its parent has taken its exit, the kernel may tell us.
            (None, Corpse::Closed) if watched.dead_since.get_or_insert_with(Instant::now).elapsed() < REAP_MAX => {
                watched.look_at = Some(Instant::now() + LOOK_AGAIN);
                return None;
            }
            (None, Corpse::Closed | Corpse::None) => How::Unknown,
        };
        let close = Close { how, at: now, timed_out: false, oom: false };
        link.unwatch_survivor(watched.number, &watched.pidfd);
        watched.kill_at = None;
        watched.close = Some(close.clone());
        Some((no, close))
    }

    pub(super) fn stop(&mut self, no: RunNo, kind: StopKind) {
        let Some(watched) = self.runs.get_mut(&no) else { return };
        match kind {
            StopKind::Kill => watched.signal(SIGKILL),
            StopKind::Ladder if watched.kill_at.is_some() => {}
            StopKind::Ladder => {
                watched.signal(i32::from(watched.process.signal));
                watched.kill_at = Some(Instant::now() + Duration::from_millis(watched.process.wait_ms));
            }
        }
    }

    pub(super) fn signal(&self, no: RunNo, signal: u8, leader_only: bool) {
        let Some(watched) = self.runs.get(&no) else { return };
        if leader_only {
            watched.send(i32::from(signal), false).unwrap_or_else(|e| watched.complain(&e));
        } else {
            watched.signal(i32::from(signal));
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.runs.values().flat_map(|watched| [watched.kill_at, watched.look_at]).flatten().min()
    }

    /// What the time says: the last rung, and another look at the dead.
    pub(super) fn times(&mut self, link: &mut Link, now: Time) -> Vec<(RunNo, Close)> {
        let instant = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= instant);
        for watched in self.runs.values_mut().filter(|watched| due(watched.kill_at)) {
            watched.kill_at = Some(instant + LOOK_AGAIN);
            watched.signal(SIGKILL);
        }
        let dead: Vec<RunNo> = self.runs.iter().filter(|(_, w)| due(w.look_at)).map(|(no, _)| *no).collect();
        dead.into_iter().filter_map(|no| self.ended(link, no, now)).collect()
    }
}

impl Watched {
    /// To its group, where it leads one, else to itself.
    fn signal(&self, signal: i32) {
        self.send(signal, true).or_else(|_| self.send(signal, false)).unwrap_or_else(|e| self.complain(&e));
    }
    fn send(&self, signal: i32, group: bool) -> io::Result<()> {
        pidfd_send_signal(&self.pidfd, signal, group)
    }
    /// What is gone needs no signal.
    fn complain(&self, e: &io::Error) {
        if e.raw_os_error() != Some(Errno::SRCH.raw_os_error()) {
            crate::say!("kin daemon: cannot signal process {}: {e}", self.process.pid);
        }
    }
}

impl Engine {
    pub(super) fn adopt_process(&mut self, wish: Adopt, batch: &mut Batch) -> Result<Accepted, Refusal> {
        let now = self.now();
        if let Some(repeat) = self.repeat(wish.key.as_ref(), batch)? {
            return Ok(repeat);
        }
        self.has_room()?;
        let pid = wish.process.pid;
        let chain = *self.chain.borrow();
        let links = [chain.elder, chain.keeper].into_iter().flatten().filter_map(|link| link.pid);
        if links.chain(chain.front).any(|own| own == pid) {
            return Err(Refusal::NotAdoptable { pid, why: "it is a process of kin itself".into() });
        }
        let no = self.world.mint(now);
        let path = self.dirs.adopted().join(no.to_string());
        let unwritable = |e: &io::Error| Refusal::Unavailable { why: format!("{}: {e}", path.display()) };
        wish.process.write(&path).map_err(|e| unwritable(&e))?;
        let watched = match self.adoptions.watch(&mut self.link, no, &wish.process) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::NoProcess { pid }),
            Err(e) => Err(Refusal::NotAdoptable { pid, why: e.to_string() }),
        };
        let adopt = Wish::Adopt { no, new: Box::new(wish.new), pid, started_at: wish.started_at };
        match watched.and_then(|()| self.world.wish(now, adopt, &mut batch.fx)) {
            Ok(Granted::Run(run)) => {
                batch.accepts = true;
                if let Some(Key { text, content }) = wish.key {
                    batch.keys.insert(text.clone(), NewKey { key: text, content, run: no, at: now });
                }
                Ok(Accepted { run: *run, repeat: false })
            }
            Ok(Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_)) => {
                Err(Refusal::Unknown { run: no })
            }
            Err(refusal) => {
                super::perform::remove(&path);
                self.adoptions.forget(&mut self.link, no);
                Err(refusal)
            }
        }
    }

    /// Finds those again that an earlier daemon watched, and says what became of them. Those that are there, or may be.
    pub(super) fn find_adopted(&mut self, batch: &mut Batch) -> BTreeSet<RunNo> {
        let adopted: Vec<RunNo> = self
            .world
            .live()
            .filter(|run| matches!(run.trigger, Trigger::Adopt { .. }) && run.boot == self.config.boot)
            .map(|run| run.no)
            .collect();
        let mut found = BTreeSet::new();
        for no in adopted {
            let path = self.dirs.adopted().join(no.to_string());
            let lost = Close { how: How::Unknown, at: self.now(), timed_out: false, oom: false };
            let fact = match Adopted::read(&path)
                .and_then(|process| Ok((process, self.adoptions.watch(&mut self.link, no, &process)?)))
            {
                Ok((_, true)) => match self.adoptions.close_of(no) {
                    Some(close) => over(no, close),
                    None => {
                        let started_at = self.world.get(no).and_then(|run| run.started_at);
                        let pid = self.world.get(no).and_then(|run| run.pid);
                        Fact::Survivor { run: no, seen: Seen { pid, started_at, ..Seen::bare(Phase::Running) } }
                    }
                },
                Ok((_, false)) => over(no, lost),
                // Nobody knows any more which process it was.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => over(no, lost),
                Err(e) => {
                    crate::say!("kin daemon: cannot watch run {no}: {e}");
                    self.chain_at = Some(Instant::now() + AGAIN);
                    found.insert(no);
                    continue;
                }
            };
            found.insert(no);
            self.fact(fact, batch);
        }
        found
    }

    /// What belongs to no run that lives: a daemon died before it accepted anything, or after an end was recorded.
    pub(super) fn sweep_adopted(&self) {
        let Ok(entries) = std::fs::read_dir(self.dirs.adopted()) else { return };
        for entry in entries.flatten() {
            let no = entry.file_name().to_str().and_then(RunNo::parse);
            if no.is_none_or(|no| self.world.get(no).is_none()) {
                super::perform::remove(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_process_is_read_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/00000001");
        let process = Adopted { pid: 7, ticks: u64::MAX, signal: 15, wait_ms: 10_000 };
        process.write(&path).expect("writes");
        assert_eq!(Adopted::read(&path).expect("reads"), process);
        for text in ["", "1 2 3", "1 2 3 4 5", "a 2 3 4"] {
            std::fs::write(&path, text).expect("writes");
            assert_eq!(Adopted::read(&path).expect_err("strange").kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
    }
}
