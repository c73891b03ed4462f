//! The ledger as the daemon sees it, and as a broken disk leaves it.

mod counting;
mod damage;
mod defining;
mod disk;
mod history;
mod killing;
mod listing;
mod rebuilding;
mod runs;
mod size;
mod standing;
mod sweeping;
mod ticking;
mod versions;
