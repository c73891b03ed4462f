//! `kin serve`: the front. It holds the place of the service manager's process or of the terminal, and nothing hangs on it.
//!
//! ```text
//!   lock free ──▶ make an elder ──▶ attach ──▶ attend ──▶ end
//!   lock held ────────────────────▶   │          │
//!                                     │ Busy     │ elder gone: attach to whoever is elder now
//!                                     ▼          ▼
//!                                   exit 5     lock free: make another
//! ```
//! Killing it changes nothing. It passes the wish to end on, says when the server serves, and ends when told, or when its
//! daemon ended after a shutdown while runs go on.

pub mod ask;
pub mod birth;
pub mod detach;
mod fresh;
pub mod link;
pub mod notify;
mod unit;

use crate::http::error::chain;
use crate::place::{self, Host, Place, PlaceError};
use kin_api::home::{Home, NoHome};
use kin_api::server::ShutdownAnswer;
use kin_keeper::NO_ROOM;
use kin_keeper::sys::wait::pidfd_open;
use kin_keeper::wire::{Ask, PROTOCOL, Role, Tell};
use link::Link;
use notify::Manager;
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Left in the runtime directory by a daemon that ended after a shutdown: its front is to end too.
pub use kin_keeper::CLOSED;

/// In the runtime directory: the daemon was told to end the server. It goes when the next one begins.
pub const CLOSING: &str = "closing";

