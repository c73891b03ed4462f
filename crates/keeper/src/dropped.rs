//! What a run's output has lost, counted so that no death of a keeper falls between a loss and its count.
//!
//! | what is lost | how it is counted |
//! |---|---|
//! | bytes for which there is no room | by the call that takes them out of the pipe: the kernel itself adds them to the slot |
//! | a segment that is removed; the head of one that somebody else removed or cut | the slot says before it what the count will be (`losing`), and whoever comes after a death looks whether it was done |
//!
//! The index tells where bytes were dropped, with the next byte that is kept. How many of them it tells of stands in the
//! slot too (`said`), so whoever takes over tells of the rest.

use crate::index::{self, Stream};
use crate::live::Live;
use crate::output::{SEGMENT, extension, note_gap};
use crate::sys::misc::{self, Moved};
use crate::table::Slot;
use rustix::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn count(slot: &Slot, stream: Stream) -> &AtomicU64 {
    match stream {
        Stream::Out => &slot.out_dropped,
        Stream::Err => &slot.err_dropped,
    }
}

fn said(slot: &Slot, stream: Stream) -> &AtomicU64 {
    match stream {
        Stream::Out => &slot.out_said,
        Stream::Err => &slot.err_said,
    }
}

/// Before anything is dropped: all that was so far is said, by whoever did it.
pub(crate) fn begin(slot: &Slot, stream: Stream) {
    if said(slot, stream).load(Ordering::Relaxed) == 0 {
        all_is_said(slot, stream);
    }
}

