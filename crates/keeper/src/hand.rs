//! The small door: descriptors that a client hands in under a key, and what is typed at a run's terminal.
//!
//! Descriptors cannot travel through an HTTP server. A key that no run names within a minute is dropped; one that an
//! accepted run names (`<run>/hands/<key>` leads to its spec) is held until that run begins, or ends without it. What is
//! *kept* (a listening socket that outlives the runs it is passed to) stays until somebody says otherwise.

use crate::backup::Kind;
use crate::clock::{self, SECOND};
use crate::keeper::{Keeper, arm, disarm};
use crate::sys::misc::{self, Packet};
use crate::table::{INTENT, Slot};
use crate::token::Token;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::sync::atomic::Ordering;

const HAND: &[u8; 8] = b"KINHAND1";
/// One descriptor, kept; whether a key is kept; a duplicate of what is; no longer.
const KEEP: &[u8; 8] = b"KINKEEP1";
const HAVE: &[u8; 8] = b"KINHAVE1";
const GIVE: &[u8; 8] = b"KINGIVE1";
const DROP: &[u8; 8] = b"KINDROP1";
const TAKEN: &[u8; 8] = b"KINHAND+";
/// So many are held that this one is not.
const FULL: &[u8; 8] = b"KINHAND-";
const INPUT: &[u8; 8] = b"KININPUT";
const SIZE: &[u8; 8] = b"KINSIZE1";
/// The most descriptors that are handed in under one key.
pub(crate) const HANDED: usize = 3;
const PATIENCE: u64 = 60 * SECOND;
const MOST: usize = 1024;
/// Longest packet: kind, run, offset, 4 KiB typed.
const PACKET: usize = 24 + 4096;

#[derive(Debug)]
struct Hand {
    key: u64,
    fds: [Option<OwnedFd>; HANDED],
    /// `FOREVER`: it is kept.
    until: u64,
    /// The elder has not got it.
    unsent: bool,
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
    /// What nobody has asked for in time is held on for a run that waits, and let go of for any other.
    fn expire(&mut self, now: u64, mut waits: impl FnMut(u64) -> bool) {
        let next = now + patience();
        self.held.retain_mut(|hand| {
            if hand.until > now {
                return true;
            }
            hand.until = next;
            waits(hand.key)
        });
    }
    /// Whether there is room for one more.
    pub(crate) fn has_room(&self, key: u64) -> bool {
        self.held.len() < MOST || self.held.iter().any(|hand| hand.key == key)
    }
    /// Until a run that names it begins; the elder has it, or is not ours to tell.
    pub(crate) fn keep(&mut self, key: u64, fds: [Option<OwnedFd>; HANDED], sent: bool) {
        self.hold(Hand { key, fds, until: clock::mono() + patience(), unsent: !sent });
    }
    /// Keeps it until `take`.
    pub(crate) fn keep_on(&mut self, key: u64, fds: [Option<OwnedFd>; HANDED], sent: bool) {
        self.hold(Hand { key, fds, until: FOREVER, unsent: !sent });
    }
    fn hold(&mut self, new: Hand) {
        self.held.retain(|hand| hand.key != new.key);
        if self.held.len() < MOST {
            self.held.push(new);
        }
    }
    /// The elder has nothing of what is held, as far as we know.
    pub(crate) fn say_unsent(&mut self) {
        self.held.iter_mut().for_each(|hand| hand.unsent = true);
    }
    /// Key, whether it is kept, the descriptors, and whether they are unsent.
    pub(crate) fn unsent(&mut self) -> impl Iterator<Item = (u64, bool, &[Option<OwnedFd>; HANDED], &mut bool)> {
        let unsent = self.held.iter_mut().filter(|hand| hand.unsent);
        unsent.map(|hand| (hand.key, hand.until == FOREVER, &hand.fds, &mut hand.unsent))
    }
    /// What is kept under a key, for one more run.
    pub(crate) fn kept(&self, key: u64) -> Option<&OwnedFd> {
        self.held.iter().find(|hand| hand.key == key && hand.until == FOREVER)?.fds[0].as_ref()
    }
    pub(crate) fn held(&self) -> impl Iterator<Item = (u64, bool, &[Option<OwnedFd>; HANDED])> {
        self.held.iter().map(|hand| (hand.key, hand.until == FOREVER, &hand.fds))
    }
    /// What was handed in under a key; it is gone then.
    pub(crate) fn take(&mut self, key: u64) -> Option<[Option<OwnedFd>; HANDED]> {
        let at = self.held.iter().position(|hand| hand.key == key)?;
        Some(self.held.swap_remove(at).fds)
    }
}

