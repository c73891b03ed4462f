//! The way in: reaching the socket, finding out whether a server lives, starting one.
//!
//! The lock decides. `<state>/server.lock` is held for as long as any process lives that owns runs; a client that finds
//! it free knows that there is no server, and a client that finds it held knows that refused connections are a pause.
//! Asking the lock takes it shared for an instant, so it is asked only when the socket did not answer.

use crate::Error;
use kin_api::home::Home;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

/// Whether a client that finds no server makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Never,
    /// By running this program as `serve --background`.
    With(PathBuf),
}

impl Start {
    /// This very program, also when its file has been replaced meanwhile.
    pub fn with_self() -> Start {
        Start::With(PathBuf::from("/proc/self/exe"))
    }
}

/// The daemon as its lock file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonProcess {
    pub pid: u32,
    /// Words for what the kernel says of it: `asleep`, `stopped by a signal`, …
    pub doing: &'static str,
}

/// The longest path that fits a socket address.
const PATH_MAX: usize = 107;
/// Between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How long a daemon that cannot be reached is believed to be restarting before a front is asked to look after it.
pub(crate) const LOOK_AFTER: Duration = Duration::from_secs(2);
/// How long somebody who starts no server waits for an answer before looking whether there is one any more.
pub(crate) const LOOK_CLOSED: Duration = Duration::from_millis(250);
/// A server whose daemon ends for so long as soon as it has begun is not waited for.
const FALLING: Duration = Duration::from_secs(6);
/// A new server says within this time that it serves, or is given up.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// More attempts than this mean that a server ends as soon as it has started.
const STARTS_MAX: u32 = 3;
/// `already running`: somebody else was faster, which is as good.
const ALREADY: i32 = 5;

/// Grows from a millisecond to `PAUSE_MAX`.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Pause {
        Pause(Duration::from_millis(1))
    }
    #[expect(clippy::disallowed_methods, reason = "nobody tells a refused client when it may try again")]
    pub(crate) async fn take(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Free,
    Held,
}

/// A path short enough for a socket address, and what must stay open while it is used.
#[derive(Debug)]
pub(crate) struct SocketPath {
    pub(crate) path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl SocketPath {
    pub(crate) fn of(path: &Path) -> std::io::Result<SocketPath> {
        if path.as_os_str().len() <= PATH_MAX {
            return Ok(SocketPath { path: path.to_owned(), _directory: None });
        }
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        let directory = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(SocketPath { path: short, _directory: Some(directory) })
    }
}

/// A connection to the server's socket.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) stream: UnixStream,
    /// A server was started for it, and this is what it had to say.
    pub(crate) started: Option<String>,
}

/// Connects before `deadline`; `None` when that passed without a connection. The time that starting a server takes is
/// not counted.
pub(crate) async fn connect(
    home: &Home,
    start: &Start,
    patience: Duration,
    mut deadline: Instant,
) -> Result<Option<Way>, Error> {
    let socket = home.socket();
    let mut pause = Pause::new();
    let mut refused_since = None;
    let mut starts = 0u32;
    let mut started = None;
    loop {
        let tried = match SocketPath::of(&socket) {
            Ok(short) => UnixStream::connect(&short.path).await,
            Err(error) => Err(error),
        };
        match tried {
            Ok(stream) if !was_shut_down(home) => return Ok(Some(Way { stream, started })),
            Ok(_) => match start {
                Start::Never => return Err(Error::NoServer { state: home.state.clone() }),
                Start::With(program) if starts < STARTS_MAX => {
                    starts += 1;
                    started = Some(run_server(home, program).await?);
                    deadline = Instant::now() + patience;
                    continue;
                }
                Start::With(_) => {}
            },
            Err(error) if is_pause(&error) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Err(not_a_directory(home)),
            Err(source) => return Err(Error::Unreachable { socket, source }),
        }
        let refused_since = *refused_since.get_or_insert_with(Instant::now);
        match (start, lock(&home.lock())?) {
            (Start::Never, Lock::Free) => return Err(Error::NoServer { state: home.state.clone() }),
            (Start::With(program), lock) if lock == Lock::Free || refused_since.elapsed() >= LOOK_AFTER => {
                // Several clients may start one at the same moment; all but one are told that it runs already.
                if starts < STARTS_MAX && (lock == Lock::Free || starts == 0) {
                    starts += 1;
                    started = Some(run_server(home, program).await?);
                    deadline = Instant::now() + patience;
                }
            }
            (Start::Never | Start::With(_), _) => {}
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        pause.take().await;
    }
}

/// The first part of the way to the state that is something else.
fn not_a_directory(home: &Home) -> Error {
    let mut parts: Vec<&Path> = home.state.ancestors().collect();
    parts.reverse();
    let part = parts.into_iter().find(|part| part.exists() && !part.is_dir());
    Error::NotADirectory { path: part.unwrap_or(&home.state).to_path_buf() }
}

/// Not there, nobody listening, or too many waiting already: all pass.
fn is_pause(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    error.kind() == Kind::NotFound || error.kind() == Kind::ConnectionRefused || error.kind() == Kind::WouldBlock
}

fn lock(path: &Path) -> Result<Lock, Error> {
    let what = "could not ask the server's lock";
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()) {
        Ok(file) => match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Lock::Free),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Lock::Held),
            Err(error) => Err(Error::System { what, source: error.into() }),
        },
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(Lock::Free),
        Err(error) => Err(Error::System { what, source: error.into() }),
    }
}

