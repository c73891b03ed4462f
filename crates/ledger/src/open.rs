//! Opening: a good ledger, a fresh one, or one set aside. Never one that is silently empty.
//!
//! ```text
//! look at the files (media.rs)          read-only, SQLite not asked yet
//!   newer version ──────────────────▶ refused, nothing touched
//!   nothing, and no witness of one ─▶ made anew: Fresh
//!   good ─▶ connect, migrate, tables as they should be, living runs as many as counted
//!             └ small, or somebody left a mark: everything is looked at (check.rs)
//!                 └ all well ───────▶ Good
//!   damage, wherever it shows ──────▶ saved and set aside (salvage.rs): SetAside
//! ```

use crate::book::Book;
use crate::check::Depth;
use crate::error::{Meaning, no_room};
use crate::footing::{Footing, Written};
use crate::media::{Look, beside, look};
use crate::retain::Broom;
use crate::salvage::{SalvageError, Saved, clean, create, finish, replace, salvage};
use crate::shelf::{Shelf, damage};
use crate::write::Numbers;
use crate::{Durability, Error, Page, ReadError, Reader, mark, read, schema};
use kin_core::{Run, RunNo, Time};
use rusqlite::{Connection, OpenFlags};
use std::cell::OnceCell;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The ledger's file, in the state directory.
pub const DB: &str = "kin.db";
/// The nightly copy, if the daemon makes one under this name.
pub const BACKUP: &str = "kin.db.bak";
pub(crate) const MADE: &str = "kin.db.made";
pub(crate) const SUSPECT: &str = "kin.db.suspect";
/// What of the history was lost, in words.
pub const REBUILT: &str = "kin.db.rebuilt";
pub(crate) const NEW: &str = "kin.db.new";
pub(crate) const SAVED: &str = "kin.db.saved";
/// What a writer knew whose files were damaged under it.
pub(crate) const KNOWN: &str = "kin.db.known";

/// Up to this size everything is looked at whenever a ledger is opened (some 10 ms); above it, when there is a reason.
const LOOK_AT_ALL_BYTES: u64 = 4 << 20;

/// SQLite before this could lose commits when a log began anew.
const SQLITE_NEEDED: (i32, &str) = (3_051_003, "3.51.3");

/// The one writer.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) shelf: Shelf,
    pub(crate) dir: PathBuf,
    pub(crate) book: Book,
    pub(crate) numbers: Numbers,
    /// What the connection is set to, if that is known.
    pub(crate) synchronous: Option<Durability>,
    pub(crate) broom: Broom,
    /// None of one that is still being made.
    pub(crate) footing: Option<Footing>,
    /// What its own work left.
    pub(crate) written: Written,
    /// Somebody else wrote into its files.
    pub(crate) touched: bool,
    /// Damage that was met in reading.
    pub(crate) met: OnceCell<String>,
}

#[derive(Debug)]
pub struct Opened {
    pub ledger: Ledger,
    pub found: Found,
    /// Somebody had called it damaged, and everything in it was looked at and is sound.
    pub acquitted: bool,
}

/// What was in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, and nothing says that there ever was a ledger here.
    Fresh,
    Good,
    /// Damage. What could still be proven by its sums was carried over (`saved` runs); say it loudly, and rebuild the rest
    /// from the index end records with [`Ledger::insert_rebuilt`].
    SetAside {
        /// Where the damaged files are now; `None` when the database was gone and nothing was left to keep.
        path: Option<PathBuf>,
        /// Reads after "the ledger is damaged: ".
        why: String,
        saved: u64,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{} was written by a newer kin (its version is {found}, this kin knows up to {known}): start that one, or move the file away", path.display()
    )]
    Newer { found: u32, known: u32, path: PathBuf },
    #[error("this kin was built with SQLite {found}, which can lose data; it needs {needed} or newer")]
    OldSqlite { found: &'static str, needed: &'static str },
    #[error("the disk of {} is full", dir.display())]
    Full { dir: PathBuf },
    #[error("{} cannot be used", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} could not be opened", path.display())]
    Sqlite {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
}

