//! Definitions of jobs, revision by revision: what each job was told to be, since when, and by whom.
//!
//! A revision is never changed. The newest one of a job holds; one without a text says that the job was taken away.

use crate::shelf::{Shelf, damage};
use crate::sum::Sum;
use crate::{Error, ReadError, Reader};
use kin_core::{JobName, Time};
use rusqlite::{OptionalExtension, Row};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// So many revisions of a job are kept, the newest; and those that are in use.
pub const REVISIONS_KEPT: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub job: JobName,
    /// From 1 on, without gaps, also over a removal.
    pub rev: u64,
    pub at: Time,
    pub source: Source,
    /// The job as its file would say it, whole; `None`: it was taken away.
    pub text: Option<String>,
}

/// Where a definition comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File {
        path: String,
    },
    /// `by`: as `uid:1000`.
    Api {
        by: String,
    },
    /// `kin up`: the file of a project, whose name has no blank.
    Project {
        project: String,
        path: String,
    },
}

impl Source {
    fn pack(&self) -> (u8, Cow<'_, str>) {
        match self {
            Source::File { path } => (0, path.into()),
            Source::Api { by } => (1, by.into()),
            Source::Project { project, path } => (2, format!("{project} {path}").into()),
        }
    }
    fn unpack(kind: u8, what: String) -> Option<Source> {
        match kind {
            0 => Some(Source::File { path: what }),
            1 => Some(Source::Api { by: what }),
            2 => what
                .split_once(' ')
                .map(|(project, path)| Source::Project { project: project.into(), path: path.into() }),
            _ => None,
        }
    }
}

fn sum(new: &Definition) -> i64 {
    let (kind, what) = new.source.pack();
    // Lengths keep what is side by side apart.
    Sum::new()
        .number(new.rev)
        .number(new.at.0.cast_unsigned())
        .number(u64::from(kind))
        .number(new.job.as_str().len() as u64)
        .bytes(new.job.as_str().as_bytes())
        .number(what.len() as u64)
        .bytes(what.as_bytes())
        .number(u64::from(new.text.is_some()))
        .bytes(new.text.as_deref().unwrap_or_default().as_bytes())
        .signed()
}

const COLUMNS: &str = "job, rev, at, kind, source, text, sum";

/// `in_use`: of this job, what must not go whatever its age.
pub(crate) fn put(shelf: &Shelf, new: &Definition, in_use: &BTreeSet<(JobName, u64)>) -> Result<(), Error> {
    let (kind, what) = new.source.pack();
    shelf
        .conn
        .prepare_cached(
            "INSERT INTO definition (job, rev, at, kind, source, text, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((new.job.as_str(), new.rev, new.at.0, kind, what, &new.text, sum(new)))?;
    if let Some(last) = new.rev.checked_sub(REVISIONS_KEPT).filter(|last| *last > 0) {
        let old: Vec<u64> = shelf
            .conn
            .prepare_cached("SELECT rev FROM definition WHERE job = ?1 AND rev <= ?2")?
            .query_map((new.job.as_str(), last), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for rev in old.into_iter().filter(|rev| !in_use.contains(&(new.job.clone(), *rev))) {
            shelf
                .conn
                .prepare_cached("DELETE FROM definition WHERE job = ?1 AND rev = ?2")?
                .execute((new.job.as_str(), rev))?;
        }
    }
    Ok(())
}

/// `Ok(None)`: the row is damaged.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Definition>> {
    let (Ok(job), Ok(rev), Ok(at), Ok(kind), Ok(what), Ok(text), Ok(kept)) = (
        row.get::<_, String>(0),
        row.get(1),
        row.get(2),
        row.get(3),
        row.get::<_, String>(4),
        row.get::<_, Option<String>>(5),
        row.get::<_, i64>(6),
    ) else {
        return Ok(None);
    };
    let (Ok(job), Some(source)) = (JobName::parse(&job), Source::unpack(kind, what)) else { return Ok(None) };
    let found = Definition { job, rev, at: Time(at), source, text };
    Ok((sum(&found) == kept).then_some(found))
}

impl Reader {
    /// What holds of each job, by name; those that were taken away included.
    pub fn definitions(&self) -> Result<Vec<Definition>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM definition AS d \
             WHERE rev = (SELECT max(rev) FROM definition WHERE job = d.job) ORDER BY job"
        );
        let mut select = self.shelf.conn.prepare_cached(&sql)?;
        let mut rows = select.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?.ok_or_else(|| damage("the definition of a job is unreadable"))?);
        }
        Ok(found)
    }

    /// One revision of a job.
    pub fn definition(&self, job: &JobName, rev: u64) -> Result<Option<Definition>, ReadError> {
        let sql = format!("SELECT {COLUMNS} FROM definition WHERE job = ?1 AND rev = ?2");
        let found = self.shelf.conn.prepare_cached(&sql)?.query_row((job.as_str(), rev), read).optional()?;
        found.map(|found| found.ok_or_else(|| damage("the definition of a job is unreadable"))).transpose()
    }

    /// Every revision of a job that is kept, the newest first.
    pub fn revisions(&self, job: &JobName) -> Result<Vec<Definition>, ReadError> {
        let sql = format!("SELECT {COLUMNS} FROM definition WHERE job = ?1 ORDER BY rev DESC");
        let mut select = self.shelf.conn.prepare_cached(&sql)?;
        let mut rows = select.query([job.as_str()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?.ok_or_else(|| damage("a former definition of a job is unreadable"))?);
        }
        Ok(found)
    }
}

/// Every definition that can be believed, for a new ledger.
pub(crate) fn all(shelf: &Shelf, mut take: impl FnMut(Definition)) -> rusqlite::Result<()> {
    let mut select = shelf.conn.prepare(&format!("SELECT {COLUMNS} FROM definition ORDER BY job, rev"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(found) = read(row)? {
            take(found);
        }
    }
    Ok(())
}

/// How many there are, and how many of them can be believed.
pub(crate) fn count(shelf: &Shelf) -> rusqlite::Result<(u64, u64)> {
    let mut good = 0;
    all(shelf, |_| good += 1)?;
    let kept = shelf.conn.query_row("SELECT count(*) FROM definition", [], |row| row.get(0))?;
    Ok((kept, good))
}

/// Whether this revision is there, believable or not.
pub(crate) fn has(shelf: &Shelf, job: &JobName, rev: u64) -> rusqlite::Result<bool> {
    shelf
        .conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM definition WHERE job = ?1 AND rev = ?2)")?
        .query_row((job.as_str(), rev), |row| row.get(0))
}
