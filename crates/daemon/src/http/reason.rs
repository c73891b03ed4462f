//! Why a run waits, or a job has no run: in words.

use super::convert;
use kin_core::run::StopWhy;
use kin_core::{NeedWhy, Reason, Rest, RunId, Time};

/// `None`: nothing that a person would call a reason.
pub fn words(reason: &Reason) -> Option<String> {
    Some(match reason {
        Reason::Latch { latch } => format!("it waits until somebody releases the latch {latch:?}"),
        Reason::Needs { job, because } => format!("it needs {job}, {}", need(because)),
        Reason::Backoff { until, attempt, tries, follows } => {
            let of = tries.map_or(String::new(), |tries| format!(" of {tries}"));
            let after = follows.map_or(String::new(), |run| format!(", after run {run}"));
            format!("it is attempt {attempt}{of}{after}, and waits until {}", convert::time(*until))
        }
        Reason::Delay { until, behind: Some(first), .. } => {
            format!(
                "it waits for run {first} of its job, which was caught up and goes first, until {}",
                convert::time(*until)
            )
        }
        Reason::Delay { until, jitter, catch_up, behind: None } => {
            let what = match (catch_up, jitter) {
                (true, true) => "it is caught up, and waits for its `catch_up_delay` and its jitter,",
                (true, false) => "it is caught up, and waits for its `catch_up_delay`,",
                (false, true) => "it waits for its jitter,",
                (false, false) => "it waits",
            };
            format!("{what} until {}", convert::time(*until))
        }
        Reason::Group { group, holders, most, before } => format!(
            "it waits for a place in the group {group:?}: at most {most} at once, taken by {}; {}",
            names(holders),
            line(*before)
        ),
        Reason::Mutex { mutex, holders, before } => {
            format!("it waits for the mutex {mutex:?}, which {} has; {}", names(holders), line(*before))
        }
        Reason::Turn { holders, most, before } => {
            format!("at most {most} of its job run at once, just now {}; {}", names(holders), line(*before))
        }
        Reason::Paused { queue } => {
            format!("its queue {queue:?} is paused (`kin queue {queue} --resume` lets it go on)")
        }
        Reason::Queue { queue, resource, need, free, slots, holders, before } => format!(
            "its queue {queue:?} has {free} of {slots} {resource} free and it takes {need}; they are taken by {}; {}",
            names(holders),
            line(*before)
        ),
        Reason::Behind { queue, first } => format!("in its queue {queue:?} {first} is before it, and does not fit yet"),
        Reason::TooLarge { queue, resource, need, slots } => {
            format!("it takes {need} of {resource}, and its queue {queue:?} has {slots} in all")
        }
        Reason::Making => "what it is to find around it (files, user, sockets) is being looked up".into(),
        Reason::NoKeeper => "no keeper takes starts just now".into(),
        Reason::NoRoom => "the keeper has no room for more runs".into(),
        Reason::Starting => "it is being started".into(),
        Reason::Closing => "the server is ending: nothing begins".into(),
        Reason::NotReady { by, said } => {
            let by = by.map_or(String::new(), |by| format!(", and must be by {}", convert::time(by)));
            let said = said.as_ref().map_or(String::new(), |said| format!(": {said}"));
            format!("it is not ready yet{by}{said}")
        }
        Reason::GoesAfter { jobs } => {
            let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
            format!("it goes after {}, which need it", jobs.join(", "))
        }
        Reason::Stopping { why } => match why {
            StopWhy::Asked => "somebody asked for its end".into(),
            StopWhy::Interrupt => "its caller interrupted it".into(),
            StopWhy::Planned => "kin stops it, as it is planned".into(),
            StopWhy::Sick => "it did not answer any more".into(),
            StopWhy::NotReady => "it was not ready in time".into(),
        },
        Reason::Draining => "its process has ended, and others hold its output open".into(),
        Reason::Ended { outcome } => format!("it has ended: {}", super::convert::outcome_words(outcome)),
        Reason::Nothing => return None,
        Reason::Undefined => "nobody has defined it".into(),
        Reason::Removed => "its definition is gone".into(),
        Reason::Disabled { by_hand: true } => "somebody has disabled it".into(),
        Reason::Disabled { by_hand: false } => "its definition says that it is disabled".into(),
        Reason::Untimed { of: _, why } => format!("it is due at no time: {why}"),
        Reason::Over => "its schedules have no instant to come any more".into(),
        Reason::Skipped => "clocks skip the one time at which it is due, and dst = \"skip\" leaves it out".into(),
        Reason::Shut => "its calendars forbid each instant of its schedules for ten years to come".into(),
        Reason::Down => "it was stopped, and stays so until it is started".into(),
        Reason::Rests { slot, rest } => format!("slot {slot} stays empty: {}", resting(*rest)),
        Reason::Rolling { back_to: Some(rev) } => {
            format!("its runs are replaced one by one; if the new ones do not become ready, by revision {rev} again")
        }
        Reason::Rolling { back_to: None } => "its runs are replaced one by one".into(),
        Reason::WentBack { failed } => {
            format!("revision {failed} did not become ready, so the one before it is in force")
        }
        Reason::Round { waits_for } if waits_for.is_empty() => return None,
        Reason::Round { waits_for } => {
            let jobs: Vec<String> = waits_for.iter().map(ToString::to_string).collect();
            format!("it waits for the ends of {}", jobs.join(", "))
        }
    })
}

