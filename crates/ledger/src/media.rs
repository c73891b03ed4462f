//! The files themselves, looked at before SQLite touches them.
//!
//! SQLite takes two kinds of damage for an ordinary crash and goes on without a word: it ends a write-ahead log at the first
//! frame whose sum is wrong, whatever follows, and takes a log whose header is wrong for an empty one. Either way commits
//! that were answered for are gone, and worse: pages that a checkpoint had already moved into the database would be covered
//! again by their older versions. So the log is read here by the same rules first, and two witnesses are heard:
//!
//! 1. *What follows.* A frame with a right sum after one with a wrong sum was not the last thing written.
//! 2. *The index of the log* (`kin.db-shm`), which the last process left behind with the number of the last frame it had
//!    committed. It is only believed when both its copies agree and their sum is right.
//!
//! ```text
//! log:    header  u32 magic, format, page size, checkpoint, salt ×2, sum ×2            32 bytes, big-endian
//!         frame   u32 page, pages after this commit or 0, salt ×2, sum ×2, then the page; sums go on from frame to frame
//! index:  twice   u32 version, -, change; u8 ready, order; u16 page size; u32 last frame, pages, frame sum ×2, salt ×2, sum ×2
//! ```
//! A process that opens or closes one of these files loses the locks that SQLite holds on it in the same process; so this
//! is done once, before the first connection.

use crate::open::{BACKUP, DB, MADE};
use crate::schema::{APPLICATION_ID, KNOWN};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// No database, and nothing says that there ever was one.
    Nothing,
    /// It was written by a newer kin, of this version.
    Newer(u32),
    Damaged(String),
    /// As far as can be seen from outside. `bytes` is how much there is to look at inside.
    Good {
        bytes: u64,
    },
}

const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const DB_HEADER: usize = 100;

pub(crate) fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn look(dir: &Path) -> io::Result<Look> {
    let db = dir.join(DB);
    let index = Index::read(&beside(&db, "-shm"))?;
    let Some(mut file) = open(&db)? else { return gone(dir, "it is missing") };
    let bytes = file.metadata()?.len();
    if bytes == 0 {
        return gone(dir, "it is empty");
    }
    let mut header = [0; DB_HEADER];
    if !fill(&mut file, &mut header)? {
        return damaged("it is cut short");
    }
    let header = match Header::parse(&header) {
        Ok(header) => header,
        Err(why) => return damaged(why),
    };
    // What follows was said by the version that wrote it, so the version comes first.
    let log = Log::read(&beside(&db, "-wal"), header.page_size)?;
    let newest = log.first_page.as_ref().and_then(|page| Header::parse(page).ok()).unwrap_or(header);
    if let Some(newer) = [header.version, newest.version].into_iter().find(|version| *version > KNOWN) {
        return Ok(Look::Newer(newer));
    }
    if newest.version == 0 {
        return damaged("its tables are gone");
    }
    if let Some(why) = log.trouble(index.as_ref()) {
        return damaged(why);
    }
    let pages = if log.pages > 0 { log.pages } else { newest.pages };
    let in_file = bytes / u64::from(header.page_size);
    let missing = (in_file + 1..=u64::from(pages)).any(|page| !log.holds.contains(&page));
    if missing {
        return damaged("it is cut short");
    }
    Ok(Look::Good { bytes: bytes + log.bytes })
}

fn damaged(why: &str) -> io::Result<Look> {
    Ok(Look::Damaged(why.to_owned()))
}

/// There is no database to speak of. Was there one?
fn gone(dir: &Path, how: &str) -> io::Result<Look> {
    let log = std::fs::metadata(beside(&dir.join(DB), "-wal")).is_ok_and(|found| found.len() > 0);
    let logs = match std::fs::read_dir(dir.join("logs")) {
        Ok(mut entries) => entries.next().transpose()?.is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let witness = [
        (log, "its write-ahead log is there"),
        (dir.join(MADE).exists(), "one was made here"),
        (dir.join(BACKUP).exists(), "its backup is there"),
        (logs, "there are logs of runs"),
    ]
    .into_iter()
    .find_map(|(speaks, words)| speaks.then_some(words));
    Ok(witness.map_or(Look::Nothing, |witness| Look::Damaged(format!("{how}, and {witness}"))))
}

/// A file that need not be there.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fills the buffer; false at the end of the file.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn big(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn native(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The first hundred bytes of the database.
#[derive(Clone, Copy, Debug)]
struct Header {
    page_size: u32,
    pages: u32,
    version: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Header, &'static str> {
        const CUT: &str = "it is cut short";
        if !bytes.starts_with(b"SQLite format 3\0") {
            return Err("it is not a database");
        }
        let page_size = match u32::from(bytes[16]) << 8 | u32::from(bytes[17]) {
            1 => 65_536,
            size => size,
        };
        // What no ledger of kin ever has otherwise: SQLite would refuse one, or take it for another kind of file.
        let words = [(44, 4), (48, 0), (52, 0), (56, 1), (64, 0)];
        let fixed = bytes[18..24] == [2, 2, 0, 64, 32, 32]
            && words.iter().all(|(at, word)| big(bytes, *at) == Some(*word))
            && bytes[72..92].iter().all(|b| *b == 0);
        if !fixed || !page_size.is_power_of_two() || page_size < 512 {
            return Err("its header is damaged");
        }
        if big(bytes, 68) != Some(APPLICATION_ID) {
            return Err("it is another program's database");
        }
        // The count of pages is only kept when the program that wrote last says so in the same breath.
        let counted = big(bytes, 24) == big(bytes, 92);
        let pages = big(bytes, 28).ok_or(CUT)?;
        if !counted || pages == 0 {
            return Err("its header is damaged");
        }
        Ok(Header { page_size, pages, version: big(bytes, 60).ok_or(CUT)? })
    }
}

