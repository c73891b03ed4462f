//! Listening sockets that outlive the runs they are passed to.
//!
//! They are bound here once, handed to the keepers under a key, and kept by both of them: while a run is restarted, or
//! the daemon is, callers wait in the socket's queue instead of being refused. Only the death of both keepers at once
//! closes them; the next start binds them again. Each is noted in `<run>/sockets`, by its key, so that it is known when
//! nothing names it any more.

use super::{Env, Makes, Unmakeable, expand};
use kin_core::SpawnStep;
use kin_core::job::{Job, SocketAt};
use kin_keeper::sys::misc::{receive, send};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

const KEEP: &[u8; 8] = b"KINKEEP1";
const HAVE: &[u8; 8] = b"KINHAVE1";
const GIVE: &[u8; 8] = b"KINGIVE1";
const DROP: &[u8; 8] = b"KINDROP1";
const TAKEN: &[u8; 8] = b"KINHAND+";
/// A keeper that dies has a successor long before.
const PATIENCE: Duration = Duration::from_secs(5);
/// One that does not answer is asked again on a connection to whoever is there by then.
const ANSWER: Duration = Duration::from_millis(500);

/// A socket that a run is passed, with every variable of its address in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Under which the keepers keep it.
    pub key: u64,
    name: String,
    at: SocketAt,
    job: String,
    /// Its address as the definition says it.
    said: String,
}

impl Listening {
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One that the keepers keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub job: String,
    socket: Listening,
}

impl Kept {
    /// Whether this definition of its job names it.
    pub fn is_named(&self, job: &Job) -> bool {
        let same = |at: &SocketAt| kind_and_address(at) == (kind_and_address(&self.socket.at).0, &self.socket.said);
        job.around.sockets.iter().any(|socket| socket.name == self.socket.name && same(&socket.at))
    }
}

fn kind_and_address(at: &SocketAt) -> (&'static str, &String) {
    match at {
        SocketAt::Tcp(address) => ("tcp", address),
        SocketAt::Udp(address) => ("udp", address),
        SocketAt::Unix(path) => ("unix", path),
    }
}

/// All that are noted. What cannot be read is passed over: the keepers' end closes it.
pub fn kept(run: &Path) -> Vec<Kept> {
    let entries = std::fs::read_dir(run.join("sockets")).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| {
        let key = entry.file_name().to_str()?.parse().ok()?;
        let text = std::fs::read_to_string(entry.path()).ok()?;
        let mut lines = text.lines().map(str::to_string);
        let (job, name, kind) = (lines.next()?, lines.next()?, lines.next()?);
        let (address, said) = (lines.next()?, lines.next()?);
        let at = match kind.as_str() {
            "tcp" => SocketAt::Tcp(address),
            "udp" => SocketAt::Udp(address),
            "unix" => SocketAt::Unix(address),
            _ => return None,
        };
        Some(Kept { job: job.clone(), socket: Listening { key, name, at, job, said } })
    };
    entries.filter_map(one).collect()
}

fn note(run: &Path, socket: &Listening) -> io::Result<()> {
    let path = run.join("sockets").join(socket.key.to_string());
    if path.exists() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(run.join("sockets"))?;
    let (kind, address) = kind_and_address(&socket.at);
    let text = format!("{}\n{}\n{kind}\n{address}\n{}\n", socket.job, socket.name, socket.said);
    std::fs::write(path, text)
}

pub(super) fn of(job: &Job, env: &Env) -> Makes<Vec<Listening>> {
    let mut all = Vec::new();
    for socket in &job.around.sockets {
        if socket.name.is_empty() || socket.name.contains([':', '\n']) {
            return Err(Unmakeable::defined(format!("sockets: {:?} cannot be a name in LISTEN_FDNAMES", socket.name)));
        }
        let text = |text: &str| {
            expand::text(text, env).map_err(|why| Unmakeable::defined(format!("sockets, {}: {why}", socket.name)))
        };
        let (at, kind, address) = match &socket.at {
            SocketAt::Tcp(address) => (SocketAt::Tcp as fn(String) -> SocketAt, "tcp", text(address)?),
            SocketAt::Udp(address) => (SocketAt::Udp as fn(String) -> SocketAt, "udp", text(address)?),
            SocketAt::Unix(path) => (SocketAt::Unix as fn(String) -> SocketAt, "unix", text(path)?),
        };
        // Another address is another socket; all instances of a job share one.
        let named = format!("{}\n{}\n{kind}\n{address}", job.name, socket.name);
        let key = kin_keeper::text::hash(named.as_bytes()).max(1);
        let (name, job) = (socket.name.clone(), job.name.to_string());
        let said = kind_and_address(&socket.at).1.clone();
        all.push(Listening { key, name, at: at(address), job, said });
    }
    Ok(all)
}

