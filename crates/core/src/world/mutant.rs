//! Rules that can be broken on purpose, so that the simulation can show that it would notice. Never on in kin itself.

use super::World;
use crate::Timed;
use crate::job::CatchUp;
use crate::schedule::{DaySet, Way};
use crate::timed::Jitter;
use alloc::sync::Arc;

/// A rule that is broken on purpose, so that the simulation can show that it would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Mutant {
    /// A run that ended badly is not followed by another.
    ForgetFollow,
    /// A restart waits half as long.
    HalfBackoff,
    /// A restart waits a second longer than its job allows.
    LongBackoff,
    /// The wait is not memorised: a due run is looked for by nobody.
    ForgetDue,
    /// One run more than there are places.
    OneTooMany,
    /// A slot that is taken is filled again.
    DoubleSlot,
    /// Nobody looks whether what a run needs is ready.
    IgnoreNeeds,
    /// A service goes before those that need it.
    StopAtOnce,
    /// A stop of a run that is starting is granted, and not remembered.
    ForgetStop,
    /// A stopped run is restarted.
    RestartStopped,
    /// A small run overtakes a large one that waits for its queue.
    Overtake,
    /// A paused queue lets runs through.
    IgnorePause,
    /// Chains go round.
    ChainRound,
    /// The end of a run starts nothing.
    ForgetChain,
    /// A run that is over still has its place.
    LeakPlace,
    /// A set clock leaves waits where they were.
    IgnoreStep,
    /// A released run is held again by the same latch when it is tried again.
    HoldAgain,
    /// A slot above `instances` is not given up.
    KeepSpare,
    /// The runs of a disabled job go on to begin.
    IgnoreDisabled,
    /// Nobody is woken for a tick.
    ForgetTick,
    /// The alarm rings a minute after a tick is due.
    LateAlarm,
    /// It rings a minute before.
    BusyAlarm,
    /// What was decided last is not remembered as decided.
    TickTwice,
    /// An hour too much is held for decided.
    LoseTick,
    /// What was missed is not recorded.
    ForgetStretch,
    /// Whatever the job says, all is caught up.
    CatchUpAll,
    /// Whatever the job says, nothing is caught up.
    CatchUpNone,
    /// What is older than the window is caught up.
    IgnoreWindow,
    /// One more is caught up than may be.
    OverCap,
    /// What a calendar says no to counts as caught up.
    ClosedFillUp,
    /// What is caught up does not wait for the machine to come to itself.
    NoDelay,
    /// A stable jitter is drawn for each run.
    DrawAgain,
    /// A jitter is twice what it may be.
    LongJitter,
    /// A day off is a day like any other.
    IgnoreCalendar,
    /// What is due on a day off stays there.
    NeverShift,
    /// It moves the other way.
    ShiftBack,
    /// Of a tick that was moved nothing says so.
    ForgetMoved,
    /// The days of a calendar file do not matter.
    IgnoreFile,
    /// When other days count, those before go on to.
    KeepDays,
    /// When other days count, what lands in the past by them is due.
    LandBehind,
    /// A paused schedule begins runs.
    IgnoreTickPause,
    /// A disabled job catches up.
    CatchUpDisabled,
    /// A tick makes a run beside those that are there.
    IgnoreOverlap,
    /// What was caught up and waits for its delay is in the way of what is due on time.
    CaughtUpInTheWay,
    /// What is due on time does not wait for what was caught up before it.
    OvertakeCaughtUp,
    /// A new schedule counts from yesterday.
    FireAtEdit,
    /// What was due by the old words is not decided when new ones come.
    DropAtEdit,
    /// The same words in other surroundings count from now.
    FromNowElsewhere,
    /// A schedule that was away and comes again goes on where it was.
    ForgetAbsence,
    /// A clock that was set back far silences jobs.
    StaySilent,
    /// A clock that was set back a little silences rhythms.
    SilentRhythm,
    /// A line of time is proved by nothing but a run at its time.
    ProvedOnTime,
    /// What another line of time has decided is caught up.
    CatchUpFormer,
    /// A boot is no tick.
    ForgetBoot,
    /// Each server that starts is a boot.
    BootTwice,
    /// A tick starts the services that its job needs, also those that somebody has stopped.
    PullStopped,
    /// What a run needs is run when the run is made, and not again when it is not done any more.
    AskOnce,
    /// A run that waits for its jitter is in the way of the next tick.
    JitterInTheWay,
    /// What was ready before the machine was restarted is ready, until somebody says otherwise.
    OldBoot,
    /// A run names another instant.
    WrongTick,
    /// A tick makes two runs.
    TwoRuns,
    /// A latch releases what others hold.
    ReleaseAll,
    /// A latch forgets one of those that it holds.
    ReleaseSome,
    /// A stop is granted and recorded, and nobody is told.
    ForgetLadder,
    /// A task that is held for one which has failed for good waits for ever.
    WaitInVain,
    /// It is skipped although that one is tried again.
    SkipTooSoon,
    /// A try does not say the instant that the first one was for.
    ForgetInstant,
    /// A keeper that comes is told of a run whose spec is being made.
    GiveUnmade,
    /// What was being made when the daemon died is made by nobody.
    ForgetUnmade,
}

