//! How much of a disk stays free, whatever is kept on it; and what is kept back for the ledger.

use rustix::fd::OwnedFd;
use rustix::fs::StatVfs;
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// One part in so many,
const SHARE: u64 = 20;
/// but no more than this.
const MOST: u64 = 1 << 30;

/// `<state>/reserve`: the daemon makes it, and gives it up piece by piece when the disk is full.
pub const RESERVE: &str = "reserve";
const RESERVE_MOST: u64 = 4 << 20;
/// No more than one part in so many of a small disk.
const RESERVE_SHARE: u64 = 64;
/// So much must be free beside the reserve, or the next commit would need it again.
pub const BESIDE: u64 = 256 << 10;

/// Bytes that anybody may still write.
pub fn free(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

/// Bytes that we may still write: what is kept back for root is free to root.
pub fn free_to_us(stat: &StatVfs) -> u64 {
    if rustix::process::geteuid().is_root() { stat.f_bfree.saturating_mul(stat.f_frsize) } else { free(stat) }
}

/// Below it kept output goes: 5 % of the disk, or 1 GiB where that is less.
pub fn floor(stat: &StatVfs) -> u64 {
    (stat.f_blocks.saturating_mul(stat.f_frsize) / SHARE).min(MOST)
}

pub fn is_scarce(stat: &StatVfs) -> bool {
    free(stat) < floor(stat)
}

/// How large the reserve of such a disk is.
pub fn reserve(stat: &StatVfs) -> u64 {
    (stat.f_blocks.saturating_mul(stat.f_frsize) / RESERVE_SHARE).min(RESERVE_MOST)
}

/// Whether what is free belongs to the ledger: the disk was full, and the reserve has not been made whole since.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    state: PathBuf,
    reserve: PathBuf,
    was_full: Cell<bool>,
}

impl Kept {
    /// All its memory is taken here: it is asked where none may be.
    pub(crate) fn of(state: &Path) -> Kept {
        Kept { state: state.to_path_buf(), reserve: state.join(RESERVE), was_full: Cell::new(false) }
    }

    #[cfg(test)]
    pub(crate) fn nowhere() -> Kept {
        Kept::of(Path::new("/nowhere"))
    }

    /// There was no room for this file, or to make one.
    pub(crate) fn is_full(&self, file: Option<&OwnedFd>) {
        if self.is_on_it(file) {
            self.was_full.set(true);
        }
    }

    /// It is not this file's turn. Costs nothing until the disk was full once.
    pub(crate) fn is_wanting(&self, file: Option<&OwnedFd>) -> bool {
        if !self.was_full.get() || !self.is_on_it(file) {
            return false;
        }
        // A disk that cannot be asked is no reason to wait.
        let wanting = rustix::fs::statvfs(&self.state).is_ok_and(|disk| {
            let whole = reserve(&disk);
            let has = rustix::fs::lstat(&self.reserve).map_or(whole, |stat| stat.st_size as u64);
            // Whole again, or whoever would make it so is not there, and there is enough for both.
            has < whole && free_to_us(&disk) < whole + BESIDE
        });
        self.was_full.set(wanting);
        wanting
    }

    /// Logs may lie elsewhere than the ledger.
    fn is_on_it(&self, file: Option<&OwnedFd>) -> bool {
        let Some(file) = file else { return true };
        match (rustix::fs::fstat(file), rustix::fs::lstat(&self.state)) {
            (Ok(file), Ok(state)) => file.st_dev == state.st_dev,
            _ => false,
        }
    }
}
