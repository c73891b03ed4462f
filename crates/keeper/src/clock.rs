//! The two clocks: the wall's for what people read, the monotonic one for deadlines that any process of this boot shares.

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    (t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64)
}

/// Unix ns.
pub fn wall() -> u64 {
    read(ClockId::Realtime)
}

/// Monotonic ns. Never zero, so that zero can mean "no deadline".
pub fn mono() -> u64 {
    read(ClockId::Monotonic).max(1)
}

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
