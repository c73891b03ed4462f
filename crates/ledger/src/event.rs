//! Events: what happened, numbered without gaps, so that a listener who comes back misses nothing.

use crate::Stage;
use kin_core::{Exit, Outcome, RunId, Time};

/// An event before it has its number.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub at: Time,
    /// `run.state`, `server.started`, …
    pub kind: String,
    pub run: Option<RunId>,
    pub change: Option<Change>,
    /// Words for people, where the kind has any.
    pub message: Option<String>,
}

/// A run's change of state.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `None`: the run is new.
    pub from: Option<Stage>,
    pub to: Stage,
    /// When `to` is `Ended`.
    pub outcome: Option<Outcome>,
    pub exit: Option<Exit>,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub seq: u64,
    pub at: Time,
    pub kind: String,
    pub run: Option<RunId>,
    pub change: Option<Change>,
    pub message: Option<String>,
}
