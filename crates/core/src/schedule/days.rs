//! A set of days, as bits: a holiday of two centuries costs nothing, and neither does asking for one day.

use super::wall::{Date, YEAR_MAX, YEAR_MIN};
use alloc::vec::Vec;
use core::fmt;

const FIRST: i64 = Date { year: YEAR_MIN, month: 1, day: 1 }.days();
const LAST: i64 = Date { year: YEAR_MAX, month: 12, day: 31 }.days();

/// Days of the years 1970 to 2199.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct DaySet {
    /// Without zeros at the end, so that the same days are the same set.
    bits: Vec<u64>,
}

impl DaySet {
    /// A day that schedules do not know changes nothing.
    pub fn insert(&mut self, day: Date) {
        let Some((word, bit)) = place(day) else { return };
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << bit;
    }

    pub fn has(&self, day: Date) -> bool {
        place(day).is_some_and(|(word, bit)| self.bits.get(word).is_some_and(|bits| bits >> bit & 1 == 1))
    }

    pub fn len(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Date> + '_ {
        let words = self.bits.iter().zip((FIRST..).step_by(64));
        words
            .flat_map(|(word, from)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| from + bit))
            .map(Date::from_days)
    }
}

impl Extend<Date> for DaySet {
    fn extend<I: IntoIterator<Item = Date>>(&mut self, days: I) {
        days.into_iter().for_each(|day| self.insert(day));
    }
}

impl FromIterator<Date> for DaySet {
    fn from_iter<I: IntoIterator<Item = Date>>(days: I) -> DaySet {
        let mut set = DaySet::default();
        set.extend(days);
        set
    }
}

impl fmt::Debug for DaySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DaySet of {} days", self.len())
    }
}

fn place(day: Date) -> Option<(usize, u32)> {
    let days = day.days();
    if !(FIRST..=LAST).contains(&days) {
        return None;
    }
    let at = usize::try_from(days - FIRST).ok()?;
    Some((at / 64, (at % 64) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set(days in proptest::collection::vec(-400i64..90_000, 0..40), asked in -400i64..90_000) {
            let known = |days: &i64| (FIRST..=LAST).contains(days);
            let slow: BTreeSet<i64> = days.iter().copied().filter(known).collect();
            let set: DaySet = days.iter().map(|days| Date::from_days(*days)).collect();
            prop_assert_eq!(set.has(Date::from_days(asked)), slow.contains(&asked));
            prop_assert_eq!(set.len(), slow.len());
            prop_assert_eq!(set.iter().map(Date::days).collect::<Vec<_>>(), slow.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(&set, &slow.iter().map(|days| Date::from_days(*days)).collect());
        }
    }
}
