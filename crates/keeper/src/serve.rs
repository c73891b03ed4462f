//! The loop: wait, do what the events say, do what the time says, tell who listens.

use crate::clock::{self, MS, SECOND};
use crate::conn::Conn;
use crate::generation::Serving;
use crate::keeper::{Keeper, Role, arm, disarm};
use crate::sys::misc;
use crate::token::Token;
use crate::wire::{self, Ask, PACKET, PROTOCOL, Refusal, Tell};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::mem::MaybeUninit;

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
        }
    }

    /// How long to sleep.
    fn pause(&self) -> Option<rustix::event::Timespec> {
        let paced =
            [self.soon.front(), self.later.front()].into_iter().flatten().map(|p| p.due).min().unwrap_or(u64::MAX);
        let mut wake = paced.min(self.due).min(self.daemon.wake_at()).min(self.hands.wake_at());
        for at in [self.strangers_at, self.place_at] {
            if at != 0 {
                wake = wake.min(at);
            }
        }
        if let Role::Elder { fork_at, .. } = &self.role
            && *fork_at != 0
        {
            wake = wake.min(*fork_at);
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
        if now >= self.due {
            self.deadlines(now);
        }
        if self.strangers_at != 0 && now >= self.strangers_at {
            self.strangers_at = 0;
            let once = EventFlags::IN | EventFlags::ONESHOT;
            arm(&self.epoll, &self.children, Token::Children, once, true);
            self.reap_strangers();
        }
        if self.place_at != 0 && now >= self.place_at {
            self.look_at_place();
        }
        if self.daemon.wake_at() <= now {
            self.want_daemon_now();
        }
        self.hands.expire(now);
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
        let Ok(socket) = rustix::net::accept_with(&gen_ref.listener, flags) else { return };
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
        loop {
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
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok(_) | Err(_) => return self.hang_up(at),
            }
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
                self.closing = false;
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
            self.nudge();
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
