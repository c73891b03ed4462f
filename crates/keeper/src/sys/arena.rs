//! What a spawn needs, made ready beforehand: the child's stack and the arrays of pointers that exec reads.

use super::child::{PidText, Plan};
use super::pages::{Buffer, Pages};
use crate::locality::Locality;
use crate::spawn::Prepared;
use crate::spec::{Rlimit, SpecView};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::DupFlags;
use std::io;
use std::ptr;

/// Enough for the child's few calls, in a debug build too.
const STACK: usize = 64 * 1024;
/// Pointers that fit without growing; the environment of a busy login has some hundred.
const POINTERS: usize = 1024;

/// How processes can be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `clone3`: a pidfd, and into the cgroup, in one step.
    Clone3,
    /// `clone`, then `pidfd_open`: where `clone3` is missing or forbidden.
    Clone,
}

/// The preallocated memory of spawning. Make it early, while low descriptors are free. It grows, by pages of its own, with the longest argument list seen.
#[derive(Debug)]
pub struct Arena {
    pub(super) stack: Pages,
    /// Programs, then argv and a null, then the environment and a null.
    pointers: Buffer<*const libc::c_char>,
    groups: Buffer<u32>,
    /// A string of the environment that the child itself writes.
    listen_pid: Box<PidText>,
    limits: Buffer<Rlimit>,
    /// Opened once: descriptor 0 of runs that read nothing.
    pub(super) null: OwnedFd,
    /// Low numbers, held by duplicates of `null`: what a child will have on 0, 1 and 2 is put there while it is made.
    places: [OwnedFd; 3],
    pub(super) way: Way,
    /// Of the last spawn that did not wait: see `take_news`.
    pub(crate) news: Option<OwnedFd>,
    /// Whether the last spawn waited for exec.
    pub(crate) waited: bool,
    pub(crate) locality: Locality,
    /// The keeper's own uid and gid.
    pub(crate) user: (u32, u32),
    /// What the keeper ignores or handles; it changes nothing of that later.
    pub(super) altered_signals: u64,
}

// SAFETY: the pointers are only read between `load` and the end of the same spawn.
unsafe impl Send for Arena {}

impl Arena {
    pub fn new() -> io::Result<Arena> {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let place = || rustix::io::fcntl_dupfd_cloexec(&null, 3);
        Ok(Arena {
            places: [place()?, place()?, place()?],
            stack: Pages::stack(STACK)?,
            pointers: Buffer::with_capacity(POINTERS)?,
            groups: Buffer::with_capacity(64)?,
            listen_pid: Box::new([const { std::sync::atomic::AtomicU8::new(0) }; 32]),
            limits: Buffer::with_capacity(16)?,
            null,
            way: Way::Clone3,
            news: None,
            waited: true,
            locality: Locality::open(),
            user: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            altered_signals: super::misc::altered_signals(),
        })
    }

    /// The way processes are made; a first refusal of `clone3` changes it for good.
    pub fn way(&self) -> Way {
        self.way
    }
    /// Takes another way than would be found.
    pub fn force(&mut self, way: Way) {
        self.way = way;
    }

    /// What stands on 0, 1 and 2 of the child.
    pub(super) fn streams<'a>(&'a self, p: &Prepared<'a>) -> [BorrowedFd<'a>; 3] {
        streams(p, self.null.as_fd())
    }

    /// Puts these where a child that shares our table of descriptors looks for its own. It copies no more of the table
    /// than up to these low numbers, however many descriptors a thousand runs keep open.
    pub(super) fn lend(&mut self, p: &Prepared<'_>) -> rustix::io::Result<[i32; 3]> {
        let Arena { null, places, .. } = self;
        for (place, fd) in places.iter_mut().zip(streams(p, null.as_fd())) {
            rustix::io::dup3(fd, place, DupFlags::CLOEXEC)?;
        }
        Ok(places.each_ref().map(|place| place.as_raw_fd()))
    }

    /// Lets go of what was lent: a pipe whose writing end stayed here would never end.
    pub(super) fn take_back(&mut self) {
        for place in &mut self.places {
            if let Err(e) = rustix::io::dup3(&self.null, place, DupFlags::CLOEXEC) {
                debug_assert!(false, "one open descriptor onto another: {e}");
            }
        }
    }

    /// Puts the strings and lists of `view` where the child finds them.
    pub(super) fn load(&mut self, view: &SpecView<'_>) -> io::Result<()> {
        self.pointers.clear();
        self.pointers.reserve(view.program_count() + view.argv_count() + view.env_count() + 3)?;
        let argv_ends = view.program_count() + view.argv_count();
        for (i, string) in view.programs_argv_env().enumerate() {
            if i == argv_ends {
                self.pointers.push(ptr::null())?;
            }
            self.pointers.push(string.as_ptr())?;
        }
        if view.env_count() == 0 {
            self.pointers.push(ptr::null())?;
        }
        // The last of the environment.
        if view.socket_count() > 0 {
            self.pointers.push(self.listen_pid.as_ptr().cast())?;
        }
        self.pointers.push(ptr::null())?;
        self.groups.clear();
        for group in view.groups() {
            self.groups.push(group)?;
        }
        self.limits.clear();
        for limit in view.rlimits() {
            self.limits.push(limit)?;
        }
        Ok(())
    }

    /// Where the child writes its pid, if it is passed sockets.
    pub(super) fn listen_pid(&self, view: &SpecView<'_>) -> Option<&PidText> {
        (view.socket_count() > 0).then_some(&*self.listen_pid)
    }

    /// The loaded lists, as the child reads them.
    pub(super) fn lists(&self, view: &SpecView<'_>) -> Lists<'_> {
        let (programs, rest) = self.pointers.as_slice().split_at(view.program_count());
        let (argv, env) = rest.split_at(view.argv_count() + 1);
        Lists { programs, argv, env, groups: self.groups.as_slice(), limits: self.limits.as_slice() }
    }
}

fn streams<'a>(p: &Prepared<'a>, null: BorrowedFd<'a>) -> [BorrowedFd<'a>; 3] {
    match p.tty_slave {
        Some(tty) => [tty; 3],
        None => [p.stdin.unwrap_or(null), p.out, p.err],
    }
}

/// The loaded lists. `argv` and `env` end in a null.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists<'a> {
    pub(super) programs: &'a [*const libc::c_char],
    pub(super) argv: &'a [*const libc::c_char],
    pub(super) env: &'a [*const libc::c_char],
    pub(super) groups: &'a [u32],
    pub(super) limits: &'a [Rlimit],
}

const _: () = assert!(size_of::<Plan<'_>>() < STACK);
