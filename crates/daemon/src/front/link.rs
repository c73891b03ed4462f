//! The front's connection to the elder: packets of `wire` records.

use kin_keeper::wire::{Ask, PACKET, PROTOCOL, Role, Tell, records};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

#[derive(Debug)]
pub struct Link {
    /// A SEQPACKET socket: each read and write is one packet.
    socket: UnixStream,
}

impl Link {
    /// Whoever is the elder now, by the link that always names it. Must be called inside the runtime.
    pub fn connect(run: &Path) -> io::Result<Link> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let (_dir, path) = reach(run, "elder")?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path)?)?;
        let socket = UnixStream::from_std(std::os::unix::net::UnixStream::from(socket))?;
        Ok(Link { socket })
    }

    pub async fn hello(&self) -> io::Result<Vec<Tell>> {
        self.say(Ask::Hello { protocol: PROTOCOL, role: Role::Front }).await?;
        self.hear().await
    }

    pub async fn say(&self, ask: Ask) -> io::Result<()> {
        loop {
            self.socket.writable().await?;
            match self.socket.try_write(&ask.encode()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// What the elder says next; an error when it is gone. What it says in a kind we do not know is passed over.
    pub async fn hear(&self) -> io::Result<Vec<Tell>> {
        let mut packet = [0; PACKET];
        loop {
            self.socket.readable().await?;
            match self.socket.try_read(&mut packet) {
                Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                Ok(n) => return Ok(records(&packet[..n]).filter_map(Tell::decode).collect()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// A path to a socket that the kernel takes, however deep its directory lies: good for as long as what comes with it.
pub fn reach(dir: &Path, name: &str) -> io::Result<(Option<OwnedFd>, PathBuf)> {
    let path = dir.join(name);
    if path.as_os_str().len() < 108 {
        return Ok((None, path));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()));
    Ok((Some(dir), path))
}
