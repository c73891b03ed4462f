//! What a keeper sends its elder, so that the elder can go on for it: a duplicate of everything a run's output comes
//! through, and of what clients handed in.
//!
//! ```text
//!   u64 kind | which descriptors << 8    u64 generation    u64 slot    u64 run or key       and the descriptors
//! ```
//! Nobody waits: the elder is asleep, and takes what lies in the socket when it is woken, or when the keeper is dead. What
//! could not be sent, or did not arrive whole, is said in the run's slot (DEGRADED) and sent again when there is room.

use crate::clock::{self, MS};
use crate::generation::Serving;
use crate::hand::HANDED;
use crate::keeper::{Keeper, Kept, Role};
use crate::live::{Live, Tty};
use crate::logs::Logs;
use crate::sys::misc::{self, FDS_MAX, Packet};
use crate::table::{DRAINED, FREE, flag};
use crate::wire::Tell;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::sync::atomic::Ordering;

const HEAD: usize = 32;
/// So many packets may lie in the socket before the elder is woken to take them, and so long.
const UNTAKEN: u32 = 64;
const KICKED_WITHIN: u64 = 200 * MS;
/// What an elder says to its keeper: look whom you still hold; and: send again what is kept.
const LOOK: &[u8] = b"!";
const SEND_KEPT: &[u8] = b"k";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything of a run.
    Run = 1,
    /// What a client handed in under a key.
    Hand = 2,
    /// The run that named the key has started; or what was kept is not kept any more.
    HandUsed = 3,
    /// The keeper stands.
    Stands = 4,
    /// What is kept under a key, until it is said to be used.
    Keep = 5,
    /// All that is kept was sent.
    KeptSent = 6,
}

/// The descriptors of a run, in the order in which they travel.
const SPEC: u64 = 1;
const OUT: u64 = 1 << 1;
const ERR: u64 = 1 << 2;
const MASTER: u64 = 1 << 3;
const PIPE_IN: u64 = 1 << 4;
const TYPED: u64 = 1 << 5;
const OUT_ASIDE: u64 = 1 << 6;
const ERR_ASIDE: u64 = 1 << 7;

fn head(kind: Kind, which: u64, generation: u64, slot: u64, run: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    for (i, long) in [kind as u64 | which << 8, generation, slot, run].into_iter().enumerate() {
        head[8 * i..8 * i + 8].copy_from_slice(&long.to_le_bytes());
    }
    head
}

/// Descriptors on their way out, and which they are.
struct Parcel<'a> {
    fds: [Option<BorrowedFd<'a>>; FDS_MAX],
    count: usize,
    which: u64,
}

impl<'a> Parcel<'a> {
    fn new() -> Parcel<'a> {
        Parcel { fds: [None; FDS_MAX], count: 0, which: 0 }
    }
    fn put(&mut self, bit: u64, fd: Option<&'a OwnedFd>) {
        if let (Some(fd), Some(place)) = (fd, self.fds.get_mut(self.count)) {
            *place = Some(fd.as_fd());
            self.count += 1;
            self.which |= bit;
        }
    }
    fn send(&self, socket: &OwnedFd, head: &[u8]) -> Result<(), Errno> {
        let mut list = [socket.as_fd(); FDS_MAX];
        for (place, fd) in list.iter_mut().zip(self.fds.iter().flatten()) {
            *place = *fd;
        }
        misc::send(socket, head, &list[..self.count]).map(drop)
    }
}

/// Descriptors that arrived.
struct Arrived {
    fds: [Option<OwnedFd>; FDS_MAX],
    next: usize,
    which: u64,
}

impl Arrived {
    /// `None`: not all that were sent have arrived.
    fn of(packet: Packet, which: u64) -> Option<Arrived> {
        let came = packet.fds.iter().flatten().count();
        (!packet.cut && came == which.count_ones() as usize).then_some(Arrived { fds: packet.fds, next: 0, which })
    }
    fn take(&mut self, bit: u64) -> Option<OwnedFd> {
        if self.which & bit == 0 {
            return None;
        }
        self.next += 1;
        self.fds.get_mut(self.next - 1)?.take()
    }
}

fn send_hand(backup: &OwnedFd, kind: Kind, key: u64, fds: &[Option<OwnedFd>; HANDED]) -> Result<(), Errno> {
    let mut parcel = Parcel::new();
    for (i, fd) in fds.iter().enumerate() {
        parcel.put(1 << i, fd.as_ref());
    }
    parcel.send(backup, &head(kind, parcel.which, 0, 0, key))
}

