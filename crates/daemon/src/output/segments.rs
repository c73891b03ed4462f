//! One stream of a run as it lies on disk: segments of one size, `<run id>.out`, then `<run id>.out.2`, and so on.
//!
//! Offsets count what the program wrote and kin kept room for; a segment that was removed to stay below a cap is a hole
//! in them. So is what somebody removed or cut while its run went on: there is none of it on the disk. Only
//! the last segment may be shorter than the others. Of a run that ended long ago each may be packed
//! (`<run id>.out.zst`); where both forms are there, the plain one counts.

use super::packed::{Packed, packed};
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The keeper begins a new file after exactly so many bytes.
pub const SEGMENT: u64 = 64 << 20;

const BLOCK: usize = 4096;

#[derive(Debug)]
pub struct Segments {
    first: PathBuf,
    size: u64,
    /// The segment that was read last, counted from one.
    open: Option<(u64, Form)>,
    /// The greatest segment known to exist; zero before the first look.
    newest: u64,
    /// A packed segment, its size on the disk, and how many bytes it holds: as found at the last look.
    measured: Option<(u64, u64, u64)>,
}

#[derive(Debug)]
enum Form {
    Plain(File),
    Packed(Box<Packed>),
}

/// What lies at an offset.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// So many bytes were put into the buffer.
    Bytes(usize),
    /// The stream ends here, so far.
    End,
    /// Not kept from here up to that offset.
    Missing { until: u64 },
}

impl Segments {
    /// `first` is the path of the first segment.
    pub fn new(first: PathBuf) -> Segments {
        Segments::of_size(first, SEGMENT)
    }

    pub fn of_size(first: PathBuf, size: u64) -> Segments {
        Segments { first, size, open: None, newest: 0, measured: None }
    }

    /// Reads into the spare room of `into`, at most `max` bytes and never across a segment's end.
    pub fn read(&mut self, offset: u64, max: usize, into: &mut Vec<u8>) -> io::Result<Found> {
        let (number, within) = (offset / self.size + 1, offset % self.size);
        if !self.open_segment(number)? {
            return Ok(self.next_after(number)?.map_or(Found::End, |next| Found::Missing { until: self.start(next) }));
        }
        let room = max.min(usize::try_from(self.size - within).unwrap_or(max));
        let before = into.len();
        let mut got = self.read_open(within, room, into)?;
        if got == 0 && self.exists(number + 1)? {
            // The next one is begun only when this one is full, so what is still missing now was lost with the power.
            got = self.read_open(within, room, into)?;
            if got == 0 {
                return Ok(Found::Missing { until: self.start(number + 1) });
            }
        }
        // What somebody took away has left a hole, and a hole reads as zeros.
        if into[before..].contains(&0)
            && let Some((_, Form::Plain(file))) = &self.open
            && let Some(hole) = hole_in(file, within..within + got as u64)?
        {
            if hole.start == within {
                into.truncate(before);
                return Ok(Found::Missing { until: self.start(number) + hole.end });
            }
            got = (hole.start - within) as usize;
            into.truncate(before + got);
        }
        Ok(if got == 0 { Found::End } else { Found::Bytes(got) })
    }

    /// Lets go of a file that was removed: for as long as anybody has it open, its room is not there again.
    pub fn let_go_of_removed(&mut self) -> io::Result<()> {
        if let Some((_, Form::Plain(file))) = &self.open
            && file.metadata()?.nlink() == 0
        {
            self.open = None;
        }
        Ok(())
    }

    /// Where the stream ends by now.
    pub fn end(&mut self) -> io::Result<u64> {
        if self.newest == 0 {
            self.newest = match self.len_of(1)? {
                Some(len) if len < self.size => return Ok(len),
                Some(_) => self.next_after(1)?.map_or(Ok(1), |_| self.greatest())?,
                None => self.greatest()?,
            };
        }
        loop {
            match self.len_of(self.newest)? {
                Some(len) if len >= self.size && self.exists(self.newest + 1)? => self.newest += 1,
                Some(len) => return Ok(self.start(self.newest) + len.min(self.size)),
                None if self.newest <= 1 => {
                    self.newest = 0;
                    return Ok(0);
                }
                None => return Ok(self.start(self.newest)),
            }
        }
    }

    fn start(&self, number: u64) -> u64 {
        (number - 1) * self.size
    }

    fn path(&self, number: u64) -> PathBuf {
        if number == 1 {
            return self.first.clone();
        }
        let mut path = self.first.clone().into_os_string();
        path.push(format!(".{number}"));
        PathBuf::from(path)
    }

    fn exists(&self, number: u64) -> io::Result<bool> {
        let path = self.path(number);
        Ok(file_len(&path)?.is_some() || file_len(&packed(&path))?.is_some())
    }

