//! `kin daemon`: the process that thinks. It has no children and no pipes; the elder starts it, and starts it again.
//!
//! ```text
//!   lock ──▶ ledger and engine ──▶ HTTP ──▶ the engine ends ──▶ answers under way end ──▶ the process ends,
//!                                                                                         or becomes its successor
//! ```
//! Whatever it was doing when it dies, the next one finds in the ledger and in the run tables. Its exit codes are words
//! to the elder: 2 and 5 before it ever served mean that starting it again would be in vain, 7 that there is no room.

use crate::engine::{self, Config, Ended, StartError, Started, Times};
use crate::front::{CLOSED, CLOSING, birth};
use crate::helper::Helpers;
use crate::http::door::About;
use crate::http::error::chain;
use crate::http::serve::{Entrance, Notice};
use crate::http::tcp::{self, Doors, Opened, Stuck};
use crate::http::{self, Door};
use crate::jobfiles::{JobFiles, kept};
use crate::place::Place;
use crate::probing;
use crate::seams;
use crate::stopping;
use crate::surroundings::Server;
use crate::watching;
use crate::{apply, clock, zonefiles};
use futures_util::future::join_all;
use kin_api::home::Home;
use kin_config::Settings;
use kin_config::good::Good;
use kin_config::settings::{History, OnExit};
use kin_keeper::{NO_ROOM, boot};
use kin_ledger::{Durability, Found, OpenError, Retention};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};

/// A door that could not be opened is tried again so often.
const STUCK: Duration = Duration::from_secs(2);
const USAGE: &str = "`kin daemon` is started by the elder; `kin serve` starts a server";
/// Files are read, and SQLite asked, by at most so many threads at once.
const READERS: usize = 16;
/// A daemon's lock that is held for longer than this is another daemon's.
const PATIENCE: Duration = Duration::from_millis(500);
/// So long callers wait for what the job files say at first.
const FIRST_READING: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum DaemonError {
    #[error("{USAGE}")]
    Usage,
    #[error("another daemon serves {run} already ({holder})")]
    Locked { run: PathBuf, holder: String },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the engine ended: {why}")]
    Engine { why: String },
}

impl DaemonError {
    fn code(&self) -> u8 {
        match self {
            DaemonError::Usage => 2,
            DaemonError::Locked { .. } => 5,
            DaemonError::Start(StartError::Open(OpenError::Newer { .. } | OpenError::OldSqlite { .. })) => 2,
            DaemonError::Start(StartError::Open(OpenError::Full { .. })) => NO_ROOM,
            DaemonError::Start(StartError::Io { source, .. }) | DaemonError::Io { source, .. } if no_room(source) => {
                NO_ROOM
            }
            DaemonError::Start(_) | DaemonError::Io { .. } | DaemonError::Engine { .. } => 1,
        }
    }
}

fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn at(what: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::Io { what, source }
}

/// The elder's sockets, which every daemon reads and whoever comes after us must have.
#[derive(Debug)]
struct Sockets {
    listener: OwnedFd,
    notify: Option<OwnedFd>,
}

#[derive(Debug)]
struct Args {
    place: Place,
    /// The number of the listening socket, handed down.
    listen: Option<i32>,
    /// The number of the socket on which runs say that they are ready.
    notify: Option<i32>,
    /// We came here by exec, from the daemon before us.
    upgraded: bool,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Args> {
        let (mut state, mut run, mut listen, mut notify, mut upgraded) = (None, None, None, None, false);
        while let Some(arg) = args.next() {
            match arg.to_str()? {
                "--state" => state = Some(PathBuf::from(args.next()?)),
                "--run" => run = Some(PathBuf::from(args.next()?)),
                "--listen-fd" => listen = Some(args.next()?.to_str()?.parse().ok()?),
                "--notify-fd" => notify = Some(args.next()?.to_str()?.parse().ok()?),
                "--upgraded" => upgraded = true,
                _ => return None,
            }
        }
        Some(Args { place: Place { state: state?, run: run? }, listen, notify, upgraded })
    }
}

