//! Output where the file system has no splice: no one call moves a byte from a pipe into a file there, so the way has steps,
//! and whoever dies between two of them must leave what tells the next one which was the last.
//!
//! ```text
//!   the run's pipe ──splice──▶ a second pipe, held by both keepers ──copied, and written──▶ the file
//!                                        └──when all of it is written──▶ thrown away, all in one call
//! ```
//! The second pipe is filled only when it is empty, and before that the slot is told where in the stream the bytes belong
//! that come into it (`placed`). How many lie in it, and how long the file is, are truths of their own:
//!
//! | the second pipe | the file ends at | so |
//! |---|---|---|
//! | is empty | | nothing is on its way |
//! | holds n bytes | `placed` + k, k < n | their first k are written: the rest is still to be |
//! | holds n bytes | `placed` + n | all are written: they are thrown away |
//!
//! So no byte is written twice and none is lost, whoever dies where. It costs a descriptor a stream, and only where it must.
//! A run with a terminal has such a second pipe anyway.

use crate::dropped;
use crate::fault;
use crate::output::Mover;
use crate::sys::misc::{self, Moved};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// So much at most lies in the second pipe.
pub(crate) const TURN: usize = 16 << 10;

/// Whether bytes can be spliced into files of this directory. Where that cannot be found out they are, and who cannot is
/// told.
pub fn splices(dir: &Path) -> bool {
    let tried = || -> rustix::io::Result<Moved> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::write(&write, b"x")?;
        misc::splice(&read, nameless(dir)?, 0, 1)
    };
    !matches!(tried(), Err(Errno::INVAL))
}

/// A file below `dir` that is gone when it is closed.
fn nameless(dir: &Path) -> rustix::io::Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::open(dir, OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC, mode).or_else(|_| {
        let path = dir.join(format!(".splice-{}", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, mode)?;
        rustix::fs::unlink(&path)?;
        Ok(file)
    })
}

impl Mover {
    /// One round; `at` is where the file ends, in the stream and in the file. What was written now; nothing, when all that
    /// lay there had been written already.
    pub(crate) fn by_hand(
        &self,
        aside: &OwnedFd,
        from: Option<&OwnedFd>,
        placed: &AtomicU64,
        file: &OwnedFd,
        (at, offset): (u64, u64),
        room: usize,
    ) -> rustix::io::Result<Moved> {
        let mut held = rustix::io::ioctl_fionread(aside)? as usize;
        if held == 0 {
            let Some(from) = from else { return Ok(Moved::Empty) };
            placed.store(at, Ordering::Release);
            held = match misc::splice_on(from, aside, room.min(TURN))? {
                Moved::Bytes(count) => count,
                other @ (Moved::Empty | Moved::End) => return Ok(other),
            };
            fault::point("output-taken");
        }
        let before = written(placed, at, held);
        let mut done = before;
        if done < held {
            let mut scratch = [0u8; TURN];
            let bytes = scratch.get_mut(..held).ok_or(Errno::NOBUFS)?;
            self.copy(aside, bytes)?;
            // What a terminal brought may not fit into this segment: the rest goes into the next.
            let end = held.min(before + room);
            while done < end {
                let rest = &bytes[done..end];
                match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, rest, offset + (done - before) as u64)) {
                    Ok(count) => done += count,
                    Err(errno) if done == before => return Err(errno),
                    Err(_) => return Ok(Moved::Bytes(done - before)),
                }
            }
            fault::point("output-written");
            if done < held {
                return Ok(Moved::Bytes(done - before));
            }
        }
        self.empty(aside, held)?;
        fault::point("output-emptied");
        Ok(Moved::Bytes(done - before))
    }

    /// Gives up what could not be written, and counts it; how many bytes that were. First goes what is written already,
    /// and where the rest belongs goes on with it, in one call.
    pub(crate) fn give_up(
        &self,
        aside: &OwnedFd,
        placed: &AtomicU64,
        at: u64,
        count: &AtomicU64,
    ) -> rustix::io::Result<usize> {
        let held = rustix::io::ioctl_fionread(aside)? as usize;
        let known = written(placed, at, held);
        if known > 0 {
            match misc::discard_counted(aside, placed, known) {
                Ok(Moved::Bytes(gone)) if gone == known => {}
                Ok(_) => return Err(Errno::AGAIN),
                Err(_) => {
                    self.empty(aside, held)?;
                    count.fetch_add((held - known) as u64, Ordering::Relaxed);
                    return Ok(held - known);
                }
            }
        }
        match dropped::discard(aside, &self.null, count, held - known)? {
            Moved::Bytes(gone) => Ok(gone),
            Moved::Empty | Moved::End => Ok(0),
        }
    }

    /// All that lies in a pipe, which keeps it.
    fn copy(&self, aside: &OwnedFd, bytes: &mut [u8]) -> rustix::io::Result<()> {
        let (out, into) = &self.peek;
        let copied = match misc::tee(aside, into, bytes.len())? {
            Moved::Bytes(count) => count,
            Moved::Empty | Moved::End => 0,
        };
        let mut read = 0;
        while read < copied {
            read += rustix::io::retry_on_intr(|| rustix::io::read(out, &mut bytes[read..copied]))?;
        }
        // A user over his budget for pipes gets small ones: it is waited until this one may be as large as the other.
        if copied < bytes.len() {
            rustix::pipe::fcntl_setpipe_size(into, 4 * TURN)?;
            return Err(Errno::NOBUFS);
        }
        Ok(())
    }

    /// All at once: half a pipe would be mistaken for one of which only the second half came.
    fn empty(&self, aside: &OwnedFd, held: usize) -> rustix::io::Result<()> {
        match misc::discard(aside, &self.null, held)? {
            Moved::Bytes(count) if count == held => Ok(()),
            Moved::Bytes(_) | Moved::Empty | Moved::End => Err(Errno::IO),
        }
    }
}

