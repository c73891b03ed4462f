//! One transaction, and what is done where there is no room for it.

use super::reserve::Refill;
use super::{Engine, words};
use kin_core::{Event, Refusal, What};
use kin_ledger::{Applied, Batch as Rows, Durability};

const FULL: &str = "the disk is full";

/// What a commit is worth on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// It begins something: nothing.
    New,
    /// What has happened: half of the reserve, and no more.
    News,
    /// Ends, and what ends something: all there is.
    Ends,
}

/// Why a commit came to nothing.
#[derive(Debug)]
pub(super) struct NotWritten {
    cause: Cause,
    pub(super) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Full,
    /// The ledger itself is damaged, or its files are gone.
    Damage,
    Other,
}

impl NotWritten {
    pub(super) fn refusal(&self) -> Refusal {
        let why = self.why.clone();
        match self.cause {
            Cause::Full => Refusal::NoRoom { why },
            Cause::Damage | Cause::Other => Refusal::Unavailable { why },
        }
    }

    pub(super) fn is_damage(&self) -> bool {
        self.cause == Cause::Damage
    }

    fn full() -> NotWritten {
        NotWritten { cause: Cause::Full, why: FULL.into() }
    }
}

impl Engine {
    /// One transaction. On a full disk the reserve makes room for it, unless it would begin something.
    pub(super) fn write(
        &mut self,
        rows: &Rows<'_>,
        durability: Durability,
        worth: Worth,
    ) -> Result<Applied, NotWritten> {
        let mut slices = 1;
        loop {
            #[cfg(test)]
            if super::tests::is_disk_full(&self.dirs.state) {
                self.disk_is_full();
                return Err(NotWritten::full());
            }
            let error = match self.ledger.apply(rows, durability) {
                Ok(applied) => return Ok(applied),
                Err(error) => error,
            };
            if !matches!(error, kin_ledger::Error::Full(_)) {
                let damage = matches!(error, kin_ledger::Error::Damage { .. });
                let cause = if damage { Cause::Damage } else { Cause::Other };
                return Err(NotWritten { cause, why: words(&error) });
            }
            self.disk_is_full();
            let given = match worth {
                Worth::New => false,
                Worth::News => self.reserve.give_of_half(slices),
                Worth::Ends => self.reserve.give(slices),
            };
            if !given {
                return Err(NotWritten::full());
            }
            slices *= 2;
        }
    }

    /// Nothing new is accepted until the reserve is whole again.
    pub(super) fn disk_is_full(&mut self) {
        let at = self.now();
        if self.trouble.borrow().full_since.is_none() {
            self.trouble.send_modify(|trouble| trouble.full_since = Some(at));
            let message = "the disk is full: nothing new is started until there is room".to_string();
            self.untold.push(Event { at, what: What::Note { kind: "disk.full", run: None, message } });
        }
        self.reserve.is_wanted();
        self.look_for_room();
    }

    /// Whether something new may be written down.
    pub(super) fn has_room(&mut self) -> Result<(), Refusal> {
        #[cfg(test)]
        if super::tests::is_disk_full(&self.dirs.state) && self.reserve.wake_at().is_some() {
            return Err(Refusal::NoRoom { why: FULL.into() });
        }
        match self.reserve.wake_at().map(|_| self.reserve.refill()) {
            None => Ok(()),
            Some(Refill::Whole) => {
                self.disk_has_room();
                Ok(())
            }
            Some(Refill::NoRoom) => {
                self.disk_is_full();
                Err(Refusal::NoRoom { why: FULL.into() })
            }
        }
    }

    pub(super) fn disk_has_room(&mut self) {
        let at = self.now();
        if self.trouble.send_if_modified(|trouble| trouble.full_since.take().is_some()) {
            let message = "the disk has room again".to_string();
            self.untold.push(Event { at, what: What::Note { kind: "disk.room", run: None, message } });
        }
    }
}
