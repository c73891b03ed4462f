//! Many runs at once, for the bench and for rebuilding.

use crate::row::progress;
use crate::{Durability, Error, Ledger};
use kin_core::Run;

/// Runs in one transaction.
const SLICE: usize = 10_000;

impl Ledger {
    /// For `xtask bench`: runs that are known to be new, as fast as they go; how many. No events, no keys.
    pub fn bulk_insert(&mut self, mut runs: impl Iterator<Item = Run>) -> Result<u64, Error> {
        self.shelf.conn.pragma_update(None, "cache_size", -65_536)?;
        let mut done = 0;
        loop {
            let added = self.transact(Durability::Normal, |work| {
                let mut added = 0;
                for run in runs.by_ref().take(SLICE) {
                    work.add(&run)?;
                    added += 1;
                }
                Ok(added)
            })?;
            done += added;
            if added < SLICE as u64 {
                break;
            }
        }
        self.shelf.conn.pragma_update(None, "cache_size", -4096)?;
        Ok(done)
    }

    /// After [`crate::Found::SetAside`]: runs as their index's end record tells of them; how many made a difference.
    ///
    /// A run that is not here is added. One that is here and has ended stays as it is. One that is here and was alive when
    /// the ledger was last true is given the end, and keeps all that the record does not know.
    pub fn insert_rebuilt(&mut self, runs: &[Run]) -> Result<u64, Error> {
        let mut done = 0;
        for slice in runs.chunks(1_000) {
            done += self.transact(Durability::Full, |work| {
                let mut changed = 0;
                for rebuilt in slice {
                    match work.shelf.fetch(rebuilt.no)? {
                        None | Some(Err(_)) => work.put(rebuilt)?,
                        Some(Ok(known)) if progress(&known) >= progress(rebuilt) => continue,
                        Some(Ok(known)) => work.put(&ended(known, rebuilt))?,
                    }
                    changed += 1;
                }
                Ok(changed)
            })?;
        }
        Ok(done)
    }
}

fn ended(known: Run, rebuilt: &Run) -> Run {
    Run {
        state: rebuilt.state.clone(),
        exit: rebuilt.exit,
        started_at: rebuilt.started_at.or(known.started_at),
        ended_at: rebuilt.ended_at,
        out_bytes: rebuilt.out_bytes.max(known.out_bytes),
        err_bytes: rebuilt.err_bytes.max(known.err_bytes),
        out_dropped: rebuilt.out_dropped.max(known.out_dropped),
        err_dropped: rebuilt.err_dropped.max(known.err_dropped),
        ..known
    }
}