/// How many of the bytes that lie there are in the file already.
fn written(placed: &AtomicU64, at: u64, held: usize) -> usize {
    usize::try_from(at.saturating_sub(placed.load(Ordering::Acquire))).unwrap_or(usize::MAX).min(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Way {
        mover: Mover,
        aside: OwnedFd,
        from: OwnedFd,
        child: OwnedFd,
        placed: AtomicU64,
        file: OwnedFd,
        path: std::path::PathBuf,
        _dir: tempfile::TempDir,
    }

    impl Way {
        fn new() -> Way {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("out");
            let flags = OFlags::RDWR | OFlags::CREATE;
            let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).expect("a file");
            let (from, child) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)
                    .expect("a pipe");
            let aside = crate::start::both_ways().expect("a pipe");
            let mover = Mover::new(false, crate::room::Kept::nowhere()).expect("a mover");
            Way { mover, aside, from, child, placed: AtomicU64::new(0), file, path, _dir: dir }
        }
        fn says(&self, bytes: &[u8]) {
            assert_eq!(rustix::io::write(&self.child, bytes), Ok(bytes.len()));
        }
        /// As whoever comes after a death does: the file says where it goes on.
        fn round(&self) -> rustix::io::Result<Moved> {
            let at = std::fs::metadata(&self.path).expect("there").len();
            self.mover.by_hand(&self.aside, Some(&self.from), &self.placed, &self.file, (at, at), 1 << 20)
        }
        fn all(&self) -> Vec<u8> {
            while self.round() != Ok(Moved::Empty) {}
            std::fs::read(&self.path).expect("read")
        }
    }

    #[test]
    fn whoever_dies_between_two_steps_nothing_is_written_twice_or_lost() {
        let way = Way::new();
        way.says(b"one ");
        assert_eq!(way.round(), Ok(Moved::Bytes(4)));
        // Dead after the bytes were taken out of the run's pipe.
        way.says(b"two ");
        way.placed.store(4, Ordering::Relaxed);
        assert_eq!(misc::splice_on(&way.from, &way.aside, TURN), Ok(Moved::Bytes(4)));
        way.says(b"three ");
        assert_eq!(way.all(), b"one two three ");
        // Dead in the middle of writing them.
        way.says(b"four ");
        way.placed.store(14, Ordering::Relaxed);
        assert_eq!(misc::splice_on(&way.from, &way.aside, TURN), Ok(Moved::Bytes(5)));
        assert_eq!(rustix::io::pwrite(&way.file, b"fo", 14), Ok(2));
        assert_eq!(way.round(), Ok(Moved::Bytes(3)));
        // Dead before they were thrown away.
        way.says(b"five");
        way.placed.store(19, Ordering::Relaxed);
        assert_eq!(misc::splice_on(&way.from, &way.aside, TURN), Ok(Moved::Bytes(4)));
        assert_eq!(rustix::io::pwrite(&way.file, b"five", 19), Ok(4));
        assert_eq!(way.round(), Ok(Moved::Bytes(0)));
        assert_eq!(way.all(), b"one two three four five");
    }

    #[test]
    fn what_is_given_up_is_counted_without_what_was_written() {
        let way = Way::new();
        way.says(b"kept, and not");
        assert_eq!(misc::splice_on(&way.from, &way.aside, TURN), Ok(Moved::Bytes(13)));
        assert_eq!(rustix::io::pwrite(&way.file, b"kept", 0), Ok(4));
        let count = AtomicU64::new(70);
        assert_eq!(way.mover.give_up(&way.aside, &way.placed, 4, &count), Ok(9));
        assert_eq!((way.placed.load(Ordering::Relaxed), count.load(Ordering::Relaxed)), (4, 79));
        assert_eq!(way.mover.give_up(&way.aside, &way.placed, 4, &count), Ok(0));
        assert_eq!(way.all(), b"kept");
    }

    #[test]
    fn what_does_not_fit_into_a_segment_goes_into_the_next() {
        let way = Way::new();
        assert_eq!(rustix::io::write(&way.aside, b"0123456789"), Ok(10));
        let round = |at, offset, room| {
            way.mover.by_hand(&way.aside, None, &way.placed, &way.file, (at, offset), room).expect("written")
        };
        assert_eq!(round(0, 0, 6), Moved::Bytes(6));
        assert_eq!(std::fs::read(&way.path).expect("read"), b"012345");
        assert_eq!(round(6, 0, 1 << 20), Moved::Bytes(4));
        assert_eq!(std::fs::read(&way.path).expect("read"), b"678945");
        assert_eq!(round(10, 4, 1 << 20), Moved::Empty);
    }

    #[test]
    fn a_disk_has_splice() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(splices(dir.path()));
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 0);
    }
}