impl Ledger {
    /// Opens `<dir>/kin.db`, or makes it. `now` names a set-aside file.
    ///
    /// To be called before this process has any other connection to it.
    pub fn open(dir: &Path, now: Time) -> Result<Opened, OpenError> {
        if rusqlite::version_number() < SQLITE_NEEDED.0 {
            return Err(OpenError::OldSqlite { found: rusqlite::version(), needed: SQLITE_NEEDED.1 });
        }
        open(dir, now).map_err(|error| error.at(dir))
    }

    pub(crate) fn over(conn: Connection, dir: &Path, book: Book) -> Ledger {
        Ledger {
            shelf: Shelf::new(conn),
            dir: dir.to_owned(),
            book,
            numbers: Numbers::default(),
            synchronous: None,
            broom: Broom::default(),
            footing: None,
            written: Written::default(),
            touched: false,
            met: OnceCell::new(),
        }
    }

    /// Closes the file; what the log holds goes into the database.
    pub fn close(self) -> Result<(), Error> {
        self.shelf.conn.close().map_err(|(_, error)| Error::from(error))
    }

    /// Every run that has not ended, newest first.
    pub fn live(&self) -> Result<Page, ReadError> {
        self.meet(self.shelf.living())
    }

    /// `None`: no such run. A damaged row is an error, never a `None`.
    pub fn run(&self, no: RunNo) -> Result<Option<Run>, ReadError> {
        self.meet(self.shelf.run(no))
    }

    /// What damage reading met, the first of it. This ledger is better left ([`Ledger::leave`]).
    pub fn met(&self) -> Option<&str> {
        self.met.get().map(String::as_str)
    }

    pub(crate) fn meet<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        if let Some(what) = read.as_ref().err().and_then(ReadError::damage) {
            self.met.get_or_init(|| what);
        }
        read
    }

    /// All run numbers up to this one may have been given out.
    pub fn mint_reserved(&self) -> u64 {
        self.book.mint_reserved
    }

    /// The number of the newest event; 0 before the first.
    pub fn last_event(&self) -> u64 {
        self.book.last_event
    }

    /// Of a ledger that begins anew: events up to this one were told, by one that was lost. The next has a greater number.
    pub fn events_told(&mut self, last: u64) -> Result<(), Error> {
        self.transact(Durability::Normal, |work| {
            work.book.last_event = work.book.last_event.max(last);
            Ok(())
        })
    }

    /// Leaves a word that is still there when everything else reads as good again.
    pub fn note_rebuilt(&self, line: &str) -> io::Result<()> {
        mark::note_rebuilt(&self.dir, line)
    }

    /// What it stands on, for those who read beside it.
    pub fn footing(&self) -> Footing {
        self.footing.clone().unwrap_or_else(|| Footing::of(&self.dir))
    }

    /// As [`Reader::suspect`].
    pub fn suspect(&self, what: &str) -> io::Result<()> {
        mark::suspect(&self.dir, what)
    }

    /// Somebody else wrote into its files since this was asked last: then it is worth a look.
    pub fn was_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    pub fn reader(&self) -> Result<Reader, ReadError> {
        Reader::open(&self.dir)
    }
}

/// Why an attempt to open came to nothing.
#[derive(Debug)]
enum Trouble {
    Newer(u32),
    Damage(String),
    Io(io::Error),
    Sqlite(rusqlite::Error),
}

