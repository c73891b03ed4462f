//! Reading a run's time index while it grows.
//!
//! Only the last entry may still change: the keeper raises its end while the same stream goes on within the same instant.
//! So each read begins at the last entry seen, and whatever lies before a later entry is read once more, after that
//! later entry was seen: then it is final.

use super::segments::{open, read_at};
use kin_keeper::index::{END, ENTRY, Item, items};
use std::fs::File;
use std::io;
use std::path::PathBuf;

const CHUNK: usize = 4096 * ENTRY;

#[derive(Debug)]
pub struct IndexTail {
    path: PathBuf,
    file: Option<File>,
    /// Where the last entry seen begins; everything before it is final and was given out.
    at: u64,
}

impl IndexTail {
    pub fn new(path: PathBuf) -> IndexTail {
        IndexTail { path, file: None, at: 0 }
    }

    /// What is new since the last call, a bounded piece of it; the last entry of the call before is given again, as
    /// it may have grown. Empty when there is nothing new.
    pub fn read(&mut self) -> io::Result<Vec<Item>> {
        if self.file.is_none() {
            self.file = open(&self.path)?;
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
