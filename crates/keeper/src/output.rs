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
use crate::index::{self, Stream};
use crate::live::{Feed, Live};
use crate::logs::Logs;
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
        let Live { logs, out, err, .. } = live;
        let feed = match stream {
            Stream::Out => out,
            Stream::Err => err,
        };
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
            if let Err(errno) = open_next(logs, stream, feed) {
                return self.full(run, slot, stream, feed, on_full, now, errno);
            }
        }
        if feed.at >= u64::from(feed.segment) * SEGMENT
            && let Err(errno) = open_next(logs, stream, feed)
        {
            return self.full(run, slot, stream, feed, on_full, now, errno);
        }
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
                let lost = std::mem::take(&mut feed.gap);
                let before = feed.at;
                feed.at += n as u64;
                let (len, at) = (length(slot, stream), feed.at);
                len.store(at, Ordering::Release);
                let first_of_segment = before == begin && feed.segment > 1;
                let segment = feed.segment;
                note(slot, live, stream, at, (lost > 0).then_some((before, lost)));
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
            let_go(slot, stream, feed);
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
        let dropping = match feed.by_hand().map(|(aside, _)| self.give_up(aside, placed(slot, stream), feed.at)) {
            Some(Ok(n)) if n > 0 => Ok(Moved::Bytes(n)),
            Some(_) | None => misc::discard(pipe, &self.null, TURN),
        };
        match dropping {
            Ok(Moved::End) => Look::End,
            Ok(Moved::Bytes(n)) => {
                feed.gap += n as u64;
                dropped(slot, stream).fetch_add(n as u64, Ordering::Relaxed);
                Look::Blocked
            }
            Ok(Moved::Empty) | Err(_) => Look::Blocked,
        }
    }
}

/// Somebody removed the file, to make room: nobody but us has its bytes any more, and for as long as we have it there is
/// none. What is still to come goes into a new one. (By hand, where the stream stands is bound to what waits in the pipe.)
fn let_go(slot: &Slot, stream: Stream, feed: &mut Feed) {
    let is_removed = |file: &OwnedFd| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0);
    if feed.by_hand().is_some() || !feed.file.as_ref().is_some_and(is_removed) {
        return;
    }
    feed.file = None;
    let begin = u64::from(feed.segment.saturating_sub(1)) * SEGMENT;
    let lost = feed.at.saturating_sub(begin);
    feed.at = begin;
    feed.gap += lost;
    length(slot, stream).store(begin, Ordering::Release);
    dropped(slot, stream).fetch_add(lost, Ordering::Relaxed);
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

