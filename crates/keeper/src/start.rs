//! A run's beginning: every step leaves behind what the next keeper needs if this one dies right after it.
//!
//! ```text
//!   slot INTENT ▸ pipes ▸ duplicates to the elder ▸ cgroup ▸ clone3 (the kernel writes the pid) ▸ exec ▸ slot RUNNING
//! ```
//! Until the pid stands in the slot nothing ran, and whoever takes over may start it; after that nobody may.

use crate::clock;
use crate::fault;
use crate::generation::Serving;
use crate::index::Stream;
use crate::keeper::{Keeper, arm};
use crate::live::{Live, Tty};
use crate::logs::{Logs, SpecFile};
use crate::spawn::{Prepared, spawn};
use crate::spec::{Output, SOCKETS, SpecView, Stdin};
use crate::table::{DRAINED, FREE, INTENT, RUNNING, Slot, flag};
use crate::token::{Token, check_of};
use crate::wire::{Refusal, Tell};
use kin_core::SpawnStep;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// So many descriptors are kept for the runs that live, and for whoever speaks with us.
const KEPT_FDS: u64 = 48;

/// More than a run has: its process, pipes, logs, indexes, terminal and group.
const FDS_OF_A_RUN: u64 = 16;

/// More than we have for ourselves and for whoever speaks with us.
const FDS_OF_OURS: u64 = 256;

/// Why a run got no child.
type NoChild = (SpawnStep, i32);

/// Descriptors beside the three: sockets, and one for readiness.
const EXTRA_MAX: usize = SOCKETS + 1;

/// The child's ends, which we close as soon as it has them.
#[derive(Debug, Default)]
struct Ends {
    stdin: Option<OwnedFd>,
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    slave: Option<OwnedFd>,
}

impl Keeper {
    pub(crate) fn start(&mut self, conn: usize, generation: usize, run: u64) {
        if let Some((at, slot)) = self.find(run) {
            self.tell_generation(at, Tell::Changed { run, slot: u32::from(slot) });
            return;
        }
        if self.closing {
            return self.refuse(conn, run, Refusal::Closing);
        }
        if !self.takes_starts() || generation != self.own {
            return self.refuse(conn, run, Refusal::NotCurrent);
        }
        let Some(own) = self.generations[self.own].as_ref() else { return };
        let Some(at) = own.table.place(run) else { return self.refuse(conn, run, Refusal::Full) };
        let slot = &own.table.slots()[at as usize];
        slot.clear();
        slot.run.store(run, Ordering::Relaxed);
        slot.t_intent.store(clock::wall(), Ordering::Relaxed);
        slot.state.store(INTENT, Ordering::Release);
        // Only now: a daemon that withdraws a run takes its spec away and then looks at the table, so that either it
        // sees our intent or we miss the spec.
        let opened = self.place.open_spec(run).and_then(|lowest| self.room_for_a_run(lowest));
        let logs = opened.map(|fd| Logs::of(Some(fd)));
        let (logs, spec) = match logs.and_then(|logs| logs.spec().map(|spec| (logs, spec))) {
            Ok(both) => both,
            Err(errno) => {
                slot.state.store(FREE, Ordering::Release);
                // There, but not to be had just now (out of descriptors or memory): that is no answer, so it is to be asked
                // again.
                let gone = matches!(errno, Errno::NOENT | Errno::INVAL);
                return if gone {
                    self.refuse(conn, run, Refusal::NoSpec);
                } else {
                    self.refuse_later(conn, run);
                };
            }
        };
        fault::point("start-intent");
        if let Err((step, errno)) = self.bring_up(at as u16, run, &spec, logs) {
            self.no_child(at as u16, run, step, errno);
        }
        self.tell_generation(self.own, Tell::Changed { run, slot: at });
    }

    /// Where a run is, in any generation we know.
    pub(crate) fn find(&self, run: u64) -> Option<(usize, u16)> {
        self.generations.iter().enumerate().find_map(|(at, generation)| {
            let slot = generation.as_ref()?.table.find(run)?;
            Some((at, slot as u16))
        })
    }

