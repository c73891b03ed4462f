//! Where an error gets its status and its words for whoever asked.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kin_api::{ApiError, Code, ErrorBody};
use kin_core::{Refusal, RunId, RunNo};
use kin_ledger::ReadError;

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: StatusCode,
    pub error: ApiError,
    /// The ledger itself is damaged, and how.
    pub damage: Option<String>,
}

pub type Answer<T> = Result<T, Failure>;

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Failure { status, error: ApiError { code, message: message.into(), hint: None, run: None }, damage: None }
    }

    pub fn bad(message: impl Into<String>) -> Failure {
        Failure::new(Code::BadRequest, message)
    }

    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(Code::Internal, message)
    }

    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Failure {
        self.status = status;
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.error.hint = Some(hint.into());
        self
    }

    pub fn no_run(name: &str) -> Failure {
        let failure = Failure::new(Code::NotFound, format!("there is no run {name:?}"));
        failure.with_hint("`kin log` lists the runs that kin remembers")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.error })).into_response()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let forgotten;
        let (code, run) = match &refusal {
            Refusal::Unknown { .. } => (Code::NotFound, None),
            Refusal::Ended { run, .. } | Refusal::NotStarted { run } | Refusal::LeaderEnded { run } => {
                (Code::Refused, Some(run))
            }
            Refusal::Overlap { live: run }
            | Refusal::LineFull { live: run, .. }
            | Refusal::IsRun { run, .. }
            | Refusal::NotAdopted { run } => (Code::Refused, Some(run)),
            Refusal::NotAdoptable { .. } | Refusal::IsDefined { .. } => (Code::Refused, None),
            Refusal::UnknownJob { .. } | Refusal::UnknownProject { .. } | Refusal::NoProcess { .. } => {
                (Code::NotFound, None)
            }
            Refusal::IsService { .. }
            | Refusal::NoService { .. }
            | Refusal::OfFile { .. }
            | Refusal::OfProject { .. }
            | Refusal::OfRequest { .. }
            | Refusal::ProjectElsewhere { .. }
            | Refusal::OldRevision { .. } => (Code::Refused, None),
            Refusal::Missing { .. }
            | Refusal::Circle { .. }
            | Refusal::TooLarge { .. }
            | Refusal::TooMany { .. }
            | Refusal::NoPort { .. } => (Code::BadRequest, None),
            Refusal::KeyReused { first, .. } => (Code::KeyReused, Some(first)),
            Refusal::KeyOfOther { .. } => (Code::KeyReused, None),
            Refusal::KeyForgotten { first, job, .. } => {
                forgotten = job.clone().map(|job| RunId { job, no: *first });
                (Code::KeyForgotten, forgotten.as_ref())
            }
            Refusal::NoPlaces { .. } | Refusal::Malformed { .. } => (Code::BadRequest, None),
            Refusal::Degraded => (Code::Refused, None),
            Refusal::Closing => (Code::Closing, None),
            Refusal::NoRoom { .. } | Refusal::Unavailable { .. } => (Code::Unavailable, None),
        };
        let fits_not = matches!(
            refusal,
            Refusal::Missing { .. }
                | Refusal::Circle { .. }
                | Refusal::TooLarge { .. }
                | Refusal::TooMany { .. }
                | Refusal::NoPort { .. }
        );
        // The rules know numbers; here they have names.
        let words = if let Refusal::Ended { run, outcome } = &refusal {
            format!("run {run} has ended already: {}", super::convert::outcome_words(outcome))
        } else {
            refusal.to_string()
        };
        let mut failure = Failure::new(code, words);
        if fits_not {
            // Well said, and yet it fits with nothing that is there.
            failure.status = StatusCode::UNPROCESSABLE_ENTITY;
        }
        failure.error.hint = refusal.hint();
        failure.error.run = run.map(ToString::to_string);
        failure
    }
}

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Failure {
        let damage = e.damage();
        let failure = Failure::internal(chain(&e)).with_hint("`kin doctor` looks at the whole ledger");
        Failure { damage, ..failure }
    }
}

/// An error with all that lies behind it, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}

/// The run was known a moment ago and is no longer alive.
pub fn is_unknown(refusal: &Refusal, no: RunNo) -> bool {
    matches!(refusal, Refusal::Unknown { run } if *run == no)
}
