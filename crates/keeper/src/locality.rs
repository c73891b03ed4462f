//! Which paths lie on file systems of this machine, so that using them cannot hang.
//!
//! Asking the file system itself (`statfs`) is the one thing that must not be done: a dead FUSE or NFS server would
//! hang the asker. Instead the path is walked in the kernel's cache of names only (`openat2` with RESOLVE_CACHED, which
//! gives up rather than wait), the mount it ends on is named without asking anybody (AT_STATX_DONT_SYNC), and its type
//! is read from mountinfo, once per mount. What is not known to be local is not.

use crate::spec::SpecView;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::ffi::CStr;

/// Types whose files are on this machine's own disks or in its memory.
const LOCAL: &[&[u8]] = &[
    b"bcachefs",
    b"btrfs",
    b"cgroup2",
    b"devtmpfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"iso9660",
    b"jfs",
    b"nilfs2",
    b"ntfs3",
    b"overlay",
    b"proc",
    b"ramfs",
    b"reiserfs",
    b"rootfs",
    b"squashfs",
    b"sysfs",
    b"tmpfs",
    b"udf",
    b"vfat",
    b"xfs",
    b"zfs",
];
const REMEMBERED: usize = 64;

/// What is known of the mounts. Forgotten when any mount changes.
#[derive(Debug)]
pub struct Locality {
    mountinfo: Option<OwnedFd>,
    /// Who opened it: its news and its place are shared with whoever inherits it by fork, so a copy opens its own.
    owner: u32,
    /// Mount number, and whether it is local.
    known: [(u64, bool); REMEMBERED],
    count: usize,
}

/// What a walk through the cached names found.
enum Walked {
    /// Not in the cache, or not local: only a walk that may wait can tell.
    MayWait,
    /// Known not to be there.
    Missing,
    Local {
        runnable: bool,
    },
}

impl Locality {
    pub fn open() -> Locality {
        Locality { mountinfo: open_mountinfo(), owner: std::process::id(), known: [(0, false); REMEMBERED], count: 0 }
    }

    /// Whether the run's directory, and each program up to the one that will be run, can be reached without waiting
    /// for another machine or process.
    pub(crate) fn all_local(&mut self, view: &SpecView<'_>) -> bool {
        self.forget_when_changed();
        if !matches!(self.walk(view.directory()), Walked::Local { .. }) {
            return false;
        }
        for program in view.programs() {
            match self.walk(program) {
                Walked::MayWait => return false,
                Walked::Local { runnable: true } => return true,
                Walked::Local { runnable: false } | Walked::Missing => {}
            }
        }
        true
    }

    /// Whether this path is local, as far as can be told without waiting.
    pub fn is_local(&mut self, path: &CStr) -> bool {
        self.forget_when_changed();
        matches!(self.walk(path), Walked::Local { .. })
    }

    fn forget_when_changed(&mut self) {
        if self.owner != std::process::id() {
            *self = Locality::open();
        }
        let Some(mountinfo) = &self.mountinfo else { return };
        let mut fds = [PollFd::new(mountinfo, PollFlags::PRI)];
        let changed = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if changed != Ok(0) {
            self.count = 0;
        }
    }

    fn walk(&mut self, path: &CStr) -> Walked {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Walked::Missing,
            Err(_) => return Walked::MayWait,
        };
        let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let asked = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::MNT_ID;
        match rustix::fs::statx(&file, c"", at, asked) {
            Ok(found) if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 && self.mount_is_local(found.stx_mnt_id) => {
                let mode = u32::from(found.stx_mode);
                let runnable = FileType::from_raw_mode(mode) == FileType::RegularFile && mode & 0o111 == 0o111;
                Walked::Local { runnable }
            }
            Ok(_) | Err(_) => Walked::MayWait,
        }
    }

    fn mount_is_local(&mut self, mount: u64) -> bool {
        if let Some((_, local)) = self.known[..self.count].iter().find(|(id, _)| *id == mount) {
            return *local;
        }
        let Some(local) = self.look_up(mount) else { return false };
        if self.count == REMEMBERED {
            self.count = 0;
        }
        self.known[self.count] = (mount, local);
        self.count += 1;
        local
    }

    /// Reads mountinfo for one mount. Lines longer than the buffer are passed over.
    fn look_up(&self, mount: u64) -> Option<bool> {
        let file = self.mountinfo.as_ref()?;
        rustix::fs::seek(file, SeekFrom::Start(0)).ok()?;
        let mut buffer = [0u8; 4096];
        let mut filled = 0;
        loop {
            let count = rustix::io::read(file, &mut buffer[filled..]).ok()?;
            if count == 0 {
                return None;
            }
            filled += count;
            let mut start = 0;
            while let Some(end) = buffer[start..filled].iter().position(|b| *b == b'\n') {
                let line = &buffer[start..start + end];
                if crate::text::number(line) == Some(mount) {
                    return Some(LOCAL.contains(&type_of(line)?));
                }
                start += end + 1;
            }
            if start == 0 && filled == buffer.len() {
                filled = 0;
            }
            buffer.copy_within(start..filled, 0);
            filled -= start.min(filled);
        }
    }
}

/// Without /proc nothing is known to be local, and every child gets memory of its own.
fn open_mountinfo() -> Option<OwnedFd> {
    rustix::fs::open(c"/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The file system's type in a line of mountinfo: the first word after ` - `.
pub(crate) fn type_of(line: &[u8]) -> Option<&[u8]> {
    let at = line.windows(3).position(|w| w == b" - ")?;
    line[at + 3..].split(|b| *b == b' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_mount_is_found() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - fuse.sshfs host: rw";
        assert_eq!(type_of(line), Some(&b"fuse.sshfs"[..]));
    }

    #[test]
    fn the_root_is_local_and_what_is_not_there_is_not() {
        let mut locality = Locality::open();
        assert!(locality.is_local(c"/"));
        assert!(locality.is_local(c"/proc"));
        assert!(!locality.is_local(c"/no such thing"));
    }
}
