//! The chain of two: *if my younger dies I keep its runs and make a new one; if my elder dies I become it.*
//!
//! What makes it whole is that nobody ever has to be asked. The elder makes the keeper's table before it forks it, maps
//! it, and is sent a duplicate of every pipe before the child that writes into it exists. The keeper is forked without
//! exec, so it has a duplicate of everything the elder serves. Orphans of a keeper fall to the elder, a subreaper.
//!
//! ```text
//!   keeper dies:  elder takes the backups still in the socket ▸ serves the keeper's generation ▸ forks a new keeper
//!   elder dies:   keeper serves the generations it inherited ▸ forks a new keeper ▸ watches the daemon
//! ```
//! Takeover is finished before the new chain is announced, so whoever hears of a new keeper may trust all tables.

use crate::clock::{self, MS, SECOND};
use crate::generation::{Generation, Serving};
use crate::keeper::{Keeper, Kept, Role, Younger, arm, disarm};
use crate::leader::{self, Leader};
use crate::live::{Live, Lives};
use crate::place::Place;
use crate::start::{has_begun, has_pid};
use crate::sys::process::{self, Side};
use crate::sys::wait::{self, Waited};
use crate::table::{DRAINED, EXITED, FREE, INTENT, SLOTS, Table, flag};
use crate::token::Token;
use crate::wire::Tell;
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::sync::atomic::Ordering;

const SIGKILL: i32 = 9;
/// From one chain to the next; between them lies each change of a chain's guard.
const TURNS: u64 = 1024;

/// A new generation: its table, locked for as long as anybody of this chain lives, and its socket.
pub(crate) fn new_generation(place: &Place, boot: &str, serving: Serving) -> io::Result<Generation> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let id = u64::from_le_bytes(bytes).max(1);
    let table = Table::create(&place.table_path(id), id, boot)?;
    table.lock()?;
    table.pin();
    let listener = listen(place, &Place::socket_name(id))?;
    Ok(Generation { id, table, listener, serving, lives: Lives::with_room(SLOTS) })
}

/// A SEQPACKET socket in the runtime directory.
pub(crate) fn listen(place: &Place, name: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    listen_as(place, name, &socket, 128)?;
    Ok(socket)
}

/// Gives a socket its name only when it listens, and in one step: whoever finds the name is heard. The path may be too
/// long for an address; the descriptor's never is.
pub(crate) fn listen_as(place: &Place, name: &str, socket: &OwnedFd, backlog: i32) -> io::Result<()> {
    name_socket(place, name, socket, Mode::RUSR | Mode::WUSR, |socket| rustix::net::listen(socket, backlog))
}