/// The first packet of a keeper.
pub(crate) fn say_it_stands(backup: &OwnedFd) -> Result<(), Errno> {
    misc::send(backup, &head(Kind::Stands, 0, 0, 0, 0), &[]).map(drop)
}

impl Keeper {
    /// Gives the elder a duplicate of all that the run's output needs. `false`: it could not take it now.
    pub(crate) fn back_up(&mut self, live: &Live) -> bool {
        let generation = self.generation_id(self.own);
        let Role::Keeper { backup, unkicked, .. } = &mut self.role else { return true };
        let mut parcel = Parcel::new();
        parcel.put(SPEC, live.logs.spec_fd());
        parcel.put(OUT, live.out.pipe.as_ref());
        parcel.put(ERR, live.err.pipe.as_ref());
        if let Some(tty) = &live.tty {
            parcel.put(MASTER, Some(&tty.master));
            parcel.put(PIPE_IN, Some(&tty.pipe_in));
            parcel.put(TYPED, Some(&tty.typed));
        }
        parcel.put(OUT_ASIDE, live.out.aside.as_ref());
        parcel.put(ERR_ASIDE, live.err.aside.as_ref());
        let head = head(Kind::Run, parcel.which, generation, u64::from(live.slot), live.run);
        let sent = parcel.send(backup, &head).is_ok();
        *unkicked += 1;
        if *unkicked >= UNTAKEN || !sent {
            *unkicked = 0;
            self.kick_elder();
        } else {
            self.kick_soon();
        }
        sent
    }

    /// The elder holds something that it should take, or let go of. It is not woken for each.
    pub(crate) fn kick_soon(&mut self) {
        if let Role::Keeper { kick_at, .. } = &mut self.role
            && *kick_at == 0
        {
            *kick_at = clock::mono() + KICKED_WITHIN;
        }
    }

    pub(crate) fn kick_if_due(&mut self, now: u64) {
        if let Role::Keeper { kick_at, unkicked, .. } = &mut self.role
            && *kick_at != 0
            && now >= *kick_at
        {
            (*kick_at, *unkicked) = (0, 0);
            self.send_kept_again();
            self.kick_elder();
        }
    }

    /// Wakes the elder, to take what lies in the socket and to look at the guard.
    pub(crate) fn kick_elder(&self) {
        // Full counters still wake the elder; nothing else can fail here.
        if let Err(errno) = rustix::io::write(&self.kick, &1u64.to_ne_bytes()) {
            crate::say(format_args!("cannot wake the elder: {errno}"));
        }
    }

    /// Says in its slot that a run could not go on at the elder.
    pub(crate) fn strain(&self, at: usize, slot_at: u16) {
        let Some(generation) = self.generations.get(at).and_then(Option::as_ref) else { return };
        generation.table.slots()[usize::from(slot_at)].set_flag(flag::DEGRADED);
        generation.table.header().strained.store(1, Ordering::Release);
    }

    /// Sends again what the elder could not take before. The slots are asked, for the header's word may just be being
    /// looked after.
    pub(crate) fn back_up_again(&mut self) {
        let own = self.own;
        let mut at = 0;
        let mut eased = false;
        while let Some(slot_at) = self.generations[own].as_ref().and_then(|g| g.lives.slot_at(at)) {
            at += 1;
            let Some(generation) = self.generations[own].as_mut() else { return };
            if !generation.table.slots()[usize::from(slot_at)].has_flag(flag::DEGRADED) {
                continue;
            }
            // Cleared first: the elder may say that it did not arrive whole before we are back.
            generation.table.slots()[usize::from(slot_at)].clear_flag(flag::DEGRADED);
            let Some(live) = generation.lives.remove(slot_at) else { continue };
            let sent = self.back_up(&live);
            let Some(generation) = self.generations[own].as_mut() else { return };
            generation.lives.insert(live);
            if sent {
                eased = true;
            } else {
                self.strain(own, slot_at);
            }
        }
        if eased {
            self.kick_elder();
        }
    }

