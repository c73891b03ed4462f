//! What daemon and keepers say to each other: records of 32 bytes, up to 64 in one packet of a SEQPACKET socket.
//!
//! The run table is the state; these are only wishes and hints. A lost `Tell` costs nothing, because whoever hears it
//! reads the table; a lost `Ask` is asked again, because every one of them may be repeated. The layout is frozen: new
//! kinds may be added, and an unknown kind is passed over.

pub const PROTOCOL: u32 = 1;
pub const RECORD: usize = 32;
pub const PACKET: usize = 64 * RECORD;

/// Said to a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// First word on a connection.
    Hello { protocol: u32, role: Role },
    /// Start the run whose spec lies in `spec/<run>`. A run the keeper already has is left alone.
    Start { run: u64 },
    /// Climb the stop ladder: the run's stop signal, its wait, then KILL of the whole tree.
    Stop { run: u64, why: StopKind },
    /// Its end is asked for by other means than a signal: it has so long for it, then the ladder begins.
    Await { run: u64, by: AwaitBy, ms: u32 },
    /// Send one signal to the leader's group (or to the leader alone).
    Signal { run: u64, signal: u8, leader_only: bool },
    /// The run's end is in the ledger: the slot may be used again.
    Forget { run: u64 },
    /// Replace your program by that in the file `upgrade` of the runtime directory.
    Upgrade,
    /// The server ends. `leave`: keepers stay until the last run has ended. Else the stop ladder for all, then the end.
    Shutdown { leave: bool },
    /// From a front: see to it that there is a daemon.
    WantDaemon,
    /// From a daemon: it serves.
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Daemon,
    Front,
    /// `kin doctor` and tests: hears of everything.
    Watcher,
    /// A daemon's second connection: hears of helpers, of which the first does not.
    Helper,
}

/// Stands in the slot, so that any keeper goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    /// The ladder, from its first rung.
    Ladder,
    /// Straight to KILL of the whole tree.
    Kill,
}

/// What a run's end is awaited by before its first signal. Each is waited for once: said again, it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitBy {
    /// Its stop command goes.
    Command,
    /// Its stop command has ended well.
    Asked,
}

/// Said by a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Answer to `Hello`: who answers for this generation, and in which state the chain is.
    Hello { protocol: u32, pid: u32, generation: u64 },
    /// A `Start` that this keeper will not do; nothing was started.
    Refused { run: u64, why: Refusal },
    /// Something about this run changed: read its slot.
    Changed { run: u64, slot: u32 },
    /// Notices were dropped because the listener was slow: read the whole table.
    Reread,
    /// The chain as it is now. `keeper` is the generation that takes starts.
    /// `turn` only grows, from one chain to the next: what a dead elder said last may be read after what the living one
    /// said, and must not count.
    Chain { elder: u64, keeper: u64, guard: Guard, turn: u64 },
    /// The daemon that the elder started ended before it was ready, and will not be started again (exit code in `code`).
    DaemonGaveUp { code: u32 },
    /// The daemon serves (said to fronts).
    DaemonReady { pid: u32 },
    /// The keeper is about to end after a shutdown.
    Bye,
    /// To a second front: there is one already.
    Busy { pid: u32 },
    /// To daemons: the front that is there, or zero.
    Front { pid: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No free slot; ask again when one was forgotten.
    Full,
    /// This keeper has become the elder, or serves another's table: ask the current keeper.
    NotCurrent,
    /// There is no spec of that name (the run has ended and was forgotten), or it cannot be read.
    NoSpec,
    /// The server is shutting down.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Elder and keeper live, and each can go on for the other.
    Whole,
    /// One of them is alone: another kill now may cost an exit code.
    Degraded,
}

/// One record, as it lies in a packet: kind u16, small u16, word u32, three u64.
pub type Record = [u8; RECORD];

fn record(kind: u16, small: u16, word: u32, longs: [u64; 3]) -> Record {
    let mut out = [0; RECORD];
    out[0..2].copy_from_slice(&kind.to_le_bytes());
    out[2..4].copy_from_slice(&small.to_le_bytes());
    out[4..8].copy_from_slice(&word.to_le_bytes());
    for (i, long) in longs.into_iter().enumerate() {
        out[8 + 8 * i..16 + 8 * i].copy_from_slice(&long.to_le_bytes());
    }
    out
}

struct Parts {
    kind: u16,
    small: u16,
    word: u32,
    longs: [u64; 3],
}

fn parts(bytes: &Record) -> Parts {
    let long = |i: usize| {
        let mut b = [0; 8];
        b.copy_from_slice(&bytes[8 + 8 * i..16 + 8 * i]);
        u64::from_le_bytes(b)
    };
    Parts {
        kind: u16::from_le_bytes([bytes[0], bytes[1]]),
        small: u16::from_le_bytes([bytes[2], bytes[3]]),
        word: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        longs: [long(0), long(1), long(2)],
    }
}

impl Ask {
    pub fn encode(self) -> Record {
        match self {
            Ask::Hello { protocol, role } => record(1, role as u16, protocol, [0; 3]),
            Ask::Start { run } => record(2, 0, 0, [run, 0, 0]),
            Ask::Stop { run, why } => record(3, why as u16, 0, [run, 0, 0]),
            Ask::Signal { run, signal, leader_only } => {
                record(4, u16::from(leader_only), u32::from(signal), [run, 0, 0])
            }
            Ask::Forget { run } => record(5, 0, 0, [run, 0, 0]),
            Ask::Upgrade => record(6, 0, 0, [0; 3]),
            Ask::Shutdown { leave } => record(7, u16::from(leave), 0, [0; 3]),
            Ask::WantDaemon => record(8, 0, 0, [0; 3]),
            Ask::Ready => record(9, 0, 0, [0; 3]),
            Ask::Await { run, by, ms } => record(10, by as u16, ms, [run, 0, 0]),
        }
    }

