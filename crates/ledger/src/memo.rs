//! A run as it was when it began, in one line of text: what stands beside it outside the ledger, so that it is known
//! again where its row is lost. What it runs, and where, is not in it: that stands there anyway.
//!
//! The text is its making and the body of its row in hexadecimal digits, with both of their sums.

use crate::making;
use crate::pack::{Packer, Unpacker};
use crate::row::Row;
use kin_core::{Run, RunNo, RunState};

/// The number of the job and of the making that no row has.
const NONE: i64 = 0;

/// As it stands now, but for its state: it reads as running.
pub fn memo(run: &Run) -> String {
    let state = RunState::Running { unowned: false, interrupted: false };
    let run = Run { command: Vec::new(), directory: String::new(), state, ..run.clone() };
    let making = making::pack(&run);
    let row = Row::pack(&run, NONE, NONE, making::sum(&making));
    let mut p = Packer::new();
    p.number(making.len() as u64);
    let bytes = [p.done(), making, row.body].concat();
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// What [`memo`] wrote of this run; `None`: of another, or it is damaged.
pub fn recall(text: &[u8], no: RunNo) -> Option<Run> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes: Vec<u8> =
        pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect::<Option<_>>()?;
    let mut u = Unpacker::new(&bytes);
    let len: usize = u.small()?;
    let (packed, body) = u.rest().split_at_checked(len).filter(|_| rest.is_empty())?;
    let row = Row { no, job: NONE, class: 0, body: body.to_vec() };
    row.unpack(&making::unpack(packed)?).ok()
}
