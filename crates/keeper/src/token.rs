//! What an epoll event is about, packed into its 64 bits.
//!
//! Closing a descriptor does not take it out of an epoll while another process holds a duplicate, so a stale event may
//! come for a place that is long used by another. `check` tells: it is the low bits of the run's number, or a serial.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Somebody connects to a generation's socket.
    Listener {
        generation: u16,
    },
    /// A daemon, front or watcher speaks.
    Conn {
        at: u16,
        check: u32,
    },
    /// The leader of a run ended.
    Exit {
        generation: u16,
        slot: u16,
        check: u32,
    },
    /// A run's first stream (or its terminal) has something.
    Out {
        generation: u16,
        slot: u16,
        check: u32,
    },
    Err {
        generation: u16,
        slot: u16,
        check: u32,
    },
    /// Somebody connects to `hand.sock`.
    Hand,
    HandConn {
        at: u16,
        check: u32,
    },
    /// The elder died.
    Elder,
    /// The keeper we made died.
    Younger {
        check: u32,
    },
    /// The daemon died.
    Daemon {
        check: u32,
    },
    /// There are backups to take from the socket.
    Kick,
    /// A child changed: perhaps a stranger's zombie.
    Children,
    /// The runtime directory changed.
    Place,
    /// A run's terminal has room for what was typed.
    Typed {
        generation: u16,
        slot: u16,
        check: u32,
    },
    /// The cgroup of an ended run changed: perhaps it is empty.
    Leftover,
    /// The elder let go of something that we hold a duplicate of.
    Nudge,
}

const MASK: u32 = 0xff_ffff;

fn pack(kind: u8, generation: u16, at: u16, check: u32) -> u64 {
    u64::from(kind) << 56 | u64::from(generation) << 40 | u64::from(at) << 24 | u64::from(check & MASK)
}

impl Token {
    pub(crate) fn encode(self) -> u64 {
        match self {
            Token::Listener { generation } => pack(1, generation, 0, 0),
            Token::Conn { at, check } => pack(2, 0, at, check),
            Token::Exit { generation, slot, check } => pack(3, generation, slot, check),
            Token::Out { generation, slot, check } => pack(4, generation, slot, check),
            Token::Err { generation, slot, check } => pack(5, generation, slot, check),
            Token::Hand => pack(6, 0, 0, 0),
            Token::HandConn { at, check } => pack(7, 0, at, check),
            Token::Elder => pack(8, 0, 0, 0),
            Token::Younger { check } => pack(9, 0, 0, check),
            Token::Daemon { check } => pack(10, 0, 0, check),
            Token::Kick => pack(11, 0, 0, 0),
            Token::Children => pack(12, 0, 0, 0),
            Token::Place => pack(13, 0, 0, 0),
            Token::Nudge => pack(14, 0, 0, 0),
            Token::Leftover => pack(16, 0, 0, 0),
            Token::Typed { generation, slot, check } => pack(15, generation, slot, check),
        }
    }

    pub(crate) fn decode(bits: u64) -> Option<Token> {
        let (generation, at, check) = ((bits >> 40) as u16, (bits >> 24) as u16, bits as u32 & MASK);
        Some(match bits >> 56 {
            1 => Token::Listener { generation },
            2 => Token::Conn { at, check },
            3 => Token::Exit { generation, slot: at, check },
            4 => Token::Out { generation, slot: at, check },
            5 => Token::Err { generation, slot: at, check },
            6 => Token::Hand,
            7 => Token::HandConn { at, check },
            8 => Token::Elder,
            9 => Token::Younger { check },
            10 => Token::Daemon { check },
            11 => Token::Kick,
            12 => Token::Children,
            13 => Token::Place,
            14 => Token::Nudge,
            16 => Token::Leftover,
            15 => Token::Typed { generation, slot: at, check },
            _ => return None,
        })
    }
}

/// The check bits of a run.
pub(crate) fn check_of(run: u64) -> u32 {
    run as u32 & MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back() {
        for token in [
            Token::Listener { generation: 65535 },
            Token::Conn { at: 7, check: MASK },
            Token::Exit { generation: 3, slot: 4095, check: check_of(u64::MAX) },
            Token::Out { generation: 0, slot: 1, check: 2 },
            Token::Err { generation: 1, slot: 0, check: 0 },
            Token::Hand,
            Token::HandConn { at: 9, check: 1 },
            Token::Elder,
            Token::Younger { check: 5 },
            Token::Daemon { check: 6 },
            Token::Kick,
            Token::Children,
            Token::Place,
            Token::Nudge,
            Token::Leftover,
            Token::Typed { generation: 2, slot: 4, check: 6 },
        ] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
    }
}
