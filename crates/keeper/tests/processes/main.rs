//! The system-call modules with real processes, one test a promise.

mod spawn;
mod support;
mod wait;