/// A server that is just being made, or changes its elder, gets so long to be found.
const FIND: Duration = Duration::from_secs(10);
/// A daemon that lives without keepers gets so long to make an elder.
const ORPHAN: Duration = Duration::from_secs(5);
/// A server that is ending gets so long for it, its runs included.
const END: Duration = Duration::from_secs(50);
/// Until then it is looked for so often: there is no file that changes when a socket begins to listen.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
enum FrontError {
    #[error(transparent)]
    Home(#[from] NoHome),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("the server's lock {path} could not be taken")]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no elder could be made")]
    Birth(#[source] io::Error),
    #[error("already running, pid {pid}")]
    Busy { pid: u32 },
    #[error("a server holds {path}, but nobody answers for it")]
    Silent { path: PathBuf },
    #[error("{why}")]
    GaveUp { code: u8, why: String },
    #[error("the disk of {state} is full: nothing could be recorded. Nothing was started; make room, then ask again")]
    NoRoom { state: PathBuf },
    #[error("the server ended as soon as it had begun: {why}")]
    Stillborn { why: String },
    #[error("the front cannot work")]
    Io(#[from] io::Error),
}

impl FrontError {
    fn code(&self) -> u8 {
        match self {
            // A server that ends by itself before anybody was there does so because its daemon gave up.
            FrontError::Home(_) | FrontError::Place(_) | FrontError::Stillborn { .. } => 2,
            FrontError::Busy { .. } => 5,
            FrontError::GaveUp { code, .. } => *code,
            FrontError::Silent { .. } | FrontError::NoRoom { .. } => 3,
            FrontError::Lock { .. } | FrontError::Birth(_) | FrontError::Io(_) => 1,
        }
    }

    /// Its words, and on a line of its own what to do where that is always the same.
    fn said(&self) -> String {
        let words = chain(self);
        match self {
            FrontError::Home(_) | FrontError::Place(_) => {
                format!("{words}\n  hint: set KIN_HOME to a directory of your own that can be written to")
            }
            FrontError::Stillborn { .. } | FrontError::Silent { .. } => {
                format!("{words}\n  hint: server.log in the state directory says more")
            }
            FrontError::Busy { .. }
            | FrontError::GaveUp { .. }
            | FrontError::NoRoom { .. }
            | FrontError::Lock { .. }
            | FrontError::Birth(_)
            | FrontError::Io(_) => words,
        }
    }
}

/// `kin serve`: the front is this process. With `--background` among `args` it is another, and this one comes back when
/// the server serves.
pub fn serve(args: &[OsString]) -> ExitCode {
    if args.iter().any(|arg| arg == "--background") {
        return serve_in_background();
    }
    match attend(false) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            crate::say!("kin: {}", e.said());
            ExitCode::from(e.code())
        }
    }
}

fn serve_in_background() -> ExitCode {
    let started = home().and_then(|home| {
        place::make_state(&home, rustix::process::geteuid().as_raw())?;
        if let Some(outcome) = unit::start(&home) {
            return Ok(outcome);
        }
        for words in [fresh::begin(), unit::doomed()].into_iter().flatten() {
            crate::say!("kin: {words}");
        }
        Ok(detach::start(&home)?)
    });
    match started {
        Ok((0, _)) => ExitCode::SUCCESS,
        Ok((code, message)) => {
            crate::say!("kin: {message}");
            ExitCode::from(code)
        }
        Err(e) => {
            crate::say!("kin: {}", e.said());
            ExitCode::from(e.code())
        }
    }
}

/// `kin front …`: how a background server comes to be; nobody types it. `args` are those after `front`.
pub fn stage(args: &[OsString]) -> ExitCode {
    let done = match args.first().and_then(|stage| stage.to_str()) {
        Some("session") => detach::session().map_err(FrontError::Io),
        Some("unit") => unit::become_front(&args[1..]).map_err(FrontError::Io),
        Some("attend") => attend_in_background(),
        Some("end") => end_keepers(),
        Some(_) | None => {
            crate::say!("kin: `kin serve` starts a server");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            crate::say!("kin: {}", e.said());
            ExitCode::from(e.code())
        }
    }
}

/// The last stage: whatever it ends with before it serves, whoever waits hears of it.
fn attend_in_background() -> Result<(), FrontError> {
    let done = attend(true);
    match &done {
        // Another server of this state was faster, and that was all that was wanted.
        Err(FrontError::Busy { .. }) => detach::report(&home()?, Ok(()))?,
        Err(e) => detach::report(&home()?, Err((e.code(), &e.said())))?,
        Ok(()) => {}
    }
    done
}

/// Of a server whose daemon cannot start: the elder is told itself. It ends when the runs have that it keeps.
fn end_keepers() -> Result<(), FrontError> {
    let place = place::find(&home()?.state, rustix::process::geteuid().as_raw())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let told = async {
            let link = Link::connect(&place.run)?;
            link.say(Ask::Shutdown { leave: true }).await?;
            // What is said is heard in its order: an answer to this is one to that.
            link.say(Ask::Hello { protocol: PROTOCOL, role: Role::Watcher }).await?;
            link.hear().await
        };
        match tokio::time::timeout(FIND, told).await {
            Ok(told) => told.map(drop).map_err(FrontError::Io),
            Err(_) => Err(FrontError::Silent { path: place.state.join("server.lock") }),
        }
    })
}

fn home() -> Result<Home, FrontError> {
    Ok(Home::of_process(rustix::process::geteuid().is_root())?)
}

fn attend(in_background: bool) -> Result<(), FrontError> {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let home = home()?;
    let state = place::make_state(&home, rustix::process::geteuid().as_raw())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut front = Front {
            home,
            state,
            in_background,
            manager: Manager::of_process(),
            signals: Signals::new()?,
            ready: false,
            asked: false,
            served: None,
            mark: 0,
        };
        front.run().await
    })
}

/// A server that was shut down says so, and takes its directory with it when the last of its runs has ended.
fn is_over(run: &Path) -> bool {
    !run.exists() || run.join(CLOSED).exists()
}

struct Front {
    home: Home,
    state: PathBuf,
    in_background: bool,
    manager: Manager,
    signals: Signals,
    /// It was said that the server serves.
    ready: bool,
    /// The wish to end was passed on.
    asked: bool,
    /// The runtime directory of the server that was attended to last.
    served: Option<PathBuf>,
    /// How long the server's log was before our elder.
    mark: u64,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    child: Signal,
}

