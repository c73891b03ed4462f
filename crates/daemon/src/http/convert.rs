//! Core terms as the contract says them. The only place where a run becomes JSON.

use kin_api::run::{SpawnFailure, Trigger as ApiTrigger};
use kin_core::{Exit, Hold, Outcome, Run, RunState, Time, Trigger};
use kin_ledger::Event;
use std::collections::BTreeMap;

/// RFC 3339 in UTC with milliseconds.
pub fn time(at: Time) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(at.0)) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => String::new(),
    }
}

/// The inverse, for filters; any RFC 3339 with an offset will do.
pub fn parse_time(text: &str) -> Option<Time> {
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok().map(Time)
}

pub fn run(run: &Run, host: &str) -> kin_api::Run {
    let outcome = run.outcome();
    let (exit_code, signal) = exit(run);
    kin_api::Run {
        id: run.id().to_string(),
        job: run.job.to_string(),
        slot: run.slot,
        attempt: run.attempt,
        follows: run.follows.map(|no| no.to_string()),
        trigger: trigger(&run.trigger),
        rev: (run.terms.rev != 0).then_some(run.terms.rev),
        state: run.state.word().into(),
        outcome: outcome.map(|o| o.word().into()),
        exit_code,
        signal,
        reason: outcome.and_then(Outcome::reason).map(String::from),
        spawn: outcome.and_then(spawn_failure),
        pid: run.pid,
        host: host.into(),
        created_at: time(run.created_at),
        started_at: run.started_at.map(time),
        ended_at: run.ended_at.map(time),
        out_bytes: run.out_bytes,
        err_bytes: run.err_bytes,
        out_dropped: run.out_dropped,
        err_dropped: run.err_dropped,
        max_rss_bytes: run.max_rss_bytes,
        cpu_ms: run.cpu_ms,
        read_bytes: run.notes.read_bytes,
        write_bytes: run.notes.write_bytes,
        port: run.notes.port,
        left_out: run.notes.left_out.clone(),
        status: run.notes.status.clone(),
        leaving: run.notes.leaving,
        warnings: warnings(run),
        tags: run.tags.clone(),
        command: run.command.clone(),
        directory: run.directory.clone(),
        latch: match &run.state {
            RunState::Held { on: Hold::Latch(latch) } => Some(latch.clone()),
            RunState::Held { on: Hold::Needs(_) }
            | RunState::Waiting { .. }
            | RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. }
            | RunState::Ended { .. } => None,
        },
        needs: match &run.state {
            RunState::Held { on: Hold::Needs(jobs) } => jobs.iter().map(ToString::to_string).collect(),
            RunState::Held { on: Hold::Latch(_) }
            | RunState::Waiting { .. }
            | RunState::Queued
            | RunState::Starting { .. }
            | RunState::Running { .. }
            | RunState::Stopping { .. }
            | RunState::Draining { .. }
            | RunState::Ended { .. } => Vec::new(),
        },
        until: run.state.until().map(time),
        ready_at: run.health.ready_at.map(time),
        queue: run.terms.queue.clone(),
        mutex: run.terms.mutex.clone(),
        priority: run.terms.priority,
        timeout_ms: run.timeout_ms,
        tty: run.tty,
        unowned: matches!(run.state, RunState::Running { unowned: true, .. }),
        not_recorded: None,
    }
}

/// What the kernel said wins; the outcome's own number stands in where only that is known.
fn exit(run: &Run) -> (Option<u8>, Option<u8>) {
    match (run.exit, run.outcome()) {
        (Some(Exit::Code(code)), _) => (Some(code), None),
        (Some(Exit::Signal { signal, .. }), _) => (None, Some(signal)),
        (None, Some(Outcome::Failed { code })) => (Some(*code), None),
        (None, Some(Outcome::Signaled { signal })) => (None, Some(*signal)),
        (None, _) => (None, None),
    }
}

fn trigger(trigger: &Trigger) -> ApiTrigger {
    let caught_up = trigger.is_caught_up();
    let of = |kind: &str| ApiTrigger { kind: kind.into(), ..ApiTrigger::default() };
    match trigger {
        Trigger::Manual { by } => ApiTrigger { by: Some(by.clone()), ..of("manual") },
        Trigger::Schedule { at, late_ms, missed, .. } => ApiTrigger {
            at: Some(time(Time::from_millis(at.saturating_mul(1000)))),
            late_ms: Some(*late_ms),
            caught_up,
            missed_count: (*missed > 0).then_some(*missed),
            ..of("schedule")
        },
        Trigger::Chain { run, error } => {
            let side = if *error { "error" } else { "next" };
            ApiTrigger { run: Some(run.to_string()), side: Some(side.into()), ..of("chain") }
        }
        Trigger::Boot => of("boot"),
        Trigger::Restart { run } => ApiTrigger { run: Some(run.to_string()), ..of("restart") },
        Trigger::Retry { run, of: nominal } => ApiTrigger {
            run: Some(run.to_string()),
            at: nominal.map(|nominal| time(Time::from_millis(nominal.at.saturating_mul(1000)))),
            missed_count: nominal.map(|nominal| nominal.missed).filter(|missed| *missed > 0),
            ..of("retry")
        },
        Trigger::Watch { path } => ApiTrigger { path: Some(path.clone()), ..of("watch") },
        Trigger::Dependency => of("dependency"),
        Trigger::Adopt { by } => ApiTrigger { by: Some(by.clone()), ..of("adopt") },
    }
}