/// How long a key waits for a run that names it, and then from look to look. A test build may be told another.
fn patience() -> u64 {
    #[cfg(debug_assertions)]
    {
        static SAID: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();
        let said = SAID.get_or_init(|| std::env::var("KIN_TEST_HAND_MS").ok()?.parse().ok());
        said.map_or(PATIENCE, |ms| ms * clock::MS)
    }
    #[cfg(not(debug_assertions))]
    PATIENCE
}

impl Keeper {
    pub(crate) fn expire_hands(&mut self, now: u64) {
        if self.hands.wake_at() > now {
            return;
        }
        let (place, generations) = (&self.place, &self.generations);
        // Whoever began it with what was handed in may have died before he could say so.
        let has_begun = |run| {
            let slots = generations.iter().flatten().filter_map(|g| g.table.slots().get(g.table.find(run)? as usize));
            let begun =
                |slot: &Slot| slot.state.load(Ordering::Acquire) != INTENT || slot.pid.load(Ordering::Acquire) != 0;
            slots.into_iter().any(begun)
        };
        self.hands.expire(now, |key| match place.waits_for_hand(key) {
            Some(run) if !has_begun(run) => true,
            Some(_) | None => {
                place.forget_hand(key);
                false
            }
        });
    }

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
        if self.hands.armed != listen {
            self.hands.armed = listen;
            self.type_on_all();
        }
    }

    pub(crate) fn hand_accept(&mut self) {
        // Left to another in this very round: whoever came is his.
        if !self.hands.armed {
            return;
        }
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(self.hands.listener(), flags) {
            Ok(socket) => socket,
            Err(errno) => return self.cannot_accept(errno),
        };
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
        for _packet in 0..crate::serve::PACKETS {
            let Some(conn) = self.hands.conns.get(at).and_then(Option::as_ref).filter(|c| c.check == check) else {
                return;
            };
            match misc::receive(&conn.socket, &mut buffer) {
                // Cut: what was handed in did not all arrive, for want of descriptors. Whoever handed it must not think so.
                Ok(received) if received.len > 0 && !received.cut => {
                    let len = received.len;
                    self.hand_packet(at, &buffer[..len], received);
                }
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

    fn hand_packet(&mut self, at: usize, packet: &[u8], Packet { fds: [a, b, c, ..], .. }: Packet) {
        let fds = [a, b, c];
        let long = |i: usize| packet.get(8 * i..8 * i + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (Some(kind), Some(number)) = (packet.get(..8), long(1)) else { return };
        if (kind == HAND || kind == KEEP) && !self.hands.has_room(number) {
            self.hand_answer(at, FULL);
        } else if kind == HAND {
            let sent = self.back_up_hand(Kind::Hand, number, &fds);
            self.hands.keep(number, fds, sent);
            self.hand_answer(at, TAKEN);
        } else if kind == KEEP && fds[0].is_some() {
            let sent = self.back_up_hand(Kind::Keep, number, &fds);
            self.hands.keep_on(number, fds, sent);
            self.hand_answer(at, TAKEN);
        } else if kind == HAVE {
            let mut answer = [0u8; 16];
            answer[..8].copy_from_slice(HAVE);
            answer[8] = u8::from(self.hands.kept(number).is_some());
            self.hand_answer(at, &answer);
        } else if kind == GIVE {
            self.hand_give(at, number);
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
            if let Some((at, slot_at)) = self.terminal(number)
                && let Some(tty) = self.generation(at).and_then(|g| g.lives.get(slot_at)?.tty.as_ref())
                && let Err(e) = crate::pty::resize(&tty.master, rows, cols)
            {
                crate::say(format_args!("cannot resize a terminal: {e}"));
            }
        }
    }

    fn hand_answer(&mut self, at: usize, bytes: &[u8]) {
        let Some(conn) = self.hands.conns.get(at).and_then(Option::as_ref) else { return };
        let sent = misc::send(&conn.socket, bytes, &[]);
        self.hand_answered(at, &sent);
    }

    /// A duplicate of what is kept; we keep it all the same.
    fn hand_give(&mut self, at: usize, key: u64) {
        let Some(conn) = self.hands.conns.get(at).and_then(Option::as_ref) else { return };
        let kept = self.hands.kept(key).map(AsFd::as_fd);
        let mut answer = [0u8; 16];
        answer[..8].copy_from_slice(GIVE);
        answer[8] = u8::from(kept.is_some());
        let sent = misc::send(&conn.socket, &answer, kept.as_slice());
        self.hand_answered(at, &sent);
    }

    fn hand_answered<T>(&mut self, at: usize, sent: &Result<T, Errno>) {
        // A client that does not read its answers asks again.
        if let Err(errno) = sent
            && *errno != Errno::AGAIN
            && let Some(gone) = self.hands.conns[at].take()
        {
            disarm(&self.epoll, &gone.socket);
        }
    }
}