/// Whether the server was shut down while its runs went on: then the keepers live, and keep the socket, but nobody will
/// ever answer at it. The daemon leaves this file when it ends so, and the next one removes it.
pub(crate) fn was_shut_down(home: &Home) -> bool {
    home.run_link().join("closed").exists() && !daemon_lives(home)
}

fn daemon_lives(home: &Home) -> bool {
    !matches!(lock(&daemon_lock(home)), Ok(Lock::Free))
}

/// False: a server lives, was not shut down, and has had no daemon for a while.
pub(crate) async fn has_daemon(home: &Home) -> bool {
    let until = Instant::now() + LOOK_AFTER;
    let mut pause = Pause::new();
    while server_lives(home).unwrap_or(false) && !home.run_link().join("closed").exists() {
        if daemon_lives(home) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        pause.take().await;
    }
    // Whoever asks the socket finds that out.
    true
}

/// Somebody took the request and does not answer: where no daemon lives, a front is asked to see to it that one does.
pub(crate) async fn look_after(home: &Home, start: &Start) -> Result<Option<String>, Error> {
    match start {
        Start::With(program) if !daemon_lives(home) => run_server(home, program).await.map(Some),
        Start::With(_) | Start::Never => Ok(None),
    }
}

/// Whether some process of a server lives for this state.
pub(crate) fn server_lives(home: &Home) -> Result<bool, Error> {
    Ok(lock(&home.lock())? == Lock::Held)
}

/// Ends when nobody holds the lock any more. Blocks its thread: the kernel wakes it.
pub(crate) fn until_free(path: &Path) -> std::io::Result<()> {
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockShared))?),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The daemon's own word about itself, which no other says.
pub(crate) fn who_serves(home: &Home) -> Option<String> {
    std::fs::read_to_string(daemon_lock(home)).ok()
}

/// Ends when that daemon has, also where another took its place at once: a wait for the lock would be one for that one's
/// end.
pub(crate) async fn until_followed(home: &Home, daemon: Option<String>) {
    let mut pause = Pause::new();
    while daemon_lives(home) && who_serves(home) == daemon {
        pause.take().await;
    }
}

pub(crate) fn daemon_lock(home: &Home) -> PathBuf {
    home.run_link().join("daemon.lock")
}

/// Who holds the daemon's lock, and what the kernel says it is doing; `None` when nobody does.
pub(crate) fn daemon_process(home: &Home) -> Option<DaemonProcess> {
    let path = daemon_lock(home);
    if !daemon_lives(home) {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    let pid: u32 = words.next()?.parse().ok()?;
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|b| *b == b')')? + 2;
    let doing = match stat.get(after_name)? {
        b'R' => "running",
        b'S' => "asleep",
        b'D' => "waiting for a disk",
        b'T' => "stopped by a signal",
        b't' => "stopped by a debugger",
        b'Z' | b'X' => "dead",
        _ => "in an unknown state",
    };
    Some(DaemonProcess { pid, doing })
}

/// How long the elder rests at most before it starts a daemon again that ended, and then some.
const REST: Duration = Duration::from_secs(15);

