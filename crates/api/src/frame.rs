//! Both streams of a run in one answer: `GET /v1/runs/{id}/output?stream=both`, `application/vnd.kin.frames`.
//!
//! Each frame is `u8 kind, u8 0, u16 0, u32 length, u64 offset`, little-endian, then `length` bytes. `offset` is where in
//! the stream these bytes lie, so that a client whose connection broke asks again from where it was.

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Out = 0,
    Err = 1,
    /// Bytes that are not there: `offset` is where. The payload is a u64 (so many offsets are passed over: bytes that
    /// were kept and removed later), a u8 stream, and a u64 (so many bytes were never kept, and have no offsets).
    Gap = 2,
    /// Nothing more will come: the payload is the run as JSON.
    End = 9,
}

pub const HEAD: usize = 16;
/// The payload of a gap.
pub const GAP: u32 = 17;
/// No frame is longer; a longer one means that the connection carries something else.
pub const MAX: u32 = 1 << 20;
/// But the last: a run's command may be as long as a request, and each of its bytes six in JSON.
pub const END_MAX: u32 = 32 << 20;

pub fn head(kind: Kind, offset: u64, len: u32) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[0] = kind as u8;
    out[4..8].copy_from_slice(&len.to_le_bytes());
    out[8..16].copy_from_slice(&offset.to_le_bytes());
    out
}

/// Kind, offset and length; `None` for anything that is not a frame's head.
pub fn parse_head(bytes: &[u8; HEAD]) -> Option<(Kind, u64, u32)> {
    let kind = match bytes[0] {
        0 => Kind::Out,
        1 => Kind::Err,
        2 => Kind::Gap,
        9 => Kind::End,
        _ => return None,
    };
    let mut len = [0; 4];
    len.copy_from_slice(&bytes[4..8]);
    let mut offset = [0; 8];
    offset.copy_from_slice(&bytes[8..16]);
    let len = u32::from_le_bytes(len);
    let most = if kind == Kind::End { END_MAX } else { MAX };
    (len <= most).then(|| (kind, u64::from_le_bytes(offset), len))
}
