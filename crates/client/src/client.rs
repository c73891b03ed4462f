//! The verbs of `/v1`, one method each.

use crate::call::{Ask, Connection};
use crate::door::{self, Pause, Start};
use crate::error::Error;
use crate::events::Events;
use crate::frames::{AWAY, Follow, Offsets};
use crate::stream::{Output, Stream};
use kin_api::home::Home;
use kin_api::run::{BatchAnswer, BatchItem, BatchRequest, Released, SignalRequest, StopRequest};
use kin_api::server::{Doctor, Server, ShutdownAnswer, ShutdownRequest, UpgradeRequest};
use kin_api::why::Why;
use kin_api::{Run, RunList, RunQuery, RunRequest};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// An idempotency key: whatever is asked twice under one key happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    pub fn random() -> Result<Key, Error> {
        let mut bytes = [0u8; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::System { what: "could not make an idempotency key", source: e.into() })?;
        Ok(Key(format!("{:032x}", u128::from_le_bytes(bytes))))
    }
    /// One that the caller can repeat after its own death.
    pub fn given(text: impl Into<String>) -> Key {
        Key(text.into())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many runs a listing wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    All,
    /// At most so many, the newest.
    Newest(usize),
}

pub(crate) struct Inner {
    pub(crate) home: Home,
    pub(crate) start: Start,
    /// How long nobody may answer before a request is given up.
    pub(crate) patience: Duration,
    /// The same for somebody who follows a run.
    pub(crate) follow_patience: Duration,
    kept: Mutex<Option<Connection>>,
    notices: Mutex<Vec<String>>,
}

impl Inner {
    pub(crate) fn take_kept(&self) -> Option<Connection> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
    pub(crate) fn notice(&self, said: String) {
        if !said.is_empty() {
            self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(said);
        }
    }
    pub(crate) fn keep(&self, connection: Connection) {
        if !connection.is_closed() {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        }
    }
}

/// A client of one server. Cheap to clone; clones share the kept connection.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

impl Client {
    /// For the server that this process's environment means; started when it is needed.
    pub fn of_process() -> Result<Client, Error> {
        let root = rustix::process::geteuid().is_root();
        Ok(Client::new(Home::of_process(root)?, Start::with_self()))
    }

    pub fn new(home: Home, start: Start) -> Client {
        Client::with_patience(home, start, Duration::from_secs(10), Duration::from_secs(30))
    }

    /// `patience` is how long nobody may answer a request, `follow_patience` the same for who follows a run.
    pub fn with_patience(home: Home, start: Start, patience: Duration, follow_patience: Duration) -> Client {
        Client {
            inner: Arc::new(Inner {
                home,
                start,
                patience,
                follow_patience,
                kept: Mutex::new(None),
                notices: Mutex::default(),
            }),
        }
    }

    /// One of the same server that starts none.
    pub fn of_the_running(&self) -> Client {
        let Inner { home, patience, follow_patience, .. } = &*self.inner;
        Client::with_patience(home.clone(), Start::Never, *patience, *follow_patience)
    }

    pub fn home(&self) -> &Home {
        &self.inner.home
    }

    /// What servers that were started on the way had to say, once.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes sure that a server is there.
    pub async fn reach(&self) -> Result<(), Error> {
        self.inner.reach().await
    }

    /// Whether any process of a server lives; asks the lock, not the server.
    pub fn server_lives(&self) -> Result<bool, Error> {
        door::server_lives(&self.inner.home)
    }

    pub async fn submit(&self, request: &RunRequest, key: &Key) -> Result<Run, Error> {
        self.inner.call(&Ask::post("/v1/runs", request, key.as_str())?).await?.json()
    }

    /// One answer a request, in order; all accepted ones in one commit.
    pub async fn submit_batch(&self, runs: Vec<RunRequest>, key: &Key) -> Result<Vec<BatchItem>, Error> {
        let ask = Ask::post("/v1/batch", &BatchRequest { runs }, key.as_str())?;
        Ok(self.inner.call(&ask).await?.json::<BatchAnswer>()?.runs)
    }

    /// `id` is a run's full id or its last eight characters.
    pub async fn run(&self, id: &str) -> Result<Run, Error> {
        self.inner.call(&Ask::get(format!("/v1/runs/{}", escape(id)))).await?.json()
    }

