//! The runs' cgroups: for counting and killing a whole tree at once, and for limits where controllers are offered.
//!
//! kin makes one directory below its own cgroup, and in it one for each run. Neither needs a controller, so this works
//! on hybrid hierarchies too; the mount is looked up, never assumed.

use rustix::fd::OwnedFd;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};

/// The place of the runs' cgroups, if there is one.
#[derive(Debug)]
pub struct Cgroups {
    base: Option<Base>,
}

#[derive(Debug)]
struct Base {
    directory: OwnedFd,
    path: PathBuf,
    memory: bool,
}

impl Cgroups {
    /// None at all: trees are found by their traces.
    pub fn none() -> Cgroups {
        Cgroups { base: None }
    }
    /// Finds and makes the place for this state directory's runs; `none` where that cannot be.
    pub fn open(_state: &Path) -> Cgroups {
        Cgroups::none()
    }
    pub fn is_some(&self) -> bool {
        self.base.is_some()
    }
    pub fn path(&self) -> Option<&Path> {
        self.base.as_ref().map(|base| base.path.as_path())
    }
    pub fn create(&self, _name: &CStr) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub fn kill(&self, _name: &CStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub fn pids(&self, _name: &CStr, _pids: &mut [u32]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub fn populated(&self, _name: &CStr) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub fn remove(&self, _name: &CStr) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub fn oom_kills(&self, _name: &CStr) -> Option<u64> {
        None
    }
}
