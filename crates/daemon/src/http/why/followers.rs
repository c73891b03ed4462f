//! Which runs came of a run's end, also when they are over.
//!
//! What follows from an end is made in the commit that records it, so the events next to that of the end name all of it;
//! each run's own trigger then says whether it is one. Where those events are not kept any more, the next runs of the jobs
//! that may follow are looked at. A join (`after`) names only the last end that it waited for: for the others it is the
//! next run of that job, if nothing of theirs came in between.

use crate::http::convert;
use kin_core::job::AfterRule;
use kin_core::{Join, Outcome, Outlook, Run, RunId, Trigger};
use kin_ledger::{Event, ReadError, Reader, Stage};

/// Events behind the one of an end, and runs of one job, that are looked at.
const EVENTS: u32 = 500;
const RUNS: u32 = 200;
/// So many are told.
const TOLD: usize = 100;
/// Runs before it that are looked at, for how many in a row have failed.
const BEFORE: u32 = 100;

/// A run that came of another one's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Follower {
    pub run: Run,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    Retry,
    Restart,
    Next,
    Error,
    /// It waited for this end and others; `with` is the last of them, where that is another run.
    After {
        with: Option<RunId>,
    },
    /// It was held for this run's good end, and skipped.
    Skipped,
}

impl How {
    pub const fn word(&self) -> &'static str {
        match self {
            How::Retry => "retry",
            How::Restart => "restart",
            How::Next => "next",
            How::Error => "error",
            How::After { .. } => "after",
            How::Skipped => "skipped",
        }
    }
}

/// Oldest first. Of a run that is not over there are none.
pub fn of(ledger: &Reader, run: &Run, events: &[Event], outlook: Option<&Outlook>) -> Result<Vec<Follower>, ReadError> {
    if run.outcome().is_none() {
        return Ok(Vec::new());
    }
    let is_end = |event: &&Event| event.change.as_ref().is_some_and(|change| change.to == Stage::Ended);
    let mut followers = match events.iter().rev().find(is_end) {
        Some(end) => beside(ledger, run, end.seq, outlook)?,
        None => by_job(ledger, run, outlook)?,
    };
    for join in outlook.iter().flat_map(|outlook| &outlook.joins) {
        if !followers.iter().any(|follower| follower.run.job == join.job) {
            followers.extend(round(ledger, run, join)?);
        }
    }
    followers.sort_by_key(|follower| follower.run.no);
    followers.dedup_by_key(|follower| follower.run.no);
    followers.truncate(TOLD);
    Ok(followers)
}

/// By the events behind that of its end.
fn beside(ledger: &Reader, run: &Run, end: u64, outlook: Option<&Outlook>) -> Result<Vec<Follower>, ReadError> {
    let mut found = Vec::new();
    let skipped = format!("{} ended ", run.id());
    for event in ledger.events_after(end, EVENTS)? {
        let Some(id) = &event.run else { continue };
        let is_new = event.change.as_ref().is_some_and(|change| change.from.is_none());
        let in_vain =
            event.kind == "run.skipped" && event.message.as_ref().is_some_and(|words| words.starts_with(&skipped));
        if !is_new && !in_vain {
            continue;
        }
        let Some(other) = ledger.run(id.no)? else { continue };
        let how = if in_vain { Some(How::Skipped) } else { how(run, &other, outlook) };
        found.extend(how.map(|how| Follower { run: other, how }));
    }
    Ok(found)
}

/// By the next runs of the jobs that may follow.
fn by_job(ledger: &Reader, run: &Run, outlook: Option<&Outlook>) -> Result<Vec<Follower>, ReadError> {
    let targets = outlook.iter().flat_map(|outlook| {
        outlook.next.iter().chain(&outlook.error).chain(outlook.joins.iter().map(|join| &join.job))
    });
    let mut found = Vec::new();
    for job in std::iter::once(&run.job).chain(targets) {
        let others = ledger.runs_after(job, run.no, RUNS)?;
        found.extend(others.into_iter().filter_map(|other| {
            let how = how(run, &other, outlook)?;
            Some(Follower { run: other, how })
        }));
    }
    Ok(found)
}

