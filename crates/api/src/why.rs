//! Why a run stands where it stands, and what comes of it.

use crate::Run;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/runs/{id}/why`: the causal story in words, and what of it a program may want to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    pub run: Run,
    /// One sentence a line: what happened, why it waits, what comes next.
    pub story: Vec<String>,
    /// What is in its way, the nearest first; of the run of a defined job that is not over.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// Runs that came of its end, oldest first, whether they are over or not.
    #[serde(default)]
    pub followers: Vec<Follower>,
    /// What its job's definition says of its end; absent when it has none any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outlook: Option<Outlook>,
}

/// One thing that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// latch, needs, retry (the wait before another try), delay (jitter, or catching up), group, mutex, turn, queue, keeper,
    /// closing, ready, stop, end.
    pub kind: String,
    /// In words, as in the story.
    pub words: String,
    /// The latch, job, group, mutex or queue that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Runs that have what it waits for, or go first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub runs: Vec<String>,
    /// When it goes on, or must be ready.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
}

/// A run that came of another one's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Follower {
    pub id: String,
    pub job: String,
    /// retry, restart, next, error; after: it waited for this end and others; skipped: it was held for this run's good end.
    pub how: String,
    pub attempt: u32,
    pub state: String,
    pub outcome: Option<String>,
    /// How it stands, as people read it: `failed(1)`.
    pub words: String,
    pub created_at: String,
    pub ended_at: Option<String>,
    /// Of a waiting run: when it goes on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// after: the run whose end was the last that it waited for, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub with: Option<String>,
}

/// What follows from a run's end by the definitions in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outlook {
    /// never, on-failure, always.
    pub restart: String,
    /// Runs in all; absent: without end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tries: Option<u32>,
    /// So many in a row have failed: those before it, and itself when it has.
    pub failed_in_row: u32,
    /// It was the last of its tries, and failed.
    pub used_up: bool,
    /// Of a run that is not over: the attempt that would follow a bad end; absent: none would.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub again: Option<Again>,
    /// Of a service: alive until then, its attempts are counted anew.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub healthy_at: Option<String>,
    pub next: Vec<String>,
    pub error: Vec<String>,
    /// Jobs that run after it and others.
    pub joins: Vec<Join>,
    /// Runs that are held until its job is ready, or has ended ok.
    pub held: Vec<String>,
    /// Services that are restarted with it.
    pub restarted_with: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Again {
    pub attempt: u32,
    /// From the end of this run to the start of that one.
    pub delay_ms: u64,
}

/// A job with `after`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Join {
    pub job: String,
    /// all-ok, all-done, any.
    pub rule: String,
    /// All that its `after` names.
    pub of: Vec<String>,
    /// Those whose end is missing in the round as it stands.
    pub waits_for: Vec<String>,
}
