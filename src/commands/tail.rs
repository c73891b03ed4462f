//! `kin tail`

use crate::cli::Face;
use crate::merged::{Last, Said, follow, shown};
use crate::printer::{Cleaned, Printer};
use crate::report::Failure;
use crate::screen::Colour;
use crate::select::{Selected, Which, select};
use crate::verdict;
use clap::Args;
use kin_client::api::{Run, RunId, RunNo, RunQuery};
use kin_client::{Client, Error, Events, Page, Piece, Stream};
use std::collections::HashSet;
use tokio::sync::mpsc;

/// The last lines of runs: of all that live, of some, or of one. With -f also those to come.
///
/// A line of more than 64 KiB is taken for several; where its beginning is not among them, … stands in its place.
///
/// Several runs followed together are merged, each line with its run's id; runs that start meanwhile join in.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin tail -f\n  kin tail -n 50 backup\n  kin tail -f 'web*' @night")]
pub(crate) struct TailArgs {
    /// Go on with what is written from now on.
    #[arg(long, short = 'f')]
    follow: bool,
    /// So many lines of each run.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    lines: usize,
    /// As it is, also on a terminal.
    #[arg(long)]
    raw: bool,
    /// A run's id or its last 8 characters, a job, a glob, @tag; without any, all runs that live.
    #[arg(value_name = "RUN|JOB")]
    what: Vec<String>,
}

impl TailArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        // First who listens, then who lives, so that no run begins in between.
        let mut listened = Vec::new();
        for word in if self.follow { self.listened() } else { Vec::new() } {
            let newcomers = Newcomers::of(&face.client, word.as_deref());
            listened.push(newcomers.listening().await?);
        }
        let selected = if self.what.is_empty() {
            let live = RunQuery { state: Some("live".into()), ..RunQuery::default() };
            let mut runs = face.client.runs_of(&live, Page::All, |_| true).await?;
            runs.reverse();
            Selected { runs, ..Selected::default() }
        } else {
            select(&face.client, &self.what, Which::LiveOrNewest).await?
        };
        let code = self.unmatched(face, &selected)?;
        match selected.runs.as_slice() {
            [run] if self.follow && self.only_ids() => self.follow_one(face, run).await?,
            runs if self.follow => self.follow_all(face, runs, listened).await?,
            runs => return Ok(code.max(self.last_of_all(face, runs).await?)),
        }
        Ok(code)
    }

    /// Words that mean nothing yet may mean something later, but only to those who wait, and only when they name a job.
    fn unmatched(&self, face: &Face, selected: &Selected) -> Result<u8, Failure> {
        for word in selected.unmatched.iter().filter(|word| !self.follow || is_id(word)) {
            if selected.runs.is_empty() {
                return Err(Failure::not_found(word));
            }
            face.screen.note(&format!("nothing matches {word:?}"));
        }
        if self.what.is_empty() && selected.runs.is_empty() && !self.follow {
            face.screen.note("no run lives; kin log shows those there were");
        }
        Ok(if selected.unmatched.is_empty() || self.follow { 0 } else { 4 })
    }

    fn only_ids(&self) -> bool {
        !self.what.is_empty() && self.what.iter().all(|word| is_id(word))
    }

    /// A refusal is about one run; the others are shown.
    async fn last_of_all(&self, face: &Face, runs: &[Run]) -> Result<u8, Failure> {
        let mut printer = Printer::new(Cleaned::of(&face.screen, self.raw));
        let mut code = 0;
        for (i, run) in runs.iter().enumerate() {
            if runs.len() > 1 {
                let gap = if i == 0 { "" } else { "\n" };
                printer.write(Stream::Out, format!("{gap}==> {} <==\n", run.id).into_bytes()).await?;
            }
            let last = match Last::of(&face.client, run, self.lines).await {
                Err(error @ Error::Refused(_)) if runs.len() > 1 => {
                    face.screen.note(&format!("{}: {error}", run.id));
                    code = code.max(Failure::from(error).exit_code());
                    continue;
                }
                last => last?,
            };
            tell_of_cut(face, &run.id, &last);
            for line in last.lines {
                printer.write(Stream::Out, line.bytes).await?;
            }
        }
        printer.finish().await?;
        Ok(code)
    }

    /// One run, as it is: no label, no waiting for the end of a line.
    async fn follow_one(&self, face: &Face, run: &Run) -> Result<(), Failure> {
        let mut printer = Printer::new(Cleaned::of(&face.screen, self.raw));
        let last = Last::of(&face.client, run, self.lines).await?;
        tell_of_cut(face, &run.id, &last);
        for line in last.lines {
            printer.write(Stream::Out, line.bytes).await?;
        }
        let mut reader = face.client.follow(&run.id, last.end, true);
        while let Some(piece) = reader.next().await? {
            match piece {
                Piece::Bytes { bytes, .. } => printer.write(Stream::Out, bytes.into()).await?,
                Piece::Gap { stream, count, .. } => {
                    face.screen.note(&format!("{count} bytes of {} were not kept here", stream.word()));
                }
                Piece::Away => face.screen.note(&verdict::away(&face.client, &run.id)),
                Piece::Unrecorded(run) => face.screen.note(&verdict::unrecorded(&run, &face.client)),
                Piece::End(_) => {}
            }
        }
        printer.finish().await
    }

    async fn follow_all(&self, face: &Face, runs: &[Run], listened: Vec<Newcomers>) -> Result<(), Failure> {
        let (send, mut said) = mpsc::channel(64);
        for newcomers in listened {
            tokio::spawn(newcomers.tell(send.clone()));
        }
        let mut followed = HashSet::new();
        for run in runs {
            followed.insert(run.id.clone());
            tokio::spawn(follow(face.client.clone(), run.clone(), self.lines, send.clone()));
        }
        // With only ids there are no newcomers, and the channel closes when the last of them has ended.
        let send = (!self.only_ids()).then_some(send);
        while let Some(said) = said.recv().await {
            match said {
                Said::Line { run, line } => face.screen.print_bytes(&self.labelled(face, &run, &line))?,
                Said::Newcomer(run) => {
                    if let (true, Some(send)) = (followed.insert(run.id.clone()), &send) {
                        tokio::spawn(follow(face.client.clone(), *run, usize::MAX, send.clone()));
                    }
                }
                Said::Gap { run, stream, count } => {
                    face.screen.note(&format!("{count} bytes of {run}'s {} were not kept here", stream.word()));
                }
                Said::Refused { run, error } => face.screen.note(&format!("{run}: {error}")),
                Said::Failed(error) => return Err(error.into()),
                Said::Ended(_) | Said::Event(_) => {}
            }
        }
        Ok(())
    }

    /// What to listen for newcomers of: everything, or each word that is not a run's id.
    fn listened(&self) -> Vec<Option<String>> {
        if self.what.is_empty() {
            return vec![None];
        }
        self.what.iter().filter(|word| !is_id(word)).map(|word| Some(word.clone())).collect()
    }

    fn labelled(&self, face: &Face, run: &str, line: &[u8]) -> Vec<u8> {
        let mut out = Colour::Dim.paint(run, face.screen.colour).into_bytes();
        out.extend_from_slice(b" | ");
        out.extend_from_slice(&shown(line, face.screen.out_terminal && !self.raw));
        out.push(b'\n');
        out
    }
}

