//! `kin log`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::job;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::select::{self, Word};
use crate::ticks;
use crate::when;
use clap::Args;
use kin_client::Page;
use kin_client::api::tick::{Tick, TickQuery};
use kin_client::api::{Run, RunId, RunQuery};
use std::collections::BTreeMap;

/// The runs there were and are, oldest first, the last 50.
///
/// OK ended well, ER did not (or was stopped), GO goes on, TI timed out, SB was cut off by a reboot. `ER:` before an id
/// says that something was written to stderr, whatever came of it.
///
/// With --ticks: the instants at which jobs were due, and what was decided of each, in the order in which that was decided;
/// LATE is the time between the two.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin log backup\n  kin log backup-NeP8nb4q web @night\n  kin log --failed --since yesterday\n  kin log --ticks backup\n  kin log --job 'backup*' --limit 0 --json=lines"
)]
pub(crate) struct LogArgs {
    /// Only these: runs of a job, of jobs that match a glob, with a @tag; or one run, by its id or its last 8 characters.
    #[arg(value_name = "JOB|RUN")]
    of: Vec<String>,
    /// Only runs of this job, or of jobs that match this glob.
    #[arg(long, value_name = "JOB", conflicts_with = "of")]
    job: Option<String>,
    /// Only runs that went wrong.
    #[arg(long, conflicts_with = "outcome")]
    failed: bool,
    /// Ticks instead of runs: of all jobs, or of those that are named.
    #[arg(long, conflicts_with_all = ["failed", "outcome", "tag", "all", "wide"])]
    ticks: bool,
    /// Only this outcome: ok, failed, signaled, timed-out, oom-killed, stopped, interrupted, spawn-failed, unhealthy,
    /// skipped, cancelled, lost.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Only runs with this tag.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only runs made, or with --ticks what was due, at or after: 2h (ago), 14:30, today, yesterday, 2026-11-20, '2026-11-20 14:30'.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only runs made, or what was due, before.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many, the newest; 0 is all.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Also those that never started: skipped and cancelled.
    #[arg(long)]
    all: bool,
    /// More columns, with dates.
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl LogArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        let words = std::mem::take(&mut self.of).into_iter().chain(self.job.take()).collect();
        self.of = face.jobs_meant(words).await?;
        let query = self.query(face)?;
        if self.ticks {
            return self.decided(face, &query).await;
        }
        let page = if self.limit == 0 { Page::All } else { Page::Newest(self.limit) };
        let all = self.all || self.outcome.is_some();
        let wanted = |run: &Run| {
            let began = all || !matches!(run.outcome.as_deref(), Some("skipped" | "cancelled"));
            began && self.tag.as_ref().is_none_or(|tag| run.tags.contains(tag))
        };
        let (mut runs, mut unmatched) = (Vec::new(), Vec::new());
        if self.of.is_empty() {
            runs = face.client.runs_of(&query, page, wanted).await?;
        }
        for word in &self.of {
            let of = match Word::parse(word)? {
                Word::Run(id) if select::is_run(&face.client, id).await? => {
                    runs.push(face.client.run(id).await?);
                    continue;
                }
                Word::Run(job) | Word::Job(job) => RunQuery { job: Some(job.into()), ..query.clone() },
                Word::Tag(tag) => RunQuery { tag: Some(tag.into()), ..query.clone() },
            };
            let found = face.client.runs_of(&of, page, wanted).await?;
            if found.is_empty()
                && let Err(failure) = self.is_known(face, word).await?
            {
                unmatched.push((word, failure));
            }
            runs.extend(found);
        }
        // Each once, the newest first.
        let by_number: BTreeMap<_, Run> =
            runs.into_iter().map(|run| (RunId::parse(&run.id).map(|id| id.no), run)).collect();
        let mut runs: Vec<Run> = by_number.into_values().rev().collect();
        if self.limit > 0 {
            runs.truncate(self.limit);
        }
        let code = if unmatched.is_empty() { 0 } else { 4 };
        for (word, failure) in unmatched {
            if runs.is_empty() {
                return Err(failure);
            }
            face.screen.note(&format!("nothing matches {word:?}"));
        }
        runs.reverse();
        let text = match (self.json.json, self.wide) {
            (Some(form), _) => listing::json(&runs, form).map_err(unwritable)?,
            (None, true) => listing::log_wide(&runs, &face.screen),
            (None, false) => listing::log(&runs, &face.screen),
        };
        face.screen.print(&text)?;
        Ok(code)
    }

    /// What no job is called and no run ever had is a mistake. The other choices may leave nothing of what there is.
    async fn is_known(&self, face: &Face, word: &str) -> Result<Result<(), Failure>, Failure> {
        let mut any = RunQuery::default();
        match word.strip_prefix('@') {
            Some(tag) => any.tag = Some(tag.into()),
            None => any.job = Some(word.into()),
        }
        let ran = !face.client.runs_of(&any, Page::Newest(1), |_| true).await?.is_empty();
        if ran || (any.job.is_some() && !face.client.jobs(Some(word)).await?.is_empty()) {
            return Ok(Ok(()));
        }
        Ok(Err(if job::is_name(word) { job::unknown(&face.client, word).await? } else { Failure::not_found(word) }))
    }

    /// Ticks are of jobs.
    fn job_of_ticks(&self) -> Result<Option<&str>, Failure> {
        let [word] = self.of.as_slice() else {
            let more = "--ticks is of all jobs, of one, or of those that a glob names";
            return if self.of.is_empty() { Ok(None) } else { Err(Failure::usage(more)) };
        };
        match Word::parse(word)? {
            Word::Run(job) | Word::Job(job) => Ok(Some(job)),
            Word::Tag(_) => Err(Failure::usage("--ticks is of jobs: a tag is one of runs")),
        }
    }

    async fn decided(&self, face: &Face, query: &RunQuery) -> Result<u8, Failure> {
        const AT_ONCE: usize = 1000;
        let most = if self.limit == 0 { usize::MAX } else { self.limit };
        let (since, until) = (query.since.as_deref().unwrap_or(""), query.until.as_deref());
        let job = self.job_of_ticks()?;
        let mut asked = TickQuery { job: job.map(str::to_owned), ..TickQuery::default() };
        let mut ticks = Vec::new();
        loop {
            asked.limit = u32::try_from((most - ticks.len()).clamp(50, AT_ONCE)).ok();
            let page = face.client.ticks(&asked).await?;
            // They come as they were decided, and none is decided before it is due; so all that follow are older, too.
            let over = page.ticks.iter().any(|tick| tick.decided_at.as_str() < since);
            ticks.extend(page.ticks.into_iter().filter(|tick| is_between(tick, since, until)));
            asked.before = page.next;
            if over || page.next.is_none() || ticks.len() >= most {
                break;
            }
        }
        if let Some(job) = job.filter(|_| ticks.is_empty()) {
            self.is_known(face, job).await??;
        }
        ticks.truncate(most);
        ticks.reverse();
        let text = match self.json.json {
            Some(form) => listing::json(&ticks, form).map_err(unwritable)?,
            None => ticks::decided(&ticks, &face.screen),
        };
        face.screen.print(&text)?;
        Ok(0)
    }

    fn query(&self, face: &Face) -> Result<RunQuery, Failure> {
        let now = face.screen.now.to_zoned(face.screen.zone().clone());
        let time = |text: &Option<String>| {
            let parsed = text.as_ref().map(|text| when::parse(text, &now)).transpose();
            parsed.map(|at| at.map(when::wire)).map_err(|e| Failure::usage(e.to_string()))
        };
        Ok(RunQuery {
            outcome: if self.failed { Some("failure".into()) } else { self.outcome.clone() },
            tag: self.tag.clone(),
            since: time(&self.since)?,
            until: time(&self.until)?,
            ..RunQuery::default()
        })
    }
}

