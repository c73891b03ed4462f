//! The causal story of a run, in plain sentences: what happened, why it waits, what comes next.
//!
//! Only facts: the run's row, its events, its slot where it has one, and the files of its output. In this order:
//!
//! | part | from |
//! |---|---|
//! | who asked for it, and for what | the row |
//! | what happened, each with its time | the events |
//! | where it stands, since when, and why | the row, the slot, the other runs |
//! | where its output is, and what is missing of it | the files, the slot |
//! | which try it is, and how those before it ended | the ledger |
//! | what comes next (ahead.rs), or what came of it (followers.rs) | the definitions in force; the ledger |

mod ahead;
pub mod followers;

use super::convert::{self, system_words};
use super::{reason, slots};
use crate::engine::rebuild::NOBODY_KNOWS;
use crate::makers::Progress;
pub use ahead::said as outlook;
use followers::{Before, Follower};
use kin_config::signal;
use kin_core::tick::COUNTED;
use kin_core::{
    Exit, Hold, LostWhy, Outcome, Outlook, Reason, Run, RunId, RunNo, RunState, SkipWhy, SpawnStep, StopWhy, Time,
    Trigger, UnhealthyWhy,
};
use kin_keeper::table::{RUNG, RUNG_ASKED, RUNG_BITS, RUNG_COMMAND, SIGNAL_BITS, Snapshot, flag};
use kin_ledger::{Event, Stage};
use std::path::PathBuf;

/// What is known of a run beside its row.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its own, oldest first.
    pub events: Vec<Event>,
    /// Every run that is not over.
    pub live: Vec<Run>,
    /// Whose end it came of.
    pub cause: Option<Run>,
    /// What came of its end.
    pub followers: Vec<Follower>,
    /// The tries before it.
    pub before: Before,
    /// What its job's definition says of its end; `None`: it has none, or none any more.
    pub outlook: Option<Outlook>,
    /// While a keeper has it.
    pub slot: Option<Snapshot>,
    /// Its files that are there, and how long they are.
    pub files: Vec<(PathBuf, u64)>,
    /// What is in its way, for the run of a defined job.
    pub reasons: Vec<Reason>,
    /// Why the history does not have all of this yet.
    pub not_recorded: Option<String>,
    /// What is looked up for it before it starts.
    pub making: Option<Progress>,
}

pub fn story(run: &Run, facts: &Facts, now: Time) -> Vec<String> {
    let mut story = vec![beginning(run, facts.cause.as_ref())];
    story.extend(happened(run, &facts.events));
    story.extend(standing(run, facts, now));
    story.extend(output(run, facts, now));
    if let Some(why) = &facts.not_recorded {
        story.push(format!("Not all of this is in the history yet, because {why}; it is recorded when it can be."));
    }
    story.extend(ahead::tries(run, facts));
    story.extend(ahead::next(run, facts, now));
    story
}

