//! `kin tail`

use crate::clean::Cleaner;
use crate::cli::Face;
use crate::printer::{Cleaned, Printer};
use crate::report::Failure;
use crate::screen::Colour;
use crate::select::{Selected, Which, select};
use crate::verdict;
use clap::Args;
use kin_client::api::{Run, RunId, RunNo, RunQuery};
use kin_client::{Client, Error, Offsets, Page, Piece, Stream};
use std::collections::{HashSet, VecDeque};
use tokio::sync::mpsc;

/// The last lines of runs: of all that live, of some, or of one. With -f also those to come.
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

/// How much of the end of a run is read at first to find its last lines.
const WINDOW: u64 = 64 * 1024;
/// A longer line is shown in parts.
const LINE_MAX: usize = 64 * 1024;

impl TailArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let selected = if self.what.is_empty() {
            let live = RunQuery { state: Some("live".into()), ..RunQuery::default() };
            let mut runs = face.client.runs_of(&live, Page::All, |_| true).await?;
            runs.reverse();
            Selected { runs, unmatched: Vec::new() }
        } else {
            select(&face.client, &self.what, Which::LiveOrNewest).await?
        };
        let code = self.unmatched(face, &selected)?;
        match selected.runs.as_slice() {
            [run] if self.follow && self.only_ids() => self.follow_one(face, run).await?,
            runs if self.follow => self.follow_all(face, runs).await?,
            runs => self.last_of_all(face, runs).await?,
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

    async fn last_of_all(&self, face: &Face, runs: &[Run]) -> Result<(), Failure> {
        let mut printer = Printer::new(Cleaned::of(&face.screen, self.raw));
        for (i, run) in runs.iter().enumerate() {
            if runs.len() > 1 {
                let gap = if i == 0 { "" } else { "\n" };
                printer.write(Stream::Out, format!("{gap}==> {} <==\n", run.id).into_bytes()).await?;
            }
            let last = Last::of(&face.client, run, self.lines).await?;
            for line in last.lines {
                printer.write(Stream::Out, line.bytes).await?;
            }
        }
        printer.finish().await
    }

    /// One run, as it is: no label, no waiting for the end of a line.
    async fn follow_one(&self, face: &Face, run: &Run) -> Result<(), Failure> {
        let mut printer = Printer::new(Cleaned::of(&face.screen, self.raw));
        let last = Last::of(&face.client, run, self.lines).await?;
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
                Piece::End(_) => {}
            }
        }
        printer.finish().await
    }

    async fn follow_all(&self, face: &Face, runs: &[Run]) -> Result<(), Failure> {
        let (send, mut said) = mpsc::channel(64);
        for word in self.listened() {
            let (client, send) = (face.client.clone(), send.clone());
            tokio::spawn(async move { newcomers(client, word, send).await });
        }
        let mut followed = HashSet::new();
        for run in runs {
            followed.insert(run.id.clone());
            tokio::spawn(follow_labelled(face.client.clone(), run.clone(), self.lines, send.clone()));
        }
        // With only ids there are no newcomers, and the channel closes when the last of them has ended.
        let send = (!self.only_ids()).then_some(send);
        while let Some(said) = said.recv().await {
            match said {
                Said::Line { run, line } => face.screen.print_bytes(&self.labelled(face, &run, &line))?,
                Said::Newcomer(run) => {
                    if let (true, Some(send)) = (followed.insert(run.id.clone()), &send) {
                        tokio::spawn(follow_labelled(face.client.clone(), *run, usize::MAX, send.clone()));
                    }
                }
                Said::Gap { run, stream, count } => {
                    face.screen.note(&format!("{count} bytes of {run}'s {} were not kept here", stream.word()));
                }
                Said::Failed(error) => return Err(error.into()),
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
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if face.screen.out_terminal && !self.raw {
            let mut text = String::new();
            let mut cleaner = Cleaner::default();
            cleaner.push(line.strip_suffix(b"\r").unwrap_or(line), &mut text);
            cleaner.finish(&mut text);
            out.extend_from_slice(text.as_bytes());
        } else {
            out.extend_from_slice(line);
        }
        out.push(b'\n');
        out
    }
}

fn is_id(word: &str) -> bool {
    RunId::parse(word).is_some() || RunNo::parse(word).is_some()
}

enum Said {
    Line { run: String, line: Vec<u8> },
    Newcomer(Box<Run>),
    Gap { run: String, stream: Stream, count: u64 },
    Failed(Error),
}

/// Runs that start from now on and match `word`. Ends when nobody listens to it.
async fn newcomers(client: Client, word: Option<String>, send: mpsc::Sender<Said>) {
    let tag = word.as_deref().and_then(|word| word.strip_prefix('@')).map(str::to_owned);
    let mut events = client.events(None, if tag.is_some() { None } else { word.as_deref() });
    loop {
        let said = match events.next().await {
            Err(error) => Said::Failed(error),
            Ok(event) => {
                let (Some(id), Some("starting" | "running")) = (&event.run, event.state.as_deref()) else { continue };
                match client.run(id).await {
                    Ok(run) if tag.as_ref().is_none_or(|tag| run.tags.contains(tag)) => Said::Newcomer(Box::new(run)),
                    Ok(_) => continue,
                    Err(error) => Said::Failed(error),
                }
            }
        };
        let last = matches!(said, Said::Failed(_));
        if send.send(said).await.is_err() || last {
            return;
        }
    }
}

/// The last lines of a run and all that follow, one by one. Ends with the run, or when nobody listens to it.
async fn follow_labelled(client: Client, run: Run, lines: usize, send: mpsc::Sender<Said>) {
    if let Err(error) = follow_lines(&client, &run, lines, &send).await {
        // Nobody listens any more: then there is nobody to tell.
        drop(send.send(Said::Failed(error)).await);
    }
}

async fn follow_lines(client: &Client, run: &Run, lines: usize, send: &mpsc::Sender<Said>) -> Result<(), Error> {
    let last = if lines == usize::MAX { Last::default() } else { Last::of(client, run, lines).await? };
    let mut open = Lines::default();
    for line in last.lines {
        if line.bytes.ends_with(b"\n") {
            drop(send.send(Said::Line { run: run.id.clone(), line: line.bytes }).await);
        } else {
            open.begin(line);
        }
    }
    let mut reader = client.follow(&run.id, last.end, true);
    while let Some(piece) = reader.next().await? {
        match piece {
            Piece::Bytes { stream, bytes, .. } => open.push(stream, &bytes),
            Piece::Gap { stream, count, .. } => {
                drop(send.send(Said::Gap { run: run.id.clone(), stream, count }).await);
            }
            Piece::Away => {}
            Piece::End(_) => open.end(),
        }
        while let Some(line) = open.ready.pop_front() {
            if send.send(Said::Line { run: run.id.clone(), line: line.bytes }).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Line {
    stream: Stream,
    bytes: Vec<u8>,
}

/// Bytes of both streams to lines, in the order in which lines are complete.
#[derive(Debug, Default)]
struct Lines {
    open: [Vec<u8>; 2],
    ready: VecDeque<Line>,
}

impl Lines {
    fn begin(&mut self, line: Line) {
        self.open[line.stream as usize] = line.bytes;
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let open = &mut self.open[stream as usize];
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            open.extend_from_slice(part);
            if part.ends_with(b"\n") || open.len() >= LINE_MAX {
                self.ready.push_back(Line { stream, bytes: std::mem::take(open) });
            }
        }
    }

    /// Nothing more will come: what is open is a line too.
    fn end(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let bytes = std::mem::take(&mut self.open[stream as usize]);
            if !bytes.is_empty() {
                self.ready.push_back(Line { stream, bytes });
            }
        }
    }
}

/// The last lines of a run, and where it goes on from there.
#[derive(Debug, Default)]
struct Last {
    lines: VecDeque<Line>,
    end: Offsets,
}

impl Last {
    async fn of(client: &Client, run: &Run, wanted: usize) -> Result<Last, Error> {
        let mut window = WINDOW;
        loop {
            let from = Offsets { out: run.out_bytes.saturating_sub(window), err: run.err_bytes.saturating_sub(window) };
            let last = Last::from(client, run, from, wanted).await?;
            if last.lines.len() >= wanted || from == Offsets::default() {
                return Ok(last);
            }
            window = window.saturating_mul(8);
        }
    }

    async fn from(client: &Client, run: &Run, from: Offsets, wanted: usize) -> Result<Last, Error> {
        let mut lines = Lines::default();
        let mut last = VecDeque::new();
        // Of a stream that is entered in the middle, the first line is only a part of one.
        let mut partial = [from.out > 0, from.err > 0];
        let mut keep = |line: Line, last: &mut VecDeque<Line>| {
            if !std::mem::take(&mut partial[line.stream as usize]) {
                last.push_back(line);
            }
            if last.len() > wanted {
                last.pop_front();
            }
        };
        let mut reader = client.follow(&run.id, from, false);
        while let Some(piece) = reader.next().await? {
            if let Piece::Bytes { stream, bytes, .. } = piece {
                lines.push(stream, &bytes);
                lines.ready.drain(..).for_each(|line| keep(line, &mut last));
            }
        }
        lines.end();
        lines.ready.drain(..).for_each(|line| keep(line, &mut last));
        Ok(Last { lines: last, end: reader.offsets() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_the_order_in_which_they_are_complete() {
        let mut lines = Lines::default();
        lines.push(Stream::Out, b"one\ntw");
        lines.push(Stream::Err, b"oops\n");
        lines.push(Stream::Out, b"o\nthr");
        lines.end();
        let got: Vec<(Stream, String)> =
            lines.ready.into_iter().map(|l| (l.stream, String::from_utf8_lossy(&l.bytes).into_owned())).collect();
        let want = [(Stream::Out, "one\n"), (Stream::Err, "oops\n"), (Stream::Out, "two\n"), (Stream::Out, "thr")];
        assert_eq!(got, want.map(|(stream, text)| (stream, text.to_owned())));
    }

    #[test]
    fn a_line_without_end_is_shown_in_parts() {
        let mut lines = Lines::default();
        for _ in 0..3 {
            lines.push(Stream::Out, &[b'x'; LINE_MAX / 2]);
        }
        assert_eq!(lines.ready.len(), 1);
    }
}
