//! Both streams of a run as one, in the order in which the keeper took them: frames of `kin_api::frame`.
//!
//! Where the reader stands is two offsets and nothing else. The time index says in which order the streams grew; bytes a
//! reader already has are passed over, so from any two offsets each byte after them comes exactly once. Bytes that no
//! entry covers (the keeper was killed between them and their entry) have no place in that order: they come when they
//! are asked for by `Upto::All`.

use super::index::IndexTail;
use super::segments::{Found, Segments};
use super::{LogFiles, stream_word};
use kin_api::frame::{self, Kind};
use kin_keeper::index::{Item, Stream};
use std::collections::VecDeque;
use std::io;

/// One answer is at most about so large; a reader that takes nothing holds no more than this.
pub const BUDGET: usize = 64 << 10;

#[derive(Debug)]
pub struct Merged {
    streams: [Segments; 2],
    index: IndexTail,
    /// The next byte of each stream to give out.
    at: [u64; 2],
    /// Read from the index and not given out yet.
    pending: VecDeque<Item>,
}

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// What the index puts in order.
    Indexed,
    /// Then what lies in the files besides, up to these lengths, and nothing beyond them.
    All { ends: [u64; 2] },
}

enum Piece {
    Given,
    /// The file ends before that.
    Short,
}

/// Whether there is more to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    /// Everything there was is given out.
    Dry,
}

impl Merged {
    pub fn new(files: &LogFiles, at: [u64; 2]) -> Merged {
        Merged {
            streams: [files.stream(Stream::Out), files.stream(Stream::Err)],
            index: IndexTail::new(files.index(), at),
            at,
            pending: VecDeque::new(),
        }
    }

    pub fn at(&self) -> [u64; 2] {
        self.at
    }

    pub fn let_go_of_removed(&mut self) -> io::Result<()> {
        self.streams.iter_mut().try_for_each(Segments::let_go_of_removed)
    }

    pub fn lens(&mut self) -> io::Result<[u64; 2]> {
        let [out, err] = &mut self.streams;
        Ok([out.end()?, err.end()?])
    }

    /// Appends frames to `into` until it holds about `BUDGET` bytes or nothing is left. An error comes only when nothing
    /// could be read before it.
    pub fn fill(&mut self, upto: Upto, into: &mut Vec<u8>) -> io::Result<Progress> {
        match self.fill_some(upto, into) {
            // The next call meets it again.
            Err(_) if !into.is_empty() => Ok(Progress::More),
            filled => filled,
        }
    }

    fn fill_some(&mut self, upto: Upto, into: &mut Vec<u8>) -> io::Result<Progress> {
        let ends = match upto {
            Upto::Indexed => [u64::MAX; 2],
            Upto::All { ends } => ends,
        };
        while into.len() < BUDGET {
            match self.next_item()? {
                Some(item) if self.is_news(item, ends) => self.give(item, ends, into)?,
                // Nothing more in order, or only beyond the ends that were asked for.
                Some(_) | None => {
                    return match upto {
                        Upto::Indexed => Ok(Progress::Dry),
                        Upto::All { .. } => self.fill_rest(ends, into),
                    };
                }
            }
        }
        Ok(Progress::More)
    }

