//! The witness: the two small processes that own children and pipes.
//!
//! An *elder* and a *keeper*, each a subreaper, one thread, no runtime, no allocation once started. Whatever dies, the
//! other goes on: the elder holds a duplicate of every pipe and maps the keeper's run table; the keeper inherits all that
//! the elder serves. What they write down, and in which order, is in `table`; what they say to the daemon is in `wire`.
//!
//! Everything `unsafe` is in `sys`.
#![deny(unsafe_code)]

pub mod index;
pub mod spec;
pub mod sys;
pub mod table;
pub mod wire;

/// Elder or keeper, by its arguments. Stands in until the real one is merged.
pub fn main(args: &[std::ffi::OsString]) -> std::process::ExitCode {
    eprintln!("kin: no keeper yet: {args:?}");
    std::process::ExitCode::from(1)
}
