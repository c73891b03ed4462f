//! Holding a run's leader by a descriptor. For want of one it is known by its number and its start alone, until there is
//! one again: nobody calls a run over because descriptors were short.

use crate::boot;
use crate::keeper::{Keeper, arm};
use crate::start::has_pid;
use crate::sys::wait;
use crate::table::{INTENT, RUNNING, Slot};
use crate::token::{Token, check_of};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::sync::atomic::Ordering;

/// What became of asking for a leader by its number.
pub(crate) enum Leader {
    Held(OwnedFd),
    /// It was reaped; its number is nobody's, or another's.
    Gone,
    /// A shortage of ours, which says nothing about it.
    NotNow(io::Error),
}

/// `ours`: our child, whose number is its own until we reap it.
pub(crate) fn hold(slot: &Slot, ours: bool) -> Leader {
    let pid = slot.pid.load(Ordering::Relaxed);
    let pidfd = match wait::pidfd_open(pid) {
        Ok(pidfd) => pidfd,
        Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Leader::Gone,
        Err(e) => return Leader::NotNow(e),
    };
    let begun = slot.start_ticks.load(Ordering::Relaxed);
    if ours {
        if begun == 0 {
            has_pid(slot);
        }
        return Leader::Held(pidfd);
    }
    // Asked after its number is held: who has begun when our leader did is our leader.
    match boot::start_ticks(pid) {
        Some(ticks) if ticks == begun => Leader::Held(pidfd),
        Some(_) => Leader::Gone,
        // It was reaped just now, or /proc cannot be read for want of a descriptor.
        None => match wait::pidfd_send_signal(&pidfd, 0, false) {
            Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Leader::Gone,
            Ok(()) | Err(_) => Leader::NotNow(io::Error::from(Errno::MFILE)),
        },
    }
}

impl Keeper {
    /// Whether a run lives whose leader, not our child, we know only by its number.
    pub(crate) fn is_unheld(&self, at: usize, slot_at: u16) -> bool {
        let Some(generation) = self.generations.get(at).and_then(Option::as_ref) else { return false };
        let state = generation.table.slots()[usize::from(slot_at)].state.load(Ordering::Relaxed);
        let unheld = |live: &crate::live::Live| live.pidfd.is_none() && !live.ours;
        matches!(state, INTENT | RUNNING) && generation.lives.peek(slot_at).is_some_and(unheld)
    }

    /// Before a keeper is made, which inherits what we hold: it could not hear of an end of any other leader. The error is
    /// the shortage.
    pub(crate) fn hold_leaders(&mut self) -> io::Result<()> {
        for at in self.mine() {
            let Some(generation) = self.generations[at].as_mut() else { continue };
            let slots = generation.table.slots();
            for live in generation.lives.iter_mut().filter(|live| live.pidfd.is_none()) {
                let slot = &slots[usize::from(live.slot)];
                if !matches!(slot.state.load(Ordering::Relaxed), INTENT | RUNNING) {
                    continue;
                }
                match hold(slot, live.ours) {
                    Leader::Held(pidfd) => {
                        let token = Token::Exit { generation: at as u16, slot: live.slot, check: check_of(live.run) };
                        arm(&self.epoll, &pidfd, token, EventFlags::IN | EventFlags::ONESHOT, false);
                        live.pidfd = Some(pidfd);
                    }
                    // Whose end is noted by whoever looks at it.
                    Leader::Gone => {}
                    Leader::NotNow(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}
