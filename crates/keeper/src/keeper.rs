//! A keeper: one thread, one epoll, and everything it holds.
//!
//! Elder and keeper are the same program in two roles. *If my younger dies I keep its runs and make a new one; if my
//! elder dies I become it.* The parts: `serve` (the loop), `start` (a run's beginning), `watch` (its output and its end),
//! `stop` (the ladder), `chain` (elder and keeper), `daemon` (the daemon's life), `hand` (the small door).

use crate::cgroup::Cgroups;
use crate::conn::Conn;
use crate::daemon::Daemon;
use crate::generation::{Generation, Serving};
use crate::hand::Hands;
use crate::leftovers::Leftovers;
use crate::output::Mover;
use crate::place::Place;
use crate::serve::Deaf;
use crate::spawn::{Arena, Restore};
use crate::stop::Kills;
use crate::token::Token;
use crate::tree::Processes;
use crate::vanish::Lost;
use crate::wire::{self, Guard, Tell};
use kin_core::RunNo;
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use std::collections::VecDeque;

/// Who made us, or whom we made.
#[derive(Debug)]
pub(crate) enum Role {
    Elder {
        younger: Option<Younger>,
        /// When to try again to make one; zero: not wanted.
        fork_at: u64,
    },
    Keeper {
        elder: u32,
        elder_generation: u64,
        pidfd: OwnedFd,
        /// Duplicates of our runs' descriptors go here.
        backup: OwnedFd,
        /// Sent since the elder was last told to take them.
        unkicked: u32,
        /// When the elder is woken though so many were not sent: it holds duplicates that lie in the socket, or that nobody
        /// needs any more. Zero: it holds none.
        kick_at: u64,
    },
}

/// The keeper an elder made.
#[derive(Debug)]
pub(crate) struct Younger {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) backup: OwnedFd,
    pub(crate) generation: usize,
    pub(crate) born: u64,
    pub(crate) check: u32,
    /// It has said that it stands; before that the chain is not whole.
    pub(crate) stands: bool,
}

/// What clients had kept (listening sockets), as the elder has it from the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Whole,
    /// Something did not arrive whole: it is asked for when there is room.
    Missing,
    /// It was asked for.
    Asked,
}

/// A feed that is looked at again when its time has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    pub(crate) generation: u16,
    pub(crate) slot: u16,
    pub(crate) check: u32,
    pub(crate) stream: crate::index::Stream,
    pub(crate) due: u64,
}

/// A start for which there is no descriptor now. It is asked for again as soon as it is refused, so that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Postponed {
    pub(crate) conn: usize,
    pub(crate) check: u32,
    pub(crate) run: u64,
    pub(crate) due: u64,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) place: Place,
    pub(crate) boot: String,
    pub(crate) epoll: OwnedFd,
    pub(crate) mover: Mover,
    pub(crate) arena: Arena,
    pub(crate) restore: Restore,
    pub(crate) cgroups: Cgroups,
    pub(crate) processes: Processes,
    pub(crate) kills: Kills,
    pub(crate) generations: Vec<Option<Generation>>,
    /// Our own: where our starts go.
    pub(crate) own: usize,
    pub(crate) role: Role,
    pub(crate) daemon: Daemon,
    pub(crate) conns: Vec<Option<Conn>>,
    pub(crate) serial: u32,
    pub(crate) hands: Hands,
    /// The API's listening socket, which the daemon accepts on.
    pub(crate) api: OwnedFd,
    /// Where runs say that they are ready; the daemon reads it.
    pub(crate) notify: OwnedFd,
    /// Held, never read: while it is open the server's lock is taken.
    pub(crate) lock: OwnedFd,
    /// Wakes the elder to take backups.
    pub(crate) kick: OwnedFd,
    pub(crate) children: OwnedFd,
    /// Looked at soon, and in a second.
    pub(crate) soon: VecDeque<Paced>,
    pub(crate) later: VecDeque<Paced>,
    /// The earliest deadline of any run; `u64::MAX`: none.
    pub(crate) due: u64,
    /// When to reap strangers; zero: no child has changed.
    pub(crate) strangers_at: u64,
    /// The server ends: no new runs, and we go when the last has ended.
    pub(crate) closing: bool,
    /// The kernel tells how a process ended that was not our child (6.15).
    pub(crate) learns_exits: bool,
    /// What was last said of the chain while both of us lived.
    pub(crate) guard: Guard,
    /// Which chain of this boot this is; grows with every change of it.
    pub(crate) turn: u64,
    /// Grows with each fork in which we are the child: what the parent was about to do is not ours.
    pub(crate) epoch: u32,
    /// Says when the runtime directory goes; the elder's.
    pub(crate) watch: Option<OwnedFd>,
    /// When to try again to watch it; zero: it is watched, or it is not ours to watch.
    pub(crate) watch_at: u64,
    /// Names of ours have gone, and could not all be made again yet.
    pub(crate) place_lost: Option<Lost>,
    /// The names of elder and keeper could not be made to lead to them yet.
    pub(crate) misnamed: bool,
    /// Ended runs whose cgroups are not empty.
    pub(crate) leftovers: Leftovers,
    /// Whether the elder has all that is kept.
    pub(crate) kept: Kept,
    /// Starts that are refused in a moment.
    pub(crate) postponed: VecDeque<Postponed>,
    /// Out of descriptors: nobody is accepted until one is free.
    pub(crate) deaf: Option<Deaf>,
    /// When to look whether the directory is still there; zero: nothing has changed in it.
    pub(crate) place_at: u64,
}

