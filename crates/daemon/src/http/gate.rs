//! What may come in at all; asked before any route is looked up.

use super::body::{BODY_MAX, discard, has_body, is_json, too_large};
use super::error::Failure;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kin_api::Code;

pub async fn gate(request: Request, next: Next) -> Response {
    match refusal(request.method(), request.headers()) {
        Some(failure) => {
            discard(request.into_body()).await;
            failure.into_response()
        }
        None => next.run(request).await,
    }
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<Failure> {
    let cross_site = headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site");
    if headers.contains_key(ORIGIN) || cross_site {
        let failure = Failure::new(Code::Refused, "this door is not for pages of the web");
        return Some(failure.with_status(StatusCode::FORBIDDEN));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_MAX as u64) {
        return Some(too_large());
    }
    if (*method == Method::POST || *method == Method::PUT) && has_body(headers) && !is_json(headers) {
        let failure = Failure::new(Code::UnsupportedMedia, "a body must be of type application/json");
        return Some(failure.with_hint("send the header `Content-Type: application/json`"));
    }
    None
}
