//! A segment of a run that ended long ago, packed: `<run id>.out.zst`, `<run id>.out.2.zst`.
//!
//! Zstandard frames, each of as many plain bytes, its size and checksum in it; then the table of the seekable format,
//! which other readers of zstd skip. So `zstdcat` shows all of it, and a reader at any offset decodes one frame.
//!
//! ```text
//!   frame  frame  …  u32 0x184D2A5E  u32 bytes from here on          little-endian
//!                    u32 packed, u32 plain size of each frame
//!                    u32 frames  u8 0  u32 0x8F92EAB1
//! ```
//! A file is believed only as far as it fits together: what it claims about sizes is compared with the file itself
//! before anything is allocated, and bytes that do not fit their checksum are an error, never an answer.
//!
//! Packing leaves, whenever it dies, the plain file, or both, or the packed one, and never less:
//!
//! ```text
//!   .zst.new written and synced ──▶ read back, compared ──▶ renamed to .zst ──▶ directory synced ──▶ plain removed
//! ```

use super::segments::{self, SEGMENT};
use kin_keeper::fault;
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use zstd::zstd_safe::{self, CParameter};

/// Plain bytes of each frame but the last.
pub const FRAME: usize = 256 << 10;
/// No segment has more.
const FRAMES: usize = (SEGMENT / FRAME as u64) as usize;
const LEVEL: i32 = 3;

const TABLE: u32 = 0x184D_2A5E;
const SEEKABLE: u32 = 0x8F92_EAB1;
const HEAD: usize = 8;
const ENTRY: usize = 8;
const FOOT: usize = 9;
/// A frame says its plain size within so many bytes.
const FRAME_HEAD: usize = 18;

/// Files smaller than that stay as they are: little would be won.
pub const LEAST: u64 = 64 << 10;

/// The name of a plain segment, packed.
pub fn packed(plain: &Path) -> PathBuf {
    with(plain, ".zst")
}

/// Where it is while it is being written. What lies there when nobody is writing it was left by a death.
pub fn begun(plain: &Path) -> PathBuf {
    with(plain, ".zst.new")
}

fn with(plain: &Path, end: &str) -> PathBuf {
    let mut path = plain.as_os_str().to_owned();
    path.push(end);
    PathBuf::from(path)
}

/// A packed segment, open for reading.
#[derive(Debug)]
pub struct Packed {
    path: PathBuf,
    file: File,
    /// Where each frame begins in the file, and last where the table does.
    begins: Vec<u64>,
    /// Plain bytes.
    len: u64,
    /// The frame that was decoded last, and its bytes.
    decoded: Option<usize>,
    bytes: Vec<u8>,
}

impl Packed {
    /// `None`: there is no such file.
    pub fn open(path: &Path) -> io::Result<Option<Packed>> {
        let Some(file) = segments::open(path)? else { return Ok(None) };
        let size = file.metadata()?.len();
        let (begins, len) = table(path, &file, size)?;
        let packed =
            Packed { path: path.to_path_buf(), file, begins, len, decoded: None, bytes: Vec::with_capacity(FRAME) };
        Ok(Some(packed))
    }

    /// How many bytes it holds.
    pub fn plain_len(&self) -> u64 {
        self.len
    }

