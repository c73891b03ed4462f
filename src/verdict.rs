//! What an ended run means to whoever asked for it: Kinetic's two letters, words, and an exit code.

use crate::durations;
use crate::screen::Colour;
use kin_client::api::Run;
use kin_client::{AWAY, Client};
use kin_config::signal;
use std::time::Duration;

/// Kinetic's status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Error,
    Going,
    TimedOut,
    /// It was running when the machine went down.
    BeforeBoot,
}

impl Status {
    pub(crate) fn of(run: &Run) -> Status {
        match (run.state.as_str(), run.outcome.as_deref()) {
            ("ended", Some("ok")) => Status::Ok,
            ("ended", Some("timed-out")) => Status::TimedOut,
            ("ended", Some("lost")) if run.reason.as_deref() == Some("reboot") => Status::BeforeBoot,
            ("ended", _) => Status::Error,
            (_, _) => Status::Going,
        }
    }
    pub(crate) const fn letters(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Error => "ER",
            Status::Going => "GO",
            Status::TimedOut => "TI",
            Status::BeforeBoot => "SB",
        }
    }
    pub(crate) const fn colour(self) -> Colour {
        match self {
            Status::Ok => Colour::Green,
            Status::Error => Colour::Red,
            Status::Going => Colour::Blue,
            Status::TimedOut => Colour::Yellow,
            Status::BeforeBoot => Colour::Magenta,
        }
    }
}

/// `running`, `held (go)`, `ended ok`, `ended failed(3)`, …
pub(crate) fn words(run: &Run) -> String {
    match (&run.latch, run.outcome.is_some()) {
        (Some(latch), false) if run.state == "held" => format!("held ({latch})"),
        // The ledger still has it alive.
        (_, true) if run.not_recorded.is_some() => format!("ended {}, not recorded", outcome(run)),
        (_, true) => format!("{} {}", run.state, outcome(run)),
        (_, false) if run.unowned => format!("{} (unowned)", run.state),
        (_, false) => run.state.clone(),
    }
}

/// `ok`, `failed(3)`, `signaled(KILL)`, `spawn-failed(exec: no such file)`, …
pub(crate) fn outcome(run: &Run) -> String {
    let word = run.outcome.as_deref().unwrap_or_default();
    let detail = match (word, run.exit_code, run.signal) {
        ("failed", Some(code), _) => Some(code.to_string()),
        ("signaled", _, Some(signal)) => Some(signal::name(signal)),
        _ => match &run.spawn {
            Some(spawn) => Some(format!("{}: {}", spawn.step, spawn.message)),
            None => run.reason.clone(),
        },
    };
    detail.map_or_else(|| word.to_owned(), |detail| format!("{word}({detail})"))
}

pub(crate) fn is_ok(run: &Run) -> bool {
    run.outcome.as_deref() == Some("ok")
}

const ENOENT: i32 = 2;

/// The exit code of `exec`: the child's own where there is one.
pub(crate) fn exit_code(run: &Run) -> u8 {
    let own = || match (run.exit_code, run.signal) {
        (Some(code), _) => Some(code),
        (None, Some(signal)) => Some(signal.saturating_add(128)),
        (None, None) => None,
    };
    match run.outcome.as_deref() {
        Some("ok") => 0,
        Some("timed-out") => 124,
        Some("spawn-failed") => match &run.spawn {
            Some(spawn) if spawn.step == "exec" && spawn.errno == ENOENT => 127,
            Some(_) | None => 126,
        },
        Some("skipped" | "cancelled") => 5,
        Some("lost") => 1,
        Some("interrupted") => own().unwrap_or(130),
        Some("oom-killed") => own().unwrap_or(137),
        Some(_) | None => own().unwrap_or(1),
    }
}

/// A sentence for stderr, where the exit code alone would leave a question.
pub(crate) fn sentence(run: &Run) -> Option<String> {
    let id = &run.id;
    match run.outcome.as_deref() {
        Some("timed-out") => Some(match run.timeout_ms {
            Some(ms) => {
                format!("{id} timed out after {}", durations::exact(Duration::from_millis(ms)))
            }
            None => format!("{id} timed out"),
        }),
        Some("spawn-failed") => Some(match (&run.spawn, run.command.first()) {
            (Some(spawn), Some(program)) if spawn.step == "exec" => format!("{program}: {}", spawn.message),
            (Some(spawn), _) if spawn.step == "directory" => format!("{}: {}", run.directory, spawn.message),
            (Some(spawn), _) => {
                let (step, message) = (&spawn.step, &spawn.message);
                format!("{id} could not be started: {step}: {message}; kin why {id} says more")
            }
            (None, _) => format!("{id} could not be started"),
        }),
        Some("lost") if run.reason.as_deref() == Some("disowned") => {
            Some(format!("{id} was given up: how it ends kin does not know"))
        }
        Some("lost") => Some(format!("{id} is lost ({}): how it ended cannot be known", run.reason.as_deref()?)),
        Some("skipped") => Some(format!("{id} was skipped ({})", run.reason.as_deref()?)),
        Some("cancelled") => Some(format!("{id} was cancelled before it started")),
        Some("stopped") => Some(format!("{id} was stopped")),
        Some("oom-killed") => Some(format!("{id} was killed: it used more memory than it may")),
        Some(_) | None => None,
    }
}

