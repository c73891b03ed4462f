//! Events: one a change of state, numbered, so that a listener who comes back misses nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// On `GET /v1/events` as server-sent events: `id` is `seq`, `event` is `kind`, `data` is this as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub seq: u64,
    pub at: String,
    /// `run.state`, `run.output-blocked`, `server.started`, `server.guard`, `ledger.rebuilt`, `latch.released`, …
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<String>,
    /// The state the run is in now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<u8>,
    /// Words for people, where the kind has any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}
