//! What is typed at a run's terminal, on its way there: from a client into a pipe, from the pipe into the terminal, each
//! step one system call, and a number stored after it.
//!
//! The pipe has no other user, so the bytes that lie in it are a truth of their own. The two numbers in the slot say the
//! same (`typed - typed_on`), unless whoever did the last step was killed before its number was stored; and which step
//! that was shows in the sign of the difference:
//! ```text
//!   more in the pipe than that   bytes were taken, and not counted:      typed    = typed_on + those in the pipe
//!   fewer                        bytes were passed on, and not counted:  typed_on = typed - those in the pipe
//! ```
//! So nothing is typed twice, and nothing that was taken is lost, whoever dies. Only one process types at a time: the one
//! that minds the small door, whether it serves the run otherwise or not.

use crate::keeper::{Keeper, arm, disarm};
use crate::live::{Live, Tty};
use crate::output::Mover;
use crate::table::Slot;
use crate::token::{Token, check_of};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::sync::atomic::Ordering;

const TURN: usize = 1 << 16;

/// Makes the numbers true again; how many bytes lie in the pipe.
fn settle(slot: &Slot, tty: &Tty) -> rustix::io::Result<u64> {
    let held = rustix::io::ioctl_fionread(&tty.typed)?;
    let (typed, on) = (slot.typed.load(Ordering::Relaxed), slot.typed_on.load(Ordering::Relaxed));
    if on + held > typed {
        slot.typed.store(on + held, Ordering::Release);
    } else if on + held < typed {
        slot.typed_on.store(typed - held, Ordering::Release);
    }
    Ok(held)
}

/// Takes what was typed from `offset` on, as far as there is room; the offset wanted next. `None`: there is a hole before.
fn take(slot: &Slot, tty: &Tty, offset: u64, bytes: &[u8]) -> Option<u64> {
    settle(slot, tty).ok()?;
    let typed = slot.typed.load(Ordering::Relaxed);
    let known = usize::try_from(typed.checked_sub(offset)?).ok()?;
    let fresh = bytes.get(known..).unwrap_or_default();
    match rustix::io::write(&tty.typed, fresh) {
        Ok(n) => {
            crate::fault::point("typed-taken");
            slot.typed.store(typed + n as u64, Ordering::Release);
            Some(typed + n as u64)
        }
        Err(_) => Some(typed),
    }
}

/// Gives the terminal what it takes now. `true`: something is left.
fn pass_on(slot: &Slot, tty: &Tty, mover: &Mover) -> bool {
    loop {
        match settle(slot, tty) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        let passed = match rustix::pipe::splice(&tty.typed, None, &tty.master, None, TURN, SpliceFlags::NONBLOCK) {
            // Kernels that cannot splice into a terminal (5.10).
            Err(Errno::INVAL) => mover.type_by_hand(&tty.typed, &tty.master),
            other => other,
        };
        match passed {
            Ok(0) | Err(Errno::AGAIN) => return true,
            Ok(n) => {
                crate::fault::point("typed-passed");
                slot.typed_on.fetch_add(n as u64, Ordering::Release);
            }
            Err(Errno::INTR) => {}
            // Nobody has the other end any more, nor will.
            Err(_) => mover.throw_away(&tty.typed),
        }
    }
}

/// It waits for room no longer.
pub(crate) fn rest(epoll: &OwnedFd, live: &mut Live) {
    if let Some(wake) = live.tty.as_mut().and_then(|tty| tty.wake.take()) {
        disarm(epoll, wake);
    }
}

impl Keeper {
    pub(crate) fn type_in(&mut self, run: u64, offset: u64, typed: &[u8]) -> Option<u64> {
        let (at, slot_at) = self.terminal(run)?;
        let generation = self.generations.get_mut(at)?.as_mut()?;
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let wanted = take(slot, generation.lives.get(slot_at)?.tty.as_ref()?, offset, typed);
        self.type_on(at, slot_at, check_of(run));
        wanted
    }

    /// Passes on what was typed, now or as soon as the terminal has room.
    pub(crate) fn type_on(&mut self, at: usize, slot_at: u16, check: u32) {
        let Some(generation) = self.generations.get_mut(at).and_then(Option::as_mut) else { return };
        let slots = generation.table.slots();
        let Some(live) = generation.lives.checked(slot_at, check) else { return };
        let Some(tty) = live.tty.as_mut() else { return };
        if !self.hands.armed || !pass_on(&slots[usize::from(slot_at)], tty, &self.mover) {
            return rest(&self.epoll, live);
        }
        let known = tty.wake.is_some();
        if !known {
            // Out of descriptors: what is typed next, if anything, will push it.
            tty.wake = rustix::io::fcntl_dupfd_cloexec(&tty.master, 3).ok();
        }
        if let Some(wake) = &tty.wake {
            let token = Token::Typed { generation: at as u16, slot: slot_at, check };
            arm(&self.epoll, wake, token, EventFlags::OUT | EventFlags::ONESHOT, known);
        }
    }

