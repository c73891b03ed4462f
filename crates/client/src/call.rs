//! One request, repeated until it is answered.
//!
//! A connection that breaks before the whole answer is there says nothing about what happened at the other end. The
//! request is sent again with the same idempotency key, over a new connection, until `patience` is over. Only silence
//! ends it: any answer, also a refusal, is an answer.

use crate::client::Inner;
use crate::door::{self, Pause, Start};
use crate::error::Error;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kin_api::{Code, ErrorBody};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    /// With the query.
    path: String,
    body: Bytes,
    key: Option<String>,
    accept: &'static str,
    last_event: Option<u64>,
    /// Whether a server is made for it where none runs.
    may_start: bool,
    /// How long the server may take over the answer, on top of the client's patience.
    allowance: Duration,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Ask {
        Ask {
            method: Method::GET,
            path: path.into(),
            body: Bytes::new(),
            key: None,
            accept: "application/json",
            last_event: None,
            may_start: true,
            allowance: Duration::ZERO,
        }
    }

    /// `key` makes a repeat of this request find what the first one did.
    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize, key: &str) -> Result<Ask, Error> {
        let body = serde_json::to_vec(body).map_err(|e| Error::Strange { what: e.to_string() })?;
        Ok(Ask { method: Method::POST, body: body.into(), key: Some(key.to_owned()), ..Ask::get(path) })
    }

    pub(crate) fn method(self, method: Method) -> Ask {
        Ask { method, ..self }
    }
    pub(crate) fn accept(self, accept: &'static str) -> Ask {
        Ask { accept, ..self }
    }
    pub(crate) fn of_the_running(self) -> Ask {
        Ask { may_start: false, ..self }
    }
    pub(crate) fn allow(self, allowance: Duration) -> Ask {
        Ask { allowance, ..self }
    }
    pub(crate) fn after_event(self, last_event: Option<u64>) -> Ask {
        Ask { last_event, ..self }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header(HOST, "localhost")
            .header(ACCEPT, HeaderValue::from_static(self.accept))
            .header("kin-tells", "1");
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key).header(CONTENT_TYPE, "application/json");
        }
        if let Some(seq) = self.last_event {
            request = request.header("last-event-id", seq);
        }
        request.body(Full::new(self.body.clone())).map_err(|e| Error::Strange { what: e.to_string() })
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        if !self.status.is_success() {
            return Err(refusal(self.status, &self.body));
        }
        serde_json::from_slice(&self.body)
            .map_err(|e| Error::Strange { what: format!("its answer could not be read: {e}") })
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> Error {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => Error::Refused(error),
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            Error::Strange { what: format!("it answered {status} {text:?}") }
        }
    }
}

/// It accepts nothing more, and whoever asks the next one is helped.
fn is_ending(answer: &Answer) -> bool {
    answer.status == StatusCode::SERVICE_UNAVAILABLE
        && matches!(refusal(answer.status, &answer.body), Error::Refused(refused) if refused.code == Code::Closing)
}

/// One attempt: answered, or no way to know.
enum Attempt<T> {
    Answered(T),
    Broken,
}

impl Inner {
    /// The whole answer, once somebody gives one. Of a server that is ending it is asked of the next one.
    pub(crate) async fn call(&self, ask: &Ask) -> Result<Answer, Error> {
        let deadline = Instant::now() + self.patience + ask.allowance;
        loop {
            let daemon = door::who_serves(&self.home);
            let answer = self.until_answered(ask, |connection, request| self.whole(connection, request)).await?;
            if !ask.may_start || !is_ending(&answer) {
                return Ok(answer);
            }
            drop(self.take_kept());
            if timeout_at(deadline, door::until_followed(&self.home, daemon)).await.is_err() {
                return Ok(answer);
            }
        }
    }

    /// The head of an answer whose body goes on for as long as there is something to say.
    pub(crate) async fn open(&self, ask: &Ask) -> Result<Response<Incoming>, Error> {
        let response = self.until_answered(ask, |mut connection, request| async move {
            match connection.send_request(request).await {
                Ok(response) => Attempt::Answered(response),
                Err(_) => Attempt::Broken,
            }
        });
        let response = response.await?;
        self.hear(&response);
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(refusal(status, &body))
    }

