//! Why a wish is refused: each a sentence that a person can read, and what to do instead.
//!
//! Wishes may be refused, facts may not. A refused wish changed nothing.

use crate::{Outcome, RunId, RunNo};
use alloc::string::{String, ToString};
use core::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No run has this number.
    Unknown { run: RunNo },
    /// What has ended can be neither stopped nor signalled.
    Ended { run: RunId, outcome: Outcome },
    /// There is no process yet that could take the signal.
    NotStarted { run: RunId },
    /// Its leader is dead; only others still hold its output.
    LeaderEnded { run: RunId },
    /// It was to run alone, and another run of its job lives.
    Overlap { live: RunId },
    /// A serial group with no place at all would never start anything.
    NoPlaces { group: String },
    /// The same idempotency key with other content.
    KeyReused { key: String, first: RunId },
    /// The request cannot become a run: what is wrong with it.
    Malformed { what: String },
    /// A keeper is alone just now; what was asked for needs both.
    Degraded,
    /// The server is ending.
    Closing,
    /// Nothing new is started while the disk is full.
    NoRoom { why: String },
    /// kin cannot promise it: the ledger or the runtime directory cannot be written.
    Unavailable { why: String },
}

impl Refusal {
    /// What to do instead, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Refusal::Unknown { .. } => "`kin log` lists the runs that kin remembers".to_string(),
            Refusal::NotStarted { .. } => "`kin stop` cancels a run that has not started".to_string(),
            Refusal::LeaderEnded { .. } => "`kin stop` ends what it left behind".to_string(),
            Refusal::Overlap { live } => {
                alloc::format!("wait for it with `kin wait {live}`, or end it with `kin stop {live}`")
            }
            Refusal::NoPlaces { .. } => "ask for at least one place".to_string(),
            Refusal::KeyReused { .. } => "use a new key for a new request".to_string(),
            Refusal::Degraded => "try again in a moment; `kin doctor` says when both keepers are there".to_string(),
            Refusal::Closing => "it will do it when it has been started again".to_string(),
            Refusal::NoRoom { .. } => "nothing was started; make room, then ask again".to_string(),
            Refusal::Unavailable { .. } => "nothing was done; `kin doctor` says what is wrong".to_string(),
            Refusal::Ended { .. } | Refusal::Malformed { .. } => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unknown { run } => write!(f, "there is no run {run}"),
            Refusal::Ended { run, outcome } => write!(f, "run {run} has ended already: {outcome}"),
            Refusal::NotStarted { run } => write!(f, "run {run} has not started yet, so there is nothing to signal"),
            Refusal::LeaderEnded { run } => {
                write!(f, "the process of run {run} has ended; others only hold its output")
            }
            Refusal::Overlap { live } => write!(f, "run {live} of the same job is not over yet"),
            Refusal::NoPlaces { group } => write!(f, "the serial group {group:?} would have no place at all"),
            Refusal::KeyReused { key, first } => {
                write!(f, "the idempotency key {key:?} was used for run {first}, with another request")
            }
            Refusal::Malformed { what } => f.write_str(what),
            Refusal::Degraded => f.write_str("one of the two keepers is alone just now"),
            Refusal::Closing => f.write_str("the server is ending"),
            Refusal::NoRoom { why } => write!(f, "nothing new is started now: {why}"),
            Refusal::Unavailable { why } => write!(f, "kin cannot promise it just now: {why}"),
        }
    }
}

impl core::error::Error for Refusal {}
