//! The runs' cgroups: for counting and killing a whole tree at once, and for limits where controllers are offered.
//!
//! kin makes one directory below its own cgroup, and in it one for each run. Counting and killing need no controller, so
//! this works on hybrid hierarchies too; the mount is looked up, never assumed.
//!
//! ```text
//!   <own cgroup>/kin-<hash of the state directory>/<run>     anywhere
//!   <unit>/r/<run>                                           where kin lives in <unit>/ctl (DelegateSubgroup=ctl)
//! ```
//! All but `open` is free of allocation, and none of it waits for a process.

use crate::text::{Text, number, read_start_at};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How deep below a run's cgroup its own ones are looked for.
const DEPTH_MAX: usize = 8;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Those that runs are limited by, and the word that hands each down.
const CONTROLLERS: [(&[u8], &[u8]); 3] = [(b"memory", b"+memory"), (b"pids", b"+pids"), (b"cpu", b"+cpu")];

/// What runs can be limited by here, as far as a process beside the keepers can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    pub memory: bool,
    pub pids: bool,
    pub cpu: bool,
}

/// The place of the runs' cgroups, or why there is none.
#[derive(Debug)]
pub enum Cgroups {
    At(Base),
    None { why: Lack },
}

/// Why runs have no cgroups of their own. The numbers stand in the headers of run tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Lack {
    SwitchedOff = 2,
    NoMount = 3,
    NotWritable = 4,
    OldKernel = 5,
}

/// In a table's header: runs have cgroups of their own. Zero: its keeper did not say.
const HAVE: u32 = 1;

impl Lack {
    pub const fn words(self) -> &'static str {
        match self {
            Lack::SwitchedOff => "KIN_NO_CGROUP is set",
            Lack::NoMount => "no cgroup2 file system is mounted where kin can see its own cgroup",
            Lack::NotWritable => "kin's own cgroup is not writable",
            Lack::OldKernel => "the kernel has no cgroup.kill (5.14), or refuses processes in kin's own cgroups",
        }
    }

    /// What a table's header says; `None`: nothing. Inside: there is no lack.
    pub fn of(number: u32) -> Option<Option<Lack>> {
        const ALL: [Lack; 4] = [Lack::SwitchedOff, Lack::NoMount, Lack::NotWritable, Lack::OldKernel];
        match number {
            0 => None,
            HAVE => Some(None),
            other => ALL.into_iter().find(|lack| *lack as u32 == other).map(Some),
        }
    }
}

#[derive(Debug)]
pub struct Base {
    directory: OwnedFd,
    path: PathBuf,
    /// Each run's cgroup has memory counters.
    memory: bool,
}

impl Cgroups {
    /// None at all: trees are found by their traces.
    pub fn none() -> Cgroups {
        Cgroups::None { why: Lack::SwitchedOff }
    }

    /// Finds, makes and tries the place for the runs of this state directory. `KIN_NO_CGROUP=1` says there is none.
    pub fn open(state: &Path) -> Cgroups {
        if std::env::var_os("KIN_NO_CGROUP").is_some_and(|v| v == "1") {
            return Cgroups::None { why: Lack::SwitchedOff };
        }
        let read = |path: &str| std::fs::read(path).unwrap_or_default();
        let Some(own) = own_directory(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")) else {
            return Cgroups::None { why: Lack::NoMount };
        };
        let mut why = Lack::NotWritable;
        for path in places(&own, state) {
            hand_down(&path);
            match Cgroups::at(&path) {
                Ok(base) => match base.try_out() {
                    Ok(()) => return Cgroups::At(base),
                    Err(_) => why = Lack::OldKernel,
                },
                Err(_) => continue,
            }
        }
        Cgroups::None { why }
    }