/// Sees to it that the keepers keep them all: before each start. May wait for a keeper that is being replaced.
pub fn ensure(run: &Path, sockets: &[Listening]) -> Makes<()> {
    for socket in sockets {
        let failed = |e: &io::Error| {
            Unmakeable::io(SpawnStep::Stdio, format_args!("socket {} ({:?})", socket.name, socket.at), e)
        };
        let until = Instant::now() + PATIENCE;
        note(run, socket).map_err(|e| failed(&e))?;
        if ask(run, HAVE, socket.key, None, until).map_err(|e| failed(&e))?.get(8) == Some(&1) {
            continue;
        }
        let bound = bind(&socket.at).map_err(|e| failed(&e))?;
        keep(run, socket.key, bound.as_fd(), until).map_err(|e| failed(&e))?;
    }
    Ok(())
}

/// A duplicate of what the keepers keep under a key, if they keep anything.
pub fn take(run: &Path, key: u64, until: Instant) -> io::Result<Option<OwnedFd>> {
    Ok(ask_for(run, GIVE, key, None, until)?.1)
}

/// From now on the keepers keep it too.
pub fn keep(run: &Path, key: u64, socket: BorrowedFd<'_>, until: Instant) -> io::Result<()> {
    match ask(run, KEEP, key, Some(socket), until)?.starts_with(TAKEN) {
        true => Ok(()),
        false => Err(io::Error::other("the keepers hold as many descriptors for others as they can")),
    }
}

/// The keepers keep it no longer.
pub fn let_go(run: &Path, key: u64, until: Instant) -> io::Result<()> {
    ask(run, DROP, key, None, until).map(drop)
}

/// Closes one that no definition names any more.
pub fn release(run: &Path, kept: &Kept) -> io::Result<()> {
    let socket = &kept.socket;
    let_go(run, socket.key, Instant::now() + PATIENCE)?;
    // Somebody may have taken it away.
    let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) };
    if let SocketAt::Unix(path) = &socket.at {
        std::fs::remove_file(path).or_else(gone)?;
    }
    std::fs::remove_file(run.join("sockets").join(socket.key.to_string())).or_else(gone)
}

fn bind(at: &SocketAt) -> io::Result<OwnedFd> {
    Ok(match at {
        SocketAt::Tcp(address) => TcpListener::bind(address.as_str())?.into(),
        SocketAt::Udp(address) => UdpSocket::bind(address.as_str())?.into(),
        SocketAt::Unix(path) => {
            // A name whose socket nobody has any more keeps nobody out.
            if UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
                std::fs::remove_file(path)?;
            }
            UnixListener::bind(path)?.into()
        }
    })
}

/// What was answered, and a descriptor that came with it.
type Answered = (Vec<u8>, Option<OwnedFd>);

/// Asks until there is an answer: each of these may be said twice.
fn ask(run: &Path, kind: &[u8; 8], key: u64, fd: Option<BorrowedFd<'_>>, until: Instant) -> io::Result<Vec<u8>> {
    Ok(ask_for(run, kind, key, fd, until)?.0)
}

fn ask_for(run: &Path, kind: &[u8; 8], key: u64, fd: Option<BorrowedFd<'_>>, until: Instant) -> io::Result<Answered> {
    loop {
        match ask_once(run, kind, key, fd) {
            Ok(answer) => return Ok(answer),
            Err(e) if Instant::now() >= until => return Err(e),
            // Nobody is there at this instant: waited for the name to be served, not by time alone.
            Err(_) => std::thread::park_timeout(Duration::from_millis(10)),
        }
    }
}

fn ask_once(run: &Path, kind: &[u8; 8], key: u64, fd: Option<BorrowedFd<'_>>) -> io::Result<Answered> {
    let dir = std::fs::File::open(run)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // A path below a descriptor is never too long for an address.
    let path = format!("/proc/self/fd/{}/hand.sock", std::os::fd::AsRawFd::as_raw_fd(&dir));
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    send(&socket, &[&kind[..], &key.to_le_bytes()].concat(), fd.as_slice())?;
    let time = Timespec { tv_sec: 0, tv_nsec: i64::from(ANSWER.subsec_nanos()) };
    if rustix::io::retry_on_intr(|| rustix::event::poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&time)))? == 0
    {
        return Err(Errno::TIMEDOUT.into());
    }
    let mut answer = [0; 16];
    let received = receive(&socket, &mut answer)?;
    match received.len {
        0 => Err(Errno::CONNRESET.into()),
        // A descriptor that came and found no place: we have too many open.
        _ if received.cut => Err(Errno::MFILE.into()),
        len => Ok((answer[..len].to_vec(), received.fds.into_iter().flatten().next())),
    }
}
