//! Whether a run is followed by another try, and after what wait. Plain functions of the definition and the end.

use crate::job::{Again, Backoff, Life, Millis, Restart};
use crate::{Outcome, RunNo};

/// The least wait after a run that could not be started, whatever its job says: else a user's name with a mistake in it
/// would fill the history as fast as it can be written.
pub(super) const UNSTARTED: Millis = Millis(100);

/// The attempt that follows a run, and how long it waits after that run's end. `None`: none follows. `healthy`: it was
/// healthy for long enough to begin the count anew; only a service's run is asked that, because the tries of what is run
/// are "so many in all".
pub fn next_try(life: &Life, run: RunNo, attempt: u32, outcome: &Outcome, healthy: bool) -> Option<(u32, Millis)> {
    let wanted = match life.restart {
        Restart::Always => true,
        Restart::OnFailure | Restart::Never => counts(&life.again, outcome),
    };
    if !wanted {
        return None;
    }
    let healthy = healthy && life.is_service();
    let made = if healthy { 0 } else { attempt };
    if life.again.tries.is_some_and(|tries| made >= tries) {
        return None;
    }
    let wait = wait_after(&life.again, run, if healthy { 1 } else { attempt });
    // What cannot be started fails in no time.
    let least = if matches!(outcome, Outcome::SpawnFailed { .. }) { UNSTARTED } else { Millis(0) };
    Some((made.saturating_add(1), wait.max(least)))
}

/// Whether this is an end that the definition wants to be tried again.
fn counts(again: &Again, outcome: &Outcome) -> bool {
    let on = &again.on;
    match outcome {
        Outcome::Failed { code } => on.codes.as_ref().is_none_or(|codes| codes.contains(code)),
        Outcome::Signaled { .. } | Outcome::OomKilled => on.signals,
        Outcome::TimedOut => on.timeout,
        // Its time to become ready, or to answer, was over.
        Outcome::Unhealthy(_) => true,
        Outcome::SpawnFailed { .. } => on.spawn,
        Outcome::Lost(_) => on.lost,
        Outcome::Ok | Outcome::Stopped | Outcome::Interrupted | Outcome::Skipped(_) | Outcome::Cancelled => false,
    }
}

/// delay × 2^(attempt − 1), or just the delay; up to so many hundredths more, by a hash of run and attempt; and never more
/// than `max_delay`.
pub fn wait_after(again: &Again, run: RunNo, attempt: u32) -> Millis {
    let plain = match again.backoff {
        Backoff::Fixed => again.delay.0,
        Backoff::Exponential => {
            again.delay.0.saturating_mul(1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX))
        }
    };
    let plain = plain.min(again.max_delay.0);
    // Hundredths of hundredths: 0 ..= percent, in steps fine enough for no two to meet.
    let share = hash(run.get(), attempt) % 10_001;
    let most = u128::from(plain) * u128::from(again.jitter_percent);
    let more = most * u128::from(share) / 1_000_000;
    Millis(plain.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(again.max_delay.0))
}

/// The last mixing of splitmix64: the same everywhere, always.
const fn hash(run: u64, attempt: u32) -> u64 {
    let mut x = run.wrapping_add((attempt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::AgainOn;
    use crate::{LostWhy, SpawnStep};
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    fn no(n: u64) -> RunNo {
        RunNo::new(n).expect("a small number")
    }

    #[test]
    fn a_services_waits_double_up_to_their_cap() {
        let again = Again { jitter_percent: 0, ..Again::restarts() };
        let waits: std::vec::Vec<u64> = (1..10).map(|attempt| wait_after(&again, no(1), attempt).0).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        assert_eq!(wait_after(&again, no(1), u32::MAX), Millis(60000));
    }

    #[test]
    fn which_ends_are_tried_again() {
        let job = |again: Again| Life { again, ..Life::default() };
        let thrice = job(Again { tries: Some(3), ..Again::retries() });
        let codes = AgainOn { codes: Some(BTreeSet::from([7])), signals: false, ..AgainOn::default() };
        let picky = job(Again { on: codes, ..thrice.again });
        let lost = Outcome::Lost(LostWhy::Unknown);
        let spawn = Outcome::SpawnFailed { step: SpawnStep::Exec, errno: 2 };
        for (life, outcome, attempt, want) in [
            (&thrice, Outcome::Failed { code: 1 }, 1, Some(2)),
            (&thrice, Outcome::Failed { code: 1 }, 2, Some(3)),
            (&thrice, Outcome::Failed { code: 1 }, 3, None),
            (&thrice, Outcome::Ok, 1, None),
            (&thrice, Outcome::Stopped, 1, None),
            (&thrice, lost.clone(), 1, None),
            (&thrice, spawn, 1, Some(2)),
            (&picky, Outcome::Failed { code: 1 }, 1, None),
            (&picky, Outcome::Failed { code: 7 }, 1, Some(2)),
            (&picky, Outcome::Signaled { signal: 9 }, 1, None),
        ] {
            let next = next_try(life, no(5), attempt, &outcome, true).map(|(attempt, _)| attempt);
            assert_eq!(next, want, "{outcome} of attempt {attempt}");
        }
        let service = Life { restart: Restart::OnFailure, again: Again::restarts(), ..Life::default() };
        assert_eq!(next_try(&service, no(5), 9, &Outcome::Ok, false), None);
        assert_eq!(next_try(&service, no(5), 9, &lost, true).map(|(attempt, _)| attempt), Some(1));
        let always = Life { restart: Restart::Always, ..service };
        assert_eq!(next_try(&always, no(5), 9, &Outcome::Ok, false).map(|(attempt, _)| attempt), Some(10));
    }

    #[test]
    fn what_cannot_be_started_is_not_tried_again_at_once() {
        let mut life = Life { restart: Restart::Always, again: Again::restarts(), ..Life::default() };
        (life.again.delay, life.again.jitter_percent) = (Millis(0), 0);
        let failed = Outcome::SpawnFailed { step: SpawnStep::User, errno: 2 };
        for attempt in [1, 2, 50] {
            assert_eq!(next_try(&life, no(5), attempt, &failed, false).map(|(_, wait)| wait), Some(UNSTARTED));
        }
        let wait = |life: &Life| next_try(life, no(5), 1, &failed, false).map(|(_, wait)| wait);
        life.again.max_delay = Millis(7);
        assert_eq!(wait(&life), Some(UNSTARTED), "also over the longest that its job allows");
        life.again.delay = Millis(300);
        life.again.max_delay = Millis(300);
        assert_eq!(wait(&life), Some(Millis(300)), "a longer one stays");
        let other = next_try(
            &Life { again: Again { delay: Millis(0), ..life.again.clone() }, ..life },
            no(5),
            1,
            &Outcome::Failed { code: 1 },
            false,
        );
        assert_eq!(other.map(|(_, wait)| wait), Some(Millis(0)), "what ran may be run again at once");
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_nor_longer_than_stated(
            delay in 0u64..100_000, max in 0u64..1_000_000, percent in 0u8..=100, attempt in 1u32..80, run in 1u64..1_000_000
        ) {
            let again = Again {
                delay: Millis(delay), max_delay: Millis(max), jitter_percent: percent, ..Again::restarts()
            };
            let plain = u128::from(delay) << (attempt - 1).min(64);
            let least = plain.min(u128::from(max));
            let most = (least + least * u128::from(percent) / 100).min(u128::from(max));
            let wait = u128::from(wait_after(&again, no(run), attempt).0);
            prop_assert!((least..=most).contains(&wait), "{least} ≤ {wait} ≤ {most}");
        }
    }
}
