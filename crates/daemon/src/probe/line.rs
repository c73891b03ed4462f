//! A line of a run's output that matches. Read from the beginning, so that nothing is missed by a daemon that comes late.

use crate::output::LogFiles;
use crate::output::growth::Watcher;
use crate::output::segments::{Found, Segments};
use kin_keeper::index::Stream;
use regex::bytes::Regex;
use std::io;
use std::path::Path;

/// At most so much of a line is looked at.
const LINE_MOST: usize = 64 << 10;
const PART: usize = 256 << 10;

/// One stream, as far as it was read.
struct Reader {
    segments: Segments,
    at: u64,
    line: Vec<u8>,
}

pub(super) async fn wait_for(pattern: &str, log_base: &Path, watcher: &Watcher) -> Result<(), String> {
    let regex = Regex::new(pattern).map_err(|e| format!("{pattern:?} is no pattern: {e}"))?;
    let bad = |e: io::Error| format!("its output cannot be read: {e}");
    let mut growth = watcher.listen(log_base).map_err(bad)?;
    let files = LogFiles::at(log_base.to_path_buf());
    let mut readers =
        [Stream::Out, Stream::Err].map(|stream| Reader { segments: files.stream(stream), at: 0, line: Vec::new() });
    loop {
        growth.note();
        let regex = regex.clone();
        // Files may lie on a slow disk.
        let looked = tokio::task::spawn_blocking(move || {
            let found = readers.iter_mut().map(|reader| reader.look(&regex)).try_fold(false, |any, one| Ok(any | one?));
            (readers, found)
        });
        let (back, found) = looked.await.map_err(|e| bad(io::Error::other(e)))?;
        readers = back;
        if found.map_err(bad)? {
            return Ok(());
        }
        growth.changed().await;
    }
}

impl Reader {
    /// Everything there is by now. True: a line matches.
    fn look(&mut self, regex: &Regex) -> io::Result<bool> {
        let mut part = Vec::new();
        loop {
            part.clear();
            match self.segments.read(self.at, PART, &mut part)? {
                Found::Bytes(n) => self.at += n as u64,
                Found::End => return Ok(false),
                Found::Missing { until } => {
                    self.at = until;
                    self.line.clear();
                    continue;
                }
            }
            for piece in part.split_inclusive(|b| *b == b'\n') {
                let room = LINE_MOST.saturating_sub(self.line.len());
                let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
                self.line.extend_from_slice(&text[..text.len().min(room)]);
                if ends {
                    let found = regex.is_match(self.line.strip_suffix(b"\r").unwrap_or(&self.line));
                    self.line.clear();
                    if found {
                        return Ok(true);
                    }
                }
            }
        }
    }
}