    /// The place at this very path, made if need be.
    fn at(path: &Path) -> io::Result<Base> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let directory = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
        let mut base = Base { directory, path: path.to_path_buf(), memory: false };
        let mut buffer = [0; 256];
        for (controller, enable) in CONTROLLERS {
            let offered = read_start_at(&base.directory, c"cgroup.controllers", &mut buffer)?;
            if offered.split(u8::is_ascii_whitespace).any(|word| word == controller) {
                let enabled = write_at(&base.directory, c"cgroup.subtree_control", enable).is_ok();
                base.memory |= enabled && controller == b"memory";
            }
        }
        Ok(base)
    }

    /// The place where runs have their cgroups, if it is there; nothing is made. For who ends what dead keepers left.
    pub fn standing(state: &Path) -> Cgroups {
        let directory = Cgroups::found(state).and_then(|path| {
            let directory = rustix::fs::open(&path, DIRECTORY, Mode::empty()).ok()?;
            Some(Base { directory, path, memory: false })
        });
        directory.map_or(Cgroups::None { why: Lack::NoMount }, Cgroups::At)
    }

    fn found(state: &Path) -> Option<PathBuf> {
        if std::env::var_os("KIN_NO_CGROUP").is_some_and(|v| v == "1") {
            return None;
        }
        let read = |path: &str| std::fs::read(path).unwrap_or_default();
        let own = own_directory(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))?;
        places(&own, state).find(|path| path.is_dir())
    }

    fn base(&self) -> io::Result<&Base> {
        match self {
            Cgroups::At(base) => Ok(base),
            Cgroups::None { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The controllers that runs' cgroups have, without making anything. Not before the elder stands.
    pub fn offered(state: &Path) -> Offered {
        Cgroups::found(state).map_or(Offered::default(), |path| Offered::at(&path))
    }

    /// For a table's header.
    pub(crate) fn number(&self) -> u32 {
        match self {
            Cgroups::At(_) => HAVE,
            Cgroups::None { why } => *why as u32,
        }
    }
    pub fn is_some(&self) -> bool {
        self.base().is_ok()
    }
    pub fn path(&self) -> Option<&Path> {
        self.base().ok().map(|base| base.path.as_path())
    }

    /// Makes the cgroup of a run and gives its directory, for `Prepared::cgroup`. One that is there already is taken:
    /// a takeover finds the one its predecessor made.
    pub fn create(&self, name: &CStr) -> io::Result<OwnedFd> {
        let base = self.base()?;
        plain(name)?;
        match rustix::fs::mkdirat(&base.directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(rustix::fs::openat(&base.directory, name, DIRECTORY, Mode::empty())?)
    }

    /// Sends KILL to all in it and below, those it is just forking included. They are not gone yet when this returns.
    pub fn kill(&self, name: &CStr) -> io::Result<()> {
        match self.open_run(name)? {
            Some(directory) => Ok(write_at(&directory, c"cgroup.kill", b"1")?),
            None => Ok(()),
        }
    }

    /// Whether anybody alive is in it or below. Zombies do not count.
    pub fn populated(&self, name: &CStr) -> io::Result<bool> {
        let Some(directory) = self.open_run(name)? else { return Ok(false) };
        let mut buffer = [0; 128];
        let events = read_start_at(&directory, c"cgroup.events", &mut buffer)?;
        Ok(value(events, b"populated") == Some(1))
    }

    /// The pids in it and below, as many as fit; gives how many there are.
    pub fn pids(&self, name: &CStr, pids: &mut [u32]) -> io::Result<usize> {
        let Some(directory) = self.open_run(name)? else { return Ok(0) };
        let mut count = 0;
        collect(&directory, &mut count, pids, 0)?;
        Ok(count)
    }

    /// Removes it and what the run made below; gives whether it is gone. Not while somebody is in it.
    pub fn remove(&self, name: &CStr) -> io::Result<bool> {
        let base = self.base()?;
        plain(name)?;
        remove_at(&base.directory, name, 0)
    }

    /// The names of all that are there.
    pub fn each(&self, mut visit: impl FnMut(&CStr)) {
        let Ok(base) = self.base() else { return };
        let all = each_child(&base.directory, |name| {
            visit(name);
            Ok(())
        });
        if let Err(e) = all {
            crate::say(format_args!("cannot look through {}: {e}", base.path.display()));
        }
    }

    /// Removes what a process left that was killed while it tried the place out.
    pub fn remove_probes(&self) {
        self.each(|name| {
            let pid = name.to_bytes().strip_prefix(b"probe-").and_then(number);
            let gone = |pid: u64| crate::boot::Stat::of(pid as u32).is_none_or(|stat| stat.state == b'Z');
            if pid.is_some_and(gone)
                && let Err(e) = self.remove(name)
            {
                crate::say(format_args!("cannot remove a cgroup that nobody uses: {e}"));
            }
        });
    }

    /// At the end of a server: removes what is empty, and then the place itself.
    pub fn leave(&self) -> io::Result<()> {
        let Ok(base) = self.base() else { return Ok(()) };
        each_child(&base.directory, |name| remove_at(&base.directory, name, 0).map(drop))?;
        Ok(rustix::fs::rmdir(&base.path)?)
    }

    /// How many processes in it or below the kernel has killed for want of memory; `None` without that controller.
    pub fn oom_kills(&self, name: &CStr) -> Option<u64> {
        let base = self.base().ok().filter(|base| base.memory)?;
        let directory = rustix::fs::openat(&base.directory, name, DIRECTORY, Mode::empty()).ok()?;
        let mut buffer = [0; 512];
        value(read_start_at(&directory, c"memory.events", &mut buffer).ok()?, b"oom_kill")
    }

    /// What all that ever ran in it or below used: microseconds of user and system time, which needs no controller; and
    /// the most memory at once in bytes, which needs one, and 5.19.
    pub fn used(&self, name: &CStr) -> (Option<(u64, u64)>, Option<u64>) {
        let (Ok(Some(directory)), Ok(base)) = (self.open_run(name), self.base()) else { return (None, None) };
        let mut buffer = [0; 512];
        let cpu = read_start_at(&directory, c"cpu.stat", &mut buffer)
            .ok()
            .and_then(|stat| Some((value(stat, b"user_usec")?, value(stat, b"system_usec")?)));
        let peak = base.memory.then(|| number(read_start_at(&directory, c"memory.peak", &mut buffer).ok()?)).flatten();
        (cpu, peak)
    }

    fn open_run(&self, name: &CStr) -> io::Result<Option<OwnedFd>> {
        let base = self.base()?;
        plain(name)?;
        match rustix::fs::openat(&base.directory, name, DIRECTORY, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// Writes a limit into a run's cgroup.
pub(crate) fn limit(directory: &OwnedFd, file: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    let (may_miss, file) = file.strip_prefix(b"-").map_or((false, file), |file| (true, file));
    // What is written must be the whole: half a number is another one.
    match rustix::fs::openat(directory, file, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOENT) if may_miss => Ok(()),
        file => match rustix::io::write(&file?, value)? {
            written if written == value.len() => Ok(()),
            _ => Err(Errno::IO),
        },
    }
}

impl Offered {
    fn at(path: &Path) -> Offered {
        let enabled = std::fs::read(path.join("cgroup.subtree_control")).unwrap_or_default();
        let has = |name: &[u8]| enabled.split(u8::is_ascii_whitespace).any(|word| word == name);
        Offered { memory: has(b"memory"), pids: has(b"pids"), cpu: has(b"cpu") }
    }
}

/// Where the runs' cgroups may be, best first.
fn places(own: &Path, state: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let delegated = own.parent().filter(|_| own.file_name() == Some(OsStr::new("ctl"))).map(|unit| unit.join("r"));
    delegated.into_iter().chain([own.join(place_name(state))])
}

/// Below which the runs of this state directory have their cgroups, wherever its server lives.
pub(crate) fn place_name(state: &Path) -> String {
    format!("kin-{:08x}", hash(state) as u32)
}

/// Hands the controllers down to where the runs' place will be: possible only where no process sits beside it, which is
/// why kin's own live in `ctl`. What cannot be handed down is not offered.
fn hand_down(place: &Path) {
    let Some(Ok(above)) = place.parent().map(|above| rustix::fs::open(above, DIRECTORY, Mode::empty())) else { return };
    for (_, enable) in CONTROLLERS {
        // Refused: there is no such controller, or somebody sits there.
        write_at(&above, c"cgroup.subtree_control", enable).ok();
    }
}

impl Base {
    /// Whether a process can be made in a cgroup here, and killed by it.
    fn try_out(&self) -> io::Result<()> {
        let mut name = Text::<32>::new();
        write!(name, "probe-{}", std::process::id()).map_err(io::Error::other)?;
        match rustix::fs::mkdirat(&self.directory, name.as_cstr(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let tried = rustix::fs::openat(&self.directory, name.as_cstr(), DIRECTORY, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|directory| {
                match crate::sys::clone::probe_cgroup(directory.as_fd()) {
                    // Where clone3 is forbidden the child joins by its own hand; that needs the file to be writable.
                    Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                        rustix::fs::openat(
                            &directory,
                            c"cgroup.procs",
                            OFlags::WRONLY | OFlags::CLOEXEC,
                            Mode::empty(),
                        )?;
                    }
                    other => other?,
                }
                Ok(write_at(&directory, c"cgroup.kill", b"1")?)
            });
        let removed = remove_at(&self.directory, name.as_cstr(), 0);
        tried.and(removed.map(|_| ()))
    }
}

/// A name that stays below the directory it is looked up in.
fn plain(name: &CStr) -> io::Result<()> {
    let bytes = name.to_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(())
}

fn write_at(directory: impl AsFd, file: &CStr, bytes: &[u8]) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(directory, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, bytes).map(|_| ())
}

/// The number beside a word in a file of `word number` lines.
fn value(text: &[u8], word: &[u8]) -> Option<u64> {
    text.split(|b| *b == b'\n').find_map(|line| number(line.strip_prefix(word)?.strip_prefix(b" ")?))
}

/// Calls `visit` with the name of each directory in `directory`.
fn each_child(directory: &OwnedFd, mut visit: impl FnMut(&CStr) -> io::Result<()>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); 2048];
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
    let mut entries = RawDir::new(directory, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            visit(name)?;
        }
    }
    Ok(())
}

fn collect(directory: &OwnedFd, count: &mut usize, pids: &mut [u32], depth: usize) -> io::Result<()> {
    let file = rustix::fs::openat(directory, c"cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0u8; 1024];
    let mut pid = 0u32;
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer[..]))?;
        if read == 0 {
            break;
        }
        for byte in &buffer[..read] {
            if byte.is_ascii_digit() {
                pid = pid.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
            } else if pid != 0 {
                if let Some(place) = pids.get_mut(*count) {
                    *place = pid;
                }
                *count += 1;
                pid = 0;
            }
        }
    }
    if depth == DEPTH_MAX {
        return Ok(());
    }
    each_child(directory, |name| match rustix::fs::openat(directory, name, DIRECTORY, Mode::empty()) {
        Ok(child) => collect(&child, count, pids, depth + 1),
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    })
}

