//! The contract of `/v1`: requests, answers, events and errors, as they travel.
//!
//! Server and clients share these types and nothing else. Fields are only ever added. Times are RFC 3339 in UTC with
//! milliseconds. The OpenAPI document is made from this crate and checked in as `openapi.json`.
#![forbid(unsafe_code)]

pub mod error;
pub mod event;
pub mod frame;
pub mod home;
pub mod job;
pub mod project;
pub mod run;
pub mod schedule;
pub mod server;
pub mod tick;
pub mod why;
pub mod zones;

pub use error::{ApiError, Code, ErrorBody};
pub use event::Event;
/// Names that both ends must read alike.
pub use kin_core::schedule::{Schedule, Zone};
pub use kin_core::{JobName, RunId, RunNo};
pub use run::{Run, RunList, RunQuery, RunRequest};