    /// `None`: a kind from the future, or nonsense; passed over.
    pub fn decode(bytes: &Record) -> Option<Ask> {
        let p = parts(bytes);
        let run = p.longs[0];
        Some(match p.kind {
            1 => Ask::Hello {
                protocol: p.word,
                role: match p.small {
                    0 => Role::Daemon,
                    1 => Role::Front,
                    2 => Role::Watcher,
                    3 => Role::Helper,
                    _ => return None,
                },
            },
            2 => Ask::Start { run },
            3 => Ask::Stop {
                run,
                why: match p.small {
                    0 => StopKind::Ladder,
                    1 => StopKind::Kill,
                    _ => return None,
                },
            },
            4 => {
                Ask::Signal { run, signal: u8::try_from(p.word).ok().filter(|s| *s <= 64)?, leader_only: p.small != 0 }
            }
            5 => Ask::Forget { run },
            6 => Ask::Upgrade,
            7 => Ask::Shutdown { leave: p.small != 0 },
            8 => Ask::WantDaemon,
            9 => Ask::Ready,
            10 => Ask::Await {
                run,
                by: match p.small {
                    0 => AwaitBy::Command,
                    1 => AwaitBy::Asked,
                    _ => return None,
                },
                ms: p.word,
            },
            _ => return None,
        })
    }
}

impl Tell {
    pub fn encode(self) -> Record {
        match self {
            Tell::Hello { protocol, pid, generation } => record(101, 0, protocol, [generation, u64::from(pid), 0]),
            Tell::Refused { run, why } => record(102, why as u16, 0, [run, 0, 0]),
            Tell::Changed { run, slot } => record(103, 0, slot, [run, 0, 0]),
            Tell::Reread => record(104, 0, 0, [0; 3]),
            Tell::Chain { elder, keeper, guard, turn } => record(105, guard as u16, 0, [elder, keeper, turn]),
            Tell::DaemonGaveUp { code } => record(106, 0, code, [0; 3]),
            Tell::DaemonReady { pid } => record(107, 0, pid, [0; 3]),
            Tell::Bye => record(108, 0, 0, [0; 3]),
            Tell::Busy { pid } => record(109, 0, pid, [0; 3]),
            Tell::Front { pid } => record(110, 0, pid, [0; 3]),
        }
    }

    pub fn decode(bytes: &Record) -> Option<Tell> {
        let p = parts(bytes);
        let run = p.longs[0];
        Some(match p.kind {
            101 => Tell::Hello { protocol: p.word, pid: p.longs[1] as u32, generation: p.longs[0] },
            102 => Tell::Refused {
                run,
                why: match p.small {
                    0 => Refusal::Full,
                    1 => Refusal::NotCurrent,
                    2 => Refusal::NoSpec,
                    3 => Refusal::Closing,
                    _ => return None,
                },
            },
            103 => Tell::Changed { run, slot: p.word },
            104 => Tell::Reread,
            105 => Tell::Chain {
                elder: p.longs[0],
                keeper: p.longs[1],
                turn: p.longs[2],
                guard: match p.small {
                    0 => Guard::Whole,
                    1 => Guard::Degraded,
                    _ => return None,
                },
            },
            106 => Tell::DaemonGaveUp { code: p.word },
            107 => Tell::DaemonReady { pid: p.word },
            108 => Tell::Bye,
            109 => Tell::Busy { pid: p.word },
            110 => Tell::Front { pid: p.word },
            _ => return None,
        })
    }
}

/// The records of one packet; a torn tail is passed over.
pub fn records(packet: &[u8]) -> impl Iterator<Item = &Record> {
    packet.chunks_exact(RECORD).filter_map(|chunk| chunk.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_is_heard() {
        let run = 77;
        for ask in [
            Ask::Hello { protocol: PROTOCOL, role: Role::Front },
            Ask::Hello { protocol: PROTOCOL, role: Role::Helper },
            Ask::Start { run },
            Ask::Stop { run, why: StopKind::Kill },
            Ask::Await { run, by: AwaitBy::Asked, ms: 7 },
            Ask::Signal { run, signal: 10, leader_only: true },
            Ask::Forget { run },
            Ask::Upgrade,
            Ask::Shutdown { leave: true },
            Ask::WantDaemon,
            Ask::Ready,
        ] {
            assert_eq!(Ask::decode(&ask.encode()), Some(ask));
        }
        for tell in [
            Tell::Hello { protocol: 1, pid: 5, generation: 9 },
            Tell::Refused { run, why: Refusal::Closing },
            Tell::Changed { run, slot: 4095 },
            Tell::Reread,
            Tell::Chain { elder: 1, keeper: 2, guard: Guard::Degraded, turn: 3 },
            Tell::DaemonGaveUp { code: 2 },
            Tell::DaemonReady { pid: 3 },
            Tell::Bye,
            Tell::Busy { pid: 8 },
            Tell::Front { pid: 9 },
        ] {
            assert_eq!(Tell::decode(&tell.encode()), Some(tell));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<[u8; RECORD]>()) {
            let _decoded = (Ask::decode(&bytes), Tell::decode(&bytes));
        }
    }
}
