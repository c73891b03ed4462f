//! Doors on TCP, as `[kin] listen` names them: on this machine alone, and only for whoever shows the token.
//!
//! A page of the web can make a browser ask here, and any user of the machine can: that a request comes from this machine
//! says nothing of who sent it.
//!
//! The keepers keep each listening socket, so that nobody else gets its port, and with it what is shown to it, while a
//! daemon is dead; the next one takes it from them. `<run>/doors/<key>` says where it listens.

use super::body::Peer;
use super::error::Failure;
use super::token;
use crate::surroundings::sockets;
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use kin_api::Code;
use kin_config::Settings;
use rustix::fd::AsFd;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BACKLOG: i32 = 128;
/// A keeper that dies has a successor long before.
const PATIENCE: Duration = Duration::from_secs(2);

/// One that is open.
#[derive(Debug)]
pub struct TcpDoor {
    pub listener: std::net::TcpListener,
    pub lock: Lock,
}

/// What must be shown at it.
#[derive(Clone, Debug)]
pub struct Lock {
    token: Arc<Path>,
}

/// How it went with one entry of `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub address: String,
    /// `Err`: why nothing listens there.
    pub token: Result<PathBuf, String>,
}

/// One that could not be opened, to be tried again.
#[derive(Debug)]
pub struct Stuck {
    /// Which of those that were said.
    pub at: usize,
    pub file: PathBuf,
    address: SocketAddr,
    own: bool,
}

/// What became of all entries.
#[derive(Debug, Default)]
pub struct Doors {
    pub open: Vec<TcpDoor>,
    pub said: Vec<Opened>,
    pub stuck: Vec<Stuck>,
}

/// Opens all that can be opened; a server whose door is stuck goes on with its runs, says so, and tries again.
pub fn open(settings: &Settings, config: &Path, state: &Path, run: &Path) -> Doors {
    let Doors { open: mut doors, mut said, mut stuck } = Doors::default();
    let named: Vec<SocketAddr> = settings.listen.iter().filter_map(|entry| entry.native()).collect();
    close_others(run, &named);
    for entry in &settings.listen {
        let file = entry.token_file(config, state);
        let own = entry.token_file.is_none();
        let opened = match entry.native() {
            Some(address) => one(run, address, &file, own),
            None => Err(format!("this kin does not speak {:?}", entry.dialect.as_deref().unwrap_or_default())),
        };
        if let (Err(_), Some(address)) = (&opened, entry.native()) {
            stuck.push(Stuck { at: said.len(), file: file.clone(), address, own });
        }
        said.push(Opened {
            address: entry.address.clone(),
            token: opened.as_ref().map_or_else(|why| Err(why.clone()), |_| Ok(file)),
        });
        doors.extend(opened.ok());
    }
    Doors { open: doors, said, stuck }
}

impl Stuck {
    pub fn again(&self, run: &Path) -> Result<TcpDoor, String> {
        one(run, self.address, &self.file, self.own)
    }
}