fn tell_of_cut(face: &Face, run: &str, last: &Last) {
    if last.cut {
        face.screen.note(&format!("of a very long line only the end is shown, after …; kin jl {run} shows all of it"));
    }
    if last.gone > 0 {
        face.screen.note(&format!("{} bytes of {run} were not kept here", last.gone));
    }
}

fn is_id(word: &str) -> bool {
    RunId::parse(word).is_some() || RunNo::parse(word).is_some()
}

/// Runs that start from now on and match a word.
struct Newcomers {
    client: Client,
    tag: Option<String>,
    events: Events,
}

impl Newcomers {
    fn of(client: &Client, word: Option<&str>) -> Newcomers {
        let tag = word.and_then(|word| word.strip_prefix('@')).map(str::to_owned);
        let events = client.events(None, if tag.is_some() { None } else { word });
        Newcomers { client: client.clone(), tag, events }
    }

    async fn listening(mut self) -> Result<Newcomers, Error> {
        self.events.listening().await?;
        Ok(self)
    }

    /// Ends when nobody listens to it.
    async fn tell(mut self, send: mpsc::Sender<Said>) {
        loop {
            let said = match self.events.next().await {
                Err(error) => Said::Failed(error),
                Ok(event) => {
                    let (Some(id), Some("starting" | "running")) = (&event.run, event.state.as_deref()) else {
                        continue;
                    };
                    match self.client.run(id).await {
                        Ok(run) if self.tag.as_ref().is_none_or(|tag| run.tags.contains(tag)) => {
                            Said::Newcomer(Box::new(run))
                        }
                        Ok(_) => continue,
                        Err(error) => Said::no(id, error),
                    }
                }
            };
            let last = matches!(said, Said::Failed(_));
            if send.send(said).await.is_err() || last {
                return;
            }
        }
    }
}
