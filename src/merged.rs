//! The output of several runs as one: whole lines, each with its run, in the order in which they are complete.

use crate::clean::Cleaner;
use kin_client::api::{Event, Run};
use kin_client::{Client, Error, Offsets, Piece, Stream};
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// How much of the end of a run is read at first to find its last lines.
const WINDOW: u64 = 64 * 1024;
/// A longer line is shown in parts.
const LINE_MAX: usize = 64 * 1024;

/// What those who follow have to say, to the one who prints.
pub(crate) enum Said {
    Line {
        run: String,
        line: Vec<u8>,
    },
    Newcomer(Box<Run>),
    Gap {
        run: String,
        stream: Stream,
        count: u64,
    },
    /// All that it wrote was said.
    Ended(Box<Run>),
    Event(Box<Event>),
    /// The server has no answer about one run; the others have theirs.
    Refused {
        run: String,
        error: Error,
    },
    Failed(Error),
}

impl Said {
    pub(crate) fn no(run: &str, error: Error) -> Said {
        if error.code().is_some() {
            return Said::Refused { run: run.to_owned(), error };
        }
        Said::Failed(error)
    }
}

/// A line without its end; on a terminal cleaned.
pub(crate) fn shown(line: &[u8], clean: bool) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if !clean {
        return line.to_vec();
    }
    let (mut text, mut cleaner) = (String::new(), Cleaner::default());
    cleaner.push(line.strip_suffix(b"\r").unwrap_or(line), &mut text);
    cleaner.finish(&mut text);
    text.into_bytes()
}

/// The last lines of a run and all that follow, one by one. Ends with the run, or when nobody listens to it.
pub(crate) async fn follow(client: Client, run: Run, lines: usize, send: mpsc::Sender<Said>) {
    if let Err(error) = follow_lines(&client, &run, lines, &send).await {
        // Nobody listens any more: then there is nobody to tell.
        drop(send.send(Said::no(&run.id, error)).await);
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
    let mut ended = None;
    while let Some(piece) = reader.next().await? {
        match piece {
            Piece::Bytes { stream, bytes, .. } => open.push(stream, &bytes),
            Piece::Gap { stream, count, .. } => {
                drop(send.send(Said::Gap { run: run.id.clone(), stream, count }).await);
            }
            Piece::Away | Piece::Unrecorded(_) => {}
            Piece::End(run) => {
                open.end();
                ended = Some(run);
            }
        }
        while let Some(line) = open.ready.pop_front() {
            if send.send(Said::Line { run: run.id.clone(), line: line.bytes }).await.is_err() {
                return Ok(());
            }
        }
    }
    if let Some(run) = ended {
        drop(send.send(Said::Ended(run)).await);
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Line {
    stream: Stream,
    pub(crate) bytes: Vec<u8>,
    /// Its first part is another one, or was never read.
    continues: bool,
}

/// Stands where the beginning of a line is not shown.
const CUT: &str = "…";

impl Line {
    /// Marks that its beginning is missing; none of a character is left there.
    fn mark_cut(&mut self) {
        let rest = self.bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
        self.bytes.splice(..rest, CUT.bytes());
    }
}

/// Bytes of both streams to lines, in the order in which lines are complete.
#[derive(Debug, Default)]
struct Lines {
    open: [Vec<u8>; 2],
    /// What is open goes on with a line whose first part is gone from here.
    inside: [bool; 2],
    ready: VecDeque<Line>,
}

impl Lines {
    fn begin(&mut self, line: Line) {
        self.open[line.stream as usize] = line.bytes;
        self.inside[line.stream as usize] = line.continues;
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let (open, inside) = (&mut self.open[stream as usize], &mut self.inside[stream as usize]);
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            open.extend_from_slice(part);
            if part.ends_with(b"\n") || open.len() >= LINE_MAX {
                let continues = std::mem::replace(inside, !part.ends_with(b"\n"));
                self.ready.push_back(Line { stream, bytes: std::mem::take(open), continues });
            }
        }
    }

    /// Nothing more will come: what is open is a line too.
    fn end(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let bytes = std::mem::take(&mut self.open[stream as usize]);
            if !bytes.is_empty() {
                self.ready.push_back(Line { stream, bytes, continues: self.inside[stream as usize] });
            }
        }
    }
}

/// The last lines of a run, and where it goes on from there.
#[derive(Debug, Default)]
pub(crate) struct Last {
    pub(crate) lines: VecDeque<Line>,
    pub(crate) end: Offsets,
    /// Of a line only the end is among them.
    pub(crate) cut: bool,
    /// So many bytes are missing among them.
    pub(crate) gone: u64,
}

impl Last {
    pub(crate) async fn of(client: &Client, run: &Run, wanted: usize) -> Result<Last, Error> {
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
        let mut lines = Lines { inside: [from.out > 0, from.err > 0], ..Lines::default() };
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
        let mut gone = 0;
        while let Some(piece) = reader.next().await? {
            match piece {
                Piece::Bytes { stream, bytes, .. } => {
                    lines.push(stream, &bytes);
                    lines.ready.drain(..).for_each(|line| keep(line, &mut last));
                }
                Piece::Gap { count, .. } => gone += count,
                Piece::Away | Piece::Unrecorded(_) | Piece::End(_) => {}
            }
        }
        lines.end();
        lines.ready.drain(..).for_each(|line| keep(line, &mut last));
        let (mut begun, mut cut) = ([false; 2], false);
        for line in &mut last {
            if !std::mem::replace(&mut begun[line.stream as usize], true) && line.continues {
                line.mark_cut();
                cut = true;
            }
        }
        Ok(Last { lines: last, end: reader.offsets(), cut, gone })
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
        lines.push(Stream::Out, b"end\nnext\n");
        let continues: Vec<bool> = lines.ready.iter().map(|line| line.continues).collect();
        assert_eq!(continues, [false, true, false]);
    }

    #[test]
    fn a_mark_leaves_no_part_of_a_character() {
        let mut line = Line { stream: Stream::Out, bytes: "äöü".as_bytes()[1..].to_vec(), continues: true };
        line.mark_cut();
        assert_eq!(line.bytes, "…öü".as_bytes());
    }
}
