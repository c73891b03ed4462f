//! The hands: engine, recovery, output, HTTP.
#![forbid(unsafe_code)]

pub mod engine;
pub mod output;
pub mod place;
