//! One run at a time, as a keeper would start it: a table, pipes, a spec, and a deadline for everything awaited.

use kin_core::SpawnStep;
use kin_keeper::spawn::{Arena, Prepared, Restore, spawn};
use kin_keeper::spec::{Spec, SpecView};
use kin_keeper::sys::wait::{Waited, peek, reap};
use kin_keeper::table::{INTENT, Slot, Table};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::PipeFlags;
use rustix::time::Timespec;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) table: Table,
    pub(crate) arena: Arena,
    pub(crate) restore: Restore,
    /// What every run gets beside its streams.
    pub(crate) extra: Vec<(OwnedFd, u16)>,
    next: u64,
}

/// A run that was started.
pub(crate) struct Started {
    pub(crate) pidfd: OwnedFd,
    pub(crate) slot: usize,
    pub(crate) out: OwnedFd,
    pub(crate) err: OwnedFd,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) si_code: i32,
    pub(crate) si_status: i32,
    /// Where it failed to become the program.
    pub(crate) failed: Option<(SpawnStep, i32)>,
}

impl House {
    pub(crate) fn new() -> House {
        let dir = tempfile::tempdir().expect("a directory");
        let table = Table::create(&dir.path().join("tab"), 1, "boot").expect("a table");
        House {
            dir,
            table,
            arena: Arena::new().expect("an arena"),
            restore: Restore::default(),
            extra: Vec::new(),
            next: 1,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A spec that runs this by /bin/sh, in `/`, with an empty environment but for PATH.
    pub(crate) fn sh(&self, script: &str) -> Spec {
        self.program(&["/bin/sh", "-c", script])
    }
    pub(crate) fn program(&self, argv: &[&str]) -> Spec {
        let mut spec = Spec::new(b"/", b"/nowhere");
        spec.programs = vec![argv[0].as_bytes().to_vec()];
        spec.argv = argv.iter().map(|a| a.as_bytes().to_vec()).collect();
        spec.env = vec![b"PATH=/usr/bin:/bin".to_vec()];
        spec.umask = 0o022;
        spec
    }

    pub(crate) fn slot(&self, at: usize) -> &Slot {
        &self.table.slots()[at]
    }

    pub(crate) fn start(&mut self, spec: &Spec) -> Started {
        self.try_start(spec, None, None).expect("a child")
    }

    pub(crate) fn try_start(
        &mut self,
        spec: &Spec,
        stdin: Option<BorrowedFd<'_>>,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Started, (SpawnStep, i32)> {
        let bytes = spec.encode().expect("encodes");
        let view = SpecView::check(&bytes).expect("checks");
        let run = self.next;
        self.next += 1;
        let at = self.table.place(run).expect("room") as usize;
        let slot = &self.table.slots()[at];
        slot.run.store(run, Ordering::Relaxed);
        slot.clear();
        slot.state.store(INTENT, Ordering::Release);
        let (out, out_in) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (err, err_in) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let extra: Vec<_> = self.extra.iter().map(|(fd, to)| (fd.as_fd(), *to)).collect();
        let prepared = Prepared {
            view,
            stdin,
            out: out_in.as_fd(),
            err: err_in.as_fd(),
            tty_slave: None,
            extra: &extra,
            cgroup,
            slot,
            restore: &self.restore,
        };
        let pidfd = spawn(&mut self.arena, &prepared)?.expect("a descriptor is left for its pidfd");
        Ok(Started { pidfd, slot: at, out, err })
    }

    pub(crate) fn run(&mut self, spec: &Spec) -> Ended {
        let started = self.start(spec);
        self.finish(&started)
    }

    /// Reads both streams to their ends (the first few kilobytes of err may wait), then reaps.
    pub(crate) fn finish(&self, started: &Started) -> Ended {
        let out = read_all(&started.out);
        let err = read_all(&started.err);
        let zombie = await_end(&started.pidfd);
        let (si_code, si_status) = end_of(zombie);
        assert_eq!(end_of(reap(&started.pidfd)), (si_code, si_status));
        let slot = self.slot(started.slot);
        let step = SpawnStep::from_number(slot.step.load(Ordering::Acquire) as u8);
        let failed = step.map(|step| (step, slot.errno.load(Ordering::Relaxed)));
        Ended { out, err, si_code, si_status, failed }
    }
}

/// Code and status. The usage of a zombie may still grow by the microseconds in which it left the processor.
pub(crate) fn end_of(waited: Waited) -> (i32, i32) {
    match waited {
        Waited::Zombie { si_code, si_status, .. } => (si_code, si_status),
        Waited::Alive | Waited::NotOurs => panic!("not a zombie: {waited:?}"),
    }
}

pub(crate) fn wait_readable(fd: impl AsFd, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    let time = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let ready = rustix::event::poll(&mut fds, Some(&time)).expect("polls");
    assert!(ready > 0, "what was waited for has not happened in time");
}

pub(crate) fn read_all(fd: &OwnedFd) -> String {
    let until = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    let mut part = [0; 65536];
    loop {
        wait_readable(fd, until);
        match rustix::io::read(fd, &mut part).expect("reads") {
            0 => return String::from_utf8_lossy(&all).into_owned(),
            count => all.extend_from_slice(&part[..count]),
        }
    }
}

/// The next line that comes out of a pipe, without its newline.
pub(crate) fn read_line(fd: &OwnedFd) -> String {
    let until = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    let mut byte = [0; 1];
    loop {
        wait_readable(fd, until);
        let count = rustix::io::read(fd, &mut byte).expect("reads");
        if count == 0 || byte[0] == b'\n' {
            return String::from_utf8_lossy(&line).into_owned();
        }
        line.push(byte[0]);
    }
}

pub(crate) fn await_end(pidfd: &OwnedFd) -> Waited {
    wait_readable(pidfd, Instant::now() + PATIENCE);
    peek(pidfd)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says by name that a test cannot be run here.
pub(crate) fn not_run(why: &str) {
    println!("not run: {why}");
}

pub(crate) fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("reads").count()
}

/// The value after `name:` in a status file.
pub(crate) fn status_field(status: &str, name: &str) -> String {
    let line = status.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
    value.unwrap_or_default().to_string()
}

pub(crate) fn read_file(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    let mut file = std::fs::File::open(path).expect("opens");
    file.read_to_string(&mut text).expect("reads");
    text
}
