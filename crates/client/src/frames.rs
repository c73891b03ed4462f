//! Both streams of a run, merged by time, exact over broken connections.
//!
//! The reader counts what it has given out of each stream. When a connection breaks, at any byte, it asks again from
//! these counts; what comes twice is skipped by its offset. A clean end without an `End` frame, while following, is a
//! server that was asked to end: the run goes on, and so does the reader, for as long as its patience lasts.

use crate::call::Ask;
use crate::client::{Client, escape};
use crate::door::Pause;
use crate::error::Error;
use crate::stream::Stream;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kin_api::Run;
use kin_api::frame::{HEAD, Kind, parse_head};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How much of each stream has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub out: u64,
    pub err: u64,
}

impl Offsets {
    fn of(&mut self, stream: Stream) -> &mut u64 {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

/// What came next.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Bytes {
        stream: Stream,
        offset: u64,
        bytes: Bytes,
    },
    /// `count` bytes from `offset` on were not kept.
    Gap {
        stream: Stream,
        offset: u64,
        count: u64,
    },
    /// No server runs any more: it was shut down, or all of it died. The next one is waited for, for `AWAY`.
    Away,
    /// The run has ended, which the server cannot record yet: said once, and the record is waited for.
    Unrecorded(Box<Run>),
    /// The run has ended and nothing more will come.
    End(Box<Run>),
}

/// Silence for so long while following, and the server is asked whether it lives.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// After a shutdown the next server is waited for so long: a service manager restarts one in less.
pub const AWAY: Duration = Duration::from_secs(5);

/// Where in a frame the reader stands.
#[derive(Debug)]
enum Within {
    Head {
        have: usize,
        head: [u8; HEAD],
    },
    Bytes {
        stream: Stream,
        offset: u64,
        left: u32,
    },
    /// A frame that means something only as a whole.
    Whole {
        kind: Kind,
        offset: u64,
        len: u32,
        have: Vec<u8>,
    },
}

impl Within {
    const fn start() -> Within {
        Within::Head { have: 0, head: [0; HEAD] }
    }
}

enum Body {
    /// To be asked for.
    Not,
    Open(Incoming),
    Done,
}

pub struct Follow {
    client: Client,
    id: String,
    at: Offsets,
    follow: bool,
    body: Body,
    chunk: Bytes,
    within: Within,
    pause: Pause,
    /// Since when nobody has said anything; `None` while somebody does.
    silent_since: Option<Instant>,
    /// Since when no server runs, which was said.
    away_since: Option<Instant>,
    /// It was said that the end cannot be recorded.
    told: bool,
}

impl Follow {
    pub(crate) fn new(client: Client, id: &str, from: Offsets, follow: bool) -> Follow {
        Follow {
            client,
            id: id.to_owned(),
            at: from,
            follow,
            body: Body::Not,
            chunk: Bytes::new(),
            within: Within::start(),
            pause: Pause::new(),
            silent_since: None,
            away_since: None,
            told: false,
        }
    }

    /// How much has been given out so far.
    pub fn offsets(&self) -> Offsets {
        self.at
    }

