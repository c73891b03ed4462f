//! Errors as they travel: a code for programs, a message for people, a hint what to do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of refusal; the HTTP status and the CLI's exit code follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request itself is wrong.
    BadRequest,
    /// No such job, run or latch.
    NotFound,
    /// There is something, and it is not asked like this.
    MethodNotAllowed,
    /// Possible in principle, refused now: it is running already, has ended, overlaps.
    Refused,
    /// The same idempotency key with other content.
    KeyReused,
    /// The run that was made with this idempotency key is not remembered any more. Nothing was started twice.
    KeyForgotten,
    /// The content type is not `application/json`.
    UnsupportedMedia,
    TooLarge,
    /// The disk below the state is full, or something else keeps kin from promising.
    Unavailable,
    /// The server is ending.
    Closing,
    Internal,
}

impl Code {
    pub const fn status(self) -> u16 {
        match self {
            Code::BadRequest => 400,
            Code::NotFound => 404,
            Code::MethodNotAllowed => 405,
            Code::Refused | Code::KeyReused => 409,
            Code::KeyForgotten => 410,
            Code::UnsupportedMedia => 415,
            Code::TooLarge => 413,
            Code::Unavailable => 507,
            Code::Closing => 503,
            Code::Internal => 500,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    pub code: Code,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The run that stands in the way, where one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub error: ApiError,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for ApiError {}