fn beginning(run: &Run, cause_run: Option<&Run>) -> String {
    let named =
        |no: RunNo| cause_run.filter(|run| run.no == no).map_or_else(|| no.to_string(), |run| run.id().to_string());
    // An `after` may be content with any end.
    let ended_well = cause_run.is_none_or(|run| run.outcome().is_none_or(|outcome| *outcome == Outcome::Ok));
    let command = typed(&run.command);
    if matches!(&run.trigger, Trigger::Manual { by } if by == NOBODY_KNOWS) {
        let known = if run.command.is_empty() { ", nor its command".into() } else { format!(": {command}") };
        return format!(
            "{} was rebuilt from what it left, because the ledger was lost: who asked for it, and when, is not known{known}",
            run.id()
        );
    }
    let cause = match &run.trigger {
        Trigger::Manual { by } => format!("was asked for by {by}"),
        Trigger::Schedule { at, late_ms, missed, .. } => {
            let at = convert::time(Time::from_millis(at.saturating_mul(1000)));
            let late = if *late_ms < 1000 { String::new() } else { format!(", {} s late,", late_ms / 1000) };
            let missed = match *missed {
                0 => String::new(),
                COUNTED.. => format!(" and for {COUNTED} or more missed before it,"),
                n => format!(" and for {n} missed before it,"),
            };
            format!("came by its schedule of {at}{late}{missed}")
        }
        Trigger::Chain { run, error: false } if ended_well => format!("followed the good end of run {}", named(*run)),
        Trigger::Chain { run, error: false } => {
            format!("followed the end of run {}, the last that it waited for,", named(*run))
        }
        Trigger::Chain { run, error: true } => format!("followed the bad end of run {}", named(*run)),
        Trigger::Boot => "was up before, and came with this server or machine".into(),
        Trigger::Restart { run } => format!("took the place of run {}", named(*run)),
        Trigger::Retry { run: before, of } => {
            let what = of.map_or_else(String::new, |of| {
                format!(" for its schedule's {}", convert::time(Time::from_millis(of.at.saturating_mul(1000))))
            });
            format!("is attempt {}{what}, after run {}", run.attempt, named(*before))
        }
        Trigger::Watch { path } => format!("came because {path} changed"),
        Trigger::Dependency => "came because another job needs it".into(),
        Trigger::Adopt { by } => format!("is a process that {by} gave into kin's care"),
    };
    format!("{} {cause} at {}: {command}", run.id(), convert::time(run.created_at))
}