/// What is said, once, to whoever waits for the end of a run that has ended, while that cannot be recorded.
pub(crate) fn unrecorded(run: &Run, client: &Client) -> String {
    let why = run.not_recorded.as_deref().unwrap_or("the ledger takes nothing");
    let state = client.home().state.display();
    let remedy = match why {
        "the disk is full" => format!("make room on the disk of {state}"),
        _ => "kin doctor says more".to_owned(),
    };
    format!("{} has ended: {}; that cannot be recorded yet: {why}; {remedy}; waiting", run.id, outcome(run))
}

/// What is said to whoever follows a run when no server is there any more.
pub(crate) fn away(client: &Client, id: &str) -> String {
    let seconds = AWAY.as_secs();
    match client.server_lives() {
        Ok(true) => format!("the server was shut down; {id} goes on without it; waiting {seconds} s for the next one"),
        Ok(false) | Err(_) => format!("no server runs any more; waiting {seconds} s for one that knows of {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::run;
    use kin_client::api::run::SpawnFailure;

    fn spawn_failed(step: &str, errno: i32) -> Run {
        let spawn = SpawnFailure { step: step.into(), errno, message: "No such file or directory".into() };
        Run { spawn: Some(spawn), exit_code: None, ..run("a-00000001", "spawn-failed") }
    }

    #[test]
    fn exit_codes_are_the_childs_own_or_say_why_there_is_none() {
        let by = |outcome: &str, code: Option<u8>, signal: Option<u8>| {
            exit_code(&Run { exit_code: code, signal, ..run("a-00000001", outcome) })
        };
        assert_eq!(by("ok", Some(0), None), 0);
        assert_eq!(by("failed", Some(7), None), 7);
        assert_eq!(by("signaled", None, Some(9)), 137);
        assert_eq!(by("stopped", None, Some(15)), 143);
        assert_eq!(by("stopped", Some(0), None), 0);
        assert_eq!(by("interrupted", None, Some(2)), 130);
        assert_eq!(by("interrupted", None, None), 130);
        assert_eq!(by("timed-out", None, Some(15)), 124);
        assert_eq!(by("lost", None, None), 1);
        assert_eq!(by("cancelled", None, None), 5);
        assert_eq!(by("skipped", None, None), 5);
        assert_eq!(by("oom-killed", None, Some(9)), 137);
        assert_eq!(exit_code(&spawn_failed("exec", 2)), 127);
        assert_eq!(exit_code(&spawn_failed("exec", 13)), 126);
        assert_eq!(exit_code(&spawn_failed("directory", 2)), 126);
    }

    #[test]
    fn words_say_the_detail() {
        assert_eq!(words(&run("a-00000001", "failed")), "ended failed(3)");
        assert_eq!(outcome(&Run { signal: Some(9), ..run("a-00000001", "signaled") }), "signaled(KILL)");
        assert_eq!(outcome(&spawn_failed("exec", 2)), "spawn-failed(exec: No such file or directory)");
        let held = Run { latch: Some("go".into()), ..crate::sample::live("a-00000001", "held") };
        assert_eq!(words(&held), "held (go)");
        assert_eq!(sentence(&spawn_failed("exec", 2)).as_deref(), Some("true: No such file or directory"));
    }

    #[test]
    fn kinetics_letters() {
        for (outcome, letters) in
            [("ok", "OK"), ("failed", "ER"), ("timed-out", "TI"), ("stopped", "ER"), ("lost", "ER")]
        {
            assert_eq!(Status::of(&run("a-00000001", outcome)).letters(), letters);
        }
        let before = Run { reason: Some("reboot".into()), ..run("a-00000001", "lost") };
        assert_eq!(Status::of(&before).letters(), "SB");
        assert_eq!(Status::of(&crate::sample::live("a-00000001", "draining")).letters(), "GO");
    }
}
