//! A keeper's small door that answers what a test tells it to.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What came, and the descriptors with it.
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Answers each connection's packets with what `answer` says; `None` ends the connection.
pub(crate) fn keeper(home: &Path, mut answer: impl FnMut(Packet) -> Option<Vec<u8>> + Send + 'static) {
    std::fs::create_dir_all(home.join("state/run")).expect("a directory");
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new(home.join("state/run/hand.sock")).expect("an address"))
        .expect("a name");
    rustix::net::listen(&socket, 8).expect("a listener");
    std::thread::spawn(move || {
        while let Ok(connection) = rustix::net::accept(&socket) {
            while let Some(packet) = receive(&connection) {
                let Some(answer) = answer(packet) else { break };
                rustix::net::send(&connection, &answer, SendFlags::NOSIGNAL).expect("an answer");
            }
        }
    });
}

fn receive(connection: &OwnedFd) -> Option<Packet> {
    let mut bytes = vec![0; 8192];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(connection, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty());
    let got = got.ok().filter(|got| got.bytes > 0)?;
    bytes.truncate(got.bytes);
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => Vec::new(),
    });
    Some(Packet { bytes, fds: fds.collect() })
}
