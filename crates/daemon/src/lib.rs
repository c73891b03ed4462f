//! The hands: engine, recovery, output, HTTP.
#![forbid(unsafe_code)]

/// A line for `server.log`, or for the front's terminal. Nobody may end because it cannot speak (the disk below the log may
/// be full, the terminal gone), which is what `eprintln!` would do.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stderr().lock(), $($words)*));
    }};
}
pub(crate) use say;

mod apply;
pub mod clock;
pub mod daemon;
pub mod endings;
pub mod engine;
pub mod front;
pub mod helper;
pub mod http;
pub mod jobfiles;
pub mod makers;
pub mod output;
pub mod place;
pub mod probe;
mod probing;
mod seams;
pub mod stopping;
pub mod surroundings;
mod watching;
mod zonefiles;
