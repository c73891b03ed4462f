//! The causal story of a run, in plain sentences: what happened, why it waits, what comes next.

use super::convert::{self, system_words};
use super::signal;
use kin_core::{Exit, Hold, LostWhy, Outcome, Run, RunState, SkipWhy, StopWhy, Time, Trigger, UnhealthyWhy};
use kin_ledger::{Event, Stage};

/// `events` are the run's own, oldest first; `live` is every run that is not over.
pub fn story(run: &Run, events: &[Event], live: &[Run], now: Time) -> Vec<String> {
    let mut story = vec![beginning(run)];
    story.extend(events.iter().filter_map(change));
    story.extend(standing(run, live, now));
    story.push(next(run));
    story
}

fn beginning(run: &Run) -> String {
    let command = run.command.join(" ");
    let cause = match &run.trigger {
        Trigger::Manual { by } => format!("was asked for by {by}"),
        Trigger::Schedule { at, .. } => {
            format!("came by its schedule of {}", convert::time(Time::from_millis(at.saturating_mul(1000))))
        }
        Trigger::Chain { run, error: false } => format!("followed the good end of run {run}"),
        Trigger::Chain { run, error: true } => format!("followed the bad end of run {run}"),
        Trigger::Boot => "was up before, and came with this server or machine".into(),
        Trigger::Restart { run } => format!("took the place of run {run}"),
        Trigger::Retry { run: before } => format!("is attempt {}, after run {before}", run.attempt),
        Trigger::Watch { path } => format!("came because {path} changed"),
        Trigger::Dependency => "came because another job needs it".into(),
    };
    format!("{} {cause} at {}: {command}", run.id(), convert::time(run.created_at))
}

fn change(event: &Event) -> Option<String> {
    let Some(change) = &event.change else {
        let words = event.message.as_ref()?;
        return Some(format!("{}: {words}.", convert::time(event.at)));
    };
    let what = match (change.from, change.to) {
        (_, Stage::Held) => "it was held".to_string(),
        (_, Stage::Waiting) => "it was to wait after the end of the one before".into(),
        (Some(Stage::Waiting), Stage::Starting) => "its wait was over, and it was to start".into(),
        (Some(Stage::Held), Stage::Queued) => "its latch was released, and it queued for a place".into(),
        (_, Stage::Queued) => "it queued for a place in its group".into(),
        (Some(Stage::Held), Stage::Starting) => "its latch was released, and it was to start".into(),
        (Some(Stage::Queued), Stage::Starting) => "a place became free, and it was to start".into(),
        (_, Stage::Starting) => "it was to start".into(),
        (_, Stage::Running) => "it ran".into(),
        (_, Stage::Stopping) => "it was asked to stop".into(),
        (_, Stage::Draining) => format!("its process ended{}", exit(change.exit)),
        (_, Stage::Ended) => match &change.outcome {
            Some(outcome) => format!("it ended: {outcome}"),
            None => "it ended".into(),
        },
    };
    Some(format!("{}: {what}.", convert::time(event.at)))
}

fn exit(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(code)) => format!(" with code {code}"),
        Some(Exit::Signal { signal: number, core }) => {
            let dump = if core { " and left a core dump" } else { "" };
            format!(" by signal {}{dump}", signal::name(number))
        }
        None => String::new(),
    }
}

/// Where it stands now, and why it stands there.
fn standing(run: &Run, live: &[Run], now: Time) -> Vec<String> {
    match &run.state {
        RunState::Held { on: Hold::Latch(latch) } => {
            vec![format!("It waits until somebody releases the latch {latch:?}.")]
        }
        RunState::Held { on: Hold::Needs(jobs) } => {
            let names: Vec<String> = jobs.iter().map(ToString::to_string).collect();
            vec![format!("It waits until what it needs is ready: {}.", names.join(", "))]
        }
        RunState::Waiting { until, .. } => vec![format!("It waits until {}.", convert::time(*until))],
        RunState::Queued => queue(run, live),
        RunState::Starting { generation: None } => vec!["No keeper has taken it yet.".into()],
        RunState::Starting { generation: Some(_) } => {
            vec!["A keeper has been told to start it, and has not yet said that it lives.".into()]
        }
        RunState::Running { unowned, interrupted } => running(run, *unowned, *interrupted, now),
        RunState::Stopping { why } => vec![stopping(run, *why)],
        RunState::Draining { .. } => {
            vec!["Its process has ended, but another one still holds its output open.".into()]
        }
        RunState::Ended { outcome } => vec![verdict(run, outcome)],
    }
}