    /// As from a plain file: 0 at its end, and perhaps fewer bytes than there is room for.
    pub fn read_at(&mut self, into: &mut [u8], at: u64) -> io::Result<usize> {
        if at >= self.len {
            return Ok(0);
        }
        let frame = (at / FRAME as u64) as usize;
        if self.decoded != Some(frame) {
            self.decode(frame)?;
        }
        let rest = &self.bytes[(at % FRAME as u64) as usize..];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn decode(&mut self, frame: usize) -> io::Result<()> {
        self.decoded = None;
        let (begin, end) = (self.begins[frame], self.begins[frame + 1]);
        let mut packed = vec![0; (end - begin) as usize];
        self.file.read_exact_at(&mut packed, begin)?;
        // It never holds more than it has room for, so this is all that a frame can make us allocate.
        let got = zstd::bulk::Decompressor::new()?.decompress_to_buffer(&packed, &mut self.bytes);
        let got = got.map_err(|e| damaged(&self.path, begin, &format!("the frame there cannot be unpacked ({e})")))?;
        let want = (self.len - frame as u64 * FRAME as u64).min(FRAME as u64);
        if got as u64 != want || self.bytes.len() != got {
            let why = format!("the frame there holds {got} bytes, and should hold {want}");
            return Err(damaged(&self.path, begin, &why));
        }
        self.decoded = Some(frame);
        Ok(())
    }
}

/// Reads the table: where the frames begin, and how many plain bytes they hold together.
fn table(path: &Path, file: &File, size: u64) -> io::Result<(Vec<u64>, u64)> {
    let damaged = |at: u64, why: &str| damaged(path, at, why);
    let foot_at = size.checked_sub(FOOT as u64).ok_or_else(|| damaged(0, "it is too short"))?;
    let mut foot = [0; FOOT];
    file.read_exact_at(&mut foot, foot_at)?;
    let count = word(&foot, 0) as usize;
    if word(&foot, 5) != SEEKABLE || foot[4] != 0 || count == 0 || count > FRAMES {
        return Err(damaged(foot_at, "it does not end as a packed file ends"));
    }
    let rest = count * ENTRY + FOOT;
    let table_at = size.checked_sub((HEAD + rest) as u64);
    let table_at = table_at.ok_or_else(|| damaged(foot_at, "its table is longer than the file"))?;
    let mut bytes = vec![0; HEAD + count * ENTRY];
    file.read_exact_at(&mut bytes, table_at)?;
    if word(&bytes, 0) != TABLE || word(&bytes, 4) as usize != rest {
        return Err(damaged(table_at, "its table does not begin there"));
    }
    let (mut begins, mut begin, mut len) = (Vec::with_capacity(count + 1), 0, 0);
    for (i, entry) in bytes[HEAD..].chunks_exact(ENTRY).enumerate() {
        let (packed, plain) = (word(entry, 0) as usize, word(entry, 4) as usize);
        let is_last = i + 1 == count;
        let fits = if is_last { (1..=FRAME).contains(&plain) } else { plain == FRAME };
        if !fits || packed == 0 || packed > zstd_safe::compress_bound(FRAME) {
            return Err(damaged(table_at + (HEAD + i * ENTRY) as u64, "its table says a size that no frame has"));
        }
        begins.push(begin);
        begin += packed as u64;
        len += plain as u64;
    }
    if begin != table_at {
        return Err(damaged(table_at, "the sizes in its table do not add up to the file"));
    }
    // Only the last frame's plain size is not known beforehand, and the stream's end follows from it.
    let (last_at, last) = (begins[count - 1], len - (count as u64 - 1) * FRAME as u64);
    let mut head = [0; FRAME_HEAD];
    let there = head.len().min((begin - last_at) as usize);
    file.read_exact_at(&mut head[..there], last_at)?;
    if !matches!(zstd_safe::get_frame_content_size(&head[..there]), Ok(Some(said)) if said == last) {
        return Err(damaged(last_at, "the frame there is not as long as the table says"));
    }
    begins.push(begin);
    Ok((begins, len))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn damaged(path: &Path, at: u64, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged at its byte {at}: {why}", path.display()))
}

/// What packing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Bytes on the disk, before and now.
    Packed { before: u64, after: u64 },
    /// Somebody removed the run's output meanwhile.
    Gone,
    /// Some of it is a hole, which takes no room, and would be zeros in the other form. It stays.
    Holed,
}

/// Puts a packed file into a plain one's place. Nobody may write to it any more, and nobody else may be packing it.
/// When it fails, everything is as it was.
pub fn pack(plain: &Path) -> io::Result<Done> {
    let Some(file) = segments::open(plain)? else { return Ok(Done::Gone) };
    let place = packed(plain);
    if segments::hole_in(&file, 0..file.metadata()?.len())?.is_some() {
        return Ok(Done::Holed);
    }
    let before = file.metadata()?.len();
    match Packed::open(&place) {
        Ok(Some(mut there)) => {
            // A death after the rename left both.
            if same(&file, &mut there)? {
                let after = there.file.metadata()?.len();
                return sync_dir(plain).and_then(|()| put_away(plain, &place, before, after));
            }
            if there.len > before {
                let more = format!("{} holds more than the plain file beside it; both stay", place.display());
                return Err(io::Error::other(more));
            }
        }
        Ok(None) => {}
        // The plain file counts.
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {}
        Err(e) => return Err(e),
    }
    let new = begun(plain);
    let done = written(&file, &new).and_then(|after| {
        fault::point("pack-written");
        std::fs::rename(&new, &place).map(|()| after)
    });
    let after = done.inspect_err(|_| remove(&new))?;
    sync_dir(plain)?;
    fault::point("pack-renamed");
    put_away(plain, &place, before, after)
}

fn remove(path: &Path) {
    if let Err(e) = std::fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        crate::say!("kin daemon: cannot remove {}: {e}", path.display());
    }
}

