//! What a keeper's run table says of a run, and the verdict that follows.
//!
//! `core` knows no table: the daemon reads a slot and says it in these words.

use crate::run::StopWhy;
use crate::wish::StopKind;
use crate::{Exit, LostWhy, Outcome, SpawnStep, Time, UnhealthyWhy};

/// A slot, as it was read at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub phase: Phase,
    pub pid: Option<u32>,
    pub started_at: Option<Time>,
    pub out_bytes: u64,
    pub err_bytes: u64,
    pub out_dropped: u64,
    pub err_dropped: u64,
    pub max_rss_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    pub read_bytes: Option<u64>,
    pub write_bytes: Option<u64>,
    pub left_behind: u32,
    /// Its keeper was told to stop it while it ran. A wish that the ledger never heard of stands here all the same.
    pub stop_asked: bool,
    pub ladder: Ladder,
    /// Another keeper than the one that started it has it.
    pub adopted: bool,
}

/// How far its keeper has climbed the stop ladder, by a wish or by its timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ladder {
    #[default]
    Untouched,
    /// The stop signal was sent.
    Asked,
    /// KILL was needed after it.
    KilledAfter,
    /// KILL at once.
    Killed,
}

impl Ladder {
    /// What a keeper that has come so far was asked for, as far as its slot tells.
    pub const fn kind(self) -> StopKind {
        match self {
            Ladder::Untouched | Ladder::Asked => StopKind::Ladder,
            Ladder::KilledAfter | Ladder::Killed => StopKind::Kill,
        }
    }
}

impl Seen {
    /// Nothing but its phase.
    pub const fn bare(phase: Phase) -> Seen {
        Seen {
            phase,
            pid: None,
            started_at: None,
            out_bytes: 0,
            err_bytes: 0,
            out_dropped: 0,
            err_dropped: 0,
            max_rss_bytes: None,
            cpu_ms: None,
            read_bytes: None,
            write_bytes: None,
            left_behind: 0,
            stop_asked: false,
            ladder: Ladder::Untouched,
            adopted: false,
        }
    }
}

/// How far a keeper has come with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The keeper has it; whether it lives is not known yet.
    Intent,
    Running,
    /// The leader is dead; its pipes are not.
    Exited(Close),
    /// All is over.
    Drained(Close),
}

/// The end of a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub how: How,
    pub at: Time,
    /// kin ended it because its time was over.
    pub timed_out: bool,
    pub oom: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Exit(Exit),
    /// It never became the program.
    SpawnFailed {
        step: SpawnStep,
        errno: i32,
    },
    /// It ended, and nobody could learn how.
    Unknown,
}

impl Close {
    pub const fn exit(&self) -> Option<Exit> {
        match self.how {
            How::Exit(exit) => Some(exit),
            How::SpawnFailed { .. } | How::Unknown => None,
        }
    }

    /// The outcome. What the keeper says of its own doing goes before what somebody wished: a run that was out of time
    /// before it was stopped is `timed-out`.
    pub fn verdict(&self, why: Option<StopWhy>) -> Outcome {
        self.verdict_where(why, |code| code == 0)
    }

    /// Where other codes than 0 may be a success.
    pub fn verdict_where(&self, why: Option<StopWhy>, is_success: impl Fn(u8) -> bool) -> Outcome {
        let exit = match self.how {
            How::SpawnFailed { step, errno } => return Outcome::SpawnFailed { step, errno },
            How::Unknown => return Outcome::Lost(LostWhy::Unknown),
            How::Exit(exit) => exit,
        };
        if self.timed_out {
            return Outcome::TimedOut;
        }
        if self.oom {
            return Outcome::OomKilled;
        }
        match (why, exit) {
            (Some(StopWhy::Asked | StopWhy::Planned), _) => Outcome::Stopped,
            (Some(StopWhy::Sick), _) => Outcome::Unhealthy(UnhealthyWhy::Sick),
            (Some(StopWhy::NotReady), _) => Outcome::Unhealthy(UnhealthyWhy::NotReady),
            (_, Exit::Code(code)) if is_success(code) => Outcome::Ok,
            (Some(StopWhy::Interrupt), _) => Outcome::Interrupted,
            (None, Exit::Code(code)) => Outcome::Failed { code },
            (None, Exit::Signal { signal, .. }) => Outcome::Signaled { signal },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_verdict() {
        let killed = How::Exit(Exit::Signal { signal: 9, core: false });
        let zero = How::Exit(Exit::Code(0));
        let three = How::Exit(Exit::Code(3));
        let failed = How::SpawnFailed { step: SpawnStep::Exec, errno: 2 };
        let asked = Some(StopWhy::Asked);
        let interrupt = Some(StopWhy::Interrupt);
        for (how, timed_out, oom, why, want) in [
            (zero, false, false, None, "ok"),
            (three, false, false, None, "failed(3)"),
            (killed, false, false, None, "signaled(9)"),
            (zero, false, false, asked, "stopped"),
            (three, false, false, asked, "stopped"),
            (killed, false, false, asked, "stopped"),
            (zero, false, false, interrupt, "ok"),
            (three, false, false, interrupt, "interrupted"),
            (killed, false, false, interrupt, "interrupted"),
            (killed, true, false, None, "timed-out"),
            (killed, true, false, asked, "timed-out"),
            (killed, false, true, asked, "oom-killed"),
            (failed, false, false, asked, "spawn-failed(exec, 2)"),
            (How::Unknown, false, false, asked, "lost(unknown)"),
            (zero, false, false, Some(StopWhy::Planned), "stopped"),
            (zero, false, false, Some(StopWhy::Sick), "unhealthy(sick)"),
            (killed, false, false, Some(StopWhy::NotReady), "unhealthy(not-ready)"),
        ] {
            let close = Close { how, at: Time(0), timed_out, oom };
            assert_eq!(std::format!("{}", close.verdict(why)), want, "{close:?} {why:?}");
        }
    }
}