/// Why attending to one elder ended.
enum After {
    /// The server has ended, or goes on without daemon and front.
    End,
    /// The connection broke.
    Lost,
}

impl Front {
    async fn run(&mut self) -> Result<(), FrontError> {
        let mut since = Instant::now();
        let mut born = false;
        loop {
            if self.was_shut_down() {
                return self.ended();
            }
            let place = match self.claim(born, since.elapsed())? {
                Some(place) => {
                    born = true;
                    Some(place)
                }
                // Its maker has perhaps not yet said where it is.
                None => place::find(&self.state, rustix::process::geteuid().as_raw()).ok(),
            };
            if let Some(place) = place
                && let Some((link, daemon)) = self.attach(&place, born).await?
            {
                match self.attend(&place, &link, daemon).await? {
                    // It was ending when we came: the next one is to be made.
                    After::End | After::Lost if !self.ready && !self.asked && !born => {}
                    After::End => return self.ended(),
                    After::Lost => (since, born, self.served) = (Instant::now(), false, Some(place.run)),
                }
            }
            let is_ending = self.is_ending();
            if since.elapsed() > if is_ending { END } else { FIND } {
                return Err(FrontError::Silent { path: self.state.join("server.lock") });
            }
            self.look_again().await;
        }
    }

    /// Somebody has shut it down, and its daemon lives yet: who wants a server now wants the next one.
    fn is_ending(&self) -> bool {
        let ends = |place: &Place| [CLOSING, CLOSED].into_iter().any(|name| place.run.join(name).exists());
        place::find(&self.state, rustix::process::geteuid().as_raw()).is_ok_and(|place| ends(&place))
            && birth::daemon(&self.state).is_some()
    }

    /// Perhaps while nobody attended to it: its elder died, and the next one was told to end before we had found it.
    fn was_shut_down(&self) -> bool {
        self.served.as_ref().is_some_and(|run| is_over(run))
    }

    /// The server is over. One that never served, and was not asked to end, has failed.
    fn ended(&self) -> Result<(), FrontError> {
        if self.ready || self.asked { Ok(()) } else { Err(FrontError::Stillborn { why: self.log_since() }) }
    }

    #[expect(clippy::disallowed_methods, reason = "no event tells that a socket has begun to listen; see LOOK")]
    async fn look_again(&self) {
        tokio::time::sleep(LOOK).await;
    }

    /// If nobody has the lock, makes an elder. `born`: we made one just now, and it is gone already.
    fn claim(&mut self, born: bool, waited: Duration) -> Result<Option<Place>, FrontError> {
        // A daemon without keepers makes an elder that keeps its socket; one that does not is hanging.
        if let Some(daemon) = birth::daemon(&self.state) {
            if waited < ORPHAN {
                return Ok(None);
            }
            if birth::lock(&self.state).is_ok_and(|lock| lock.is_some()) {
                daemon.kill()?;
            }
        }
        let path = self.state.join("server.lock");
        let lock = birth::lock(&self.state).map_err(|source| FrontError::Lock { path, source })?;
        let Some(lock) = lock else { return Ok(None) };
        // Nobody has it any more: if that is because the server was shut down, no other is to follow.
        if self.was_shut_down() {
            return Ok(None);
        }
        if born {
            return Err(FrontError::Stillborn { why: self.log_since() });
        }
        let place = place::settle(&self.home, self.state.clone(), &Host::this())?;
        self.mark = birth::log(&self.state)?.metadata()?.len();
        birth::elder(&place, &lock, None, None).map_err(FrontError::Birth)?;
        Ok(Some(place))
    }

