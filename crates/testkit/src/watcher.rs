//! Somebody who stands at a keeper's own door and may say to it what a daemon says.

use crate::server::{DEADLINE, Role, Server};
use kin_keeper::wire::{self, Ask, PACKET, PROTOCOL};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;

#[derive(Debug)]
pub struct Watcher(OwnedFd);

impl Watcher {
    /// Let in, and greeted: what it says from now on is heard before what others begin to say later.
    #[track_caller]
    pub fn at(server: &Server, role: Role) -> Watcher {
        let name = match role {
            Role::Elder => "elder",
            Role::Keeper => "keeper",
            Role::Front | Role::Daemon => panic!("{role:?} has no such door"),
        };
        let path = std::fs::canonicalize(server.run_dir().join(name)).expect("its door");
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path).expect("short")).expect("lets in");
        let watcher = Watcher(socket);
        watcher.say(Ask::Hello { protocol: PROTOCOL, role: wire::Role::Watcher });
        let mut heard = [PollFd::new(&watcher.0, PollFlags::IN)];
        let patience = Timespec { tv_sec: i64::try_from(DEADLINE.as_secs()).expect("small"), tv_nsec: 0 };
        assert_eq!(poll(&mut heard, Some(&patience)).expect("polls"), 1, "{name} says nothing");
        let mut packet = [0; PACKET];
        rustix::net::recv(&watcher.0, &mut packet, RecvFlags::empty()).expect("greets");
        watcher
    }

    #[track_caller]
    pub fn say(&self, ask: Ask) {
        rustix::net::send(&self.0, &ask.encode(), SendFlags::NOSIGNAL).expect("said");
    }
}
