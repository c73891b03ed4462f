//! The hands: engine, recovery, output, HTTP.
#![forbid(unsafe_code)]

pub mod clock;
pub mod endings;
pub mod engine;
pub mod http;
pub mod output;
pub mod place;