    /// Becomes the elder's front, and hears which daemon serves, if one does. `None`: nobody is there just now.
    /// `born`: we made this elder, so that all it has to tell is news.
    async fn attach(&mut self, place: &Place, born: bool) -> Result<Option<(Link, Option<u32>)>, FrontError> {
        if self.is_ending() {
            return Ok(None);
        }
        let Ok(link) = Link::connect(&place.run) else { return Ok(None) };
        let Ok(Ok(greeting)) = tokio::time::timeout(FIND, link.hello()).await else { return Ok(None) };
        let mut daemon = None;
        for tell in greeting {
            match tell {
                // The front of one that has ended goes in a moment.
                Tell::Busy { .. } if is_over(&place.run) => return Ok(None),
                Tell::Busy { pid } => return Err(FrontError::Busy { pid }),
                // It is dead, and the elder has not seen that yet: the next one takes this file away as it begins.
                Tell::DaemonReady { .. } if is_over(&place.run) => return Ok(None),
                Tell::DaemonReady { pid } => daemon = Some(pid),
                Tell::DaemonGaveUp { code } if born => return Err(self.gave_up(code)),
                // An earlier daemon did: now there is somebody who wants another.
                Tell::DaemonGaveUp { .. }
                | Tell::Hello { .. }
                | Tell::Refused { .. }
                | Tell::Changed { .. }
                | Tell::Reread
                | Tell::Chain { .. }
                | Tell::Front { .. }
                | Tell::Bye => {}
            }
        }
        Ok(link.say(Ask::WantDaemon).await.is_ok().then_some((link, daemon)))
    }

    async fn attend(&mut self, place: &Place, link: &Link, serves: Option<u32>) -> Result<After, FrontError> {
        if let Some(pid) = serves {
            self.serving(place, pid)?;
        }
        let mut daemon = serves.and_then(end_of);
        let mut beat = self.manager.beat().map(tokio::time::interval);
        loop {
            tokio::select! {
                heard = link.hear() => match heard {
                    Ok(tells) => for tell in tells {
                        match tell {
                            Tell::DaemonReady { pid } => {
                                self.serving(place, pid)?;
                                daemon = end_of(pid);
                            }
                            Tell::DaemonGaveUp { code } => {
                                return Err(self.gave_up(code));
                            }
                            Tell::Bye => return Ok(After::End),
                            Tell::Busy { pid } => return Err(FrontError::Busy { pid }),
                            Tell::Hello { .. }
                            | Tell::Refused { .. }
                            | Tell::Changed { .. }
                            | Tell::Reread
                            | Tell::Chain { .. }
                            | Tell::Front { .. } => {}
                        }
                    },
                    Err(_) => return Ok(After::Lost),
                },
                () = readable(daemon.as_ref()) => {
                    daemon = None;
                    if place.run.join(CLOSED).exists() {
                        return Ok(After::End);
                    }
                }
                name = self.signals.end() => {
                    if self.asked {
                        crate::say!("kin: {name} again: leaving the server to itself");
                        return Ok(After::End);
                    }
                    self.asked = true;
                    self.say("STOPPING=1");
                    match self.end(place, link).await {
                        Ok(farewell) => tell_farewell(&farewell),
                        Err(e) => crate::say!("kin: the server could not be asked to end: {}", chain(&e)),
                    }
                }
                () = tick(beat.as_mut()) => {
                    let patience = self.manager.beat().unwrap_or(ask::PATIENCE);
                    if ask::is_alive(&place.run, patience).await {
                        self.say("WATCHDOG=1");
                    }
                }
            }
        }
    }

    /// Passes the wish to end on: to the daemon, or to the elder when no daemon answers.
    async fn end(&self, place: &Place, link: &Link) -> io::Result<ShutdownAnswer> {
        let stop = std::process::id() == 1 || (self.manager.is_there() && host_goes_down());
        match ask::shutdown(&place.run, stop).await {
            Ok(farewell) => Ok(farewell),
            Err(e) => {
                crate::say!("kin: the daemon does not answer ({e}); the elder is asked instead");
                link.say(Ask::Shutdown { leave: !stop }).await?;
                Ok(ShutdownAnswer::default())
            }
        }
    }