    /// The next item of the index that says anything the reader does not have.
    fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            while let Some(item) = self.pending.front().copied() {
                if self.is_news(item, [u64::MAX; 2]) {
                    return Ok(Some(item));
                }
                self.pending.pop_front();
            }
            let read = self.index.read()?;
            if !read.iter().any(|item| self.is_news(*item, [u64::MAX; 2])) && read.len() < 2 {
                return Ok(None);
            }
            self.pending.extend(read);
        }
    }

    fn is_news(&self, item: Item, ends: [u64; 2]) -> bool {
        match item {
            Item::Grew { stream, end, .. } => end.min(ends[stream as usize]) > self.at[stream as usize],
            Item::Gap { stream, offset, .. } => offset >= self.at[stream as usize] && offset <= ends[stream as usize],
            Item::End(_) => false,
        }
    }

    /// Gives out the first pending item, or a piece of it.
    fn give(&mut self, item: Item, ends: [u64; 2], into: &mut Vec<u8>) -> io::Result<()> {
        match item {
            Item::Grew { stream, end, .. } => match self.piece(stream, end.min(ends[stream as usize]), into)? {
                Piece::Given => {}
                // The index is ahead of the file: the power went before the bytes were on disk.
                Piece::Short => drop(self.pending.pop_front()),
            },
            Item::Gap { stream, offset, dropped } => {
                put_gap(into, stream, offset, Gap::Dropped(dropped));
                self.pending.pop_front();
            }
            Item::End(_) => {}
        }
        Ok(())
    }

    /// Reads one stream up to `end` or until the budget is used up.
    fn piece(&mut self, stream: Stream, end: u64, into: &mut Vec<u8>) -> io::Result<Piece> {
        let i = stream as usize;
        while self.at[i] < end && into.len() < BUDGET {
            let head = into.len();
            into.extend_from_slice(&[0; frame::HEAD]);
            let room = usize::try_from(end - self.at[i]).unwrap_or(BUDGET).min(BUDGET);
            let found = self.streams[i].read(self.at[i], room, into);
            if found.is_err() {
                into.truncate(head);
            }
            match found? {
                Found::Bytes(n) => {
                    let kind = if stream == Stream::Out { Kind::Out } else { Kind::Err };
                    into[head..head + frame::HEAD].copy_from_slice(&frame::head(kind, self.at[i], n as u32));
                    self.at[i] += n as u64;
                }
                Found::Missing { until } => {
                    into.truncate(head);
                    put_gap(into, stream, self.at[i], Gap::Hole(until - self.at[i]));
                    self.at[i] = until;
                }
                Found::End => {
                    into.truncate(head);
                    return Ok(Piece::Short);
                }
            }
        }
        Ok(Piece::Given)
    }

    /// At a run's end, when all that is there is given out: what it wrote behind that is not there any more.
    pub fn give_gone(&mut self, wrote: [u64; 2], into: &mut Vec<u8>) {
        for stream in [Stream::Out, Stream::Err] {
            let i = stream as usize;
            if wrote[i] > self.at[i] {
                put_gap(into, stream, self.at[i], Gap::Hole(wrote[i] - self.at[i]));
                self.at[i] = wrote[i];
            }
        }
    }

    fn fill_rest(&mut self, ends: [u64; 2], into: &mut Vec<u8>) -> io::Result<Progress> {
        for stream in [Stream::Out, Stream::Err] {
            match self.piece(stream, ends[stream as usize], into)? {
                Piece::Given | Piece::Short => {}
            }
            if into.len() >= BUDGET {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Dry)
    }
}

/// Bytes that are not there.
#[derive(Clone, Copy)]
enum Gap {
    /// They were kept, and removed later: the stream's offsets go on behind them.
    Hole(u64),
    /// They were never kept, so they have no offsets: the stream goes on at the same one.
    Dropped(u64),
}

