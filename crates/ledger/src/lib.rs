//! The memory: SQLite, and every query.
//!
//! One process writes, through one [`Ledger`]; anybody in it reads, through [`Reader`]s of their own. Nothing here reads a
//! clock: the time is handed in.
#![forbid(unsafe_code)]

mod class;
mod error;
mod event;
mod open;
mod query;
mod read;
mod retain;
mod write;

pub use class::{OutcomeKind, Stage};
pub use error::{Damaged, Error, ReadError};
pub use event::{Change, Event, NewEvent};
pub use open::{Found, Ledger, OpenError, Opened};
pub use query::{OutcomeIs, Page, Query, StateIs};
pub use read::{Counters, Reader};
pub use retain::{Retention, Swept};
pub use write::{Applied, Batch, Durability, NewKey};
