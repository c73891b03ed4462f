//! What a process carries of its run, whoever its parent is: for runs that outlived both keepers.
//!
//! A cgroup of kin's own says it for certain, below whichever cgroup the server lived in then; it is inherited, and who is
//! not privileged cannot leave it. Else the environment says it, `KIN_RUN_ID` together with `KIN_SOCKET`: two servers, or a
//! copy of a state directory, may know runs of the same name, so the socket must be ours, or nobody's any more (the
//! runtime directory was removed). A process that gave up both is not found.

use crate::cgroup::place_name;
use crate::text::hash;
use kin_core::RunNo;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What this server's runs are known by.
#[derive(Clone, Debug)]
pub struct Traces {
    socket: PathBuf,
    /// The directory that this state's runs have their cgroups in, anywhere.
    place: Vec<u8>,
    /// `<unit>/r`, where we live in `<unit>/ctl`: its name alone says nothing.
    delegated: Option<Vec<u8>>,
}

impl Traces {
    pub fn new(state: &Path, run: &Path) -> Traces {
        let own = std::fs::read("/proc/self/cgroup").unwrap_or_default();
        Traces::with(state, run, &own)
    }

    fn with(state: &Path, run: &Path, own: &[u8]) -> Traces {
        let unit = path_of(own).and_then(|path| path.strip_suffix(b"/ctl"));
        Traces {
            socket: run.join("kin.sock"),
            place: place_name(state).into_bytes(),
            delegated: unit.map(|unit| [unit, b"/r"].concat()),
        }
    }

    /// The hash of the run id in its environment, and that of the number of the run in whose cgroup it is; zero: none.
    pub(crate) fn of_process(&self, pid: u32) -> io::Result<(u64, u64)> {
        let read = |file: &str| match std::fs::read(format!("/proc/{pid}/{file}")) {
            Err(e) if is_shortage(&e) => Err(e),
            // It has gone, or is another user's.
            read => Ok(read.unwrap_or_default()),
        };
        Ok((self.of_environment(&read("environ")?), self.of_cgroup(&read("cgroup")?)))
    }

    fn of_environment(&self, environ: &[u8]) -> u64 {
        let value = |name: &[u8]| environ.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(name));
        let (Some(id), Some(socket)) = (value(b"KIN_RUN_ID="), value(b"KIN_SOCKET=")) else { return 0 };
        let socket = Path::new(OsStr::from_bytes(socket));
        let ours = socket == self.socket || !socket.exists();
        if ours { hash(id) } else { 0 }
    }

    /// The innermost, where a server lives in a run of its own.
    fn of_cgroup(&self, cgroup: &[u8]) -> u64 {
        let Some(path) = path_of(cgroup) else { return 0 };
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let mut found = ends.filter_map(|at| {
            let (above, below) = (&path[..at], &path[at + 1..]);
            let is_place = above.rsplit(|b| *b == b'/').next() == Some(&self.place[..])
                || self.delegated.as_ref().is_some_and(|delegated| above == delegated);
            let name = std::str::from_utf8(below.split(|b| *b == b'/').next()?).ok()?;
            (is_place && RunNo::parse(name).is_some()).then(|| hash(name.as_bytes()))
        });
        found.next_back().unwrap_or(0)
    }
}

/// It says nothing of what was asked for, only that we lack something to ask with.
pub fn is_shortage(e: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    e.raw_os_error().is_some_and(|errno| short.contains(&errno))
}

/// The path in the one hierarchy of cgroup2.
fn path_of(cgroup: &[u8]) -> Option<&[u8]> {
    cgroup.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_names_its_run_wherever_the_server_lived() {
        let state = Path::new("/home/me/state");
        let place = place_name(state);
        let traces = Traces::with(state, Path::new("/run/kin"), b"1:cpu:/a\n0::/kin.service/ctl\n");
        let of = |path: &str| traces.of_cgroup(format!("4:cpu:/x\n0::{path}\n").as_bytes());
        let run = hash(b"NeP8nb4q");
        assert_eq!(of(&format!("/{place}/NeP8nb4q")), run);
        assert_eq!(of(&format!("/user.slice/a.scope/{place}/NeP8nb4q/of/its/own")), run);
        assert_eq!(of("/kin.service/r/NeP8nb4q"), run);
        assert_eq!(of("/other.service/r/NeP8nb4q"), 0, "another server's");
        assert_eq!(of("/kin-00000000/NeP8nb4q"), 0, "another state's");
        assert_eq!(of(&format!("/{place}")), 0);
        assert_eq!(of(&format!("/{place}/probe-17")), 0);
        // The server itself was started by a run, which then lost its keepers.
        assert_eq!(of(&format!("/{place}/NeP8nb4q/{place}/NeP8nb4r")), hash(b"NeP8nb4r"));
    }

    #[test]
    fn who_is_gone_is_nobody_and_who_could_not_be_asked_is_not() {
        let is = |errno: Errno| is_shortage(&io::Error::from(errno));
        assert_eq!([Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(is), [true; 3]);
        assert_eq!([Errno::NOENT, Errno::SRCH, Errno::ACCESS, Errno::PERM].map(is), [false; 4]);
        let traces = Traces::with(Path::new("/s"), Path::new("/r"), b"");
        assert_eq!(traces.of_process(u32::MAX / 2).expect("it is gone"), (0, 0));
    }

    #[test]
    fn an_environment_counts_only_with_our_socket_or_nobodys() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        for run in [&ours, &theirs] {
            std::fs::create_dir(run).expect("made");
            std::fs::write(run.join("kin.sock"), "").expect("written");
        }
        let traces = Traces::with(Path::new("/s"), &ours, b"");
        let of = |socket: &Path| {
            let environ = format!("A=1\0KIN_RUN_ID=web-NeP8nb4q\0KIN_SOCKET={}\0", socket.display());
            traces.of_environment(environ.as_bytes())
        };
        assert_eq!(of(&ours.join("kin.sock")), hash(b"web-NeP8nb4q"));
        assert_eq!(of(&theirs.join("kin.sock")), 0);
        std::fs::remove_dir_all(&theirs).expect("removed");
        assert_eq!(of(&theirs.join("kin.sock")), hash(b"web-NeP8nb4q"));
        assert_eq!(traces.of_environment(b"KIN_RUN_ID=web-NeP8nb4q\0"), 0);
    }
}
