//! Reading, beside the writer and never in its way.

use crate::{Event, OutcomeKind, Page, Query, ReadError};
use kin_core::{Run, RunNo};
use std::path::Path;

/// A read-only connection of its own. It may be sent to another thread, but not shared.
#[derive(Debug)]
pub struct Reader {}

/// How many there are. Kept, never counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    pub live: u64,
    pub events: u64,
    pub by_outcome: [(OutcomeKind, u64); 11],
}

impl Reader {
    pub fn open(dir: &Path) -> Result<Reader, ReadError> {
        todo!("{dir:?}")
    }
    /// `None`: no such run. A damaged row is an error, never a `None`.
    pub fn run(&self, no: RunNo) -> Result<Option<Run>, ReadError> {
        todo!("{no:?}")
    }
    pub fn runs(&self, query: &Query) -> Result<Page, ReadError> {
        todo!("{query:?}")
    }
    /// Every run that has not ended, newest first.
    pub fn live(&self) -> Result<Page, ReadError> {
        todo!()
    }
    /// At most `limit` events with a greater number, oldest first.
    pub fn events_after(&self, seq: u64, limit: u32) -> Result<Vec<Event>, ReadError> {
        todo!("{seq:?} {limit:?}")
    }
    /// At most `limit` events of one run, oldest first, as far as they are kept.
    pub fn events_of(&self, no: RunNo, limit: u32) -> Result<Vec<Event>, ReadError> {
        todo!("{no:?} {limit:?}")
    }
    /// The number of the newest event; 0 before the first.
    pub fn last_event(&self) -> Result<u64, ReadError> {
        todo!()
    }
    pub fn counters(&self) -> Result<Counters, ReadError> {
        todo!()
    }
    /// What is wrong, in words; empty when all is well.
    pub fn quick_check(&self) -> Result<Vec<String>, ReadError> {
        todo!()
    }
    pub fn backup_to(&self, path: &Path) -> Result<(), ReadError> {
        todo!("{path:?}")
    }
}
