//! From a pipe into a file, in one system call, so that SIGKILL cannot fall between.
//!
//! A feed's file is its truth: where it goes on is the file's size, whoever asks. Bytes leave the pipe by splice; where a
//! file system has none, they go by hand (`byhand`).
//!
//! What cannot be written stays in the pipe, and the child waits. Only where the disk is full, or broken, and only after a
//! minute (unless the run says `block`) is it taken and counted, and the index says where it is missing. Before that, what
//! the run itself wrote long ago goes: the oldest segment behind its first, as it does beyond the run's cap, and when the
//! disk is nearly full. Whatever else is in the way (out of descriptors, a directory that may not be entered) is waited out.
//!
//! Once the disk was full no output is written before there is room also for what the daemon keeps back for the ledger
//! (`room::Kept`): what it gives up there is for the ends of runs, and not for their last words.

use crate::byhand;
use crate::clock::SECOND;
use crate::dropped;
use crate::index::{self, Stream};
use crate::live::{Feed, Index, Live};
use crate::room::Kept;
use crate::spec::OnFull;
use crate::sys::misc::{self, Moved};
use crate::table::{INTENT, RUNNING, Slot, flag};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::sync::atomic::Ordering;

/// Every segment but the last is exactly so long.
pub const SEGMENT: u64 = 64 << 20;
const TURN: usize = 1 << 20;
const PATIENCE: u64 = 60 * SECOND;

/// What one look at a feed found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing there now.
    Empty,
    /// So many bytes were moved; there may be more.
    Moved(usize),
    /// A terminal that nobody has open now: whoever lives on it may open it again.
    Closed,
    /// Every writer has closed it.
    End,
    /// The disk is full: look again in a second.
    Blocked,
}

/// What all feeds share: the way around file systems without splice.
#[derive(Debug)]
pub(crate) struct Mover {
    pub(crate) null: OwnedFd,
    /// A pipe to look at bytes without taking them.
    pub(crate) peek: (OwnedFd, OwnedFd),
    /// The state's file system has splice.
    splices: bool,
    kept: Kept,
}

