//! Reading what runs wrote. The files are the truth: a reader looks at them and at nothing else, so that readers never
//! ask anything of the keeper, and a slow one costs only its own buffer.
//!
//! ```text
//!   segments   one stream by byte offset, over all its files
//!   packed     one of these files, compressed, of a run that ended long ago
//!   index      the time index while it grows
//!   merged     both streams in the order in which they were taken
//!   growth     the news that a run's files have grown (inotify)
//!   follow     all of it as an endless answer, until the run has ended and everything was sent
//! ```

pub mod follow;
pub mod growth;
pub mod index;
pub mod merged;
pub mod packed;
pub mod segments;

use kin_core::RunId;
use kin_keeper::index::Stream;
use segments::Segments;
use std::path::{Path, PathBuf};

/// Where one run's output lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFiles {
    base: PathBuf,
    segment: u64,
}

impl LogFiles {
    pub fn of(state: &Path, run: &RunId) -> LogFiles {
        LogFiles::at(state.join("logs").join(run.job.as_str()).join(run.to_string()))
    }

    /// `base` is the path without `.out`, `.err`, `.idx`.
    pub fn at(base: PathBuf) -> LogFiles {
        LogFiles { base, segment: segments::SEGMENT }
    }

    /// The same files, cut into segments of another size than the keeper's.
    pub fn in_segments_of(self, segment: u64) -> LogFiles {
        LogFiles { segment, ..self }
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    pub fn stream(&self, stream: Stream) -> Segments {
        Segments::of_size(self.with(if stream == Stream::Out { ".out" } else { ".err" }), self.segment)
    }

    /// The first file of each stream that has one, and how long the stream is.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let of = |(stream, end): (Stream, &str)| {
            let path = self.with(end);
            (path.exists() || packed::packed(&path).exists()).then(|| (path, self.stream(stream).end().unwrap_or(0)))
        };
        [(Stream::Out, ".out"), (Stream::Err, ".err")].into_iter().filter_map(of).collect()
    }

    pub fn index(&self) -> PathBuf {
        self.with(".idx")
    }

    fn with(&self, end: &str) -> PathBuf {
        let mut path = self.base.clone().into_os_string();
        path.push(end);
        PathBuf::from(path)
    }
}

/// A file of a run's output, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub run: RunId,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `<run id>.out`, `.err`, `.out.2`, and so on.
    Plain,
    /// The same with `.zst`.
    Packed,
    /// With `.zst.new`: not yet one.
    Begun,
}

impl Part {
    /// `None`: the name is that of something else. An index is no output.
    pub fn of(name: &str) -> Option<Part> {
        let (rest, form) = match (name.strip_suffix(".zst"), name.strip_suffix(".zst.new")) {
            (Some(rest), _) => (rest, Form::Packed),
            (None, Some(rest)) => (rest, Form::Begun),
            (None, None) => (name, Form::Plain),
        };
        let (base, end) = rest.rsplit_once('.')?;
        let id = match end {
            "out" | "err" => base,
            number => {
                number.parse::<u64>().ok()?;
                base.strip_suffix(".out").or_else(|| base.strip_suffix(".err"))?
            }
        };
        Some(Part { run: RunId::parse(id)?, form })
    }
}

/// The stream's number in a gap's frame.
const fn stream_word(stream: Stream) -> u8 {
    match stream {
        Stream::Out => 0,
        Stream::Err => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_output_is_known_by_its_name() {
        let of = |name: &str| Part::of(name).map(|part| (part.run.to_string(), part.form));
        for (name, want) in [
            ("a-NeP8nb4q.out", Some(("a-NeP8nb4q", Form::Plain))),
            ("a.b-NeP8nb4q.err.12", Some(("a.b-NeP8nb4q", Form::Plain))),
            ("a-NeP8nb4q.out.zst", Some(("a-NeP8nb4q", Form::Packed))),
            ("a-NeP8nb4q.err.2.zst", Some(("a-NeP8nb4q", Form::Packed))),
            ("a-NeP8nb4q.err.2.zst.new", Some(("a-NeP8nb4q", Form::Begun))),
            ("a-NeP8nb4q.idx", None),
            ("a-NeP8nb4q.zst", None),
            ("a-NeP8nb4q.out.x", None),
            ("ends", None),
            ("ends.1", None),
        ] {
            assert_eq!(of(name), want.map(|(run, form)| (run.to_string(), form)), "{name}");
        }
    }
}