    /// One page, newest first.
    pub async fn runs(&self, query: &RunQuery) -> Result<RunList, Error> {
        self.inner.call(&Ask::get(format!("/v1/runs{}", query_string(query)?))).await?.json()
    }

    /// As many pages as it takes, newest first; `wanted` leaves out what the server cannot.
    pub async fn runs_of(
        &self,
        query: &RunQuery,
        page: Page,
        wanted: impl Fn(&Run) -> bool,
    ) -> Result<Vec<Run>, Error> {
        const AT_ONCE: usize = 1000;
        let room = |have: usize| match page {
            Page::All => usize::MAX,
            Page::Newest(n) => n.saturating_sub(have),
        };
        let mut query = query.clone();
        let mut out = Vec::new();
        while room(out.len()) > 0 {
            query.limit = u32::try_from(room(out.len()).clamp(50, AT_ONCE)).ok();
            let list = self.runs(&query).await?;
            out.extend(list.runs.into_iter().filter(&wanted));
            match list.next {
                Some(next) => query.before = Some(next),
                None => break,
            }
        }
        if let Page::Newest(n) = page {
            out.truncate(n);
        }
        Ok(out)
    }

    /// The run once it has ended; `None` when `timeout` was over before. Who waits starts no server that was shut down
    /// meanwhile.
    pub async fn wait(&self, id: &str, timeout: Option<Duration>) -> Result<Option<Run>, Error> {
        self.wait_told(id, timeout, |_| ()).await
    }

    /// The same; `told` is called once if it has ended and the server cannot record that yet (`not_recorded`). The waiting
    /// is for the record: only that is what the history says, and stays.
    pub async fn wait_told(
        &self,
        id: &str,
        timeout: Option<Duration>,
        told: impl FnOnce(&Run),
    ) -> Result<Option<Run>, Error> {
        // Asked in slices, so that a silent daemon is noticed.
        const SLICE: Duration = Duration::from_secs(15);
        let deadline = timeout.map(|t| Instant::now() + t);
        let (mut away_since, mut pause) = (None, Pause::new());
        let mut told = Some(told);
        loop {
            let left = deadline.map_or(SLICE, |d| d.saturating_duration_since(Instant::now()).min(SLICE));
            let unrecorded = if told.is_some() { "&unrecorded=true" } else { "" };
            let path = format!("/v1/runs/{}/wait?timeout_ms={}{unrecorded}", escape(id), left.as_millis());
            let ask = Ask::get(path).allow(left);
            let answer = match self.inner.call(&ask.of_the_running()).await {
                Err(Error::NoServer { .. }) if away_since.get_or_insert_with(Instant::now).elapsed() < AWAY => {
                    pause.take().await;
                    continue;
                }
                answer => answer?,
            };
            away_since = None;
            let run: Run = answer.json()?;
            if answer.status != hyper::StatusCode::ACCEPTED {
                return Ok(Some(run));
            }
            if let Some(told) = told.take_if(|_| run.state == "ended" && run.not_recorded.is_some()) {
                told(&run);
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return Ok(None);
            }
        }
    }

    pub async fn stop(&self, id: &str, request: &StopRequest) -> Result<Run, Error> {
        self.post(&format!("/v1/runs/{}/stop", escape(id)), request).await
    }

    /// Gives up a process that was adopted.
    pub async fn disown(&self, id: &str) -> Result<Run, Error> {
        self.post(&format!("/v1/runs/{}/disown", escape(id)), &()).await
    }

    /// Over a connection that breaks at the wrong instant, a signal may be sent twice.
    pub async fn signal(&self, id: &str, request: &SignalRequest) -> Result<Run, Error> {
        self.post(&format!("/v1/runs/{}/signal", escape(id)), request).await
    }

    pub async fn release(&self, latch: &str) -> Result<Released, Error> {
        self.post(&format!("/v1/latches/{}/release", escape(latch)), &serde_json::json!({})).await
    }

    pub async fn why(&self, id: &str) -> Result<Why, Error> {
        self.inner.call(&Ask::get(format!("/v1/runs/{}/why", escape(id)))).await?.json()
    }

    pub async fn server(&self) -> Result<Server, Error> {
        self.inner.call(&Ask::get("/v1/server")).await?.json()
    }

