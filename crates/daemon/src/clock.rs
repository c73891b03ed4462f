//! The daemon's one clock. A test build may shift it: `KIN_TEST_CLOCK` says by how many seconds.

use kin_core::Time;
use std::time::SystemTime;

/// The wall clock now.
pub fn now() -> Time {
    let since = SystemTime::UNIX_EPOCH.elapsed().map_or_else(
        |before| -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        |after| i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
    );
    Time(since).plus(shift())
}

#[cfg(debug_assertions)]
fn shift() -> i64 {
    static SHIFT: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *SHIFT.get_or_init(|| {
        let seconds = std::env::var("KIN_TEST_CLOCK").ok().and_then(|text| text.trim().parse::<i64>().ok());
        seconds.unwrap_or(0).saturating_mul(1_000_000_000)
    })
}

#[cfg(not(debug_assertions))]
const fn shift() -> i64 {
    0
}