    async fn until_answered<T, F>(
        &self,
        ask: &Ask,
        attempt: impl Fn(Connection, Request<Full<Bytes>>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Attempt<T>>,
    {
        let begun = Instant::now();
        let patience = self.patience + ask.allowance;
        let mut deadline = begun + patience;
        let mut pause = Pause::new();
        let mut looked = false;
        loop {
            let Some(connection) = self.connection(&mut deadline, patience, ask.may_start).await? else {
                return Err(self.silent(begun));
            };
            let mut answered = std::pin::pin!(attempt(connection, ask.request()?));
            let look_after = if ask.may_start { door::LOOK_AFTER } else { door::LOOK_CLOSED };
            let mut in_time = timeout_at(deadline.min(Instant::now() + look_after), &mut answered).await;
            if in_time.is_err() && Instant::now() < deadline {
                // It took the connection, and was shut down before it took the request.
                if !ask.may_start && door::was_shut_down(&self.home) {
                    return Err(Error::NoServer { state: self.home.state.clone() });
                }
                if ask.may_start
                    && !looked
                    && let Some(said) = door::look_after(&self.home, &self.start).await?
                {
                    looked = true;
                    self.notice(said);
                    deadline = Instant::now() + patience;
                }
                in_time = timeout_at(deadline, &mut answered).await;
            }
            match in_time {
                Ok(Attempt::Answered(answer)) => return Ok(answer),
                Ok(Attempt::Broken) if Instant::now() < deadline => pause.take().await,
                Ok(Attempt::Broken) | Err(_) => return Err(self.silent(begun)),
            }
        }
    }

    /// What the server has to say to whoever asks next, whatever it was asked.
    fn hear(&self, response: &Response<Incoming>) {
        if let Some(words) = response.headers().get("kin-notice") {
            self.notice(String::from_utf8_lossy(words.as_bytes()).into_owned());
        }
    }

    async fn whole(&self, mut connection: Connection, request: Request<Full<Bytes>>) -> Attempt<Answer> {
        let Ok(response) = connection.send_request(request).await else { return Attempt::Broken };
        let status = response.status();
        self.hear(&response);
        match response.into_body().collect().await {
            Ok(body) => {
                self.keep(connection);
                Attempt::Answered(Answer { status, body: body.to_bytes() })
            }
            Err(_) => Attempt::Broken,
        }
    }

    /// The kept connection if it still stands, else a new one. A server started on the way moves the deadline.
    async fn connection(
        &self,
        deadline: &mut Instant,
        patience: Duration,
        may_start: bool,
    ) -> Result<Option<Connection>, Error> {
        if let Some(mut kept) = self.take_kept()
            && kept.ready().await.is_ok()
        {
            return Ok(Some(kept));
        }
        let start = if may_start { &self.start } else { &Start::Never };
        let Some(way) = door::connect(&self.home, start, patience, *deadline).await? else {
            return Ok(None);
        };
        if let Some(said) = way.started {
            self.notice(said);
            *deadline = Instant::now() + patience;
        }
        let (connection, driver) = http1::handshake(TokioIo::new(way.stream))
            .await
            .map_err(|e| Error::Strange { what: format!("no handshake: {e}") })?;
        // What breaks the connection is told to whoever waits for an answer on it.
        drop(tokio::spawn(async move { drop(driver.await) }));
        Ok(Some(connection))
    }

    /// Makes sure that a server is there, and keeps the connection for the next request.
    pub(crate) async fn reach(&self) -> Result<(), Error> {
        let begun = Instant::now();
        let mut deadline = begun + self.patience;
        match self.connection(&mut deadline, self.patience, true).await? {
            Some(connection) => {
                self.keep(connection);
                Ok(())
            }
            None => Err(self.silent(begun)),
        }
    }

    pub(crate) fn silent(&self, since: Instant) -> Error {
        Error::Silent {
            state: self.home.state.clone(),
            daemon: door::daemon_process(&self.home),
            why: door::why_it_ends(&self.home),
            seconds: since.elapsed().as_secs(),
        }
    }
}