/// SQLite's sum of pairs of words, going on from `from`.
fn sums(bytes: &[u8], big_endian: bool, from: (u32, u32)) -> (u32, u32) {
    let word = |four: &[u8]| {
        let four = [four[0], four[1], four[2], four[3]];
        if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    bytes.chunks_exact(8).fold(from, |(a, b), pair| {
        let a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        (a, b.wrapping_add(word(&pair[4..])).wrapping_add(a))
    })
}

/// Whether there is anything but zeros in a log beyond its header and that of one frame.
fn has_content(rest: &mut impl BufRead) -> io::Result<bool> {
    let (mut len, mut any) = (0, false);
    loop {
        let buffer = rest.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any && len >= WAL_HEADER + FRAME_HEADER);
        }
        any |= buffer.iter().any(|b| *b != 0);
        len += buffer.len();
        let used = buffer.len();
        rest.consume(used);
    }
}

/// What SQLite will find in the log.
#[derive(Debug, Default)]
struct Log {
    bytes: u64,
    /// Its header says nothing, and there is something after it.
    headless: bool,
    /// Its salts, if its header is whole.
    salts: Option<(u32, u32)>,
    /// Frames up to the last commit.
    frames: u32,
    /// Pages of the database after the last commit; 0 when there is none.
    pages: u32,
    /// Pages that have a version in it.
    holds: BTreeSet<u64>,
    /// The newest version of the first page.
    first_page: Option<Vec<u8>>,
    /// A frame with a wrong sum, and a commit with a right one after it.
    hole: bool,
}

impl Log {
    fn read(path: &Path, page_size: u32) -> io::Result<Log> {
        let mut log = Log::default();
        let Some(file) = open(path)? else { return Ok(log) };
        log.bytes = file.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut header = [0; WAL_HEADER];
        if !fill(&mut file, &mut header)? {
            return Ok(log);
        }
        let word = |at: usize| big(&header, at).unwrap_or_default();
        let big_endian = word(0) & 1 == 1;
        let whole = word(0) & !1 == 0x377f_0682
            && word(4) == 3_007_000
            && word(8) == page_size
            && sums(&header[..24], big_endian, (0, 0)) == (word(24), word(28));
        if !whole {
            log.headless = has_content(&mut file.chain(header.as_slice()))?;
            return Ok(log);
        }
        let salts = (word(16), word(20));
        log.salts = Some(salts);
        log.walk(&mut file, page_size, salts, big_endian, (word(24), word(28)))?;
        Ok(log)
    }

    fn walk(
        &mut self,
        file: &mut impl Read,
        page_size: u32,
        salts: (u32, u32),
        big_endian: bool,
        mut seed: (u32, u32),
    ) -> io::Result<()> {
        let mut uncommitted = Vec::new();
        let mut first_page = None;
        let mut broken = false;
        let mut n = 0;
        let mut frame = vec![0; FRAME_HEADER + page_size as usize];
        while fill(file, &mut frame)? {
            n += 1;
            let word = |at: usize| big(&frame, at).unwrap_or_default();
            let (page, commit) = (word(0), word(4));
            let ours = (word(8), word(12)) == salts && page != 0;
            let sum = sums(&frame[FRAME_HEADER..], big_endian, sums(&frame[..8], big_endian, seed));
            let right = ours && sum == (word(16), word(20));
            // After a broken frame the sums go on from what each says of itself.
            seed = (word(16), word(20));
            if !right {
                broken = true;
                continue;
            }
            if broken {
                self.hole |= commit != 0;
                continue;
            }
            uncommitted.push(u64::from(page));
            if page == 1 {
                first_page = Some(frame[FRAME_HEADER..].to_vec());
            }
            if commit != 0 {
                self.frames = n;
                self.pages = commit;
                self.holds.extend(uncommitted.drain(..));
                self.first_page = first_page.take().or(self.first_page.take());
            }
        }
        Ok(())
    }

    /// Why this is not how the last process left it.
    fn trouble(&self, index: Option<&Index>) -> Option<&'static str> {
        if self.headless {
            return Some("the header of its write-ahead log is damaged");
        }
        if self.hole {
            return Some("its write-ahead log has a hole");
        }
        let index = index.filter(|index| index.last_frame > 0)?;
        match self.salts {
            None => Some("its write-ahead log is gone"),
            Some(salts) if salts == index.salts && self.frames < index.last_frame => {
                Some("the end of its write-ahead log is gone")
            }
            Some(_) => None,
        }
    }
}

/// What the last process knew of the log.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    last_frame: u32,
    salts: (u32, u32),
}

impl Index {
    fn read(path: &Path) -> io::Result<Option<Index>> {
        let Some(mut file) = open(path)? else { return Ok(None) };
        let mut bytes = [0; 96];
        Ok(if fill(&mut file, &mut bytes)? { Index::parse(&bytes) } else { None })
    }

    fn parse(bytes: &[u8; 96]) -> Option<Index> {
        let first = bytes.get(..48)?;
        let sum = sums(&first[..40], cfg!(target_endian = "big"), (0, 0));
        let whole = bytes.get(48..96)? == first
            && native(first, 0) == Some(3_007_000)
            && first[12] == 1
            && (native(first, 40)?, native(first, 44)?) == sum;
        whole.then_some(Index { last_frame: native(first, 16)?, salts: (big(first, 32)?, big(first, 36)?) })
    }
}
