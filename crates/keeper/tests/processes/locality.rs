//! A file server that never answers holds up its own run and nobody else.

use crate::support::{House, await_end, end_of, is_root, not_run};
use kin_keeper::locality::Locality;
use kin_keeper::sys::wait::{Waited, peek, pidfd_send_signal, reap};
use rustix::fd::{AsRawFd, OwnedFd};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A FUSE mount whose server has nothing to say. Gone with this value.
struct Hung {
    path: PathBuf,
    _server: OwnedFd,
}

impl Hung {
    fn mount(path: &Path) -> Option<Hung> {
        let flags = rustix::fs::OFlags::RDWR;
        let server = rustix::fs::open("/dev/fuse", flags, rustix::fs::Mode::empty()).ok()?;
        std::fs::create_dir(path).expect("made");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let mount = Command::new("mount").args(["-i", "-t", "fuse", "-o", &options, "hung"]).arg(path).status();
        let mounted = mount.is_ok_and(|status| status.success());
        rustix::io::fcntl_setfd(&server, rustix::io::FdFlags::CLOEXEC).expect("set");
        mounted.then(|| Hung { path: path.to_path_buf(), _server: server })
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.path).status().expect("runs");
        assert!(status.success());
    }
}

#[test]
fn a_dead_file_server_hangs_its_own_run_only() {
    if !is_root() {
        return not_run("only root may mount");
    }
    let mut house = House::new();
    let path = house.path().join("hung");
    let Some(hung) = Hung::mount(&path) else { return not_run("no FUSE to mount") };
    let text = path.to_str().expect("text");

    let mut locality = Locality::open();
    assert!(!locality.is_local(&CString::new(text).expect("no NUL")));
    assert!(!locality.is_local(&CString::new(format!("{text}/x")).expect("no NUL")));
    assert!(locality.is_local(c"/bin/sh"));

    let mut there = house.sh("echo never");
    there.directory = text.as_bytes().to_vec();
    let mut of_there = house.sh("echo never");
    of_there.programs = vec![format!("{text}/sh").into_bytes(), b"/bin/sh".to_vec()];
    for spec in [there, of_there] {
        let begun = Instant::now();
        let stuck = house.start(&spec);
        assert!(begun.elapsed() < Duration::from_secs(2), "the keeper has not waited");
        assert_ne!(house.slot(stuck.slot).pid.load(Ordering::Acquire), 0);
        assert_eq!(house.run(&house.sh("echo goes on")).out, "goes on\n");
        assert_eq!(peek(&stuck.pidfd), Waited::Alive);
        pidfd_send_signal(&stuck.pidfd, libc::SIGKILL, false).expect("sent");
        assert_eq!(end_of(await_end(&stuck.pidfd)), (libc::CLD_KILLED, libc::SIGKILL));
        reap(&stuck.pidfd);
        assert_eq!(house.slot(stuck.slot).step.load(Ordering::Acquire), 0);
    }
    drop(hung);
}
