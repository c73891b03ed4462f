//! The almanac: the proof that kin's schedules are right, for all zones and decades.
//!
//! [`walk`] says when a schedule is due by going through the minutes one by one, and asking another library what clocks show.
//! It is slow and short, and shares nothing with kin: neither its parser (the [`expression`]s are made as data, with the text
//! beside them), nor its calendar, nor its zones. [`compare`] puts kin's answer next to it.

pub mod compare;
pub mod expression;
pub mod walk;
pub mod zones;

pub use compare::{Proof, Report, prove};
