//! The server itself: who it is, how it is, and its end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/server`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Server {
    pub version: String,
    pub pid: u32,
    pub state_dir: String,
    pub run_dir: String,
    pub started_at: String,
    pub boot: String,
    /// `whole`, or `degraded`: one of the keepers is alone just now.
    pub guard: String,
    /// `full` or `fast`.
    pub durability: String,
    pub elder_pid: Option<u32>,
    pub keeper_pid: Option<u32>,
    pub front_pid: Option<u32>,
    pub live_runs: u64,
    pub ledger: String,
    /// Null when there is none, or it is done: `under way`, or `given up: ` and why. Then the keepers are what they were.
    #[serde(default)]
    pub upgrade: Option<String>,
}

/// `GET /v1/server/doctor`: each thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// No check failed.
    #[serde(default)]
    pub ok: bool,
    pub guard: String,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    pub name: String,
    /// ok; warning: could be better; failed: is wrong.
    pub result: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// `POST /v1/server/shutdown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownRequest {
    /// `leave`; `stop`: those that have not started are cancelled; `halt`: those of jobs that have not started wait for the
    /// next server. Default: what `[kin] on_exit` says, as `leave` or `halt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShutdownAnswer {
    /// Runs that go on without a server, by id.
    pub left: Vec<String>,
    /// Runs that are being stopped.
    pub stopping: Vec<String>,
    /// Runs that had not started, and never will.
    #[serde(default)]
    pub cancelled: Vec<String>,
    /// Of runs not yet started, those that wait for the next server.
    pub waiting: Vec<String>,
    /// Why the history does not have this yet; it is done all the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_recorded: Option<String>,
}

/// `POST /v1/server/upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The new program's path.
    pub program: String,
}
