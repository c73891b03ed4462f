//! The witness: the two small processes that own children and pipes.
//!
//! An *elder* and a *keeper*, each a subreaper, one thread, no runtime, no allocation once started. Whatever dies, the
//! other goes on: the elder holds a duplicate of every pipe and maps the keeper's run table; the keeper inherits all that
//! the elder serves. What they write down, and in which order, is in `table`; what they say to the daemon is in `wire`.
//!
//! Everything `unsafe` is in `sys`.
#![deny(unsafe_code)]

pub mod abandoned;
mod backup;
pub mod boot;
mod byhand;
pub mod cgroup;
mod chain;
pub mod clock;
mod conn;
mod daemon;
mod dropped;
pub mod fault;
mod generation;
mod hand;
pub mod index;
mod keeper;
mod leader;
mod leftovers;
mod live;
pub mod locality;
mod logs;
pub mod output;
mod over;
mod place;
pub mod pty;
pub mod room;
mod serve;
pub mod spawn;
pub mod spec;
mod stand;
mod start;
mod stop;
pub mod sys;
pub mod table;
pub mod text;
mod token;
pub mod tree;
mod typing;
mod upgrade;
mod vanish;
mod watch;
pub mod wire;

pub use byhand::splices;
pub use daemon::{CLOSED, NO_ROOM};
pub use stand::{NO_CGROUPS, main};
pub use vanish::MADE_AGAIN;

/// A line for `server.log`, which is where our standard error goes. A keeper must never end because it cannot speak.
fn say(what: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let mut line = std::io::stderr().lock();
    drop(writeln!(line, "kin keep[{}]: {what}", std::process::id()));
}
