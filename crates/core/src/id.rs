//! Names: of jobs, and of runs.
//!
//! A run's id is `<job>-<8 base62>`. The suffix alone is unique in a ledger and sorts by the time it was minted:
//! milliseconds since 2020 times 64, plus a counter, digits before capitals before small letters, so that the order of
//! the bytes is the order of the numbers. Nothing ever reads a time out of an id.

use alloc::string::{String, ToString};
use core::fmt;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 2020-01-01T00:00:00Z in milliseconds.
const EPOCH_MS: i64 = 1_577_836_800_000;
/// 62^8, one more than the greatest number that eight characters can hold.
const LIMIT: u64 = 218_340_105_584_896;
/// The last numbers belong to helpers.
const HELPERS: u64 = LIMIT - (1 << 40);
/// From here on, which is the year 2127, the clock is not followed any more: one that once was wrong by a century must not
/// use up all numbers there are. So many are left.
const COUNTED: u64 = HELPERS - (1 << 40);

/// The number behind a run's eight characters; the key of the run everywhere inside kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunNo(u64);

impl RunNo {
    /// No number is greater.
    pub const LAST: RunNo = RunNo(LIMIT - 1);

    /// `None` when the number would not fit eight characters, or is zero (which means "no run" in a run table).
    pub const fn new(n: u64) -> Option<RunNo> {
        if n == 0 || n >= LIMIT { None } else { Some(RunNo(n)) }
    }
    pub const fn get(self) -> u64 {
        self.0
    }
    /// Of a helper: a probe or a stop command. It is started and ended as a run is, and is in no history.
    pub const fn is_helper(self) -> bool {
        self.0 >= HELPERS
    }
    /// A helper's number; the next one is got from one more.
    pub const fn helper(n: u64) -> RunNo {
        RunNo(HELPERS + n % (1 << 40))
    }
    /// Exactly eight characters of `[0-9A-Za-z]`.
    pub fn parse(s: &str) -> Option<RunNo> {
        if s.len() != 8 {
            return None;
        }
        let mut n = 0u64;
        for b in s.bytes() {
            let digit = match b {
                b'0'..=b'9' => b - b'0',
                b'A'..=b'Z' => b - b'A' + 10,
                b'a'..=b'z' => b - b'a' + 36,
                _ => return None,
            };
            n = n * 62 + u64::from(digit);
        }
        RunNo::new(n)
    }
    pub fn chars(self) -> [u8; 8] {
        let mut out = [b'0'; 8];
        let mut n = self.0;
        for slot in out.iter_mut().rev() {
            *slot = DIGITS[(n % 62) as usize];
            n /= 62;
        }
        out
    }
}

impl fmt::Display for RunNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for b in self.chars() {
            fmt::Write::write_char(f, b as char)?;
        }
        Ok(())
    }
}

/// Gives out run numbers: each greater than all before it, also when the clock steps back.
#[derive(Clone, Debug, Default)]
pub struct Mint {
    last: u64,
}

impl Mint {
    /// `last` is the greatest number ever given out, or reserved, or seen in a table or a log's name. A helper's number,
    /// which a clock in the year 2127 once led to, is none that runs go on from.
    pub const fn after(last: u64) -> Mint {
        Mint { last: if last >= HELPERS { COUNTED } else { last } }
    }
    pub fn next(&mut self, now: crate::Time) -> RunNo {
        let by_clock = u64::try_from(now.millis().saturating_sub(EPOCH_MS)).unwrap_or(0).saturating_mul(64);
        self.last = if by_clock < COUNTED { by_clock.max(self.last + 1) } else { self.last + 1 };
        RunNo(self.last)
    }
    pub const fn last(&self) -> u64 {
        self.last
    }
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(String);

impl JobName {
    pub const MAX: usize = 100;

