//! One stream of a run, byte for byte.

use crate::call::Ask;
use crate::client::{Client, escape};
use crate::door::Pause;
use crate::error::Error;
use crate::frames::QUIET;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::{Instant, timeout};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    pub const fn word(self) -> &'static str {
        match self {
            Stream::Out => "out",
            Stream::Err => "err",
        }
    }
}

/// What came next of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    Bytes(Bytes),
    /// So many bytes were not kept.
    Gap(u64),
}

enum Body {
    Not,
    Open(Incoming),
    Done,
}

/// Reads on over broken connections from where it was.
pub struct Output {
    client: Client,
    id: String,
    stream: Stream,
    at: u64,
    follow: bool,
    body: Body,
    pause: Pause,
}

impl Output {
    pub(crate) fn new(client: Client, id: &str, stream: Stream, offset: u64, follow: bool) -> Output {
        let (body, pause) = (Body::Not, Pause::new());
        Output { client, id: id.to_owned(), stream, at: offset, follow, body, pause }
    }

    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The next bytes; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let quiet = self.quiet();
        loop {
            match &mut self.body {
                Body::Done => return Ok(None),
                Body::Not => {
                    if let Some(gap) = self.ask().await? {
                        return Ok(Some(gap));
                    }
                }
                Body::Open(body) => match timeout(quiet, body.frame()).await {
                    Err(_) => self.still_there().await?,
                    Ok(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data()
                            && !data.is_empty()
                        {
                            self.pause = Pause::new();
                            self.at += data.len() as u64;
                            return Ok(Some(Chunk::Bytes(data)));
                        }
                    }
                    Ok(None) => self.body = Body::Done,
                    Ok(Some(Err(_))) => {
                        self.body = Body::Not;
                        self.pause.take().await;
                    }
                },
            }
        }
    }

    fn quiet(&self) -> Duration {
        QUIET.min(self.client.inner.follow_patience)
    }

    /// A run may be quiet for days; a server that only reads what there is may not.
    async fn still_there(&self) -> Result<(), Error> {
        if !self.follow {
            return Err(self.client.inner.silent(Instant::now() - self.quiet()));
        }
        self.client.inner.call(&Ask::get("/v1/server").of_the_running()).await.map(drop)
    }

    async fn ask(&mut self) -> Result<Option<Chunk>, Error> {
        let path = format!(
            "/v1/runs/{}/output?stream={}&offset={}&follow={}",
            escape(&self.id),
            self.stream.word(),
            self.at,
            self.follow
        );
        let response = self.client.inner.open(&Ask::get(path).accept("application/octet-stream")).await?;
        let begins = response.headers().get("kin-offset").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        self.body = Body::Open(response.into_body());
        // The server begins further on where the bytes asked for were not kept.
        match begins {
            Some(begins) if begins > self.at => {
                let gap = Chunk::Gap(begins - self.at);
                self.at = begins;
                Ok(Some(gap))
            }
            Some(_) | None => Ok(None),
        }
    }
}
