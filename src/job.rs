//! Which defined jobs a word on the command line means, and how a job stands, in words.

use crate::cli::Face;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::select;
use crate::table::{Cell, Column, Table};
use crate::verdict;
use crate::when;
use jiff::Timestamp;
use kin_client::api::JobName;
use kin_client::api::job::{Job, JobList, Source};
use kin_client::{Client, Error};
use kin_config::guess;
use std::collections::BTreeSet;

/// The jobs that some words mean together, each once, in the order of the words, and the words that mean none.
#[derive(Debug, Default)]
pub(crate) struct Meant {
    pub(crate) jobs: Vec<Job>,
    pub(crate) unmatched: Vec<String>,
}

/// One name and no other: neither a glob nor a tag.
pub(crate) fn is_name(word: &str) -> bool {
    !word.starts_with('@') && !select::is_glob(word)
}

pub(crate) async fn meant(client: &Client, words: &[String]) -> Result<Meant, Failure> {
    let mut meant = Meant::default();
    for word in words {
        if is_name(word) {
            JobName::parse(word).map_err(|bad| Failure::usage(format!("{word:?} is no job: {bad}")))?;
        }
        let found = client.jobs(Some(word)).await?;
        if found.is_empty() {
            meant.unmatched.push(word.clone());
        }
        for job in found {
            if !meant.jobs.iter().any(|have| have.name == job.name) {
                meant.jobs.push(job);
            }
        }
    }
    Ok(meant)
}

/// The same, without the tasks that a glob or a tag matches beside services: they were not named.
pub(crate) async fn services(client: &Client, words: &[String]) -> Result<Meant, Failure> {
    let mut all = meant(client, words).await?;
    all.jobs.retain(|job| job.kind == "service" || words.contains(&job.name));
    if all.jobs.is_empty() && all.unmatched.is_empty() {
        return Err(Failure::NotFound {
            message: format!("no service matches {:?}", words.join(" ")),
            hint: Some("kin list shows which jobs are services".into()),
        });
    }
    Ok(all)
}

/// That there is no such job, and which one may be meant.
pub(crate) async fn unknown(client: &Client, word: &str) -> Result<Failure, Failure> {
    let list = client.job_list().await?;
    Ok(no_such(word, list.jobs.iter().map(|job| job.name.as_str()), &list.stale_files))
}

/// Files of which no job holds: they never were good.
pub(crate) fn left_out(list: &JobList) -> Vec<String> {
    let has = |file: &String| list.jobs.iter().any(|job| matches!(&job.source, Source::File { path } if path == file));
    list.stale_files.iter().filter(|file| !has(file)).cloned().collect()
}

/// `stale`: files that do not hold as they are, where it may be defined.
pub(crate) fn no_such<'a>(word: &str, names: impl Iterator<Item = &'a str>, stale: &[String]) -> Failure {
    let names: Vec<&str> = names.collect();
    let hint = match guess::nearest(word, names.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if !stale.is_empty() => String::new(),
        None if names.is_empty() => {
            "no job is defined: kin edit writes one, kin check says what is wrong with a file".into()
        }
        None => "kin list shows them, kin check says what is wrong with a file".into(),
    };
    let files = format!("not all of {} holds: kin reload --plan says why", stale.join(", "));
    let hint = match (hint.is_empty(), stale.is_empty()) {
        (_, true) => hint,
        (true, false) => files,
        (false, false) => format!("{hint} (And {files}.)"),
    };
    let message = if is_name(word) { format!("there is no job {word:?}") } else { format!("no job matches {word:?}") };
    Failure::NotFound { message, hint: Some(hint) }
}

/// Says of each file that does not hold as it is, once, which of its jobs do. On stderr: no script's output changes.
pub(crate) fn tell_of_stale<'a>(screen: &Screen, jobs: impl IntoIterator<Item = &'a Job>) {
    let stale = jobs.into_iter().filter(|job| job.stale).filter_map(|job| match &job.source {
        Source::File { path } => Some(path),
        Source::Api { .. } | Source::Project { .. } => None,
    });
    for path in stale.collect::<BTreeSet<_>>() {
        screen.note(&format!("{path} does not hold as it is now, its last good jobs do: kin reload --plan says why"));
    }
}

/// What was asked of each job, and what comes of it.
pub(crate) struct Asked<'a> {
    face: &'a Face,
    json: JsonArgs,
    done: Vec<Job>,
    code: u8,
}

