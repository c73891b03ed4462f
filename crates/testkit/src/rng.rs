//! Random numbers from a seed: the same seed, the same numbers, on every machine.

/// splitmix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

pub fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl Rng {
    pub const fn new(seed: u64) -> Rng {
        Rng(seed)
    }
    /// A stream of its own for each `part`, so that threads do not share one.
    pub fn part(seed: u64, part: u64) -> Rng {
        Rng(mix(seed ^ mix(part)))
    }
    /// Another seed each time, for those who gave none.
    pub fn fresh_seed() -> u64 {
        let mut bytes = [0; 8];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        assert_eq!(got, Ok(8), "the kernel gives eight random bytes");
        u64::from_le_bytes(bytes)
    }
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
    /// In `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.draw() % n }
    }
    /// In `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
    /// True in `percent` of 100.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
