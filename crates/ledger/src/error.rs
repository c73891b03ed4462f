//! What can go wrong between the ledger and its disk: a full disk, damage, the rest.

use kin_core::RunNo;

/// A run whose row is there and not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of run {no} is damaged: {why}")]
pub struct Damaged {
    pub no: RunNo,
    pub why: &'static str,
}

/// Why nothing was written. Nothing is half applied, and the same ledger may be used again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the disk is full")]
    Full(#[source] rusqlite::Error),
    #[error("the ledger is damaged: {what}")]
    Damage { what: String },
    /// The key stands for another run already; ask [`crate::Ledger::key`] first.
    #[error("the idempotency key {key:?} is in use already")]
    KeyTaken { key: String },
    #[error("the ledger could not be written")]
    Sqlite(#[source] rusqlite::Error),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("the ledger is damaged: {what}")]
    Damage { what: String },
    #[error("the ledger could not be read")]
    Sqlite(#[source] rusqlite::Error),
}
