//! One look: an answer, or why there was none.

use super::{Shared, Watched};
use crate::helper::HelperEnd;
use crate::surroundings::helper_of;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use kin_core::job::{Check, Program};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// How much longer than a helper its answer may take: its keepers may be on their way to a successor.
const MARGIN: Duration = Duration::from_secs(5);

type Looked = Result<(), String>;

pub(super) async fn look(check: &Check, run: &Watched, time: Duration, shared: &Shared) -> Looked {
    let late = |what: &str| format!("{what} gave no answer within {} ms", time.as_millis());
    match check {
        Check::Http { url, codes } => match tokio::time::timeout(time, http(url, codes)).await {
            Ok(looked) => looked,
            Err(_) => Err(late(url)),
        },
        Check::Tcp { address } => match tokio::time::timeout(time, connect(address)).await {
            Ok(looked) => looked,
            Err(_) => Err(late(address)),
        },
        Check::Exec(program) => match tokio::time::timeout(time + MARGIN, exec(program, run, time, shared)).await {
            Ok(looked) => looked,
            Err(_) => Err(late("the probe")),
        },
        Check::Line(_) | Check::Notify | Check::Fd(_) | Check::After(_) => {
            Err("this is heard of, not looked for".into())
        }
    }
}

/// The one that is written, else that of HTTP; `None`: what is written is none, and no other is meant.
fn port(authority: &hyper::http::uri::Authority) -> Option<u16> {
    let written = authority.as_str().rsplit(['@', ']']).next().and_then(|end| end.rsplit_once(':'));
    written.map_or(Some(80), |(_, port)| port.parse().ok())
}

/// Asks once, follows nothing, and reads no further than the status.
async fn http(url: &str, codes: &BTreeSet<u16>) -> Looked {
    let bad = |e: &dyn std::fmt::Display| format!("{url}: {e}");
    let uri: Uri = url.parse().map_err(|e| bad(&e))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("{url}: only http:// can be asked"));
    }
    let authority = uri.authority().ok_or_else(|| bad(&"it names no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = port(authority).ok_or_else(|| bad(&"it names no port that there is"))?;
    let stream = TcpStream::connect((host, port)).await.map_err(|e| bad(&e))?;
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| bad(&e))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .header(header::USER_AGENT, concat!("kin/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| bad(&e))?;
    let mut answer = std::pin::pin!(send.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // Both may have come in one: the answer, and the end of what it came by.
        broken = connection => match (answer.await, broken) {
            (Err(_), Err(e)) => Err(e),
            (answer, _) => answer,
        },
    };
    let answer = answer.map_err(|e| bad(&e))?;
    let status = answer.status().as_u16();
    let good = if codes.is_empty() { (200..400).contains(&status) } else { codes.contains(&status) };
    if good { Ok(()) } else { Err(format!("{url}: status {status}")) }
}

/// `HOST:PORT`, or the path of a unix socket.
async fn connect(address: &str) -> Looked {
    let path = address.strip_prefix("unix:").or_else(|| address.starts_with('/').then_some(address));
    let connected = match path {
        Some(path) => UnixStream::connect(path).await.map(drop),
        None => TcpStream::connect(address).await.map(drop),
    };
    connected.map_err(|e| format!("{address}: {e}"))
}

async fn exec(program: &Program, run: &Watched, time: Duration, shared: &Shared) -> Looked {
    let no = shared.helpers.number();
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let spec = helper_of(&shared.run, &run.id, run.pid, program, no, ms).map_err(|e| e.to_string())?;
    match shared.helpers.run(no, &spec).await {
        Ok(HelperEnd::Code(0)) => Ok(()),
        Ok(HelperEnd::TimedOut) => Err(format!("the probe did not end within {ms} ms")),
        Ok(end) => Err(format!("the probe: {end}")),
        Err(e) => Err(format!("the probe: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::port;

    #[test]
    fn a_port_that_is_none_stands_for_no_other() {
        for (authority, is) in [
            ("h", Some(80)),
            ("h:8080", Some(8080)),
            ("h:99999", None),
            ("h:", None),
            ("[::1]", Some(80)),
            ("[::1]:81", Some(81)),
            ("u:p@h", Some(80)),
        ] {
            assert_eq!(authority.parse().ok().and_then(|authority| port(&authority)), is, "{authority}");
        }
    }
}
