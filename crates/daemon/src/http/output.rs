//! What a run wrote, by offset: one stream byte for byte, or both as frames in their order.

use super::body::{Asked, Named};
use super::door::Door;
use super::error::{Answer, Failure};
use super::serve::Endless;
use crate::output::LogFiles;
use crate::output::follow::{Follower, One, Source};
use crate::output::growth::Growth;
use crate::output::merged::Merged;
use crate::output::segments::{Found, Segments};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kin_api::Code;
use kin_core::Run;
use kin_keeper::index::Stream;
use serde::Deserialize;
use std::io;
use std::sync::Arc;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputQuery {
    /// `out`, `err`, or `both`.
    stream: Option<String>,
    offset: u64,
    limit: Option<u64>,
    follow: bool,
    out: u64,
    err: u64,
}

pub async fn output(State(door): State<Arc<Door>>, named: Named, Asked(asked): Asked<OutputQuery>) -> Answer<Response> {
    let stream = which(&asked)?;
    let (run, ending) = door.run_and_ending(&named).await?;
    let files = door.logs(&run);
    // Frames have a word for what is gone, and whoever follows is owed the end all the same.
    if let Some(stream) = stream.filter(|_| ending.now().is_some()) {
        still_there(&run, &files, stream).await?;
    }
    let growth = match asked.follow && ending.now().is_none() {
        true => Some(listen(&door, &files)?),
        false => None,
    };
    let Some(stream) = stream else {
        let source = Source::Both(Merged::new(&files, [asked.out, asked.err]));
        let waits = growth.is_some();
        let body = body(Follower::new(source, growth, ending), waits).await?;
        let kind = [(CONTENT_TYPE, "application/vnd.kin.frames")];
        // Its reader takes an end without the run's own for a pause. In all other answers an end is the end.
        let endless = asked.follow.then_some(Extension(Endless));
        return Ok((kind, endless, body).into_response());
    };
    let (segments, at, length) = begin(files.stream(stream), asked.offset).await?;
    let end = asked.limit.map_or(u64::MAX, |limit| at.saturating_add(limit));
    let waits = growth.is_some();
    let body = body(Follower::new(Source::One(One { segments, at, end }), growth, ending), waits).await?;
    let headers = [("content-type", "application/octet-stream".to_string()), ("kin-offset", at.to_string())];
    Ok((headers, [("kin-length", length.to_string())], body).into_response())
}

/// `None`: both.
fn which(asked: &OutputQuery) -> Answer<Option<Stream>> {
    let both = (asked.out, asked.err) != (0, 0);
    let one = asked.offset != 0 || asked.limit.is_some();
    match asked.stream.as_deref() {
        Some("out") if !both => Ok(Some(Stream::Out)),
        Some("err") if !both => Ok(Some(Stream::Err)),
        Some("both") | None if !one => Ok(None),
        Some("out" | "err") => Err(Failure::bad("one stream is read from `offset` on, not from `out` and `err`")),
        Some("both") | None => Err(Failure::bad("both streams are read from `out` and `err` on, with no limit")),
        Some(other) => Err(Failure::bad(format!("there is no stream {other:?}: it is out, err, or both"))),
    }
}

/// Of what an ended run wrote and nobody has any more, it is said so: an empty answer would be a false one.
async fn still_there(run: &Run, files: &LogFiles, asked: Stream) -> Answer<()> {
    let wrote = match asked {
        Stream::Out => run.out_bytes,
        Stream::Err => run.err_bytes,
    };
    let mut segments = files.stream(asked);
    if wrote > 0 && read(move || Ok(segments.end()? == 0)).await? {
        let wrote = run.out_bytes + run.err_bytes;
        let message = format!("the output of {} is no longer kept; it was {wrote} bytes", run.id());
        let failure = Failure::new(Code::NotFound, message).with_status(StatusCode::GONE);
        return Err(failure.with_hint("of each job, the oldest output goes first when there is too much of it"));
    }
    Ok(())
}

/// What looks at the disk does so beside the others.
async fn read<T: Send + 'static>(look: impl FnOnce() -> io::Result<T> + Send + 'static) -> Answer<T> {
    let looked = tokio::task::spawn_blocking(look).await.map_err(io::Error::other).and_then(|looked| looked);
    looked.map_err(|e| unread(&e))
}

/// The run may not have begun to write, so its directory is made before it is watched.
fn listen(door: &Door, files: &LogFiles) -> Answer<Growth> {
    let made = files.base().parent().map_or(Ok(()), |dir| {
        let make = |dir: &std::path::Path| match rustix::fs::mkdir(dir, rustix::fs::Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) | Ok(()) => Ok(()),
            Err(e) => Err(io::Error::from(e)),
        };
        dir.parent().map_or(Ok(()), make).and_then(|()| make(dir))
    });
    let growth = made.and_then(|()| door.watcher.listen(files.base()));
    growth.map_err(|e| Failure::internal(format!("the run's logs could not be watched: {e}")))
}

/// Where the answer begins (behind a hole, if the offset lies in one) and how long the stream is by now.
async fn begin(mut segments: Segments, offset: u64) -> Answer<(Segments, u64, u64)> {
    read(move || {
        let at = match segments.read(offset, 1, &mut Vec::new())? {
            Found::Missing { until } => until,
            Found::Bytes(_) | Found::End => offset,
        };
        let length = segments.end()?;
        Ok((segments, at, length))
    })
    .await
}

/// Read only as fast as it is taken. An error breaks the answer off, so that nobody takes it for complete; whoever asks
/// again from there is told what it was, as the first piece is read before the answer begins. Only a follower, who may
/// have to wait for it, is answered before.
async fn body(mut follower: Follower, waits: bool) -> Answer<Body> {
    let first = match waits {
        true => None,
        false => follower.next().await.map_err(|e| unread(&e))?,
    };
    let rest = stream::try_unfold(follower, |mut follower| async move {
        let piece: io::Result<Option<Bytes>> = follower.next().await;
        Ok::<_, io::Error>(piece?.map(|bytes| (bytes, follower)))
    });
    Ok(Body::from_stream(stream::iter(first.map(Ok)).chain(rest)))
}

fn unread(e: &io::Error) -> Failure {
    Failure::internal(format!("the run's output could not be read: {e}"))
}
