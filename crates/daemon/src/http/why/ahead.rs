//! What comes next: of a run that is not over, by the definitions in force; of one that is, what came of its end.

use super::followers::{Follower, How, words};
use super::{Facts, convert, length_u64};
use kin_core::job::{AfterRule, Restart};
use kin_core::{Hold, JobName, Join, Outcome, Outlook, Reason, Run, RunState, Time, Trigger};
use kin_ledger::{Event, Stage};

/// Which try it is, and how those before it ended.
pub(super) fn tries(run: &Run, facts: &Facts) -> Vec<String> {
    let mut story = Vec::new();
    let is_try = matches!(run.trigger, Trigger::Restart { .. } | Trigger::Retry { .. }) && run.attempt > 1;
    // Of one that waits, what is in its way says it.
    let said = facts.reasons.iter().any(|reason| matches!(reason, Reason::Backoff { .. }));
    if is_try && !said {
        let of = facts.outlook.as_ref().and_then(|outlook| outlook.tries).map_or(String::new(), |n| format!(" of {n}"));
        let was = if run.outcome().is_some() { "was" } else { "is" };
        story.push(format!("This {was} attempt {}{of}.", run.attempt));
    }
    match (facts.before.failed, &facts.before.last) {
        (0, Some(last)) => story.push(format!("The one before it, {}, ended: {}.", last.id(), words(last))),
        (1, Some(last)) => story.push(format!("The one before it, {}, failed: {}.", last.id(), words(last))),
        (n, Some(last)) => {
            let n = if n >= 100 { "100 or more".into() } else { n.to_string() };
            story.push(format!("Before it {n} in a row failed, the last one, {}, with {}.", last.id(), words(last)));
        }
        (_, None) => {}
    }
    if is_used_up(run, facts) {
        story.push("All its tries are used up.".into());
    }
    story
}

/// It was the last of several tries, and failed.
fn is_used_up(run: &Run, facts: &Facts) -> bool {
    let Some(outlook) = &facts.outlook else { return false };
    let again = |follower: &Follower| matches!(follower.how, How::Retry | How::Restart);
    let several = |tries: u32| tries > 1 || outlook.restart != Restart::Never;
    run.outcome().is_some_and(Outcome::is_failure)
        && outlook.tries.is_some_and(|tries| several(tries) && run.attempt >= tries)
        && !facts.followers.iter().any(again)
}

pub(super) fn next(run: &Run, facts: &Facts, now: Time) -> Vec<String> {
    let id = run.id();
    let paused =
        facts.reasons.iter().find_map(|reason| if let Reason::Paused { queue } = reason { Some(queue) } else { None });
    let first = match &run.state {
        RunState::Held { on: Hold::Latch(latch) } => {
            format!("Next: `kin release {latch}` lets it go; `kin stop {id}` cancels it.")
        }
        RunState::Held { on: Hold::Needs(_) } => {
            format!("Next: it starts when they are ready; `kin stop {id}` cancels it.")
        }
        RunState::Waiting { .. } => format!("Next: it starts then; `kin stop {id}` cancels it."),
        RunState::Queued if paused.is_some() => {
            format!(
                "Next: it starts when its queue goes on (`kin queue {} --resume`) and has a place free; `kin stop {id}` cancels it.",
                paused.map_or("", String::as_str)
            )
        }
        RunState::Queued => format!("Next: it starts when a place is free; `kin stop {id}` cancels it."),
        RunState::Starting { .. } => "Next: it runs.".into(),
        RunState::Running { .. } => match run.timeout_ms {
            Some(ms) => format!("Next: it ends by itself, or is ended after {} in all.", length_u64(ms)),
            None => "Next: it ends by itself.".into(),
        },
        RunState::Stopping { .. } => format!("Next: it ends; `kin kill {id}` does not wait for its grace."),
        RunState::Draining { .. } => {
            "Next: it counts as ended when its output is closed, or after a few seconds.".into()
        }
        RunState::Ended { .. } => return came_of(run, facts),
    };
    let mut story = vec![first];
    let Some(outlook) = &facts.outlook else { return story };
    // Of one that is told to end nobody knows yet what its end will count as; a first try has to begin before it may fail.
    if matches!(run.state, RunState::Running { .. }) || (run.attempt > 1 && run.state.is_pending()) {
        story.extend(again(run, outlook, now));
        story.extend(chain(outlook));
    }
    story.extend(outlook.joins.iter().map(|join| joined(&run.job, join)));
    let held: Vec<String> = outlook.held.iter().map(ToString::to_string).collect();
    if !held.is_empty() {
        let until = if outlook.restart == Restart::Never { "has ended well" } else { "is ready" };
        story.push(format!("Until {} {until}, {} must wait.", run.job, held.join(", ")));
    }
    if !outlook.restarted_with.is_empty() {
        story.push(format!("Restarted with it: {}.", names(&outlook.restarted_with)));
    }
    story
}

