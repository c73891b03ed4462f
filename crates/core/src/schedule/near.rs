//! Guesses what somebody meant who wrote something else.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// More names than these help nobody.
const ZONES_MAX: usize = 3;

/// Words that stand for a schedule, each with what it means.
pub(super) const SPECIALS: [(&str, &str); 7] = [
    ("hourly", "0 * * * *"),
    ("daily", "0 0 * * *"),
    ("midnight", "0 0 * * *"),
    ("weekly", "0 0 * * 0"),
    ("monthly", "0 0 1 * *"),
    ("yearly", "0 0 1 1 *"),
    ("annually", "0 0 1 1 *"),
];

/// The `@word` that is meant by a word without `@`, or with a slip.
pub(super) fn special(word: &str) -> Option<&'static str> {
    const ALL: [&str; 10] =
        ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@reboot", "@every", "@at"];
    let bare = word.trim_start_matches('@');
    let names = ALL.map(|name| &name[1..]);
    let at = closest(bare, &names)?;
    Some(ALL[at])
}

/// That one of `names` that is nearest to `word`, if any is near.
pub(super) fn one_of(word: &str, names: &[&'static str]) -> Option<&'static str> {
    // Full names first: MONDAY is MON.
    let begins = |name: &&&str| {
        word.len() > name.len() && word.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
    };
    names.iter().find(begins).or_else(|| closest(word, names).map(|at| &names[at])).copied()
}

/// Which of `names` is at most two slips away, the nearest one; short words allow but one.
pub fn closest(word: &str, names: &[&str]) -> Option<usize> {
    let most = if word.chars().count() < 5 { 1 } else { 2 };
    let slips = names.iter().enumerate().map(|(at, name)| (distance(word, name), at));
    slips.filter(|(slips, _)| *slips <= most).min().map(|(_, at)| at)
}

/// The names of `all` zones that were perhaps meant by `name`: the same in other letters, its city alone, or with a slip.
pub fn zones_near(name: &str, all: &[&str]) -> Vec<String> {
    let wanted = name.to_ascii_lowercase().replace(' ', "_");
    let is_meant = |known: &&&str| {
        let known = known.to_ascii_lowercase();
        known == wanted || known.rsplit('/').next() == Some(wanted.as_str())
    };
    let same: Vec<String> = all.iter().filter(is_meant).take(ZONES_MAX).map(|name| (*name).to_owned()).collect();
    if !same.is_empty() {
        return same;
    }
    let cities: Vec<&str> = all.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
    closest(&wanted, all).or_else(|| closest(&wanted, &cities)).map(|at| all[at].to_owned()).into_iter().collect()
}

/// How many letters must be changed, added or taken away; capitals do not count.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips() {
        assert_eq!(special("@dayly"), Some("@daily"));
        assert_eq!(special("hourly"), Some("@hourly"));
        assert_eq!(special("@fortnightly"), None);
        assert_eq!(one_of("MONDAY", &["SUN", "MON"]), Some("MON"));
        assert_eq!(one_of("FRU", &["SUN", "FRI"]), Some("FRI"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
