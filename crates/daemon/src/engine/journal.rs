//! `<state>/events.log`: one line for each event of the ledger, for people with `grep` and for tools that read log files.
//!
//! The ledger is the truth and this its shadow. Each line carries its event's number, so the file itself says how far it
//! has come: whoever opens it reads the last whole line, cuts what was torn off behind it, and goes on with the ledger's
//! next event. A death between commit and line, a full disk and a lost commit's late truth all end the same way:
//!
//! ```text
//!   commit ──▶ the numbers follow the last line? ──yes──▶ one write
//!                  │ no                                     │ failed: cut back, and come again
//!                  ▼                                        ▼
//!              a page of the ledger at a time, between other inputs, until it has caught up
//! ```
//! Nothing here can end the engine or hold it up for longer than one write.

use kin_core::{Exit, Outcome, RunId, Time};
use kin_ledger::{Change, Event, Ledger, NewEvent, ReadError, Reader};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const NAME: &str = "events.log";
/// A file that would grow beyond it becomes `events.log.1`.
const SIZE_MAX: u64 = 16 << 20;
/// `events.log.1` to `.3`.
const OLD: u32 = 3;
/// So much of a file's end is looked through for its last line.
const TAIL: u64 = 256 << 10;
/// Events written at once while catching up.
const PAGE: u32 = 500;
/// Where no line says how far the log had come, it begins so many events back at most.
const BACK: u64 = 100_000;
/// A message is cut here, at most.
const MESSAGE_MAX: usize = 4096;
/// After what could not be written or read.
const AGAIN: Duration = Duration::from_secs(1);
/// What the buffer may keep between two commits.
const KEPT: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    size_max: u64,
    /// `None`: to be opened, and its end to be looked at.
    open: Option<Open>,
    /// When to write what the ledger has beyond the last line.
    behind: Option<Instant>,
    /// Only while behind.
    reader: Option<Reader>,
    text: String,
    /// Met while it was read.
    damage: Option<String>,
    /// What keeps it from being written, for whoever asks.
    trouble: watch::Sender<Option<String>>,
    /// How many bytes the disk has left.
    #[cfg(test)]
    room: Option<usize>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    /// The number of the last event that has its line.
    last: u64,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("it cannot be written")]
    Io(#[from] io::Error),
    #[error("the ledger's events cannot be read")]
    Ledger(#[from] ReadError),
}

impl Journal {
    pub(super) fn new(state: &Path) -> Journal {
        Journal {
            path: state.join(NAME),
            size_max: SIZE_MAX,
            open: None,
            behind: Some(Instant::now()),
            reader: None,
            text: String::new(),
            damage: None,
            trouble: watch::channel(None).0,
            #[cfg(test)]
            room: None,
        }
    }

    /// The number of the last event that has a line, of whichever ledger.
    pub(super) fn last_told(&self) -> u64 {
        Open::at(&self.path).map_or(0, |(open, _)| open.last)
    }

    pub(super) fn watch_trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// Of the ledger, if any was met since this was asked last.
    pub(super) fn take_damage(&mut self) -> Option<String> {
        self.damage.take()
    }

    /// When to be asked to catch up. Nothing to do is no time.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.behind
    }

    /// Something may be in the ledger that was never told.
    pub(super) fn doubt(&mut self) {
        self.behind.get_or_insert_with(Instant::now);
    }

    /// These events were committed under these numbers.
    pub(super) fn tell(&mut self, seqs: &Range<u64>, events: &[NewEvent]) {
        if events.is_empty() || self.behind.is_some() {
            return;
        }
        let Some(open) = self.open.as_ref().filter(|open| open.last.saturating_add(1) == seqs.start) else {
            return self.doubt();
        };
        let mut last = open.last;
        self.text.clear();
        for (seq, event) in seqs.clone().zip(events) {
            Line::of_new(seq, event).write(&mut self.text);
            last = seq;
        }
        if let Err(trouble) = self.append(last) {
            self.failed(&trouble.into());
        }
    }

    /// If it is behind: writes one page. To be called between other work, when it is time.
    pub(super) fn catch_up(&mut self, ledger: &Ledger) {
        if self.behind.is_none_or(|at| at > Instant::now()) {
            return;
        }
        match self.page(ledger) {
            Ok(true) => self.behind = Some(Instant::now()),
            Ok(false) => {
                if self.trouble.send_replace(None).is_some() {
                    crate::say!("kin daemon: {NAME} has caught up");
                }
                (self.behind, self.reader) = (None, None);
            }
            Err(trouble) => self.failed(&trouble),
        }
    }

    /// The engine ends: all that can still be written is.
    pub(super) fn finish(&mut self, ledger: &Ledger) {
        while self.behind.is_some_and(|at| at <= Instant::now()) {
            self.catch_up(ledger);
        }
    }

    fn failed(&mut self, trouble: &Trouble) {
        let why = super::words(trouble);
        // Said once, however often it is tried.
        if self.trouble.borrow().is_none() {
            crate::say!("kin daemon: {NAME}: {why}; what is missing follows as soon as it can");
        }
        self.trouble.send_replace(Some(why));
        if let (Trouble::Ledger(ReadError::Damage { what }), Some(reader)) = (trouble, &self.reader) {
            if let Err(e) = reader.suspect(what) {
                crate::say!("kin daemon: the ledger is damaged ({what}), and no mark of it could be left: {e}");
            }
            self.damage = Some(what.clone());
        }
        // Whatever the file is now, opening it finds out.
        (self.open, self.reader) = (None, None);
        self.behind = Some(Instant::now() + AGAIN);
    }

    /// Whether there is more.
    fn page(&mut self, ledger: &Ledger) -> Result<bool, Trouble> {
        let newest = ledger.last_event();
        self.text.clear();
        let mut last = match &self.open {
            Some(open) => open.last,
            None => {
                let (open, begins) = Open::at(&self.path)?;
                let last = if begins { newest.saturating_sub(BACK) } else { open.last };
                if last > open.last {
                    let message = format!("the log begins here; the events up to {last} are in the ledger alone");
                    Line::own(last, "events.gap", &message).write(&mut self.text);
                }
                self.open = Some(open);
                last
            }
        };
        if newest < last {
            // The ledger that these lines are of is gone.
            let message =
                format!("the ledger ends with event {newest}: lines above with later numbers are of one that was lost");
            Line::own(newest, "events.lost", &message).write(&mut self.text);
            last = newest;
        }
        if last < newest {
            let reader = match self.reader.take() {
                Some(reader) => reader,
                None => ledger.reader()?,
            };
            let events = self.reader.insert(reader).events_after(last, PAGE)?;
            if let Some(first) = events.first().filter(|first| first.seq > last.saturating_add(1)) {
                let until = first.seq - 1;
                let message = format!("the events {} to {until} are no longer kept", last + 1);
                Line::own(until, "events.gap", &message).at(first.at).write(&mut self.text);
            }
            for event in &events {
                Line::of(event).write(&mut self.text);
            }
            // A page without an event: everything up to the newest was forgotten.
            last = events.last().map_or(newest, |event| event.seq);
        }
        if !self.text.is_empty() {
            self.append(last)?;
        }
        Ok(last < newest)
    }

    /// One write of all that is in `text`, whose last line is of event `last`. A write that fails leaves nothing behind.
    fn append(&mut self, last: u64) -> io::Result<()> {
        let (inode, mut size) = match std::fs::symlink_metadata(&self.path) {
            Ok(there) => (there.ino(), there.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (0, 0),
            Err(e) => return Err(e),
        };
        let Some(mut open) = self.open.take() else { return Err(io::ErrorKind::NotFound.into()) };
        let full = size > 0 && size + self.text.len() as u64 > self.size_max;
        if full {
            rotate(&self.path)?;
        }
        // Ours, or somebody else's broom, took the file away: its lines are where they were taken.
        if full || inode != open.inode {
            (open.file, open.inode, size) = create(&self.path)?;
        }
        let text = self.text.as_bytes();
        #[cfg(test)]
        let text = &text[..text.len().min(self.room.unwrap_or(usize::MAX))];
        let written = open.file.write_all(text);
        #[cfg(test)]
        let written = if text.len() < self.text.len() { Err(io::ErrorKind::StorageFull.into()) } else { written };
        if let Err(e) = written {
            // Where not even this can be done, whoever opens the file cuts it.
            drop(open.file.set_len(size));
            return Err(e);
        }
        open.last = last;
        self.open = Some(open);
        self.text.shrink_to(KEPT);
        Ok(())
    }
}

impl Open {
    /// Opens the file behind its last whole line; and whether nothing says how far the log had come.
    fn at(path: &Path) -> io::Result<(Open, bool)> {
        let (file, inode, size) = create(path)?;
        let end = end_of_lines(&file, size)?;
        if end < size {
            file.set_len(end)?;
        }
        let mut last = last_seq(&file, end)?;
        for n in 1..=OLD {
            if last.is_some() {
                break;
            }
            last = match File::open(old(path, n)) {
                Ok(file) => last_seq(&file, file.metadata()?.len())?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(e),
            };
        }
        Ok((Open { file, inode, last: last.unwrap_or(0) }, last.is_none()))
    }
}

/// The file, its inode, its size. One that is there is taken as it is.
fn create(path: &Path) -> io::Result<(File, u64, u64)> {
    // Nobody's pipe or device is waited for, and nobody's link followed.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok((file, meta.ino(), meta.len()))
}

fn old(path: &Path, n: u32) -> PathBuf {
    path.with_file_name(format!("{NAME}.{n}"))
}

/// Makes room for a new file. A death in between leaves a name free, and the next rotation moves only what is below it.
fn rotate(path: &Path) -> io::Result<()> {
    let free = (1..OLD).find(|n| !old(path, *n).exists()).unwrap_or(OLD);
    for n in (1..free).rev() {
        std::fs::rename(old(path, n), old(path, n + 1))?;
    }
    std::fs::rename(path, old(path, 1))
}

/// Where the last line that was written to its end stops.
fn end_of_lines(file: &File, size: u64) -> io::Result<u64> {
    let mut end = size;
    while end > 0 {
        let from = end.saturating_sub(TAIL);
        let piece = piece(file, from, end)?;
        if let Some(at) = piece.iter().rposition(|b| *b == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

/// The number of the last event that has a line before `end`.
fn last_seq(file: &File, end: u64) -> io::Result<Option<u64>> {
    let tail = piece(file, end.saturating_sub(TAIL), end)?;
    Ok(tail.split(|b| *b == b'\n').rev().find_map(seq_of))
}

fn piece(file: &File, from: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// `None`: no line of ours, or not the whole of one.
fn seq_of(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.splitn(4, ' ');
    let (at, seq, level, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_ours = at.len() == "2026-11-20T23:11:35.673Z".len()
        && at.ends_with('Z')
        && (level == "INFO" || level == "WARN")
        && rest.starts_with("event=[")
        && rest.ends_with(']');
    if is_ours { seq.parse().ok() } else { None }
}

/// What one line says.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    seq: u64,
    at: Time,
    kind: &'a str,
    run: Option<&'a RunId>,
    change: Option<&'a Change>,
    message: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(event: &'a Event) -> Line<'a> {
        let Event { seq, at, kind, run, change, message } = event;
        Line { seq: *seq, at: *at, kind, run: run.as_ref(), change: change.as_ref(), message: message.as_deref() }
    }
    fn of_new(seq: u64, event: &'a NewEvent) -> Line<'a> {
        let NewEvent { at, kind, run, change, message } = event;
        Line { seq, at: *at, kind, run: run.as_ref(), change: change.as_ref(), message: message.as_deref() }
    }
    /// About the log itself, up to that event.
    fn own(seq: u64, kind: &'a str, message: &'a str) -> Line<'a> {
        Line { seq, at: crate::clock::now(), kind, run: None, change: None, message: Some(message) }
    }
    fn at(self, at: Time) -> Line<'a> {
        Line { at, ..self }
    }

    /// Of what somebody should look at.
    fn warns(&self) -> bool {
        let failure = self.change.and_then(|change| change.outcome.as_ref()).is_some_and(Outcome::is_failure);
        failure
            || self.kind.starts_with("ledger.")
            || self.kind.starts_with("events.")
            || self.kind.ends_with(".trouble")
            || self.kind == "disk.full"
    }

    fn write(&self, text: &mut String) {
        let before = text.len();
        // Writing to a string fails only if a value cannot say itself: then the line is as if torn.
        if self.try_write(text).is_err() {
            text.truncate(before);
        }
    }

    fn try_write(&self, text: &mut String) -> std::fmt::Result {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.at.0)).map_err(|_| std::fmt::Error)?;
        let level = if self.warns() { "WARN" } else { "INFO" };
        write!(text, "{at:.3} {} {level} event=[{}]", self.seq, self.kind)?;
        if let Some(run) = self.run {
            write!(text, " run=[{run}]")?;
        }
        if let Some(change) = self.change {
            let from = change.from.map_or("none", |stage| stage.word());
            write!(text, " prev_state=[{from}] new_state=[{}]", change.to.word())?;
            if let Some(outcome) = &change.outcome {
                write_outcome(text, outcome)?;
            }
            match change.exit {
                Some(Exit::Code(code)) => write!(text, " exit_code=[{code}]")?,
                Some(Exit::Signal { signal, .. }) => write!(text, " signal=[{signal}]")?,
                None => {}
            }
        }
        if let Some(message) = self.message {
            text.push_str(" message=[");
            escape(text, message)?;
            text.push(']');
        }
        text.push('\n');
        Ok(())
    }
}

fn write_outcome(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    write!(text, " outcome=[{}]", outcome.word())?;
    if let Some(reason) = outcome.reason() {
        write!(text, " reason=[{reason}]")?;
    }
    if let Outcome::SpawnFailed { step, errno } = outcome {
        write!(text, " step=[{}] errno=[{errno}]", step.word())?;
    }
    Ok(())
}

/// So that a line stays a line, and a `]` the end of its value.
fn escape(text: &mut String, words: &str) -> std::fmt::Result {
    let end = words.floor_char_boundary(MESSAGE_MAX);
    for c in words[..end].chars() {
        match c {
            ']' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if c.is_control() || is_unseen(c) => write!(text, "\\u{{{:x}}}", u32::from(c))?,
            c => text.push(c),
        }
    }
    if end < words.len() {
        text.push('…');
    }
    Ok(())
}

/// Line ends of their own, and what turns the direction of writing.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests;