/// `begin` is done when it is bound, and before anybody can find it.
pub(crate) fn name_socket(
    place: &Place,
    name: &str,
    socket: &OwnedFd,
    mode: Mode,
    begin: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
) -> io::Result<()> {
    use rustix::fd::AsRawFd;
    let new = format!(".{name}");
    match rustix::fs::unlinkat(place.run_dir(), &new, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let path = format!("/proc/self/fd/{}/{new}", place.run_dir().as_raw_fd());
    rustix::net::bind(socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmodat(place.run_dir(), &new, mode, rustix::fs::AtFlags::empty())?;
    begin(socket)?;
    rustix::fs::renameat(place.run_dir(), &new, place.run_dir(), name)?;
    Ok(())
}

/// Points a role's name at a generation's socket, in one step.
pub(crate) fn name_role(place: &Place, role: &str, generation: u64) -> io::Result<()> {
    let link = format!(".{role}.{}", std::process::id());
    match rustix::fs::unlinkat(place.run_dir(), &link, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    rustix::fs::symlinkat(Place::socket_name(generation), place.run_dir(), &link)?;
    rustix::fs::renameat(place.run_dir(), &link, place.run_dir(), role)?;
    Ok(())
}

impl Keeper {
    /// Makes a keeper. When that cannot be, starts are served here, and it is tried again each second.
    pub(crate) fn raise_younger(&mut self) {
        if self.closing && self.is_quiet() {
            if let Role::Elder { fork_at, .. } = &mut self.role {
                *fork_at = 0;
            }
            return;
        }
        // Before the fork, so that the keeper knows it too and goes on from there if we die; with room for what is said of
        // this chain meanwhile.
        self.turn += TURNS;
        // What could not be backed up at an elder is had by the keeper that we make now: by fork.
        for at in self.mine() {
            let Some(table) = self.generations[at].as_ref().map(|g| &g.table) else { continue };
            if table.header().strained.swap(0, Ordering::AcqRel) != 0 {
                table.slots().iter().for_each(|slot| slot.clear_flag(flag::DEGRADED));
            }
        }
        match self.hold_leaders().and_then(|()| self.fork_younger()) {
            Ok(Side::Parent { .. }) => self.mind_hand(false),
            Ok(Side::Child) => return,
            Err(e) => {
                self.mind_hand(true);
                crate::say(format_args!("cannot make a keeper, serving alone: {e}"));
                if let Role::Elder { fork_at, .. } = &mut self.role {
                    *fork_at = clock::mono() + SECOND;
                }
            }
        }
        self.announce();
    }

    /// Points the roles' names at who has them now.
    pub(crate) fn name_roles(&self) -> io::Result<()> {
        let (elder, keeper) = match &self.role {
            Role::Elder { younger, .. } => (self.own, younger.as_ref().map_or(self.own, |y| y.generation)),
            Role::Keeper { .. } => return Ok(()),
        };
        name_role(&self.place, "elder", self.generation_id(elder))?;
        name_role(&self.place, "keeper", self.generation_id(keeper))
    }

    pub(crate) fn announce(&mut self) {
        if !self.is_elder() {
            return;
        }
        if let Err(e) = self.name_roles() {
            crate::say(format_args!("cannot name the elder and the keeper, trying in a second: {e}"));
            self.misnamed = true;
            if self.place_at == 0 {
                self.place_at = clock::mono() + SECOND;
            }
        } else {
            self.misnamed = false;
        }
        let chain = self.chain();
        if let Tell::Chain { guard, .. } = chain {
            self.guard = guard;
        }
        self.tell_all(chain);
    }

    fn fork_younger(&mut self) -> io::Result<Side> {
        let generation = new_generation(&self.place, &self.boot, Serving::Backup)?;
        generation.table.header().cgroups.store(self.cgroups.number(), Ordering::Relaxed);
        let id = generation.id;
        let elder = std::process::id();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // Its own pidfd, opened while it surely lives: the child inherits it, and can never miss our end.
        let me = wait::pidfd_open(elder)?;
        let at = self.add_generation(generation);
        let side = match process::fork() {
            Ok(side) => side,
            Err(e) => {
                self.generations[at] = None;
                for name in [self.place.table_path(id), self.place.run.join(Place::socket_name(id))] {
                    if let Err(e) = std::fs::remove_file(&name) {
                        crate::say(format_args!("cannot remove {}: {e}", name.display()));
                    }
                }
                return Err(e);
            }
        };
        match side {
            Side::Parent { child } => {
                drop((theirs, me));
                let pidfd = match wait::pidfd_open(child as u32) {
                    Ok(pidfd) => pidfd,
                    Err(e) => {
                        // One that we cannot watch must not live beside the next.
                        process::kill_child(child);
                        self.generations[at] = None;
                        return Err(e);
                    }
                };
                self.serial = self.serial.wrapping_add(1) & 0xff_ffff;
                let check = self.serial;
                arm(&self.epoll, &pidfd, Token::Younger { check }, EventFlags::IN, false);
                let younger = Younger {
                    pid: child as u32,
                    pidfd,
                    backup: ours,
                    generation: at,
                    born: clock::mono(),
                    check,
                    stands: false,
                };
                if let Some(generation) = self.generations[at].as_ref() {
                    generation.table.header().owner.store(child as u32, Ordering::Relaxed);
                }
                self.kept = Kept::Whole;
                self.role = Role::Elder { younger: Some(younger), fork_at: 0 };
            }
            Side::Child => {
                drop(ours);
                if let Err(e) = self.become_younger(elder, me, at, theirs) {
                    crate::say(format_args!("cannot become a keeper: {e}"));
                    process::exit_now(1);
                }
            }
        }
        Ok(side)
    }

    /// Right after the fork, in the child: what is the elder's stays the elder's.
    fn become_younger(&mut self, elder: u32, pidfd: OwnedFd, at: usize, backup: OwnedFd) -> io::Result<()> {
        crate::stand::settle_in(c"kin-keeper")?;
        self.epoch = self.epoch.wrapping_add(1);
        self.mover = self.mover.anew()?;
        self.watch = None;
        (self.watch_at, self.place_at, self.place_lost, self.deaf) = (0, 0, None, None);
        self.misnamed = false;
        self.leftovers.forget();
        self.postponed.clear();
        self.kept = Kept::Whole;
        self.epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        self.children = process::children_changed()?;
        self.forget_conns();
        self.hands.forget_conns();
        self.daemon.forget();
        self.soon.clear();
        self.later.clear();
        self.due = u64::MAX;
        self.strangers_at = 0;
        let elder_generation = self.generation_id(self.own);
        self.own = at;
        for (i, generation) in self.generations.iter_mut().enumerate() {
            let Some(generation) = generation else { continue };
            generation.serving = if i == at { Serving::Mine } else { Serving::Dormant };
            // In the elder's epoll, not in ours.
            generation.lives.iter_mut().filter_map(|live| live.tty.as_mut()).for_each(|tty| tty.wake = None);
        }
        let Some(own) = self.generations[at].as_ref() else { return Ok(()) };
        own.table.header().owner.store(std::process::id(), Ordering::Relaxed);
        own.table.pin();
        arm(&self.epoll, &own.listener, Token::Listener { generation: at as u16 }, EventFlags::IN, false);
        arm(&self.epoll, &self.children, Token::Children, EventFlags::IN | EventFlags::ONESHOT, false);
        self.hands.armed = false;
        self.mind_hand(true);
        arm(&self.epoll, &pidfd, Token::Elder, EventFlags::IN, false);
        arm(&self.epoll, &backup, Token::Nudge, EventFlags::IN | EventFlags::ET, false);
        // Only now may the elder call the chain whole.
        crate::backup::say_it_stands(&backup)?;
        rustix::io::write(&self.kick, &1u64.to_ne_bytes())?;
        self.role = Role::Keeper { elder, elder_generation, pidfd, backup, unkicked: 0, kick_at: 0 };
        // If it died before we could look, the number may already be another's.
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get() as u32);
        if parent != elder {
            self.elder_died();
        }
        Ok(())
    }

    /// The keeper we made is dead.
    pub(crate) fn younger_died(&mut self, check: u32) {
        let Role::Elder { younger, .. } = &mut self.role else { return };
        if younger.as_ref().is_none_or(|y| y.check != check) {
            return;
        }
        self.drain_backups();
        let Role::Elder { younger, .. } = &mut self.role else { return };
        let Some(gone) = younger.take() else { return };
        disarm(&self.epoll, &gone.pidfd);
        let end = wait::reap(&gone.pidfd);
        let by_kill = matches!(end, Waited::Zombie { si_code: 2, si_status: SIGKILL, .. });
        // A keeper ends by itself only when it was told that the server ends; our own word of that may still be on its way.
        let orderly = matches!(end, Waited::Zombie { si_code: 1, si_status: 0, .. });
        // Of a server that ends, the elder ends it.
        if !orderly && !self.closing {
            crate::say(format_args!("the keeper (pid {}) is dead: {end}", gone.pid));
        }
        self.take_over(gone.generation, true);
        let now = clock::mono();
        // One that cannot live is not made again and again; meanwhile we start runs ourselves.
        let hopeless = !by_kill && now.saturating_sub(gone.born) < 100 * MS;
        if orderly || hopeless {
            self.mind_hand(true);
            if let Role::Elder { fork_at, .. } = &mut self.role {
                *fork_at = now + SECOND;
            }
            self.turn += TURNS;
            self.announce();
        } else {
            self.raise_younger();
        }
        if self.is_elder() {
            self.adopt_leftovers();
        }
    }

    /// The elder is dead: we are it now.
    pub(crate) fn elder_died(&mut self) {
        let Role::Keeper { pidfd, elder, .. } = &self.role else { return };
        crate::say(format_args!("the elder (pid {elder}) is dead; taking its place"));
        disarm(&self.epoll, pidfd);
        if let Role::Keeper { backup, .. } = &self.role {
            disarm(&self.epoll, backup);
        }
        self.mind_hand(false);
        self.role = Role::Elder { younger: None, fork_at: 0 };
        if let Err(e) = crate::stand::settle_in(c"kin-elder") {
            crate::say(format_args!("cannot settle in as the elder: {e}"));
        }
        arm(&self.epoll, &self.kick, Token::Kick, EventFlags::IN, false);
        self.watch_place_again();
        for at in 0..self.generations.len() {
            if self.generations[at].as_ref().is_some_and(|g| g.serving == Serving::Dormant) {
                self.take_over(at, false);
            }
        }
        self.link_tables_again();
        self.raise_younger();
        if self.is_elder() {
            self.adopt_daemon();
            self.adopt_leftovers();
        }
    }

    /// Serves a dead process's generation from now on. `children`: its orphans have fallen to us.
    fn take_over(&mut self, at: usize, children: bool) {
        let Some(generation) = self.generations[at].as_mut() else { return };
        generation.serving = Serving::Mine;
        generation.table.header().owner.store(std::process::id(), Ordering::Relaxed);
        generation.table.pin();
        let token = Token::Listener { generation: at as u16 };
        arm(&self.epoll, &generation.listener, token, EventFlags::IN, false);
        for slot_at in 0..generation.table.slots().len() {
            self.take_over_run(at, slot_at as u16, children);
        }
        // Its leaders' zombies, and strangers', may be ours now.
        self.strangers_at = clock::mono();
        self.due = 0;
        self.retire();
    }

    fn take_over_run(&mut self, at: usize, slot_at: u16, children: bool) {
        let Some(generation) = self.generations[at].as_mut() else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        let state = slot.state.load(Ordering::Acquire);
        let run = slot.run.load(Ordering::Relaxed);
        let pid = slot.pid.load(Ordering::Relaxed);
        let mut live = match generation.lives.remove(slot_at) {
            Some(live) if live.run == run => live,
            Some(_) | None => Live::new(slot_at, run),
        };
        match state {
            FREE => return,
            INTENT if pid == 0 => {
                // Nothing ran, and we are the only one who could start it: whoever wants it asks again.
                slot.state.store(FREE, Ordering::Release);
                self.drop_cgroup(run);
                return;
            }
            DRAINED => {
                if !live.is_dry() {
                    find_logs(&self.place, &mut live);
                    crate::output::resync(slot, &mut live);
                    // A survivor still writes; its pipe stays ours until it is done, and the slot with it.
                    live.forgotten = false;
                    self.serve_streams(at, live);
                }
                return;
            }
            INTENT => {
                if slot.start_ticks.load(Ordering::Relaxed) == 0 {
                    has_pid(slot);
                }
                // No news reach us of a child that still hangs before its program: it is looked at by time.
                if !has_begun(slot) {
                    live.look_at = clock::mono();
                }
            }
            _ => {}
        }
        let Some(generation) = self.generations[at].as_mut() else { return };
        let slot = &generation.table.slots()[usize::from(slot_at)];
        slot.set_flag(flag::ADOPTED);
        // What was opened elsewhere is not ours; the files say where they go on.
        find_logs(&self.place, &mut live);
        crate::output::resync(slot, &mut live);
        if slot.stop_stage.load(Ordering::Relaxed) > 0 {
            live.look_at = clock::mono();
        }
        if slot.linger_deadline.load(Ordering::Relaxed) == 0 {
            // Set before it is needed: it counts only from the leader's end, which may be noted and not yet dated.
            slot.linger_deadline.store(clock::mono().saturating_add(live.linger_ns), Ordering::Relaxed);
        }
        if slot.state.load(Ordering::Relaxed) == EXITED {
            // Its exit stands in the slot. If it is still a zombie it will be reaped as a stranger; its number may
            // already be another's, so it is not asked for.
            live.pidfd = None;
            self.serve_streams(at, live);
            return self.send_rung(at, slot_at, run);
        }
        live.ours = children;
        let held = match live.pidfd.take() {
            Some(pidfd) if !children => Leader::Held(pidfd),
            // A child is not reaped before it was noted, so the number is still its own; of another's child its start tells.
            Some(_) | None => leader::hold(slot, children),
        };
        match held {
            Leader::Held(pidfd) => {
                self.serve_run(at, live, pidfd);
                // What was taken out of a pipe and not written yet wakes nobody.
                self.look_both(at, slot_at, run);
                self.send_rung(at, slot_at, run);
            }
            Leader::NotNow(_) => {
                // Of our child we hear by its number; another's is asked for again. A keeper is made only when it is held.
                if live.look_at == 0 {
                    live.look_at = clock::mono() + SECOND;
                }
                self.serve_streams(at, live);
                self.send_rung(at, slot_at, run);
            }
            Leader::Gone => {
                slot.set_flag(flag::STATUS_UNKNOWN);
                slot.t_exit.store(clock::wall(), Ordering::Relaxed);
                slot.state.store(EXITED, Ordering::Release);
                self.serve_streams(at, live);
                self.send_rung(at, slot_at, run);
            }
        }
    }

    /// After an exec: the same runs, with the descriptors we have kept.
    pub(crate) fn serve_again(&mut self, at: usize) {
        let slots = self.generations[at].as_ref().map_or(0, |g| g.table.slots().len());
        for slot_at in 0..slots as u16 {
            let Some(mut live) = self.generation(at).and_then(|g| g.lives.remove(slot_at)) else { continue };
            find_logs(&self.place, &mut live);
            if let Some(generation) = self.generations[at].as_ref() {
                crate::output::resync(&generation.table.slots()[usize::from(slot_at)], &mut live);
            }
            live.look_at = clock::mono();
            match live.pidfd.take() {
                Some(pidfd) => {
                    let run = live.run;
                    self.serve_run(at, live, pidfd);
                    self.look_both(at, slot_at, run);
                }
                None => self.serve_streams(at, live),
            }
        }
    }

    /// A run whose leader is dead, but whose streams go on.
    pub(crate) fn serve_streams(&mut self, at: usize, live: Live) {
        let (slot, run) = (live.slot, live.run);
        let check = crate::token::check_of(run);
        let once = EventFlags::IN | EventFlags::ONESHOT;
        let generation_at = at as u16;
        let out = match &live.tty {
            Some(tty) => Some(&tty.master),
            None => live.out.pipe.as_ref(),
        };
        if let Some(pipe) = out {
            arm(&self.epoll, pipe, Token::Out { generation: generation_at, slot, check }, once, false);
        }
        if let Some(pipe) = live.err.pipe.as_ref() {
            arm(&self.epoll, pipe, Token::Err { generation: generation_at, slot, check }, once, false);
        }
        if let Some(generation) = self.generation(at) {
            generation.lives.insert(live);
        }
        self.look_both(at, slot, run);
        self.perhaps_finish(at, slot, check);
    }

    pub(crate) fn is_younger(&self, pid: u32) -> bool {
        matches!(&self.role, Role::Elder { younger: Some(y), .. } if y.pid == pid)
    }
}

/// Learns what the run's spec says; by its name, where it was not held.
fn find_logs(place: &Place, live: &mut Live) {
    if live.logs.spec_fd().is_none() {
        live.logs = place.logs(live.run);
    }
    let spec = live.logs.spec();
    if let Some(view) = spec.as_ref().ok().and_then(|spec| spec.view().ok()) {
        live.learn(&view);
    }
}
