//! The directories a keeper works in, and the names in them.

use crate::logs::Logs;
use kin_core::RunNo;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
    run_dir: OwnedFd,
}

impl Place {
    pub(crate) fn open(state: &Path, run: &Path) -> std::io::Result<Place> {
        let run_dir = open_dir(run)?;
        Ok(Place { state: state.to_path_buf(), run: run.to_path_buf(), run_dir })
    }

    pub(crate) fn run_dir(&self) -> BorrowedFd<'_> {
        self.run_dir.as_fd()
    }

    /// Whether the directory of that name is still the one we have open.
    pub(crate) fn is_same(&self) -> bool {
        match (rustix::fs::fstat(&self.run_dir), rustix::fs::stat(&self.run)) {
            (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
            _ => false,
        }
    }

    /// Whether a name in the directory is that of a socket which somebody has open. That of a dead elder leads nowhere,
    /// though it is there. Nobody hears of the question: it is asked in a way in which none of ours can be spoken to.
    pub(crate) fn is_heard(&self, name: &str) -> rustix::io::Result<bool> {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let path = format!("/proc/self/fd/{}/{name}", self.run_dir.as_raw_fd());
        Ok(!matches!(
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?),
            Err(Errno::NOENT | Errno::CONNREFUSED)
        ))
    }

    /// By this name in the state everybody finds the runtime directory.
    pub(crate) fn link(&self) -> PathBuf {
        self.state.join("run")
    }

    /// After the link was removed. One that somebody else has made meanwhile is left alone.
    pub(crate) fn link_again(&self) -> std::io::Result<()> {
        match std::os::unix::fs::symlink(&self.run, self.link()) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
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

    /// The spec of a run, opened, to be held for as long as anything of the run is.
    pub(crate) fn open_spec(&self, run: u64) -> rustix::io::Result<OwnedFd> {
        let mut name = *b"spec/00000000";
        name[5..].copy_from_slice(&RunNo::new(run).ok_or(Errno::NOENT)?.chars());
        rustix::fs::openat(&self.run_dir, &name[..], own_file(OFlags::RDONLY), Mode::empty())
    }

    /// The file in which a run says that it is ready, made by the daemon.
    pub(crate) fn open_ready(&self, run: u64) -> rustix::io::Result<OwnedFd> {
        let mut name = *b"ready/00000000.word";
        name[6..14].copy_from_slice(&RunNo::new(run).ok_or(Errno::INVAL)?.chars());
        rustix::fs::openat(&self.run_dir, &name[..], own_file(OFlags::WRONLY | OFlags::APPEND), Mode::empty())
    }

    /// The run whose spec names what was handed in under a key: the daemon leaves a link to that spec before the run is
    /// accepted. `None`: nobody waits for it.
    pub(crate) fn waits_for_hand(&self, key: u64) -> Option<u64> {
        let name = hand_name(key);
        let mut target = [MaybeUninit::<u8>::uninit(); 64];
        let (target, _) = rustix::fs::readlinkat_raw(&self.run_dir, &name[..], &mut target[..]).ok()?;
        let run = RunNo::parse(std::str::from_utf8(target.rsplit(|b| *b == b'/').next()?).ok()?)?;
        // A link to nothing: the run has ended without it.
        match rustix::fs::statat(&self.run_dir, &name[..], AtFlags::empty()) {
            Err(Errno::NOENT) => None,
            Ok(_) | Err(_) => Some(run.get()),
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget_hand(&self, key: u64) {
        if let Err(errno) = rustix::fs::unlinkat(&self.run_dir, &hand_name(key)[..], AtFlags::empty())
            && errno != Errno::NOENT
        {
            crate::say(format_args!("the link of a hand stays: {errno}"));
        }
    }

    /// What names a run's logs, by the name of its spec; nothing, when that is gone or cannot be opened now.
    pub(crate) fn logs(&self, run: u64) -> Logs {
        Logs::of(self.open_spec(run).ok())
    }
}

pub(crate) fn own_file(more: OFlags) -> OFlags {
    more | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY
}

fn hand_name(key: u64) -> [u8; 22] {
    let mut name = *b"hands/0000000000000000";
    for (i, digit) in name[6..].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(key >> (60 - 4 * i) & 0xf) as usize];
    }
    name
}

fn open_dir(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
