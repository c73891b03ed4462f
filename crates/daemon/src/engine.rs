//! The engine: one thread that owns the world and the ledger.

pub mod handle;
mod readers;

pub use handle::{Accepted, ChainInfo, Committed, Handle, Key, Link, Submit};
pub use readers::{PooledReader, Readers};

use kin_core::Time;
use kin_ledger::{Durability, Found, OpenError, Retention};
use std::io;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// What the engine is told at its start.
pub struct Config {
    /// `<state>`: kin.db, logs, left.
    pub state: PathBuf,
    /// `<run>`: run tables, their sockets, specs.
    pub run: PathBuf,
    /// `kin_keeper::boot::identity()`.
    pub boot: String,
    /// Of batches that hold a promise: `Normal` is `[kin] durability = "fast"`.
    pub durability: Durability,
    pub retention: Retention,
    /// Makes a new elder when both keepers are gone. Returns when it was spawned; the engine hears of it by itself.
    pub new_elder: Box<dyn Fn() -> io::Result<()> + Send>,
    /// The wall clock, by the daemon's one seam.
    pub clock: Box<dyn Fn() -> Time + Send>,
    /// This process came here by exec from the one before (`Ended::Upgrade`): now the keepers are told to do the same.
    pub upgraded: bool,
}

/// A started engine.
#[derive(Debug)]
pub struct Started {
    pub handle: Handle,
    /// What the ledger was found as: good, fresh, or set aside and rebuilt.
    pub found: Found,
    /// Says why the engine ended. Its thread is over then, and the ledger closed.
    pub ended: oneshot::Receiver<Ended>,
}

/// Why the engine ended.
#[derive(Debug)]
pub enum Ended {
    /// A shutdown, all of it done and recorded.
    Shutdown,
    /// Become this program, keeping the listening socket; all is recorded.
    Upgrade { program: PathBuf },
    /// It cannot go on; being started anew is the remedy. Nothing is lost.
    Failed { why: String },
}

/// Why no engine could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("could not {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Opens the ledger, recovers, and starts the engine's thread. Blocks until the ledger is open and its rows are loaded;
/// handles may be used at once.
pub fn start(_config: Config) -> Result<Started, StartError> {
    Err(StartError::Io { what: "start the engine".into(), source: io::ErrorKind::Unsupported.into() })
}

/// Everything that can reach the engine.
#[derive(Debug)]
pub(crate) enum Input {
    /// Somebody in the daemon wants something.
    Call(handle::Call),
}