fn one(run: &Path, address: SocketAddr, file: &Path, own: bool) -> Result<TcpDoor, String> {
    if own {
        token::make(file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    token::read(file).map_err(|why| format!("{}: {why}", file.display()))?;
    let listener = kept_or_new(run, address).map_err(|e| e.to_string())?;
    Ok(TcpDoor { listener, lock: Lock { token: file.into() } })
}

fn key(address: SocketAddr) -> u64 {
    kin_keeper::text::hash(format!("door\n{address}").as_bytes()).max(1)
}

fn kept_or_new(run: &Path, address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let (key, until) = (key(address), Instant::now() + PATIENCE);
    let asked = sockets::take(run, key, until);
    if let Ok(Some(kept)) = asked {
        let kept = std::net::TcpListener::from(kept);
        if kept.local_addr().is_ok_and(|at| at == address) {
            return Ok(kept);
        }
    }
    let made = listen(address)?;
    // Without them the door is open all the same, as long as this daemon lives.
    if let Err(e) = note(run, key, address).and_then(|()| sockets::keep(run, key, made.as_fd(), until)) {
        crate::say!("kin: the keepers do not keep {address}, which is free for others while no daemon lives: {e}");
    }
    Ok(made)
}

fn note(run: &Path, key: u64, address: SocketAddr) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(run.join("doors"))?;
    std::fs::write(run.join("doors").join(key.to_string()), address.to_string())
}

/// Those that an earlier daemon opened and `listen` does not name any more.
fn close_others(run: &Path, named: &[SocketAddr]) {
    for entry in std::fs::read_dir(run.join("doors")).into_iter().flatten().flatten() {
        let key_of = |name: &std::ffi::OsStr| name.to_str()?.parse::<u64>().ok();
        let Some(kept) = key_of(&entry.file_name()).filter(|kept| !named.iter().any(|at| key(*at) == *kept)) else {
            continue;
        };
        let gone = sockets::let_go(run, kept, Instant::now() + PATIENCE);
        if let Err(e) = gone.and_then(|()| std::fs::remove_file(entry.path())) {
            crate::say!("kin: a door that is not named any more is not closed: {e}");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // The daemon before us may have left connections that are still being forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl Lock {
    /// Who asks, or why nobody is let in.
    pub fn admit(&self, from: SocketAddr, uri: &Uri, headers: &HeaderMap) -> Result<Peer, Box<Response>> {
        if !named_rightly(uri, headers) {
            let failure = Failure::new(Code::Refused, "this door is called 127.0.0.1, [::1] or localhost");
            return Err(failure.with_status(StatusCode::MISDIRECTED_REQUEST).into_response().into());
        }
        let shown = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let token = token::read(&self.token);
        match (token, shown) {
            (Ok(token), Some(shown)) if token::opens(&token, shown) => Ok(Peer::Token(from.ip())),
            (Ok(_), shown) => {
                let what = if shown.is_some() { "this is not the token" } else { "this door asks for a token" };
                let failure = Failure::new(Code::Refused, what).with_status(StatusCode::UNAUTHORIZED);
                let hint =
                    "send the header `Authorization: Bearer TOKEN`; `kin token` prints it on the server's machine";
                let mut response = failure.with_hint(hint).into_response();
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kin\""));
                Err(response.into())
            }
            // Where it is and what is wrong with it is not for strangers: `kin doctor` says it.
            (Err(_), _) => {
                let failure = Failure::new(Code::Unavailable, "the file of this door's token cannot be used");
                let failure = failure.with_status(StatusCode::SERVICE_UNAVAILABLE);
                Err(failure.with_hint("`kin doctor` on the server's machine says why").into_response().into())
            }
        }
    }
}

/// A page that has made its own name point at this machine asks by that name.
fn named_rightly(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = uri.host().or_else(|| {
        let host = headers.get(HOST)?.to_str().ok()?;
        Some(
            host.rsplit_once(':')
                .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
                .map_or(host, |(host, _)| host),
        )
    });
    let Some(host) = host else { return false };
    let number = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || number.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_asked_for_by_its_own_name() {
        let asked = |host: &str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).expect("a host"))]);
            named_rightly(&Uri::from_static("/v1/runs"), &headers)
        };
        for good in
            ["127.0.0.1", "127.0.0.1:7070", "127.1.2.3:7070", "localhost:7070", "LOCALHOST", "[::1]:7070", "[::1]"]
        {
            assert!(asked(good), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:7070", "127.0.0.1.evil.example", "localhost:x", "", "127.0.0.1@evil.example"]
        {
            assert!(!asked(bad), "{bad}");
        }
        assert!(!named_rightly(&Uri::from_static("/"), &HeaderMap::new()));
    }

    #[test]
    fn a_token_is_shown_as_bearer() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!((bearer(b"Basic abc"), bearer(b"Bearer"), bearer(b"")), (None, None, None));
    }
}
