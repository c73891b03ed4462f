//! The voice: one typed client of `/v1`, over the unix socket below the state directory.
//!
//! ```text
//!   client.rs   the verbs, one method each          frames.rs   both streams of a run, exact over broken connections
//!   call.rs     one request, until it is answered   stream.rs   one stream of a run, byte for byte
//!   door.rs     the socket; starting a server       events.rs   what happens, as it happens
//!   hand.rs     descriptors and keystrokes          error.rs    what a caller can learn when it does not work
//!   jobs.rs     the verbs of jobs and queues        ticks.rs    instants that were decided, and those to come
//! ```
//! A request is repeated over a broken connection, with the same idempotency key, until it is answered or nobody has
//! answered for ten seconds. So the death of a daemon is a pause to a client, never an error and never a second run.
//!
//! One thread and one kept-alive connection; nothing is started before it is needed.
#![forbid(unsafe_code)]

mod call;
mod client;
mod door;
mod error;
mod events;
mod frames;
mod hand;
mod jobs;
mod projects;
mod stream;
mod ticks;

pub use client::{Client, Key, Page};
pub use door::{DaemonProcess, Start};
pub use error::Error;
pub use events::Events;
pub use frames::{AWAY, Follow, Offsets, Piece};
pub use hand::{HandKey, Keyboard};
pub use stream::{Chunk, Output, Stream};

pub use kin_api as api;

/// Runs one future to its end on this thread, with what the client needs of a runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let out = runtime.block_on(future);
    // A thread that is blocked on a terminal or a full pipe must not keep the program from ending.
    runtime.shutdown_background();
    Ok(out)
}
