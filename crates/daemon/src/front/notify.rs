//! What a service manager wants to hear: `READY=1` and the like, by datagram to `NOTIFY_SOCKET`.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<OsString>,
    /// How long it waits between two signs of life.
    watchdog: Option<Duration>,
}

impl Manager {
    pub fn of_process() -> Manager {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        Manager { socket: std::env::var_os("NOTIFY_SOCKET"), watchdog }
    }

    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Two signs of life in each time that it waits.
    pub fn beat(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.is_there()).map(|watchdog| watchdog / 2)
    }

    pub fn say(&self, words: &str) -> io::Result<()> {
        let Some(path) = &self.socket else { return Ok(()) };
        let address = match path.as_encoded_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        UnixDatagram::unbound()?.send_to_addr(words.as_bytes(), &address).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("binds");
        Manager { socket: Some(path.into()), watchdog: None }.say("READY=1").expect("said");
        let mut heard = [0; 64];
        let n = socket.recv(&mut heard).expect("heard");
        assert_eq!(&heard[..n], b"READY=1");
        assert!(Manager::default().say("READY=1").is_ok());
    }
}