/// Removes a cgroup and those below it; `false` when somebody is still in one of them.
fn remove_at(parent: &OwnedFd, name: &CStr, depth: usize) -> io::Result<bool> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth < DEPTH_MAX => {}
        Err(Errno::BUSY | Errno::NOTEMPTY) => return Ok(false),
        Err(e) => return Err(e.into()),
    }
    let directory = match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(true),
        Err(e) => return Err(e.into()),
    };
    let mut all = true;
    each_child(&directory, |child| {
        all &= remove_at(&directory, child, depth + 1)?;
        Ok(())
    })?;
    if !all {
        return Ok(false);
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The directory of this process's own cgroup: where cgroup2 is mounted, and the `0::` line, less what the mount hides.
fn own_directory(mountinfo: &[u8], cgroup: &[u8]) -> Option<PathBuf> {
    let own = cgroup.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    let own = Path::new(OsStr::from_bytes(own));
    mountinfo.split(|b| *b == b'\n').find_map(|line| {
        if crate::locality::type_of(line)? != b"cgroup2" {
            return None;
        }
        let mut fields = line.split(|b| *b == b' ').skip(3);
        let root = PathBuf::from(OsStr::from_bytes(&unescape(fields.next()?)));
        let mount = PathBuf::from(OsStr::from_bytes(&unescape(fields.next()?)));
        // A cgroup above the namespace's root shows as `/..`: it cannot be reached.
        let below = own.strip_prefix(&root).ok().filter(|path| !path.starts_with(".."))?;
        Some(if below.as_os_str().is_empty() { mount } else { mount.join(below) })
    })
}

/// Mountinfo writes blanks and backslashes as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = more;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// FNV-1a of the path: two states on one machine do not share a directory.
fn hash(path: &Path) -> u64 {
    crate::text::hash(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_on_unified_and_hybrid_hierarchies() {
        let unified = b"30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let own = own_directory(unified, b"0::/user.slice/kin.service/ctl\n");
        assert_eq!(own, Some(PathBuf::from("/sys/fs/cgroup/user.slice/kin.service/ctl")));
        let hybrid = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw shared:7 - cgroup2 cgroup2 rw\n";
        assert_eq!(own_directory(hybrid, b"4:cpu:/x\n0::/\n"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_mount_of_a_part_hides_that_part() {
        let mount = b"30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_directory(mount, b"0::/docker/abc/x\n"), Some(PathBuf::from("/sys/fs/cgroup/x")));
        assert_eq!(own_directory(mount, b"0::/elsewhere\n"), None);
        assert_eq!(own_directory(b"30 23 0:26 / /cg rw - cgroup2 c rw\n", b"0::/../x\n"), None);
        assert_eq!(own_directory(b"", b"0::/\n"), None);
    }

    #[test]
    fn escaped_blanks_are_read() {
        assert_eq!(unescape(br"/a\040b\134c\"), br"/a b\c\");
    }

    #[test]
    fn a_kill_for_want_of_memory_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("run")).expect("made");
        std::fs::write(dir.path().join("run/memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
            .expect("written");
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").expect("written");
        std::fs::write(dir.path().join("cgroup.subtree_control"), "").expect("written");
        let cgroups = Cgroups::At(Cgroups::at(dir.path()).expect("a base"));
        assert_eq!(cgroups.oom_kills(c"run"), Some(2));
        // As the last write found it: a file that keeps what it is told keeps only the last.
        assert_eq!(std::fs::read(dir.path().join("cgroup.subtree_control")).expect("read"), b"+cpuory");
    }

    #[test]
    fn a_runs_limits_are_written_and_its_use_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| std::fs::write(dir.path().join("run").join(name), text).expect("written");
        std::fs::create_dir(dir.path().join("run")).expect("made");
        std::fs::write(dir.path().join("cgroup.controllers"), "memory\n").expect("written");
        std::fs::write(dir.path().join("cgroup.subtree_control"), "").expect("written");
        file("memory.max", "");
        file("memory.peak", "1048576\n");
        file("cpu.stat", "usage_usec 70\nuser_usec 50\nsystem_usec 20\n");
        let cgroups = Cgroups::At(Cgroups::at(dir.path()).expect("a base"));
        let run = cgroups.create(c"run").expect("there");
        assert_eq!(limit(&run, b"memory.max", b"4096"), Ok(()));
        assert_eq!(std::fs::read(dir.path().join("run/memory.max")).expect("read"), b"4096");
        assert_eq!(limit(&run, b"-memory.swap.max", b"0"), Ok(()));
        assert_eq!(limit(&run, b"pids.max", b"5"), Err(Errno::NOENT), "there is no such controller");
        assert_eq!(cgroups.used(c"run"), (Some((50, 20)), Some(1 << 20)));
        assert_eq!(cgroups.used(c"none"), (None, None));
    }

    #[test]
    fn what_is_offered_is_what_was_handed_down() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("cgroup.subtree_control"), "cpu pids\n").expect("written");
        assert_eq!(Offered::at(dir.path()), Offered { memory: false, pids: true, cpu: true });
        assert_eq!(Offered::at(&dir.path().join("none")), Offered::default());
        let found: Vec<PathBuf> = places(Path::new("/cg/kin.service/ctl"), Path::new("/s")).collect();
        assert_eq!((found.len(), found[0].as_path()), (2, Path::new("/cg/kin.service/r")));
        assert_eq!(places(Path::new("/cg/x"), Path::new("/s")).count(), 1);
    }

    #[test]
    fn names_stay_below() {
        for name in [c"", c".", c"..", c"a/b"] {
            assert!(plain(name).is_err(), "{name:?}");
        }
    }
}