impl Trouble {
    fn at(self, dir: &Path) -> OpenError {
        let path = dir.join(DB);
        match self {
            Trouble::Newer(found) => OpenError::Newer { found, known: schema::KNOWN, path },
            Trouble::Io(error) if no_room(&error) => OpenError::Full { dir: dir.to_owned() },
            Trouble::Io(source) => OpenError::Io { path, source },
            Trouble::Sqlite(error) => match Meaning::of(&error) {
                Meaning::Full => OpenError::Full { dir: dir.to_owned() },
                Meaning::Disk if crate::error::is_full(dir) => OpenError::Full { dir: dir.to_owned() },
                Meaning::Damage | Meaning::Disk | Meaning::Other => OpenError::Sqlite { path, source: error },
            },
            Trouble::Damage(why) => OpenError::Io { path, source: io::Error::new(io::ErrorKind::InvalidData, why) },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}
impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        match Meaning::of(&error) {
            Meaning::Damage => Trouble::Damage(error.to_string()),
            Meaning::Full | Meaning::Disk | Meaning::Other => Trouble::Sqlite(error),
        }
    }
}
impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        match error {
            ReadError::Damaged(damaged) => Trouble::Damage(damaged.to_string()),
            ReadError::Damage { what } => Trouble::Damage(what),
            ReadError::Sqlite(error) => Trouble::Sqlite(error),
            ReadError::Copy(error) => Trouble::Io(error),
        }
    }
}
impl From<SalvageError> for Trouble {
    fn from(error: SalvageError) -> Trouble {
        match error {
            SalvageError::Io(error) => Trouble::Io(error),
            SalvageError::Write(Error::Full(error) | Error::Sqlite(error)) => Trouble::Sqlite(error),
            SalvageError::Write(error @ (Error::Damage { .. } | Error::KeyTaken { .. } | Error::Decided { .. })) => {
                Trouble::Damage(error.to_string())
            }
        }
    }
}

fn open(dir: &Path, now: Time) -> Result<Opened, Trouble> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if dir.join(SAVED).exists() {
        // The last start died while it was setting a damaged ledger aside.
        let path = replace(dir, now)?;
        let ledger = connect(dir, 0)?;
        let why = mark::why_suspect(dir).unwrap_or_else(|| "it was being set aside when kin was stopped".to_owned());
        let saved = ledger.book.all();
        return opened(ledger, Found::SetAside { path, why, saved });
    }
    let why = match look(dir)? {
        Look::Newer(found) => return Err(Trouble::Newer(found)),
        // Whatever is there now, its last writer met damage, and left what it knew.
        Look::Nothing | Look::Good { .. } | Look::Damaged(_) if dir.join(KNOWN).exists() => {
            mark::why_suspect(dir).unwrap_or_else(|| "it was damaged while the server lived".to_owned())
        }
        Look::Nothing => {
            clean(dir)?;
            mark::remove(&dir.join(DB))?;
            finish(create(dir, NEW)?, dir)?;
            replace(dir, now)?;
            return opened(connect(dir, 0)?, Found::Fresh);
        }
        Look::Good { bytes } => match connect(dir, bytes) {
            Ok(ledger) => return opened(ledger, Found::Good),
            Err(Trouble::Damage(why)) => why,
            Err(other) => return Err(other),
        },
        Look::Damaged(why) => why,
    };
    let Saved { path, runs } = salvage(dir, now)?;
    opened(connect(dir, 0)?, Found::SetAside { path, why, saved: runs })
}

fn opened(ledger: Ledger, found: Found) -> Result<Opened, Trouble> {
    mark::made(&ledger.dir)?;
    let acquitted = found == Found::Good && mark::is_suspect(&ledger.dir);
    mark::clear(&ledger.dir)?;
    Ok(Opened { ledger, found, acquitted })
}

fn connect(dir: &Path, bytes: u64) -> Result<Ledger, Trouble> {
    let db = dir.join(DB);
    for suffix in ["", "-wal", "-shm"] {
        keep_private(&beside(&db, suffix))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&db, flags)?;
    read::settle(&conn)?;
    // What a burst made of the log is given back at the next checkpoint.
    conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
    schema::migrate(&conn, schema::STEPS)?;
    if schema::definition(&conn)? != schema::expected()? {
        return Err(damage("its tables are not as they should be").into());
    }
    let mut ledger = Ledger::over(conn, dir, Book::new());
    ledger.book = ledger.shelf.book()?;
    let living = ledger.shelf.living()?;
    if let Some(damaged) = living.damaged.first() {
        return Err(Trouble::Damage(damaged.to_string()));
    }
    if living.runs.len() as u64 != ledger.book.live() {
        return Err(damage("living runs are missing, or counted twice").into());
    }
    if (bytes <= LOOK_AT_ALL_BYTES || mark::is_suspect(dir))
        && let Some(complaint) = ledger.shelf.check(Depth::Full)?.into_iter().next()
    {
        return Err(Trouble::Damage(complaint));
    }
    let footing = Footing::of(dir);
    ledger.written = footing.written();
    ledger.footing = Some(footing);
    Ok(ledger)
}

fn keep_private(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