fn queue(run: &Run, live: &[Run]) -> Vec<String> {
    let group = run.group.as_deref().unwrap_or_default();
    let same = || live.iter().filter(|other| other.group.as_deref() == Some(group) && other.no != run.no);
    let going: Vec<String> =
        same().filter(|other| other.state.is_going()).map(|other| other.id().to_string()).collect();
    let before = same().filter(|other| other.state == RunState::Queued && other.no < run.no).count();
    let mut story = vec![format!(
        "It waits for a place in the group {group:?}: {} of at most {} are taken, by {}.",
        going.len(),
        run.group_max,
        if going.is_empty() { "nobody".into() } else { going.join(", ") }
    )];
    story.push(match before {
        0 => "It is the first in the queue.".into(),
        1 => "One run is before it in the queue.".into(),
        n => format!("{n} runs are before it in the queue."),
    });
    story
}

fn running(run: &Run, unowned: bool, interrupted: bool, now: Time) -> Vec<String> {
    let mut story = Vec::new();
    let pid = run.pid.map_or(String::new(), |pid| format!(" as process {pid}"));
    let since =
        run.started_at.map_or(String::new(), |at| format!(" for {}", length(now.millis().saturating_sub(at.millis()))));
    story.push(format!("It has been running{pid}{since}."));
    if interrupted {
        story.push("Its caller's interruption was passed on to it, and it goes on.".into());
    }
    if unowned {
        story.push("Both keepers died at once, so nobody keeps its output, and its exit code may not be known.".into());
    }
    story
}

fn stopping(run: &Run, why: StopWhy) -> String {
    let who = match why {
        StopWhy::Asked => "Somebody asked it to stop",
        StopWhy::Interrupt => "Its caller interrupted it",
        StopWhy::Planned => "kin stops it, because its job or what it needs has changed",
        StopWhy::Sick => "It did not answer any more, so kin stops it",
        StopWhy::NotReady => "It was not ready in time, so kin stops it",
    };
    let alive = if run.started_at.is_some() { "has not ended yet" } else { "was only just starting" };
    format!("{who}, and it {alive}; if it does not end by itself it is killed.")
}

fn verdict(run: &Run, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok => "It ended well, with code 0.".into(),
        Outcome::Failed { code } => format!("It failed: its program ended with code {code}."),
        Outcome::Signaled { signal: number } => {
            format!("A signal that kin did not send ended it: {}.", signal::name(*number))
        }
        Outcome::TimedOut => match run.timeout_ms {
            Some(ms) => format!("It took longer than its timeout of {}, and kin ended it.", length_u64(ms)),
            None => "It took longer than its timeout, and kin ended it.".into(),
        },
        Outcome::OomKilled => "The kernel killed it because memory was used up.".into(),
        Outcome::Stopped => "Somebody asked for its end.".into(),
        Outcome::Interrupted => "Its caller's interruption was passed on to it, and it ended by that.".into(),
        Outcome::SpawnFailed { step, errno } => {
            format!("Its program was never started: {} failed: {}.", step.word(), system_words(*errno))
        }
        Outcome::Unhealthy(UnhealthyWhy::Sick) => "It did not answer any more, and kin ended it.".into(),
        Outcome::Unhealthy(UnhealthyWhy::NotReady) => "It was not ready in time, and kin ended it.".into(),
        Outcome::Skipped(SkipWhy::Loop) => "It was skipped: its chain had come to this job before.".into(),
        Outcome::Skipped(SkipWhy::Overlap) => "It was skipped: another run of its job was not over.".into(),
        Outcome::Skipped(SkipWhy::Disabled) => "It was skipped: its job is disabled.".into(),
        Outcome::Skipped(SkipWhy::Calendar) => "It was skipped: its calendar forbids that time.".into(),
        Outcome::Skipped(SkipWhy::Dependency) => "It was skipped: what it depends on did not end well.".into(),
        Outcome::Cancelled => "It was cancelled before it had started.".into(),
        Outcome::Lost(LostWhy::Reboot) => "The machine was restarted while it was not over.".into(),
        Outcome::Lost(LostWhy::Unknown) => {
            "kin cannot know how it ended, because all who watched it had died; it does not guess.".into()
        }
    }
}

