//! The book: the one row that is written with every commit, with what must never be counted or looked for.

use crate::class::Class;
use crate::pack::{Packer, Unpacker};
use crate::sum::Sum;
use kin_core::Mint;

const FORMAT: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Book {
    /// All run numbers up to this one may have been given out.
    pub(crate) mint_reserved: u64,
    pub(crate) last_event: u64,
    /// How many events are kept: the last so many.
    pub(crate) events: u64,
    /// The next making's number. Never used twice, so that a reader may remember a making for ever.
    pub(crate) next_making: i64,
    /// Runs of each class.
    pub(crate) runs: [u64; Class::COUNT],
}

impl Book {
    pub(crate) const fn new() -> Book {
        Book { mint_reserved: 0, last_event: 0, events: 0, next_making: 1, runs: [0; Class::COUNT] }
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut p = Packer::new();
        p.number(FORMAT);
        p.number(self.mint_reserved);
        p.number(self.last_event);
        p.number(self.events);
        p.number(self.next_making.cast_unsigned());
        self.runs.iter().for_each(|n| p.number(*n));
        p.sealed(Sum::new())
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Option<Book> {
        let mut u = Unpacker::unseal(bytes, Sum::new())?;
        if u.number()? != FORMAT {
            return None;
        }
        let mut book = Book {
            // A clock wrong by a century may have reserved numbers that are no runs': said once, it would hold for ever.
            mint_reserved: Mint::after(u.number()?).last(),
            last_event: u.number()?,
            events: u.number()?,
            next_making: u.number()?.cast_signed(),
            runs: [0; Class::COUNT],
        };
        for n in &mut book.runs {
            *n = u.number()?;
        }
        Some(book)
    }

    pub(crate) fn live(&self) -> u64 {
        self.runs[usize::from(Class::Live.number())]
    }

    pub(crate) fn all(&self) -> u64 {
        self.runs.iter().sum()
    }

    /// One run more or less of a class; a class this kin does not know (damage) is not counted.
    pub(crate) fn count(&mut self, class: i64, by: i64) {
        if let Some(n) = usize::try_from(class).ok().and_then(|class| self.runs.get_mut(class)) {
            *n = n.saturating_add_signed(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_core::{RunNo, Time};

    #[test]
    fn numbers_that_are_no_runs_are_not_reserved_for_ever() {
        let book = |mint_reserved| Book { mint_reserved, ..Book::new() };
        let reserved = |reserved| Book::unpack(&book(reserved).pack()).expect("a book").mint_reserved;
        assert_eq!(reserved(4711), 4711);
        let first = reserved(RunNo::LAST.get() + 1000);
        let given = Mint::after(first).next(Time(0));
        assert!(!given.is_helper());
        // What is given out and reserved from there on is, also by the next daemon.
        assert_eq!(reserved(given.get() + 1000), given.get() + 1000);
    }
}