    /// A run that is begun must not fail, nor starve those that live, because descriptors ran out on the way: so many must
    /// be free. Each free number is looked for: one that took another's place has holes among what it inherited, and how
    /// low the first of them lies says nothing of how many there are. That costs as much as a start does, so it is only done
    /// where all that we can have could come near the limit.
    fn room_for_a_run(&self, lowest: OwnedFd) -> rustix::io::Result<OwnedFd> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let kept = (limit / 4).min(KEPT_FDS);
        let runs: usize = self.generations.iter().flatten().map(|generation| generation.lives.len()).sum();
        let at_most = (runs as u64 + 1) * FDS_OF_A_RUN + FDS_OF_OURS;
        if at_most < limit - kept && (lowest.as_raw_fd() as u64) < limit - kept {
            return Ok(lowest);
        }
        let mut free = lowest.as_raw_fd();
        for _kept in 0..kept {
            match rustix::io::fcntl_dupfd_cloexec(&lowest, free + 1) {
                Ok(next) => free = next.as_raw_fd(),
                // The next number would be beyond the limit.
                Err(Errno::INVAL) => return Err(Errno::MFILE),
                Err(errno) => return Err(errno),
            }
        }
        Ok(lowest)
    }

    fn bring_up(&mut self, at: u16, run: u64, spec: &SpecFile, logs: Logs) -> Result<(), NoChild> {
        let view = spec.view().map_err(|_| (SpawnStep::Spec, Errno::INVAL.raw_os_error()))?;
        let mut live = Live::new(at, run);
        live.logs = logs;
        live.learn(&view);
        let mut ends = self.make_ends(&mut live, view.output(), view.user())?;
        if view.stdin() == Stdin::Handed || view.output() == Output::Bypass {
            let bypass = view.output() == Output::Bypass;
            let fds = self.hands.take(view.hand_key()).ok_or((SpawnStep::Stdio, Errno::BADF.raw_os_error()))?;
            let [stdin, out, err] = fds;
            ends.stdin = stdin;
            if bypass {
                if out.is_none() || err.is_none() {
                    return Err((SpawnStep::Stdio, Errno::BADF.raw_os_error()));
                }
                (ends.out, ends.err) = (out, err);
            }
        }
        if view.sockets().any(|key| self.hands.kept(key).is_none()) {
            return Err((SpawnStep::Stdio, Errno::BADF.raw_os_error()));
        }
        let ready = match view.ready_fd() {
            Some(_) => Some(self.place.open_ready(run).map_err(|e| (SpawnStep::Stdio, e.raw_os_error()))?),
            None => None,
        };
        fault::point("start-piped");
        let backed = self.back_up(&live);
        fault::point("start-backed-up");
        let name = crate::stop::cgroup_name(run);
        let cgroup = if view.cgroup().is_empty() { None } else { self.cgroups.create(&name).ok() };
        if let Err(errno) = limit(cgroup.as_ref(), &view) {
            if cgroup.is_some() {
                drop(cgroup);
                self.drop_cgroup(run);
            }
            return Err((SpawnStep::Cgroup, errno.raw_os_error()));
        }
        let Some(own) = self.generations[self.own].as_ref() else { return Ok(()) };
        let slot = &own.table.slots()[usize::from(at)];
        if cgroup.is_some() {
            slot.set_flag(flag::CGROUP);
        }
        if live.tty.is_some() {
            slot.set_flag(flag::TTY);
        }
        if !backed {
            self.strain(self.own, at);
        }
        if view.timeout_ms() > 0 {
            let deadline = clock::mono().saturating_add(view.timeout_ms().saturating_mul(clock::MS));
            slot.timeout_deadline.store(deadline, Ordering::Relaxed);
            self.due = self.due.min(deadline);
        }
        let null = self.mover.null();
        let mut extra = [(null, 0u16); EXTRA_MAX];
        let mut extras = 0;
        for key in view.sockets() {
            // Each is there: it was looked for.
            extra[extras] = (self.hands.kept(key).map_or(null, AsFd::as_fd), 3 + extras as u16);
            extras += 1;
        }
        if let (Some(file), Some(number)) = (&ready, view.ready_fd()) {
            extra[extras] = (file.as_fd(), number);
            extras += 1;
        }
        let prepared = Prepared {
            view,
            stdin: ends.stdin.as_ref().map(AsFd::as_fd),
            out: ends.out.as_ref().map_or(null, AsFd::as_fd),
            err: ends.err.as_ref().map_or(null, AsFd::as_fd),
            tty_slave: ends.slave.as_ref().map(AsFd::as_fd),
            extra: &extra[..extras],
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
            slot,
            restore: &self.restore,
        };
        let spawned = spawn(&mut self.arena, &prepared);
        drop(ends);
        let pidfd = match spawned {
            Ok(pidfd) => pidfd,
            Err(why) => {
                if cgroup.is_some() {
                    drop(cgroup);
                    self.drop_cgroup(run);
                }
                return Err(why);
            }
        };
        fault::point("start-cloned");
        has_pid(slot);
        live.news = self.arena.take_news();
        // A child that may hang on its way is no running program yet.
        if self.arena.waited {
            alive(slot);
        } else if live.news.is_none() {
            live.look_at = clock::mono();
            self.due = 0;
        }
        if view.hand_key() != 0 {
            self.hand_used(view.hand_key());
        }
        match pidfd {
            Some(pidfd) => self.serve_run(self.own, live, pidfd),
            // There was no descriptor left to watch it by: it is our child, and its end is heard of by its number.
            None => self.serve_streams(self.own, live),
        }
        Ok(())
    }

    /// Watches a run that lives: its leader, and whatever streams it has.
    pub(crate) fn serve_run(&mut self, at: usize, mut live: Live, pidfd: OwnedFd) {
        let (slot, run) = (live.slot, live.run);
        let (generation, check) = (at as u16, check_of(run));
        let once = EventFlags::IN | EventFlags::ONESHOT;
        arm(&self.epoll, &pidfd, Token::Exit { generation, slot, check }, once, false);
        live.pidfd = Some(pidfd);
        if let Some(news) = live.news.as_ref() {
            arm(&self.epoll, news, Token::Exit { generation, slot, check }, once, false);
        }
        let out = live.tty.as_ref().map(|tty| tty.master.as_fd()).or(live.out.pipe.as_ref().map(AsFd::as_fd));
        if let Some(pipe) = out {
            arm(&self.epoll, pipe, Token::Out { generation, slot, check }, once, false);
        }
        if let Some(pipe) = live.err.pipe.as_ref() {
            arm(&self.epoll, pipe, Token::Err { generation, slot, check }, once, false);
        }
        if let Some(generation) = self.generation(at) {
            generation.lives.insert(live);
        }
    }

    fn make_ends(&mut self, live: &mut Live, output: Output, user: Option<(u32, u32)>) -> Result<Ends, NoChild> {
        let mut ends = Ends::default();
        match output {
            Output::Pipes => {
                let (out, child_out) = pipe(user)?;
                let (err, child_err) = pipe(user)?;
                (live.out.pipe, live.err.pipe) = (Some(out), Some(err));
                if self.mover.goes_by_hand(live) {
                    let aside = || both_ways().map(Some).map_err(|errno| (SpawnStep::Pipe, errno.raw_os_error()));
                    (live.out.aside, live.err.aside) = (aside()?, aside()?);
                }
                (ends.out, ends.err) = (Some(child_out), Some(child_err));
            }
            Output::Bypass | Output::Null => {}
            Output::Tty { rows, cols } => {
                let failed = |e: std::io::Error| (SpawnStep::Session, e.raw_os_error().unwrap_or(0));
                let crate::pty::Pty { master, slave } = crate::pty::open(rows, cols).map_err(failed)?;
                if let Some((uid, gid)) = user {
                    crate::pty::give(&slave, uid, gid).map_err(failed)?;
                }
                let (read, write) = pipe(None)?;
                live.out.pipe = Some(read);
                let typed = both_ways().map_err(|errno| (SpawnStep::Pipe, errno.raw_os_error()))?;
                live.tty = Some(Tty { master, pipe_in: write, typed, wake: None, ended: false });
                ends.slave = Some(slave);
            }
        }
        Ok(ends)
    }

    fn no_child(&mut self, at: u16, run: u64, step: SpawnStep, errno: i32) {
        let Some(own) = self.generations[self.own].as_mut() else { return };
        let slot = &own.table.slots()[usize::from(at)];
        let now = clock::wall();
        slot.step.store(step as u32, Ordering::Relaxed);
        slot.errno.store(errno, Ordering::Relaxed);
        slot.set_flag(flag::SPAWN_FAILED);
        slot.t_exit.store(now, Ordering::Relaxed);
        slot.t_drained.store(now, Ordering::Relaxed);
        slot.state.store(DRAINED, Ordering::Release);
        self.record_end(self.own, at, run);
    }

    /// Whether a generation is served by us.
    pub(crate) fn serves(&self, at: usize) -> bool {
        self.generations.get(at).and_then(Option::as_ref).is_some_and(|g| g.serving == Serving::Mine)
    }

    /// Looks at a stream right away, whatever woke us.
    pub(crate) fn look_both(&mut self, at: usize, slot: u16, run: u64) {
        self.look(at, slot, check_of(run), Stream::Out);
        self.look(at, slot, check_of(run), Stream::Err);
    }
}

