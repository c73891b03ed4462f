//! The front's own requests to the daemon, over the socket that everybody uses.

use super::link::reach;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use kin_api::server::ShutdownAnswer;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// A daemon that does not answer for so long hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_MAX: usize = 4 << 20;

/// The end of the server. `stop`: of its runs too, because the machine goes down; else it is as the settings say (`on_exit`).
pub async fn shutdown(run: &Path, stop: bool) -> io::Result<ShutdownAnswer> {
    let body = Bytes::from_static(if stop { br#"{"runs":"halt"}"# } else { b"{}" });
    let answer = timed(request(run, "POST", "/v1/server/shutdown", body), PATIENCE).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// Whether the daemon answers.
pub async fn is_alive(run: &Path, patience: Duration) -> bool {
    timed(request(run, "GET", "/v1/server", Bytes::new()), patience).await.is_ok()
}

async fn timed<T>(answer: impl Future<Output = io::Result<T>>, patience: Duration) -> io::Result<T> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn request(run: &Path, method: &str, path: &str, body: Bytes) -> io::Result<Bytes> {
    let (_dir, socket) = reach(run, "kin.sock")?;
    let stream = UnixStream::connect(socket).await?;
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "kin")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = send.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(io::Error::other(format!("the daemon answered {status}"))) }
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(e) => Err(io::Error::other(e)),
        },
    }
}