/// Registers, or registers anew, what an event on `fd` means.
pub(crate) fn arm(epoll: &OwnedFd, fd: impl AsFd, token: Token, flags: epoll::EventFlags, known: bool) {
    let data = epoll::EventData::new_u64(token.encode());
    let done = if known { epoll::modify(epoll, fd, data, flags) } else { epoll::add(epoll, fd, data, flags) };
    if let Err(errno) = done {
        crate::say(format_args!("cannot watch a descriptor ({token:?}): {errno}"));
    }
}

/// Takes a descriptor out of the epoll; always before it is closed, since a duplicate elsewhere would keep it in.
pub(crate) fn disarm(epoll: &OwnedFd, fd: impl AsFd) {
    // ENOENT: it was never in, which is as good.
    if let Err(errno) = epoll::delete(epoll, fd)
        && errno != rustix::io::Errno::NOENT
    {
        crate::say(format_args!("cannot forget a descriptor: {errno}"));
    }
}

impl Keeper {
    pub(crate) fn is_elder(&self) -> bool {
        matches!(self.role, Role::Elder { .. })
    }

    /// Whether new runs are started here, in our own generation.
    pub(crate) fn takes_starts(&self) -> bool {
        match &self.role {
            Role::Elder { younger, .. } => younger.is_none(),
            Role::Keeper { .. } => true,
        }
    }

    pub(crate) fn generation(&mut self, at: usize) -> Option<&mut Generation> {
        self.generations.get_mut(at).and_then(Option::as_mut)
    }

    pub(crate) fn generation_id(&self, at: usize) -> u64 {
        self.generations.get(at).and_then(Option::as_ref).map_or(0, |g| g.id)
    }

    pub(crate) fn add_generation(&mut self, generation: Generation) -> usize {
        match self.generations.iter().position(Option::is_none) {
            Some(at) => {
                self.generations[at] = Some(generation);
                at
            }
            None => {
                self.generations.push(Some(generation));
                self.generations.len() - 1
            }
        }
    }

    /// To everybody who came to this generation's socket.
    pub(crate) fn tell_generation(&mut self, generation: usize, tell: Tell) {
        let of_helper = if let Tell::Changed { run, .. } = tell { RunNo::new(run).map(RunNo::is_helper) } else { None };
        let hears = |conn: &Conn| match (conn.role, of_helper) {
            (None, _) | (Some(wire::Role::Daemon), Some(true)) | (Some(wire::Role::Helper), Some(false)) => false,
            (Some(_), _) => true,
        };
        for conn in self.conns.iter_mut().flatten().filter(|conn| conn.generation == generation && hears(conn)) {
            conn.tell(tell);
        }
    }

    pub(crate) fn tell_all(&mut self, tell: Tell) {
        for conn in self.conns.iter_mut().flatten().filter(|conn| conn.role.is_some()) {
            conn.tell(tell);
        }
    }

    pub(crate) fn chain(&self) -> Tell {
        match &self.role {
            Role::Elder { younger: Some(younger), .. } => Tell::Chain {
                elder: self.generation_id(self.own),
                keeper: self.generation_id(younger.generation),
                guard: if younger.stands && self.kept == Kept::Whole && !self.is_strained() {
                    Guard::Whole
                } else {
                    Guard::Degraded
                },
                turn: self.turn,
            },
            Role::Elder { younger: None, .. } => {
                let own = self.generation_id(self.own);
                Tell::Chain { elder: own, keeper: own, guard: Guard::Degraded, turn: self.turn }
            }
            Role::Keeper { elder_generation, .. } => Tell::Chain {
                elder: *elder_generation,
                keeper: self.generation_id(self.own),
                guard: if self.is_strained() { Guard::Degraded } else { Guard::Whole },
                turn: self.turn,
            },
        }
    }

    /// An earlier deadline than the one we sleep towards.
    pub(crate) fn due_by(&mut self, at: u64) {
        self.due = self.due.min(at);
    }

    /// Closes what others own now; called right after a fork, in the child.
    pub(crate) fn forget_conns(&mut self) {
        for conn in &mut self.conns {
            *conn = None;
        }
    }

    pub(crate) fn mine(&self) -> impl Iterator<Item = usize> + use<> {
        let mine: Vec<usize> = (0..self.generations.len())
            .filter(|at| self.generations[*at].as_ref().is_some_and(|g| g.serving == Serving::Mine))
            .collect();
        mine.into_iter()
    }
}