/// As one would type it; of a script of several lines the first.
fn typed(command: &[String]) -> String {
    let word = |word: &String| {
        let mut lines = word.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        let text = if lines.next().is_some() { format!("{first} …") } else { first.to_owned() };
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
        if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn happened(run: &Run, events: &[Event]) -> Vec<String> {
    let mut asked = false;
    let mut story = Vec::new();
    for event in events {
        let is_stop = event.change.as_ref().is_some_and(|change| change.to == Stage::Stopping);
        // Who asked for it was said just before.
        if !(is_stop && std::mem::take(&mut asked)) {
            story.extend(change(run, event));
        }
        asked |= event.kind == "run.stop-asked";
    }
    // They were recorded in another order than they happened in, where a keeper's word came later than its time.
    story.sort_by_key(|(at, _)| *at);
    story.into_iter().map(|(at, what)| format!("{}: {what}.", convert::time(at))).collect()
}

fn change(run: &Run, event: &Event) -> Option<(Time, String)> {
    let Some(change) = &event.change else {
        // What an end tells was true by then, and heard of a moment later; a wish came when it came.
        let of_its_end = matches!(event.kind.as_str(), "run.killed" | "run.adopted");
        let at = run.ended_at.filter(|_| of_its_end).map_or(event.at, |ended| ended.min(event.at));
        return Some((at, event.message.clone()?));
    };
    let never_ran = never_started(run);
    let what = match (change.from, change.to) {
        (_, Stage::Held) => "it was held".to_string(),
        (_, Stage::Waiting) if run.follows.is_none() && run.trigger.is_late() => {
            "it was to be caught up, after a moment's wait".into()
        }
        (_, Stage::Waiting) if run.follows.is_none() => {
            "it was to wait for its jitter, or behind what was caught up before it".into()
        }
        (_, Stage::Waiting) => "it was to wait after the end of the one before".into(),
        (Some(Stage::Waiting), Stage::Starting) => "its wait was over, and it was to start".into(),
        (Some(Stage::Held), Stage::Queued) => "it was let go, and waited for its turn".into(),
        (_, Stage::Queued) => "it was to wait for its turn".into(),
        (Some(Stage::Held), Stage::Starting) => "it was let go, and it was to start".into(),
        (Some(Stage::Queued), Stage::Starting) => "its turn came, and it was to start".into(),
        (_, Stage::Starting) => "it was to start".into(),
        (_, Stage::Running) if never_ran => "a process was made for it".into(),
        (_, Stage::Running) => "it ran".into(),
        (_, Stage::Stopping) => "it was asked to stop".into(),
        (_, Stage::Draining) if never_ran => "that process ended before it was the program".into(),
        (_, Stage::Draining) => format!("its process ended{}", exit(change.exit)),
        (_, Stage::Ended) => match &change.outcome {
            Some(outcome) => format!("it ended: {}", convert::outcome_words(outcome)),
            None => "it ended".into(),
        },
    };
    // These may have been recorded long after they happened.
    let known = match change.to {
        Stage::Running => run.started_at,
        Stage::Draining | Stage::Ended => run.ended_at,
        Stage::Held | Stage::Waiting | Stage::Queued | Stage::Starting | Stage::Stopping => None,
    };
    Some((known.unwrap_or(event.at), what))
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
fn standing(run: &Run, facts: &Facts, now: Time) -> Vec<String> {
    // Since it came into the state that it is in.
    let since = facts.events.iter().rev().find(|event| event.change.is_some()).map(|event| event.at);
    let since = since.map_or(String::new(), |at| format!(", since {} ({})", convert::time(at), between(at, now)));
    if run.is_defined() && run.state.is_pending() && !facts.reasons.is_empty() {
        // The rules know each thing that is in its way.
        let words = facts.reasons.iter().filter_map(reason::words);
        return words.map(|words| sentence(&words, &since)).collect();
    }
    match &run.state {
        RunState::Held { on: Hold::Latch(latch) } => {
            vec![format!("It waits until somebody releases the latch {latch:?}{since}.")]
        }
        RunState::Held { on: Hold::Needs(jobs) } => {
            let names: Vec<String> = jobs.iter().map(ToString::to_string).collect();
            vec![format!("It waits until what it needs is ready: {}{since}.", names.join(", "))]
        }
        RunState::Waiting { until, .. } => vec![format!("It waits until {}{since}.", convert::time(*until))],
        RunState::Queued => queue(run, &facts.live, &since),
        RunState::Starting { .. } if run.is_being_made() => vec![making(facts.making.as_ref(), &since)],
        RunState::Starting { generation: None } => vec![format!("No keeper has taken it yet{since}.")],
        RunState::Starting { generation: Some(_) } => {
            vec![format!("A keeper has been told to start it, and has not yet said that it lives{since}.")]
        }
        RunState::Running { unowned, interrupted } => {
            let mut story = running(run, facts.slot.as_ref(), *unowned, *interrupted, now);
            // Why it is not ready, or for whom it still stays.
            story.extend(facts.reasons.iter().filter_map(reason::words).map(|words| sentence(&words, "")));
            story
        }
        RunState::Stopping { why, .. } => vec![stopping(run, facts.slot.as_ref(), *why)],
        RunState::Draining { .. } if facts.slot.as_ref().and_then(slots::blocked).is_some() => {
            vec![format!("Its process has ended, and what it wrote last waits to be written{since}.")]
        }
        RunState::Draining { .. } => {
            vec![format!("Its process has ended, but another one still holds its output open{since}.")]
        }
        RunState::Ended { outcome } => verdict(run, outcome, facts),
    }
}

fn making(progress: Option<&Progress>, since: &str) -> String {
    match progress {
        Some(Progress::At(at)) => format!("It waits for {}{since}.", at.asked.wait()),
        Some(Progress::InLine { behind: Some(first) }) => format!(
            "Its surroundings are looked at as soon as others are done with theirs, {} among them, which waits for {}{since}.",
            first.run,
            first.asked.wait()
        ),
        Some(Progress::InLine { behind: None } | Progress::Nothing) | None => {
            format!("What it is to find around it is being looked up{since}.")
        }
    }
}

fn sentence(words: &str, since: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(char::to_uppercase);
    format!("{}{}{since}.", first.into_iter().flatten().collect::<String>(), letters.as_str())
}

fn queue(run: &Run, live: &[Run], since: &str) -> Vec<String> {
    let group = run.group.as_deref().unwrap_or_default();
    let same = || live.iter().filter(|other| other.group.as_deref() == Some(group) && other.no != run.no);
    let going: Vec<String> =
        same().filter(|other| other.state.is_going()).map(|other| other.id().to_string()).collect();
    let before = same().filter(|other| other.state == RunState::Queued && other.no < run.no).count();
    let mut story = vec![format!(
        "It waits for a place in the group {group:?}{since}: {} of at most {} are taken, by {}.",
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

fn running(run: &Run, slot: Option<&Snapshot>, unowned: bool, interrupted: bool, now: Time) -> Vec<String> {
    let mut story = Vec::new();
    let pid = run.pid.map_or(String::new(), |pid| format!(" as process {pid}"));
    let since = run.started_at.map_or(String::new(), |at| format!(" for {}", between(at, now)));
    story.push(format!("It has been running{pid}{since}."));
    if let Some(status) = &run.notes.status {
        story.push(format!("It says of itself: {status}."));
    }
    if run.notes.leaving {
        story.push("It has said that it is on its way out.".into());
    }
    if interrupted {
        story.push("Its caller's interruption was passed on to it, and it goes on.".into());
    }
    if matches!(run.trigger, Trigger::Adopt { .. }) {
        story.push("kin did not start it: its output goes where it always went, and its exit code is known only if the kernel tells it.".into());
    } else if unowned {
        story.push("Both keepers died at once, so nobody keeps its output, and its exit code may not be known.".into());
    }
    if slot.is_some_and(|slot| slot.flags & flag::ADOPTED != 0) {
        story.push("The keeper that started it has died, and the other one has taken it over.".into());
    }
    story
}

fn stopping(run: &Run, slot: Option<&Snapshot>, why: StopWhy) -> String {
    let who = match why {
        StopWhy::Asked => "Its end was asked for",
        StopWhy::Interrupt => "Its caller interrupted it",
        StopWhy::Planned => "kin stops it, because its job or what it needs has changed",
        StopWhy::Sick => "It did not answer any more, so kin stops it",
        StopWhy::NotReady => "It was not ready in time, so kin stops it",
    };
    let alive = if run.started_at.is_some() { "it has not ended yet" } else { "it was only just starting" };
    let ladder = match slot.map(|slot| (slot.flags & flag::KILLED != 0, slot.stop_signal)) {
        Some((true, _)) => "KILL has been sent to all of its processes".to_string(),
        Some((false, rung)) if (rung >> RUNG) & RUNG_BITS == RUNG_COMMAND => {
            "its stop command goes, and its stop signal follows when that fails".into()
        }
        Some((false, rung)) if (rung >> RUNG) & RUNG_BITS == RUNG_ASKED => {
            "its stop command has ended well, and its stop signal follows if that was in vain".into()
        }
        Some((false, rung)) if rung & SIGNAL_BITS != 0 => {
            let name = signal::name((rung & SIGNAL_BITS) as u8);
            format!("{name} has been sent to all of its processes, and KILL follows when its grace is over")
        }
        Some(_) | None => "if it does not end by itself it is killed".into(),
    };
    format!("{who}, and {alive}; {ladder}.")
}

fn verdict(run: &Run, outcome: &Outcome, facts: &Facts) -> Vec<String> {
    let verdict = match outcome {
        Outcome::SpawnFailed { step, errno } => {
            // What the definition asks for was not to be had, and no keeper ever heard of it.
            let unmade = facts.events.iter().rev().find(|event| event.kind == "run.unmakeable");
            return match unmade.and_then(|event| event.message.as_deref()) {
                Some(why) => never_made(run, *step, *errno, why),
                None => never_ran(run, *step, *errno),
            };
        }
        Outcome::Ok => "It ended well, with code 0.".into(),
        Outcome::Failed { code } => format!("It failed: its program ended with code {code}."),
        Outcome::Signaled { signal: number } => {
            format!("Signal {} ended it; nobody had asked kin to stop it.", signal::name(*number))
        }
        Outcome::TimedOut => match run.timeout_ms {
            Some(ms) => format!("It took longer than its timeout of {}, and kin ended it.", length_u64(ms)),
            None => "It took longer than its timeout, and kin ended it.".into(),
        },
        Outcome::OomKilled => "The kernel killed it because memory was used up.".into(),
        Outcome::Stopped => "Somebody asked for its end.".into(),
        Outcome::Interrupted => "Its caller's interruption was passed on to it, and it ended by that.".into(),
        Outcome::Unhealthy(UnhealthyWhy::Sick) => "It did not answer any more, and kin ended it.".into(),
        Outcome::Unhealthy(UnhealthyWhy::NotReady) => "It was not ready in time, and kin ended it.".into(),
        Outcome::Skipped(SkipWhy::Loop) => "It was skipped: its chain had come to this job before.".into(),
        Outcome::Skipped(SkipWhy::Overlap { live: None }) => {
            "It was skipped: another run of its job was not over.".into()
        }
        Outcome::Skipped(SkipWhy::Overlap { live: Some(live) }) => {
            let live = RunId { job: run.job.clone(), no: *live };
            format!("It was skipped: {live} was not over.")
        }
        Outcome::Skipped(SkipWhy::LineFull { waiting: 1 }) => {
            "It was skipped: a run of its job waited, and `overlap_max` let no more wait.".into()
        }
        Outcome::Skipped(SkipWhy::LineFull { waiting }) => {
            format!("It was skipped: {waiting} runs of its job waited, and `overlap_max` let no more wait.")
        }
        Outcome::Skipped(SkipWhy::Disabled) => "It was skipped: its job is disabled.".into(),
        Outcome::Skipped(SkipWhy::Calendar) => "It was skipped: its calendar forbids that time.".into(),
        Outcome::Skipped(SkipWhy::Dependency) => "It was skipped: what it depends on did not end well.".into(),
        Outcome::Cancelled => "It was cancelled before it had started.".into(),
        Outcome::Lost(LostWhy::Reboot) => "The machine was restarted while it was not over.".into(),
        Outcome::Lost(LostWhy::Unknown) => {
            "kin cannot know how it ended, because all who watched it had died; it does not guess.".into()
        }
        Outcome::Lost(LostWhy::Disowned) => {
            let pid = run.pid.map_or(String::new(), |pid| format!(" as process {pid}"));
            format!("It was given up: it went on{pid}, and how it ended kin does not know.")
        }
    };
    let mut story = vec![verdict];
    story.extend(match run.left_behind {
        0 => None,
        1 => Some("One of its processes outlived it.".into()),
        n => Some(format!("{n} of its processes outlived it.")),
    });
    story
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// What failed, in words, and what to do.
fn never_ran(run: &Run, step: SpawnStep, errno: i32) -> Vec<String> {
    let program = run.command.first().map_or("its program", String::as_str);
    let what = match step {
        SpawnStep::Spec => "what it was to be started from could not be read".to_string(),
        SpawnStep::Pipe => "the pipes for its output could not be made".into(),
        SpawnStep::Fork => "no process could be made for it".into(),
        SpawnStep::Session => "it got no session or terminal of its own".into(),
        SpawnStep::Rlimit => "its limits could not be set".into(),
        SpawnStep::Priority => "its priority could not be set".into(),
        SpawnStep::User => "it could not become the user it was to run as".into(),
        SpawnStep::Directory => format!("its directory {} could not be entered", run.directory),
        SpawnStep::Stdio => "its input and output could not be put in place".into(),
        SpawnStep::Exec => format!("{program} could not be executed"),
        SpawnStep::Cgroup => "its cgroup could not be made, or not take its limits".into(),
        SpawnStep::Logs => "the files for its output could not be made".into(),
    };
    let todo = match (step, errno) {
        (SpawnStep::Exec, ENOENT) => {
            "Look at the program's name and at the PATH it was given, and whether the interpreter in its first line is there"
        }
        (SpawnStep::Exec, EACCES) => "Make the file executable, and the directories above it open to its user",
        (SpawnStep::Exec, ENOEXEC) => "It is no program: a script needs a first line as `#!/bin/sh`",
        (SpawnStep::Directory, ENOENT | ENOTDIR) if run.is_defined() => {
            "Make that directory, or name another one as `dir` of its job"
        }
        (SpawnStep::Directory, ENOENT | ENOTDIR) => "Make that directory, or run it in another one",
        (SpawnStep::Directory, EACCES) => "Let its user enter that directory, or run it in another one",
        (SpawnStep::Spec, ENOENT) => "Submit it again: the runtime directory was emptied before it could start",
        (_, EAGAIN) => {
            "The user has as many processes as it may: end some, or raise the limit (`ulimit -u`, `TasksMax=`)"
        }
        (_, ENOMEM) => "Free some memory",
        (_, EMFILE) => "Raise the server's limit of open files (`LimitNOFILE=`)",
        (_, ENOSPC) => "Make room on the disk",
        (_, EPERM | EACCES) => "The server's user may not do that: run the server as a user who may",
        (_, _) => "`kin doctor` looks at the server",
    };
    vec![
        format!("It never ran: {what}: {} (step {}).", system_words(errno), step.word()),
        format!("{todo}; then start it again."),
    ]
}

/// The sentence that was said then names the key and what it asks for.
fn never_made(run: &Run, step: SpawnStep, errno: i32, why: &str) -> Vec<String> {
    let job = &run.job;
    let todo = match (step, errno) {
        // It says itself what to do.
        (_, _) if why.contains('`') => "Do that".to_string(),
        (SpawnStep::Spec, ENOENT) => format!("Make that file, or take it out of the definition of {job}"),
        (SpawnStep::Spec, EACCES | EPERM) => {
            "Let that file be the server's user's, and nobody else's to read (`chown`, `chmod 600`)".into()
        }
        (SpawnStep::User, ENOENT) => format!("Make that user or group, or name another one in the definition of {job}"),
        (SpawnStep::User, EPERM) => {
            format!("Leave `user` and `group` out of the definition of {job}, or let root's server run it")
        }
        (_, ENOMEM) => "Free some memory".into(),
        (_, EMFILE) => "Raise the server's limit of open files (`LimitNOFILE=`)".into(),
        (_, ENOSPC) => "Make room on the disk".into(),
        (_, _) => format!("Correct the definition of {job}"),
    };
    vec![format!("It never ran: {why} (step {}, error {errno}).", step.word()), format!("{todo}; then start it again.")]
}

fn never_started(run: &Run) -> bool {
    matches!(run.outcome(), Some(Outcome::SpawnFailed { .. } | Outcome::Cancelled | Outcome::Skipped(_)))
}

/// Where what it wrote is, and what of it is not there.
fn output(run: &Run, facts: &Facts, now: Time) -> Vec<String> {
    let mut story = Vec::new();
    if let Some(blocked) = facts.slot.as_ref().and_then(slots::blocked) {
        let since =
            blocked.since.map_or(String::new(), |at| format!(" since {} ({})", convert::time(at), between(at, now)));
        story.push(format!(
            "Its output is blocked{since}, because {}; {} bytes were dropped so far.",
            blocked.why(),
            blocked.dropped
        ));
    }
    let files: Vec<String> =
        facts.files.iter().map(|(path, bytes)| format!("{} ({bytes} bytes)", path.display())).collect();
    let dropped = |slot: Option<u64>, row: u64| slot.unwrap_or(0).max(row);
    let slot = facts.slot.as_ref();
    let dropped =
        dropped(slot.map(|s| s.out_dropped), run.out_dropped) + dropped(slot.map(|s| s.err_dropped), run.err_dropped);
    let written = run.out_bytes + run.err_bytes;
    if !files.is_empty() {
        story.push(format!("Its output is in {}.", files.join(", ")));
    } else if run.outcome().is_some() && written > 0 {
        story.push(format!("Its output, {written} bytes, is no longer kept."));
    } else if run.started_at.is_some() && written == 0 && dropped == 0 && !never_started(run) {
        let so_far = if run.outcome().is_some() { "" } else { " so far" };
        story.push(format!("It has written nothing that kin keeps{so_far}."));
    }
    if dropped > 0 && slot.and_then(slots::blocked).is_none() {
        story.push(format!("{dropped} bytes of its output are not kept."));
    }
    story
}

fn between(from: Time, to: Time) -> String {
    length(to.millis().saturating_sub(from.millis()))
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
mod tests;
