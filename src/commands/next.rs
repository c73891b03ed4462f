//! `kin next`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::durations;
use crate::job;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::screen::Screen;
use crate::ticks;
use crate::when;
use clap::Args;
use kin_client::api::job::Job;
use kin_client::api::tick::DueQuery;

/// As many as the server tells at once.
const MOST: u32 = 10_000;
const FEW: u32 = 50;

/// When jobs are due: the coming instants of all schedules, in order.
///
/// What is disabled, and what a calendar forbids, is shown and marked. What was decided of instants that are past, kin log
/// --ticks shows; what an expression does, kin cron.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin next\n  kin next backup --within 30d\n  kin next --within 7d --ics > jobs.ics")]
pub(crate) struct NextArgs {
    /// Only this job, or jobs: a glob, @tag.
    #[arg(value_name = "JOB")]
    of: Option<String>,
    /// The same, by name.
    #[arg(long, value_name = "JOB", conflicts_with = "of")]
    job: Option<String>,
    /// Only what is due so soon: a length of time, as 90m or 7d.
    #[arg(long, value_name = "LENGTH", default_value = "24h")]
    within: String,
    /// At most so many, 50 unless told, and all with --ics; 0 is as many as the server tells, ten thousand.
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<u32>,
    /// As a calendar, for programs that show one.
    #[arg(long, conflicts_with = "json")]
    ics: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl NextArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let within = durations::parse(&self.within)
            .map_err(|e| Failure::usage(format!("--within: {:?} is no length of time: {e}", self.within)))?;
        let job = self.of.or(self.job);
        let query = DueQuery {
            job: job.clone(),
            within_ms: u64::try_from(within.as_millis()).ok(),
            limit: Some(match self.limit {
                Some(0) => MOST,
                // A calendar that ends in the middle of it would say that nothing follows.
                None if self.ics => MOST,
                limit => limit.unwrap_or(FEW).min(MOST),
            }),
        };
        let list = face.client.due(&query).await?;
        let mut later = String::new();
        if let (Some(job), true) = (&job, list.due.is_empty()) {
            let all = face.client.jobs(None).await?;
            let meant = job::meant(&face.client, std::slice::from_ref(job)).await?.jobs;
            if meant.is_empty() {
                return Err(job::no_such(job, all.iter().map(|job| job.name.as_str()), &[]));
            }
            later = after_that(&meant, &face.screen);
        }
        let text = match (self.json.json, self.ics) {
            (Some(form), _) => listing::json(&list.due, form).map_err(unwritable)?,
            (None, true) => ticks::calendar(&list.due, &face.screen),
            (None, false) if list.due.is_empty() => {
                face.screen.note(&format!("nothing is due within {}{later}", self.within));
                String::new()
            }
            (None, false) => ticks::coming(&list.due, &face.screen),
        };
        face.screen.print(&text)?;
        for path in &list.stale_files {
            face.screen.note(&format!(
                "{path} does not hold as it is now, and what it says does not count: kin reload --plan says why"
            ));
        }
        let shown = list.due.len();
        match self.limit {
            _ if !list.more => {}
            None if !self.ics => face.screen.note(&format!("only the first {shown} are shown; -n shows more")),
            Some(n @ 1..) if n <= MOST => {}
            _ => face.screen.note(&format!(
                "only the first {shown} are shown, as many as the server tells; a shorter --within shows all of it"
            )),
        }
        Ok(0)
    }
}

/// When the first of these is due, if it is not soon.
fn after_that(jobs: &[Job], screen: &Screen) -> String {
    let first =
        jobs.iter().filter_map(|job| Some((when::from_wire(job.next_at.as_deref()?)?, job))).min_by_key(|(at, _)| *at);
    match first {
        Some((at, job)) => format!("; {} is due at {}", job.name, when::with_offset(at, screen.zone())),
        None if jobs.iter().all(|job| job.schedule.is_empty()) => "; no schedule is written for it".into(),
        None if jobs.iter().all(|job| job.schedule.iter().all(|text| text.trim() == "@reboot")) => {
            "; it runs when the machine has started".into()
        }
        None => String::new(),
    }
}