/// Whether another try follows, and after what wait.
fn again(run: &Run, outlook: &Outlook, now: Time) -> Vec<String> {
    let ends = match outlook.restart {
        Restart::Always => "When it has ended, well or badly,",
        Restart::OnFailure | Restart::Never => "If it fails,",
    };
    let rule = match outlook.restart {
        Restart::Never => "",
        Restart::OnFailure => " (`restart = \"on-failure\"`)",
        Restart::Always => " (`restart = \"always\"`)",
    };
    let verb = if outlook.restart == Restart::Never { "tried again" } else { "started again" };
    let mut story = match (outlook.again, outlook.tries) {
        (Some((attempt, wait)), tries) => {
            let of = tries.map_or(String::new(), |tries| format!(" of {tries}"));
            let wait = if wait.0 == 0 { "at once".into() } else { format!("{} later", length_u64(wait.0)) };
            vec![format!("{ends} it is {verb} {wait}, as attempt {attempt}{of}{rule}.")]
        }
        (None, Some(tries)) if run.attempt >= tries && (tries > 1 || outlook.restart != Restart::Never) => {
            vec![format!("It is the last of its {tries} tries: if it fails, it is not {verb}.")]
        }
        (None, _) if outlook.restart != Restart::Never => vec!["When it has ended, it is not started again.".into()],
        (None, _) => Vec::new(),
    };
    if let Some(at) = outlook.healthy_at.filter(|at| *at > now && run.attempt > 1) {
        story.push(format!("If it lives until {}, its attempts are counted anew.", convert::time(at)));
    }
    story
}

fn chain(outlook: &Outlook) -> Vec<String> {
    let side = |jobs: &[JobName], when: &str| (!jobs.is_empty()).then(|| format!("{when}: {}.", names(jobs)));
    let for_good = match outlook.again {
        Some(_) => "After a bad end, once no try is left",
        None => "After a bad end",
    };
    // A service that is always started again has no end that a chain follows, but the one that uses up its tries.
    let well = outlook.restart != Restart::Always;
    let next = if well { side(&outlook.next, "After a good end") } else { None };
    next.into_iter().chain(side(&outlook.error, for_good)).collect()
}

fn joined(job: &JobName, join: &Join) -> String {
    let others: Vec<JobName> = join.waits_for.iter().filter(|name| *name != job).cloned().collect();
    let rule = match join.rule {
        AfterRule::AllOk => "has ended well",
        AfterRule::AllDone => "has ended",
        AfterRule::Any => return format!("{} comes after the first good end of {}.", join.job, names(&join.of)),
    };
    match others.as_slice() {
        [] => format!("{} comes after it, once it {rule}.", join.job),
        _ => format!("{} comes after it, once it {rule}, and waits for {} too.", join.job, names(&others)),
    }
}

/// What came of a run that is over, and of what is still to come.
fn came_of(run: &Run, facts: &Facts) -> Vec<String> {
    let of_it: Vec<String> = facts.followers.iter().map(follower).collect();
    // The event of its end names all; without it a chain that has another definition by now may be missing.
    let is_end = |event: &Event| event.change.as_ref().is_some_and(|change| change.to == Stage::Ended);
    let all_known = !run.is_defined() || facts.events.iter().any(is_end);
    let mut story = match of_it.as_slice() {
        [] if all_known => vec!["Nothing followed from it.".to_string()],
        [] => vec!["Nothing that is still known followed from it.".into()],
        _ => vec![format!("From it followed {}.", of_it.join(", "))],
    };
    let joins = facts.outlook.iter().flat_map(|outlook| &outlook.joins);
    let came = |join: &&Join| facts.followers.iter().any(|follower| follower.run.job == join.job);
    // Its end, or a later one of its job, counts already; what is missing is others'.
    let waits =
        |join: &&Join| join.rule != AfterRule::Any && !join.waits_for.is_empty() && !join.waits_for.contains(&run.job);
    story.extend(joins.filter(|join| !came(join)).filter(waits).map(|join| {
        format!("{} comes after {}, and waits for {}.", join.job, names(&join.of), names(&join.waits_for))
    }));
    story
}

fn follower(follower: &Follower) -> String {
    let run = &follower.run;
    let until = run.state.until().map_or_else(String::new, |at| format!(" until {}", convert::time(at)));
    let how = match &follower.how {
        How::Retry | How::Restart => format!("attempt {}", run.attempt),
        How::After { with: Some(last) } => format!("after it and {last}"),
        How::After { with: None } => "after it and others".into(),
        How::Next => "next".into(),
        How::Error => "error".into(),
        How::Skipped => "which needed it".into(),
    };
    format!("{} ({how}: {}{until})", run.id(), words(run))
}

fn names(jobs: &[JobName]) -> String {
    jobs.iter().map(JobName::as_str).collect::<Vec<_>>().join(", ")
}

/// The same for programs.
pub fn said(run: &Run, facts: &Facts) -> Option<kin_api::why::Outlook> {
    let outlook = facts.outlook.as_ref()?;
    let texts = |jobs: &[JobName]| jobs.iter().map(ToString::to_string).collect();
    let join = |join: &Join| kin_api::why::Join {
        job: join.job.to_string(),
        rule: match join.rule {
            AfterRule::AllOk => "all-ok",
            AfterRule::AllDone => "all-done",
            AfterRule::Any => "any",
        }
        .into(),
        of: texts(&join.of),
        waits_for: texts(&join.waits_for),
    };
    let over = run.outcome().is_some();
    let again = |(attempt, wait): (u32, kin_core::job::Millis)| kin_api::why::Again { attempt, delay_ms: wait.0 };
    Some(kin_api::why::Outlook {
        restart: match outlook.restart {
            Restart::Never => "never",
            Restart::OnFailure => "on-failure",
            Restart::Always => "always",
        }
        .into(),
        tries: outlook.tries,
        failed_in_row: facts.before.failed + u32::from(run.outcome().is_some_and(Outcome::is_failure)),
        used_up: is_used_up(run, facts),
        again: outlook.again.filter(|_| !over).map(again),
        healthy_at: outlook.healthy_at.map(convert::time),
        next: texts(&outlook.next),
        error: texts(&outlook.error),
        joins: outlook.joins.iter().map(join).collect(),
        held: outlook.held.iter().map(ToString::to_string).collect(),
        restarted_with: texts(&outlook.restarted_with),
    })
}
