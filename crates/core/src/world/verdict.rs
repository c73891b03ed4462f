//! What becomes of the instants that have come since a schedule was looked at last: which are run, which are not, and why.
//! A plain function of the timing, the instant up to which all is decided, and the time it is.
//!
//! On a calm day that is one instant, a moment ago. After a death, a night in standby or a set clock there may be
//! millions. They are not walked through: the last one is found from its end, and what lies before those that are run is
//! one stretch. Each instant gets one verdict, or lies in one stretch.

use crate::Timed;
use crate::job::CatchUp;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(super) const GRACE: i64 = crate::run::GRACE.cast_signed();

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Run {
        /// It comes after its time, or for others before it.
        caught_up: bool,
        /// How many before it were missed.
        missed: u64,
        /// One of several that are to be run one after the other.
        of_many: bool,
        /// Not at its time.
        late: bool,
    },
    Closed {
        by: String,
    },
    /// It and all up to that one.
    Missed {
        count: u64,
        until: i64,
    },
}

/// All instants after `after`, up to `now` and with it. In order.
pub(super) fn verdicts(
    timed: &Timed,
    after: i64,
    now: i64,
    catch_up: CatchUp,
    closed_fill_up: bool,
) -> Vec<(i64, Verdict)> {
    let Some(last) = timed.last_before(now.saturating_add(1)).filter(|last| *last > after) else {
        return Vec::new();
    };
    let on_time = now - last <= GRACE;
    let floor = after.saturating_add(1).max(now.saturating_sub(timed.window));
    let mut chosen: Vec<i64> = on_time.then_some(last).into_iter().collect();
    match catch_up {
        CatchUp::None => {}
        // What is run on time is run for those before it, too.
        CatchUp::Once if on_time && timed.closed(last).is_none() => {}
        CatchUp::Once => chosen.extend(newest_open(timed, last, floor)),
        CatchUp::All => {
            let before = if on_time { timed.last_before(last) } else { Some(last) };
            chosen.extend(newest(timed, before, floor, closed_fill_up));
        }
    }
    chosen.sort_unstable();

    let mut verdicts = Vec::new();
    let (mut decided, mut missed) = (after, 0);
    let of_many = chosen.len() > 1;
    for at in chosen {
        missed += stretch(timed, decided, at, &mut verdicts);
        decided = at;
        let late = !(on_time && at == last);
        verdicts.push(match timed.closed(at) {
            Some(closed) => (at, Verdict::Closed { by: closed.by.to_string() }),
            None => {
                let missed = if catch_up == CatchUp::Once { core::mem::take(&mut missed) } else { 0 };
                (at, Verdict::Run { caught_up: late || missed > 0, missed, of_many, late })
            }
        });
    }
    stretch(timed, decided, now.saturating_add(1), &mut verdicts);
    verdicts
}

/// Those between the one and the other were missed, if there are any.
fn stretch(timed: &Timed, after: i64, before: i64, verdicts: &mut Vec<(i64, Verdict)>) -> u64 {
    let Some(first) = timed.next_after(after).filter(|first| *first < before) else { return 0 };
    let until = timed.last_before(before).unwrap_or(first);
    let count = timed.count(first, until);
    verdicts.push((first, Verdict::Missed { count, until }));
    count
}

/// The last `most` instants at which no calendar says no, back from `before`, and as many of the closed ones among them:
/// these are no runs, and take nobody's place. Where there are more of them, it steps over a closed day or blackout at once.
fn newest(timed: &Timed, before: Option<i64>, floor: i64, closed_fill_up: bool) -> Vec<i64> {
    let (mut open, mut closed) = (0, 0);
    let (mut chosen, mut next) = (Vec::new(), before);
    while let Some(at) = next.filter(|at| *at >= floor && open < timed.most) {
        next = timed.last_before(at);
        match timed.closed(at) {
            Some(_) if closed < timed.most && !closed_fill_up => closed += 1,
            Some(shut) if !closed_fill_up => {
                next = timed.last_before(shut.since.min(at));
                continue;
            }
            Some(_) | None => open += 1,
        }
        chosen.push(at);
    }
    chosen
}

/// The last instant at which no calendar says no. It steps over a closed day or blackout at once.
fn newest_open(timed: &Timed, last: i64, floor: i64) -> Option<i64> {
    let mut at = last;
    while at >= floor {
        match timed.closed(at) {
            None => return Some(at),
            Some(closed) => at = timed.last_before(closed.since.min(at))?,
        }
    }
    None
}
