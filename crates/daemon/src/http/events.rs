//! Events as they happen, as server-sent events. A listener who says which one it heard last misses nothing: the ledger
//! is read from there, and read again after each commit.

use super::body::Asked;
use super::door::Door;
use super::error::{Answer, Failure};
use super::{convert, glob};
use crate::engine::Committed;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use kin_ledger::Event;
use serde::Deserialize;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A comment so often while nothing happens, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const PAGE: u32 = 500;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsQuery {
    after: Option<u64>,
    /// A glob of job names or run ids.
    runs: Option<String>,
}

pub async fn events(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    Asked(asked): Asked<EventsQuery>,
) -> Answer<Response> {
    let committed = door.engine.watch();
    let newest = door.read(|ledger| Ok(ledger.last_event()?)).await?;
    let asked_after = heard(&headers)?.or(asked.after);
    // Nothing is told that is not committed: such a number is of another ledger.
    let unknown = asked_after.filter(|after| *after > newest);
    let after = asked_after.unwrap_or(newest).min(newest);
    let feed = Feed { door, committed, after, unknown, runs: asked.runs, said: Instant::now(), greeting: true };
    let body = Body::from_stream(stream::unfold(feed, |mut feed| async move {
        let piece = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), feed))
    }));
    Ok(([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// The last event that the listener heard.
fn heard(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let seq = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    seq.map(Some).ok_or_else(|| Failure::bad("Last-Event-ID is the number of an event"))
}

struct Feed {
    door: Arc<Door>,
    committed: watch::Receiver<Committed>,
    after: u64,
    /// A number that the listener asked for, and that is beyond all there are.
    unknown: Option<u64>,
    runs: Option<String>,
    said: Instant,
    greeting: bool,
}

impl Feed {
    /// `None` ends the answer: the listener comes back with the last number it has.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(unknown) = self.unknown.take() {
            let mut text = String::new();
            reset(&mut text, unknown, self.after);
            self.greeting = false;
            return Some(text.into());
        }
        if std::mem::take(&mut self.greeting) {
            return Some(self.sign_of_life());
        }
        loop {
            self.committed.borrow_and_update();
            let after = self.after;
            let events = self.door.read(move |ledger| Ok(ledger.events_after(after, PAGE)?)).await.ok()?;
            let text = self.text(&events);
            self.after = events.last().map_or(after, |last| last.seq);
            if !text.is_empty() {
                self.said = Instant::now();
                return Some(text.into());
            }
            if events.is_empty() {
                match tokio::time::timeout_at(self.said + KEEP_ALIVE, self.committed.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => {
                        self.said = Instant::now();
                        return Some(self.sign_of_life());
                    }
                }
            }
        }
    }

    /// A comment, and where the listener stands: one that has heard nothing yet comes back to the right place all the same.
    fn sign_of_life(&self) -> Bytes {
        format!(":\nid: {}\n\n", self.after).into()
    }

    fn text(&self, events: &[Event]) -> String {
        let mut text = String::new();
        if let Some(first) = events.first().filter(|first| first.seq > self.after + 1) {
            gap(&mut text, self.after + 1, first);
        }
        for event in events.iter().filter(|event| self.wants(event)) {
            write(&mut text, &convert::event(event));
        }
        text
    }

    fn wants(&self, event: &Event) -> bool {
        let Some(pattern) = &self.runs else { return true };
        event
            .run
            .as_ref()
            .is_some_and(|run| glob::fits(pattern, run.job.as_str()) || glob::fits(pattern, &run.to_string()))
    }
}

/// What is no longer kept is said, never passed over in silence.
fn gap(text: &mut String, from: u64, first: &Event) {
    let until = first.seq - 1;
    let message = format!("the events {from} to {until} are no longer kept");
    write(text, &own(until, convert::time(first.at), "events.gap", message));
}

/// Also that where the listener stands is no place here: it goes on from the newest.
fn reset(text: &mut String, unknown: u64, newest: u64) {
    let message = format!(
        "no event {unknown} is known here: the ledger was lost since, and its newest event is {newest}; what happened in \
         between is not known, and what follows begins there"
    );
    write(text, &own(newest, convert::time(crate::clock::now()), "events.reset", message));
}

fn own(seq: u64, at: String, kind: &str, message: String) -> kin_api::Event {
    kin_api::Event {
        seq,
        at,
        kind: kind.into(),
        run: None,
        job: None,
        state: None,
        from: None,
        outcome: None,
        exit_code: None,
        signal: None,
        message: Some(message),
    }
}

fn write(text: &mut String, event: &kin_api::Event) {
    // A kind is one of our own words, and JSON has no line breaks of its own.
    if let Ok(json) = serde_json::to_string(event)
        && writeln!(text, "id: {}\nevent: {}\ndata: {json}\n", event.seq, event.kind).is_err()
    {
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_core::Time;

    #[test]
    fn an_event_is_three_lines_and_a_blank_one() {
        let event =
            Event { seq: 7, at: Time(0), kind: "server.started".into(), run: None, change: None, message: None };
        let mut text = String::new();
        write(&mut text, &convert::event(&event));
        let want = "id: 7\nevent: server.started\ndata: {\"seq\":7,\"at\":\"1970-01-01T00:00:00.000Z\",\"kind\":\"server.started\"}\n\n";
        assert_eq!(text, want);
    }
}
