//! Outcomes and exits, packed. The kind stands elsewhere (a row's class, an event's number); here is what it holds.

use crate::OutcomeKind;
use crate::pack::{Packer, Unpacker};
use kin_core::{Exit, LostWhy, Outcome, RunNo, SkipWhy, SpawnStep, UnhealthyWhy};

pub(crate) fn pack(p: &mut Packer, outcome: &Outcome) {
    match outcome {
        Outcome::Failed { code } => p.number(u64::from(*code)),
        Outcome::Signaled { signal } => p.number(u64::from(*signal)),
        Outcome::SpawnFailed { step, errno } => {
            p.number(u64::from(*step as u8));
            p.signed(i64::from(*errno));
        }
        Outcome::Skipped(why) => match why {
            SkipWhy::Overlap { live: None } => p.number(0),
            SkipWhy::Disabled => p.number(1),
            SkipWhy::Calendar => p.number(2),
            SkipWhy::Dependency => p.number(3),
            SkipWhy::Loop => p.number(4),
            SkipWhy::Overlap { live: Some(live) } => [5, live.get()].into_iter().for_each(|n| p.number(n)),
            SkipWhy::LineFull { waiting } => [6, u64::from(*waiting)].into_iter().for_each(|n| p.number(n)),
        },
        Outcome::Lost(why) => p.number(match why {
            LostWhy::Reboot => 0,
            LostWhy::Unknown => 1,
            LostWhy::Disowned => 2,
        }),
        Outcome::Unhealthy(why) => p.number(match why {
            UnhealthyWhy::Sick => 0,
            UnhealthyWhy::NotReady => 1,
        }),
        Outcome::Ok
        | Outcome::TimedOut
        | Outcome::OomKilled
        | Outcome::Stopped
        | Outcome::Interrupted
        | Outcome::Cancelled => {}
    }
}

pub(crate) fn unpack(u: &mut Unpacker<'_>, kind: OutcomeKind) -> Option<Outcome> {
    Some(match kind {
        OutcomeKind::Ok => Outcome::Ok,
        OutcomeKind::Failed => Outcome::Failed { code: u.small()? },
        OutcomeKind::Signaled => Outcome::Signaled { signal: u.small()? },
        OutcomeKind::TimedOut => Outcome::TimedOut,
        OutcomeKind::OomKilled => Outcome::OomKilled,
        OutcomeKind::Stopped => Outcome::Stopped,
        OutcomeKind::Interrupted => Outcome::Interrupted,
        OutcomeKind::SpawnFailed => {
            Outcome::SpawnFailed { step: SpawnStep::from_number(u.small()?)?, errno: i32::try_from(u.signed()?).ok()? }
        }
        OutcomeKind::Skipped => Outcome::Skipped(match u.number()? {
            0 => SkipWhy::Overlap { live: None },
            1 => SkipWhy::Disabled,
            2 => SkipWhy::Calendar,
            3 => SkipWhy::Dependency,
            4 => SkipWhy::Loop,
            5 => SkipWhy::Overlap { live: Some(RunNo::new(u.number()?)?) },
            6 => SkipWhy::LineFull { waiting: u.small()? },
            _ => return None,
        }),
        OutcomeKind::Cancelled => Outcome::Cancelled,
        OutcomeKind::Unhealthy => Outcome::Unhealthy(match u.number()? {
            0 => UnhealthyWhy::Sick,
            1 => UnhealthyWhy::NotReady,
            _ => return None,
        }),
        OutcomeKind::Lost => Outcome::Lost(match u.number()? {
            0 => LostWhy::Reboot,
            1 => LostWhy::Unknown,
            2 => LostWhy::Disowned,
            _ => return None,
        }),
    })
}

/// Code 0, which most have, is one byte.
pub(crate) fn pack_exit(p: &mut Packer, exit: Exit) {
    p.number(match exit {
        Exit::Code(code) => u64::from(code) << 1,
        Exit::Signal { signal, core } => u64::from(signal) << 2 | u64::from(core) << 1 | 1,
    });
}

pub(crate) fn unpack_exit(u: &mut Unpacker<'_>) -> Option<Exit> {
    let n = u.number()?;
    Some(if n & 1 == 0 {
        Exit::Code(u8::try_from(n >> 1).ok()?)
    } else {
        Exit::Signal { signal: u8::try_from(n >> 2).ok()?, core: n & 2 != 0 }
    })
}
