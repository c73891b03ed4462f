//! Writing: one batch, one transaction.

use crate::NewEvent;
use kin_core::{Run, RunNo, Time};
use std::ops::Range;

/// What is committed together.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// Each in full; a run that is there already is replaced.
    pub runs: Vec<&'a Run>,
    pub events: Vec<NewEvent>,
    pub keys: Vec<NewKey>,
    /// Run numbers up to this one may be given out from now on.
    pub mint_reserved: Option<u64>,
}

/// A request's idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    pub key: String,
    /// A sum of the request's content: the same key with another one is a conflict.
    pub content: u64,
    pub run: RunNo,
    pub at: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk when `apply` returns; a power cut takes nothing back.
    Full,
    /// Safe from any death of a process; a power cut may take the last commits back.
    Normal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The numbers of the batch's events, in their order; `seqs.end - 1` is the newest event now.
    pub seqs: Range<u64>,
}
