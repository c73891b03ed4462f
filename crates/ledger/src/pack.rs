//! Numbers and texts in few bytes: seven bits a byte, the lowest first, the top bit says that more follow.

use crate::sum::Sum;

#[derive(Debug, Default)]
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    pub(crate) fn new() -> Packer {
        Packer(Vec::with_capacity(64))
    }
    pub(crate) fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    /// Small in few bytes on both sides of zero.
    pub(crate) fn signed(&mut self, n: i64) {
        self.number(((n << 1) ^ (n >> 63)).cast_unsigned());
    }
    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }
    /// Zeros up to this length, which a reader that knows what it wants never looks at.
    pub(crate) fn pad_to(&mut self, len: usize) {
        if self.0.len() < len {
            self.0.resize(len, 0);
        }
    }
    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
    /// With the sum over `seed` and all before it as the last eight bytes.
    pub(crate) fn sealed(mut self, seed: Sum) -> Vec<u8> {
        let sum = seed.bytes(&self.0).get();
        self.0.extend_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// `None` from any method: there is less than was promised.
#[derive(Debug)]
pub(crate) struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Unpacker<'a> {
        Unpacker(bytes)
    }
    /// What was sealed with `seed`; `None` when the sum says otherwise.
    pub(crate) fn unseal(bytes: &'a [u8], seed: Sum) -> Option<Unpacker<'a>> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        (seed.bytes(body).get() == u64::from_le_bytes(*sum)).then_some(Unpacker(body))
    }
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(first & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if first & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let n = self.number()?;
        Some((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }
    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let len = self.small()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(n: u64, s: i64, text in "\\PC{0,40}") {
            let mut packer = Packer::new();
            packer.number(n);
            packer.signed(s);
            packer.text(&text);
            let sealed = packer.sealed(Sum::new());
            let mut unpacker = Unpacker::unseal(&sealed, Sum::new()).expect("its own seal");
            prop_assert_eq!(unpacker.number(), Some(n));
            prop_assert_eq!(unpacker.signed(), Some(s));
            prop_assert_eq!(unpacker.text(), Some(text.as_str()));
            prop_assert_eq!(unpacker.number(), None);
        }

        #[test]
        fn any_flipped_byte_breaks_the_seal(bytes: Vec<u8>, at: proptest::sample::Index, flip in 1u8..) {
            let mut packer = Packer::new();
            bytes.iter().for_each(|b| packer.number(u64::from(*b)));
            let mut sealed = packer.sealed(Sum::new());
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert!(Unpacker::unseal(&sealed, Sum::new()).is_none());
        }

        #[test]
        fn noise_is_refused_and_never_a_panic(bytes: Vec<u8>) {
            let mut unpacker = Unpacker::new(&bytes);
            while unpacker.number().is_some() {}
            let mut unpacker = Unpacker::new(&bytes);
            while unpacker.text().is_some() {}
        }
    }
}