    /// The next piece; `None` after the last. Dropping the future between pieces loses nothing.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            while self.chunk.has_remaining() {
                if let Some(piece) = self.decode()? {
                    return Ok(Some(piece));
                }
            }
            match &mut self.body {
                Body::Done => return Ok(None),
                Body::Not => {
                    if let Some(away) = self.ask().await? {
                        return Ok(Some(away));
                    }
                }
                Body::Open(body) => match timeout(QUIET, body.frame()).await {
                    Ok(Some(Ok(frame))) => {
                        self.silent_since = None;
                        self.pause = Pause::new();
                        if let Ok(data) = frame.into_data() {
                            self.chunk = data;
                        }
                    }
                    Ok(None) if !self.follow && matches!(self.within, Within::Head { have: 0, .. }) => {
                        self.body = Body::Done;
                    }
                    Ok(None | Some(Err(_))) => {
                        self.body = Body::Not;
                        self.pause.take().await;
                    }
                    Err(_) => {
                        if let Some(unrecorded) = self.still_there().await? {
                            return Ok(Some(unrecorded));
                        }
                    }
                },
            }
        }
    }

    async fn ask(&mut self) -> Result<Option<Piece>, Error> {
        self.within = Within::start();
        let inner = &self.client.inner;
        let path = format!(
            "/v1/runs/{}/output?stream=both&out={}&err={}&follow={}",
            escape(&self.id),
            self.at.out,
            self.at.err,
            self.follow
        );
        let ask = Ask::get(path).accept("application/vnd.kin.frames");
        let silent_since = *self.silent_since.get_or_insert_with(Instant::now);
        let left = inner.follow_patience.saturating_sub(silent_since.elapsed());
        match inner.open(&ask.of_the_running().allow(left.saturating_sub(inner.patience))).await {
            Ok(response) => {
                self.body = Body::Open(response.into_body());
                self.away_since = None;
                Ok(None)
            }
            // The run may go on without a server; one that is only being restarted will be back at once.
            Err(error @ Error::NoServer { .. }) => match self.away_since {
                None => {
                    self.away_since = Some(Instant::now());
                    Ok(Some(Piece::Away))
                }
                Some(since) if since.elapsed() < AWAY.min(inner.follow_patience) => {
                    self.pause.take().await;
                    Ok(None)
                }
                Some(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Asks a quiet server for a sign of life, and how the run does. A run may be quiet for days; a server may not.
    async fn still_there(&mut self) -> Result<Option<Piece>, Error> {
        if !self.follow {
            return Err(self.client.inner.silent(Instant::now() - QUIET));
        }
        let inner = &self.client.inner;
        let silent_since = *self.silent_since.get_or_insert_with(|| Instant::now() - QUIET);
        loop {
            let ask = Ask::get(format!("/v1/runs/{}", escape(&self.id)));
            match inner.call(&ask.of_the_running()).await {
                Ok(answer) => {
                    self.silent_since = None;
                    // A server that has another answer for it will say so to whoever asks for the output again.
                    let run =
                        answer.json::<Run>().ok().filter(|run| run.state == "ended" && run.not_recorded.is_some());
                    if let Some(run) = run.filter(|_| !std::mem::replace(&mut self.told, true)) {
                        return Ok(Some(Piece::Unrecorded(Box::new(run))));
                    }
                }
                Err(Error::Silent { .. }) if silent_since.elapsed() < inner.follow_patience => continue,
                Err(Error::Silent { .. }) => return Err(inner.silent(silent_since)),
                // The connection itself will say what became of it.
                Err(_) => self.body = Body::Not,
            }
            return Ok(None);
        }
    }

    /// Takes some of the chunk.
    fn decode(&mut self) -> Result<Option<Piece>, Error> {
        match &mut self.within {
            Within::Head { have, head } => {
                let take = (HEAD - *have).min(self.chunk.len());
                self.chunk.split_to(take).copy_to_slice(&mut head[*have..*have + take]);
                *have += take;
                if *have == HEAD {
                    let (kind, offset, len) = parse_head(head)
                        .ok_or_else(|| Error::Strange { what: "its output is not in frames".into() })?;
                    self.within = match kind {
                        Kind::Out => Within::Bytes { stream: Stream::Out, offset, left: len },
                        Kind::Err => Within::Bytes { stream: Stream::Err, offset, left: len },
                        Kind::Gap | Kind::End => Within::Whole { kind, offset, len, have: Vec::new() },
                    };
                    return self.finish_empty();
                }
                Ok(None)
            }
            Within::Bytes { stream, offset, left } => {
                let (stream, offset_now) = (*stream, *offset);
                let take = (*left as usize).min(self.chunk.len());
                let bytes = self.chunk.split_to(take);
                *left -= take as u32;
                *offset += take as u64;
                if *left == 0 {
                    self.within = Within::start();
                }
                Ok(self.give(stream, offset_now, bytes))
            }
            Within::Whole { len, have, .. } => {
                let take = (*len as usize - have.len()).min(self.chunk.len());
                have.extend_from_slice(&self.chunk.split_to(take));
                self.finish_empty()
            }
        }
    }

    /// Ends a frame whose payload is complete, also one of no bytes.
    fn finish_empty(&mut self) -> Result<Option<Piece>, Error> {
        match &mut self.within {
            Within::Bytes { left: 0, .. } => {
                self.within = Within::start();
                Ok(None)
            }
            Within::Whole { kind, offset, len, have } if have.len() == *len as usize => {
                let (kind, offset, payload) = (*kind, *offset, std::mem::take(have));
                self.within = Within::start();
                if kind == Kind::End { self.end(&payload).map(Some) } else { self.gap(offset, &payload) }
            }
            Within::Head { .. } | Within::Bytes { .. } | Within::Whole { .. } => Ok(None),
        }
    }

    /// What of these bytes is new. Bytes further on than expected say that some are missing: that is told first.
    fn give(&mut self, stream: Stream, offset: u64, mut bytes: Bytes) -> Option<Piece> {
        let at = self.at.of(stream);
        if offset > *at {
            let gap = Piece::Gap { stream, offset: *at, count: offset - *at };
            *at = offset;
            // The bytes are taken again as the rest of their frame.
            self.put_back(stream, offset, &bytes);
            return Some(gap);
        }
        let known = usize::try_from(*at - offset).unwrap_or(usize::MAX).min(bytes.len());
        bytes.advance(known);
        if bytes.is_empty() {
            return None;
        }
        let offset = *at;
        *at += bytes.len() as u64;
        Some(Piece::Bytes { stream, offset, bytes })
    }

    fn put_back(&mut self, stream: Stream, offset: u64, bytes: &Bytes) {
        let left = match self.within {
            Within::Bytes { left, .. } => left,
            Within::Head { .. } | Within::Whole { .. } => 0,
        };
        self.within = Within::Bytes { stream, offset, left: left + bytes.len() as u32 };
        self.chunk = [bytes.as_ref(), self.chunk.as_ref()].concat().into();
    }

    fn gap(&mut self, offset: u64, payload: &[u8]) -> Result<Option<Piece>, Error> {
        let strange = || Error::Strange { what: "a gap in its output could not be read".into() };
        let (count, stream) = payload.split_at_checked(8).ok_or_else(strange)?;
        let count = u64::from_le_bytes(count.try_into().map_err(|_| strange())?);
        let stream = match stream.first() {
            Some(0) => Stream::Out,
            Some(1) => Stream::Err,
            _ => return Err(strange()),
        };
        let at = self.at.of(stream);
        let from = offset.max(*at);
        let until = offset.saturating_add(count);
        *at = (*at).max(until);
        Ok((until > from).then_some(Piece::Gap { stream, offset: from, count: until.saturating_sub(from) }))
    }

    fn end(&mut self, payload: &[u8]) -> Result<Piece, Error> {
        let run = serde_json::from_slice(payload)
            .map_err(|e| Error::Strange { what: format!("the end of its output could not be read: {e}") })?;
        self.body = Body::Done;
        self.chunk = Bytes::new();
        Ok(Piece::End(run))
    }
}
