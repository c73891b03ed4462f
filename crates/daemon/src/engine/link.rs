//! The wires to the keepers: one connection to every generation that anybody serves.
//!
//! The engine connects and sends, and never waits for either. A thread of its own listens to all connections with epoll,
//! reads what they say, and leaves it in the mailbox; it also watches the runtime directory for new generations, and the
//! pidfds of runs that outlived both keepers.
//!
//! ```text
//!   engine ── connect, send (queue when full) ──▶ keepers
//!   engine ◀── mailbox, one `Input::Mail` when it stops being empty ── thread ◀── epoll
//! ```
//! What is heard is a hint: the tables are the truth. So a mailbox that overflows is emptied, and says that everything
//! has to be read again.

use super::Input;
use super::dirs::{self, Dirs};
use kin_keeper::sys::misc::{receive, send};
use kin_keeper::wire::{self, Ask, PACKET, PROTOCOL, RECORD, Record, Role, Tell};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

/// More than that many unread words: nobody reads them one by one any more.
const MAILBOX: usize = 8192;
/// As many packets may wait for one keeper; who is further behind will read the ledger's wishes again when it reconnects.
const QUEUE: usize = 65_536;

const WAKE: u64 = 0;
const NAMES: u64 = 1;
const FIRST: u64 = 2;

/// One word from the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// What a keeper said on its generation's connection.
    Tell { generation: u64, tell: Tell },
    /// The connection is gone; a later one has another number.
    HungUp { generation: u64, number: u64 },
    /// It takes packets again.
    Writable { generation: u64, number: u64 },
    /// Something was made in the runtime directory.
    Names,
    /// A survivor's pidfd spoke.
    Survivor { number: u64 },
    /// More was said than could be kept: read everything again.
    Overflow,
}

#[derive(Debug)]
enum Watched {
    Peer { generation: u64, socket: Arc<OwnedFd> },
    Survivor,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Vec<Heard>,
    watched: BTreeMap<u64, Watched>,
    closing: bool,
}

#[derive(Debug)]
struct Ear {
    epoll: OwnedFd,
    wake: OwnedFd,
    names: OwnedFd,
    /// Held only for moments, by the engine and the thread.
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Peer {
    number: u64,
    socket: Arc<OwnedFd>,
    queue: VecDeque<Vec<u8>>,
    pid: Option<u32>,
}

/// How a connection attempt came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connect {
    /// There was one already.
    Had,
    New,
    /// Nobody serves it.
    Nobody,
    /// Its owner is too busy to be reached now.
    Busy,
}

#[derive(Debug)]
pub(super) struct Link {
    ear: Arc<Ear>,
    thread: Option<JoinHandle<()>>,
    run_dir: OwnedFd,
    peers: BTreeMap<u64, Peer>,
    next: u64,
    ready: bool,
}

