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

    pub fn index(&self) -> PathBuf {
        self.with(".idx")
    }

    fn with(&self, end: &str) -> PathBuf {
        let mut path = self.base.clone().into_os_string();
        path.push(end);
        PathBuf::from(path)
    }
}

/// The stream's number in a gap's frame.
const fn stream_word(stream: Stream) -> u8 {
    match stream {
        Stream::Out => 0,
        Stream::Err => 1,
    }
}