impl Mover {
    pub(crate) fn new(splices: bool, kept: Kept) -> std::io::Result<Mover> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        Ok(Mover { null, peek: rustix::pipe::pipe_with(flags)?, splices, kept })
    }

    /// The same, with pipes that nobody else has.
    pub(crate) fn anew(&self) -> std::io::Result<Mover> {
        Mover::new(self.splices, self.kept.clone())
    }

    /// Whether what a run says goes from a second pipe into its files (`byhand`).
    pub(crate) fn goes_by_hand(&self, live: &Live) -> bool {
        !self.splices || live.by_hand
    }

    pub(crate) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// What splice would do, in steps: copies what the pipe holds, writes it, and then takes as much as was written.
    pub(crate) fn type_by_hand(&self, pipe: &OwnedFd, terminal: &OwnedFd) -> rustix::io::Result<usize> {
        let mut scratch = [0u8; 4 << 10];
        let Moved::Bytes(copied) = misc::tee(pipe, &self.peek.1, scratch.len())? else { return Ok(0) };
        let copied = rustix::io::retry_on_intr(|| rustix::io::read(&self.peek.0, &mut scratch[..copied]))?;
        let written = rustix::io::write(terminal, &scratch[..copied])?;
        match misc::discard(pipe, &self.null, written)? {
            Moved::Bytes(taken) => Ok(taken),
            Moved::Empty | Moved::End => Ok(0),
        }
    }

    /// Empties a pipe.
    pub(crate) fn throw_away(&self, pipe: &OwnedFd) {
        while matches!(misc::discard(pipe, &self.null, TURN), Ok(Moved::Bytes(_))) {}
    }

    /// Moves what a stream of a run has, at most a turn's worth.
    pub(crate) fn look(&self, slot: &Slot, live: &mut Live, stream: Stream, now: u64) -> Look {
        live.out.is_aside = live.tty.is_some() && self.goes_by_hand(live);
        let looked = if stream == Stream::Out && live.tty.is_some() {
            self.look_at_tty(slot, live, now)
        } else {
            self.feed(slot, live, stream, now)
        };
        if looked == Look::Blocked && live.on_full == OnFull::Drop && is_no_room(slot) && cut_middle(slot, live, stream)
        {
            return Look::Moved(0);
        }
        if looked != Look::Blocked {
            let feed = if stream == Stream::Out { &mut live.out } else { &mut live.err };
            feed.blocked_since = 0;
            if live.out.blocked_since == 0 && live.err.blocked_since == 0 {
                if slot.has_flag(flag::OUTPUT_BLOCKED) {
                    slot.clear_flag(flag::OUTPUT_BLOCKED);
                }
                if slot.t_blocked.load(Ordering::Relaxed) != 0 {
                    slot.t_blocked.store(0, Ordering::Relaxed);
                }
            }
        }
        looked
    }

    /// A terminal: master into the pipe, pipe into the file; each step one system call.
    fn look_at_tty(&self, slot: &Slot, live: &mut Live, now: u64) -> Look {
        let waiting = self.feed(slot, live, Stream::Out, now);
        if waiting != Look::Empty {
            return waiting;
        }
        let by_hand = self.goes_by_hand(live);
        let Some(tty) = live.tty.as_mut() else { return Look::Empty };
        let turn = if by_hand { byhand::TURN } else { TURN };
        // It is empty, so what comes into it now belongs where the file ends.
        slot.out_placed.store(live.out.at, Ordering::Release);
        let taken = match rustix::pipe::splice(&tty.master, None, &tty.pipe_in, None, turn, SpliceFlags::NONBLOCK) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => return Look::Empty,
            // Nobody has the other end now.
            Err(Errno::IO) => 0,
            Err(errno) => {
                let (run, on_full) = (live.run, live.on_full);
                return self.full(run, slot, Stream::Out, &mut live.out, on_full, now, errno);
            }
        };
        if by_hand && taken > 0 {
            crate::fault::point("output-taken");
        }
        if taken == 0 {
            // Its leader can always open it again, as /dev/tty; when that one has ended, the kernel takes it from all.
            if matches!(slot.state.load(Ordering::Relaxed), INTENT | RUNNING) {
                return Look::Closed;
            }
            tty.ended = true;
            return Look::End;
        }
        self.feed(slot, live, Stream::Out, now)
    }

    fn feed(&self, slot: &Slot, live: &mut Live, stream: Stream, now: u64) -> Look {
        let run = live.run;
        let (keep, on_full) = (live.keep_bytes, live.on_full);
        let feed = live.feed(stream);
        let Some(pipe) = feed.pipe.as_ref() else { return Look::End };
        let may_not = self.kept.is_wanting(feed.file.as_ref());
        if feed.file.is_none() || may_not {
            // A file is made for the first byte, not for the first look.
            match feed.by_hand().map_or(waits(pipe), |(aside, _)| match waits(aside) {
                Waits::Bytes => Waits::Bytes,
                Waits::Nothing | Waits::End => waits(pipe),
            }) {
                Waits::Bytes => {}
                Waits::Nothing => return Look::Empty,
                Waits::End => return Look::End,
            }
            if may_not {
                return self.full(run, slot, stream, feed, on_full, now, Errno::NOSPC);
            }
        }
        if (feed.file.is_none() || feed.at >= u64::from(feed.segment) * SEGMENT)
            && let Err(errno) = open_next(slot, live, stream)
        {
            return self.full(run, slot, stream, live.feed(stream), on_full, now, errno);
        }
        let feed = live.feed(stream);
        let (Some(pipe), Some(file)) = (feed.pipe.as_ref(), feed.file.as_ref()) else { return Look::Empty };
        let begin = u64::from(feed.segment - 1) * SEGMENT;
        let room = (u64::from(feed.segment) * SEGMENT - feed.at).min(TURN as u64) as usize;
        let offset = feed.at - begin;
        let moved = match feed.by_hand() {
            Some((aside, from)) => self.by_hand(aside, from, placed(slot, stream), file, (feed.at, offset), room),
            None => match misc::splice(pipe, file, offset, room) {
                // When the run began its logs lay where splice is, and now (mounted over meanwhile) they do not: killed between
                // two steps, we leave what was copied last twice.
                Err(Errno::INVAL) => {
                    let mut scratch = [0u8; byhand::TURN];
                    let most = room.min(scratch.len());
                    misc::tee_to(pipe, (&self.peek.0, &self.peek.1), &self.null, file, offset, &mut scratch[..most])
                }
                other => other,
            },
        };
        match moved {
            Ok(Moved::End) => Look::End,
            Ok(Moved::Empty) => Look::Empty,
            // All of it was written before we came.
            Ok(Moved::Bytes(0)) => Look::Moved(0),
            Ok(Moved::Bytes(n)) => {
                let (before, segment) = (feed.at, feed.segment);
                let at = before + n as u64;
                feed.at = at;
                let first_of_segment = before == begin && segment > 1;
                // What is missing before them is said before the length is: whoever comes after our death must find where.
                dropped::say(slot, live, stream, before);
                length(slot, stream).store(at, Ordering::Release);
                note(slot, live, stream, at);
                if first_of_segment {
                    cut(slot, live, stream, segment, keep);
                    if on_full == OnFull::Drop && is_scarce(live, stream) {
                        cut_middle(slot, live, stream);
                    }
                }
                Look::Moved(n)
            }
            Err(errno) => self.full(run, slot, stream, feed, on_full, now, errno),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one place, and each is a plain word of what happened")]
    fn full(
        &self,
        run: u64,
        slot: &Slot,
        stream: Stream,
        feed: &mut Feed,
        on_full: OnFull,
        now: u64,
        why: Errno,
    ) -> Look {
        slot.blocked_errno.store(why.raw_os_error() as u64, Ordering::Relaxed);
        if why == Errno::NOSPC {
            self.kept.is_full(feed.file.as_ref());
        }
        if matches!(why, Errno::NOSPC | Errno::DQUOT) {
            let_go(feed);
        }
        if feed.blocked_since == 0 || feed.blocked_by != Some(why) {
            crate::say(format_args!("the output of run {} waits: {why}", crate::start::run_name(run)));
            feed.blocked_since = now;
            feed.blocked_by = Some(why);
            if slot.t_blocked.load(Ordering::Relaxed) == 0 {
                slot.t_blocked.store(crate::clock::wall(), Ordering::Relaxed);
            }
            slot.set_flag(flag::OUTPUT_BLOCKED);
        }
        if on_full == OnFull::Block || !loses_bytes(why) || now.saturating_sub(feed.blocked_since) < PATIENCE {
            return Look::Blocked;
        }
        let Some(pipe) = feed.pipe.as_ref() else { return Look::End };
        dropped::begin(slot, stream);
        let count = dropped::count(slot, stream);
        let aside = feed.by_hand().map(|(aside, _)| self.give_up(aside, placed(slot, stream), feed.at, count));
        if aside.is_some_and(|given_up| given_up.is_ok_and(|n| n > 0)) {
            return Look::Blocked;
        }
        match dropped::discard(pipe, &self.null, count, TURN) {
            Ok(Moved::End) => Look::End,
            Ok(Moved::Bytes(_) | Moved::Empty) | Err(_) => Look::Blocked,
        }
    }
}

/// Somebody removed the file, to make room: nobody but us has its bytes any more, and for as long as we have it there is
/// none. What is still to come goes into a new one, and then what is lost is counted. (By hand, where the stream stands is
/// bound to what waits in the pipe.)
fn let_go(feed: &mut Feed) {
    let is_removed = |file: &OwnedFd| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0);
    if feed.by_hand().is_none() && feed.file.as_ref().is_some_and(is_removed) {
        feed.file = None;
    }
}

