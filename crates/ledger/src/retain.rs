//! Forgetting: old runs, events and keys, a small slice at a time, and never a run that lives.

use kin_core::RunId;

/// What may stay. `None` means no such limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Ended runs: so long after their end.
    pub max_age_ms: Option<u64>,
    /// Ended runs in all.
    pub max_count: Option<u64>,
    /// Runs of one job.
    pub per_job: Option<u64>,
    pub events_max_age_ms: Option<u64>,
    pub events_max_count: Option<u64>,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Their logs may go too.
    pub runs: Vec<RunId>,
    pub events: u64,
    pub keys: u64,
    /// There is more to sweep: come again soon.
    pub more: bool,
}
