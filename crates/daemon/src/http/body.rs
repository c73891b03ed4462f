//! What comes in, read with our own errors: bodies, queries, names in paths, and who sent it.

use super::error::Failure;
use crate::engine::Key;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use kin_api::Code;
use kin_core::{JobName, RunId, RunNo};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::time::Duration;

/// The environment and the arguments of a run may be as large as the kernel takes them, so this is more than an open
/// door would allow.
pub const BODY_MAX: usize = 4 << 20;
/// Of a request that is too large, so much more is taken before the connection is closed on it.
const DISCARD_MAX: usize = 64 << 20;
/// A request's body must be there after so long.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A JSON body.
#[derive(Debug)]
pub struct Said<T>(pub T);

/// A JSON body, or nothing at all, which says the default.
#[derive(Debug)]
pub struct MaySay<T>(pub T);

/// What stands behind the `?`.
#[derive(Debug)]
pub struct Asked<T>(pub T);

/// The `{id}` of a run in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub no: RunNo,
    /// When the whole id was given, its job must be the run's.
    pub job: Option<JobName>,
    pub text: String,
}

/// The `{job}` in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfJob(pub JobName);

/// What is asked, and the idempotency key under which it is to be done once.
#[derive(Debug)]
pub struct Once {
    key: Option<String>,
    asked: String,
}

/// Whoever opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By the unix socket: the kernel says who.
    Uid(u32),
    /// By TCP, with the token.
    Token(IpAddr),
}

impl Peer {
    /// As triggers and the history name it.
    pub fn words(self) -> String {
        match self {
            Peer::Uid(uid) => format!("uid:{uid}"),
            Peer::Token(ip) => format!("token:{ip}"),
        }
    }
}

pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

pub fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

pub fn too_large() -> Failure {
    Failure::new(Code::TooLarge, format!("the request is larger than {} MiB", BODY_MAX >> 20))
}

/// Takes what is still being sent, a bounded piece of it, so that the sender comes to read why it was for nothing.
pub async fn discard(mut body: Body) {
    let mut left = DISCARD_MAX;
    let taken = async {
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // A sender that takes longer for it goes without the answer.
    tokio::time::timeout(BODY_TIME, taken).await.ok();
}

async fn read<T: DeserializeOwned>(mut body: Body) -> Result<T, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::bad("the request's body could not be read"))?;
        let data = frame.data_ref().map_or(&[][..], |data| data.as_ref());
        if bytes.len() + data.len() > BODY_MAX {
            discard(body).await;
            return Err(too_large());
        }
        bytes.extend_from_slice(data);
    }
    serde_json::from_slice(&bytes).map_err(|e| Failure::bad(format!("the request is not what it should be: {e}")))
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Said<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, _: &S) -> Result<Said<T>, Failure> {
        if !is_json(request.headers()) {
            let failure = Failure::new(Code::UnsupportedMedia, "a body of type application/json is needed");
            return Err(failure.with_hint("send the header `Content-Type: application/json`"));
        }
        let late = || Failure::bad("the request took too long").with_status(StatusCode::REQUEST_TIMEOUT);
        let said = tokio::time::timeout(BODY_TIME, read(request.into_body())).await;
        Ok(Said(said.map_err(|_| late())??))
    }
}

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for MaySay<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<MaySay<T>, Failure> {
        if request.method() == Method::POST && !has_body(request.headers()) {
            return Ok(MaySay(T::default()));
        }
        Said::from_request(request, state).await.map(|Said(said)| MaySay(said))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Failure> {
        let query = Query::try_from_uri(&parts.uri);
        query
            .map(|Query(asked)| Asked(asked))
            .map_err(|e| Failure::bad(format!("what is asked for: {}", innermost(&e))))
    }
}

/// Each link of the chain repeats the next.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|e| Failure::bad(super::error::chain(&e)))?;
        Named::parse(text)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfJob {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<OfJob, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|e| Failure::bad(super::error::chain(&e)))?;
        JobName::parse(&text).map(OfJob).map_err(|e| Failure::bad(format!("{text:?}: {e}")))
    }
}

impl<S: Sync> FromRequestParts<S> for Once {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Once, Failure> {
        let key = super::runs::key(&parts.headers)?.map(str::to_owned);
        Ok(Once { key, asked: format!("{} {}\n", parts.method, parts.uri.path()) })
    }
}

impl Once {
    /// For a request without a body.
    pub fn bare(self) -> Option<Key> {
        let content = sum(self.asked.as_bytes());
        self.key.map(|text| Key { text, content })
    }

    /// With what it says: the same key with other words is another request.
    pub fn saying(mut self, wish: &impl serde::Serialize) -> Result<Option<Key>, Failure> {
        let said = serde_json::to_string(wish).map_err(|e| Failure::internal(e.to_string()))?;
        self.asked.push_str(&said);
        Ok(self.bare())
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

impl Named {
    pub fn parse(text: String) -> Result<Named, Failure> {
        if let Some(no) = RunNo::parse(&text) {
            return Ok(Named { no, job: None, text });
        }
        match RunId::parse(&text) {
            Some(id) => Ok(Named { no: id.no, job: Some(id.job), text }),
            None => Err(Failure::no_run(&text)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Failure> {
        let peer = parts.extensions.get::<Peer>().copied();
        peer.ok_or_else(|| Failure::internal("nobody knows who opened this connection"))
    }
}