fn length(slot: &Slot, stream: Stream) -> &std::sync::atomic::AtomicU64 {
    match stream {
        Stream::Out => &slot.out_len,
        Stream::Err => &slot.err_len,
    }
}

fn placed(slot: &Slot, stream: Stream) -> &std::sync::atomic::AtomicU64 {
    match stream {
        Stream::Out => &slot.out_placed,
        Stream::Err => &slot.err_placed,
    }
}

/// Whether waiting may never end: a disk that is full or broken. Everything else is ours to wait out.
fn loses_bytes(why: Errno) -> bool {
    matches!(why, Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::ROFS | Errno::IO)
}

enum Waits {
    Bytes,
    Nothing,
    /// No byte, and no writer left.
    End,
}

fn waits(pipe: &OwnedFd) -> Waits {
    let mut fds = [rustix::event::PollFd::new(pipe, rustix::event::PollFlags::IN)];
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut fds, Some(&zero)).is_err() {
        return Waits::Nothing;
    }
    let seen = fds[0].revents();
    if seen.contains(rustix::event::PollFlags::IN) {
        Waits::Bytes
    } else if seen.contains(rustix::event::PollFlags::HUP) {
        Waits::End
    } else {
        Waits::Nothing
    }
}

/// Opens the segment in which the stream goes on, which is what the files say, not what we remember. Only where they say
/// less, because somebody removed or cut them, it goes on where it was: no offset is given out twice.
fn open_next(slot: &Slot, live: &mut Live, stream: Stream) -> rustix::io::Result<()> {
    let feed = live.feed(stream);
    feed.file = None;
    let at = feed.at;
    let mut segment = (at / SEGMENT) as u32 + 1;
    loop {
        let file = live.logs.open(extension(stream), segment)?;
        let size = rustix::fs::fstat(&file)?.st_size as u64;
        if size >= SEGMENT {
            segment += 1;
            continue;
        }
        let end = u64::from(segment - 1) * SEGMENT + size;
        if end < at {
            dropped::head_is_gone(slot, live, stream, (&file, segment), at - end)?;
        }
        let feed = live.feed(stream);
        feed.at = end.max(at);
        feed.segment = segment;
        feed.file = Some(file);
        return Ok(());
    }
}