impl Mutant {
    pub const ALL: [Mutant; 69] = [
        Mutant::ForgetFollow,
        Mutant::HalfBackoff,
        Mutant::LongBackoff,
        Mutant::ForgetDue,
        Mutant::OneTooMany,
        Mutant::DoubleSlot,
        Mutant::IgnoreNeeds,
        Mutant::StopAtOnce,
        Mutant::ForgetStop,
        Mutant::RestartStopped,
        Mutant::Overtake,
        Mutant::IgnorePause,
        Mutant::ChainRound,
        Mutant::ForgetChain,
        Mutant::LeakPlace,
        Mutant::IgnoreStep,
        Mutant::HoldAgain,
        Mutant::KeepSpare,
        Mutant::IgnoreDisabled,
        Mutant::ForgetTick,
        Mutant::LateAlarm,
        Mutant::BusyAlarm,
        Mutant::TickTwice,
        Mutant::LoseTick,
        Mutant::ForgetStretch,
        Mutant::CatchUpAll,
        Mutant::CatchUpNone,
        Mutant::IgnoreWindow,
        Mutant::OverCap,
        Mutant::ClosedFillUp,
        Mutant::NoDelay,
        Mutant::DrawAgain,
        Mutant::LongJitter,
        Mutant::IgnoreCalendar,
        Mutant::NeverShift,
        Mutant::ShiftBack,
        Mutant::ForgetMoved,
        Mutant::IgnoreFile,
        Mutant::KeepDays,
        Mutant::LandBehind,
        Mutant::IgnoreTickPause,
        Mutant::CatchUpDisabled,
        Mutant::IgnoreOverlap,
        Mutant::CaughtUpInTheWay,
        Mutant::OvertakeCaughtUp,
        Mutant::FireAtEdit,
        Mutant::DropAtEdit,
        Mutant::FromNowElsewhere,
        Mutant::ForgetAbsence,
        Mutant::StaySilent,
        Mutant::SilentRhythm,
        Mutant::ProvedOnTime,
        Mutant::CatchUpFormer,
        Mutant::ForgetBoot,
        Mutant::BootTwice,
        Mutant::PullStopped,
        Mutant::AskOnce,
        Mutant::JitterInTheWay,
        Mutant::OldBoot,
        Mutant::WrongTick,
        Mutant::TwoRuns,
        Mutant::ReleaseAll,
        Mutant::ReleaseSome,
        Mutant::ForgetLadder,
        Mutant::WaitInVain,
        Mutant::SkipTooSoon,
        Mutant::ForgetInstant,
        Mutant::GiveUnmade,
        Mutant::ForgetUnmade,
    ];
}

impl World {
    /// The timing, as a broken rule would have it.
    pub(super) fn as_broken(&self, timed: Arc<Timed>) -> Arc<Timed> {
        let Some(mutant) = self.broken_rule() else { return timed };
        let mut other = (*timed).clone();
        if mutant == Mutant::CatchUpAll {
            other.catch_up = CatchUp::All;
        }
        if mutant == Mutant::CatchUpNone {
            other.catch_up = CatchUp::None;
        }
        if mutant == Mutant::IgnoreWindow {
            other.window = i64::MAX / 4;
        }
        if mutant == Mutant::OverCap {
            other.most += 1;
        }
        if mutant == Mutant::NoDelay {
            other.delay.0 = 0;
        }
        if mutant == Mutant::NeverShift {
            other.shift = None;
        }
        if mutant == Mutant::IgnoreFile {
            other.calendars.iter_mut().for_each(|calendar| calendar.file = DaySet::default());
        }
        if mutant == Mutant::ShiftBack {
            other.shift = other.shift.map(|way| if way == Way::Next { Way::Previous } else { Way::Next });
        }
        let (Jitter::Stable(wait) | Jitter::Random(wait)) = &mut other.jitter;
        if mutant == Mutant::LongJitter {
            wait.0 *= 2;
        }
        if mutant == Mutant::DrawAgain {
            other.jitter = Jitter::Random(*wait);
        }
        Arc::new(other)
    }
}
