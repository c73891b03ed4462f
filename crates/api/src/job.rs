//! Jobs: what is defined, how it stands, and what may be asked of it; queues beside them.

use crate::Run;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A job as it stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    pub name: String,
    pub description: String,
    /// service, task.
    pub kind: String,
    pub source: Source,
    /// Its file does not hold as it is now (`kin check` says why): this is what it said when it was good.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub stale: bool,
    /// Why it does not: the first of its mistakes, or what it clashes with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stale_because: Option<String>,
    /// The revision of its definition that is in force.
    pub rev: u64,
    /// A revision that did not become ready, because of which the one before it is in force again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed_rev: Option<u64>,
    /// By hand or by its definition.
    pub disabled: bool,
    /// Its schedule begins nothing before.
    pub paused_until: Option<String>,
    /// Of a service: it is to be there.
    pub up: bool,
    /// Its definition is gone; it goes when its runs have ended.
    pub removed: bool,
    /// Of a service: so many slots.
    pub instances: u32,
    /// That number was said by hand (`kin scale`), over what the definition says.
    #[serde(default)]
    pub scaled: bool,
    /// In a word: ready, running, starting, waiting, held, stopping, down, gave-up, idle, disabled.
    pub state: String,
    /// `state` in words: what it waits for, why it gave up, until when.
    pub reason: Option<String>,
    /// What it runs, for people.
    pub command: Vec<String>,
    pub schedule: Vec<String>,
    pub tags: Vec<String>,
    /// Its live runs, by slot.
    pub runs: Vec<Run>,
    /// The run that ended last, of those that were not skipped or cancelled before they began.
    pub last: Option<Run>,
    /// The next instant of its schedules that is run: one that its calendars allow, and not before a pause is over. Null while
    /// it is disabled, and where there is none in the next ten years.
    pub next_at: Option<String>,
    /// Why a job with a schedule is due at no time to come; `reason` has it in words. Null while there is one, and of `@reboot`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub never: Option<Never>,
}

/// Why a job that has a schedule is due at no time to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Never {
    /// Its calendars forbid all of it, for ten years to come.
    Calendars,
    /// The zone that it goes by is not known.
    NoZone,
    /// All of its instants are over.
    Over,
    /// Clocks skip the one time at which it is due, and `dst = "skip"` leaves it out.
    Skipped,
    /// Its schedule cannot be followed.
    Unreadable,
}

impl Never {
    /// For a table.
    pub const fn words(self) -> &'static str {
        match self {
            Never::Calendars => "calendars",
            Never::NoZone => "no zone",
            Never::Over => "over",
            Never::Skipped => "skipped by clocks",
            Never::Unreadable => "see why",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    File {
        path: String,
    },
    /// `by`: as `uid:1000`.
    Api {
        by: String,
    },
    /// `kin up`, from that file.
    Project {
        project: String,
        path: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    pub jobs: Vec<Job>,
    /// Job files that do not hold as they are now: of each the last good jobs do, or none at all.
    #[serde(default)]
    pub stale_files: Vec<String>,
}

/// Which jobs: every one whose name, glob or `@tag` is named; all when nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobQuery {
    #[serde(default)]
    pub name: Option<String>,
}

/// A revision of a job's definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Definition {
    pub job: String,
    pub rev: u64,
    pub at: String,
    pub source: Source,
    /// As its file would say it, whole; null: it was taken away.
    pub text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Definitions {
    pub definitions: Vec<Definition>,
}

/// A definition by request: TOML, as the keys of one job's table would stand in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineRequest {
    pub text: String,
}

/// One run of a defined job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRunRequest {
    /// Over what its definition says. Never stored.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Says what would be run, and runs nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a run of the job would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRun {
    pub job: String,
    pub rev: u64,
    pub argv: Vec<String>,
    pub directory: String,
    /// Names only: values may be secrets.
    pub env: Vec<String>,
    pub user: Option<String>,
    /// What it would wait for now, if anything: latch, needs, places.
    pub waits: Vec<String>,
    /// Why there would be none now: refused, or skipped.
    #[serde(default)]
    pub refused: Option<String>,
    /// What its definition asks for and could not be kept here; `best_effort` would let it begin without.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// One instance after the other, each once the one before is ready; null: as the definition says.
    #[serde(default)]
    pub rolling: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableRequest {
    /// Only its schedule, and only until then (RFC 3339); by hand it may be run.
    #[serde(default)]
    pub until: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    pub instances: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Says what would change, and changes nothing.
    #[serde(default)]
    pub plan: bool,
}

/// What a reading of the job files means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reload {
    pub applied: bool,
    pub steps: Vec<PlanStep>,
    /// Files with errors keep their last good jobs.
    pub mistakes: Vec<Mistake>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    pub job: String,
    /// add, change, remove; of a project also start: the same as before, and not up.
    pub what: String,
    /// start, restart, stop, at-once, next-run, stored.
    pub follows: String,
    /// Of a change: the keys that differ.
    pub keys: Vec<String>,
}

/// Something wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// error, or warning: what holds all the same.
    pub severity: String,
    pub file: String,
    /// From 1 on; null: the whole file.
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub message: String,
    pub hint: Option<String>,
    /// Message, source line and caret, as `kin check` prints them.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    pub name: String,
    pub paused: bool,
    /// By resource; `slots` is the number of runs at once.
    pub slots: BTreeMap<String, u32>,
    pub taken: BTreeMap<String, u32>,
    /// Run ids that hold a place.
    pub running: Vec<String>,
    /// Run ids that wait, the next one first.
    pub waiting: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueList {
    pub queues: Vec<Queue>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueRequest {
    #[serde(default)]
    pub paused: Option<bool>,
    #[serde(default)]
    pub slots: Option<BTreeMap<String, u32>>,
}
