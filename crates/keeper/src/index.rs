//! The time index of a run's output (`<run id>.idx`), and the end record in it.
//!
//! Entries of 16 bytes: when a stream had grown to which length. A run's end appends one record of 64 bytes, which is
//! what a lost ledger is rebuilt from. All little-endian.
//!
//! ```text
//!   entry  u64 (unix µs << 2 | kind)   u64 end offset        kind: 0 out, 1 err, 2 gap, 3 end record begins
//!   gap    u64 (bytes dropped << 2 | 2)  u64 (offset << 1 | stream)
//!   end    u64 (ended unix µs << 2 | 3)  u64 run   u64 started unix µs   u64 out bytes   u64 err bytes
//!          u32 kind of exit (0 code, 1 signal, 2 spawn failed, 3 signal with core), i32 code or signal or errno
//!          u32 flags (the slot's)  u32 spawn step   u64 sum over the 56 bytes before
//! ```

pub const ENTRY: usize = 16;
pub const END: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out = 0,
    Err = 1,
}

/// One thing an index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// At that time the stream had that many bytes.
    Grew {
        stream: Stream,
        at_us: u64,
        end: u64,
    },
    /// At that offset so many bytes were not kept.
    Gap {
        stream: Stream,
        offset: u64,
        dropped: u64,
    },
    End(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub run: u64,
    pub started_us: u64,
    pub ended_us: u64,
    pub out_bytes: u64,
    pub err_bytes: u64,
    pub exit: EndExit,
    pub flags: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndExit {
    Code(i32),
    Signal { signal: i32, core: bool },
    SpawnFailed { step: u32, errno: i32 },
}

pub fn grew(stream: Stream, at_us: u64, end: u64) -> [u8; ENTRY] {
    pair(at_us << 2 | stream as u64, end)
}

pub fn gap(stream: Stream, offset: u64, dropped: u64) -> [u8; ENTRY] {
    pair(dropped << 2 | 2, offset << 1 | stream as u64)
}

fn pair(a: u64, b: u64) -> [u8; ENTRY] {
    let mut out = [0; ENTRY];
    out[..8].copy_from_slice(&a.to_le_bytes());
    out[8..].copy_from_slice(&b.to_le_bytes());
    out
}

pub fn end(end: &End) -> [u8; END] {
    let (kind, value, step) = match end.exit {
        EndExit::Code(code) => (0u32, code, 0),
        EndExit::Signal { signal, core } => (if core { 3 } else { 1 }, signal, 0),
        EndExit::SpawnFailed { step, errno } => (2, errno, step),
    };
    let mut out = [0; END];
    for (i, long) in
        [end.ended_us << 2 | 3, end.run, end.started_us, end.out_bytes, end.err_bytes].into_iter().enumerate()
    {
        out[8 * i..8 * i + 8].copy_from_slice(&long.to_le_bytes());
    }
    for (i, word) in [kind, value as u32, end.flags, step].into_iter().enumerate() {
        out[40 + 4 * i..44 + 4 * i].copy_from_slice(&word.to_le_bytes());
    }
    let sum = sum(&out[..56]);
    out[56..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// FNV-1a: enough to tell a torn or flipped record, and nothing to link.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// Reads an index from its start. Stops at a torn tail or a record whose sum is wrong.
pub fn items(bytes: &[u8]) -> impl Iterator<Item = Item> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let long = |i: usize| rest.get(8 * i..8 * i + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (a, b) = (long(0)?, long(1)?);
        let stream = |bit: u64| if bit & 1 == 0 { Stream::Out } else { Stream::Err };
        let item = match a & 3 {
            0 | 1 => Item::Grew { stream: stream(a), at_us: a >> 2, end: b },
            2 => Item::Gap { stream: stream(b), offset: b >> 1, dropped: a >> 2 },
            _ => {
                let record = rest.get(..END)?;
                let word = |i: usize| {
                    record.get(40 + 4 * i..44 + 4 * i).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
                };
                if long(7)? != sum(&record[..56]) {
                    return None;
                }
                let value = word(1)? as i32;
                let exit = match word(0)? {
                    0 => EndExit::Code(value),
                    1 => EndExit::Signal { signal: value, core: false },
                    2 => EndExit::SpawnFailed { step: word(3)?, errno: value },
                    3 => EndExit::Signal { signal: value, core: true },
                    _ => return None,
                };
                Item::End(End {
                    run: b,
                    started_us: long(2)?,
                    ended_us: a >> 2,
                    out_bytes: long(3)?,
                    err_bytes: long(4)?,
                    exit,
                    flags: word(2)?,
                })
            }
        };
        rest = rest.get(if matches!(item, Item::End(_)) { END } else { ENTRY }..)?;
        Some(item)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_index_reads_back_and_stops_at_a_torn_tail() {
        let last = End {
            run: 5,
            started_us: 10,
            ended_us: 99,
            out_bytes: 3,
            err_bytes: 0,
            exit: EndExit::SpawnFailed { step: 10, errno: 2 },
            flags: 1,
        };
        let mut bytes = Vec::new();
        bytes.extend(grew(Stream::Out, 50, 3));
        bytes.extend(gap(Stream::Err, 7, 9));
        bytes.extend(end(&last));
        let want = [
            Item::Grew { stream: Stream::Out, at_us: 50, end: 3 },
            Item::Gap { stream: Stream::Err, offset: 7, dropped: 9 },
            Item::End(last),
        ];
        assert_eq!(items(&bytes).collect::<Vec<_>>(), want);
        assert_eq!(items(&bytes[..bytes.len() - 1]).count(), 2);
        bytes[40] ^= 1;
        assert_eq!(items(&bytes).count(), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _count = items(&bytes).count();
        }
    }
}