/// After a takeover: how far the streams are is what the files say. A keeper may have died between moving bytes and
/// storing their number, and no further byte need ever come.
pub(crate) fn resync(slot: &Slot, live: &mut Live) {
    live.index = Index::default();
    for stream in [Stream::Out, Stream::Err] {
        let len = length(slot, stream);
        let before = len.load(Ordering::Relaxed);
        let mut at = before;
        let mut segment = (at / SEGMENT) as u32 + 1;
        while let Some(size) = live.logs.size(extension(stream), segment) {
            at = at.max(u64::from(segment - 1) * SEGMENT + size);
            if size < SEGMENT {
                break;
            }
            segment += 1;
        }
        dropped::resync(slot, live, stream, before, at);
        len.store(at, Ordering::Release);
        let feed = live.feed(stream);
        feed.at = at;
        feed.file = None;
        feed.paced = false;
        (feed.blocked_since, feed.blocked_by) = (0, None);
        (feed.busy, feed.segment) = (0, 0);
    }
    slot.clear_flag(flag::OUTPUT_BLOCKED);
}

pub(crate) fn extension(stream: Stream) -> &'static str {
    match stream {
        Stream::Out => "out",
        Stream::Err => "err",
    }
}

/// Writes down when the stream had grown to `end`. What cannot be written costs times, never bytes.
fn note(slot: &Slot, live: &mut Live, stream: Stream, end: u64) {
    let now_us = crate::clock::wall() / 1_000;
    let Some(index) = index_of(live) else { return };
    let Some(file) = index.file.as_ref() else { return };
    let young = now_us.saturating_sub(slot.t_start.load(Ordering::Relaxed) / 1_000) < 10_000_000;
    let window = if young { 1_000 } else { 10_000 };
    match index.last {
        Some((last, began)) if last == stream as u8 && now_us.saturating_sub(began) < window => {
            let at = index.len - index::ENTRY as u64;
            let Ok(_written) = rustix::io::pwrite(file, &index::grew(stream, began, end), at) else { return };
        }
        Some(_) | None => {
            if rustix::io::pwrite(file, &index::grew(stream, now_us, end), index.len).is_ok() {
                index.len += index::ENTRY as u64;
                index.last = Some((stream as u8, now_us));
            }
        }
    }
}

/// The index, opened where its entries go on.
fn index_of(live: &mut Live) -> Option<&mut Index> {
    if live.index.file.is_none() {
        let file = live.logs.open("idx", 1).ok()?;
        let size = rustix::fs::fstat(&file).map_or(0, |s| s.st_size as u64);
        live.index.len = size - size % index::ENTRY as u64;
        live.index.file = Some(file);
    }
    Some(&mut live.index)
}

/// Writes down what is missing, and where. True: it is written.
pub(crate) fn note_gap(live: &mut Live, entry: &[u8; index::ENTRY]) -> bool {
    let Some(index) = index_of(live) else { return false };
    index.last = None;
    // A part of it is nothing: the next entry is written over it.
    let is_written =
        index.file.as_ref().is_some_and(|file| rustix::io::pwrite(file, entry, index.len) == Ok(index::ENTRY));
    if is_written {
        index.len += index::ENTRY as u64;
    }
    is_written
}

/// Beyond the cap the oldest segment goes, but never the first; its bytes become a gap.
fn cut(slot: &Slot, live: &mut Live, stream: Stream, segment: u32, keep: u64) {
    let most = (keep / SEGMENT).max(2) as u32;
    if keep == 0 || segment <= most {
        return;
    }
    dropped::remove(slot, live, stream, segment - most + 1);
}

