//! The memory: SQLite, and every query.
//!
//! One process writes, through one [`Ledger`]; anybody in it reads, through [`Reader`]s of their own. Nothing here reads a
//! clock, starts a thread or waits for anything but the disk.
//!
//! What holds, whatever dies and whatever breaks:
//!
//! 1. A batch is committed whole or not at all, and the next one may follow either way (write.rs).
//! 2. Events are numbered from 1 without gaps, also over a rebuilding.
//! 3. A run is shown as it was written, or named as damaged. Every row has a sum, and every answer checks it (row.rs).
//! 4. A ledger that was there is never taken for one that never was: damage is set aside, said, and what can be proven is
//!    carried over (open.rs, media.rs, salvage.rs).
//! 5. A file of a newer kin is not touched.
//! 6. Nothing is counted, sorted or scanned to fill a page (query.rs); forgetting goes in small slices (retain.rs).
#![forbid(unsafe_code)]

mod backup;
mod book;
mod bulk;
mod check;
mod class;
mod definition;
mod done;
mod error;
mod event;
mod footing;
mod key;
mod leave;
mod making;
mod mark;
mod media;
mod memo;
mod names;
mod open;
mod outcome;
mod pack;
mod period;
mod query;
mod read;
mod retain;
mod row;
mod salvage;
mod schema;
mod shelf;
mod standing;
mod sum;
mod tick;
mod write;

pub use class::{OutcomeKind, Stage};
pub use definition::{Definition, REVISIONS_KEPT, Source};
pub use error::{Damaged, Error, ReadError};
pub use event::{Change, Event, NewEvent};
pub use footing::Footing;
pub use key::KEY_KEPT_MS;
pub use mark::rebuilt;
pub use memo::{memo, recall};
pub use names::IdleNames;
pub use open::{BACKUP, DB, Found, Ledger, OpenError, Opened, REBUILT};
pub use query::{LOOKED_AT_MAX, OutcomeIs, Page, Query, StateIs};
pub use read::{Counters, Reader};
pub use retain::{Retention, SLICE_MAX, Swept};
pub use standing::QueueRow;
pub use tick::{TickPage, TickQuery};
pub use write::{Applied, Batch, Durability, NewDone, NewKey};