/// The same for programs.
pub fn said(reason: &Reason) -> Option<kin_api::why::Reason> {
    let of = |kind: &str, name: Option<String>, runs: &[RunId], until: Option<Time>| {
        Some(kin_api::why::Reason {
            kind: kind.into(),
            words: words(reason)?,
            name,
            runs: runs.iter().map(ToString::to_string).collect(),
            until: until.map(convert::time),
        })
    };
    let named = |name: &String| Some(name.clone());
    match reason {
        Reason::Latch { latch } => of("latch", named(latch), &[], None),
        Reason::Needs { job, because: NeedWhy::NotYet(run) } => {
            of("needs", Some(job.to_string()), std::slice::from_ref(run), None)
        }
        Reason::Needs { job, .. } => of("needs", Some(job.to_string()), &[], None),
        Reason::Backoff { until, .. } => of("retry", None, &[], Some(*until)),
        Reason::Delay { until, behind, .. } => of("delay", None, behind.as_slice(), Some(*until)),
        Reason::Group { group, holders, .. } => of("group", named(group), holders, None),
        Reason::Mutex { mutex, holders, .. } => of("mutex", named(mutex), holders, None),
        Reason::Turn { holders, .. } => of("turn", None, holders, None),
        Reason::Paused { queue } | Reason::TooLarge { queue, .. } => of("queue", named(queue), &[], None),
        Reason::Queue { queue, holders, .. } => of("queue", named(queue), holders, None),
        Reason::Behind { queue, first } => of("queue", named(queue), std::slice::from_ref(first), None),
        Reason::NoKeeper | Reason::NoRoom | Reason::Starting => of("keeper", None, &[], None),
        Reason::Making => of("surroundings", None, &[], None),
        Reason::Closing => of("closing", None, &[], None),
        Reason::NotReady { by, .. } => of("ready", None, &[], *by),
        Reason::GoesAfter { .. } | Reason::Stopping { .. } => of("stop", None, &[], None),
        Reason::Draining | Reason::Ended { .. } => of("end", None, &[], None),
        // Of jobs, not of runs.
        Reason::Nothing
        | Reason::Undefined
        | Reason::Removed
        | Reason::Disabled { .. }
        | Reason::Down
        | Reason::Rests { .. }
        | Reason::Rolling { .. }
        | Reason::WentBack { .. }
        | Reason::Untimed { .. }
        | Reason::Shut
        | Reason::Over
        | Reason::Skipped
        | Reason::Round { .. } => None,
    }
}

pub const fn resting(rest: Rest) -> &'static str {
    match rest {
        Rest::Stopped => "somebody stopped its run",
        Rest::Finished => "its run ended, and is not to be followed",
        Rest::GaveUp => "all its tries are used up",
    }
}

fn need(why: &NeedWhy) -> String {
    match why {
        NeedWhy::Undefined => "which nobody has defined".into(),
        NeedWhy::Disabled => "which is disabled".into(),
        NeedWhy::Down => "which was stopped".into(),
        NeedWhy::NotYet(run) => format!("whose run {run} is not ready, or not over, yet"),
        NeedWhy::Rests(rest) => format!("which is not there: {}", resting(*rest)),
        NeedWhy::NotDone => "which has not been run, or did not end well".into(),
        NeedWhy::GoesFirst => "which is started first".into(),
    }
}

fn names(runs: &[RunId]) -> String {
    if runs.is_empty() {
        return "nobody".into();
    }
    let names: Vec<String> = runs.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn line(before: usize) -> String {
    match before {
        0 => "it is the next".into(),
        1 => "one run is before it".into(),
        n => format!("{n} runs are before it"),
    }
}
