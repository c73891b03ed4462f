//! The loop: wait, do what the events say, do what the time says, tell who listens.

use crate::clock::{self, MS, SECOND};
use crate::conn::Conn;
use crate::generation::Serving;
use crate::keeper::{Keeper, Postponed, Role, arm, disarm};
use crate::sys::misc;
use crate::token::Token;
use crate::wire::{self, Ask, PACKET, PROTOCOL, Refusal, Tell};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::mem::MaybeUninit;

/// Packets of one speaker before others have their turn.
pub(crate) const PACKETS: usize = 8;

/// No descriptor is left to accept with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deaf {
    /// When to try again though none of ours was closed: others may have closed some of theirs.
    until: u64,
}

impl Keeper {
    /// Until the server has ended; the exit code.
    pub(crate) fn serve(&mut self) -> i32 {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 128];
        loop {
            if let Some(code) = self.is_over() {
                return code;
            }
            self.flush();
            let timeout = self.pause();
            let events = match epoll::wait(&self.epoll, &mut space[..], timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    crate::say(format_args!("cannot wait for events: {errno}"));
                    return 1;
                }
            };
            let epoch = self.epoch;
            for event in events {
                if let Some(token) = Token::decode(event.data.u64()) {
                    self.event(token, event.flags);
                }
                if self.epoch != epoch {
                    break;
                }
            }
            if self.epoch == epoch {
                self.times();
            }
        }
    }

    fn event(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Listener { generation } => self.accept(usize::from(generation)),
            Token::Conn { at, check } => self.hear(usize::from(at), check, flags),
            Token::Exit { generation, slot, check } => self.leader_ended(usize::from(generation), slot, check),
            Token::Out { generation, slot, check } => {
                self.look(usize::from(generation), slot, check, crate::index::Stream::Out);
            }
            Token::Err { generation, slot, check } => {
                self.look(usize::from(generation), slot, check, crate::index::Stream::Err);
            }
            Token::Hand => self.hand_accept(),
            Token::HandConn { at, check } => self.hand_hear(usize::from(at), check),
            Token::Elder => self.elder_died(),
            Token::Younger { check } => self.younger_died(check),
            Token::Daemon { check } => self.daemon_died(check),
            Token::Kick => self.take_backups(),
            Token::Children => self.child_changed(),
            Token::Place => self.place_changed(),
            Token::Nudge => self.nudged(),
            Token::Leftover => self.leftover_changed(),
            Token::Typed { generation, slot, check } => self.type_on(usize::from(generation), slot, check),
        }
    }

    /// How long to sleep.
    fn pause(&self) -> Option<rustix::event::Timespec> {
        let paced =
            [self.soon.front(), self.later.front()].into_iter().flatten().map(|p| p.due).min().unwrap_or(u64::MAX);
        let postponed = self.postponed.front().map_or(u64::MAX, |p| p.due);
        let mut wake = paced.min(postponed).min(self.due).min(self.daemon.wake_at()).min(self.hands.wake_at());
        let deaf = self.deaf.map_or(0, |deaf| deaf.until);
        for at in [self.strangers_at, self.watch_at, self.place_at, self.leftovers.again_at, deaf] {
            if at != 0 {
                wake = wake.min(at);
            }
        }
        if let Role::Elder { fork_at, .. } = &self.role
            && *fork_at != 0
        {
            wake = wake.min(*fork_at);
        }
        if let Role::Keeper { kick_at, .. } = &self.role
            && *kick_at != 0
        {
            wake = wake.min(*kick_at);
        }
        if wake == u64::MAX {
            return None;
        }
        let left = wake.saturating_sub(clock::mono());
        Some(rustix::event::Timespec { tv_sec: (left / SECOND) as i64, tv_nsec: (left % SECOND) as i64 })
    }

    fn times(&mut self) {
        let now = clock::mono();
        self.look_again(now);
        self.hear_again(now);
        self.refuse_postponed(now);
        if now >= self.due {
            self.deadlines(now);
        }
        if self.strangers_at != 0 && now >= self.strangers_at {
            self.strangers_at = 0;
            let once = EventFlags::IN | EventFlags::ONESHOT;
            arm(&self.epoll, &self.children, Token::Children, once, true);
            self.reap_strangers();
        }
        if self.watch_at != 0 && now >= self.watch_at {
            self.watch_place_again();
        }
        if self.place_at != 0 && now >= self.place_at {
            self.look_at_place();
        }
        if self.leftovers.again_at != 0 && now >= self.leftovers.again_at {
            self.adopt_leftovers();
        }
        if self.daemon.wake_at() <= now {
            self.want_daemon_now();
        }
        self.expire_hands(now);
        self.kick_if_due(now);
        if let Role::Elder { fork_at, .. } = &self.role
            && *fork_at != 0
            && now >= *fork_at
        {
            self.raise_younger();
        }
    }

    fn accept(&mut self, generation: usize) {
        let Some(gen_ref) = self.generations.get(generation).and_then(Option::as_ref) else { return };
        if gen_ref.serving != Serving::Mine {
            return;
        }
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(&gen_ref.listener, flags) {
            Ok(socket) => socket,
            Err(errno) => return self.cannot_accept(errno),
        };
        let Ok(peer) = rustix::net::sockopt::socket_peercred(&socket) else { return };
        if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
            return;
        }
        self.serial = self.serial.wrapping_add(1) & 0xff_ffff;
        let conn = Conn::new(socket, generation, self.serial, peer.pid.as_raw_nonzero().get() as u32);
        let at = match self.conns.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.conns.push(None);
                self.conns.len() - 1
            }
        };
        let token = Token::Conn { at: at as u16, check: self.serial };
        arm(&self.epoll, &conn.socket, token, EventFlags::IN | EventFlags::RDHUP, false);
        self.conns[at] = Some(conn);
    }

    fn hear(&mut self, at: usize, check: u32, flags: EventFlags) {
        let mut buffer = [0u8; PACKET];
        // What is left is heard in the next round: one who speaks without end does not keep the others waiting.
        for _packet in 0..PACKETS {
            let Some(conn) = self.conns.get(at).and_then(Option::as_ref).filter(|c| c.check == check) else { return };
            if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR) {
                return;
            }
            match misc::receive(&conn.socket, &mut buffer) {
                Ok(received) if received.len > 0 => {
                    for record in wire::records(&buffer[..received.len]) {
                        if let Some(ask) = Ask::decode(record) {
                            self.ask(at, ask);
                        }
                    }
                }
                // It ended with words of ours unread; what it said last, its farewell maybe, comes after this.
                Err(Errno::CONNRESET) => {}
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok(_) | Err(_) => return self.hang_up(at),
            }
        }
    }

    /// Somebody knocks, and cannot be let in. Where that is for want of descriptors, the doors would wake us again and again:
    /// nobody listens there until one is free.
    pub(crate) fn cannot_accept(&mut self, errno: Errno) {
        let until = match errno {
            // The table of descriptors is ours alone: only we can make room, and not while we sleep.
            Errno::MFILE => 0,
            Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => clock::mono() + SECOND,
            _ => return,
        };
        if self.deaf.is_none() {
            crate::say(format_args!("nobody is let in until a descriptor is free: {errno}"));
        }
        self.deaf = Some(Deaf { until });
        self.mind_doors(EventFlags::empty());
    }

    fn mind_doors(&self, flags: EventFlags) {
        for (at, generation) in self.generations.iter().enumerate() {
            if let Some(generation) = generation.as_ref().filter(|g| g.serving == Serving::Mine) {
                arm(&self.epoll, &generation.listener, Token::Listener { generation: at as u16 }, flags, true);
            }
        }
        if self.hands.armed {
            arm(&self.epoll, self.hands.listener(), Token::Hand, flags, true);
        }
    }

    /// After each round: has one become free?
    fn hear_again(&mut self, now: u64) {
        let Some(deaf) = self.deaf else { return };
        match rustix::io::fcntl_dupfd_cloexec(&self.epoll, 0) {
            Ok(_free) => {
                self.deaf = None;
                self.mind_doors(EventFlags::IN);
            }
            Err(_) if deaf.until != 0 && now >= deaf.until => self.deaf = Some(Deaf { until: now + SECOND }),
            Err(_) => {}
        }
    }

    fn hang_up(&mut self, at: usize) {
        if let Some(conn) = self.conns.get_mut(at).and_then(Option::take) {
            disarm(&self.epoll, conn.socket.as_fd());
            if conn.role == Some(wire::Role::Front) {
                self.tell_daemons(Tell::Front { pid: 0 });
            }
        }
        self.retire();
    }

    fn ask(&mut self, at: usize, ask: Ask) {
        let Some(conn) = self.conns[at].as_mut() else { return };
        let generation = conn.generation;
        match ask {
            Ask::Hello { protocol: _, role } => self.greet(at, role),
            Ask::Start { run } => self.start(at, generation, run),
            Ask::Stop { run, why } => self.stop(generation, run, why),
            Ask::Await { run, by, ms } => self.await_end(generation, run, by, ms),
            Ask::Signal { run, signal, leader_only } => self.signal(generation, run, signal, leader_only),
            Ask::Forget { run } => self.forget(generation, run),
            Ask::Upgrade => self.upgrade(),
            Ask::Shutdown { leave: _ } => self.close(),
            Ask::WantDaemon => {
                self.closing = false;
                self.want_daemon();
            }
            Ask::Ready => self.daemon_ready(at),
        }
    }

    fn greet(&mut self, at: usize, role: wire::Role) {
        let front = self.conns.iter().flatten().find(|c| c.role == Some(wire::Role::Front)).map(|c| c.pid);
        let chain = self.chain();
        let generation = self.conns[at].as_ref().map_or(0, |c| c.generation);
        let id = self.generation_id(generation);
        let (ready, gave_up) = (self.daemon.ready_pid(), self.daemon.gave_up());
        let has_ended = self.is_there(crate::daemon::CLOSED);
        let Some(conn) = self.conns[at].as_mut() else { return };
        if let (wire::Role::Front, Some(pid)) = (role, front) {
            conn.tell(Tell::Busy { pid });
            return;
        }
        conn.role = Some(role);
        conn.tell(Tell::Hello { protocol: PROTOCOL, pid: std::process::id(), generation: id });
        conn.tell(chain);
        match role {
            wire::Role::Daemon => {
                // A greeting may be heard after the daemon that sent it has ended the server.
                self.closing &= has_ended;
                conn.tell(Tell::Front { pid: front.unwrap_or(0) });
                if let Role::Elder { younger: None, fork_at } = &mut self.role {
                    *fork_at = clock::mono();
                }
            }
            wire::Role::Front => {
                let pid = conn.pid;
                if let Some(pid) = ready {
                    conn.tell(Tell::DaemonReady { pid });
                }
                if let Some(code) = gave_up {
                    conn.tell(Tell::DaemonGaveUp { code });
                }
                self.tell_daemons(Tell::Front { pid });
            }
            wire::Role::Watcher | wire::Role::Helper => {}
        }
    }

    fn tell_daemons(&mut self, tell: Tell) {
        for conn in self.conns.iter_mut().flatten().filter(|c| c.role == Some(wire::Role::Daemon)) {
            conn.tell(tell);
        }
    }

    pub(crate) fn refuse(&mut self, conn: usize, run: u64, why: Refusal) {
        if let Some(conn) = self.conns.get_mut(conn).and_then(Option::as_mut) {
            conn.tell(Tell::Refused { run, why });
        }
    }

    /// For want of descriptors: says so in half a second, or two of us would keep each other awake.
    pub(crate) fn refuse_later(&mut self, conn: usize, run: u64) {
        let check = self.conns.get(conn).and_then(Option::as_ref).map_or(0, |c| c.check);
        if self.postponed.len() >= crate::stand::POSTPONED {
            return self.refuse(conn, run, Refusal::Full);
        }
        let due = clock::mono() + SECOND / 2;
        self.postponed.push_back(Postponed { conn, check, run, due });
    }

    fn refuse_postponed(&mut self, now: u64) {
        while let Some(Postponed { conn, check, run, .. }) = self.postponed.pop_front_if(|p| p.due <= now) {
            if self.conns.get(conn).and_then(Option::as_ref).is_some_and(|c| c.check == check) {
                self.refuse(conn, run, Refusal::Full);
            }
        }
    }

    fn flush(&mut self) {
        for (at, conn) in self.conns.iter_mut().enumerate() {
            let Some(conn) = conn else { continue };
            if !conn.has_queued() && !conn.wants_out {
                continue;
            }
            let stuck = !conn.flush();
            if stuck != conn.wants_out {
                conn.wants_out = stuck;
                let mut flags = EventFlags::IN | EventFlags::RDHUP;
                flags.set(EventFlags::OUT, stuck);
                arm(&self.epoll, &conn.socket, Token::Conn { at: at as u16, check: conn.check }, flags, true);
            }
        }
    }

    /// A generation that is not current any more goes when its last run is forgotten.
    pub(crate) fn retire(&mut self) {
        for at in 0..self.generations.len() {
            let Some(generation) = self.generations[at].as_ref() else { continue };
            if at == self.own || generation.serving != Serving::Mine || !generation.is_empty() {
                continue;
            }
            for name in [
                self.place.table_path(generation.id),
                self.place.run.join(crate::place::Place::socket_name(generation.id)),
            ] {
                if let Err(e) = std::fs::remove_file(&name)
                    && e.kind() != std::io::ErrorKind::NotFound
                {
                    crate::say(format_args!("cannot remove {}: {e}", name.display()));
                }
            }
            disarm(&self.epoll, &generation.listener);
            for conn in self.conns.iter_mut() {
                if conn.as_ref().is_some_and(|c| c.generation == at)
                    && let Some(gone) = conn.take()
                {
                    disarm(&self.epoll, &gone.socket);
                }
            }
            generation.table.header().owner.store(0, std::sync::atomic::Ordering::Relaxed);
            self.generations[at] = None;
            self.nudge_to_look();
        }
    }

    fn child_changed(&mut self) {
        let mut buffer = [0u8; 128 * 8];
        // The signals themselves say nothing: they merge. What changed is asked of the kernel, a little later; until then
        // the descriptor stays silent, or each run's end would wake us twice.
        while let Ok(n) = rustix::io::read(&self.children, &mut buffer) {
            if n == 0 {
                break;
            }
        }
        if self.strangers_at == 0 {
            self.strangers_at = clock::mono() + 100 * MS;
        }
    }
}
