//! A job as the contract says it: the one word for how it stands, and the words behind that.

use super::{convert, glob, reason};
use crate::engine::{JobNow, QueueNow};
use kin_api::job::{Definition, Job, Mistake, Never, PlanStep, Queue, Source};
use kin_config::Report;
use kin_core::job::Program;
use kin_core::{Reason, Rest, Run, RunState, Time, Untimed};
use std::collections::BTreeMap;

/// `runs` and `last` as they are said.
pub fn job(now: &JobNow, runs: Vec<kin_api::Run>, last: Option<kin_api::Run>) -> Job {
    let (standing, job) = (&now.standing, &now.job);
    let mut why: Vec<String> = now.why.iter().filter_map(reason::words).collect();
    why.dedup();
    Job {
        name: standing.job.to_string(),
        description: job.description.clone(),
        kind: if job.life.is_service() { "service" } else { "task" }.into(),
        source: source(&now.source),
        stale: now.stale.is_some(),
        stale_because: now.stale.clone(),
        rev: standing.rev,
        failed_rev: standing.failed,
        disabled: disabled(now),
        paused_until: standing.paused.map(|at| convert::time(Time(at.saturating_mul(1_000_000_000)))),
        up: job.life.is_service() && standing.up,
        removed: standing.removed,
        instances: standing.scale.unwrap_or(job.life.instances),
        scaled: standing.scale.is_some(),
        state: state(now).into(),
        reason: (!why.is_empty()).then(|| why.join("; ")),
        command: match &job.program {
            Program::Shell(line) => vec!["sh".into(), "-c".into(), line.clone()],
            Program::Exec(words) => words.clone(),
        },
        schedule: job.time.schedules.clone(),
        tags: job.tags.clone(),
        runs,
        last,
        never: now.why.iter().find_map(never),
        next_at: now.next.map(|at| convert::time(Time(at.saturating_mul(1_000_000_000)))),
    }
}

fn never(reason: &Reason) -> Option<Never> {
    if let Reason::Untimed { of, .. } = reason {
        return Some(match of {
            Untimed::Here | Untimed::Zone { .. } => Never::NoZone,
            Untimed::Schedule { .. } | Untimed::Calendar { .. } => Never::Unreadable,
        });
    }
    let known = [(Reason::Shut, Never::Calendars), (Reason::Over, Never::Over), (Reason::Skipped, Never::Skipped)];
    known.into_iter().find(|(known, _)| known == reason).map(|(_, never)| never)
}

pub fn source(source: &kin_ledger::Source) -> Source {
    match source {
        kin_ledger::Source::File { path } => Source::File { path: path.clone() },
        kin_ledger::Source::Api { by } => Source::Api { by: by.clone() },
        kin_ledger::Source::Project { project, path } => {
            Source::Project { project: project.clone(), path: path.clone() }
        }
    }
}

pub fn definition(found: kin_ledger::Definition) -> Definition {
    Definition {
        job: found.job.to_string(),
        rev: found.rev,
        at: convert::time(found.at),
        source: source(&found.source),
        text: found.text,
    }
}

/// A name, a glob of one, or `@tag`.
pub fn is_meant(pattern: &str, now: &JobNow) -> bool {
    match pattern.strip_prefix('@') {
        Some(tag) => now.job.tags.iter().any(|has| has == tag),
        None => glob::fits(pattern, now.standing.job.as_str()),
    }
}

fn disabled(now: &JobNow) -> bool {
    now.standing.disabled.unwrap_or(now.job.disabled)
}