/// What `kin daemon …` does; `args` are those after `daemon`.
pub fn main(args: &[OsString]) -> ExitCode {
    let done = Args::parse(args.iter().cloned()).ok_or(DaemonError::Usage).and_then(|args| run(&args));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            crate::say!("kin: {}", chain(&e));
            ExitCode::from(e.code())
        }
    }
}

fn run(args: &Args) -> Result<(), DaemonError> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let place = &args.place;
    let _lock = lock(&place.run, PATIENCE)?;
    let listener = match args.listen {
        Some(number) => kin_keeper::sys::process::inherited(number).map_err(at("taking the socket handed down"))?,
        None => listen(&place.run).map_err(at("listening on kin.sock"))?,
    };
    let notify = match args.notify {
        Some(number) => kin_keeper::sys::process::inherited(number).map(Some),
        // Without an elder (in tests) nobody reads it.
        None => Ok(None),
    };
    let notify = notify.map_err(at("taking the socket of readiness"))?;
    prepare(place).map_err(at("preparing the runtime directory"))?;
    let kept = || {
        let notify = notify.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok(Sockets { listener: listener.try_clone()?, notify })
    };
    let spare = kept().map_err(at("keeping the listening socket"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(READERS)
        .enable_all()
        .build()
        .map_err(at("starting the runtime"))?;
    let settings = settings(&place.state);
    let doors = doors(place, &settings);
    let elder = kept().map_err(at("keeping the listening socket"))?;
    let started = engine::start(config(args, &settings, elder))?;
    let ended = runtime.block_on(serve(place, &settings, (listener, doors), notify, started))?;
    runtime.shutdown_background();
    match ended {
        Ended::Shutdown => {
            // The front is told by this that nobody will start another daemon.
            std::fs::write(place.run.join(CLOSED), "").or_else(gone_is_fine).map_err(at("saying that the server ended"))
        }
        Ended::Upgrade { program } => Err(become_program(&program, place, &spare)),
        Ended::Failed { why } => Err(DaemonError::Engine { why }),
    }
}

/// Serves until the engine has ended.
async fn serve(
    place: &Place,
    settings: &Settings,
    (listener, doors): (OwnedFd, Doors),
    notify: Option<OwnedFd>,
    started: Started,
) -> Result<Ended, DaemonError> {
    let listener = std::os::unix::net::UnixListener::from(listener);
    listener.set_nonblocking(true).map_err(at("listening on kin.sock"))?;
    let listener = UnixListener::from_std(listener).map_err(at("listening on kin.sock"))?;
    let Started { handle, found, remembered, asking, ended } = started;
    // From here on nothing is left of the helpers of a daemon before us, but stop commands.
    let helpers = Helpers::open_keeping(&place.run, &stopping::left(&place.run), Some(&place.state));
    let helpers = helpers.map_err(at("reaching the keepers"))?;
    let hear = handle.clone();
    stopping::begin(&place.run, helpers.clone(), asking, move |asked| hear.asked(asked));
    probing::begin(place, &handle, helpers, notify).map_err(at("looking at runs"))?;
    zonefiles::begin(&handle).map_err(at("watching the time zones"))?;
    let server = Server::this(&place.run, &place.state, files_soft());
    watching::begin(&handle, server).map_err(at("watching the files of jobs"))?;
    if found != Found::Good {
        // Nobody is to see what was saved before the rest was rebuilt, or to miss that it was lost.
        drop(handle.queues().await);
    }
    // The socket listens already: from here on callers are only waiting for their turn.
    handle.ready();
    let files = match Home::of_process(rustix::process::geteuid().is_root()) {
        Ok(home) => {
            let files = apply::job_files(home.config, remembered, &place.state, handle.clone());
            let (look, applied) = files.map_err(at("watching the job files"))?;
            // Who asks for a job as soon as there is a server means what stands in the files now. Where they cannot be read
            // for so long, what is known is better than no answer. An engine that has ended brings nothing.
            drop(tokio::time::timeout(FIRST_READING, applied).await);
            Some(look)
        }
        // It was said when the settings were read.
        Err(_) => None,
    };
    let (said, opened) = watch::channel(doors.said);
    let about = About { doors: opened, ..about(place, settings, &found) };
    let door = Door::new(handle, about, files).map_err(at("watching the logs"))?;
    let (stop, stopped) = watch::channel(false);
    let uid = rustix::process::geteuid().as_raw();
    let wait = async {
        let ended = end_of(ended).await;
        stop.send_replace(true);
        ended
    };
    let tcp =
        doors.open.into_iter().map(Entrance::tcp).collect::<io::Result<Vec<_>>>().map_err(at("listening on TCP"))?;
    let entrances = std::iter::once(Entrance::User { listener, uid }).chain(tcp);
    let notice = Notice::new(door.engine.watch_trouble());
    let router = http::router(door);
    let stuck = doors.stuck.into_iter().map(|stuck| unstick(stuck, &place.run, &said, &router, &notice, &stopped));
    let stuck = join_all(stuck);
    let serve =
        entrances.map(|entrance| http::serve::serve(entrance, router.clone(), Arc::clone(&notice), stopped.clone()));
    let (ended, ..) = tokio::join!(wait, join_all(serve), stuck);
    Ok(ended)
}

/// Tries to open a door again and again, and serves it then.
async fn unstick(
    stuck: Stuck,
    run: &Path,
    said: &watch::Sender<Vec<Opened>>,
    router: &axum::Router,
    notice: &Arc<Notice>,
    stopped: &watch::Receiver<bool>,
) {
    let stuck = Arc::new(stuck);
    let mut ending = stopped.clone();
    // Whoever would have said that it ends is gone, which says it as well.
    while tokio::time::timeout(STUCK, ending.wait_for(|stop| *stop)).await.is_err() {
        let (again, run) = (Arc::clone(&stuck), run.to_path_buf());
        let opened = tokio::task::spawn_blocking(move || again.again(&run)).await;
        let Ok(Ok(Ok(entrance))) = opened.map(|opened| opened.map(Entrance::tcp)) else { continue };
        said.send_modify(|said| said[stuck.at].token = Ok(stuck.file.clone()));
        return http::serve::serve(entrance, router.clone(), Arc::clone(notice), stopped.clone()).await;
    }
}

async fn end_of(ended: oneshot::Receiver<Ended>) -> Ended {
    ended.await.unwrap_or_else(|_| Ended::Failed { why: "its thread is gone".into() })
}

/// A door that cannot be opened ends no server: its runs are worth more than its visitors.
fn doors(place: &Place, settings: &Settings) -> Doors {
    let Ok(home) = Home::of_process(rustix::process::geteuid().is_root()) else { return Default::default() };
    let config = home.config.first().unwrap_or(&place.state);
    let doors = tcp::open(settings, config, &place.state, &place.run);
    for one in &doors.said {
        if let Err(why) = &one.token {
            crate::say!("kin: nothing listens on {}: {why}", one.address);
        }
    }
    doors
}

/// What `[kin]` says. Of a file with mistakes its last good words count, and a server serves all the same: whoever started it
/// is told what is wrong, and `kin check` says it again.
fn settings(state: &Path) -> Settings {
    let home = match Home::of_process(rustix::process::geteuid().is_root()) {
        Ok(home) => home,
        Err(why) => {
            crate::say!("kin: no settings were read: {why}");
            return Settings::default();
        }
    };
    let ranked = |(path, text): (PathBuf, String)| {
        let rank = JobFiles::rank(&home.config, &path);
        (path, rank, text)
    };
    let good = Good::remembering(kept::all(state).into_iter().map(ranked), []);
    let reading = JobFiles::new(home.config, good).read_when_whole();
    if !reading.report.mistakes.is_empty() {
        crate::say!("{}kin: the job files have {}", reading.report.text(false), reading.report.sum());
    }
    let mut settings = reading.set.settings;
    if !reading.left_out.is_empty() {
        // How much is to be kept may stand in what could not be read; what is gone is gone.
        settings.history = History { age: None, runs: None, runs_per_job: None, events_age: None, events: None };
    }
    settings
}

fn config(args: &Args, settings: &Settings, sockets: Sockets) -> Config {
    let place = args.place.clone();
    let durability = match settings.durability {
        kin_config::settings::Durability::Full => Durability::Full,
        kin_config::settings::Durability::Fast => Durability::Normal,
    };
    let history = &settings.history;
    let retention = Retention {
        max_age_ms: history.age.map(|age| age.0),
        max_count: history.runs,
        per_job: history.runs_per_job,
        events_max_age_ms: history.events_age.map(|age| age.0),
        events_max_count: history.events,
        jobs: std::collections::BTreeMap::new(),
        held: std::collections::BTreeSet::new(),
    };
    let (retention, job_output_max) = seams::keep(retention, engine::JOB_OUTPUT_MAX);
    Config {
        state: place.state.clone(),
        run: place.run.clone(),
        boot: boot::identity(),
        durability,
        retention,
        job_output_max,
        care_after: seams::care_after(),
        make_within: seams::make_within(),
        server: Server::this(&place.run, &place.state, files_soft()),
        times: Times::new(settings),
        new_elder: Box::new(move || new_elder(&place, &sockets)),
        clock: Box::new(clock::now),
        upgraded: args.upgraded,
    }
}

/// Both keepers are dead: makes an elder, which finds us by our lock. A lock that is held is somebody else's birth.
fn new_elder(place: &Place, sockets: &Sockets) -> io::Result<()> {
    match birth::lock(&place.state)? {
        Some(lock) => birth::elder(place, &lock, Some(&sockets.listener), sockets.notify.as_ref()),
        None => Ok(()),
    }
}

fn about(place: &Place, settings: &Settings, found: &Found) -> About {
    let ledger = match found {
        Found::Fresh => "fresh".to_string(),
        Found::Good => "good".into(),
        Found::SetAside { path, why, saved } => {
            let what = match path {
                Some(path) => format!("set aside ({why}), kept as {}", path.display()),
                None => format!("lost ({why})"),
            };
            format!("{what}; {saved} runs were carried over")
        }
    };
    About {
        state: place.state.clone(),
        run: place.run.clone(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        started_at: clock::now(),
        boot: boot::identity(),
        durability: settings.durability.word(),
        stops_on_exit: settings.on_exit == OnExit::Stop,
        ledger,
        files_soft: files_soft(),
        server: Server::this(&place.run, &place.state, files_soft()),
        doors: watch::channel(Vec::new()).1,
    }
}

/// What was raised for us, and runs are given back.
fn files_soft() -> Option<u64> {
    std::env::var("KIN_NOFILE_SOFT").ok().and_then(|soft| soft.parse().ok())
}

/// Held for life: at most one daemon serves a runtime directory. It says who we are, for a new elder to find us.
fn lock(run: &Path, patience: Duration) -> Result<OwnedFd, DaemonError> {
    let what = "taking daemon.lock";
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = rustix::fs::open(run.join("daemon.lock"), flags, Mode::RUSR | Mode::WUSR);
    let file = file.map_err(io::Error::from).map_err(at(what))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // Whoever wants to know whether there is a daemon takes the lock for an instant.
        Err(rustix::io::Errno::WOULDBLOCK) if freed_within(&file, patience) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = std::fs::read_to_string(run.join("daemon.lock")).unwrap_or_default();
            let pid = holder.split_whitespace().next().unwrap_or("unknown");
            return Err(DaemonError::Locked { run: run.to_path_buf(), holder: format!("pid {pid}") });
        }
        Err(e) => return Err(at(what)(e.into())),
    }
    let pid = std::process::id();
    let text = format!("{pid} {}\n", boot::start_ticks(pid).unwrap_or(0));
    // The length last: whoever reads in between finds the old text whole, or the new one.
    let written = rustix::io::pwrite(&file, text.as_bytes(), 0).and_then(|n| rustix::fs::ftruncate(&file, n as u64));
    written.map_err(io::Error::from).map_err(at(what))?;
    Ok(file)
}

