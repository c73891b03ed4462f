//! The directories a keeper works in, and the names in them.

use crate::spec::{BadSpec, SpecView};
use crate::sys::map::Mapping;
use kin_core::RunNo;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
    run_dir: OwnedFd,
}

/// A mapped spec file.
#[derive(Debug)]
pub(crate) struct SpecFile(Mapping);

impl SpecFile {
    pub(crate) fn view(&self) -> Result<SpecView<'_>, BadSpec> {
        SpecView::check(self.0.bytes())
    }
}

fn own_file(more: OFlags) -> OFlags {
    more | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY
}

impl Place {
    pub(crate) fn open(state: &Path, run: &Path) -> std::io::Result<Place> {
        let run_dir = open_dir(run)?;
        Ok(Place { state: state.to_path_buf(), run: run.to_path_buf(), run_dir })
    }

    pub(crate) fn run_dir(&self) -> BorrowedFd<'_> {
        self.run_dir.as_fd()
    }

    /// After the directory was removed and made again.
    pub(crate) fn reopen(&mut self) -> std::io::Result<()> {
        self.run_dir = open_dir(&self.run)?;
        Ok(())
    }

    pub(crate) fn table_path(&self, generation: u64) -> PathBuf {
        self.run.join(format!("keeper.{generation:016x}.tab"))
    }
    pub(crate) fn socket_name(generation: u64) -> String {
        format!("keeper.{generation:016x}.sock")
    }

    /// The spec of a run, mapped. `None`: there is none (any more), or it cannot be read.
    pub(crate) fn spec(&self, run: u64) -> Option<SpecFile> {
        let mut name = *b"spec/00000000";
        name[5..].copy_from_slice(&RunNo::new(run)?.chars());
        let file = rustix::fs::openat(&self.run_dir, &name[..], own_file(OFlags::RDONLY), Mode::empty()).ok()?;
        let len = rustix::fs::fstat(&file).ok()?.st_size;
        let map = Mapping::private(&file, usize::try_from(len).ok().filter(|n| *n > 0)?).ok()?;
        let spec = SpecFile(map);
        spec.view().is_ok().then_some(spec)
    }

    /// Whether a spec of that name is there, readable or not.
    pub(crate) fn has_spec(&self, run: u64) -> bool {
        let Some(no) = RunNo::new(run) else { return false };
        let mut name = *b"spec/00000000";
        name[5..].copy_from_slice(&no.chars());
        rustix::fs::statat(&self.run_dir, &name[..], rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The file in which a run says that it is ready, made by the daemon.
    pub(crate) fn open_ready(&self, run: u64) -> rustix::io::Result<OwnedFd> {
        let mut name = *b"ready/00000000.word";
        name[6..14].copy_from_slice(&RunNo::new(run).ok_or(Errno::INVAL)?.chars());
        rustix::fs::openat(&self.run_dir, &name[..], own_file(OFlags::WRONLY | OFlags::APPEND), Mode::empty())
    }

    /// The full id of a run, which is the name of its logs; its processes carry it in KIN_RUN_ID.
    pub(crate) fn run_id(&self, run: u64) -> String {
        let spec = self.spec(run);
        let view = spec.as_ref().and_then(|spec| spec.view().ok());
        let base = view.map(|view| view.log_base().to_bytes()).unwrap_or_default();
        let name = base.rsplit(|b| *b == b'/').next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// One file of a run's logs, for writing: made if it is not there. Segment 1 has no number in its name.
    pub(crate) fn open_log(&self, run: u64, extension: &str, segment: u32) -> rustix::io::Result<OwnedFd> {
        let mut buffer = [0; PATH_MAX];
        let path = self.log_path(run, extension, segment, &mut buffer)?;
        let flags = own_file(OFlags::WRONLY | OFlags::CREATE);
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
    }

    /// How long one segment is; `None`: there is none.
    pub(crate) fn log_size(&self, run: u64, extension: &str, segment: u32) -> Option<u64> {
        let mut buffer = [0; PATH_MAX];
        let path = self.log_path(run, extension, segment, &mut buffer).ok()?;
        rustix::fs::lstat(path).ok().map(|stat| stat.st_size as u64)
    }

    pub(crate) fn remove_log(&self, run: u64, extension: &str, segment: u32) -> rustix::io::Result<()> {
        let mut buffer = [0; PATH_MAX];
        rustix::fs::unlink(self.log_path(run, extension, segment, &mut buffer)?)
    }

    /// Appends a run's end record to its job's `ends`: what a lost ledger is rebuilt from.
    pub(crate) fn append_end(&self, run: u64, record: &[u8]) -> rustix::io::Result<()> {
        let mut buffer = [0; PATH_MAX];
        let spec = self.spec(run).ok_or(Errno::NOENT)?;
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

    fn log_path<'b>(
        &self,
        run: u64,
        extension: &str,
        segment: u32,
        buffer: &'b mut [u8; PATH_MAX],
    ) -> rustix::io::Result<&'b Path> {
        let spec = self.spec(run).ok_or(Errno::NOENT)?;
        let base = spec.view().map_err(|_| Errno::INVAL)?.log_base().to_bytes();
        let mut digits = [0; 11];
        let number = number(segment, &mut digits);
        let parts: [&[u8]; 4] = [base, b".", extension.as_bytes(), if segment > 1 { number } else { b"" }];
        joined(&parts, buffer)
    }
}

const PATH_MAX: usize = 4096;
const ENDS_MOST: u64 = 16 << 20;

fn open_dir(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
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
    use super::*;

    #[test]
    fn logs_are_named_after_their_segment() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("spec")).expect("a directory");
        let place = Place::open(dir.path(), dir.path()).expect("a place");
        let base = dir.path().join("a-1");
        let mut spec = crate::spec::Spec::new(b"/", base.as_os_str().as_bytes());
        spec.programs = vec![b"/bin/true".to_vec()];
        spec.argv = vec![b"true".to_vec()];
        let run = RunNo::parse("NeP8nb4q").expect("a number").get();
        std::fs::write(dir.path().join("spec/NeP8nb4q"), spec.encode().expect("encodes")).expect("written");
        place.open_log(run, "out", 1).expect("opens");
        place.open_log(run, "out", 12).expect("opens");
        assert!(dir.path().join("a-1.out").exists() && dir.path().join("a-1.out.12").exists());
        place.remove_log(run, "out", 12).expect("removes");
        assert!(!dir.path().join("a-1.out.12").exists());
        place.append_end(run, &[7; 64]).expect("appends");
        place.append_end(run, &[8; 64]).expect("appends");
        assert_eq!(std::fs::read(dir.path().join("ends")).expect("reads").len(), 128);
        assert!(place.spec(run + 1).is_none());
    }
}