    /// The small door is ours from now on, or not any more: so is what was typed there.
    pub(crate) fn type_on_all(&mut self) {
        for at in 0..self.generations.len() {
            let mut i = 0;
            while let Some(generation) = self.generations[at].as_mut()
                && let Some(slot_at) = generation.lives.slot_at(i)
            {
                i += 1;
                let tty =
                    generation.lives.get(slot_at).filter(|live| live.tty.is_some()).map(|live| check_of(live.run));
                if let Some(check) = tty {
                    self.type_on(at, slot_at, check);
                }
            }
        }
    }

    /// Where a run with a terminal is, whoever serves it otherwise.
    pub(crate) fn terminal(&mut self, run: u64) -> Option<(usize, u16)> {
        self.generations.iter_mut().enumerate().find_map(|(at, generation)| {
            let generation = generation.as_mut()?;
            let slot_at = generation.table.find(run)? as u16;
            generation.lives.get(slot_at).filter(|live| live.run == run && live.tty.is_some()).map(|_| (at, slot_at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::OFlags;
    use rustix::termios::{LocalModes, OptionalActions};

    fn terminal() -> (crate::table::Table, Tty, OwnedFd, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let table = crate::table::Table::create(&dir.path().join("tab"), 1, "boot").expect("a table");
        let crate::pty::Pty { master, slave } = crate::pty::open(24, 80).expect("a terminal");
        let mut modes = rustix::termios::tcgetattr(&slave).expect("modes");
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes).expect("set");
        let status = rustix::fs::fcntl_getfl(&slave).expect("flags");
        rustix::fs::fcntl_setfl(&slave, status | OFlags::NONBLOCK).expect("set");
        let (_read, pipe_in) = rustix::pipe::pipe().expect("a pipe");
        let typed = crate::start::both_ways().expect("a pipe");
        (table, Tty { master, pipe_in, typed, wake: None, ended: false }, slave, dir)
    }

    fn read(slave: &OwnedFd) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        // What was written to the other side arrives by a worker of the kernel.
        let mut fds = [rustix::event::PollFd::new(slave, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        while rustix::event::poll(&mut fds, Some(&patience)).expect("polled") > 0 {
            match rustix::io::read(slave, &mut buffer) {
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(_) => break,
            }
        }
        all
    }

    #[test]
    fn whoever_dies_between_two_steps_nothing_is_typed_twice_or_lost() {
        let (table, tty, slave, _dir) = terminal();
        let slot = &table.slots()[0];
        let mover = Mover::new(true, crate::room::Kept::nowhere()).expect("a mover");
        assert_eq!(take(slot, &tty, 0, b"one "), Some(4));
        // Dead after the bytes were taken, before they were counted.
        slot.typed.store(0, Ordering::Relaxed);
        assert_eq!(take(slot, &tty, 0, b"one two "), Some(8));
        assert!(!pass_on(slot, &tty, &mover));
        // Dead after they were passed on, before that was counted.
        slot.typed_on.store(0, Ordering::Relaxed);
        assert_eq!(take(slot, &tty, 4, b"two three"), Some(13));
        assert!(!pass_on(slot, &tty, &mover));
        assert_eq!(read(&slave), b"one two three");
        assert_eq!((slot.typed.load(Ordering::Relaxed), slot.typed_on.load(Ordering::Relaxed)), (13, 13));
        assert_eq!(take(slot, &tty, 20, b"after a hole"), None);
    }

    #[test]
    fn what_the_terminal_does_not_take_waits() {
        let (table, tty, slave, _dir) = terminal();
        let slot = &table.slots()[0];
        let mover = Mover::new(true, crate::room::Kept::nowhere()).expect("a mover");
        let text: Vec<u8> = (0..120_000u32).map(|i| b'a' + (i % 23) as u8).collect();
        let (mut sent, mut got) = (0, Vec::new());
        while got.len() < text.len() {
            sent = take(slot, &tty, sent as u64, &text[sent..text.len().min(sent + 4096)]).expect("no hole") as usize;
            if pass_on(slot, &tty, &mover) || sent == text.len() {
                got.extend(read(&slave));
            }
        }
        assert!(got == text, "{} bytes, {} taken", got.len(), sent);
    }

    #[test]
    fn without_splice_it_is_typed_by_hand() {
        let (table, tty, slave, _dir) = terminal();
        let slot = &table.slots()[0];
        let mover = Mover::new(true, crate::room::Kept::nowhere()).expect("a mover");
        assert_eq!(take(slot, &tty, 0, b"word"), Some(4));
        assert_eq!(mover.type_by_hand(&tty.typed, &tty.master), Ok(4));
        slot.typed_on.store(4, Ordering::Relaxed);
        assert_eq!(read(&slave), b"word");
        assert_eq!(settle(slot, &tty), Ok(0));
    }
}
