//! Ticks: the instants at which jobs are due, those that were decided and those to come.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One instant of a schedule, and what was decided of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tick {
    pub job: String,
    /// The instant that the schedule names.
    pub at: String,
    pub decided_at: String,
    /// So long after its instant it was decided.
    pub late_ms: u64,
    /// run, caught-up, skipped-overlap, skipped-line-full, skipped-disabled, suppressed, paused, missed.
    pub decision: String,
    /// The run that it made; of a skipped one its record, if there is one.
    pub run: Option<String>,
    /// Of `skipped-overlap`: the run that lived. Not of ticks that were decided before kin recorded it; there
    /// `skipped-overlap` may also be what is `skipped-line-full` now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub live: Option<String>,
    /// Of `skipped-line-full`: so many runs waited, and no more may (`overlap_max`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<u32>,
    /// Which calendar said no.
    pub by: Option<String>,
    /// Of `missed`: how many there were in a row; of `caught-up`: for how many before it that were missed it stands, too.
    /// 1000 means 1000 or more.
    pub missed: Option<u64>,
    /// Of `missed`: the last of them.
    pub until: Option<String>,
    /// The job's `shift` has moved it here, or others to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moved: Option<Moved>,
}

/// What was due on days that do not count, and was moved to this instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moved {
    /// The first of them, by the clock of the schedule's zone: `2026-12-26 09:00:00`.
    pub from: String,
    /// How many landed here. 1000 means 1000 or more.
    pub count: u64,
    /// The calendar that does not count that day.
    pub calendar: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TickList {
    /// The last decision first.
    pub ticks: Vec<Tick>,
    /// There are more: `before` of the next page.
    pub next: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TickQuery {
    /// A job's name, or a glob of one.
    #[serde(default)]
    pub job: Option<String>,
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub before: Option<u64>,
}

/// An instant to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Due {
    pub job: String,
    /// The instant that the schedule names.
    pub at: String,
    /// What the schedule's clocks show then, with their offset.
    pub local: String,
    pub timezone: String,
    pub schedule: String,
    /// Its run begins then, unless something is in its way: later by the job's jitter. With a random jitter: then at the
    /// latest.
    pub begins_at: String,
    /// The delay is drawn when it is due.
    pub random: bool,
    /// What it has to do with a change of the clocks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// This calendar says no: nothing will be run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub calendar: Option<String>,
    /// The job's `shift` has moved it here, or others to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moved: Option<Moved>,
    /// The job is disabled: nothing will be run, unless it is enabled before.
    pub disabled: bool,
    /// The schedule is paused until after it: nothing will be run, unless the job is enabled before.
    pub paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DueList {
    /// The next one first.
    pub due: Vec<Due>,
    /// More than `limit` would have fitted.
    pub more: bool,
    /// Job files that do not hold as they are now: what they say is not in here.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stale_files: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DueQuery {
    /// A job's name, a glob of one, or `@tag`.
    #[serde(default)]
    pub job: Option<String>,
    #[serde(default)]
    pub within_ms: Option<u64>,
    #[serde(default)]
    pub limit: Option<u32>,
}

/// Either an expression, or a job whose own schedules are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    #[serde(default)]
    pub expression: Option<String>,
    #[serde(default)]
    pub job: Option<String>,
    #[serde(default)]
    pub timezone: Option<String>,
    #[serde(default)]
    pub dst: Option<String>,
    #[serde(default)]
    pub count: Option<u16>,
}
