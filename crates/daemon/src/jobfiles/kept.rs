//! `<state>/calendars/`: the last good text of each calendar file, for a daemon that finds the file broken when it starts.
//!
//! What is good of job files stands in the ledger; of a calendar file it has nothing. Each text has a file of its own, whose first
//! line is the path that it was read from. It is replaced by rename, so that it is whole, or the one before.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn dir(state: &Path) -> PathBuf {
    state.join("calendars")
}

/// Keeps these texts, and no others.
pub(super) fn keep(dir: &Path, texts: impl Iterator<Item = (PathBuf, Arc<str>)>) {
    let wanted: Vec<(PathBuf, String)> = texts
        .filter_map(|(path, text)| Some((dir.join(name_of(path.to_str()?)), format!("{}\n{text}", path.to_str()?))))
        .collect();
    let there: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    for (file, text) in &wanted {
        if std::fs::read(file).is_ok_and(|known| known == text.as_bytes()) {
            continue;
        }
        if let Err(e) = write(dir, file, text) {
            // Only a daemon that starts while the file is broken would have needed it.
            crate::say!("kin daemon: a calendar could not be kept in {}: {e}", dir.display());
        }
    }
    for file in there.iter().filter(|file| wanted.iter().all(|(other, _)| other != *file)) {
        drop(std::fs::remove_file(file));
    }
}

/// What an earlier daemon kept.
pub(crate) fn all(dir: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let text = |path: PathBuf| {
        let whole = std::fs::read_to_string(path).ok()?;
        let (path, text) = whole.split_once('\n')?;
        Some((PathBuf::from(path), text.to_string()))
    };
    entries.filter_map(|entry| text(entry.path())).collect()
}

fn write(dir: &Path, file: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut to, text.as_bytes())?;
    std::fs::rename(new, file)
}

/// The same for one path always: FNV-1a, 64 bits.
fn name_of(path: &str) -> String {
    let sum = path.bytes().fold(0xcbf2_9ce4_8422_2325u64, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_no_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("calendars");
        assert!(all(&dir).is_empty());
        let text = |path: &str, text: &str| (PathBuf::from(path), Arc::<str>::from(text));
        let sorted = || {
            let mut all = all(&dir);
            all.sort();
            all
        };
        keep(&dir, [text("/a/h.ics", "BEGIN\r\nx\n"), text("/b/h.ics", "")].into_iter());
        assert_eq!(sorted(), [("/a/h.ics".into(), "BEGIN\r\nx\n".to_string()), ("/b/h.ics".into(), String::new())]);
        keep(&dir, [text("/a/h.ics", "y")].into_iter());
        assert_eq!(sorted(), [("/a/h.ics".into(), "y".to_string())]);
        keep(&dir, std::iter::empty());
        assert_eq!(std::fs::read_dir(&dir).expect("a directory").count(), 0);
    }
}