fn lock(ear: &Ear) -> MutexGuard<'_, Shared> {
    ear.shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn open(run: &Path, inputs: mpsc::Sender<Input>) -> io::Result<Link> {
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let run_dir = rustix::fs::open(run, flags, rustix::fs::Mode::empty())?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let nonblocking = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let wake = rustix::event::eventfd(0, nonblocking)?;
        let names = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(unwatched)?;
        inotify::add_watch(&names, run, inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO)
            .map_err(unwatched)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        epoll::add(&epoll, &names, EventData::new_u64(NAMES), EventFlags::IN)?;
        let ear = Arc::new(Ear { epoll, wake, names, shared: Mutex::default() });
        let listener = Arc::clone(&ear);
        let thread = std::thread::Builder::new().name("kin-link".into()).spawn(move || listen(&listener, &inputs))?;
        Ok(Link { ear, thread: Some(thread), run_dir, peers: BTreeMap::new(), next: FIRST, ready: false })
    }

    /// All that was heard since the last call.
    pub(super) fn mail(&self) -> Vec<Heard> {
        std::mem::take(&mut lock(&self.ear).heard)
    }

    pub(super) fn is_connected(&self, generation: u64) -> bool {
        self.peers.contains_key(&generation)
    }
    pub(super) fn connected(&self) -> impl Iterator<Item = u64> + '_ {
        self.peers.keys().copied()
    }
    pub(super) fn pid(&self, generation: u64) -> Option<u32> {
        self.peers.get(&generation)?.pid
    }
    pub(super) fn set_pid(&mut self, generation: u64, pid: u32) {
        if let Some(peer) = self.peers.get_mut(&generation) {
            peer.pid = Some(pid);
        }
    }

    /// The daemon serves: said to everybody, now and on every later connection.
    pub(super) fn ready(&mut self) {
        self.ready = true;
        let all: Vec<u64> = self.connected().collect();
        for generation in all {
            self.send(generation, &[Ask::Ready.encode()]);
        }
    }

    /// Sees to it that there is a connection, and says hello on a new one.
    pub(super) fn connect(&mut self, generation: u64) -> io::Result<Connect> {
        if self.is_connected(generation) {
            return Ok(Connect::Had);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // A path below a descriptor is never too long for an address.
        let path = format!("/proc/self/fd/{}/{}", self.run_dir.as_raw_fd(), Dirs::socket_name(generation));
        match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
            Ok(()) => {}
            Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(Connect::Nobody),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Connect::Busy),
            Err(errno) => return Err(errno.into()),
        }
        let number = self.number();
        let socket = Arc::new(socket);
        let watched = Watched::Peer { generation, socket: Arc::clone(&socket) };
        lock(&self.ear).watched.insert(number, watched);
        let data = EventData::new_u64(number);
        epoll::add(&self.ear.epoll, &*socket, data, EventFlags::IN | EventFlags::RDHUP)?;
        self.peers.insert(generation, Peer { number, socket, queue: VecDeque::new(), pid: None });
        let mut hello = vec![Ask::Hello { protocol: PROTOCOL, role: Role::Daemon }.encode()];
        if self.ready {
            hello.push(Ask::Ready.encode());
        }
        self.send(generation, &hello);
        Ok(Connect::New)
    }

    /// Lets go of a connection that has hung up. False: that was an earlier one.
    pub(super) fn hung_up(&mut self, generation: u64, number: u64) -> bool {
        lock(&self.ear).watched.remove(&number);
        let same = self.peers.get(&generation).is_some_and(|peer| peer.number == number);
        if same && let Some(peer) = self.peers.remove(&generation) {
            self.unwatch(&*peer.socket);
        }
        same
    }

    fn unwatch(&self, fd: impl AsFd) {
        // It may have left with its last holder already.
        match epoll::delete(&self.ear.epoll, fd) {
            Ok(()) | Err(Errno::NOENT | Errno::BADF) => {}
            Err(errno) => crate::say!("kin daemon: cannot stop listening to a connection: {errno}"),
        }
    }

    /// Sends records in order, in as few packets as may be. Never waits: what does not fit now is queued. A generation
    /// without a connection is told nothing; whoever connects to it next looks at everything anew.
    pub(super) fn send(&mut self, generation: u64, records: &[Record]) {
        let Some(peer) = self.peers.get_mut(&generation) else { return };
        for packet in records.chunks(PACKET / RECORD) {
            if peer.queue.len() < QUEUE {
                peer.queue.push_back(packet.concat());
            }
        }
        self.flush(generation);
    }

    pub(super) fn writable(&mut self, generation: u64, number: u64) {
        if self.peers.get(&generation).is_some_and(|peer| peer.number == number) {
            self.flush(generation);
        }
    }

    fn flush(&mut self, generation: u64) {
        let Some(peer) = self.peers.get_mut(&generation) else { return };
        while let Some(packet) = peer.queue.front() {
            match send(&*peer.socket, packet, &[]) {
                Ok(_) => {
                    peer.queue.pop_front();
                }
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT;
                    let data = EventData::new_u64(peer.number);
                    if let Err(errno) = epoll::modify(&self.ear.epoll, &*peer.socket, data, flags) {
                        crate::say!("kin daemon: cannot wait for a keeper: {errno}");
                    }
                    return;
                }
                // The hang-up comes as an event of its own.
                Err(_) => return peer.queue.clear(),
            }
        }
    }

    /// Nothing waits to be sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.peers.values().all(|peer| peer.queue.is_empty())
    }

    /// Tells when this process has ended. The number is what `Heard::Survivor` will say.
    pub(super) fn watch_survivor(&mut self, pidfd: impl AsFd) -> io::Result<u64> {
        let number = self.number();
        lock(&self.ear).watched.insert(number, Watched::Survivor);
        epoll::add(&self.ear.epoll, pidfd, EventData::new_u64(number), EventFlags::IN | EventFlags::ONESHOT)?;
        Ok(number)
    }
    pub(super) fn unwatch_survivor(&mut self, number: u64, pidfd: impl AsFd) {
        lock(&self.ear).watched.remove(&number);
        self.unwatch(pidfd);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.ear).closing = true;
        if let Err(errno) = rustix::io::write(&self.ear.wake, &1u64.to_ne_bytes()) {
            crate::say!("kin daemon: cannot wake the link: {errno}");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            crate::say!("kin daemon: the link ended in a panic");
        }
    }
}

