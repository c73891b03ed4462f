//! A run that a keeper serves now: its descriptors, and what is worth keeping beside its slot.

use crate::index::Stream;
use crate::logs::Logs;
use crate::spec::{OnFull, SpecView};
use rustix::fd::OwnedFd;

/// One stream of a run on its way from a pipe into a file.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// `None`: there is none, or it is at its end.
    pub(crate) pipe: Option<OwnedFd>,
    /// Where the file system has no splice: a second pipe that the bytes are written from, both ends in one (`byhand`).
    pub(crate) aside: Option<OwnedFd>,
    /// Where the file system has no splice and the run has a terminal: `pipe` is such a second pipe itself.
    pub(crate) is_aside: bool,
    /// Opened with the first byte.
    pub(crate) file: Option<OwnedFd>,
    /// Which segment `file` is, from 1.
    pub(crate) segment: u32,
    /// Bytes kept so far, in all segments.
    pub(crate) at: u64,
    /// In the queue of feeds that are looked at again by time; else armed in epoll.
    pub(crate) paced: bool,
    /// Looks in a row that found the pipe half full.
    pub(crate) busy: u8,
    pub(crate) grown: bool,
    /// Monotonic ns since when it cannot be written, and why; zero: it can.
    pub(crate) blocked_since: u64,
    pub(crate) blocked_by: Option<rustix::io::Errno>,
}

impl Feed {
    /// The pipe that is written from by hand, and the one it is filled from, if we are to do that.
    pub(crate) fn by_hand(&self) -> Option<(&OwnedFd, Option<&OwnedFd>)> {
        if self.is_aside {
            return self.pipe.as_ref().map(|pipe| (pipe, None));
        }
        self.aside.as_ref().map(|aside| (aside, self.pipe.as_ref()))
    }
}

/// A terminal's master end, and the pipe its bytes go through so that none is ever only in our memory.
#[derive(Debug)]
pub(crate) struct Tty {
    pub(crate) master: OwnedFd,
    pub(crate) pipe_in: OwnedFd,
    /// Input on its way to the terminal: both ends of a pipe in one descriptor, so that none is ever only in our memory.
    pub(crate) typed: OwnedFd,
    /// A duplicate of `master` in the epoll, while input waits for room.
    pub(crate) wake: Option<OwnedFd>,
    pub(crate) ended: bool,
}

/// The time index's end.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) file: Option<OwnedFd>,
    pub(crate) len: u64,
    /// The last entry, while it may still be extended: stream, and when it began (Unix µs).
    pub(crate) last: Option<(u8, u64)>,
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) slot: u16,
    pub(crate) run: u64,
    /// What names its logs.
    pub(crate) logs: Logs,
    pub(crate) pidfd: Option<OwnedFd>,
    /// While its child is on the way to exec and we have made it: see `Arena::take_news`.
    pub(crate) news: Option<OwnedFd>,
    /// Our child, so that `waitid` tells how it ended; else only the pidfd may.
    pub(crate) ours: bool,
    pub(crate) out: Feed,
    pub(crate) err: Feed,
    pub(crate) tty: Option<Tty>,
    pub(crate) index: Index,
    pub(crate) keep_bytes: u64,
    pub(crate) linger_ns: u64,
    pub(crate) on_full: OnFull,
    /// Where its logs lie there is no splice.
    pub(crate) by_hand: bool,
    /// It has ended, whoever has to reap it has not, and how it ended will be known only then: waited for until this.
    pub(crate) reaped_by: u64,
    /// The daemon has its end; the slot is kept only because somebody still writes.
    pub(crate) forgotten: bool,
    /// When the tree is looked at again while it is being stopped, and how long the pause was.
    pub(crate) look_at: u64,
    pub(crate) look_pause: u64,
    /// The last look at its tree found nobody.
    pub(crate) seen_empty: bool,
}

impl Live {
    pub(crate) fn new(slot: u16, run: u64) -> Live {
        Live {
            slot,
            run,
            logs: Logs::default(),
            pidfd: None,
            news: None,
            ours: true,
            out: Feed::default(),
            err: Feed::default(),
            tty: None,
            index: Index::default(),
            keep_bytes: 0,
            linger_ns: 0,
            on_full: OnFull::Drop,
            by_hand: false,
            reaped_by: 0,
            forgotten: false,
            look_at: 0,
            look_pause: 0,
            seen_empty: false,
        }
    }

    pub(crate) fn learn(&mut self, spec: &SpecView<'_>) {
        self.keep_bytes = spec.keep_bytes();
        self.linger_ns = spec.linger_ms().saturating_mul(crate::clock::MS);
        self.on_full = spec.on_full();
        self.by_hand = spec.logs_by_hand();
    }

    pub(crate) fn feed(&mut self, stream: Stream) -> &mut Feed {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    /// No stream left that could bring a byte.
    pub(crate) fn is_dry(&self) -> bool {
        self.out.pipe.is_none() && self.err.pipe.is_none()
    }
}

/// The live runs of one generation: dense, with the way from a slot to its run.
#[derive(Debug)]
pub(crate) struct Lives {
    list: Vec<Live>,
    /// Place in `list` plus one; zero: none.
    by_slot: Vec<u16>,
}

impl Lives {
    /// All the memory it will ever need; pages are only touched as runs come.
    pub(crate) fn with_room(slots: usize) -> Lives {
        Lives { list: Vec::with_capacity(slots), by_slot: vec![0; slots] }
    }
    pub(crate) fn get(&mut self, slot: u16) -> Option<&mut Live> {
        let at = usize::from(*self.by_slot.get(usize::from(slot))?).checked_sub(1)?;
        self.list.get_mut(at)
    }
    pub(crate) fn peek(&self, slot: u16) -> Option<&Live> {
        let at = usize::from(*self.by_slot.get(usize::from(slot))?).checked_sub(1)?;
        self.list.get(at)
    }
    /// The run that lives in that slot, if its number's check bits are these.
    pub(crate) fn checked(&mut self, slot: u16, check: u32) -> Option<&mut Live> {
        self.get(slot).filter(|live| crate::token::check_of(live.run) == check)
    }
    pub(crate) fn insert(&mut self, live: Live) -> &mut Live {
        let slot = usize::from(live.slot);
        self.remove(live.slot);
        self.list.push(live);
        self.by_slot[slot] = self.list.len() as u16;
        self.list.last_mut().expect("just pushed")
    }
    pub(crate) fn remove(&mut self, slot: u16) -> Option<Live> {
        let at = usize::from(*self.by_slot.get(usize::from(slot))?).checked_sub(1)?;
        self.by_slot[usize::from(slot)] = 0;
        let gone = self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.by_slot[usize::from(moved.slot)] = at as u16 + 1;
        }
        Some(gone)
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Live> {
        self.list.iter()
    }
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Live> {
        self.list.iter_mut()
    }
    pub(crate) fn slot_at(&self, at: usize) -> Option<u16> {
        self.list.get(at).map(|live| live.slot)
    }
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_slot_however_others_leave() {
        let mut lives = Lives::with_room(16);
        for slot in 0..10 {
            lives.insert(Live::new(slot, u64::from(slot) + 100));
        }
        for slot in [0, 9, 4] {
            assert!(lives.remove(slot).is_some());
            assert!(lives.remove(slot).is_none());
        }
        for slot in [1, 2, 3, 5, 6, 7, 8] {
            assert_eq!(lives.get(slot).map(|live| live.run), Some(u64::from(slot) + 100));
        }
        assert!(lives.checked(5, 106).is_none());
        assert_eq!(lives.len(), 7);
    }
}
