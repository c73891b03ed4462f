//! `<state>/jobfiles`: the last good texts of all job files, calendar files among them, as they were written: for a daemon that
//! finds some of them broken when it starts.
//!
//! The ledger has the jobs, and not what a file said for all jobs and for the server. All texts are one file, for they fit
//! together; it is replaced by rename, and on the disk before what it holds comes to be in force. Only its owner may read it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a daemon keeps there, and knows to be there.
#[derive(Debug)]
pub(crate) struct Kept {
    file: PathBuf,
    texts: Option<Vec<(PathBuf, Arc<str>)>>,
}

impl Kept {
    pub(crate) fn below(state: &Path) -> Kept {
        Kept { file: state.join("jobfiles"), texts: None }
    }

    /// Keeps these texts, and no others.
    pub(super) fn keep<'t>(&mut self, texts: impl Iterator<Item = (&'t Path, &'t Arc<str>)>) {
        // What is no text has no place in it: of that file the ledger's words are known.
        let texts = texts.filter(|(path, _)| path.to_str().is_some());
        let texts: Vec<(PathBuf, Arc<str>)> = texts.map(|(path, text)| (path.to_path_buf(), text.clone())).collect();
        if self.texts.as_ref() == Some(&texts) {
            return;
        }
        match self.replace(&texts) {
            Ok(()) => {
                // What was kept in it is kept here now.
                if !texts.is_empty() {
                    drop(std::fs::remove_dir_all(self.file.with_file_name(CALENDARS)));
                }
                self.texts = Some(texts);
            }
            Err(e) => {
                crate::say!("kin daemon: what the job files say could not be kept in {}: {e}", self.file.display());
                // Old words are worse than none: the ledger knows the jobs better. The next reading tries it again.
                self.texts = None;
                drop(std::fs::remove_file(&self.file));
            }
        }
    }

    fn replace(&self, texts: &[(PathBuf, Arc<str>)]) -> io::Result<()> {
        let lines: Vec<(&Path, &str)> = texts.iter().map(|(path, text)| (path.as_path(), &**text)).collect();
        let bytes = serde_json::to_vec(&lines)?;
        if std::fs::read(&self.file).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        write(&self.file, &bytes)
    }
}

/// What an earlier daemon kept.
pub(crate) fn all(state: &Path) -> Vec<(PathBuf, String)> {
    let file = Kept::below(state).file;
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return calendars(state),
        Err(e) => {
            crate::say!("kin daemon: {} cannot be read: {e}", file.display());
            return Vec::new();
        }
    };
    let texts: Vec<_> = serde_json::from_slice(&bytes).unwrap_or_else(|e| {
        crate::say!("kin daemon: {} does not count: {e}", file.display());
        Vec::new()
    });
    if texts.is_empty() { calendars(state) } else { texts }
}

/// Where kin kept calendar files before, one text a file, below the path that it was read from.
const CALENDARS: &str = "calendars";

fn calendars(state: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(state.join(CALENDARS)).into_iter().flatten().filter_map(Result::ok);
    let text = |path: PathBuf| {
        let whole = std::fs::read_to_string(path).ok()?;
        let (path, text) = whole.split_once('\n')?;
        Some((PathBuf::from(path), text.to_owned()))
    };
    entries.filter_map(|entry| text(entry.path())).filter(|(path, _)| kin_config::ics::is_calendar(path)).collect()
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let new = file.with_extension("new");
    // One that somebody left there may be anybody's to read.
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut to = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut to, bytes)?;
    to.sync_all()?;
    std::fs::rename(&new, file)?;
    std::fs::File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_calendars_that_kin_kept_before_count_until_there_is_something_newer() {
        let dir = tempfile::tempdir().expect("a directory");
        let (state, before) = (dir.path(), dir.path().join("calendars"));
        std::fs::create_dir(&before).expect("makes");
        std::fs::write(before.join("0123"), "/a/h.ics\nBEGIN\nx\n").expect("writes");
        std::fs::write(before.join("0123.new"), "half").expect("writes");
        assert_eq!(all(state), [("/a/h.ics".into(), "BEGIN\nx\n".to_owned())]);
        Kept::below(state).keep(std::iter::empty());
        assert_eq!(all(state).len(), 1);
        let text = Arc::from("new");
        Kept::below(state).keep([(Path::new("/a/k.toml"), &text)].into_iter());
        assert_eq!(all(state), [("/a/k.toml".into(), "new".to_owned())]);
        assert!(!before.exists());
    }

    #[test]
    fn what_is_kept_is_found_again_and_no_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path();
        assert!(all(state).is_empty());
        let keep = |kept: &mut Kept, texts: &[(&str, &str)]| {
            let texts: Vec<(PathBuf, Arc<str>)> =
                texts.iter().map(|(path, text)| (path.into(), Arc::from(*text))).collect();
            kept.keep(texts.iter().map(|(path, text)| (path.as_path(), text)));
        };
        let found = |texts: &[(&str, &str)]| {
            let texts: Vec<(PathBuf, String)> = texts.iter().map(|(p, text)| (p.into(), (*text).into())).collect();
            assert_eq!(all(state), texts);
        };
        let mut kept = Kept::below(state);
        for texts in [&[("/a/h.ics", "BEGIN\r\nx\n"), ("/b/k.toml", "")][..], &[("/a/h.ics", "ä\u{0}\n")], &[]] {
            keep(&mut kept, texts);
            found(texts);
        }
        let mode = std::fs::metadata(state.join("jobfiles")).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What could not be replaced does not count, and is tried again.
        keep(&mut kept, &[("/a", "old")]);
        std::fs::create_dir_all(state.join("jobfiles.new/in-the-way")).expect("makes");
        keep(&mut kept, &[("/a", "new")]);
        found(&[]);
        std::fs::remove_dir_all(state.join("jobfiles.new")).expect("removes");
        keep(&mut kept, &[("/a", "new")]);
        found(&[("/a", "new")]);
        std::fs::write(state.join("jobfiles"), "[[\"/a").expect("damages");
        found(&[]);
    }
}
