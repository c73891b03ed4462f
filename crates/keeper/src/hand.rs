//! The small door: descriptors that a client hands in under a key, and what is typed at a run's terminal.
//!
//! Descriptors cannot travel through an HTTP server. A key that no run names within a minute is dropped; what is *kept*
//! (a listening socket that outlives the runs it is passed to) stays until somebody says otherwise.

use crate::clock::{self, SECOND};
use crate::generation::Serving;
use crate::keeper::{Keeper, Role, arm, disarm};
use crate::start::backup_head;
use crate::sys::misc::{self, FDS_MAX as FDS};
use crate::token::Token;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

const HAND: &[u8; 8] = b"KINHAND1";
/// One descriptor, kept; whether a key is kept; no longer.
const KEEP: &[u8; 8] = b"KINKEEP1";
const HAVE: &[u8; 8] = b"KINHAVE1";
const DROP: &[u8; 8] = b"KINDROP1";
const TAKEN: &[u8; 8] = b"KINHAND+";
const INPUT: &[u8; 8] = b"KININPUT";
const SIZE: &[u8; 8] = b"KINSIZE1";
const PATIENCE: u64 = 60 * SECOND;
const MOST: usize = 1024;
/// Longest packet: kind, run, offset, 4 KiB typed.
const PACKET: usize = 24 + 4096;

#[derive(Debug)]
struct Hand {
    key: u64,
    fds: [Option<OwnedFd>; FDS],
    /// `FOREVER`: it is kept.
    until: u64,
}

const FOREVER: u64 = u64::MAX;

#[derive(Debug)]
struct HandConn {
    socket: OwnedFd,
    check: u32,
}

#[derive(Debug)]
pub(crate) struct Hands {
    listener: OwnedFd,
    held: Vec<Hand>,
    conns: Vec<Option<HandConn>>,
    /// Whether we listen: only one of elder and keeper may, and it is whoever starts runs.
    pub(crate) armed: bool,
}

impl Hands {
    pub(crate) fn new(listener: OwnedFd) -> Hands {
        Hands { listener, held: Vec::new(), conns: Vec::new(), armed: false }
    }
    pub(crate) fn listener(&self) -> &OwnedFd {
        &self.listener
    }
    pub(crate) fn replace_listener(&mut self, listener: OwnedFd) {
        self.listener = listener;
    }
    pub(crate) fn forget_conns(&mut self) {
        self.conns.clear();
    }
    pub(crate) fn wake_at(&self) -> u64 {
        self.held.iter().map(|hand| hand.until).min().unwrap_or(u64::MAX)
    }
    pub(crate) fn expire(&mut self, now: u64) {
        self.held.retain(|hand| hand.until > now);
    }
    pub(crate) fn keep(&mut self, key: u64, fds: [Option<OwnedFd>; FDS]) {
        self.held.retain(|hand| hand.key != key);
        if self.held.len() < MOST {
            self.held.push(Hand { key, fds, until: clock::mono() + PATIENCE });
        }
    }
    /// Keeps it until `take`.
    pub(crate) fn keep_on(&mut self, key: u64, fds: [Option<OwnedFd>; FDS]) {
        self.keep(key, fds);
        if let Some(hand) = self.held.iter_mut().find(|hand| hand.key == key) {
            hand.until = FOREVER;
        }
    }
    /// What is kept under a key, for one more run.
    pub(crate) fn kept(&self, key: u64) -> Option<&OwnedFd> {
        self.held.iter().find(|hand| hand.key == key && hand.until == FOREVER)?.fds[0].as_ref()
    }
    pub(crate) fn held(&self) -> impl Iterator<Item = (u64, bool, &[Option<OwnedFd>; FDS])> {
        self.held.iter().map(|hand| (hand.key, hand.until == FOREVER, &hand.fds))
    }
    /// What was handed in under a key; it is gone then.
    pub(crate) fn take(&mut self, key: u64) -> Option<[Option<OwnedFd>; FDS]> {
        let at = self.held.iter().position(|hand| hand.key == key)?;
        Some(self.held.swap_remove(at).fds)
    }
}

impl Keeper {
    /// Listens at the small door, or leaves it to the keeper.
    pub(crate) fn mind_hand(&mut self, listen: bool) {
        if listen && !self.hands.armed {
            arm(&self.epoll, self.hands.listener(), Token::Hand, EventFlags::IN, false);
        } else if !listen && self.hands.armed {
            disarm(&self.epoll, self.hands.listener());
            for conn in self.hands.conns.iter_mut().filter_map(Option::take) {
                disarm(&self.epoll, &conn.socket);
            }
        }
        self.hands.armed = listen;
    }