    /// How many bytes a segment holds; `None` where there is none.
    fn len_of(&mut self, number: u64) -> io::Result<Option<u64>> {
        let plain = self.path(number);
        if let Some(len) = file_len(&plain)? {
            return Ok(Some(len));
        }
        let place = packed(&plain);
        let Some(on_disk) = file_len(&place)? else { return Ok(None) };
        if let Some((_, _, len)) = self.measured.filter(|(n, size, _)| (*n, *size) == (number, on_disk)) {
            return Ok(Some(len));
        }
        let len = Packed::open(&place)?.map(|packed| packed.plain_len());
        self.measured = len.map(|len| (number, on_disk, len));
        Ok(len)
    }

    /// Every file that this stream may have. Its directory is listed only if the first segment is full: most are not.
    pub fn files(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut numbers = vec![1];
        // One that is damaged may well have been full.
        if self.len_of(1).map_or(true, |len| len.is_some_and(|len| len >= self.size)) {
            numbers.extend(self.numbers()?);
        }
        // The first goes last: without it nobody would look for the others. The plain form goes before the packed one,
        // as it may just be becoming that.
        let forms = |number: u64| {
            let plain = self.path(number);
            [packed(&plain), plain]
        };
        Ok(numbers.into_iter().flat_map(forms).rev().collect())
    }

    /// Whether that segment exists; then it is the open one.
    fn open_segment(&mut self, number: u64) -> io::Result<bool> {
        if self.open.as_ref().is_some_and(|(open, _)| *open == number) {
            return Ok(true);
        }
        let plain = self.path(number);
        // In this order: the packed one is there before the plain one goes.
        let form = match open(&plain)? {
            Some(file) => Some(Form::Plain(file)),
            None => Packed::open(&packed(&plain))?.map(|packed| Form::Packed(Box::new(packed))),
        };
        self.open = form.map(|form| (number, form));
        Ok(self.open.is_some())
    }

    fn read_open(&mut self, within: u64, room: usize, into: &mut Vec<u8>) -> io::Result<usize> {
        let Some((_, form)) = &mut self.open else { return Ok(0) };
        let before = into.len();
        into.resize(before + room, 0);
        let got = match form {
            Form::Plain(file) => read_at(file, &mut into[before..], within),
            Form::Packed(packed) => packed.read_at(&mut into[before..], within),
        };
        into.truncate(before + *got.as_ref().unwrap_or(&0));
        got
    }

    /// The smallest segment after that one, if there is any.
    fn next_after(&self, number: u64) -> io::Result<Option<u64>> {
        if self.exists(number + 1)? {
            return Ok(Some(number + 1));
        }
        if number == 1 && !self.exists(1)? {
            return Ok(None);
        }
        Ok(self.numbers()?.into_iter().filter(|n| *n > number).min())
    }

    fn greatest(&self) -> io::Result<u64> {
        Ok(self.numbers()?.into_iter().max().unwrap_or(1))
    }

    /// The numbers of all segments but the first, from the directory itself.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let (Some(dir), Some(name)) = (self.first.parent(), self.first.file_name()) else { return Ok(Vec::new()) };
        let name = name.to_string_lossy();
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry?.file_name();
            let number = entry.to_str().and_then(|n| n.strip_prefix(name.as_ref())).and_then(|n| n.strip_prefix('.'));
            let number = number.map(|n| n.strip_suffix(".zst").unwrap_or(n));
            numbers.extend(number.and_then(|n| n.parse::<u64>().ok()).filter(|n| *n > 1));
        }
        Ok(numbers)
    }
}

/// Opens a log for reading; `None` when there is none yet. Never through a link, never anything but a plain file.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => {
            let file = File::from(fd);
            if !file.metadata()?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is not a file", path.display())));
            }
            Ok(Some(file))
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The first hole that has any of that range, cut off at the range's start. File systems keep whole blocks: the zeros next to a
/// hole, in the block before it and in the one after it, are the hole's.
pub(super) fn hole_in(file: &File, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let len = file.metadata()?.len();
    // The last byte of the block before it: the range may begin among the zeros behind a hole.
    let mut from = (range.start - range.start % BLOCK as u64).saturating_sub(1);
    while let Some(hole) = next_hole(file, from, len)? {
        let (mut before, mut after) = ([0; BLOCK], [0; BLOCK]);
        let first = hole.start.saturating_sub(BLOCK as u64).max(from);
        let got = read_at(file, &mut before[..(hole.start - first) as usize], first)?;
        let zeros = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| **byte == 0).count() as u64;
        let start = (hole.start - zeros(&mut before[..got].iter().rev())).max(range.start);
        let got = read_at(file, &mut after, hole.end)?;
        let end = hole.end + zeros(&mut after[..got].iter());
        if start >= range.end {
            return Ok(None);
        }
        if end > range.start {
            return Ok(Some(start..end));
        }
        from = hole.end;
    }
    Ok(None)
}

