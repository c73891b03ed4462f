//! Connections: who may open one, how many there are, how long a request may dawdle, and how they end.

use super::body::Peer;
use super::error::Failure;
use super::tcp::{Lock, TcpDoor};
use crate::engine::Trouble;
use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kin_api::Code;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// A connection costs up to so many descriptors: itself, and the files of the run it follows.
const FILES_EACH: u64 = 8;
/// At most so many are open at once, and never fewer; more wait in the socket's backlog.
const CONNECTIONS: (u64, u64) = (64, 4096);
/// By each door on TCP: whatever strangers do there, the socket of the user has its own.
const STRANGERS: usize = 64;
/// Of those that are open, at most so many of four have an answer that may go on for as long as a run does: there is always
/// room for a short question, and for a stop.
const LONG_OF_FOUR: usize = 3;
const HEADER_TIME: Duration = Duration::from_secs(10);
const HEADER_BYTES: usize = 16 << 10;
/// Answers that are under way when the server ends get so long.
const FAREWELL: Duration = Duration::from_secs(2);
/// No descriptor is free: one of ours must be closed first.
const BREATHER: Duration = Duration::from_millis(50);

/// This daemon has met damage in its ledger, and leaves all answers to the next.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the ledger is being mended")]
struct Mending;

/// Says of a response that it goes on for as long as a run does, and that its reader knows the end from a pause: it ends
/// when the server does.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// Where connections come in.
#[derive(Debug)]
pub enum Entrance {
    /// For `uid` and root.
    User { listener: UnixListener, uid: u32 },
    /// For whoever shows the token.
    Tcp { listener: TcpListener, lock: Lock },
}

/// Who stands there.
#[derive(Clone, Debug)]
enum Guest {
    Uid { uid: u32, welcome: bool },
    Tcp { from: SocketAddr, lock: Lock },
}

enum Stream {
    User(UnixStream),
    Tcp(TcpStream),
}

/// Serves until `stop` becomes true, then lets what is under way end.
pub async fn serve(entrance: Entrance, router: Router, notice: Arc<Notice>, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(entrance.most()));
    let long = Arc::new(Semaphore::new(entrance.most() * LONG_OF_FOUR / 4));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = accept(&entrance, &permits) => accepted,
        };
        match accepted {
            Ok((guest, stream, permit)) => {
                let (router, notice, stop) = (router.clone(), Arc::clone(&notice), stop.clone());
                let long = Arc::clone(&long);
                open.spawn(async move {
                    match stream {
                        Stream::User(stream) => converse(stream, router, notice, guest, long, stop).await,
                        Stream::Tcp(stream) => converse(stream, router, notice, guest, long, stop).await,
                    }
                    drop(permit);
                });
            }
            Err(_) => breathe().await,
        }
    }
    let rest = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, rest).await.is_err() {
        open.abort_all();
    }
}

#[expect(clippy::disallowed_methods, reason = "no event tells that the machine has descriptors again")]
async fn breathe() {
    tokio::time::sleep(BREATHER).await;
}

fn connections() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    (files / FILES_EACH).clamp(CONNECTIONS.0, CONNECTIONS.1) as usize
}

impl Entrance {
    pub fn tcp(door: TcpDoor) -> io::Result<Entrance> {
        Ok(Entrance::Tcp { listener: TcpListener::from_std(door.listener)?, lock: door.lock })
    }

    fn most(&self) -> usize {
        match self {
            Entrance::User { .. } => connections(),
            Entrance::Tcp { .. } => STRANGERS,
        }
    }

    async fn accept(&self) -> io::Result<(Guest, Stream)> {
        match self {
            Entrance::User { listener, uid } => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?.uid();
                Ok((Guest::Uid { uid: peer, welcome: peer == *uid || peer == 0 }, Stream::User(stream)))
            }
            Entrance::Tcp { listener, lock } => {
                let (stream, from) = listener.accept().await?;
                // An answer is written whole: to wait for more would only delay it.
                stream.set_nodelay(true)?;
                Ok((Guest::Tcp { from, lock: lock.clone() }, Stream::Tcp(stream)))
            }
        }
    }
}

async fn accept(entrance: &Entrance, permits: &Arc<Semaphore>) -> io::Result<(Guest, Stream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (guest, stream) = entrance.accept().await?;
    Ok((guest, stream, permit))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Whoever would have said it is gone, which says it as well.
    }
}

