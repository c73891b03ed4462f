//! The system calls that no safe crate offers, and nothing else. Each `unsafe` block says why it is sound.
#![expect(unsafe_code, reason = "the one place for it")]

#[cfg(test)]
mod allocation;
pub mod arena;
mod child;
pub mod clone;
pub mod map;
pub mod misc;
pub mod origin;
pub mod pages;
pub mod process;
mod raw;
pub mod schedule;
pub mod wait;
