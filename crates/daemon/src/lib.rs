//! The hands: engine, recovery, output, HTTP.
#![forbid(unsafe_code)]

pub mod clock;
pub mod daemon;
pub mod endings;
pub mod engine;
pub mod front;
pub mod http;
pub mod output;
pub mod place;
