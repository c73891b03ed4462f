//! What an open ledger stands on: its files, by their names. Somebody may take them away, empty them or put others in
//! their place while it is open, and SQLite goes on in what has no name any more.
//!
//! They are asked for by name and never opened: a process that closes one of these files loses SQLite's locks on it.

use crate::media::beside;
use crate::open::DB;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A write-ahead log that has this much has a header.
const LOG_LEAST: u64 = 32;

/// Shared by the writer and all who read beside it.
#[derive(Clone, Debug)]
pub struct Footing(Arc<Seen>);

/// As it was when the ledger was opened.
#[derive(Debug)]
struct Seen {
    dir: PathBuf,
    dir_is: Option<Id>,
    db: Option<Id>,
    log: Option<Id>,
    /// The database never becomes shorter, nor does a log lose its header.
    db_least: AtomicU64,
    log_least: AtomicU64,
}

/// Which file it is, whatever its name.
type Id = (u64, u64);

/// When the two files were written last, and how long they were then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written([Option<(i64, i64, u64)>; 2]);

impl Footing {
    pub(crate) fn of(dir: &Path) -> Footing {
        let id = |path: &Path| std::fs::metadata(path).ok().map(|found| id_of(&found));
        let db = dir.join(DB);
        let footing = Footing(Arc::new(Seen {
            dir: dir.to_owned(),
            dir_is: id(dir),
            db: id(&db),
            log: id(&beside(&db, "-wal")),
            db_least: AtomicU64::new(0),
            log_least: AtomicU64::new(0),
        }));
        footing.written();
        footing
    }

    /// `Err` says what happened to the files. Where nothing can be said of them, nothing is.
    pub fn look(&self) -> Result<(), String> {
        self.find().map(drop)
    }

    /// The same before each commit: both files are asked for once.
    pub(crate) fn find(&self) -> Result<Written, String> {
        let seen = &*self.0;
        let db = seen.dir.join(DB);
        let files = [db.clone(), beside(&db, "-wal")].map(std::fs::metadata);
        let [of_db, of_log] = &files;
        let wrong = what_of("kin.db", of_db, seen.db, &seen.db_least)
            .or_else(|| what_of("its write-ahead log", of_log, seen.log, &seen.log_least));
        // All of the state may have gone: then there is no place where a ledger could be mended.
        let dir = || std::fs::metadata(&seen.dir).ok().map(|found| id_of(&found));
        match wrong.map(|what| (what, dir())) {
            Some((what, dir)) if dir == seen.dir_is => Err(what),
            // What is written from here on would be found by nobody.
            Some((_, Some(_))) if of_db.is_ok() => {
                Err("its directory was replaced by another while the server lived".to_owned())
            }
            Some(_) | None => Ok(Written(files.map(|file| file.ok().map(|found| when(&found))))),
        }
    }

    /// After the writer's own work, of which what it sees here is the outcome.
    pub(crate) fn written(&self) -> Written {
        let seen = &*self.0;
        let db = seen.dir.join(DB);
        let [db, log] = [(db.clone(), seen.db), (beside(&db, "-wal"), seen.log)].map(|(path, was)| {
            let found = std::fs::metadata(path).ok()?;
            (Some(id_of(&found)) == was).then_some(found)
        });
        if let Some(db) = &db {
            seen.db_least.store(db.len(), Ordering::Relaxed);
        }
        if let Some(log) = &log {
            seen.log_least.store(log.len().min(LOG_LEAST), Ordering::Relaxed);
        }
        Written([db, log].map(|file| file.map(|found| when(&found))))
    }
}

fn what_of(name: &str, file: &std::io::Result<Metadata>, was: Option<Id>, least: &AtomicU64) -> Option<String> {
    let was = was?;
    let what = match file {
        Ok(found) if id_of(found) != was => "replaced by another file",
        Ok(found) if found.len() >= least.load(Ordering::Relaxed) => return None,
        Ok(found) if found.len() == 0 => "emptied",
        Ok(_) => "cut short",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "removed",
        Err(_) => return None,
    };
    Some(format!("{name} was {what} while the server lived"))
}

fn when(found: &Metadata) -> (i64, i64, u64) {
    (found.mtime(), found.mtime_nsec(), found.len())
}

fn id_of(found: &Metadata) -> Id {
    (found.dev(), found.ino())
}
