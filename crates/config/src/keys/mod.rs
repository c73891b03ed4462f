//! The tables of keys: all that a definition or a setting can say.

pub mod job;
pub mod kin;
pub mod records;
