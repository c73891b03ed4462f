//! What comes in, read with our own errors: bodies, queries, names in paths, and who sent it.

use super::error::Failure;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use kin_api::Code;
use kin_core::{JobName, RunId, RunNo};
use serde::de::DeserializeOwned;

/// The environment and the arguments of a run may be as large as the kernel takes them, so this is more than an open
/// door would allow.
pub const BODY_MAX: usize = 4 << 20;

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

/// Whoever opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
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

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let bytes = to_bytes(body, BODY_MAX).await.map_err(|e| {
        let limit = std::error::Error::source(&e).is_some_and(|e| e.is::<http_body_util::LengthLimitError>());
        if limit { too_large() } else { Failure::bad("the request's body could not be read") }
    })?;
    serde_json::from_slice(&bytes).map_err(|e| Failure::bad(format!("the request is not what it should be: {e}")))
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Said<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, _: &S) -> Result<Said<T>, Failure> {
        if !is_json(request.headers()) {
            let failure = Failure::new(Code::UnsupportedMedia, "a body of type application/json is needed");
            return Err(failure.with_hint("send the header `Content-Type: application/json`"));
        }
        Ok(Said(read(request.into_body()).await?))
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
        query.map(|Query(asked)| Asked(asked)).map_err(|e| Failure::bad(super::error::chain(&e)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|e| Failure::bad(super::error::chain(&e)))?;
        Named::parse(text)
    }
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
