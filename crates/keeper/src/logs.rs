//! A run's log files, and what names them: its spec, held open.
//!
//! A spec's name goes when its run has ended, and perhaps with the whole runtime directory; but whoever still writes into
//! a run's pipes must be heard, in a new segment or by a new keeper. So each process that serves a run or stands ready to
//! do so holds the spec by descriptor, for as long as anything of the run is left.

use crate::place::own_file;
use crate::spec::{BadSpec, SpecView};
use crate::sys::map::Mapping;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const PATH_MAX: usize = 4096;
const ENDS_MOST: u64 = 16 << 20;

/// Most specs are shorter: they are read, which is quicker than to map and unmap them.
const SHORT: usize = 4096;

/// A spec file, read or mapped; nothing is allocated for it.
#[derive(Debug)]
pub(crate) struct SpecFile {
    short: [u8; SHORT],
    len: usize,
    long: Option<Mapping>,
}

impl SpecFile {
    fn read(file: &OwnedFd) -> rustix::io::Result<SpecFile> {
        let mut spec = SpecFile { short: [0; SHORT], len: 0, long: None };
        spec.len = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut spec.short, 0))?;
        if spec.len == SHORT {
            let len = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| Errno::INVAL)?;
            let map = Mapping::private(file, len);
            spec.long = Some(map.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::NOMEM))?);
        }
        Ok(spec)
    }
    pub(crate) fn view(&self) -> Result<SpecView<'_>, BadSpec> {
        let short = self.short.get(..self.len).unwrap_or_default();
        SpecView::check(self.long.as_ref().map_or(short, Mapping::bytes))
    }
}

/// The names of one run's logs.
#[derive(Debug, Default)]
pub(crate) struct Logs(Option<OwnedFd>);

impl Logs {
    pub(crate) fn of(spec: Option<OwnedFd>) -> Logs {
        Logs(spec)
    }
    pub(crate) fn spec_fd(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }

    /// The spec, for as long as it is needed.
    pub(crate) fn spec(&self) -> rustix::io::Result<SpecFile> {
        let file = self.0.as_ref().ok_or(Errno::NOENT)?;
        let spec = SpecFile::read(file)?;
        spec.view().map_err(|_| Errno::INVAL)?;
        Ok(spec)
    }

    /// The full id of a run, which is the name of its logs; its processes carry it in KIN_RUN_ID.
    pub(crate) fn run_id(&self) -> String {
        let spec = self.spec();
        let view = spec.as_ref().ok().and_then(|spec| spec.view().ok());
        let base = view.map(|view| view.log_base().to_bytes()).unwrap_or_default();
        let name = base.rsplit(|b| *b == b'/').next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// One file, for writing: made if it is not there, and its directory too. Segment 1 has no number in its name.
    pub(crate) fn open(&self, extension: &str, segment: u32) -> rustix::io::Result<OwnedFd> {
        let mut buffer = [0; PATH_MAX];
        let path = self.path(extension, segment, &mut buffer)?;
        let flags = own_file(OFlags::WRONLY | OFlags::CREATE);
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::open(path, flags, mode) {
            // Somebody took the job's directory away. What is still said must go somewhere.
            Err(Errno::NOENT) => {
                rustix::fs::mkdir(path.parent().ok_or(Errno::NOENT)?, Mode::RWXU)?;
                rustix::fs::open(path, flags, mode)
            }
            other => other,
        }
    }

    /// How long one segment is; `None`: there is none.
    pub(crate) fn size(&self, extension: &str, segment: u32) -> Option<u64> {
        let mut buffer = [0; PATH_MAX];
        let path = self.path(extension, segment, &mut buffer).ok()?;
        rustix::fs::lstat(path).ok().map(|stat| stat.st_size as u64)
    }

    /// Whether that is the last entry of its index.
    pub(crate) fn index_ends_with(&self, bytes: &[u8; crate::index::ENTRY]) -> rustix::io::Result<bool> {
        let mut buffer = [0; PATH_MAX];
        let file = rustix::fs::open(self.path("idx", 1, &mut buffer)?, own_file(OFlags::RDONLY), Mode::empty())?;
        let entry = bytes.len() as u64;
        let len = rustix::fs::fstat(&file)?.st_size as u64 / entry * entry;
        let Some(at) = len.checked_sub(entry) else { return Ok(false) };
        let mut last = [0; crate::index::ENTRY];
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut last, at))?;
        Ok(read == last.len() && last == *bytes)
    }

    pub(crate) fn remove(&self, extension: &str, segment: u32) -> rustix::io::Result<()> {
        let mut buffer = [0; PATH_MAX];
        rustix::fs::unlink(self.path(extension, segment, &mut buffer)?)
    }

    /// Appends the run's end record to its job's `ends`: what a lost ledger is rebuilt from.
    pub(crate) fn append_end(&self, record: &[u8]) -> rustix::io::Result<()> {
        let mut buffer = [0; PATH_MAX];
        let spec = self.spec()?;
        let base = spec.view().map_err(|_| Errno::INVAL)?.log_base().to_bytes();
        // A helper has no logs: nobody will ask how it ended.
        let Some(cut) = base.iter().rposition(|b| *b == b'/') else { return Ok(()) };
        let path = joined(&[&base[..cut], b"/ends"], &mut buffer)?;
        let flags = own_file(OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND);
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        if rustix::fs::fstat(&file)?.st_size as u64 > ENDS_MOST {
            let mut other = [0; PATH_MAX];
            rustix::fs::rename(path, joined(&[&base[..cut], b"/ends.1"], &mut other)?)?;
        }
        match rustix::io::write(&file, record)? {
            n if n == record.len() => Ok(()),
            _ => Err(Errno::NOSPC),
        }
    }

    fn path<'b>(&self, extension: &str, segment: u32, buffer: &'b mut [u8; PATH_MAX]) -> rustix::io::Result<&'b Path> {
        let spec = self.spec()?;
        let base = spec.view().map_err(|_| Errno::INVAL)?.log_base().to_bytes();
        let mut digits = [0; 11];
        let number = number(segment, &mut digits);
        let parts: [&[u8]; 4] = [base, b".", extension.as_bytes(), if segment > 1 { number } else { b"" }];
        joined(&parts, buffer)
    }
}

