//! `kin why`

use crate::clean;
use crate::cli::Face;
use crate::commands::unwritable;
use crate::job;
use crate::listing::json_line;
use crate::report::Failure;
use crate::screen::Screen;
use crate::select;
use crate::ticks;
use crate::verdict;
use crate::when;
use clap::Args;
use kin_client::api::JobName;
use kin_client::api::job::{Job, Source};
use kin_client::api::tick::{Due, DueQuery, Tick, TickQuery};
use kin_client::api::why::Why;

/// The story of a run in words: what happened, why it waits, what comes next. Of a job: how it stands.
///
/// A job that is defined tells how it stands, then the story of each of its runs that live, or of the last one.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin why backup\n  kin why NeP8nb4q")]
pub(crate) struct WhyArgs {
    /// A run's id or its last 8 characters, or a job; of a name without a definition, its newest run.
    #[arg(value_name = "RUN|JOB")]
    run: String,
    /// As a JSON object: the run, its story, what it waits for and what came of it; of a job: the job, and its runs so.
    #[arg(long)]
    json: bool,
}

impl WhyArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.run = face.job_meant(self.run).await?;
        if let Some(job) = self.job(face).await? {
            return self.of_job(face, &job).await;
        }
        let run = select::one(&face.client, &self.run).await?;
        let why = face.client.why(&run.id).await?;
        let text = if self.json {
            json_line(&why).map_err(unwritable)? + "\n"
        } else {
            lines(&local(&why.story, &face.screen))
        };
        face.screen.print(&text)?;
        Ok(0)
    }

    /// The job of that name, unless it is a run's id.
    async fn job(&self, face: &Face) -> Result<Option<Job>, Failure> {
        if JobName::parse(&self.run).is_err() || select::is_run(&face.client, &self.run).await? {
            return Ok(None);
        }
        match face.client.job(&self.run).await {
            Ok(job) => Ok(Some(job)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn of_job(&self, face: &Face, job: &Job) -> Result<u8, Failure> {
        let told = if job.runs.is_empty() { job.last.as_slice() } else { job.runs.as_slice() };
        let mut runs = Vec::with_capacity(told.len());
        for run in told {
            runs.push(face.client.why(&run.id).await?);
        }
        let tick = if job.schedule.is_empty() { None } else { last_tick(face, &job.name).await? };
        let text = if self.json {
            let all = serde_json::json!({ "job": job, "tick": tick, "runs": runs });
            json_line(&all).map_err(unwritable)? + "\n"
        } else {
            let told = |why: &Why| lines(&local(&why.story, &face.screen));
            let stories = runs.iter().map(|why| format!("\n{}\n{}", clean::name(&why.run.id), told(why)));
            let due = next_due(face, job).await?;
            let mut said = standing(job, due.as_ref(), &face.screen);
            said.extend(tick.map(|tick| ticks::sentence(&tick, &face.screen)));
            lines(&said) + &stories.collect::<String>()
        };
        face.screen.print(&text)?;
        Ok(0)
    }
}

/// The tick at which it is run next, with the schedule that names it and its zone.
async fn next_due(face: &Face, job: &Job) -> Result<Option<Due>, Failure> {
    // The server's clock may not be this one.
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let Some(at) = job.next_at.as_deref().and_then(when::from_wire) else { return Ok(None) };
    let wait = u64::try_from(at.duration_since(face.screen.now).as_millis()).unwrap_or(0);
    let query = DueQuery { job: Some(job.name.clone()), within_ms: Some(wait + DAY), limit: Some(10_000) };
    let due = face.client.due(&query).await?.due;
    Ok(due.into_iter().find(|due| Some(&due.at) == job.next_at.as_ref()))
}

async fn last_tick(face: &Face, job: &str) -> Result<Option<Tick>, Failure> {
    let query = TickQuery { job: Some(job.into()), limit: Some(1), before: None };
    Ok(face.client.ticks(&query).await?.ticks.pop())
}

/// A story as the server tells it has its times in UTC, as they travel. Here they are those of whoever looks; the first
/// line says with which offset.
fn local(story: &[String], screen: &Screen) -> Vec<String> {
    let line = |(n, line): (usize, &String)| {
        // Behind the first line's last time stands a command, with whatever times it has of its own.
        let end = if n == 0 { line.find("Z: ").map_or(line.len(), |at| at + 1) } else { line.len() };
        let show = if n == 0 { when::with_offset } else { when::millisecond };
        times(&line[..end], |at| show(at, screen.zone())) + &line[end..]
    };
    story.iter().enumerate().map(line).collect()
}

/// The text with each `2026-11-20T13:54:01.120Z` in it said otherwise.
fn times(text: &str, say: impl Fn(jiff::Timestamp) -> String) -> String {
    const LENGTH: usize = "2026-11-20T13:54:01.120Z".len();
    let is_word = |c: char| c.is_alphanumeric() || "-_/.:'\"".contains(c);
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = rest.get(..LENGTH).filter(|word| word.ends_with('Z') && word.as_bytes()[LENGTH - 5] == b'.');
        let bare = !out.ends_with(is_word);
        match word.and_then(when::from_wire).filter(|_| bare) {
            Some(at) => {
                out += &say(at);
                rest = &rest[LENGTH..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

fn lines(story: &[String]) -> String {
    story.iter().map(|line| format!("{}\n", clean::name(line))).collect()
}

/// How a job stands, a sentence a line.
fn standing(job: &Job, by: Option<&Due>, screen: &Screen) -> Vec<String> {
    let Job { name, rev, .. } = job;
    let second =
        |text: &Option<String>| text.as_deref().and_then(when::from_wire).map(|at| when::second(at, screen.zone()));
    let reason = job.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let source = match &job.source {
        Source::File { path } => format!("in {path}"),
        Source::Api { by } => format!("by request of {by}"),
        Source::Project { project, path } => format!("by the project {project}, in {path}"),
    };
    let mut said = vec![
        format!("{name} ({}) {}{reason}.", job::kind(job), stands(&job.state)),
        format!("It is defined {source}, revision {rev}; kin show {name} has it."),
    ];
    if job.stale {
        let because = job.stale_because.as_ref().map_or_else(String::new, |why| format!(", because of this: {why}"));
        said.push(format!(
            "Its file does not hold as it is now{because}. What holds is what it said when it was good; kin reload --plan says all that is in its way."
        ));
    }
    if job.removed {
        said.push("Its definition is gone; it goes when its runs have ended.".into());
    }
    if job.disabled {
        said.push(format!("It is disabled: nothing starts it. `kin enable {name}` lets it run."));
    }
    if let (Some(until), Some(_)) = (second(&job.paused_until), job::paused(job, screen.now)) {
        said.push(format!("Its schedule is paused until {until}. `kin enable {name}` ends that."));
    }
    match (job.kind.as_str(), job.up, job.runs.len()) {
        ("service", true, n) => {
            let by_hand = if job.scaled { " (by `kin scale`)" } else { "" };
            said.push(format!("It is to be up, with {}{by_hand}; {n} live.", instances(job.instances)));
        }
        ("service", false, _) => {
            said.push(format!("It was stopped. `kin start {name}` starts it, and keeps it running."));
        }
        (_, _, 0) => said.push("It has no runs now.".into()),
        (_, _, 1) => said.push("One run of it lives.".into()),
        (_, _, n) => said.push(format!("{n} runs of it live.")),
    }
    match &job.last {
        Some(run) => {
            let at = second(&run.ended_at).map_or_else(String::new, |at| format!(", at {at}"));
            said.push(format!("Its last run to end was {}: {}{at}.", run.id, verdict::outcome(run)));
        }
        None => said.push("No run of it has ended yet.".into()),
    }
    let due = job.next_at.as_deref().and_then(when::from_wire);
    match (due.map(|at| when::with_offset(at, screen.zone())), job.disabled) {
        (Some(at), false) => {
            let schedule = by.map_or_else(|| job.schedule.join(" | "), ticks::schedule_of);
            said.push(format!("Next: it is due at {at} ({schedule})."));
        }
        (_, true) if !job.schedule.is_empty() => said.push("Next: nothing, while it is disabled.".into()),
        (_, _) => {}
    }
    said
}

fn stands(state: &str) -> String {
    if state == "gave-up" { "has given up".into() } else { format!("is {state}") }
}

fn instances(n: u32) -> String {
    if n == 1 { "1 instance".into() } else { format!("{n} instances") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_story_is_told_on_the_clocks_of_whoever_looks() {
        let now = "2026-11-20T14:56:04.500Z".parse().expect("a time");
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        let screen = Screen::of_test(None, zone, now);
        let at = "2026-11-30T13:54:01.120Z";
        let story = [
            format!("b-1 came by its schedule of 2026-07-01T00:30:00.000Z, 61 s late, at {at}: ./x --since {at}"),
            format!("{at}: it ran."),
            format!("It waits, since {at} (1 min 5 s)."),
            format!("Its path is /tmp/{at}, and 2026-11-30T13:54:01Z is none of kin's."),
        ];
        assert_eq!(
            local(&story, &screen),
            [
                format!(
                    "b-1 came by its schedule of 2026-07-01 02:30:00 +02:00, 61 s late, at 2026-11-30 14:54:01 +01:00: ./x --since {at}"
                ),
                "2026-11-30 14:54:01.120: it ran.".into(),
                "It waits, since 2026-11-30 14:54:01.120 (1 min 5 s).".into(),
                story[3].clone(),
            ]
        );
    }

    #[test]
    fn how_jobs_stand() {
        let now = "2026-11-20T14:56:04.500Z".parse().expect("a time");
        let screen = Screen::of_test(None, jiff::tz::TimeZone::UTC, now);
        let web = Job { runs: vec![sample::live("web-NePbHZyZ", "running")], ..sample::job("web", "running") };
        let backup = Job {
            kind: "task".into(),
            schedule: vec!["30 2 * * *".into()],
            disabled: true,
            last: Some(sample::run("backup-NeP8nb4q", "failed")),
            next_at: Some("2026-11-21T02:30:00.000Z".into()),
            source: Source::Api { by: "uid:1000".into() },
            ..sample::job("backup", "disabled")
        };
        let due = Job { disabled: false, state: "idle".into(), last: None, ..backup.clone() };
        let down = Job { up: false, reason: Some("by hand".into()), ..sample::job("db", "down") };
        let scaled = Job { instances: 3, scaled: true, ..web.clone() };
        let all: Vec<String> =
            [web, backup, due, down, scaled].iter().map(|job| lines(&standing(job, None, &screen))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}