fn next(run: &Run) -> String {
    let id = run.id();
    match &run.state {
        RunState::Held { on: Hold::Latch(latch) } => {
            format!("Next: `kin release {latch}` lets it go; `kin stop {id}` cancels it.")
        }
        RunState::Held { on: Hold::Needs(_) } => {
            format!("Next: it starts when they are ready; `kin stop {id}` cancels it.")
        }
        RunState::Waiting { .. } => format!("Next: it starts then; `kin stop {id}` cancels it."),
        RunState::Queued => format!("Next: it starts when a place is free; `kin stop {id}` cancels it."),
        RunState::Starting { .. } => "Next: it runs.".into(),
        RunState::Running { .. } => match run.timeout_ms {
            Some(ms) => format!("Next: it ends by itself, or is ended after {} in all.", length_u64(ms)),
            None => "Next: it ends by itself.".into(),
        },
        RunState::Stopping { .. } => "Next: it ends.".into(),
        RunState::Draining { .. } => {
            "Next: it counts as ended when its output is closed, or after a few seconds.".into()
        }
        RunState::Ended { .. } => "Nothing follows from it.".into(),
    }
}

fn length_u64(ms: u64) -> String {
    length(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// The two greatest units: `1 h 5 min`, `2.5 s`.
fn length(ms: i64) -> String {
    let ms = ms.max(0);
    let (s, min, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match (d, h, min) {
        (0, 0, 0) => format!("{}.{} s", s, ms % 1000 / 100),
        (0, 0, min) => format!("{min} min {} s", s % 60),
        (0, h, min) => format!("{h} h {} min", min % 60),
        (d, h, _) => format!("{d} d {} h", h % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::convert::tests::sample;
    use kin_core::{RunNo, SpawnStep};
    use kin_ledger::Change;

    #[test]
    fn a_queued_run_says_whom_it_waits_for() {
        let mut run = sample(RunState::Queued);
        (run.group, run.group_max) = (Some("disk".into()), 1);
        let mut other = run.clone();
        other.no = RunNo::parse("00000007").expect("a number");
        other.state = RunState::Running { unowned: false, interrupted: false };
        let story = story(&run, &[], &[other, run.clone()], run.created_at);
        assert_eq!(
            story[1],
            "It waits for a place in the group \"disk\": 1 of at most 1 are taken, by backup-00000007."
        );
        assert_eq!(story[2], "It is the first in the queue.");
        assert_eq!(story[3], "Next: it starts when a place is free; `kin stop backup-NeP8nb4q` cancels it.");
    }

    #[test]
    fn an_ended_run_tells_its_life_in_order() {
        let run = sample(RunState::Ended { outcome: Outcome::SpawnFailed { step: SpawnStep::Exec, errno: 2 } });
        let event = |from, to, outcome| Event {
            seq: 1,
            at: run.created_at,
            kind: "run.state".into(),
            run: Some(run.id()),
            change: Some(Change { from, to, outcome, exit: None }),
            message: None,
        };
        let events =
            [event(None, Stage::Starting, None), event(Some(Stage::Starting), Stage::Ended, run.outcome().cloned())];
        let want = [
            "backup-NeP8nb4q was asked for by uid:1000 at 2026-11-30T13:54:01.120Z: true",
            "2026-11-30T13:54:01.120Z: it was to start.",
            "2026-11-30T13:54:01.120Z: it ended: spawn-failed(exec, 2).",
            "Its program was never started: exec failed: No such file or directory.",
            "Nothing follows from it.",
        ];
        assert_eq!(story(&run, &events, &[], run.created_at), want);
    }

    #[test]
    fn lengths_are_short() {
        for (ms, want) in
            [(0, "0.0 s"), (2_540, "2.5 s"), (65_000, "1 min 5 s"), (3_900_000, "1 h 5 min"), (90_000_000, "1 d 1 h")]
        {
            assert_eq!(length(ms), want);
        }
    }
}