    pub async fn doctor(&self) -> Result<Doctor, Error> {
        self.inner.call(&Ask::get("/v1/server/doctor")).await?.json()
    }

    /// Never starts a server.
    pub async fn shutdown(&self, request: &ShutdownRequest) -> Result<ShutdownAnswer, Error> {
        // One that is being restarted is back in a moment; one that cannot start, never.
        if !door::has_daemon(&self.inner.home).await {
            return Err(self.inner.silent(Instant::now()));
        }
        let ask = Ask::post("/v1/server/shutdown", request, Key::random()?.as_str())?;
        self.inner.call(&ask.of_the_running()).await?.json()
    }

    /// Tells the keepers of a server whose daemon does not run that it ends. They end when their runs have.
    pub async fn shutdown_keepers(&self) -> Result<(), Error> {
        let what = "could not tell the keepers to end";
        let Start::With(program) = &self.inner.start else {
            return Err(Error::NoServer { state: self.inner.home.state.clone() });
        };
        let program = program.clone();
        let told = tokio::task::spawn_blocking(move || door::end_keepers(&program)).await;
        let told = told.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        told.map_err(|source| Error::System { what, source })
    }

    /// Ends when the daemon has, and with `whole` when no process of the server lives. The kernel wakes it.
    pub async fn until_gone(&self, whole: bool) -> Result<(), Error> {
        let home = &self.inner.home;
        let path = if whole { home.lock() } else { door::daemon_lock(home) };
        let what = "could not wait for the server's end";
        let waited = tokio::task::spawn_blocking(move || door::until_free(&path)).await;
        waited.unwrap_or_else(|e| Err(std::io::Error::other(e))).map_err(|source| Error::System { what, source })
    }

    /// Never starts a server.
    pub async fn upgrade(&self, program: &Path) -> Result<(), Error> {
        let Some(program) = program.to_str() else {
            return Err(Error::System {
                what: "the program's path is not text",
                source: std::io::ErrorKind::InvalidInput.into(),
            });
        };
        let request = UpgradeRequest { program: program.to_owned() };
        // The new program is asked whether it can read what is there before anything is replaced.
        let ask = Ask::post("/v1/server/upgrade", &request, Key::random()?.as_str())?;
        let ask = ask.of_the_running().allow(Duration::from_secs(20));
        let answer = self.inner.call(&ask).await?;
        if answer.status.is_success() { Ok(()) } else { answer.json::<serde_json::Value>().map(drop) }
    }

    /// Both streams of a run from `from` on, exact over broken connections. With `follow`, until the run has ended.
    pub fn follow(&self, id: &str, from: Offsets, follow: bool) -> Follow {
        Follow::new(self.clone(), id, from, follow)
    }

    /// One stream of a run from `offset` on.
    pub fn output(&self, id: &str, stream: Stream, offset: u64, follow: bool) -> Output {
        Output::new(self.clone(), id, stream, offset, follow)
    }

    /// Events from now on, or all after `after`; only of runs that match `runs`, where given.
    pub fn events(&self, after: Option<u64>, runs: Option<&str>) -> Events {
        Events::new(self.clone(), after, runs)
    }

    async fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> Result<T, Error> {
        self.inner.call(&Ask::post(path, body, Key::random()?.as_str())?).await?.json()
    }
}

/// A path segment or a query's value.
pub(crate) fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else if write!(out, "%{byte:02X}").is_err() {
            break;
        }
    }
    out
}

fn query_string(query: &RunQuery) -> Result<String, Error> {
    use serde_json::Value;
    let strange = |e: serde_json::Error| Error::Strange { what: e.to_string() };
    let Value::Object(fields) = serde_json::to_value(query).map_err(strange)? else {
        return Ok(String::new());
    };
    let mut out = String::new();
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => text,
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                value.to_string()
            }
        };
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(&name);
        out.push('=');
        out.push_str(&escape(&value));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_travels_escaped() {
        let query = RunQuery { job: Some("a*b&c".into()), limit: Some(7), ..RunQuery::default() };
        assert_eq!(query_string(&query).expect("a query"), "?job=a%2Ab%26c&limit=7");
        assert_eq!(query_string(&RunQuery::default()).expect("a query"), "");
    }
}