/// The thread: until the engine is gone.
/// Of inotify these two words mean other things than of a disk.
fn unwatched(errno: Errno) -> io::Error {
    let (what, limit) = match errno {
        Errno::NOSPC => ("watches", "watches"),
        Errno::MFILE => ("instances (or descriptors)", "instances"),
        errno => return errno.into(),
    };
    io::Error::other(format!("no inotify {what} are left to this user: raise the sysctl fs.inotify.max_user_{limit}"))
}

fn listen(ear: &Ear, inputs: &mpsc::Sender<Input>) {
    let mut space = [MaybeUninit::<epoll::Event>::uninit(); 64];
    loop {
        let events = match epoll::wait(&ear.epoll, &mut space[..], None) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => continue,
            Err(errno) => {
                crate::say!("kin daemon: cannot wait for the keepers: {errno}");
                return;
            }
        };
        let mut heard = Vec::new();
        for event in events {
            hear(ear, event.data.u64(), event.flags, &mut heard);
        }
        let mut shared = lock(ear);
        if shared.closing {
            return;
        }
        if heard.is_empty() {
            continue;
        }
        let was_empty = shared.heard.is_empty();
        if shared.heard.len() + heard.len() > MAILBOX {
            // Tells are hints and may go; what only we can know may not.
            shared
                .heard
                .retain(|h| !matches!(h, Heard::Tell { tell: Tell::Changed { .. } | Tell::Refused { .. }, .. }));
            shared.heard.push(Heard::Overflow);
        }
        shared.heard.append(&mut heard);
        drop(shared);
        if was_empty && inputs.send(Input::Mail).is_err() {
            return;
        }
    }
}

fn hear(ear: &Ear, number: u64, flags: EventFlags, heard: &mut Vec<Heard>) {
    match number {
        WAKE => {}
        NAMES => {
            let mut space = [MaybeUninit::<u8>::uninit(); 4096];
            let mut reader = inotify::Reader::new(&ear.names, &mut space);
            let mut news = false;
            while let Ok(event) = reader.next() {
                let is_news = |name: &str| {
                    let socket = matches!(dirs::parse(Path::new(name)), Some(dirs::Name::Socket(_)));
                    socket || name == kin_keeper::MADE_AGAIN
                };
                news |= event.file_name().and_then(|name| name.to_str().ok()).is_some_and(is_news);
            }
            if news {
                heard.push(Heard::Names);
            }
        }
        _ => {
            let (generation, socket) = match lock(ear).watched.get(&number) {
                Some(Watched::Survivor) => return heard.push(Heard::Survivor { number }),
                Some(Watched::Peer { generation, socket }) => (*generation, Arc::clone(socket)),
                None => return,
            };
            if flags.contains(EventFlags::OUT) {
                let only_in = EventFlags::IN | EventFlags::RDHUP;
                // Fails only when the engine has let go of it meanwhile.
                if epoll::modify(&ear.epoll, &*socket, EventData::new_u64(number), only_in).is_ok() {
                    heard.push(Heard::Writable { generation, number });
                }
            }
            let mut buffer = [0u8; PACKET];
            loop {
                match receive(&*socket, &mut buffer) {
                    Ok(packet) if packet.len > 0 => {
                        let tells = wire::records(&buffer[..packet.len]).filter_map(Tell::decode);
                        heard.extend(tells.map(|tell| Heard::Tell { generation, tell }));
                    }
                    Err(Errno::AGAIN) => return,
                    Ok(_) | Err(_) => {
                        // Said once: nothing more can come from it.
                        if lock(ear).watched.remove(&number).is_some() {
                            heard.push(Heard::HungUp { generation, number });
                            match epoll::delete(&ear.epoll, &*socket) {
                                Ok(()) | Err(Errno::NOENT | Errno::BADF) => {}
                                Err(errno) => crate::say!("kin daemon: cannot let go of a connection: {errno}"),
                            }
                        }
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_watch_left_is_no_full_disk() {
        for (errno, limit) in [(Errno::NOSPC, "max_user_watches"), (Errno::MFILE, "max_user_instances")] {
            let error = unwatched(errno);
            assert!(error.kind() == io::ErrorKind::Other && error.to_string().ends_with(limit), "{error}");
        }
        assert_eq!(unwatched(Errno::ACCESS).kind(), io::ErrorKind::PermissionDenied);
    }
}