fn spawn_failure(outcome: &Outcome) -> Option<SpawnFailure> {
    match outcome {
        Outcome::SpawnFailed { step, errno } => {
            Some(SpawnFailure { step: step.word().into(), errno: *errno, message: system_words(*errno) })
        }
        Outcome::Ok
        | Outcome::Failed { .. }
        | Outcome::Signaled { .. }
        | Outcome::TimedOut
        | Outcome::OomKilled
        | Outcome::Stopped
        | Outcome::Interrupted
        | Outcome::Unhealthy(_)
        | Outcome::Skipped(_)
        | Outcome::Cancelled
        | Outcome::Lost(_) => None,
    }
}

/// The system's words for an error number.
/// An outcome as people read it: the name of a signal, and the system's words for an error.
pub fn outcome_words(outcome: &Outcome) -> String {
    if let Outcome::Signaled { signal } = outcome {
        format!("signaled({})", kin_config::signal::name(*signal))
    } else if let Outcome::SpawnFailed { step, errno } = outcome {
        format!("spawn-failed({}: {})", step.word(), system_words(*errno))
    } else {
        outcome.to_string()
    }
}

pub fn system_words(errno: i32) -> String {
    let words = std::io::Error::from_raw_os_error(errno).to_string();
    words.split(" (os error").next().unwrap_or_default().to_string()
}

fn warnings(run: &Run) -> BTreeMap<String, u64> {
    let counts = [("left_behind", u64::from(run.left_behind)), ("left_out", run.notes.left_out.len() as u64)];
    counts.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_string(), n)).collect()
}

pub fn event(event: &Event) -> kin_api::Event {
    let change = event.change.as_ref();
    let outcome = change.and_then(|c| c.outcome.as_ref());
    kin_api::Event {
        seq: event.seq,
        at: time(event.at),
        kind: event.kind.clone(),
        run: event.run.as_ref().map(ToString::to_string),
        job: event.run.as_ref().map(|run| run.job.to_string()),
        state: change.map(|c| c.to.word().into()),
        from: change.and_then(|c| c.from).map(|stage| stage.word().into()),
        outcome: outcome.map(|o| o.word().into()),
        exit_code: change.and_then(|c| match c.exit {
            Some(Exit::Code(code)) => Some(code),
            Some(Exit::Signal { .. }) | None => None,
        }),
        signal: change.and_then(|c| match c.exit {
            Some(Exit::Signal { signal, .. }) => Some(signal),
            Some(Exit::Code(_)) | None => None,
        }),
        message: event.message.clone(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use kin_core::{JobName, LostWhy, RunNo, SpawnStep};

    pub(in crate::http) fn sample(state: RunState) -> Run {
        Run {
            no: RunNo::parse("NeP8nb4q").expect("a number"),
            job: JobName::parse("backup").expect("a name"),
            slot: 0,
            attempt: 1,
            follows: None,
            trigger: Trigger::Manual { by: "uid:1000".into() },
            state,
            exit: None,
            pid: Some(7),
            created_at: Time::from_millis(1_796_046_841_120),
            started_at: None,
            ended_at: None,
            out_bytes: 0,
            err_bytes: 0,
            out_dropped: 0,
            err_dropped: 0,
            max_rss_bytes: None,
            cpu_ms: None,
            left_behind: 0,
            group: None,
            group_max: 0,
            command: vec!["true".into()],
            directory: "/".into(),
            timeout_ms: None,
            tags: vec![],
            tty: false,
            boot: "b".into(),
            terms: kin_core::Terms::default(),
            health: kin_core::Health::default(),
            notes: kin_core::run::Notes::default(),
        }
    }

    #[test]
    fn times_are_in_utc_with_milliseconds_and_come_back() {
        let at = Time::from_millis(1_796_046_841_120);
        assert_eq!(time(at), "2026-11-30T13:54:01.120Z");
        assert_eq!(parse_time("2026-11-30T14:54:01.12+01:00"), Some(at));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn a_run_says_its_end_in_bare_words() {
        let failed = RunState::Ended { outcome: Outcome::SpawnFailed { step: SpawnStep::Exec, errno: 2 } };
        let said = run(&sample(failed), "web1");
        assert_eq!((said.state.as_str(), said.outcome.as_deref()), ("ended", Some("spawn-failed")));
        let spawn = said.spawn.expect("says why");
        assert_eq!((spawn.step.as_str(), spawn.message.as_str()), ("exec", "No such file or directory"));
        let lost = run(&sample(RunState::Ended { outcome: Outcome::Lost(LostWhy::Reboot) }), "web1");
        assert_eq!((lost.outcome.as_deref(), lost.reason.as_deref()), (Some("lost"), Some("reboot")));
        let mut stopped = sample(RunState::Ended { outcome: Outcome::Stopped });
        stopped.exit = Some(Exit::Signal { signal: 15, core: false });
        stopped.left_behind = 2;
        let stopped = run(&stopped, "web1");
        assert_eq!((stopped.exit_code, stopped.signal), (None, Some(15)));
        assert_eq!(stopped.warnings.get("left_behind"), Some(&2));
    }

    #[test]
    fn a_run_that_was_caught_up_says_so() {
        for (late_ms, missed, caught_up, count) in
            [(60_999, 0, false, None), (61_000, 0, true, None), (3, 12, true, Some(12)), (61_000, 12, true, Some(12))]
        {
            let mut late = sample(RunState::Queued);
            late.trigger = Trigger::Schedule { at: 1_796_046_000, late_ms, late: late_ms > 60_999, missed };
            let told = run(&late, "web1").trigger;
            assert_eq!((told.caught_up, told.missed_count), (caught_up, count), "{late_ms} {missed}");
        }
    }
}