/// A packed file at `new`, as durable and as true as the plain one. Gives its size.
fn written(plain: &File, new: &Path) -> io::Result<u64> {
    let meta = plain.metadata()?;
    // Left by a death; nobody else makes one.
    match std::fs::remove_file(new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(new, flags, Mode::RUSR | Mode::WUSR)?);
    if file.metadata()?.uid() != meta.uid() || file.metadata()?.gid() != meta.gid() {
        std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(meta.mode() & 0o777))?;
    write(plain, &mut BufWriter::new(&file))?;
    // It is as old as what it holds.
    let at = |sec, nsec: i64| Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    let times = Timestamps {
        last_access: at(meta.atime(), meta.atime_nsec()),
        last_modification: at(meta.mtime(), meta.mtime_nsec()),
    };
    rustix::fs::futimens(&file, &times)?;
    file.sync_all()?;
    let gone = || io::Error::other("what was written is not there");
    if !same(plain, &mut Packed::open(new)?.ok_or_else(gone)?)? {
        return Err(io::Error::other(format!("{} does not read as what it was made from", new.display())));
    }
    Ok(file.metadata()?.len())
}

/// Writes all of a plain file, packed.
fn write(plain: &File, into: &mut impl Write) -> io::Result<()> {
    let mut packer = zstd::bulk::Compressor::new(LEVEL)?;
    packer.set_parameter(CParameter::ChecksumFlag(true))?;
    let (mut bytes, mut table, mut at) = (vec![0; FRAME], Vec::new(), 0);
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(FRAME));
    loop {
        let mut got = 0;
        while got < FRAME {
            match segments::read_at(plain, &mut bytes[got..], at + got as u64)? {
                0 => break,
                n => got += n,
            }
        }
        if got == 0 {
            break;
        }
        packer.compress_to_buffer(&bytes[..got], &mut frame)?;
        into.write_all(&frame)?;
        table.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        table.extend_from_slice(&(got as u32).to_le_bytes());
        at += got as u64;
    }
    let count = (table.len() / ENTRY) as u32;
    into.write_all(&TABLE.to_le_bytes())?;
    into.write_all(&((table.len() + FOOT) as u32).to_le_bytes())?;
    into.write_all(&table)?;
    into.write_all(&count.to_le_bytes())?;
    into.write_all(&[0])?;
    into.write_all(&SEEKABLE.to_le_bytes())?;
    into.flush()
}

/// Whether both hold the same bytes. A packed file that cannot be read whole does not.
fn same(plain: &File, packed: &mut Packed) -> io::Result<bool> {
    let (mut left, mut right, mut at) = (vec![0; FRAME], vec![0; FRAME], 0);
    loop {
        let got = match packed.read_at(&mut right, at) {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Ok(false),
            got => got?,
        };
        if got == 0 {
            return Ok(segments::read_at(plain, &mut left[..1], at)? == 0);
        }
        match plain.read_exact_at(&mut left[..got], at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if left[..got] != right[..got] {
            return Ok(false);
        }
        at += got as u64;
    }
}

/// The packed file is there for good: the plain one goes.
fn put_away(plain: &Path, place: &Path, before: u64, after: u64) -> io::Result<Done> {
    match std::fs::remove_file(plain) {
        Ok(()) => Ok(Done::Packed { before, after }),
        // Whoever removed the run's output did not see that it had another form by then.
        Err(e) if e.kind() == io::ErrorKind::NotFound => std::fs::remove_file(place).map(|()| Done::Gone),
        Err(e) => Err(e),
    }
}

fn sync_dir(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests;