/// What keeps it from its file is the want of room, and nothing else.
fn is_no_room(slot: &Slot) -> bool {
    let errno = slot.blocked_errno.load(Ordering::Relaxed) as i32;
    [Errno::NOSPC, Errno::DQUOT].iter().any(|full| full.raw_os_error() == errno)
}

/// Takes the oldest segment that is neither the first nor the one being written. True: one went.
fn cut_middle(slot: &Slot, live: &mut Live, stream: Stream) -> bool {
    let feed = if stream == Stream::Out { &live.out } else { &live.err };
    let middle = 2..feed.segment;
    let oldest = middle.into_iter().find(|n| live.logs.size(extension(stream), *n).is_some());
    oldest.is_some_and(|victim| dropped::remove(slot, live, stream, victim))
}

/// Whether the disk of a stream's file has less room left than kin keeps free.
fn is_scarce(live: &Live, stream: Stream) -> bool {
    let feed = if stream == Stream::Out { &live.out } else { &live.err };
    feed.file
        .as_ref()
        .and_then(|file| rustix::fs::fstatvfs(file).ok())
        .is_some_and(|stat| crate::room::is_scarce(&stat))
}

/// Notes what was dropped last, when the run ends in the middle of it.
pub(crate) fn settle(slot: &Slot, live: &mut Live) {
    for stream in [Stream::Out, Stream::Err] {
        let at = live.feed(stream).at;
        dropped::say(slot, live, stream, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run whose one stream has something to say.
    fn run(dir: &std::path::Path) -> (Live, OwnedFd) {
        let no = kin_core::RunNo::parse("NeP8nb4q").expect("a number");
        let mut spec = crate::spec::Spec::new(b"/", dir.join("logs/a-1").to_str().expect("text").as_bytes());
        spec.programs = vec![b"/bin/true".to_vec()];
        spec.argv = vec![b"true".to_vec()];
        std::fs::create_dir(dir.join("spec")).expect("made");
        std::fs::write(dir.join(format!("spec/{no}")), spec.encode().expect("encodes")).expect("written");
        let place = crate::place::Place::open(dir, dir).expect("a place");
        let mut live = Live::new(0, no.get());
        live.logs = place.logs(no.get());
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)
                .expect("a pipe");
        live.out.pipe = Some(read);
        (live, write)
    }

    fn table(dir: &std::path::Path) -> crate::table::Table {
        crate::table::Table::create(&dir.join("tab"), 1, "boot").expect("a table")
    }

    #[test]
    fn for_want_of_a_name_nothing_is_dropped_however_long_it_takes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut live, write) = run(dir.path());
        let table = table(dir.path());
        let slot = &table.slots()[0];
        let mover = Mover::new(true, Kept::nowhere()).expect("a mover");
        rustix::io::write(&write, b"said").expect("written");
        // A file where the directory should be: no name can be made.
        std::fs::write(dir.path().join("logs"), "").expect("written");
        for now in [1, PATIENCE * 2, PATIENCE * 9] {
            assert_eq!(mover.look(slot, &mut live, Stream::Out, now), Look::Blocked);
        }
        assert!(slot.has_flag(flag::OUTPUT_BLOCKED));
        std::fs::remove_file(dir.path().join("logs")).expect("removed");
        assert_eq!(mover.look(slot, &mut live, Stream::Out, PATIENCE * 10), Look::Moved(4));
        assert_eq!(std::fs::read(dir.path().join("logs/a-1.out")).expect("read"), b"said");
        assert_eq!((slot.out_dropped.load(Ordering::Relaxed), slot.has_flag(flag::OUTPUT_BLOCKED)), (0, false));
    }

    /// A stream's file, at least so long, of which nothing is written.
    fn segment(dir: &std::path::Path, name: &str, len: u64) {
        std::fs::create_dir_all(dir.join("logs")).expect("made");
        std::fs::File::create(dir.join("logs").join(name)).expect("made").set_len(len).expect("room for nothing");
    }

    fn gaps(dir: &std::path::Path) -> Vec<(u64, u64)> {
        let bytes = std::fs::read(dir.join("logs/a-1.idx")).unwrap_or_default();
        let gap = |item| match item {
            index::Item::Gap { offset, dropped, .. } => Some((offset, dropped)),
            index::Item::Grew { .. } | index::Item::End(_) => None,
        };
        index::items(&bytes).filter_map(gap).collect()
    }

    #[test]
    fn a_segment_that_was_removed_is_counted_once_whoever_dies_meanwhile() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut live, _write) = run(dir.path());
        let table = table(dir.path());
        let slot = &table.slots()[0];
        for (name, len) in [("a-1.out", SEGMENT), ("a-1.out.2", SEGMENT), ("a-1.out.3", SEGMENT), ("a-1.out.4", 7)] {
            segment(dir.path(), name, len);
        }
        slot.out_len.store(3 * SEGMENT, Ordering::Relaxed);
        // Much was dropped for other reasons.
        let before = 3 * SEGMENT + 5;
        slot.out_dropped.store(before, Ordering::Relaxed);
        resync(slot, &mut live);
        assert!(dropped::remove(slot, &mut live, Stream::Out, 2));
        let now = |slot: &Slot| (slot.out_dropped.load(Ordering::Relaxed), slot.losing.load(Ordering::Relaxed));
        assert_eq!((now(slot), gaps(dir.path())), ((before + SEGMENT, 0), vec![(SEGMENT, SEGMENT)]));
        // Dead between any two steps: it is removed, and counted; or not, and said; or not.
        let losing = (before + 2 * SEGMENT) << 32 | 3 << 2;
        std::fs::remove_file(dir.path().join("logs/a-1.out.3")).expect("removed");
        for done in [0, SEGMENT, SEGMENT] {
            slot.out_dropped.store(before + SEGMENT + done, Ordering::Relaxed);
            slot.losing.store(losing, Ordering::Relaxed);
            resync(slot, &mut live);
            let said = vec![(SEGMENT, SEGMENT), (2 * SEGMENT, SEGMENT)];
            assert_eq!((now(slot), gaps(dir.path())), ((before + 2 * SEGMENT, 0), said));
        }
        // Dead before it was removed.
        slot.losing.store((before + 3 * SEGMENT) << 32 | 4 << 2, Ordering::Relaxed);
        resync(slot, &mut live);
        assert_eq!(now(slot), (before + 2 * SEGMENT, 0));
    }

    #[test]
    fn what_was_dropped_is_said_where_it_is_missing_also_by_whoever_takes_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut live, write) = run(dir.path());
        let table = table(dir.path());
        let slot = &table.slots()[0];
        let mover = Mover::new(true, Kept::nowhere()).expect("a mover");
        rustix::io::write(&write, b"said").expect("written");
        assert_eq!(mover.look(slot, &mut live, Stream::Out, 1), Look::Moved(4));
        let no_room = |live: &mut Live| {
            live.out.file = Some(rustix::fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).expect("opens"));
            live.out.segment = 1;
            rustix::io::write(&write, b"dropped").expect("written");
            for now in [1, PATIENCE + 1] {
                assert_eq!(mover.look(slot, live, Stream::Out, now), Look::Blocked);
            }
        };
        no_room(&mut live);
        resync(slot, &mut live);
        no_room(&mut live);
        resync(slot, &mut live);
        rustix::io::write(&write, b" more").expect("written");
        assert_eq!(mover.look(slot, &mut live, Stream::Out, 1), Look::Moved(5));
        assert_eq!(gaps(dir.path()), [(4, 14)]);
        // Dead when more bytes were kept, and before it was said what is missing in front of them; and then before it was
        // noted that it was said.
        no_room(&mut live);
        std::fs::write(dir.path().join("logs/a-1.out"), "said more, and more").expect("written");
        for _death in 0..2 {
            slot.out_said.store(15, Ordering::Relaxed);
            slot.out_len.store(9, Ordering::Relaxed);
            resync(slot, &mut live);
            assert_eq!((gaps(dir.path()), live.out.at), (vec![(4, 14), (9, 7)], 19));
        }
    }

    #[test]
    fn what_the_index_could_not_take_is_said_when_it_can() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut live, write) = run(dir.path());
        let table = table(dir.path());
        let slot = &table.slots()[0];
        let mover = Mover::new(true, Kept::nowhere()).expect("a mover");
        let writes = |live: &mut Live, text: &str| {
            live.out.file = None;
            rustix::io::write(&write, text.as_bytes()).expect("written");
            assert_eq!(mover.look(slot, live, Stream::Out, 1), Look::Moved(text.len()));
        };
        let full = || Some(rustix::fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).expect("opens"));
        let drops = |live: &mut Live| {
            (live.out.file, live.out.segment) = (full(), 1);
            rustix::io::write(&write, b"dropped").expect("written");
            for now in [1, PATIENCE + 1] {
                assert_eq!(mover.look(slot, live, Stream::Out, now), Look::Blocked);
            }
        };
        writes(&mut live, "said");
        drops(&mut live);
        live.index.file = full();
        writes(&mut live, " more");
        assert_eq!(gaps(dir.path()), []);
        live.index = Index::default();
        writes(&mut live, " again");
        assert_eq!(gaps(dir.path()), [(9, 7)]);
        // Somebody removes the log while nothing can be said: only what its hole does not tell is said later.
        drops(&mut live);
        live.index.file = full();
        std::fs::remove_file(dir.path().join("logs/a-1.out")).expect("removed");
        writes(&mut live, " more");
        assert_eq!(slot.out_dropped.load(Ordering::Relaxed), 7 + 7 + 15);
        live.index = Index::default();
        writes(&mut live, " again");
        assert_eq!(gaps(dir.path()), [(9, 7), (20, 7)]);
        // Whoever takes over cannot say it either: it is said later all the same.
        drops(&mut live);
        let (index, away) = (dir.path().join("logs/a-1.idx"), dir.path().join("logs/away"));
        std::fs::rename(&index, &away).expect("moved");
        std::fs::create_dir(&index).expect("made");
        segment(dir.path(), "a-1.out", 30);
        resync(slot, &mut live);
        std::fs::remove_dir(&index).expect("removed");
        std::fs::rename(&away, &index).expect("moved");
        assert_eq!(gaps(dir.path()), [(9, 7), (20, 7)]);
        writes(&mut live, " end");
        assert_eq!(gaps(dir.path()), [(9, 7), (20, 7), (30, 7)]);
    }

    #[test]
    fn a_stream_whose_log_was_removed_goes_on_at_a_new_offset() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut live, write) = run(dir.path());
        let table = table(dir.path());
        let slot = &table.slots()[0];
        let mover = Mover::new(true, Kept::nowhere()).expect("a mover");
        let file = dir.path().join("logs/a-1.out");
        rustix::io::write(&write, &[b'x'; 9_000]).expect("written");
        assert_eq!(mover.look(slot, &mut live, Stream::Out, 1), Look::Moved(9_000));
        std::fs::remove_file(&file).expect("removed");
        let_go(&mut live.out);
        let seen = || (slot.out_len.load(Ordering::Relaxed), slot.out_dropped.load(Ordering::Relaxed));
        for (lost, len) in [(9_000, 9_004), (9_000, 9_008)] {
            rustix::io::write(&write, b"more").expect("written");
            assert_eq!(mover.look(slot, &mut live, Stream::Out, 1), Look::Moved(4));
            assert_eq!(seen(), (len, lost));
            resync(slot, &mut live);
        }
        assert_eq!(std::fs::read(&file).expect("read")[9_000..], *b"moremore");
        // What is not there any more is a hole, and no gap besides.
        assert_eq!(gaps(dir.path()), []);
        // Dead when the hole was made, before it was counted.
        std::fs::remove_file(&file).expect("removed");
        segment(dir.path(), "a-1.out", 9_008);
        slot.losing.store(9_016 << 32 | 1 << 2 | 2, Ordering::Relaxed);
        resync(slot, &mut live);
        assert_eq!((seen(), slot.losing.load(Ordering::Relaxed)), ((9_008, 9_016), 0));
    }

    #[test]
    fn a_full_disk_is_waited_for_a_minute() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut live, write) = run(dir.path());
        let table = table(dir.path());
        let slot = &table.slots()[0];
        let mover = Mover::new(true, Kept::nowhere()).expect("a mover");
        rustix::io::write(&write, b"said").expect("written");
        live.out.file = Some(rustix::fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).expect("opens"));
        live.out.segment = 1;
        assert_eq!(mover.look(slot, &mut live, Stream::Out, 1), Look::Blocked);
        assert_eq!(mover.look(slot, &mut live, Stream::Out, PATIENCE), Look::Blocked);
        assert_eq!(slot.out_dropped.load(Ordering::Relaxed), 0);
        assert_eq!(mover.look(slot, &mut live, Stream::Out, PATIENCE + 1), Look::Blocked);
        assert_eq!(slot.out_dropped.load(Ordering::Relaxed), 4);
    }
}