/// `None`: it does not come of this run.
fn how(run: &Run, other: &Run, outlook: Option<&Outlook>) -> Option<How> {
    match &other.trigger {
        Trigger::Chain { run: no, error: true } if *no == run.no => Some(How::Error),
        Trigger::Chain { run: no, error: false } if *no == run.no => {
            let is_join = outlook.is_some_and(|outlook| {
                !outlook.next.contains(&other.job) && outlook.joins.iter().any(|join| join.job == other.job)
            });
            Some(if is_join { How::After { with: None } } else { How::Next })
        }
        Trigger::Restart { run: no } if *no == run.no => Some(How::Restart),
        Trigger::Retry { run: no, .. } if *no == run.no => Some(How::Retry),
        Trigger::Manual { .. }
        | Trigger::Schedule { .. }
        | Trigger::Chain { .. }
        | Trigger::Boot
        | Trigger::Restart { .. }
        | Trigger::Retry { .. }
        | Trigger::Watch { .. }
        | Trigger::Dependency
        | Trigger::Adopt { .. } => (other.follows == Some(run.no)).then_some(How::Restart),
    }
}

/// The run of the round that this end was one of, where another end was the last.
fn round(ledger: &Reader, run: &Run, join: &Join) -> Result<Option<Follower>, ReadError> {
    let (Some(ended), Some(outcome)) = (run.ended_at, run.outcome()) else { return Ok(None) };
    let counts = !matches!(outcome, Outcome::Skipped(_) | Outcome::Cancelled);
    // What runs at the first good end came of that one alone.
    if !counts || join.rule == AfterRule::Any || (join.rule == AfterRule::AllOk && *outcome != Outcome::Ok) {
        return Ok(None);
    }
    let candidates = ledger.runs_after(&join.job, run.no, RUNS)?;
    for other in candidates.into_iter().filter(|other| other.created_at >= ended) {
        let Trigger::Chain { run: last, error: false } = other.trigger else { continue };
        let Some(last) = ledger.run(last)?.filter(|last| last.no != run.no && join.of.contains(&last.job)) else {
            continue;
        };
        // Only the latest end of each job counts in a round.
        let between = |later: &Run| later.ended_at.is_some_and(|at| at > ended && at <= other.created_at);
        let overtaken = last.job == run.job || ledger.runs_after(&run.job, run.no, RUNS)?.iter().any(between);
        let how = How::After { with: Some(last.id()) };
        return Ok((!overtaken).then_some(Follower { run: other, how }));
    }
    Ok(None)
}

/// The runs right before it, of the same slot or the same tries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Before {
    /// So many of them have failed, one after the other; the count ends at 100.
    pub failed: u32,
    /// The nearest.
    pub last: Option<Run>,
}

pub fn before(ledger: &Reader, run: &Run) -> Result<Before, ReadError> {
    let mut before = Before::default();
    // The first attempt begins a new count.
    let mut here = (run.attempt > 1).then_some(run.follows).flatten();
    while let Some(no) = here.filter(|_| before.failed < BEFORE) {
        let Some(other) = ledger.run(no)? else { break };
        let failed = other.outcome().is_some_and(Outcome::is_failure);
        here = other.follows.filter(|_| other.attempt > 1);
        before.last.get_or_insert(other);
        if !failed {
            break;
        }
        before.failed += 1;
    }
    Ok(before)
}

pub fn said(follower: &Follower) -> kin_api::why::Follower {
    let run = &follower.run;
    kin_api::why::Follower {
        id: run.id().to_string(),
        job: run.job.to_string(),
        how: follower.how.word().into(),
        attempt: run.attempt,
        state: run.state.word().into(),
        outcome: run.outcome().map(|outcome| outcome.word().into()),
        words: words(run),
        created_at: convert::time(run.created_at),
        ended_at: run.ended_at.map(convert::time),
        until: run.state.until().map(convert::time),
        with: match &follower.how {
            How::After { with } => with.as_ref().map(ToString::to_string),
            How::Retry | How::Restart | How::Next | How::Error | How::Skipped => None,
        },
    }
}

/// `ok`, `running`.
pub fn words(run: &Run) -> String {
    run.outcome().map_or_else(|| run.state.word().into(), convert::outcome_words)
}

/// The run whose end it came of.
pub fn cause(ledger: &Reader, run: &Run) -> Result<Option<Run>, ReadError> {
    match run.trigger {
        Trigger::Chain { run, .. } | Trigger::Restart { run } | Trigger::Retry { run, .. } => ledger.run(run),
        Trigger::Manual { .. }
        | Trigger::Schedule { .. }
        | Trigger::Boot
        | Trigger::Watch { .. }
        | Trigger::Dependency
        | Trigger::Adopt { .. } => Ok(None),
    }
}