/// As the file system says it. What lies behind the file's end is none.
fn next_hole(file: &File, from: u64, len: u64) -> io::Result<Option<Range<u64>>> {
    let hole = match rustix::fs::seek(file, SeekFrom::Hole(from)) {
        Ok(hole) if hole < len => hole,
        // It has none there, or this file system knows of no holes.
        Ok(_) | Err(Errno::NXIO | Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    match rustix::fs::seek(file, SeekFrom::Data(hole)) {
        Ok(data) => Ok(Some(hole..data)),
        // It ends in one: what is to follow it is not written yet.
        Err(Errno::NXIO) => Ok(Some(hole..len)),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(into, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn file_len(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(segments: &mut Segments, mut at: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
        let (mut bytes, mut holes) = (Vec::new(), Vec::new());
        loop {
            match segments.read(at, 3, &mut bytes).expect("reads") {
                Found::Bytes(n) => at += n as u64,
                Found::Missing { until } => {
                    holes.push((at, until));
                    at = until;
                }
                Found::End => return (bytes, holes),
            }
        }
    }

    #[test]
    fn a_stream_is_one_over_all_its_segments_and_tells_its_holes() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = dir.path().join("a-00000001.out");
        let mut segments = Segments::of_size(first.clone(), 4);
        assert_eq!((all(&mut segments, 0).0.len(), segments.end().expect("a length")), (0, 0));
        for (name, bytes) in [("", "0123"), (".2", "4567"), (".3", "89")] {
            std::fs::write(format!("{}{name}", first.display()), bytes).expect("writes");
        }
        std::fs::write(dir.path().join("a-00000001.outer.9"), "x").expect("writes");
        assert_eq!(all(&mut segments, 0), (b"0123456789".to_vec(), vec![]));
        assert_eq!(all(&mut segments, 5), (b"56789".to_vec(), vec![]));
        assert_eq!(segments.end().expect("a length"), 10);
        std::fs::remove_file(format!("{}.2", first.display())).expect("removes");
        let mut fresh = Segments::of_size(first, 4);
        assert_eq!(all(&mut fresh, 1), (b"12389".to_vec(), vec![(4, 8)]));
        assert_eq!(fresh.end().expect("a length"), 10);
    }

    #[test]
    fn what_somebody_took_away_is_missing_and_no_zeros() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = dir.path().join("a-00000001.out");
        let file = File::create(&first).expect("made");
        file.set_len(9_001).expect("longer");
        let mut segments = Segments::new(first);
        assert_eq!(all(&mut segments, 0), (vec![], vec![(0, 9_001)]));
        file.write_all_at(b"more", 9_001).expect("written");
        assert_eq!(all(&mut segments, 0), (b"more".to_vec(), vec![(0, 9_001)]));
        assert_eq!(all(&mut segments, 9_001), (b"more".to_vec(), vec![]));
        // What a program wrote is its own, zeros too.
        file.write_all_at(&[0; 5], 9_005).expect("written");
        assert_eq!(all(&mut segments, 9_001), (b"more\0\0\0\0\0".to_vec(), vec![]));
        assert_eq!(segments.end().expect("a length"), 9_010);
    }

    #[test]
    fn what_was_cut_away_behind_a_head_that_stayed_is_missing_to_the_byte() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = dir.path().join("a-00000001.out");
        let file = File::create(&first).expect("made");
        file.write_all_at(&[b'x'; 13_893], 0).expect("written");
        // Somebody cuts it; the keeper makes it as long as it was and goes on.
        file.set_len(100).expect("cut");
        file.set_len(13_893).expect("longer");
        let mut segments = Segments::new(first);
        assert_eq!(all(&mut segments, 0), (vec![b'x'; 100], vec![(100, 13_893)]));
        file.write_all_at(b"after\0\n", 13_893).expect("written");
        let want = [&[b'x'; 100][..], b"after\0\n"].concat();
        assert_eq!(all(&mut segments, 0), (want, vec![(100, 13_893)]));
        // In the kept block's rest, in the hole, and among the zeros of the block that was begun after it.
        for at in [100, 4_095, 4_096, 8_191, 8_192, 12_287, 12_288, 13_000, 13_892] {
            assert_eq!(all(&mut segments, at), (b"after\0\n".to_vec(), vec![(at, 13_893)]), "from {at}");
        }
        assert_eq!(all(&mut segments, 13_898), (b"\0\n".to_vec(), vec![]));
        let mut whole = Vec::new();
        assert_eq!(segments.read(0, 65_536, &mut whole).expect("reads"), Found::Bytes(100));
        assert_eq!(whole, [b'x'; 100]);
    }

    #[test]
    fn a_removed_file_is_not_held_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = dir.path().join("a-00000001.out");
        std::fs::write(&first, "0123").expect("writes");
        let mut segments = Segments::new(first.clone());
        assert_eq!(segments.read(0, 10, &mut Vec::new()).expect("reads"), Found::Bytes(4));
        segments.let_go_of_removed().expect("looks");
        assert!(segments.open.is_some());
        std::fs::remove_file(first).expect("removed");
        segments.let_go_of_removed().expect("looks");
        assert!(segments.open.is_none());
        assert_eq!(segments.read(4, 10, &mut Vec::new()).expect("reads"), Found::End);
    }

    #[test]
    fn a_link_in_a_logs_place_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let link = dir.path().join("a-00000001.out");
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("a link");
        assert!(Segments::new(link).read(0, 10, &mut Vec::new()).is_err());
    }
}
