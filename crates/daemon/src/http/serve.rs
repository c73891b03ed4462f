//! Connections: who may open one, how many there are, how long a request may dawdle, and how they end.

use super::body::Peer;
use super::error::Failure;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kin_api::Code;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// A connection costs up to so many descriptors: itself, and the files of the run it follows.
const FILES_EACH: u64 = 8;
/// At most so many are open at once, and never fewer; more wait in the socket's backlog.
const CONNECTIONS: (u64, u64) = (64, 4096);
const HEADER_TIME: Duration = Duration::from_secs(10);
const HEADER_BYTES: usize = 16 << 10;
/// Answers that are under way when the server ends get so long.
const FAREWELL: Duration = Duration::from_secs(2);
/// No descriptor is free: one of ours must be closed first.
const BREATHER: Duration = Duration::from_millis(50);

/// Says of a response that it goes on for as long as a run does, and that its reader knows the end from a pause: it ends
/// when the server does.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// Serves until `stop` becomes true, then lets what is under way end.
pub async fn serve(listener: &UnixListener, router: Router, uid: u32, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(connections()));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = accept(listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (router, stop) = (router.clone(), stop.clone());
                open.spawn(async move {
                    converse(stream, router, uid, stop).await;
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

async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Whoever would have said it is gone, which says it as well.
    }
}

async fn converse(stream: UnixStream, router: Router, uid: u32, mut stop: watch::Receiver<bool>) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let peer = Peer { uid: credentials.uid() };
    let welcome = peer.uid == uid || peer.uid == 0;
    let stopping = stop.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, stopping) = (router.clone(), stopping.clone());
        async move { Ok::<_, Infallible>(ending(answer(router, request, peer, welcome).await, stopping)) }
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

async fn answer(router: Router, request: Request<Incoming>, peer: Peer, welcome: bool) -> axum::response::Response {
    if !welcome {
        let failure = Failure::new(Code::Refused, format!("this server belongs to another user than uid {}", peer.uid));
        return failure.with_status(StatusCode::FORBIDDEN).into_response();
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Nobody who follows a run keeps a server from ending: it asks the next one, from where it was.
fn ending(response: axum::response::Response, mut stop: watch::Receiver<bool>) -> axum::response::Response {
    if response.extensions().get::<Endless>().is_none() {
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(async move { stopped(&mut stop).await })))
}