fn all_is_said(slot: &Slot, stream: Stream) {
    said(slot, stream).store(count(slot, stream).load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// So many bytes more are said: the files themselves tell that they are missing. What was unsaid before them stays so.
fn said_by_files(slot: &Slot, stream: Stream, bytes: u64) {
    let all = count(slot, stream).load(Ordering::Relaxed) + 1;
    let before = said(slot, stream).load(Ordering::Relaxed);
    said(slot, stream).store(before.saturating_add(bytes).min(all), Ordering::Relaxed);
}

/// Dropped since the index was told of it last.
fn unsaid(slot: &Slot, stream: Stream) -> u64 {
    match said(slot, stream).load(Ordering::Relaxed) {
        0 => 0,
        said => count(slot, stream).load(Ordering::Relaxed).saturating_sub(said - 1),
    }
}

/// Tells the index what was dropped since, in front of the byte at `offset`.
pub(crate) fn say(slot: &Slot, live: &mut Live, stream: Stream, offset: u64) {
    let lost = unsaid(slot, stream);
    if lost > 0 {
        let is_noted = note_gap(live, &index::gap(stream, offset, lost));
        crate::fault::point("gap-noted");
        // What the index could not take is said with what comes next.
        if is_noted {
            all_is_said(slot, stream);
        }
    }
}

/// Takes bytes out of a pipe, throws them away and counts them.
pub(crate) fn discard(pipe: &OwnedFd, null: &OwnedFd, count: &AtomicU64, most: usize) -> rustix::io::Result<Moved> {
    misc::discard_counted(pipe, count, most).or_else(|_| {
        // No file in memory is to be had here: it is counted right after it.
        let moved = misc::discard(pipe, null, most)?;
        if let Moved::Bytes(n) = moved {
            count.fetch_add(n as u64, Ordering::Relaxed);
        }
        Ok(moved)
    })
}

/// What is just being lost: the segment, and the lower half of what the count will then be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Losing {
    stream: Stream,
    act: Act,
    segment: u32,
    then: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// The whole segment goes.
    Remove,
    /// It is made as long as it was before somebody else took its bytes: nothing is there where they were.
    Lengthen,
}

impl Losing {
    fn pack(self) -> u64 {
        let act = u64::from(self.act == Act::Lengthen);
        u64::from(self.then) << 32 | u64::from(self.segment) << 2 | act << 1 | self.stream as u64
    }
    fn unpack(word: u64) -> Option<Losing> {
        let stream = if word & 1 == 0 { Stream::Out } else { Stream::Err };
        let act = if word & 2 == 0 { Act::Remove } else { Act::Lengthen };
        (word != 0).then_some(Losing { stream, act, segment: word as u32 >> 2, then: (word >> 32) as u32 })
    }
}

/// Does what loses so many bytes of a segment, and counts them.
fn lose(
    slot: &Slot,
    stream: Stream,
    act: Act,
    (segment, bytes): (u32, u64),
    what: impl FnOnce() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    begin(slot, stream);
    let then = count(slot, stream).load(Ordering::Relaxed).wrapping_add(bytes) as u32;
    slot.losing.store(Losing { stream, act, segment, then }.pack(), Ordering::Relaxed);
    if let Err(errno) = what() {
        slot.losing.store(0, Ordering::Relaxed);
        return Err(errno);
    }
    crate::fault::point("output-lost");
    count(slot, stream).fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}

/// A hole in its files says it, also where the index could not take the gap.
fn is_lost(slot: &Slot, stream: Stream, bytes: u64) {
    said_by_files(slot, stream, bytes);
    slot.losing.store(0, Ordering::Relaxed);
}

/// Removes a segment, which becomes a gap. True: it went.
pub(crate) fn remove(slot: &Slot, live: &mut Live, stream: Stream, victim: u32) -> bool {
    let at = live.feed(stream).at;
    say(slot, live, stream, at);
    let removed = lose(slot, stream, Act::Remove, (victim, SEGMENT), || live.logs.remove(extension(stream), victim));
    if removed.is_err() {
        return false;
    }
    note_gap(live, &gap_of(stream, victim));
    is_lost(slot, stream, SEGMENT);
    true
}

/// Somebody removed or cut the last segment: `lost` bytes at its end. The stream goes on behind them.
pub(crate) fn head_is_gone(
    slot: &Slot,
    live: &mut Live,
    stream: Stream,
    (file, segment): (&OwnedFd, u32),
    lost: u64,
) -> rustix::io::Result<()> {
    let at = live.feed(stream).at;
    say(slot, live, stream, at);
    let within = at - u64::from(segment - 1) * SEGMENT;
    lose(slot, stream, Act::Lengthen, (segment, lost), || rustix::fs::ftruncate(file, within))?;
    is_lost(slot, stream, lost);
    Ok(())
}

fn gap_of(stream: Stream, segment: u32) -> [u8; index::ENTRY] {
    index::gap(stream, u64::from(segment - 1) * SEGMENT, SEGMENT)
}

/// After a takeover: `before` is what the slot says of the stream's length, `at` what the files say.
pub(crate) fn resync(slot: &Slot, live: &mut Live, stream: Stream, before: u64, at: u64) {
    let losing = Losing::unpack(slot.losing.load(Ordering::Relaxed)).filter(|losing| losing.stream == stream);
    if let Some(Losing { act, segment, then, .. }) = losing {
        let len = live.logs.size(extension(stream), segment);
        let was_done = match act {
            Act::Remove => len.is_none(),
            Act::Lengthen => len.is_some_and(|len| u64::from(segment.max(1) - 1) * SEGMENT + len >= before),
        };
        if was_done {
            let counted = count(slot, stream);
            counted.fetch_add(then.wrapping_sub(counted.load(Ordering::Relaxed) as u32).into(), Ordering::Relaxed);
            let lost = match act {
                Act::Remove => {
                    say_once(live, &gap_of(stream, segment));
                    SEGMENT
                }
                // How many nobody knows any more; before them all was said, unless the index could not take it.
                Act::Lengthen => u64::MAX,
            };
            is_lost(slot, stream, lost);
        } else {
            slot.losing.store(0, Ordering::Relaxed);
        }
    }
    let lost = unsaid(slot, stream);
    if lost == 0 {
        return;
    }
    let gap = index::gap(stream, before, lost);
    // What is not written down yet and has nothing behind it may still grow.
    let is_told = if at > before { say_once(live, &gap) } else { is_said(live, &gap) };
    if is_told {
        all_is_said(slot, stream);
    }
}

fn is_said(live: &Live, gap: &[u8; index::ENTRY]) -> bool {
    live.logs.index_ends_with(gap).unwrap_or(false)
}

/// The keeper before us may have done it just before its end. True: it is said.
fn say_once(live: &mut Live, gap: &[u8; index::ENTRY]) -> bool {
    is_said(live, gap) || note_gap(live, gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_lost_fits_into_a_word() {
        for stream in [Stream::Out, Stream::Err] {
            for act in [Act::Remove, Act::Lengthen] {
                let losing = Losing { stream, act, segment: 70_000, then: u32::MAX - 3 };
                assert_eq!(Losing::unpack(losing.pack()), Some(losing));
            }
        }
        assert_eq!(Losing::unpack(0), None);
    }

    #[test]
    fn what_is_thrown_away_is_counted_by_the_same_call() {
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (read, write) = rustix::pipe::pipe_with(flags).expect("a pipe");
        rustix::io::write(&write, &[7; 50_000]).expect("written");
        let count = AtomicU64::new(5 << 32);
        assert_eq!(misc::discard_counted(&read, &count, 20_000), Ok(Moved::Bytes(20_000)));
        assert_eq!(count.load(Ordering::Relaxed), (5 << 32) + 20_000);
        assert_eq!(misc::discard_counted(&read, &count, 1 << 20), Ok(Moved::Bytes(30_000)));
        assert_eq!(misc::discard_counted(&read, &count, 1 << 20), Ok(Moved::Empty));
        drop(write);
        assert_eq!(misc::discard_counted(&read, &count, 1 << 20), Ok(Moved::End));
        assert_eq!(count.load(Ordering::Relaxed), (5 << 32) + 50_000);
    }
}
