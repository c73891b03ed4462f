//! What happens, as it happens: server-sent events, none missed over broken connections.

use crate::call::Ask;
use crate::client::{Client, escape};
use crate::door::Pause;
use crate::error::Error;
use crate::frames::AWAY;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kin_api::Event;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A server says something every 15 s. Silence for longer, and it is asked whether it lives.
const QUIET: Duration = Duration::from_secs(20);

/// No line of an event is longer than this; a longer one is not an event.
const LINE_MAX: usize = 1 << 20;

pub struct Events {
    client: Client,
    runs: Option<String>,
    /// The last event seen, from which on the next connection is asked.
    last: Option<u64>,
    body: Option<Incoming>,
    parser: Parser,
    pause: Pause,
    /// Somebody answered once. Who only listens starts no server that was shut down meanwhile.
    heard: bool,
}

impl Events {
    pub(crate) fn new(client: Client, after: Option<u64>, runs: Option<&str>) -> Events {
        let runs = runs.map(str::to_owned);
        Events { client, runs, last: after, body: None, parser: Parser::default(), pause: Pause::new(), heard: false }
    }

    /// Connects, so that nothing that happens after this is missed.
    pub async fn listening(&mut self) -> Result<(), Error> {
        if self.body.is_none() {
            self.parser = Parser::default();
            let mut path = String::from("/v1/events");
            if let Some(runs) = &self.runs {
                path = format!("{path}?runs={}", escape(runs));
            }
            let ask = Ask::get(path).accept("text/event-stream").after_event(self.last);
            let ask = if self.heard { ask.of_the_running() } else { ask };
            let since = Instant::now();
            let body = loop {
                match self.client.inner.open(&ask).await {
                    // One that is only being made anew will be back at once.
                    Err(Error::NoServer { .. }) if self.heard && since.elapsed() < AWAY => self.pause.take().await,
                    answer => break answer?.into_body(),
                }
            };
            (self.body, self.heard) = (Some(body), true);
        }
        Ok(())
    }

    /// The next event. There is always a next one.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            while let Some(message) = self.parser.take() {
                if let Some(id) = message.id.and_then(|id| id.parse().ok()) {
                    self.last = Some(id);
                }
                if message.data.is_empty() {
                    continue;
                }
                let event: Event = serde_json::from_str(&message.data)
                    .map_err(|e| Error::Strange { what: format!("an event could not be read: {e}") })?;
                self.last = Some(event.seq);
                return Ok(event);
            }
            self.listening().await?;
            let Some(body) = &mut self.body else { continue };
            let quiet = QUIET.min(self.client.inner.follow_patience);
            match timeout(quiet, body.frame()).await {
                Err(_) => {
                    match self.client.inner.call(&Ask::get("/v1/server").of_the_running()).await {
                        Err(silent @ Error::Silent { .. }) => return Err(silent),
                        // It lives, so it is this connection that is dead; or the next connection says what became of it.
                        Ok(_) | Err(_) => self.body = None,
                    }
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.pause = Pause::new();
                        self.parser.push(&data)?;
                    }
                }
                Ok(None | Some(Err(_))) => {
                    self.body = None;
                    self.pause.take().await;
                }
            }
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    id: Option<String>,
    data: String,
}

/// Lines to messages, whatever the chunks.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    message: Message,
    ready: std::collections::VecDeque<Message>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.end_line(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(*byte);
            }
        }
        if self.line.len() > LINE_MAX {
            return Err(Error::Strange { what: "an event is too long".into() });
        }
        Ok(())
    }

    fn end_line(&mut self, line: &str) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            if self.message != Message::default() {
                self.ready.push_back(std::mem::take(&mut self.message));
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.message.id = Some(value.to_owned()),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // `event` is in the data too; a comment keeps the connection warm.
            _ => {}
        }
    }

    fn take(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_whatever_the_chunks() {
        let text = b": warm\n\nid: 7\r\nevent: run.state\r\ndata: {\"a\":\ndata: 1}\r\n\r\nid: 8\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            for chunk in text.chunks(size) {
                parser.push(chunk).expect("short lines");
            }
            let seven = Message { id: Some("7".into()), data: "{\"a\":\n1}".into() };
            assert_eq!(parser.take(), Some(seven));
            assert_eq!(parser.take(), Some(Message { id: Some("8".into()), data: String::new() }));
            assert_eq!(parser.take(), None);
        }
    }
}