    pub fn parse(s: &str) -> Result<JobName, BadName> {
        let first = s.bytes().next().ok_or(BadName::Empty)?;
        if s.len() > JobName::MAX {
            return Err(BadName::Long { len: s.len() });
        }
        if !(first.is_ascii_alphanumeric() || first == b'_') {
            return Err(BadName::Start { found: s.chars().next().unwrap_or('?') });
        }
        match s.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))) {
            Some(found) => Err(BadName::Char { found }),
            None => Ok(JobName(s.to_string())),
        }
    }

    /// The name of a run that was given none: the program's base name, what a name may not hold replaced by `_`.
    pub fn from_program(program: &str) -> JobName {
        let base = program.rsplit('/').find(|part| !part.is_empty()).unwrap_or("run");
        let mut name: String = base
            .chars()
            .take(JobName::MAX)
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' })
            .collect();
        if name.starts_with(['.', '-']) {
            name.replace_range(0..1, "_");
        }
        JobName(name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a job's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadName {
    Empty,
    Long { len: usize },
    Start { found: char },
    Char { found: char },
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadName::Empty => f.write_str("a job's name may not be empty"),
            BadName::Long { len } => {
                write!(f, "a job's name has at most {} characters, this one has {len}", JobName::MAX)
            }
            BadName::Start { found } => {
                write!(f, "a job's name starts with a letter, a digit or '_', not with {found:?}")
            }
            BadName::Char { found } => {
                write!(f, "a job's name has only letters, digits, '_', '.' and '-', not {found:?}")
            }
        }
    }
}

impl core::error::Error for BadName {}

/// A run's full name. Job names may hold `-`, so it is read from the right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    pub job: JobName,
    pub no: RunNo,
}

impl RunId {
    pub fn parse(s: &str) -> Option<RunId> {
        let (job, no) = s.rsplit_once('-')?;
        Some(RunId { job: JobName::parse(job).ok()?, no: RunNo::parse(no)? })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.job, self.no)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;
    use proptest::prelude::*;

    #[test]
    fn numbers_only_grow_when_the_clock_steps_back() {
        let mut mint = Mint::after(0);
        let noon = Time::from_millis(1_800_000_000_000);
        let a = mint.next(noon);
        let b = mint.next(noon.plus(-3_600_000_000_000));
        let c = mint.next(Time(i64::MIN));
        assert!(a < b && b < c);
    }

    #[test]
    fn a_clock_that_once_was_wrong_by_a_century_uses_up_no_numbers() {
        let now = Time::from_millis(1_800_000_000_000);
        let mut mint = Mint::after(0);
        let before = mint.next(now);
        for wrong in [Time::from_millis(5_100_000_000_000), Time(i64::MAX)] {
            let then = mint.next(wrong);
            assert!(then > before && !then.is_helper() && then.get() < before.get() + 10, "{then}");
        }
        let after = mint.next(now.plus(1_000_000_000));
        assert!(after > before && !after.is_helper());
        // A ledger in which such a clock has reserved the last number of all.
        let mut mint = Mint::after(LIMIT - 1 + 1_000);
        let (a, b) = (mint.next(now), mint.next(now));
        assert!(a < b && !b.is_helper());
    }

    #[test]
    fn helpers_have_numbers_of_their_own() {
        for n in [0, 1, (1 << 40) - 1, 1 << 40, u64::MAX] {
            let no = RunNo::helper(n);
            assert!(no.is_helper());
            assert_eq!(RunNo::parse(&std::format!("{no}")), Some(no));
        }
        let mut mint = Mint::after(0);
        // 2100-01-01
        assert!(!mint.next(Time::from_millis(4_102_444_800_000)).is_helper());
    }

    #[test]
    fn a_run_id_is_read_from_the_right() {
        let id = RunId::parse("sync-to-backup-NeP8nb4q").expect("a run id");
        assert_eq!(id.job.as_str(), "sync-to-backup");
        assert_eq!(std::format!("{id}"), "sync-to-backup-NeP8nb4q");
        assert_eq!(RunId::parse("NeP8nb4q"), None);
        assert_eq!(RunId::parse("a-short"), None);
    }

    #[test]
    fn a_program_gives_its_name() {
        for (program, name) in [("/usr/bin/sleep", "sleep"), ("./a b", "a_b"), ("-x", "_x"), ("/", "run"), ("é", "_")]
        {
            assert_eq!(JobName::from_program(program).as_str(), name);
        }
    }

    proptest! {
        #[test]
        fn order_of_text_is_order_of_numbers(a in 1..LIMIT, b in 1..LIMIT) {
            let (x, y) = (RunNo(a), RunNo(b));
            prop_assert_eq!(x.cmp(&y), x.chars().cmp(&y.chars()));
            let text = std::format!("{x}");
            prop_assert_eq!(RunNo::parse(&text), Some(x));
        }

        #[test]
        fn every_program_gives_a_good_name(program in "\\PC{0,300}") {
            let name = JobName::from_program(&program);
            let parsed = JobName::parse(name.as_str());
            prop_assert_eq!(parsed.as_ref(), Ok(&name));
        }
    }
}