/// Waits for the lock. A wait in vain leaves its thread behind, and is followed by the end of the process.
pub(crate) fn freed_within(file: &OwnedFd, patience: Duration) -> bool {
    let Ok(file) = file.try_clone() else { return false };
    let (say, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let taken = rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive));
        // Nobody hears it when it came too late.
        say.send(taken.is_ok()).ok();
    });
    said.recv_timeout(patience).unwrap_or(false)
}

/// Without an elder (in tests) the socket is ours.
fn listen(run: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Bound under another name and renamed: it is never there with a mode or a backlog of its own making.
    let (new, place) = (run.join(".kin.sock.new"), run.join("kin.sock"));
    std::fs::remove_file(&new).or_else(gone_is_fine)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&new)?)?;
    rustix::fs::chmod(&new, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, 1024)?;
    std::fs::rename(&new, &place)?;
    Ok(socket)
}

fn prepare(place: &Place) -> io::Result<()> {
    for name in [CLOSING, CLOSED] {
        std::fs::remove_file(place.run.join(name)).or_else(gone_is_fine)?;
    }
    let runtime = ["spec", "ready", "credentials", "hands"].map(|dir| place.run.join(dir));
    for dir in runtime.into_iter().chain([place.state.join("logs")]) {
        match rustix::fs::mkdir(&dir, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn gone_is_fine(e: io::Error) -> io::Result<()> {
    if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

/// Comes back only when neither the new program nor our own can be executed; then the elder starts another daemon.
fn become_program(program: &Path, place: &Place, sockets: &Sockets) -> DaemonError {
    let failed = execute(program, place, sockets, true);
    crate::say!("kin: {} could not be executed: {failed}; going on with the old program", program.display());
    at("executing the old program again")(execute(Path::new("/proc/self/exe"), place, sockets, false))
}

fn execute(program: &Path, place: &Place, sockets: &Sockets, upgraded: bool) -> io::Error {
    let mut handed = std::iter::once(&sockets.listener).chain(&sockets.notify);
    if let Err(e) = handed.try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty())) {
        return e.into();
    }
    let mut command = Command::new(program);
    command.arg0("kin").args(["daemon", "--state"]).arg(&place.state).arg("--run").arg(&place.run);
    command.arg("--listen-fd").arg(sockets.listener.as_raw_fd().to_string());
    if let Some(notify) = &sockets.notify {
        command.arg("--notify-fd").arg(notify.as_raw_fd().to_string());
    }
    if upgraded {
        command.arg("--upgraded");
    }
    command.exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_serves_a_runtime_directory_and_says_who_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("daemon.lock"), "4711 1234567890123456789 of another\n").expect("writes");
        let held = lock(dir.path(), PATIENCE).expect("a lock");
        let text = std::fs::read_to_string(dir.path().join("daemon.lock")).expect("reads");
        let pid = std::process::id();
        assert_eq!(text, format!("{pid} {}\n", boot::start_ticks(pid).expect("alive")));
        let refused = lock(dir.path(), Duration::from_millis(20)).expect_err("refused");
        assert_eq!((refused.code(), refused.to_string().contains(&format!("pid {pid}"))), (5, true));
        drop(held);
    }

    #[test]
    fn arguments_are_the_elders() {
        let args = |text: &str| Args::parse(text.split(' ').map(OsString::from));
        let parsed = args("--state /s --run /r --listen-fd 7 --upgraded").expect("parses");
        assert_eq!((parsed.place.run.as_path(), parsed.listen, parsed.upgraded), (Path::new("/r"), Some(7), true));
        assert!(args("--state /s").is_none());
        assert!(args("--state /s --run /r --nonsense").is_none());
    }
}
