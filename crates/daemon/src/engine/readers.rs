//! A pool of read-only connections to the ledger, for everybody but the engine.

use kin_ledger::{Footing, ReadError, Reader};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// More than that many idle connections are closed.
const IDLE: usize = 8;

#[derive(Debug)]
pub struct Readers {
    dir: PathBuf,
    footing: Footing,
    idle: Mutex<Vec<Reader>>,
}

/// A connection that goes back to its pool.
#[derive(Debug)]
pub struct PooledReader {
    /// Only `drop` takes it out.
    reader: Option<Reader>,
    pool: Arc<Readers>,
}

impl Readers {
    pub(super) fn new(dir: PathBuf, footing: Footing) -> Arc<Readers> {
        Arc::new(Readers { dir, footing, idle: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Readers>) -> Result<PooledReader, ReadError> {
        self.footing.look().map_err(|what| ReadError::Damage { what })?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = idle.map_or_else(|| Reader::open(&self.dir), Ok)?;
        Ok(PooledReader { reader: Some(reader), pool: Arc::clone(self) })
    }
}

impl std::ops::Deref for PooledReader {
    type Target = Reader;
    fn deref(&self) -> &Reader {
        self.reader.as_ref().expect("only drop takes the reader out")
    }
}

impl Drop for PooledReader {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push(reader);
            }
        }
    }
}