    /// Takes what the keeper has sent, and lets go of what is no longer needed.
    pub(crate) fn take_backups(&mut self) {
        let mut count = [0u8; 8];
        // Only resets the counter: how often does not matter.
        while rustix::io::read(&self.kick, &mut count).is_ok_and(|n| n == 8) {}
        let whole = self.drain_backups();
        let room = self.sweep();
        // There is room again: what could not be sent before may be sent now. Not when even what came did not fit, or
        // the two of us would keep each other awake.
        if whole || room {
            let missing = self.kept == Kept::Missing;
            if missing {
                self.kept = Kept::Asked;
            }
            self.nudge(if missing { SEND_KEPT } else { LOOK });
        }
        self.look_at_guard();
    }

    /// `false`: something did not arrive whole.
    pub(crate) fn drain_backups(&mut self) -> bool {
        let mut whole = true;
        loop {
            let Role::Elder { younger: Some(younger), .. } = &self.role else { return whole };
            let at = younger.generation;
            let mut bytes = [0u8; HEAD];
            let received = match misc::receive(&younger.backup, &mut bytes) {
                Ok(received) if received.len == HEAD => received,
                // It died with a nudge unread: that is said once, before what it sent, which is all still there.
                Err(Errno::CONNRESET | Errno::INTR) => continue,
                Ok(_) | Err(_) => return whole,
            };
            let long = |i: usize| {
                let mut b = [0; 8];
                b.copy_from_slice(&bytes[8 * i..8 * i + 8]);
                u64::from_le_bytes(b)
            };
            let (kind, which, id, slot, run) = (long(0) & 0xff, long(0) >> 8, long(1), long(2), long(3));
            let arrived = Arrived::of(received, which);
            if kind == Kind::Run as u64 {
                whole &= self.take_backup(at, id, slot, run, arrived);
            } else if kind == Kind::Hand as u64 || kind == Kind::Keep as u64 {
                // Not whole: it must be here all the same, or a run that waits for it could not begin after the keeper's death.
                if arrived.is_none() {
                    (self.kept, whole) = (Kept::Missing, false);
                }
                if let Some(Arrived { fds: [a, b, c, ..], .. }) = arrived {
                    if kind == Kind::Keep as u64 {
                        self.hands.keep_on(run, [a, b, c], true);
                    } else {
                        self.hands.keep(run, [a, b, c], true);
                    }
                }
            } else if kind == Kind::HandUsed as u64 {
                self.hands.take(run);
            } else if kind == Kind::KeptSent as u64 && self.kept == Kept::Asked {
                self.kept = Kept::Whole;
            } else if kind == Kind::Stands as u64 {
                if let Role::Elder { younger: Some(younger), .. } = &mut self.role {
                    younger.stands = true;
                }
                // What was said of this chain before may be read later, on another way.
                self.turn += 1;
                self.announce();
            }
        }
    }

    fn take_backup(&mut self, at: usize, id: u64, slot: u64, run: u64, arrived: Option<Arrived>) -> bool {
        let Some(generation) = self.generation(at).filter(|g| g.id == id) else { return true };
        let Some(there) = generation.table.slots().get(slot as usize) else { return true };
        let (of, state) = (there.run.load(Ordering::Relaxed), there.state.load(Ordering::Acquire));
        // A run at its end may have left somebody who still writes: its pipe is kept like any other's.
        if of != run || state == FREE || (state == DRAINED && !there.has_flag(flag::LEAKY)) {
            return true;
        }
        let Some(mut arrived) = arrived else {
            // Out of descriptors. What did come is let go: half a run is as bad as none, and it is sent again whole.
            self.strain(at, slot as u16);
            return false;
        };
        let mut live = Live::new(slot as u16, run);
        live.logs = Logs::of(arrived.take(SPEC));
        (live.out.pipe, live.err.pipe) = (arrived.take(OUT), arrived.take(ERR));
        if let (Some(master), Some(pipe_in), Some(typed)) =
            (arrived.take(MASTER), arrived.take(PIPE_IN), arrived.take(TYPED))
        {
            live.tty = Some(Tty { master, pipe_in, typed, wake: None, ended: false });
        }
        (live.out.aside, live.err.aside) = (arrived.take(OUT_ASIDE), arrived.take(ERR_ASIDE));
        generation.lives.insert(live);
        true
    }