async fn converse<S>(
    stream: S,
    router: Router,
    notice: Arc<Notice>,
    guest: Guest,
    long: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stopping = stop.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, notice, stopping, guest) = (router.clone(), Arc::clone(&notice), stopping.clone(), guest.clone());
        let long = Arc::clone(&long);
        async move {
            let response = match room(&request, long) {
                Ok(permit) => hold(answer(router, &notice, request, &guest).await, permit),
                Err(full) => full.into_response(),
            };
            // It is the next daemon that has the answer: a connection that breaks without one means, ask again.
            if response.status().is_server_error() && notice.trouble.borrow().mending {
                return Err(Mending);
            }
            Ok(ending(response, stopping))
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that went away, or spoke nonsense, has been answered as far as that was possible.
    drop(ended);
}

impl Guest {
    fn admit(&self, request: &Request<Incoming>) -> Result<Peer, Box<Response>> {
        match self {
            Guest::Uid { uid, welcome: true } => Ok(Peer::Uid(*uid)),
            Guest::Uid { uid, welcome: false } => {
                let failure =
                    Failure::new(Code::Refused, format!("this server belongs to another user than uid {uid}"));
                Err(failure.with_status(StatusCode::FORBIDDEN).into_response().into())
            }
            Guest::Tcp { from, lock } => {
                lock.admit(*from, request.uri(), request.headers()).map_err(|mut refused| {
                    // A stranger keeps no place that others need.
                    refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    refused
                })
            }
        }
    }
}

async fn answer(router: Router, notice: &Notice, request: Request<Incoming>, guest: &Guest) -> Response {
    let peer = match guest.admit(&request) {
        Ok(peer) => peer,
        Err(refused) => return *refused,
    };
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let tells = request.headers().contains_key(TELLS);
    let mut response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if tells && let Some(words) = notice.take() {
        response.headers_mut().insert(NOTICE, words);
    }
    response
}

/// Whether the answer may go on for as long as a run does, or for ever.
fn is_long(request: &Request<Incoming>) -> bool {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let follows = || query.split('&').any(|word| word == "follow=true");
    path == "/v1/events" || path.ends_with("/wait") || (path.ends_with("/output") && follows())
}

/// A place among the long ones, for an answer that needs it.
fn room(request: &Request<Incoming>, long: Arc<Semaphore>) -> Result<Option<OwnedSemaphorePermit>, Failure> {
    if !is_long(request) {
        return Ok(None);
    }
    long.try_acquire_owned().map(Some).map_err(|_| {
        let words = "so many follow or wait here already that one more would leave no room for short questions";
        let failure = Failure::new(Code::Unavailable, words).with_status(StatusCode::SERVICE_UNAVAILABLE);
        failure.with_hint(
            "end some `kin tail -f`, `kin wait` or `kin listen`, or give the server more descriptors (`ulimit -n`)",
        )
    })
}

/// Given back when the last of the answer is said, or nobody hears it any more.
fn hold(response: Response, permit: Option<OwnedSemaphorePermit>) -> Response {
    let Some(permit) = permit else { return response };
    response.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |_| {
            let _held: &OwnedSemaphorePermit = &permit;
        }))
    })
}

/// What somebody is to be told who may not have asked: a header of the next answer to a caller who shows it to people.
#[derive(Debug)]
pub struct Notice {
    trouble: watch::Receiver<Trouble>,
    told: AtomicBool,
}

/// Whoever sends it tells what comes back as the other.
const TELLS: &str = "kin-tells";
const NOTICE: &str = "kin-notice";

impl Notice {
    pub fn new(trouble: watch::Receiver<Trouble>) -> Arc<Notice> {
        Arc::new(Notice { trouble, told: AtomicBool::new(false) })
    }

    fn take(&self) -> Option<HeaderValue> {
        if self.told.load(Ordering::Relaxed) {
            return None;
        }
        let words = self.trouble.borrow().rebuilt.clone()?;
        if self.told.swap(true, Ordering::Relaxed) {
            return None;
        }
        let words = format!("{words}; what is missing cannot be known any more; kin doctor says it again");
        HeaderValue::from_bytes(words.replace(|c: char| c.is_control(), " ").as_bytes()).ok()
    }
}

/// Nobody who follows a run keeps a server from ending: it asks the next one, from where it was.
fn ending(response: Response, mut stop: watch::Receiver<bool>) -> Response {
    if response.extensions().get::<Endless>().is_none() {
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(async move { stopped(&mut stop).await })))
}