/// `.7` without allocating.
fn number(n: u32, digits: &mut [u8; 11]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    at -= 1;
    digits[at] = b'.';
    &digits[at..]
}

fn joined<'b>(parts: &[&[u8]], buffer: &'b mut [u8; PATH_MAX]) -> rustix::io::Result<&'b Path> {
    let mut at = 0;
    for part in parts {
        let end = at + part.len();
        buffer.get_mut(at..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
        at = end;
    }
    Ok(Path::new(std::ffi::OsStr::from_bytes(&buffer[..at])))
}

#[cfg(test)]
mod tests {
    use crate::place::Place;
    use kin_core::RunNo;

    #[test]
    fn logs_are_named_after_their_segment_also_when_the_spec_has_lost_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("spec")).expect("a directory");
        let place = Place::open(dir.path(), dir.path()).expect("a place");
        let base = dir.path().join("job/a-1");
        let mut spec = crate::spec::Spec::new(b"/", base.to_str().expect("text").as_bytes());
        spec.programs = vec![b"/bin/true".to_vec()];
        spec.argv = vec![b"true".to_vec()];
        let run = RunNo::parse("NeP8nb4q").expect("a number").get();
        let name = dir.path().join("spec/NeP8nb4q");
        std::fs::write(&name, spec.encode().expect("encodes")).expect("written");
        let logs = place.logs(run);
        logs.open("out", 1).expect("opens, and makes the directory");
        std::fs::remove_file(&name).expect("removed");
        std::fs::remove_dir(dir.path().join("spec")).expect("removed");
        logs.open("out", 12).expect("opens");
        assert!(dir.path().join("job/a-1.out").exists() && dir.path().join("job/a-1.out.12").exists());
        assert_eq!((logs.size("out", 12), logs.size("out", 13)), (Some(0), None));
        logs.remove("out", 12).expect("removes");
        assert!(!dir.path().join("job/a-1.out.12").exists());
        logs.append_end(&[7; 64]).expect("appends");
        logs.append_end(&[8; 64]).expect("appends");
        assert_eq!(std::fs::read(dir.path().join("job/ends")).expect("reads").len(), 128);
        assert_eq!(logs.run_id(), "a-1");
        assert!(place.open_spec(run).is_err() && place.logs(run).open("out", 1).is_err());
    }
}
