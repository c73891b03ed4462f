//! From a spec and its descriptors to a process.
//!
//! ```text
//!   the keeper   slot INTENT, pipes made and backed up, cgroup made
//!   spawn        the kernel makes the child and writes its pid into the slot
//!   the child    session, stdio, limits, user, directory, exec; or step and errno into the slot, and exit 127
//!   the keeper   state RUNNING: at once where it has waited for exec, else when the news say that exec was done
//! ```
//! An `Err` of `spawn` means that there is no child. A child that could not become the program is a child like any
//! other, with a pidfd and a zombie to reap; its slot's `step` says what happened, at the latest when it is a zombie.

use crate::locality::Locality;
use crate::spec::SpecView;
pub use crate::sys::arena::{Arena, Way};
use crate::sys::clone::Memory;
use crate::table::Slot;
use kin_core::SpawnStep;
use rustix::fd::{BorrowedFd, OwnedFd};

/// What the keeper changed for itself and every run gets back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restore {
    /// The limit of open files, soft and hard, as it was before the keeper raised it.
    pub nofile: Option<(u64, u64)>,
    /// The OOM score adjustment as it was before the keeper lowered its own.
    pub oom_score_adj: Option<i32>,
}

/// All that one run needs to start.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a> {
    pub view: SpecView<'a>,
    /// `None`: /dev/null.
    pub stdin: Option<BorrowedFd<'a>>,
    pub out: BorrowedFd<'a>,
    pub err: BorrowedFd<'a>,
    /// The terminal side of a pty; it then stands for all three, whatever they are.
    pub tty_slave: Option<BorrowedFd<'a>>,
    /// Further descriptors and their numbers in the child, from 3 on, in their order.
    pub extra: &'a [(BorrowedFd<'a>, u16)],
    /// The run's own cgroup, as a descriptor of its directory.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// In memory shared with whoever shall know of the child.
    pub slot: &'a Slot,
    pub restore: &'a Restore,
}

/// Starts the run. Gives its pidfd, if there was a descriptor left for it; its pid is in the slot.
pub fn spawn(arena: &mut Arena, p: &Prepared<'_>) -> Result<Option<OwnedFd>, (SpawnStep, i32)> {
    let memory = if may_share(arena, p) { Memory::Shared } else { Memory::Copied };
    crate::sys::clone::start(arena, p, memory)
}

/// Whether the keeper may lend its memory and stand still until exec: the child stays the same user (a change would
/// mark the keeper's memory as not its own), and nothing on its way can hang.
fn may_share(arena: &mut Arena, p: &Prepared<'_>) -> bool {
    let same_user = p.view.user().is_none_or(|user| user == arena.user);
    same_user && arena.locality.all_local(&p.view)
}

impl Arena {
    /// After a `spawn` that did not wait for exec: at its end when the child has become the program, or has died.
    pub(crate) fn take_news(&mut self) -> Option<OwnedFd> {
        self.news.take()
    }

    /// Where `spawn` looks whether paths are local.
    pub fn locality(&mut self) -> &mut Locality {
        &mut self.locality
    }
}