/// What a daemon says that ends again and again as soon as it has begun, by the end of the server's log; `None` where the
/// log speaks of none, or of one long ago.
pub(crate) fn why_it_ends(home: &Home) -> Option<String> {
    let mut file = std::fs::File::open(home.state.join("server.log")).ok()?;
    let found = file.metadata().ok()?;
    // A time to come is no age.
    if found.modified().ok()?.elapsed().is_ok_and(|age| age > REST) {
        return None;
    }
    file.seek(std::io::SeekFrom::Start(found.len().saturating_sub(16 << 10))).ok()?;
    let mut text = Vec::new();
    file.take(16 << 10).read_to_end(&mut text).ok()?;
    why_in(&String::from_utf8_lossy(&text))
}

/// The daemon's last word before the elder's last one about its end.
fn why_in(log: &str) -> Option<String> {
    let ended = |line: &&str| line.starts_with("kin keep[") && line.contains("]: the daemon ended (");
    let mut lines = log.lines().rev().skip_while(|line| !ended(line));
    lines.next()?;
    lines.take_while(|line| !ended(line)).find_map(|line| line.strip_prefix("kin: ")).map(str::to_owned)
}

/// Runs `front end`. Blocks its thread.
pub(crate) fn end_keepers(program: &Path) -> std::io::Result<()> {
    let said = Command::new(program).arg0("kin").args(["front", "end"]).stdin(Stdio::null()).output()?;
    if said.status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(String::from_utf8_lossy(&said.stderr).trim().trim_start_matches("kin: ").to_owned()))
}

/// Runs `serve --background` and waits until it says that the server serves. Returns what it wrote to stderr.
async fn run_server(home: &Home, program: &Path) -> Result<String, Error> {
    let what = "could not start a server";
    let system = |source: std::io::Error| Error::System { what, source };
    // A file in memory, not a pipe: a server that kept it open would keep a pipe from ending.
    let said = rustix::fs::memfd_create("kin-serve", rustix::fs::MemfdFlags::CLOEXEC).map_err(|e| system(e.into()))?;
    let mut said = std::fs::File::from(said);
    let mut command = Command::new(program);
    command.arg0("kin").args(["serve", "--background"]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(said.try_clone().map_err(system)?);
    let mut child = command.spawn().map_err(system)?;
    let ended = tokio::task::spawn_blocking(move || child.wait());
    let mut ended = std::pin::pin!(ended);
    let begun = Instant::now();
    let ended = loop {
        if let Ok(ended) = tokio::time::timeout(LOOK_AFTER, &mut ended).await {
            break ended;
        }
        // A server that has runs tries again and again; who asks is told why in vain.
        let why = (begun.elapsed() > FALLING).then(|| why_it_ends(home)).flatten();
        if why.is_none() && begun.elapsed() < START_PATIENCE {
            continue;
        }
        let said = why.unwrap_or_else(|| format!("it has not said for {} s that it serves", START_PATIENCE.as_secs()));
        let hint = Some(format!("see {}", home.state.join("server.log").display()));
        return Err(Error::NotStarted { state: home.state.clone(), code: None, said, hint });
    };
    let status = ended.unwrap_or_else(|e| Err(std::io::Error::other(e))).map_err(system)?;
    let mut words = Vec::new();
    said.rewind().and_then(|()| said.read_to_end(&mut words)).map_err(system)?;
    let words = String::from_utf8_lossy(&words);
    let words = words.trim().trim_start_matches("kin: ").to_owned();
    match status.code() {
        Some(0) => Ok(words),
        Some(ALREADY) => Ok(String::new()),
        code => {
            let (said, hint) = match words.rsplit_once("\n  hint: ") {
                Some((said, hint)) => (said.to_owned(), Some(hint.to_owned())),
                None => (words, None),
            };
            Err(Error::NotStarted { state: home.state.clone(), code, said, hint })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::why_in;

    #[test]
    fn why_a_daemon_ends_is_what_it_said_before_the_elder_spoke_of_its_end() {
        let end = "kin keep[7]: the daemon ended (exit code 1); started again in 5000 ms\n";
        let log = format!("kin: old\n{end}kin: /s/kin.db cannot be used\n{end}kin: not yet known\n");
        assert_eq!(why_in(&log).as_deref(), Some("/s/kin.db cannot be used"));
        assert_eq!(why_in("kin: serving /s (pid 7)\n"), None);
        assert_eq!(why_in(&format!("kin: old\n{end}{end}")), None, "killed: it said nothing");
    }
}
