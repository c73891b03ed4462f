//! Random worlds, by a seed: jobs that need each other, people who change their minds, a daemon that dies between any two
//! effects, a disk that refuses, clocks that are set, machines that are restarted. After each commit a judge who knows the
//! rules only from their words looks at all that is recorded.
//!
//! What the keepers do to each other is not here (tests/simulation.rs has that): here there is one, which does what it is
//! told. Schedules are made from their meaning, in zones whose clocks change at night or as no government would have it; the
//! judge writes down each instant and what is to become of it. `cargo xtask sim` lives through years of this; a short piece is in the tests of this crate. A seed that fails
//! fails again.

mod almanac;
mod clients;
mod dice;
mod host;
mod jobs;
mod judge;
#[cfg(test)]
mod tests;
mod ticking;
mod times;

pub use crate::world::Mutant;
use std::string::String;

/// What a life came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Nanoseconds that passed in it.
    pub passed: i64,
    pub runs: u64,
    pub commits: u64,
    pub deaths: u64,
    pub refusals: u64,
    /// Decisions about ticks.
    pub ticks: u64,
}

/// One world from its beginning to its end. `Err`: what it did that no rule allows.
pub fn live(seed: u64, mutant: Option<Mutant>, talk: bool) -> Result<Told, String> {
    let mut host = host::Host::new(seed, mutant, talk);
    host.live_on()?;
    host.calm_down()?;
    Ok(host.told)
}
