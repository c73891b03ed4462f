//! Bytes that know their place: a loss, a repeat or a swap anywhere shows at the first wrong byte.

use crate::rng::mix;

/// The bytes `offset..offset + buf.len()` of the stream `which` of a seed. All 256 values, so also NUL and invalid UTF-8.
pub fn fill(seed: u64, which: u8, offset: u64, buf: &mut [u8]) {
    let key = mix(seed ^ (u64::from(which) << 56));
    let mut at = offset;
    let mut rest = buf;
    while !rest.is_empty() {
        let word = mix(key ^ (at / 8)).to_le_bytes();
        let from = (at % 8) as usize;
        let n = rest.len().min(8 - from);
        let (now, later) = rest.split_at_mut(n);
        now.copy_from_slice(&word[from..from + n]);
        rest = later;
        at += n as u64;
    }
}

pub fn bytes(seed: u64, which: u8, len: u64) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(len).expect("fits memory")];
    fill(seed, which, 0, &mut out);
    out
}

/// What is wrong with `got`, in words; `None` when it is the whole stream and nothing else.
pub fn wrong(seed: u64, which: u8, want_len: u64, got: &[u8]) -> Option<String> {
    let want = bytes(seed, which, want_len);
    if got == want {
        return None;
    }
    let same = got.iter().zip(&want).take_while(|(a, b)| a == b).count();
    Some(format!("{} bytes instead of {want_len}; the first {same} are right{}", got.len(), shifted(&want, got, same)))
}

/// Where the bytes after the first wrong one belong, if they are of the stream at all: tells a loss from a repeat.
fn shifted(want: &[u8], got: &[u8], same: usize) -> String {
    let Some(probe) = got.get(same..same + 16) else { return String::new() };
    match want.windows(16).position(|w| w == probe) {
        Some(at) if at > same => format!(", then {} are missing", at - same),
        Some(at) => format!(", then {} are repeated", same - at),
        None => String::from(", then come bytes of something else"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_is_that_of_the_whole() {
        let whole = bytes(7, 0, 100);
        for (from, to) in [(0, 100), (3, 5), (7, 9), (8, 16), (99, 100)] {
            let mut piece = vec![0; to - from];
            fill(7, 0, from as u64, &mut piece);
            assert_eq!(piece, whole[from..to]);
        }
        assert_ne!(whole, bytes(7, 1, 100));
    }

    #[test]
    fn a_loss_and_a_repeat_are_told_apart() {
        let whole = bytes(7, 0, 200);
        assert_eq!(wrong(7, 0, 200, &whole), None);
        let lost: Vec<u8> = whole[..50].iter().chain(&whole[60..]).copied().collect();
        assert!(wrong(7, 0, 200, &lost).is_some_and(|w| w.contains("10 are missing")), "a loss");
        let twice: Vec<u8> = whole[..50].iter().chain(&whole[30..]).copied().collect();
        assert!(wrong(7, 0, 200, &twice).is_some_and(|w| w.contains("20 are repeated")), "a repeat");
    }
}