    fn gave_up(&self, code: u32) -> FrontError {
        match u8::try_from(code) {
            Ok(NO_ROOM) => FrontError::NoRoom { state: self.state.clone() },
            code => FrontError::GaveUp { code: code.unwrap_or(1), why: self.log_since() },
        }
    }

    /// Said once, to all who wait for it.
    fn serving(&mut self, place: &Place, pid: u32) -> Result<(), FrontError> {
        if !std::mem::replace(&mut self.ready, true) {
            self.say("READY=1");
            crate::say!("kin: serving {} (pid {pid})", place.state.display());
            if self.in_background {
                detach::report(&self.home, Ok(()))?;
            }
        }
        Ok(())
    }

    fn say(&self, words: &str) {
        if let Err(e) = self.manager.say(words) {
            crate::say!("kin: the service manager cannot be told {words}: {e}");
        }
    }

    /// The daemon's last word in the server's log since our elder was made, for whoever sees only us.
    fn log_since(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = std::fs::File::open(self.state.join("server.log"))?;
            // What counts stands at its end.
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.mark.max(end.saturating_sub(64 << 10))))?;
            let mut text = Vec::new();
            file.take(64 << 10).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        last_word(&read().unwrap_or_default())
    }
}

/// What the daemon said last, not what others said of its end; where it said nothing, the last of all.
fn last_word(log: &str) -> String {
    let mut lines = log.lines().rev().filter(|line| !line.trim().is_empty());
    let last = lines.clone().next().unwrap_or("it said nothing");
    lines.find_map(|line| line.strip_prefix("kin: ")).unwrap_or(last).to_string()
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// A wish to end. A terminal that closes is none; the death of a child is one of process 1's chores.
    async fn end(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "TERM",
                _ = self.int.recv() => return "INT",
                _ = self.hup.recv() => {}
                _ = self.child.recv() => reap_strangers(),
            }
        }
    }
}

/// Becomes readable when that process has ended; a descriptor of a process is waited for as a pipe is.
fn end_of(pid: u32) -> Option<Receiver> {
    let pidfd: OwnedFd = pidfd_open(pid).ok()?;
    Receiver::from_owned_fd_unchecked(pidfd).ok()
}

async fn readable(fd: Option<&Receiver>) {
    let Some(fd) = fd else { return std::future::pending().await };
    if fd.readable().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn tick(beat: Option<&mut tokio::time::Interval>) {
    match beat {
        Some(beat) => drop(beat.tick().await),
        None => std::future::pending().await,
    }
}

/// As process 1 of a container, the dead of others are ours to bury.
fn reap_strangers() {
    if std::process::id() == 1 {
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
    }
}

/// Whether the whole machine is being stopped, by systemd's own word.
fn host_goes_down() -> bool {
    Path::new("/run/systemd/system").exists()
        && std::process::Command::new("systemctl")
            .arg("is-system-running")
            .output()
            .is_ok_and(|said| said.stdout.starts_with(b"stopping"))
}

fn tell_farewell(farewell: &ShutdownAnswer) {
    for (runs, one, more) in [
        (&farewell.left, "goes on without a server", "go on without a server"),
        (&farewell.stopping, "is being stopped", "are being stopped"),
        (&farewell.waiting, "waits for the next server", "wait for the next server"),
    ] {
        match runs.as_slice() {
            [] => {}
            [run] => crate::say!("kin: 1 run {one}: {run}"),
            runs => crate::say!("kin: {} runs {more}: {}", runs.len(), runs.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_failed_start_the_daemons_own_word_is_shown() {
        let log = "~/a.toml:1:1\nkin: the job files have 1 mistake\nkin: /s/kin.db is too new\nkin keep[7]: the keeper is dead\n\n";
        assert_eq!(last_word(log), "/s/kin.db is too new");
        assert_eq!(last_word("thread 'main' panicked\n"), "thread 'main' panicked");
        assert_eq!(last_word(""), "it said nothing");
    }
}
