//! `<state>/reserve`: room that is kept for the day on which the disk is full.
//!
//! It is given out in slices, each followed at once by the commit that needs it, so that whatever else waits for room does
//! not get all of it. Only what has happened is worth half of it, and all of it only ends, and what ends something: stops,
//! the server's own end. The output of runs never gets it (`kin_keeper::room`).
//! While it is not whole nothing new is accepted; it is made whole again, of itself, as soon as there is room.
//!
//! ```text
//!            the disk is full: a slice, and again            room
//!   whole ──────────────────────────────────────▶ cut ─────────────────▶ whole
//!                                                  └─▶ gone: what happened waits in the run tables
//! ```

use super::AGAIN;
use kin_keeper::room;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A commit with a few ends in it.
const SLICE: u64 = 64 << 10;
/// How often it is tried to make it whole.
const REFILL: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// How large it should be.
    whole: u64,
    has: u64,
    file: Option<File>,
    /// When to try to make it whole.
    refill_at: Option<Instant>,
}

/// Why there is nothing for something new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refill {
    Whole,
    NoRoom,
}

impl Reserve {
    /// What an earlier life left, made whole where there is room for it. A disk on which nothing can be set aside has none.
    pub(super) fn open(state: &Path) -> Reserve {
        let path = state.join(room::RESERVE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Some(File::from(file)),
            Err(e) => {
                crate::say!("kin daemon: cannot keep room in {}: {e}", path.display());
                None
            }
        };
        let has = file.as_ref().and_then(|file| file.metadata().ok()).filter(|m| m.is_file()).map_or(0, |m| m.len());
        let whole = rustix::fs::statvfs(state).map_or(0, |disk| room::reserve(&disk));
        let mut reserve = Reserve { path, whole, has, file, refill_at: None };
        if reserve.refill() == Refill::NoRoom {
            reserve.refill_at = Some(Instant::now() + AGAIN);
        }
        reserve
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.refill_at
    }

    pub(super) fn is_due(&self) -> bool {
        self.refill_at.is_some_and(|at| at <= Instant::now())
    }

    /// The disk is full: something new has to wait, also where no slice is given.
    pub(super) fn is_wanted(&mut self) {
        self.refill_at.get_or_insert_with(|| Instant::now() + REFILL);
    }

    /// Gives room for `slices` more. False: there is nothing left to give.
    pub(super) fn give(&mut self, slices: u64) -> bool {
        self.give_down_to(0, slices)
    }

    /// The same, of what is not kept for the ends of runs.
    pub(super) fn give_of_half(&mut self, slices: u64) -> bool {
        self.give_down_to(self.whole / 2, slices)
    }

    fn give_down_to(&mut self, least: u64, slices: u64) -> bool {
        self.is_wanted();
        let Some(file) = self.file.as_ref().filter(|_| self.has > least) else { return false };
        let rest = self.has.saturating_sub(SLICE.saturating_mul(slices)).max(least);
        match file.set_len(rest) {
            Ok(()) => {
                self.has = rest;
                true
            }
            Err(e) => {
                crate::say!("kin daemon: {} cannot be given up: {e}", self.path.display());
                false
            }
        }
    }

    /// Makes it whole, if there is room for it and a little more. To be asked only while something is wanted.
    pub(super) fn refill(&mut self) -> Refill {
        let Some(file) = self.file.as_ref() else {
            self.refill_at = None;
            return Refill::Whole;
        };
        let lacks = self.whole.saturating_sub(self.has);
        let free = rustix::fs::fstatvfs(file).map_or(0, |disk| room::free_to_us(&disk));
        let filled = if free < lacks.saturating_add(room::BESIDE.min(self.whole)) {
            Err(Errno::NOSPC.into())
        } else if lacks == 0 {
            Ok(())
        } else {
            allocate(file, self.has, lacks)
        };
        match filled {
            Ok(()) => {
                self.has = self.has.max(self.whole);
                self.refill_at = None;
                Refill::Whole
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                // A part of it would be mistaken for more than it is.
                drop(file.set_len(self.has));
                self.refill_at = Some(Instant::now() + REFILL);
                Refill::NoRoom
            }
            Err(e) => {
                crate::say!("kin daemon: cannot keep room in {}: {e}", self.path.display());
                self.refill_at = None;
                Refill::Whole
            }
        }
    }
}

/// Blocks of its own, not only a length.
fn allocate(file: &File, from: u64, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), from, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        done => return Ok(done?),
    }
    let piece = [0xa5; 16 << 10];
    let mut at = from;
    while at < from + len {
        let n = usize::try_from(from + len - at).unwrap_or(piece.len()).min(piece.len());
        file.write_all_at(&piece[..n], at)?;
        at += n as u64;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MOST: u64 = 4 << 20;

    #[test]
    fn it_is_real_room_and_given_in_slices() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut reserve = Reserve::open(dir.path());
        let meta = || std::fs::metadata(dir.path().join(room::RESERVE)).expect("a reserve");
        assert_eq!((meta().len(), reserve.wake_at()), (MOST, None));
        assert!(meta().blocks() * 512 >= MOST, "it has its blocks");
        assert!(reserve.give(1) && reserve.give(2));
        assert_eq!(meta().len(), MOST - 3 * SLICE);
        assert!(reserve.wake_at().is_some());
        let again = Reserve::open(dir.path());
        assert_eq!((again.has, again.wake_at()), (MOST, None));
        reserve = again;
        assert!(reserve.give_of_half(MOST / SLICE) && !reserve.give_of_half(1), "the other half is for ends");
        assert_eq!(meta().len(), MOST / 2);
        assert!(reserve.give(MOST / SLICE) && !reserve.give(1), "it has an end");
        assert_eq!(reserve.refill(), Refill::Whole);
        assert_eq!(meta().len(), MOST);
    }
}