    pub(crate) fn hand_accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(self.hands.listener(), flags) else { return };
        let Ok(peer) = rustix::net::sockopt::socket_peercred(&socket) else { return };
        if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
            return;
        }
        self.serial = self.serial.wrapping_add(1) & 0xff_ffff;
        let check = self.serial;
        let at = match self.hands.conns.iter().position(Option::is_none) {
            Some(at) => at,
            None if self.hands.conns.len() < MOST => {
                self.hands.conns.push(None);
                self.hands.conns.len() - 1
            }
            None => return,
        };
        arm(&self.epoll, &socket, Token::HandConn { at: at as u16, check }, EventFlags::IN | EventFlags::RDHUP, false);
        self.hands.conns[at] = Some(HandConn { socket, check });
    }

    pub(crate) fn hand_hear(&mut self, at: usize, check: u32) {
        let mut buffer = [0u8; PACKET];
        loop {
            let Some(conn) = self.hands.conns.get(at).and_then(Option::as_ref).filter(|c| c.check == check) else {
                return;
            };
            match misc::receive(&conn.socket, &mut buffer) {
                Ok(received) if received.len > 0 => self.hand_packet(at, &buffer[..received.len], received.fds),
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok(_) | Err(_) => {
                    if let Some(gone) = self.hands.conns[at].take() {
                        disarm(&self.epoll, &gone.socket);
                    }
                    return;
                }
            }
        }
    }

    fn hand_packet(&mut self, at: usize, packet: &[u8], fds: [Option<OwnedFd>; FDS]) {
        let long = |i: usize| packet.get(8 * i..8 * i + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (Some(kind), Some(number)) = (packet.get(..8), long(1)) else { return };
        if kind == HAND {
            self.back_up_hand(2, number, &fds);
            self.hands.keep(number, fds);
            self.hand_answer(at, TAKEN);
        } else if kind == KEEP && fds[0].is_some() {
            self.back_up_hand(5, number, &fds);
            self.hands.keep_on(number, fds);
            self.hand_answer(at, TAKEN);
        } else if kind == HAVE {
            let mut answer = [0u8; 16];
            answer[..8].copy_from_slice(HAVE);
            answer[8] = u8::from(self.hands.kept(number).is_some());
            self.hand_answer(at, &answer);
        } else if kind == DROP {
            drop(self.hands.take(number));
            self.hand_used(number);
            self.hand_answer(at, TAKEN);
        } else if kind == INPUT {
            let (Some(offset), Some(typed)) = (long(2), packet.get(24..)) else { return };
            if let Some(wanted) = self.type_in(number, offset, typed) {
                let mut answer = [0u8; 16];
                answer[..8].copy_from_slice(INPUT);
                answer[8..].copy_from_slice(&wanted.to_le_bytes());
                self.hand_answer(at, &answer);
            }
        } else if kind == SIZE
            && let Some([r0, r1, c0, c1]) = packet.get(16..20)
        {
            let (rows, cols) = (u16::from_le_bytes([*r0, *r1]), u16::from_le_bytes([*c0, *c1]));
            if let Some(tty) = self.terminal(number)
                && let Err(e) = crate::pty::resize(&tty.master, rows, cols)
            {
                crate::say(format_args!("cannot resize a terminal: {e}"));
            }
        }
    }

    fn hand_answer(&mut self, at: usize, bytes: &[u8]) {
        let Some(conn) = self.hands.conns.get(at).and_then(Option::as_ref) else { return };
        // A client that does not read its answers asks again.
        if let Err(errno) = misc::send(&conn.socket, bytes, &[])
            && errno != Errno::AGAIN
            && let Some(gone) = self.hands.conns[at].take()
        {
            disarm(&self.epoll, &gone.socket);
        }
    }

    /// Writes what was typed from `offset` on, as far as it goes; the offset wanted next.
    fn type_in(&mut self, run: u64, offset: u64, typed: &[u8]) -> Option<u64> {
        let tty = self.terminal(run)?;
        let known = tty.typed.checked_sub(offset)? as usize;
        let fresh = typed.get(known..).unwrap_or_default();
        if !fresh.is_empty()
            && let Ok(n) = rustix::io::write(&tty.master, fresh)
        {
            tty.typed += n as u64;
        }
        Some(tty.typed)
    }

    fn terminal(&mut self, run: u64) -> Option<&mut crate::live::Tty> {
        for generation in self.generations.iter_mut().flatten().filter(|g| g.serving == Serving::Mine) {
            if let Some(slot) = generation.table.find(run) {
                return generation.lives.get(slot as u16)?.tty.as_mut();
            }
        }
        None
    }

    /// The child has them: a duplicate kept at the elder would keep a writer from ever hearing that its reader is gone.
    pub(crate) fn hand_used(&mut self, key: u64) {
        let Role::Keeper { backup, .. } = &self.role else { return };
        let told = misc::send(backup, &backup_head(3, 0, 0, key), &[]);
        let woken = rustix::io::write(&self.kick, &1u64.to_ne_bytes());
        if let Some(errno) = told.err().or(woken.err()) {
            crate::say(format_args!("the elder keeps a descriptor a minute longer: {errno}"));
        }
    }

    fn back_up_hand(&mut self, kind: u64, key: u64, fds: &[Option<OwnedFd>; FDS]) {
        let Role::Keeper { backup, .. } = &self.role else { return };
        let mut list = [backup.as_fd(); FDS];
        let mut count = 0;
        for fd in fds.iter().flatten() {
            list[count] = fd.as_fd();
            count += 1;
        }
        // EAGAIN: the run will fail to start if we die before it does, and says so.
        if let Err(errno) = misc::send(backup, &backup_head(kind, 0, 0, key), &list[..count]) {
            crate::say(format_args!("the elder cannot take a descriptor now: {errno}"));
        }
    }
}
