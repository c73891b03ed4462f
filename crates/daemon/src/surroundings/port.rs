//! The port a run is told to listen on.

use super::{Makes, Unmakeable};
use kin_core::SpawnStep;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

/// Each finds one at random; so many are not all somebody else's.
const LOOKS: usize = 256;

pub(super) fn from(first: u16, slot: u32) -> Makes<u16> {
    let port = u32::from(first).checked_add(slot).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    port.ok_or_else(|| Unmakeable::defined(format!("port {first} and slot {slot} together are no port (1 to 65535)")))
}

/// The one it had before. Whether that is free now is its own business: the run before may still be letting go of it, and
/// the addresses of its clients must stay good. A first one is any that nobody listens on, and that was given to nobody.
pub(super) fn auto(before: Option<u16>, given: &BTreeSet<u16>) -> Makes<u16> {
    before.map_or_else(|| free(given), Ok)
}

/// One that nobody listens on, and that is none of these.
pub(crate) fn free(given: &BTreeSet<u16>) -> Makes<u16> {
    let none = |e: &io::Error| Unmakeable {
        step: SpawnStep::Spec,
        errno: e.raw_os_error().unwrap_or(Errno::ADDRNOTAVAIL.raw_os_error()),
        message: format!("port = \"auto\": no port is free: {e}"),
    };
    // Held while others are looked for, so that none is found twice.
    let mut held = Vec::new();
    while held.len() < LOOKS {
        // Bound on every address, of both kinds where there are both.
        let any =
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)));
        let listener = any.map_err(|e| none(&e))?;
        let port = listener.local_addr().map_err(|e| none(&e))?.port();
        if !given.contains(&port) {
            return Ok(port);
        }
        held.push(listener);
    }
    Err(none(&io::Error::from(io::ErrorKind::AddrNotAvailable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_a_port_of_its_own() {
        assert_eq!((from(3000, 0), from(3000, 7)), (Ok(3000), Ok(3007)));
        assert!(from(65_535, 1).is_err() && from(0, 0).is_err());
    }

    #[test]
    fn a_port_that_was_found_is_kept() {
        let none = BTreeSet::new();
        let port = auto(None, &none).expect("a port");
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it was free");
        assert_eq!(auto(Some(port), &none), Ok(port));
        assert_ne!(auto(None, &none), Ok(port), "that one is taken now");
    }

    #[test]
    fn a_port_that_was_given_away_is_not_found() {
        let mut given = BTreeSet::new();
        for _ in 0..200 {
            assert!(given.insert(auto(None, &given).expect("a port")), "found twice");
        }
        let all: BTreeSet<u16> = (1..=u16::MAX).collect();
        assert_eq!(auto(None, &all).map_err(|why| why.step), Err(SpawnStep::Spec));
    }
}
