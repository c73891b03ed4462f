//! A newline in a file: the word of a run that it is ready. Who wrote it may die, and who reads it too.

use crate::output::growth::Watcher;
use crate::surroundings::ready_path;
use kin_core::RunNo;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// So much is said before the newline, at most.
const MOST: u64 = 64 << 10;

pub(super) fn is_there(run: &Path, no: RunNo) -> bool {
    let mut said = Vec::new();
    let read = File::open(ready_path(run, no)).and_then(|file| file.take(MOST).read_to_end(&mut said));
    read.is_ok() && said.contains(&b'\n')
}

/// For a run that said it in another way.
pub(super) fn write(run: &Path, no: RunNo) -> io::Result<()> {
    std::fs::OpenOptions::new().append(true).open(ready_path(run, no))?.write_all(b"\n")
}

pub(super) async fn wait_for(run: &Path, no: RunNo, watcher: &Watcher) -> io::Result<()> {
    // News are of files by their names without the last part.
    let mut growth = watcher.listen(&ready_path(run, no).with_extension(""))?;
    loop {
        growth.note();
        if is_there(run, no) {
            return Ok(());
        }
        growth.changed().await;
    }
}