fn put_gap(into: &mut Vec<u8>, stream: Stream, offset: u64, gap: Gap) {
    let (hole, dropped) = match gap {
        Gap::Hole(count) => (count, 0),
        Gap::Dropped(count) => (0, count),
    };
    into.extend_from_slice(&frame::head(Kind::Gap, offset, frame::GAP));
    into.extend_from_slice(&hole.to_le_bytes());
    into.push(stream_word(stream));
    into.extend_from_slice(&dropped.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_keeper::index;
    use proptest::prelude::*;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    const SEGMENT: u64 = 64;

    /// Writes as the keeper does: bytes first, cut into segments, then their entry, the last of which may still grow.
    struct Writer {
        files: LogFiles,
        written: [Vec<u8>; 2],
        entries: Vec<(Stream, u64)>,
        /// Streams in the order of the indexed bytes.
        order: Vec<u8>,
    }

    impl Writer {
        fn new(dir: &Path) -> Writer {
            let files = LogFiles::at(dir.join("a-00000001")).in_segments_of(SEGMENT);
            Writer { files, written: [Vec::new(), Vec::new()], entries: Vec::new(), order: Vec::new() }
        }

        fn write(&mut self, stream: Stream, len: usize) {
            let all = &mut self.written[stream as usize];
            for _ in 0..len {
                let at = all.len() as u64;
                all.push((at % 251) as u8 ^ (stream as u8) << 7);
                let mut path = self.files.with(if stream == Stream::Out { ".out" } else { ".err" }).into_os_string();
                if at >= SEGMENT {
                    path.push(format!(".{}", at / SEGMENT + 1));
                }
                let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opens");
                file.write_all(&all[all.len() - 1..]).expect("writes");
            }
        }

        fn note(&mut self, stream: Stream, extend: bool) {
            let end = self.written[stream as usize].len() as u64;
            let before = self.entries.iter().rev().find(|(s, _)| *s == stream).map_or(0, |(_, end)| *end);
            self.order.extend(std::iter::repeat_n(stream as u8, (end - before) as usize));
            match self.entries.last_mut() {
                Some((last, last_end)) if *last == stream && extend => *last_end = end,
                Some(_) | None => self.entries.push((stream, end)),
            }
            let at = (self.entries.len() - 1) * index::ENTRY;
            let file: File =
                OpenOptions::new().create(true).write(true).truncate(false).open(self.files.index()).expect("opens");
            file.write_all_at(&index::grew(stream, 7, end), at as u64).expect("writes");
        }
    }

    /// What a client makes of frames: both streams, and in which order their bytes came.
    #[derive(Default)]
    struct Client {
        got: [Vec<u8>; 2],
        order: Vec<u8>,
        gaps: Vec<(u8, u64, u64)>,
    }

    impl Client {
        fn take(&mut self, mut bytes: &[u8]) {
            while !bytes.is_empty() {
                let (head, rest) = bytes.split_at(frame::HEAD);
                let (kind, offset, len) = frame::parse_head(head.try_into().expect("a head")).expect("a frame");
                let (payload, rest) = rest.split_at(len as usize);
                bytes = rest;
                match kind {
                    Kind::Out | Kind::Err => {
                        let got = &mut self.got[kind as usize];
                        assert_eq!(got.len() as u64, offset, "each byte once, in order");
                        got.extend_from_slice(payload);
                        self.order.extend(std::iter::repeat_n(kind as u8, payload.len()));
                    }
                    Kind::Gap => {
                        let hole = u64::from_le_bytes(payload[..8].try_into().expect("a count"));
                        self.gaps.push((payload[8], offset, hole));
                    }
                    Kind::End => panic!("nothing here ends"),
                }
            }
        }

        fn at(&self) -> [u64; 2] {
            [self.got[0].len() as u64, self.got[1].len() as u64]
        }
    }

    fn drain(reader: &mut Merged, client: &mut Client, upto: Upto) {
        loop {
            let mut bytes = Vec::new();
            let progress = reader.fill(upto, &mut bytes).expect("reads");
            client.take(&bytes);
            if progress == Progress::Dry {
                return;
            }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Write {
            err: bool,
            len: usize,
        },
        Note {
            err: bool,
            extend: bool,
        },
        Read,
        /// What is there, and no waiting for an entry.
        ReadAll,
        /// The connection breaks; the client asks again from where it is.
        Resume,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (any::<bool>(), 1usize..40).prop_map(|(err, len)| Act::Write { err, len }),
            4 => (any::<bool>(), any::<bool>()).prop_map(|(err, extend)| Act::Note { err, extend }),
            3 => Just(Act::Read),
            1 => Just(Act::ReadAll),
            1 => Just(Act::Resume),
        ]
    }

    fn stream(err: bool) -> Stream {
        if err { Stream::Err } else { Stream::Out }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn however_it_grows_and_whenever_it_breaks_each_byte_comes_once(acts in proptest::collection::vec(act(), 1..60)) {
            let dir = tempfile::tempdir().expect("a directory");
            let mut writer = Writer::new(dir.path());
            let mut client = Client::default();
            let mut reader = Merged::new(&writer.files, [0; 2]);
            for act in acts {
                match act {
                    Act::Write { err, len } => writer.write(stream(err), len),
                    Act::Note { err, extend } => writer.note(stream(err), extend),
                    Act::Read => drain(&mut reader, &mut client, Upto::Indexed),
                    Act::ReadAll => {
                        let ends = reader.lens().expect("lengths");
                        drain(&mut reader, &mut client, Upto::All { ends });
                        prop_assert_eq!(client.at(), ends);
                    }
                    Act::Resume => reader = Merged::new(&writer.files, client.at()),
                }
            }
            let ends = reader.lens().expect("lengths");
            drain(&mut reader, &mut client, Upto::All { ends });
            prop_assert_eq!(&client.got, &writer.written);
        }

        #[test]
        fn what_the_index_orders_comes_in_its_order(acts in proptest::collection::vec(act(), 1..60)) {
            let dir = tempfile::tempdir().expect("a directory");
            let mut writer = Writer::new(dir.path());
            let (mut live, mut client) = (Merged::new(&writer.files, [0; 2]), Client::default());
            for act in acts {
                match act {
                    Act::Write { err, len } => {
                        writer.write(stream(err), len);
                        writer.note(stream(err), len % 2 == 0);
                    }
                    Act::Read => drain(&mut live, &mut client, Upto::Indexed),
                    Act::Note { .. } | Act::ReadAll | Act::Resume => {}
                }
            }
            drain(&mut live, &mut client, Upto::Indexed);
            prop_assert_eq!(&client.order, &writer.order);
            let mut late = Client::default();
            drain(&mut Merged::new(&writer.files, [0; 2]), &mut late, Upto::Indexed);
            prop_assert_eq!(&late.order, &writer.order);
        }
    }

    #[test]
    fn what_was_not_kept_is_a_gap_at_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = Writer::new(dir.path());
        writer.write(Stream::Out, 200);
        writer.note(Stream::Out, false);
        let mut index = OpenOptions::new().append(true).open(writer.files.index()).expect("opens");
        index.write_all(&index::gap(Stream::Out, 200, 77)).expect("writes");
        std::fs::remove_file(dir.path().join("a-00000001.out.2")).expect("removes");
        let mut bytes = Vec::new();
        Merged::new(&writer.files, [10, 0]).fill(Upto::Indexed, &mut bytes).expect("reads");
        let mut kinds = Vec::new();
        let mut rest = &bytes[..];
        while let Some((head, after)) = rest.split_at_checked(frame::HEAD) {
            let (kind, offset, len) = frame::parse_head(head.try_into().expect("a head")).expect("a frame");
            kinds.push((kind, offset, len));
            rest = &after[len as usize..];
        }
        let want =
            [(Kind::Out, 10, 54), (Kind::Gap, 64, 17), (Kind::Out, 128, 64), (Kind::Out, 192, 8), (Kind::Gap, 200, 17)];
        assert_eq!(kinds, want);
    }
    #[test]
    fn what_is_gone_at_the_end_is_a_gap_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = Writer::new(dir.path());
        writer.write(Stream::Out, 200);
        writer.note(Stream::Out, false);
        std::fs::remove_file(dir.path().join("a-00000001.out.4")).expect("removes");
        let (mut reader, mut client) = (Merged::new(&writer.files, [0; 2]), Client::default());
        let ends = reader.lens().expect("lengths");
        drain(&mut reader, &mut client, Upto::All { ends });
        assert_eq!((client.at(), client.gaps.clone()), ([192, 0], vec![]));
        let mut bytes = Vec::new();
        reader.give_gone([200, 0], &mut bytes);
        reader.give_gone([200, 0], &mut bytes);
        client.take(&bytes);
        assert_eq!((client.gaps, reader.at()), (vec![(0, 192, 8)], [200, 0]));
    }
}