/// What goes on counts before what waits, and what waits before what is only wished.
fn state(now: &JobNow) -> &'static str {
    let any = |is: fn(&RunState) -> bool| now.runs.iter().any(|run| is(&run.state));
    let service = now.job.life.is_service();
    let running = |run: &&Run| matches!(run.state, RunState::Running { .. });
    if let Some(run) = now.runs.iter().find(running) {
        let all_ready = now.runs.iter().filter(running).all(|run| run.health.ready_at.is_some());
        let checked = now.job.life.ready.is_some() && run.is_defined();
        let any_ready = now.runs.iter().filter(running).any(|run| run.health.ready_at.is_some());
        return match (checked, any_ready, all_ready) {
            (true, _, true) => "ready",
            (true, false, false) => "starting",
            (true, true, false) | (false, _, _) => "running",
        };
    }
    if any(|state| matches!(state, RunState::Starting { .. })) {
        "starting"
    } else if any(|state| matches!(state, RunState::Waiting { .. } | RunState::Queued)) {
        "waiting"
    } else if any(|state| matches!(state, RunState::Held { .. })) {
        "held"
    } else if any(|state| matches!(state, RunState::Stopping { .. } | RunState::Draining { .. })) {
        "stopping"
    } else if disabled(now) {
        "disabled"
    } else if now.standing.rest.values().any(|rest| *rest == Rest::GaveUp) {
        "gave-up"
    } else if service && (!now.standing.up || is_stopped(now) || now.why.contains(&Reason::Down)) {
        "down"
    } else {
        "idle"
    }
}

/// Somebody stopped a run of it. (One whose runs ended well, and are not to be followed, has nothing to do.)
fn is_stopped(now: &JobNow) -> bool {
    now.standing.rest.values().any(|rest| *rest == Rest::Stopped)
}

pub fn step(step: &crate::engine::Step) -> PlanStep {
    PlanStep {
        job: step.job.to_string(),
        what: step.what.into(),
        follows: step.follows.clone(),
        keys: step.keys.clone(),
    }
}

pub fn mistakes(report: &Report) -> Vec<Mistake> {
    let one = |mistake: &kin_config::Mistake| {
        let place = mistake.at.as_ref().and_then(|spot| report.place(spot));
        let number = |n: usize| u32::try_from(n).ok();
        Mistake {
            severity: mistake.severity.word().into(),
            file: place.map_or_else(String::new, |(source, _)| source.path.display().to_string()),
            line: place.and_then(|(_, place)| number(place.line)),
            column: place.and_then(|(_, place)| number(place.column)),
            message: mistake.message.clone(),
            hint: mistake.help.clone(),
            text: report.one(mistake, false),
        }
    };
    report.mistakes.iter().map(one).collect()
}

pub fn queue(now: &QueueNow) -> Queue {
    let mut taken: BTreeMap<String, u32> = now.queue.slots.keys().map(|resource| (resource.clone(), 0)).collect();
    for run in &now.running {
        for (resource, taken) in &mut taken {
            let plain = u32::from(resource == "slots");
            *taken = taken.saturating_add(run.terms.need.get(resource).copied().unwrap_or(plain));
        }
    }
    let ids = |runs: &[Run]| runs.iter().map(|run| run.id().to_string()).collect();
    Queue {
        name: now.queue.name.clone(),
        paused: now.queue.paused,
        slots: now.queue.slots.clone(),
        taken,
        running: ids(&now.running),
        waiting: ids(&now.waiting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_job_is_never_due_is_one_word_for_programs() {
        let untimed = |of: Untimed| Reason::Untimed { of, why: "as it says".into() };
        for (reason, word) in [
            (Reason::Shut, Some("calendars")),
            (Reason::Over, Some("over")),
            (Reason::Skipped, Some("skipped")),
            (untimed(Untimed::Here), Some("no-zone")),
            (untimed(Untimed::Zone { name: "Foo/Bar".into() }), Some("no-zone")),
            (untimed(Untimed::Calendar { name: "off".into() }), Some("unreadable")),
            (Reason::Down, None),
        ] {
            let said = never(&reason).map(|never| serde_json::to_value(never).expect("json"));
            assert_eq!(said, word.map(Into::into), "{reason:?}");
        }
    }
}