    /// Lets go of descriptors of runs that have ended in the hands of another; whether there were any.
    pub(crate) fn sweep(&mut self) -> bool {
        let mut any = false;
        for place in &mut self.generations {
            let Some(generation) = place else { continue };
            if generation.serving == Serving::Mine {
                continue;
            }
            let slots = generation.table.slots();
            let mut i = 0;
            while let Some(slot_at) = generation.lives.slot_at(i) {
                let slot = &slots[usize::from(slot_at)];
                let (state, run) = (slot.state.load(Ordering::Acquire), slot.run.load(Ordering::Relaxed));
                let over = state == FREE || (state == DRAINED && !slot.has_flag(flag::LEAKY));
                let same = generation.lives.get(slot_at).is_some_and(|live| live.run == run);
                if over || !same {
                    any = true;
                    if let Some(mut gone) = generation.lives.remove(slot_at) {
                        crate::typing::rest(&self.epoll, &mut gone);
                    }
                } else {
                    i += 1;
                }
            }
            // Its owner removed it: every run in it is forgotten.
            if generation.serving == Serving::Dormant && generation.table.header().owner.load(Ordering::Relaxed) == 0 {
                any = true;
                *place = None;
            }
        }
        any
    }

    /// Tells the keeper that a run it holds duplicates of is over: it would not wake by itself.
    pub(crate) fn nudge_to_look(&self) {
        self.nudge(LOOK);
    }

    fn nudge(&self, words: &[u8]) {
        if let Role::Elder { younger: Some(younger), .. } = &self.role {
            match misc::send(&younger.backup, words, &[]) {
                // EAGAIN: it has been told so often that it will look anyway. EPIPE: it is dying, and its end is heard.
                Ok(_) | Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET) => {}
                Err(errno) => crate::say(format_args!("cannot nudge the keeper: {errno}")),
            }
        }
    }

    pub(crate) fn nudged(&mut self) {
        let Role::Keeper { backup, .. } = &self.role else { return };
        let mut word = [0u8; 8];
        let mut kept = false;
        while let Ok(received) = misc::receive(backup, &mut word)
            && received.len > 0
        {
            kept |= word.starts_with(SEND_KEPT);
        }
        if kept {
            self.hands.say_unsent();
            self.send_kept_again();
            self.kick_elder();
        }
        self.sweep();
        self.back_up_again();
    }

    /// Every descriptor held under a key that the elder has not got.
    fn send_kept_again(&mut self) {
        let Role::Keeper { backup, .. } = &self.role else { return };
        for (key, kept, fds, unsent) in self.hands.unsent() {
            *unsent = send_hand(backup, if kept { Kind::Keep } else { Kind::Hand }, key, fds).is_err();
        }
        let all = self.hands.unsent().next().is_none();
        if !all || misc::send(backup, &head(Kind::KeptSent, 0, 0, 0, 0), &[]).is_err() {
            self.kick_soon();
        }
    }

    /// The child has them: a duplicate kept at the elder would keep a writer from ever hearing that its reader is gone.
    pub(crate) fn hand_used(&mut self, key: u64) {
        self.place.forget_hand(key);
        let Role::Keeper { backup, .. } = &self.role else { return };
        if let Err(errno) = misc::send(backup, &head(Kind::HandUsed, 0, 0, 0, key), &[]) {
            crate::say(format_args!("the elder keeps a descriptor a minute longer: {errno}"));
        }
        self.kick_elder();
    }

    /// `false`: it could not be sent now.
    pub(crate) fn back_up_hand(&mut self, kind: Kind, key: u64, fds: &[Option<OwnedFd>; HANDED]) -> bool {
        let Role::Keeper { backup, .. } = &self.role else { return true };
        // EAGAIN: it is sent again soon; a run that names it will fail to start if we die before that, and says so.
        let sent = send_hand(backup, kind, key, fds);
        if let Err(errno) = sent {
            crate::say(format_args!("the elder cannot take a descriptor now: {errno}"));
        }
        self.kick_soon();
        sent.is_ok()
    }

    /// Whether a run lives that could not go on at the other of us.
    pub(crate) fn is_strained(&self) -> bool {
        // Settled only by the elder, or each would hide it from the other.
        let settles = self.is_elder();
        self.generations.iter().flatten().any(|generation| generation.table.is_strained(settles))
    }

    /// Says so when the guard has changed since it was last said. Only an elder does: it alone knows both.
    pub(crate) fn look_at_guard(&mut self) {
        let Tell::Chain { guard, .. } = self.chain() else { return };
        if !matches!(self.role, Role::Elder { younger: Some(_), .. }) {
            return;
        }
        if guard != self.guard {
            self.guard = guard;
            self.turn += 1;
            let chain = self.chain();
            self.tell_all(chain);
        }
    }
}