fn dropped(slot: &Slot, stream: Stream) -> &std::sync::atomic::AtomicU64 {
    match stream {
        Stream::Out => &slot.out_dropped,
        Stream::Err => &slot.err_dropped,
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

/// Opens the segment in which the stream goes on, which is what the files say, not what we remember.
fn open_next(logs: &Logs, stream: Stream, feed: &mut Feed) -> rustix::io::Result<()> {
    feed.file = None;
    let mut segment = (feed.at / SEGMENT) as u32 + 1;
    loop {
        let file = logs.open(extension(stream), segment)?;
        let size = rustix::fs::fstat(&file)?.st_size as u64;
        if size >= SEGMENT {
            segment += 1;
            continue;
        }
        feed.at = u64::from(segment - 1) * SEGMENT + size;
        feed.segment = segment;
        feed.file = Some(file);
        return Ok(());
    }
}

/// After a takeover: how far the streams are is what the files say. A keeper may have died between moving bytes and
/// storing their number, and no further byte need ever come.
pub(crate) fn resync(slot: &Slot, live: &mut Live) {
    for stream in [Stream::Out, Stream::Err] {
        let len = length(slot, stream);
        let mut at = len.load(Ordering::Relaxed);
        let mut segment = (at / SEGMENT) as u32 + 1;
        while let Some(size) = live.logs.size(extension(stream), segment) {
            at = at.max(u64::from(segment - 1) * SEGMENT + size);
            if size < SEGMENT {
                break;
            }
            segment += 1;
        }
        len.store(at, Ordering::Release);
        count_removed(slot, live, stream, segment);
        let feed = match stream {
            Stream::Out => &mut live.out,
            Stream::Err => &mut live.err,
        };
        feed.at = at;
        feed.file = None;
        feed.paced = false;
        (feed.blocked_since, feed.blocked_by) = (0, None);
        (feed.gap, feed.busy, feed.segment) = (0, 0, 0);
    }
    slot.clear_flag(flag::OUTPUT_BLOCKED);
}

/// A keeper may have died between removing a segment and counting it. Never the first nor the last is removed, so what is
/// missing between them was; less than a whole one was dropped otherwise, or that many are counted already.
fn count_removed(slot: &Slot, live: &Live, stream: Stream, last: u32) {
    let is_there = |n: u32| live.logs.size(extension(stream), n).is_some();
    // Where not even the first is seen, the directory is not.
    if last < 3 || !is_there(1) {
        return;
    }
    let missing = (2..last).filter(|n| !is_there(*n)).count() as u64;
    let counted = dropped(slot, stream).load(Ordering::Relaxed);
    if counted / SEGMENT < missing {
        dropped(slot, stream).store(missing * SEGMENT + counted % SEGMENT, Ordering::Relaxed);
    }
}

pub(crate) fn extension(stream: Stream) -> &'static str {
    match stream {
        Stream::Out => "out",
        Stream::Err => "err",
    }
}

/// Writes down when the stream had grown to `end`. What cannot be written costs times, never bytes.
fn note(slot: &Slot, live: &mut Live, stream: Stream, end: u64, gap: Option<(u64, u64)>) {
    let now_us = crate::clock::wall() / 1_000;
    if live.index.file.is_none() {
        let Ok(file) = live.logs.open("idx", 1) else { return };
        let size = rustix::fs::fstat(&file).map_or(0, |s| s.st_size as u64);
        live.index.len = size - size % index::ENTRY as u64;
        live.index.file = Some(file);
    }
    let index = &mut live.index;
    let Some(file) = index.file.as_ref() else { return };
    if let Some((offset, lost)) = gap {
        if rustix::io::pwrite(file, &index::gap(stream, offset, lost), index.len).is_ok() {
            index.len += index::ENTRY as u64;
        }
        index.last = None;
    }
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

/// Beyond the cap the oldest segment goes, but never the first; its bytes become a gap.
fn cut(slot: &Slot, live: &mut Live, stream: Stream, segment: u32, keep: u64) {
    let most = (keep / SEGMENT).max(2) as u32;
    if keep == 0 || segment <= most {
        return;
    }
    remove(slot, live, stream, segment - most + 1);
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
    oldest.is_some_and(|victim| remove(slot, live, stream, victim))
}

/// Whether the disk of a stream's file has less room left than kin keeps free.
fn is_scarce(live: &Live, stream: Stream) -> bool {
    let feed = if stream == Stream::Out { &live.out } else { &live.err };
    feed.file
        .as_ref()
        .and_then(|file| rustix::fs::fstatvfs(file).ok())
        .is_some_and(|stat| crate::room::is_scarce(&stat))
}

/// A whole segment becomes a gap.
fn remove(slot: &Slot, live: &mut Live, stream: Stream, victim: u32) -> bool {
    if live.logs.remove(extension(stream), victim).is_err() {
        return false;
    }
    dropped(slot, stream).fetch_add(SEGMENT, Ordering::Relaxed);
    let gap = index::gap(stream, u64::from(victim - 1) * SEGMENT, SEGMENT);
    if let Some(file) = live.index.file.as_ref()
        && rustix::io::pwrite(file, &gap, live.index.len).is_ok()
    {
        live.index.len += index::ENTRY as u64;
        live.index.last = None;
    }
    true
}

/// Notes what was dropped last, when the run ends in the middle of it.
pub(crate) fn settle(live: &mut Live) {
    for stream in [Stream::Out, Stream::Err] {
        let feed = match stream {
            Stream::Out => &mut live.out,
            Stream::Err => &mut live.err,
        };
        let (lost, at) = (std::mem::take(&mut feed.gap), feed.at);
        if let (true, Some(file)) = (lost > 0, live.index.file.as_ref())
            && rustix::io::pwrite(file, &index::gap(stream, at, lost), live.index.len).is_ok()
        {
            live.index.len += index::ENTRY as u64;
        }
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

    #[test]
    fn a_segment_that_was_removed_and_not_counted_is_counted_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut live, _write) = run(dir.path());
        let table = table(dir.path());
        let slot = &table.slots()[0];
        std::fs::create_dir(dir.path().join("logs")).expect("made");
        for (name, len) in [("a-1.out", SEGMENT), ("a-1.out.3", SEGMENT), ("a-1.out.4", 7)] {
            let file = std::fs::File::create(dir.path().join("logs").join(name)).expect("made");
            file.set_len(len).expect("room for nothing");
        }
        slot.out_len.store(3 * SEGMENT, Ordering::Relaxed);
        slot.out_dropped.store(5, Ordering::Relaxed);
        for _again in 0..2 {
            resync(slot, &mut live);
            let seen = (slot.out_len.load(Ordering::Relaxed), slot.out_dropped.load(Ordering::Relaxed));
            assert_eq!(seen, (3 * SEGMENT + 7, SEGMENT + 5));
        }
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
