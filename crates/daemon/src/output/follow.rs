//! Output as an answer that goes on until the run has ended and everything was sent.
//!
//! A follower sleeps until its run's files grow or its run ends; there is no polling. It reads only when its reader has
//! taken what it was given before, so a reader that stands still costs one buffer and slows nobody. The order of looking
//! is what makes it complete: first whether the run has ended, then the files, then the wait for news since that look.

use super::growth::Growth;
use super::merged::{BUDGET, Merged, Progress, Upto};
use super::segments::{Found, Segments};
use crate::endings::Ending;
use bytes::Bytes;
use kin_api::frame::{self, Kind};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that no index entry covers after so long are sent without one: their keeper is dead.
const UNCOVERED: Duration = Duration::from_millis(200);

/// What is read.
#[derive(Debug)]
pub enum Source {
    One(One),
    Both(Merged),
}

/// One stream, byte for byte. It has no room for a word about a hole, so the answer is broken off there; whoever asks
/// again from where it was is told where the stream goes on.
#[derive(Debug)]
pub struct One {
    pub segments: Segments,
    pub at: u64,
    /// Not beyond this.
    pub end: u64,
}

#[derive(Debug)]
pub struct Follower {
    /// Away only while it is being read.
    source: Option<Source>,
    ending: Ending,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Until the run has ended.
    Follow {
        growth: Growth,
    },
    /// What there is now, and no more.
    Once,
    /// Up to these ends; the run, if it has ended, is said last.
    Rest {
        ends: [u64; 2],
        run: Option<Arc<kin_api::Run>>,
    },
    Done,
}

/// What one look at the files gave.
struct Look {
    bytes: Vec<u8>,
    progress: Progress,
    /// How long the streams were, where that was asked.
    ends: [u64; 2],
    /// There are bytes that the index does not cover.
    uncovered: bool,
    full: bool,
}

impl Follower {
    /// With `growth` it follows; without, it gives what there is.
    pub fn new(source: Source, growth: Option<Growth>, ending: Ending) -> Follower {
        let stage = growth.map_or(Stage::Once, |growth| Stage::Follow { growth });
        Follower { source: Some(source), ending, stage }
    }

