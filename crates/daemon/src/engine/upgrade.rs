//! The keepers follow the daemon into a new program, one after the other.
//!
//! ```text
//!   wanted ── both are there ──▶ keeper is asked ── says Hello again ──▶ elder is asked ── says Hello again ──▶ done
//! ```
//! Never both at once: a program that answers the probe may still fail to go on from where the old one was. While the one
//! tries it, the other holds everything. The elder is asked only when the keeper has shown that it can be done: as the same
//! process, on a new connection, and with the guard whole again.

use super::{Batch, Engine};
use kin_keeper::wire::{Ask, Guard};
use std::time::{Duration, Instant};

/// One that has not come back after so long is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    None,
    /// The daemon is new; the keepers are to follow, the younger first.
    Wanted,
    Asked(Asked),
    /// The keeper is the new program. The elder follows as soon as the guard is whole.
    KeeperIs {
        generation: u64,
        until: Instant,
    },
    GivenUp(Left),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    who: Left,
    generation: u64,
    pid: u32,
    /// Its connection ended: it has executed something.
    hung_up: bool,
    until: Instant,
}

/// Who is what it was, or is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Keeper,
    Elder,
}

impl Left {
    pub const fn words(self) -> &'static str {
        match self {
            Left::Keeper => "the keeper did not become the new program; the elder was not asked to, and is the old one",
            Left::Elder => "the elder did not become the new program; the keeper did",
        }
    }
}

/// How far it is, for those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is none, or it is done.
    None,
    UnderWay,
    GivenUp(Left),
}

impl Upgrade {
    pub(super) const fn progress(self) -> Progress {
        match self {
            Upgrade::None => Progress::None,
            Upgrade::Wanted | Upgrade::Asked(_) | Upgrade::KeeperIs { .. } => Progress::UnderWay,
            Upgrade::GivenUp(left) => Progress::GivenUp(left),
        }
    }
}

impl Engine {
    /// The chain is known: does what is next.
    pub(super) fn upgrade_keepers(&mut self, batch: &mut Batch) {
        let Some(told) = self.told else { return };
        let whole = told.guard == Guard::Whole && told.keeper != told.elder;
        match self.upgrade {
            Upgrade::None | Upgrade::GivenUp(_) => {}
            Upgrade::Wanted if whole => self.ask_to_upgrade(Left::Keeper, told.keeper),
            Upgrade::Wanted => {}
            Upgrade::KeeperIs { generation, .. } if told.keeper != generation => self.give_up(Left::Elder, batch),
            Upgrade::KeeperIs { .. } if whole => self.ask_to_upgrade(Left::Elder, told.elder),
            Upgrade::KeeperIs { .. } => {}
            Upgrade::Asked(Asked { who: Left::Keeper, generation, .. }) if told.keeper != generation => {
                self.give_up(Left::Keeper, batch);
            }
            Upgrade::Asked(Asked { who: Left::Elder, generation, .. }) if told.elder != generation => {
                self.give_up(Left::Elder, batch);
            }
            Upgrade::Asked(_) => {}
        }
    }

    fn ask_to_upgrade(&mut self, who: Left, generation: u64) {
        // Not connected to it yet: its Hello makes us look again.
        let Some(pid) = self.link.pid(generation) else { return };
        self.link.send(generation, &[Ask::Upgrade.encode()]);
        let until = Instant::now() + PATIENCE;
        self.upgrade = Upgrade::Asked(Asked { who, generation, pid, hung_up: false, until });
    }

    pub(super) fn upgrading_hung_up(&mut self, of: u64) {
        if let Upgrade::Asked(asked) = &mut self.upgrade {
            asked.hung_up |= asked.generation == of;
        }
    }

    /// Somebody answers for a generation. Where that is another process, the one that was asked is dead.
    pub(super) fn upgrading_hello(&mut self, of: u64, by: u32, batch: &mut Batch) {
        let Upgrade::Asked(asked) = self.upgrade else { return };
        if asked.generation != of || !asked.hung_up {
            return;
        }
        match asked.who {
            who if asked.pid != by => self.give_up(who, batch),
            Left::Keeper => {
                let until = Instant::now() + PATIENCE;
                self.upgrade = Upgrade::KeeperIs { generation: of, until };
            }
            Left::Elder => self.upgrade = Upgrade::None,
        }
    }

    pub(super) fn upgrade_wake_at(&self) -> Option<Instant> {
        match self.upgrade {
            Upgrade::None | Upgrade::Wanted | Upgrade::GivenUp(_) => None,
            Upgrade::Asked(Asked { until, .. }) | Upgrade::KeeperIs { until, .. } => Some(until),
        }
    }

    pub(super) fn upgrade_times(&mut self, now: Instant, batch: &mut Batch) {
        match self.upgrade {
            Upgrade::Asked(asked) if asked.until <= now => self.give_up(asked.who, batch),
            Upgrade::KeeperIs { until, .. } if until <= now => self.give_up(Left::Elder, batch),
            Upgrade::None | Upgrade::Wanted | Upgrade::Asked(_) | Upgrade::KeeperIs { .. } | Upgrade::GivenUp(_) => {}
        }
    }

    fn give_up(&mut self, left: Left, batch: &mut Batch) {
        self.upgrade = Upgrade::GivenUp(left);
        self.note("server.upgrade", left.words().into(), batch);
        crate::say!("kin daemon: {}", left.words());
    }
}
