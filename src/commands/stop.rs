//! `kin stop`

use crate::cli::Face;
use crate::report::Failure;
use crate::select::{Selected, Which, select};
use crate::verdict;
use crate::when;
use clap::Args;
use kin_client::Error;
use kin_client::api::Run;
use kin_client::api::run::StopRequest;

/// Ask runs to end: TERM to all they started, after a while KILL.
///
/// A run that has not started yet is cancelled. One that has ended is named, with its end, and that is no failure.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin stop backup\n  kin stop NeP8nb4q 'web*' @night --wait")]
pub(crate) struct StopArgs {
    /// A run's id or its last 8 characters, a job, a glob, @tag.
    #[arg(value_name = "RUN|JOB", required = true)]
    what: Vec<String>,
    /// Return when they have ended.
    #[arg(long)]
    wait: bool,
}

impl StopArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let request = StopRequest::default();
        end(face, &self.what, &request, self.wait).await
    }
}

/// Both of `stop` and `kill`.
pub(crate) async fn end(face: &Face, what: &[String], request: &StopRequest, wait: bool) -> Result<u8, Failure> {
    let selected = select(&face.client, what, Which::LiveOrNewest).await?;
    let mut tally = Tally::of(face, &selected)?;
    for run in &selected.runs {
        if run.state == "ended" {
            tally.over(run);
            continue;
        }
        let answer = face.client.stop(&run.id, request).await;
        if matches!(answer, Err(Error::Refused(_))) {
            let now = face.client.run(&run.id).await?;
            if now.state == "ended" {
                tally.over(&now);
                continue;
            }
        }
        let asked = tally.take(run, answer)?;
        if let Some(asked) = asked {
            let ended = if wait { face.client.wait(&run.id, None).await? } else { None };
            tally.say_state(&ended.unwrap_or(asked))?;
        }
    }
    Ok(tally.code)
}

/// What was done, run by run, and what comes of it.
pub(crate) struct Tally<'a> {
    face: &'a Face,
    pub(crate) code: u8,
}

impl Tally<'_> {
    /// Says which words mean nothing. When none means anything, that is all there is to do.
    pub(crate) fn of<'a>(face: &'a Face, selected: &Selected) -> Result<Tally<'a>, Failure> {
        match selected.unmatched.as_slice() {
            [] => Ok(Tally { face, code: 0 }),
            [first, ..] if selected.runs.is_empty() => Err(Failure::not_found(first)),
            some => {
                some.iter().for_each(|word| face.screen.note(&format!("nothing matches {word:?}")));
                Ok(Tally { face, code: 4 })
            }
        }
    }

    /// A refusal of one run does not keep the others from being asked.
    pub(crate) fn take(&mut self, run: &Run, answer: Result<Run, Error>) -> Result<Option<Run>, Failure> {
        match answer {
            Ok(run) => Ok(Some(run)),
            Err(Error::Refused(refused)) => {
                self.face.screen.note(&format!("{}: {}", run.id, refused.message));
                self.code = self.code.max(Failure::Client(Error::Refused(refused)).exit_code());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// There is nothing to do about it, which is what was asked for.
    fn over(&self, run: &Run) {
        let at = run.ended_at.as_deref().and_then(when::from_wire);
        let at = at.map_or(String::new(), |at| format!(", at {}", when::second(at, self.face.screen.zone())));
        self.face.screen.note(&format!("{} has ended already: {}{at}", run.id, verdict::outcome(run)));
    }

    fn say_state(&self, run: &Run) -> Result<(), Failure> {
        self.say(run, &verdict::words(run))?;
        if let Some(why) = &run.not_recorded {
            self.face.screen.note(&format!("{}: it is done, and not recorded yet: {why}", run.id));
        }
        Ok(())
    }

    pub(crate) fn say(&self, run: &Run, what: &str) -> Result<(), Failure> {
        self.face.screen.print(&format!("{}  {what}\n", run.id))
    }
}
