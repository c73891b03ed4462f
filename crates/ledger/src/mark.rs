//! Small files beside the ledger, for what the ledger cannot say of itself when it is gone or torn.

use crate::open::{MADE, REBUILT, SUSPECT};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Somebody met damage: the next start looks at everything.
pub(crate) fn suspect(dir: &Path, what: &str) -> io::Result<()> {
    write(&dir.join(SUSPECT), what)
}

pub(crate) fn is_suspect(dir: &Path) -> bool {
    dir.join(SUSPECT).exists()
}

/// What it was.
pub(crate) fn why_suspect(dir: &Path) -> Option<String> {
    let why = std::fs::read_to_string(dir.join(SUSPECT)).ok()?;
    (!why.trim().is_empty()).then_some(why)
}

pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    remove(&dir.join(SUSPECT))
}

/// There is a ledger here: one that is missing later is not one that never was.
pub(crate) fn made(dir: &Path) -> io::Result<()> {
    let path = dir.join(MADE);
    if path.exists() { Ok(()) } else { write(&path, "kin.db was made here; if it is missing, it was lost.\n") }
}

/// What history was lost here, as it was said when that was found: a line for each time. Whoever has read it may remove
/// the file `kin.db.rebuilt`.
pub fn rebuilt(dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(dir.join(REBUILT)).ok()?;
    (!text.trim().is_empty()).then_some(text)
}

pub(crate) fn note_rebuilt(dir: &Path, line: &str) -> io::Result<()> {
    let path = dir.join(REBUILT);
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}

/// A file that need not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// An empty file that only its owner may read.
pub(crate) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = private(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
