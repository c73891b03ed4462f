//! How much of a disk stays free, whatever is kept on it.

use rustix::fs::StatVfs;

/// One part in so many,
const SHARE: u64 = 20;
/// but no more than this.
const MOST: u64 = 1 << 30;

/// Bytes that anybody may still write.
pub fn free(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

/// Below it kept output goes: 5 % of the disk, or 1 GiB where that is less.
pub fn floor(stat: &StatVfs) -> u64 {
    (stat.f_blocks.saturating_mul(stat.f_frsize) / SHARE).min(MOST)
}

pub fn is_scarce(stat: &StatVfs) -> bool {
    free(stat) < floor(stat)
}
