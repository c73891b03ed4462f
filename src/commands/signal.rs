//! `kin signal`

use crate::cli::Face;
use crate::commands::stop::Tally;
use crate::commands::unwritable;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::select::{Which, select};
use clap::Args;
use kin_client::api::run::SignalRequest;
use kin_config::signal;

/// Send runs a signal: to the process group, or only to the process that was started.
#[derive(Args, Debug)]
#[command(
    after_help = "EXAMPLE\n  kin signal HUP web\n  kin signal --leader USR1 NeP8nb4q\n  kin signal HUP @app --json | jq -r '.[].id'"
)]
pub(crate) struct SignalArgs {
    /// HUP, SIGHUP or 1.
    #[arg(value_name = "SIGNAL")]
    signal: String,
    /// A run's id or its last 8 characters, a job, a glob, @tag.
    #[arg(value_name = "RUN|JOB", required = true)]
    what: Vec<String>,
    /// Only to the process that was started, not to its group.
    #[arg(long)]
    leader: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl SignalArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        let number = signal::parse(&self.signal)
            .map_err(|message| Failure::Usage { message, hint: Some("kill -l lists them".into()) })?;
        let signal = signal::name(number);
        let request = SignalRequest { signal: signal.clone(), leader_only: self.leader, interrupt: false };
        let selected = select(&face.client, &self.what, Which::LiveOrNamed).await?;
        let mut tally = Tally::of(face, &selected)?;
        let mut sent = Vec::new();
        for run in &selected.runs {
            if let Some(now) = tally.take(run, face.client.signal(&run.id, &request).await)? {
                if self.json.json.is_none() {
                    tally.say(run, &format!("{signal} sent"))?;
                }
                sent.push(now);
            }
        }
        if let Some(form) = self.json.json {
            face.screen.print(&listing::json(&sent, form).map_err(unwritable)?)?;
        }
        Ok(tally.code)
    }
}