impl Asked<'_> {
    /// Says which words mean nothing. When none means anything, that is all there is to do.
    pub(crate) async fn of<'a>(face: &'a Face, meant: &Meant, json: JsonArgs) -> Result<Asked<'a>, Failure> {
        let mut code = 0;
        tell_of_stale(&face.screen, &meant.jobs);
        for word in &meant.unmatched {
            let failure = unknown(&face.client, word).await?;
            if meant.jobs.is_empty() {
                return Err(failure);
            }
            face.screen.note(&failure.to_string());
            code = failure.exit_code();
        }
        Ok(Asked { face, json, done: Vec::new(), code })
    }

    /// A refusal of one job does not keep the others from being asked.
    pub(crate) fn take(&mut self, name: &str, answer: Result<Job, Error>) -> Result<(), Failure> {
        match answer {
            Ok(job) if self.json.json.is_some() => self.done.push(job),
            Ok(job) => self.face.screen.print(&format!("{}  {}\n", job.name, words(&job, &self.face.screen)))?,
            Err(Error::Refused(refused)) => {
                self.face.screen.note(&format!("{name}: {}", refused.message));
                if let Some(hint) = &refused.hint {
                    self.face.screen.quote(&format!("  hint: {hint}"));
                }
                self.code = self.code.max(Failure::Client(Error::Refused(refused)).exit_code());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What cannot be asked of it is said, and the others are asked.
    pub(crate) fn pass_over(&mut self, message: &str) {
        self.face.screen.note(message);
        self.code = self.code.max(2);
    }

    pub(crate) fn end(self) -> Result<u8, Failure> {
        if let Some(form) = self.json.json {
            self.face.screen.print(&listing::json(&self.done, form).map_err(crate::commands::unwritable)?)?;
        }
        Ok(self.code)
    }
}

/// `waiting (again at 14:55:02)`
pub(crate) fn words(job: &Job, screen: &Screen) -> String {
    let paused = paused(job, screen.now).map(|until| format!("paused until {}", when::second(until, screen.zone())));
    match (&job.reason, paused) {
        (Some(reason), Some(paused)) => format!("{} ({reason}; {paused})", job.state),
        (Some(why), None) => format!("{} ({why})", job.state),
        (None, Some(why)) => format!("{} ({why})", job.state),
        (None, None) => job.state.clone(),
    }
}

/// Until when its schedule begins nothing.
pub(crate) fn paused(job: &Job, now: Timestamp) -> Option<Timestamp> {
    job.paused_until.as_deref().and_then(when::from_wire).filter(|until| *until > now)
}

/// What comes next: the next try of a run that waits, or the next instant of the schedules, if they begin anything by then.
fn next(job: &Job, screen: &Screen) -> String {
    let waits = job.runs.iter().filter(|run| run.state == "waiting").filter_map(|run| run.until.as_deref());
    let again = waits.filter_map(when::from_wire).min();
    let due = job.next_at.as_deref().and_then(when::from_wire);
    let at = |at: Timestamp| clock(Some(&when::wire(at)), screen);
    match (again, due, paused(job, screen.now)) {
        (Some(again), due, _) if due.is_none_or(|due| again < due) => at(again),
        (_, _, Some(until)) => format!("paused to {}", at(until)),
        (_, Some(due), None) if !job.disabled => at(due),
        (_, None, None) if !job.disabled => job.never.map_or_else(String::new, |why| format!("never: {}", why.words())),
        (_, _, _) => String::new(),
    }
}

pub(crate) fn kind(job: &Job) -> String {
    match (job.kind.as_str(), job.instances) {
        ("service", 2..) => format!("service x{}", job.instances),
        ("task", _) if !job.schedule.is_empty() => "scheduled".into(),
        (kind, _) => kind.into(),
    }
}

fn colour(job: &Job) -> Option<Colour> {
    match job.state.as_str() {
        "ready" | "running" => Some(Colour::Green),
        "starting" | "waiting" | "held" | "queued" => Some(Colour::Blue),
        "gave-up" => Some(Colour::Red),
        "stopping" | "disabled" => Some(Colour::Yellow),
        _ => None,
    }
}

/// The minute of what is less than a day away, else the day.
fn clock(text: Option<&str>, screen: &Screen) -> String {
    const DAY: i64 = 24 * 60 * 60;
    let Some(at) = text.and_then(when::from_wire) else { return String::new() };
    let near = at.duration_since(screen.now).as_secs().abs() < DAY;
    if near { when::minute(at, screen.zone()) } else { at.to_zoned(screen.zone().clone()).date().to_string() }
}

/// The jobs as they stand.
pub(crate) fn table(jobs: &[Job], screen: &Screen) -> String {
    let mut table = Table::new(["job", "kind", "state", "runs", "last", "next", "command"].map(Column::new));
    for job in jobs {
        let state = match (job.removed, job.failed_rev) {
            (true, _) => format!("{}, removed", job.state),
            (false, Some(rev)) => format!("{}, rev {rev} failed", job.state),
            (false, None) => job.state.clone(),
        };
        let last = job
            .last
            .as_ref()
            .map(|run| format!("{} {}", clock(run.ended_at.as_deref(), screen), verdict::outcome(run)));
        table.row([
            Cell::from(job.name.as_str()),
            Cell::from(kind(job)),
            colour(job).map_or_else(|| Cell::from(state.as_str()), |colour| Cell::painted(&state, colour)),
            Cell::from(if job.runs.is_empty() { String::new() } else { job.runs.len().to_string() }),
            Cell::from(last.unwrap_or_default()),
            Cell::from(next(job, screen)),
            Cell::from(listing::brief(&job.command)),
        ]);
    }
    table.render(screen.width, screen.colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use kin_client::api::Run;
    use kin_client::api::job::Never;

    fn screen() -> Screen {
        let now = "2026-11-20T14:56:04.500Z".parse().expect("a time");
        Screen::of_test(None, jiff::tz::TimeZone::UTC, now)
    }

    #[test]
    fn each_job_is_a_row_with_its_state() {
        let web =
            Job { instances: 2, runs: vec![sample::live("web-NePbHZyZ", "running")], ..sample::job("web", "ready") };
        let backup = Job {
            kind: "task".into(),
            schedule: vec!["30 2 * * *".into()],
            last: Some(sample::run("backup-NeP8nb4q", "failed")),
            next_at: Some("2026-11-21T02:30:00.000Z".into()),
            ..sample::job("backup", "idle")
        };
        let later = Job { next_at: Some("2026-12-01T02:30:00.000Z".into()), ..backup.clone() };
        let gone = Job { removed: true, ..sample::job("old", "stopping") };
        let back = Job { failed_rev: Some(4), ..sample::job("back", "ready") };
        insta::assert_snapshot!(table(&[backup, later, gone, web, back], &screen()));
        insta::assert_snapshot!("no_jobs", table(&[], &screen()));
    }

    #[test]
    fn a_name_that_is_not_there_gets_the_nearest() {
        let with = |word: &str, names: &[&str], stale: &[String]| match no_such(word, names.iter().copied(), stale) {
            Failure::NotFound { message, hint } => (message, hint.expect("a hint")),
            other @ (Failure::Usage { .. }
            | Failure::Client(_)
            | Failure::TimedOut(_)
            | Failure::Closed
            | Failure::System { .. }
            | Failure::Left { .. }) => panic!("{other}"),
        };
        let hint = |word: &str, names: &[&str]| with(word, names, &[]);
        let said = hint("bakcup", &["web", "backup"]);
        assert_eq!(said, ("there is no job \"bakcup\"".into(), "did you mean backup?".into()));
        assert_eq!(
            hint("x*", &["web"]),
            ("no job matches \"x*\"".into(), "kin list shows them, kin check says what is wrong with a file".into())
        );
        assert_eq!(
            hint("web", &[]).1,
            "no job is defined: kin edit writes one, kin check says what is wrong with a file"
        );
        let stale = ["/etc/kin/new.toml".to_string()];
        let files = "not all of /etc/kin/new.toml holds: kin reload --plan says why";
        assert_eq!(with("x", &["web"], &stale).1, files);
        assert_eq!(with("wed", &["web"], &stale).1, format!("did you mean web? (And {files}.)"));
    }

    #[test]
    fn the_reason_stands_beside_the_state() {
        let job = Job { reason: Some("again at 14:55:02".into()), ..sample::job("web", "waiting") };
        assert_eq!(words(&job, &screen()), "waiting (again at 14:55:02)");
        assert_eq!(words(&Job { runs: Vec::<Run>::new(), ..sample::job("web", "down") }, &screen()), "down");
    }

    #[test]
    fn what_comes_next_is_the_next_try_or_the_next_instant_that_begins_anything() {
        let due = Job { next_at: Some("2026-11-21T02:30:00.000Z".into()), ..sample::job("backup", "idle") };
        assert_eq!(next(&due, &screen()), "02:30");
        assert_eq!(next(&Job { disabled: true, ..due.clone() }, &screen()), "");
        let paused = Job { paused_until: Some("2026-11-21T04:00:00.000Z".into()), ..due.clone() };
        assert_eq!(next(&paused, &screen()), "paused to 04:00");
        assert_eq!(words(&paused, &screen()), "idle (paused until 2026-11-21 04:00:00)");
        let before = Job { paused_until: Some("2026-11-21T02:00:00.000Z".into()), ..due };
        assert_eq!(next(&before, &screen()), "paused to 02:00");
        let over = Job { paused_until: Some("2026-11-20T02:00:00.000Z".into()), ..sample::job("web", "idle") };
        assert_eq!((next(&over, &screen()), words(&over, &screen())), (String::new(), "idle".into()));
        let again = kin_client::api::Run {
            until: Some("2026-11-20T15:01:30.000Z".into()),
            ..sample::live("web-NePbHZyZ", "waiting")
        };
        assert_eq!(next(&Job { runs: vec![again], ..sample::job("web", "waiting") }, &screen()), "15:01");
        for (never, said) in [
            (Never::Calendars, "never: calendars"),
            (Never::NoZone, "never: no zone"),
            (Never::Over, "never: over"),
            (Never::Skipped, "never: skipped by clocks"),
            (Never::Unreadable, "never: see why"),
        ] {
            let job = Job { never: Some(never), ..sample::job("backup", "idle") };
            assert_eq!(next(&job, &screen()), said);
            assert_eq!(next(&Job { disabled: true, ..job }, &screen()), "");
        }
    }
}
