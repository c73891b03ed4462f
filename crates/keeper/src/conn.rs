//! Whoever speaks `wire` with us: a daemon, a front, a watcher. Nobody here can make us wait.

use crate::sys::misc;
use crate::wire::{PACKET, RECORD, Role, Tell};
use rustix::fd::OwnedFd;

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) socket: OwnedFd,
    /// Which generation's socket it came to.
    pub(crate) generation: usize,
    pub(crate) check: u32,
    /// Known after its Hello.
    pub(crate) role: Option<Role>,
    pub(crate) pid: u32,
    queue: [u8; PACKET],
    queued: usize,
    /// It was too slow, and must read the whole table.
    missed: bool,
    pub(crate) wants_out: bool,
}

impl Conn {
    pub(crate) fn new(socket: OwnedFd, generation: usize, check: u32, pid: u32) -> Conn {
        Conn {
            socket,
            generation,
            check,
            role: None,
            pid,
            queue: [0; PACKET],
            queued: 0,
            missed: false,
            wants_out: false,
        }
    }

    /// Queues one record; a full queue is sent first.
    pub(crate) fn tell(&mut self, tell: Tell) {
        if self.queued == PACKET && !self.flush() {
            self.missed = true;
            return;
        }
        self.queue[self.queued..self.queued + RECORD].copy_from_slice(&tell.encode());
        self.queued += RECORD;
    }

    /// Sends what is queued. `false`: the other end does not take it now.
    pub(crate) fn flush(&mut self) -> bool {
        if self.missed && self.queued < PACKET {
            self.queue[self.queued..self.queued + RECORD].copy_from_slice(&Tell::Reread.encode());
            self.queued += RECORD;
            self.missed = false;
        }
        if self.queued == 0 {
            return true;
        }
        match misc::send(&self.socket, &self.queue[..self.queued], &[]) {
            Ok(_) => {
                self.queued = 0;
                // What was missed while it was slow is said now, or nobody would wake to say it.
                !self.missed || self.flush()
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => false,
            // Its hang-up comes as an event of its own.
            Err(_) => {
                self.queued = 0;
                true
            }
        }
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.queued > 0 || self.missed
    }
}
