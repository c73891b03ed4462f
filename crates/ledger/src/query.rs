//! Listings: which runs, newest first, a page at a time.

use crate::{Damaged, OutcomeKind, Stage};
use kin_core::{Run, RunNo, Time};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A job's name, or a glob of one (`*`, `?`, `[…]`).
    pub job: Option<String>,
    pub state: Option<StateIs>,
    pub outcome: Option<OutcomeIs>,
    pub tag: Option<String>,
    /// Created at or after.
    pub since: Option<Time>,
    /// Created before.
    pub until: Option<Time>,
    /// At most so many; 0 means 50, and more than 10,000 means 10,000.
    pub limit: u32,
    /// Only runs with a smaller number: the `next` of the page before.
    pub before: Option<RunNo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateIs {
    Live,
    Ended,
    Stage(Stage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeIs {
    /// Any that [`kin_core::Outcome::is_failure`] counts as one.
    Failure,
    Kind(OutcomeKind),
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first.
    pub runs: Vec<Run>,
    /// Runs that belong here as far as can be told, but whose record is damaged.
    pub damaged: Vec<Damaged>,
    /// Where to go on; `None` after the last. A page may be short and still have a `next`: the ledger looks at so many
    /// rows for one page and no more.
    pub next: Option<RunNo>,
}
