//! Counts allocations, and holds the keeper's calls to making none: a keeper that runs out of memory must still start,
//! look, stop and hand over.

use crate::cgroup::Cgroups;
use crate::spawn::{Arena, Prepared, Restore, spawn};
use crate::spec::{Spec, SpecView};
use crate::sys::wait::{Waited, exit_info, peek, pidfd_open, reap, reap_any_stranger};
use crate::sys::{misc, wait};
use crate::table::Table;
use crate::tree::{Kill, Processes, Swept, TreeRun, kill_tree};
use rustix::fd::AsFd;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::Ordering;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: hands everything to the system's allocator and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(at, layout) }
    }
}

fn allocations(body: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    body();
    COUNT.with(Cell::get) - before
}

fn wait_for(pidfd: impl AsFd) {
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))), 1);
}

#[test]
fn a_started_keeper_starts_looks_stops_and_hands_over_without_allocating() {
    let dir = tempfile::tempdir().expect("a directory");
    let table = Table::create(&dir.path().join("tab"), 1, "boot").expect("a table");
    let slot = &table.slots()[0];
    let mut spec = Spec::new(b"/", b"/nowhere");
    spec.programs = vec![b"/nowhere/sleep".to_vec(), b"/bin/sleep".to_vec()];
    spec.argv = vec![b"sleep".to_vec(), b"1000".to_vec()];
    spec.env = (0..2000).map(|i| format!("V{i}={i}").into_bytes()).collect();
    let bytes = spec.encode().expect("encodes");
    let view = SpecView::check(&bytes).expect("checks");
    let null = std::fs::File::options().write(true).open("/dev/null").expect("opens");
    let cgroups = Cgroups::open(dir.path());
    let mut arena = Arena::new().expect("an arena");
    let mut processes = Processes::new().expect("memory");
    let (here, there) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .expect("a pair");
    let restore = Restore { nofile: Some((100, 100)), oom_score_adj: None };
    let made = allocations(|| {
        for _ in 0..2 {
            slot.clear();
            let directory = cgroups.is_some().then(|| cgroups.create(c"run").expect("made"));
            let prepared = Prepared {
                view,
                stdin: None,
                out: null.as_fd(),
                err: null.as_fd(),
                tty_slave: None,
                extra: &[],
                cgroup: directory.as_ref().map(AsFd::as_fd),
                slot,
                restore: &restore,
            };
            let pidfd = spawn(&mut arena, &prepared).expect("a child").expect("a pidfd");
            let leader = slot.pid.load(Ordering::Relaxed);
            let start_ticks = crate::boot::start_ticks(leader).expect("it is there");
            assert_eq!(peek(&pidfd), Waited::Alive);
            assert_eq!(wait::pidfd_pid(&pidfd), Some(leader));
            misc::send(&here, b"handed", &[pidfd.as_fd(), null.as_fd()]).expect("sent");
            let packet = misc::receive(&there, &mut [0; 16]).expect("received");
            assert!(packet.fds[1].is_some());
            if directory.is_some() {
                let mut pids = [0; 4];
                assert_eq!(cgroups.pids(c"run", &mut pids).expect("asked"), 1);
                assert!(cgroups.populated(c"run").expect("asked"));
            }
            let run = TreeRun { id: "x-00000001", leader, start_ticks, pipes: [0; 2], known: &[] };
            let mut kill = Kill::default();
            while let Swept::Again { .. } = kill_tree(&mut processes, &[std::process::id()], &run, &mut kill) {}
            wait_for(&pidfd);
            let other = pidfd_open(leader).expect("a pidfd");
            reap_any_stranger(|_| true);
            reap(&pidfd);
            exit_info(&other);
            assert!(!cgroups.is_some() || cgroups.remove(c"run").expect("asked"));
        }
    });
    if let Some(path) = cgroups.path() {
        std::fs::remove_dir(path).expect("empty");
    }
    assert_eq!(made, 0);
}
