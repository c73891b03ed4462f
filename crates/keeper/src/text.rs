//! Short texts and small files without the heap: paths below /proc and /sys, and what stands in them.

use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;
use std::fmt;

/// A text of at most `N - 1` bytes that ends in NUL. Writing more fails and leaves what fits.
#[derive(Clone, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub const fn new() -> Text<N> {
        Text { bytes: [0; N], len: 0 }
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
    /// The text up to its first NUL.
    pub fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
    pub fn push_bytes(&mut self, bytes: &[u8]) -> fmt::Result {
        let end = self.len + bytes.len();
        if end >= N {
            return Err(fmt::Error);
        }
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Text::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push_bytes(s.as_bytes())
    }
}

/// The start of a file, as much as fits into `buffer`. One read is enough for the files of /proc and /sys meant here.
pub fn read_start<'a>(path: &CStr, buffer: &'a mut [u8]) -> rustix::io::Result<&'a [u8]> {
    read_start_at(rustix::fs::CWD, path, buffer)
}

/// As `read_start`, below a directory.
pub fn read_start_at<'a>(
    directory: impl rustix::fd::AsFd,
    path: &CStr,
    buffer: &'a mut [u8],
) -> rustix::io::Result<&'a [u8]> {
    let file = rustix::fs::openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let count = rustix::io::read(&file, &mut *buffer)?;
    Ok(&buffer[..count])
}

/// The decimal number at the start of `bytes`, blanks before it passed over.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.trim_ascii_start();
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = std::str::from_utf8(&bytes[..digits]).ok()?;
    text.parse().ok()
}

/// FNV-1a, 64 bits: for names and marks, not against an enemy.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn a_text_takes_what_fits_and_keeps_its_nul() {
        let mut text = Text::<8>::new();
        write!(text, "{}", 1234567).expect("fits");
        assert_eq!(text.as_cstr(), c"1234567");
        assert!(write!(text, "8").is_err());
        assert_eq!(text.as_bytes(), b"1234567");
    }

    #[test]
    fn a_number_ends_where_its_digits_end() {
        assert_eq!(number(b"  42\nx"), Some(42));
        assert_eq!(number(b"x"), None);
    }
}