/// By when it was due; a stretch of missed ones also by its last.
fn is_between(tick: &Tick, since: &str, until: Option<&str>) -> bool {
    let last = tick.until.as_deref().unwrap_or(&tick.at);
    last >= since && until.is_none_or(|until| tick.at.as_str() < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_chosen_by_when_they_were_due() {
        let tick = |at: &str, until: Option<&str>| Tick {
            job: "backup".into(),
            at: at.into(),
            decided_at: "2026-11-21T09:00:00.000Z".into(),
            late_ms: 0,
            decision: "missed".into(),
            run: None,
            live: None,
            waiting: None,
            by: None,
            missed: None,
            until: until.map(Into::into),
            moved: None,
        };
        let due = tick("2026-11-21T02:30:00.000Z", None);
        let stretch = tick("2026-11-20T02:30:00.000Z", Some("2026-11-21T02:30:00.000Z"));
        for tick in [due, stretch] {
            assert!(is_between(&tick, "2026-11-21T02:00:00.000Z", Some("2026-11-21T03:00:00.000Z")));
            assert!(!is_between(&tick, "2026-11-21T08:00:00.000Z", None), "it was only decided then");
            assert!(!is_between(&tick, "", Some("2026-11-20T02:30:00.000Z")));
        }
    }
}
