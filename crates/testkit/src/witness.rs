//! The witness: what guests wrote down themselves, one line each by one append, so that kin has no part in it.
//!
//! ```text
//!   s <index> <pid> <unix ns> <run id>        it began
//!   e <index> <code> <unix ns>                it is about to end: exit code, or -signal
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_nanos()).expect("a clock before 2554")
}

/// Unix ns of a time as kin writes it (`2026-01-02T03:04:05.678Z`), at the end of its last digit. `None`: not one.
pub fn ns_of(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Result<Vec<u64>, _> = text.split(by).map(str::parse).collect();
        parts.ok()?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(clock, ':')?);
    // Days since 1970, counted in years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day).checked_sub(719_469)?;
    let digits = u32::try_from(fraction.len()).ok().filter(|n| *n <= 9)?;
    let unit = 10u64.pow(9 - digits);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? * unit };
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + part + unit - 1)
}

/// Appends one line by one write.
pub fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

pub fn began(path: &Path, index: u64) -> io::Result<()> {
    let run = std::env::var("KIN_RUN_ID").unwrap_or_else(|_| "-".into());
    append(path, &format!("s {index} {} {} {run}", std::process::id(), unix_ns()))
}

pub fn ends(path: &Path, index: u64, code: i32) -> io::Result<()> {
    append(path, &format!("e {index} {code} {}", unix_ns()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub pid: u32,
    pub at: u64,
    pub run: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// An exit code, or minus a signal.
    pub code: i32,
    pub at: u64,
}

/// What was said of one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    pub starts: Vec<Start>,
    pub ends: Vec<End>,
}

/// Reads on where it stopped.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    file: File,
    torn: Vec<u8>,
    stories: BTreeMap<u64, Story>,
}

impl Witness {
    /// Makes the file if it is not there.
    pub fn open(path: &Path) -> io::Result<Witness> {
        drop(OpenOptions::new().append(true).create(true).open(path)?);
        Ok(Witness { path: path.into(), file: File::open(path)?, torn: Vec::new(), stories: BTreeMap::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read_on(&mut self) -> io::Result<&BTreeMap<u64, Story>> {
        self.file.read_to_end(&mut self.torn)?;
        let whole = self.torn.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.torn.drain(..whole).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            if self.take(line).is_none() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a witness said: {line}")));
            }
        }
        Ok(&self.stories)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let story = self.stories.entry(words.next()?.parse().ok()?).or_default();
        match kind {
            "s" => story.starts.push(Start {
                pid: words.next()?.parse().ok()?,
                at: words.next()?.parse().ok()?,
                run: words.next()?.into(),
            }),
            "e" => story.ends.push(End { code: words.next()?.parse().ok()?, at: words.next()?.parse().ok()? }),
            _ => return None,
        }
        Some(())
    }

    pub fn story(&self, index: u64) -> Story {
        self.stories.get(&index).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written() {
        assert_eq!(ns_of("1970-01-01T00:00:00.000Z"), Some(999_999));
        assert_eq!(ns_of("2026-11-21T11:15:52.123Z"), Some(1_795_259_752_123_999_999));
        assert_eq!(ns_of("2024-02-29T00:00:00Z"), Some(1_709_164_800_999_999_999));
        assert_eq!(ns_of("yesterday"), None);
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_line_waits_for_its_rest() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("w");
        let mut witness = Witness::open(&path).expect("opens");
        append(&path, "s 4 77 100 job-0000000A").expect("appends");
        std::fs::OpenOptions::new().append(true).open(&path).and_then(|mut f| f.write_all(b"e 4 ")).expect("appends");
        assert_eq!(witness.read_on().expect("reads")[&4].ends, []);
        append(&path, "-9 200").expect("appends");
        let story = witness.read_on().expect("reads")[&4].clone();
        assert_eq!(story.starts, [Start { pid: 77, at: 100, run: "job-0000000A".into() }]);
        assert_eq!(story.ends, [End { code: -9, at: 200 }]);
    }
}
