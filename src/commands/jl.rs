//! `kin jl`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::json_line;
use crate::printer::{Cleaned, Printer};
use crate::report::Failure;
use crate::select;
use clap::Args;
use kin_client::api::run::to_wire;
use kin_client::{Chunk, Offsets, Piece, Stream};
use serde::Serialize;

/// What one run has written: both streams merged by time, or one of them byte for byte.
///
/// On a terminal only text and colours pass, whatever the program wrote; in a pipe, or with --raw, every byte does.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin jl backup-NeP8nb4q\n  kin jl NeP8nb4q --err > errors.txt")]
pub(crate) struct JlArgs {
    /// A run's id or its last 8 characters; of a job, its newest run.
    #[arg(value_name = "RUN")]
    run: String,
    /// Only what it wrote to stdout.
    #[arg(long, conflicts_with = "err")]
    out: bool,
    /// Only what it wrote to stderr.
    #[arg(long)]
    err: bool,
    /// As it is, also on a terminal.
    #[arg(long)]
    raw: bool,
    /// A JSON object a piece: stream, offset, text. Bytes that are not UTF-8 are the characters U+F700 and following.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
}

impl JlArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.run = face.job_meant(self.run).await?;
        let run = select::one(&face.client, &self.run).await?;
        if run.trigger.kind == "adopt" {
            face.screen.note(&format!("kin did not start {}: what it writes goes where it always went", run.id));
        }
        match (self.json, self.out, self.err) {
            (true, _, _) => self.as_json(face, &run.id).await,
            (false, true, _) => self.stream(face, &run.id, Stream::Out).await,
            (false, false, true) => self.stream(face, &run.id, Stream::Err).await,
            (false, false, false) => self.both(face, &run.id).await,
        }
    }

    /// Data goes to stdout, whichever stream it was.
    async fn both(&self, face: &Face, id: &str) -> Result<u8, Failure> {
        let mut printer = Printer::new(Cleaned::of(&face.screen, self.raw));
        let mut reader = face.client.follow(id, Offsets::default(), false);
        let (mut read, mut gone) = (0, 0);
        while let Some(piece) = reader.next().await? {
            match piece {
                Piece::Bytes { bytes, .. } => {
                    read += bytes.len();
                    printer.write(Stream::Out, bytes.into()).await?;
                }
                Piece::Gap { stream, count, .. } => {
                    gone += count;
                    note_gap(face, stream, count);
                }
                Piece::Away | Piece::Unrecorded(_) | Piece::End(_) => {}
            }
        }
        printer.finish().await?;
        match (read, gone) {
            (0, 1..) => Err(Failure::NotFound {
                message: format!("the output of {id} is no longer kept; it was {gone} bytes"),
                hint: Some("of each job, the oldest output goes first when there is too much of it".into()),
            }),
            (_, _) => Ok(0),
        }
    }

    async fn stream(&self, face: &Face, id: &str, stream: Stream) -> Result<u8, Failure> {
        let mut printer = Printer::new(Cleaned::of(&face.screen, self.raw));
        let mut reader = face.client.output(id, stream, 0, false);
        while let Some(chunk) = reader.next().await? {
            match chunk {
                Chunk::Bytes(bytes) => printer.write(Stream::Out, bytes.into()).await?,
                Chunk::Gap(count) => note_gap(face, stream, count),
            }
        }
        printer.finish().await?;
        Ok(0)
    }

    async fn as_json(&self, face: &Face, id: &str) -> Result<u8, Failure> {
        let wanted = |stream: Stream| match stream {
            Stream::Out => !self.err,
            Stream::Err => !self.out,
        };
        let mut pieces = Pieces::default();
        let mut reader = face.client.follow(id, Offsets::default(), false);
        let mut text = String::new();
        while let Some(piece) = reader.next().await? {
            let line = match piece {
                Piece::Bytes { stream, offset, bytes } if wanted(stream) => pieces.take(stream, offset, &bytes),
                Piece::Gap { stream, offset, count } if wanted(stream) => {
                    let dropped = Some(count);
                    Some(Line { stream: stream.word(), offset, text: None, dropped })
                }
                Piece::Bytes { .. } | Piece::Gap { .. } => None,
                Piece::Away | Piece::Unrecorded(_) | Piece::End(_) => None,
            };
            if let Some(line) = line {
                text.push_str(&json_line(&line).map_err(unwritable)?);
                text.push('\n');
            }
            if text.len() > 1 << 16 {
                face.screen.print(&std::mem::take(&mut text))?;
            }
        }
        for line in pieces.rest() {
            text.push_str(&json_line(&line).map_err(unwritable)?);
            text.push('\n');
        }
        face.screen.print(&text)?;
        Ok(0)
    }
}

fn note_gap(face: &Face, stream: Stream, count: u64) {
    face.screen.note(&format!("{count} bytes of {} were not kept here", stream.word()));
}

/// Pieces that never end in the middle of a character.
#[derive(Default)]
struct Pieces {
    /// Of each stream: where the held bytes lie, and the bytes.
    held: [(u64, Vec<u8>); 2],
}

impl Pieces {
    fn take(&mut self, stream: Stream, offset: u64, bytes: &[u8]) -> Option<Line<'static>> {
        let (at, held) = &mut self.held[stream as usize];
        let offset = offset - held.len() as u64;
        let mut all = std::mem::take(held);
        all.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&all) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // An earlier mistake may hide an open end; a character has at most four bytes.
            Err(_) => all.len() - open_end(&all),
            Ok(_) => all.len(),
        };
        *held = all.split_off(whole);
        *at = offset + whole as u64;
        (!all.is_empty()).then(|| Line { stream: stream.word(), offset, text: Some(to_wire(&all)), dropped: None })
    }

    fn rest(self) -> Vec<Line<'static>> {
        let [out, err] = self.held;
        let line = |stream: Stream, (offset, bytes): (u64, Vec<u8>)| {
            let text = Some(to_wire(&bytes));
            (!bytes.is_empty()).then(|| Line { stream: stream.word(), offset, text, dropped: None })
        };
        [line(Stream::Out, out), line(Stream::Err, err)].into_iter().flatten().collect()
    }
}

fn open_end(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|n| {
            let end = &bytes[bytes.len() - n..];
            matches!(std::str::from_utf8(end), Err(e) if e.valid_up_to() == 0 && e.error_len().is_none())
        })
        .unwrap_or(0)
}
