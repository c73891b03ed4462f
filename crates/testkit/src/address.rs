//! An address for a test alone.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Nobody listens there, and no other test comes there: each process has a number of its own in 127.0.0.0/8. So who
/// answers is who was meant to, and a refusal means that nobody is there any more.
pub fn free_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high.max(1), middle, low);
    TcpListener::bind((own, 0)).and_then(|listener| listener.local_addr()).expect("a free port")
}
