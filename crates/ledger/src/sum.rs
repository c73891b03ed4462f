//! The 64-bit sum that stands beside everything that is kept, because SQLite's pages have none.

/// FNV-1a. It tells a flipped, torn or misplaced record; it is no guard against malice, and need not be: who can write the
/// file is the user himself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) const fn new() -> Sum {
        Sum(0xcbf2_9ce4_8422_2325)
    }
    pub(crate) fn bytes(self, bytes: &[u8]) -> Sum {
        Sum(bytes.iter().fold(self.0, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)))
    }
    pub(crate) fn number(self, n: u64) -> Sum {
        self.bytes(&n.to_le_bytes())
    }
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
    /// As SQLite keeps it.
    pub(crate) const fn signed(self) -> i64 {
        self.0.cast_signed()
    }
}
