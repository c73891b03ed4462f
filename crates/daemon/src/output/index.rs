//! Reading a run's time index while it grows.
//!
//! Only the last entry may still change: the keeper raises its end while the same stream goes on within the same instant.
//! So each read begins at the last entry seen, and whatever lies before a later entry is read once more, after that
//! later entry was seen: then it is final.
//!
//! A run that writes for months has a long index, and most readers want its end. So it is first looked at from its end
//! backwards, as raw words, until each stream is where the reader has all of it: what lies before says nothing new, for
//! the lengths in it only grow. Only a stream that never wrote makes that go to the beginning.

use super::segments::{open, read_at};
use kin_keeper::index::{END, ENTRY, Item, items};
use std::fs::File;
use std::io;
use std::path::PathBuf;

const CHUNK: usize = 4096 * ENTRY;
const LOOK: usize = 16 * CHUNK;

#[derive(Debug)]
pub struct IndexTail {
    path: PathBuf,
    file: Option<File>,
    /// What the reader has of each stream.
    has: [u64; 2],
    /// Where the last entry seen begins; everything before it is final and was given out.
    at: u64,
}

impl IndexTail {
    pub fn new(path: PathBuf, has: [u64; 2]) -> IndexTail {
        IndexTail { path, file: None, has, at: 0 }
    }

    /// What is new since the last call, a bounded piece of it; the last entry of the call before is given again, as
    /// it may have grown. Empty when there is nothing new.
    pub fn read(&mut self) -> io::Result<Vec<Item>> {
        if self.file.is_none() {
            self.file = open(&self.path)?;
            if let Some(file) = &self.file {
                self.at = before_news(file, self.has)?;
            }
        }
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let mut bytes = vec![0; CHUNK];
        let seen = read_at(file, &mut bytes, self.at)?;
        if seen > ENTRY {
            let again = read_at(file, &mut bytes[..seen], self.at)?;
            bytes.truncate(again);
        } else {
            bytes.truncate(seen);
        }
        let found: Vec<Item> = items(&bytes).collect();
        let lens = found.iter().map(|item| if matches!(item, Item::End(_)) { END } else { ENTRY });
        let read = lens.sum::<usize>() as u64;
        self.at += match found.last() {
            Some(Item::Grew { .. }) => read - ENTRY as u64,
            Some(Item::Gap { .. } | Item::End(_)) | None => read,
        };
        Ok(found)
    }
}

/// An entry before which everything says only what the reader has.
fn before_news(file: &File, has: [u64; 2]) -> io::Result<u64> {
    if has == [0; 2] {
        return Ok(0);
    }
    let len = file.metadata()?.len();
    let mut end = len - len % ENTRY as u64;
    let mut passed = [false; 2];
    // An end record is as long as four entries, and only its first word says that it is one: three words before those that
    // are looked at tell of it.
    let margin = (END - ENTRY) as u64;
    let mut bytes = vec![0; LOOK + END - ENTRY];
    while end > 0 {
        let start = end.saturating_sub(LOOK as u64);
        let from = start.saturating_sub(margin);
        let wanted = (end - from) as usize;
        let read = read_at(file, &mut bytes[..wanted], from)?;
        let (words, _torn) = bytes[..read].as_chunks::<ENTRY>();
        let kind = |i: usize| words[i][0] & 3;
        let first = ((start - from) / ENTRY as u64) as usize;
        for i in (first..words.len()).rev() {
            let of_end = (i.saturating_sub(3)..=i).any(|j| kind(j) == 3);
            let stream = usize::from(kind(i));
            if of_end || stream > 1 {
                continue;
            }
            let [_, _, _, _, _, _, _, _, length @ ..] = words[i];
            passed[stream] |= u64::from_le_bytes(length) <= has[stream];
            if passed == [true; 2] {
                return Ok(from + (i * ENTRY) as u64);
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_keeper::index::{self, EndExit, Stream};

    /// The ends of both streams by turns, with an end record and a gap among them.
    fn long(path: &std::path::Path, entries: u64) {
        let last = index::End {
            run: 1,
            started_us: 5,
            ended_us: 9,
            out_bytes: 0,
            err_bytes: 0,
            exit: EndExit::Code(0),
            flags: 0,
        };
        let mut bytes = Vec::new();
        for i in 1..=entries {
            bytes.extend(index::grew(if i % 2 == 0 { Stream::Out } else { Stream::Err }, i, i));
            if i == entries - 10 {
                bytes.extend(index::end(&last));
                bytes.extend(index::gap(Stream::Out, i, 3));
            }
        }
        std::fs::write(path, bytes).expect("written");
    }

    #[test]
    fn a_long_index_is_read_from_where_it_says_something_new() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("idx");
        let entries = 300_000;
        long(&path, entries);
        let all: Vec<Item> = items(&std::fs::read(&path).expect("reads")).collect();
        let is_news = |item: &&Item, has: [u64; 2]| match **item {
            Item::Grew { stream, end, .. } => end > has[stream as usize],
            Item::Gap { stream, offset, .. } => offset >= has[stream as usize],
            Item::End(_) => false,
        };
        for back in (0..40).chain([70_000, 200_000, 299_998]) {
            let has = [entries - back, entries - back - 1];
            let mut tail = IndexTail::new(path.clone(), has);
            let mut news = Vec::new();
            let first = tail.read().expect("reads");
            assert!(back > 40 || first.len() < 60, "{} items were read for the last {back}", first.len());
            let mut read = first;
            while read.len() > 1 {
                read.pop();
                news.append(&mut read);
                read = tail.read().expect("reads");
            }
            news.append(&mut read);
            let got: Vec<&Item> = news.iter().filter(|item| is_news(item, has)).collect();
            let want: Vec<&Item> = all.iter().filter(|item| is_news(item, has)).collect();
            assert!(got == want, "{back}: {} of {}", got.len(), want.len());
        }
        // A stream that was never heard of hides nothing.
        let mut tail = IndexTail::new(path, [0, entries]);
        assert_eq!(tail.read().expect("reads").first(), all.first());
    }
}