    /// The next piece of the answer; `None` when it is complete.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let run = self.ending.now();
            match &mut self.stage {
                Stage::Follow { .. } if run.is_some() => {
                    let ends = self.look(None).await?.ends;
                    self.stage = Stage::Rest { ends, run };
                }
                Stage::Once => {
                    let ends = self.look(None).await?.ends;
                    self.stage = Stage::Rest { ends, run };
                }
                Stage::Follow { growth } => {
                    growth.note();
                    let look = self.look(Some(Upto::Indexed)).await?;
                    if !look.bytes.is_empty() {
                        return Ok(Some(look.bytes.into()));
                    }
                    if look.full {
                        self.stage = Stage::Done;
                    } else if look.progress == Progress::Dry && self.stands_still(look.uncovered).await {
                        let look = self.look(Some(Upto::All { ends: look.ends })).await?;
                        if !look.bytes.is_empty() {
                            return Ok(Some(look.bytes.into()));
                        }
                    }
                }
                Stage::Rest { ends, .. } => {
                    let ends = *ends;
                    let look = self.look(Some(Upto::All { ends })).await?;
                    if look.progress == Progress::Dry {
                        let bytes = self.finish(look.bytes)?;
                        return Ok((!bytes.is_empty()).then(|| bytes.into()));
                    }
                    return Ok(Some(look.bytes.into()));
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    /// Waits for news. True when bytes that no entry covers have waited long enough.
    async fn stands_still(&mut self, uncovered: bool) -> bool {
        let Stage::Follow { growth } = &mut self.stage else { return false };
        let news = async {
            tokio::select! {
                () = growth.changed() => {}
                _ = self.ending.wait() => {}
            }
        };
        if uncovered {
            return tokio::time::timeout(UNCOVERED, news).await.is_err();
        }
        news.await;
        false
    }

    /// The last piece: with it goes the run itself, where both streams were asked for and it has ended.
    fn finish(&mut self, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        if let (Stage::Rest { run: Some(run), .. }, Some(Source::Both(merged))) = (stage, &mut self.source) {
            merged.give_gone([run.out_bytes, run.err_bytes], &mut bytes);
            let json = serde_json::to_vec(run.as_ref())?;
            bytes.extend_from_slice(&frame::head(Kind::End, 0, json.len() as u32));
            bytes.extend_from_slice(&json);
        }
        Ok(bytes)
    }

    /// Files may lie on a slow disk, so they are read where waiting harms nobody.
    /// `None` only asks how long the streams are.
    async fn look(&mut self, upto: Option<Upto>) -> io::Result<Look> {
        let Some(mut source) = self.source.take() else {
            return Err(io::Error::other("the answer was broken off before"));
        };
        let (source, look) = tokio::task::spawn_blocking(move || {
            let look = source.look(upto);
            (source, look)
        })
        .await
        .map_err(io::Error::other)?;
        self.source = Some(source);
        look
    }
}

impl Source {
    fn look(&mut self, upto: Option<Upto>) -> io::Result<Look> {
        let mut bytes = Vec::new();
        let mut progress = Progress::Dry;
        match self {
            Source::Both(merged) => {
                if let Some(upto) = upto {
                    progress = merged.fill(upto, &mut bytes)?;
                }
                merged.let_go_of_removed()?;
                let ends = merged.lens()?;
                let uncovered = ends.iter().zip(merged.at()).any(|(end, at)| *end > at);
                Ok(Look { bytes, progress, ends, uncovered, full: false })
            }
            Source::One(one) => {
                progress = match upto {
                    Some(Upto::Indexed) => one.fill(one.end, &mut bytes)?,
                    Some(Upto::All { ends }) => one.fill(ends[0].min(one.end), &mut bytes)?,
                    None => progress,
                };
                one.segments.let_go_of_removed()?;
                let ends = [one.segments.end()?, 0];
                Ok(Look { bytes, progress, ends, uncovered: false, full: one.at >= one.end })
            }
        }
    }
}

impl One {
    fn fill(&mut self, end: u64, into: &mut Vec<u8>) -> io::Result<Progress> {
        while self.at < end && into.len() < BUDGET {
            let room = usize::try_from(end - self.at).unwrap_or(BUDGET).min(BUDGET - into.len());
            match self.segments.read(self.at, room, into) {
                Ok(Found::Bytes(n)) => self.at += n as u64,
                Ok(Found::Missing { .. }) if into.is_empty() => return Err(io::Error::other("not kept from here on")),
                Ok(Found::Missing { .. }) => return Ok(Progress::More),
                Ok(Found::End) => return Ok(Progress::Dry),
                // What was read before it is given out; the next look meets it again.
                Err(_) if !into.is_empty() => return Ok(Progress::More),
                Err(e) => return Err(e),
            }
        }
        Ok(if self.at < end { Progress::More } else { Progress::Dry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::LogFiles;
    use crate::output::growth::Watcher;
    use kin_keeper::index::{self, Stream};
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;
    use tokio::sync::watch;

    fn append(path: &Path, bytes: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opens");
        file.write_all(bytes).expect("writes");
    }

    async fn piece(follower: &mut Follower) -> Option<Bytes> {
        let next = tokio::time::timeout(Duration::from_secs(10), follower.next());
        next.await.expect("in time").expect("reads")
    }

    fn an_ended_run() -> Option<Arc<kin_api::Run>> {
        let text = r#"{"id":"a-00000001","job":"a","slot":0,"attempt":1,"follows":null,"trigger":{"kind":"manual"},
            "state":"ended","outcome":"ok","exit_code":0,"signal":null,"reason":null,"pid":null,"host":"h",
            "created_at":"","started_at":null,"ended_at":null,"out_bytes":0,"err_bytes":0,"out_dropped":0,
            "err_dropped":0,"max_rss_bytes":null,"cpu_ms":null,"warnings":{},"tags":[],"command":[],"directory":""}"#;
        Some(Arc::new(serde_json::from_str(text).expect("a run")))
    }

    #[tokio::test]
    async fn a_follower_sees_it_grow_and_ends_with_the_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = LogFiles::at(dir.path().join("a-00000001"));
        let (out, growth) =
            (files.with(".out"), Watcher::new().expect("a watcher").listen(files.base()).expect("listens"));
        let (say, ending) = watch::channel(None);
        let source = Source::Both(Merged::new(&files, [0; 2]));
        let mut follower = Follower::new(source, Some(growth), Ending::told_by(ending));
        append(&out, b"one");
        append(&files.index(), &index::grew(Stream::Out, 1, 3));
        assert_eq!(&piece(&mut follower).await.expect("a frame")[frame::HEAD..], b"one");
        // A dead keeper's last bytes have no entry, and come all the same.
        append(&out, b"two");
        assert_eq!(&piece(&mut follower).await.expect("a frame")[frame::HEAD..], b"two");
        append(&out, b"three");
        say.send_replace(an_ended_run());
        let last = piece(&mut follower).await.expect("a frame");
        assert_eq!(&last[frame::HEAD..frame::HEAD + 5], b"three");
        let end: [u8; frame::HEAD] = last[21..37].try_into().expect("a head");
        assert_eq!(frame::parse_head(&end).map(|(kind, _, _)| kind), Some(Kind::End));
        assert_eq!(piece(&mut follower).await, None);
    }

    #[tokio::test]
    async fn one_stream_ends_at_its_limit_or_with_the_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = LogFiles::at(dir.path().join("a-00000001"));
        append(&files.with(".out"), b"0123456789");
        let watcher = Watcher::new().expect("a watcher");
        let (say, ending) = watch::channel(None);
        for (at, end, follow, want) in [(2, 5, true, "234"), (4, u64::MAX, false, "456789"), (10, 99, false, "")] {
            let source = Source::One(One { segments: files.stream(Stream::Out), at, end });
            let growth = follow.then(|| watcher.listen(files.base()).expect("listens"));
            let mut follower = Follower::new(source, growth, Ending::told_by(ending.clone()));
            let mut got = Vec::new();
            while let Some(bytes) = piece(&mut follower).await {
                got.extend_from_slice(&bytes);
            }
            assert_eq!(got, want.as_bytes());
        }
        let source = Source::One(One { segments: files.stream(Stream::Out), at: 9, end: u64::MAX });
        let growth = watcher.listen(files.base()).expect("listens");
        let mut follower = Follower::new(source, Some(growth), Ending::told_by(ending));
        assert_eq!(piece(&mut follower).await.as_deref(), Some(&b"9"[..]));
        say.send_replace(an_ended_run());
        assert_eq!(piece(&mut follower).await, None);
    }
}
