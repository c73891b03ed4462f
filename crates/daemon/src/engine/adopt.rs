//! Processes that kin did not start, given into its care.
//!
//! ```text
//!   looked at ──▶ <state>/adopted/<run> written ──▶ row committed ──▶ answered
//!                        ▲                              │
//!                        └── each daemon finds it again ┘ and watches it by pidfd, until it is gone
//! ```
//! A number alone says nothing for long, so the file has the instant of the process's start too: another process of the
//! same number is never taken for it. Its exit code is the kernel's to tell (from 6.15 on, and only to a daemon that watched
//! it when it ended); otherwise it is lost.

use super::survivors::Fate;
use super::{AGAIN, Accepted, Batch, Engine, Key};
use kin_core::{
    Close, Event, Fact, Granted, How, NewRun, Phase, Refusal, Run, RunId, RunNo, Seen, Time, Trigger, What, Wish,
};
use kin_ledger::NewKey;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

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

impl Engine {
    pub(super) fn adopt_process(&mut self, wish: Adopt, batch: &mut Batch) -> Result<Accepted, Refusal> {
        let now = self.now();
        if let Some(repeat) = self.repeat(wish.key.as_ref(), &wish.new.job, batch)? {
            return Ok(repeat);
        }
        self.has_room()?;
        let pid = wish.process.pid;
        if !self.survivors.knows_ours() {
            return Err(Refusal::Unavailable { why: "the server is just beginning; ask again".into() });
        }
        if self.survivors.is_ours(pid) {
            return Err(Refusal::NotAdoptable { pid, why: "it is a process of kin itself".into() });
        }
        let no = self.world.mint(now);
        let path = self.dirs.adopted().join(no.to_string());
        let unwritable = |e: &io::Error| Refusal::Unavailable { why: format!("{}: {e}", path.display()) };
        wish.process.write(&path).map_err(|e| unwritable(&e))?;
        let id = RunId { job: wish.new.job.clone(), no };
        let watched = match self.survivors.adopt(&mut self.link, &self.dirs, &id, &wish.process) {
            Ok(Fate::Alive) => Ok(()),
            Ok(Fate::Ended(_) | Fate::Gone | Fate::Unclear) => Err(Refusal::NoProcess { pid }),
            Err(e) => Err(Refusal::NotAdoptable { pid, why: e.to_string() }),
        };
        let adopt = Wish::Adopt { no, new: Box::new(wish.new), pid, started_at: wish.started_at };
        match watched.and_then(|()| self.world.wish(now, adopt, &mut batch.fx)) {
            Ok(Granted::Run(run)) => {
                batch.accepts = true;
                batch.adopted.push(no);
                if let Some(Key { text, content }) = wish.key {
                    batch.keys.insert(text.clone(), NewKey { key: text, content, run: no, at: now });
                }
                Ok(Accepted { run: *run, repeat: false })
            }
            Ok(Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_)) => {
                Err(Refusal::Unknown { run: no })
            }
            Err(refusal) => {
                self.unadopt(no);
                Err(refusal)
            }
        }
    }

    /// It is left to itself: once that is recorded its file goes and nobody watches it.
    pub(super) fn disown_process(&mut self, no: RunNo, by: &str, batch: &mut Batch) -> Result<Run, Refusal> {
        let begin = batch.fx.events.len();
        let run = self.about(no, Wish::Disown { run: no }, batch)?;
        let message = format!("{by} gave it up: it goes on, and kin watches it no more");
        let note = What::Note { kind: "run.disowned", run: Some(run.id()), message };
        // Who asked comes before what became of it.
        batch.fx.events.insert(begin, Event { at: self.now(), what: note });
        Ok(run)
    }

    /// It is no run: it was refused, or could not be recorded.
    pub(super) fn unadopt(&mut self, no: RunNo) {
        super::perform::remove(&self.dirs.adopted().join(no.to_string()));
        self.survivors.forget(&mut self.link, no);
    }

    /// Finds those again that an earlier daemon watched, and says what became of them. Those that are there, or may be.
    pub(super) fn find_adopted(&mut self, batch: &mut Batch) -> BTreeSet<RunNo> {
        let is_adopted = |run: &&Run| matches!(run.trigger, Trigger::Adopt { .. }) && run.boot == self.config.boot;
        let adopted: Vec<Run> = self.world.live().filter(is_adopted).cloned().collect();
        let mut found = BTreeSet::new();
        for run in adopted {
            let no = run.no;
            let path = self.dirs.adopted().join(no.to_string());
            let unknown = Close { how: How::Unknown, at: self.now(), timed_out: false, oom: false };
            let lost = || Fact::Slot { run: no, seen: Seen::bare(Phase::Drained(unknown.clone())) };
            let looked = match self.survivors.fate(no) {
                // It is watched, whatever became of its file.
                Some(fate) => Ok(fate),
                None => Adopted::read(&path)
                    .and_then(|process| self.survivors.adopt(&mut self.link, &self.dirs, &run.id(), &process)),
            };
            let fact = match looked {
                Ok(Fate::Ended(seen)) => Fact::Slot { run: no, seen },
                Ok(Fate::Alive) => {
                    let seen = Seen { pid: run.pid, started_at: run.started_at, ..Seen::bare(Phase::Running) };
                    Fact::Survivor { run: no, seen }
                }
                Ok(Fate::Gone | Fate::Unclear) => lost(),
                // Nobody knows any more which process it was.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => lost(),
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
