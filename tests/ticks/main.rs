//! Schedules through a real server: each instant once, whoever is killed and whatever is done to the clock.

mod clocks;
mod failures;
mod schedules;
mod support;