/// Writes the run's limits into its cgroup. One that asks for limits does not start without them.
fn limit(cgroup: Option<&OwnedFd>, view: &SpecView<'_>) -> rustix::io::Result<()> {
    for (file, value) in view.cgroup_files() {
        crate::cgroup::limit(cgroup.ok_or(Errno::OPNOTSUPP)?, file, value)?;
    }
    Ok(())
}

/// The child is there: with its start its number names nobody else.
pub(crate) fn has_pid(slot: &Slot) {
    let pid = slot.pid.load(Ordering::Relaxed);
    slot.start_ticks.store(crate::boot::start_ticks(pid).unwrap_or(0), Ordering::Relaxed);
}

/// The child has become the program, if that could be: say so in its slot.
pub(crate) fn alive(slot: &Slot) {
    slot.t_start.store(clock::wall(), Ordering::Relaxed);
    slot.state.store(RUNNING, Ordering::Release);
}

/// Whether a child in INTENT has become its program meanwhile; then its slot says so.
pub(crate) fn has_begun(slot: &Slot) -> bool {
    let (pid, ticks) = (slot.pid.load(Ordering::Relaxed), slot.start_ticks.load(Ordering::Relaxed));
    // Of one that is gone what was seen last holds, if it was stopped then; one that was left alone ended by itself.
    let was_left_alone = || slot.stop_stage.load(Ordering::Relaxed) == 0;
    let begun = slot.state.load(Ordering::Relaxed) == INTENT
        && pid != 0
        && crate::boot::has_execed(pid, ticks).unwrap_or_else(was_left_alone);
    if begun {
        alive(slot);
    }
    begun
}

/// The eight characters of a run, as the name of its cgroup.
pub(crate) fn run_name(run: u64) -> String {
    kin_core::RunNo::new(run).map_or_else(|| format!("{run:x}"), |no| no.to_string())
}

/// A pipe with both ends in one descriptor, which neither blocks nor ever ends.
pub(crate) fn both_ways() -> rustix::io::Result<OwnedFd> {
    let (read, _write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let mut path = crate::text::Text::<32>::new();
    write!(path, "/proc/self/fd/{}", read.as_raw_fd()).map_err(|_| Errno::INVAL)?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path.as_cstr(), flags, rustix::fs::Mode::empty())
}

/// A pipe whose read end never blocks us, and whose write end belongs to the run's user, who may open it by name.
fn pipe(user: Option<(u32, u32)>) -> Result<(OwnedFd, OwnedFd), NoChild> {
    let failed = |errno: Errno| (SpawnStep::Pipe, errno.raw_os_error());
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    rustix::io::ioctl_fionbio(&read, true).map_err(failed)?;
    if let Some((uid, gid)) = user {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(&write, Some(uid), Some(gid)).map_err(failed)?;
    }
    Ok((read, write))
}
