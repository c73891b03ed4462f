//! Looking at everything: SQLite's own check, every sum, and every counter against a recount.

use crate::class::Class;
use crate::row::Row;
use crate::shelf::Shelf;
use crate::sum::Sum;
use crate::{Ledger, ReadError, Reader, event, mark};
use kin_core::RunNo;
use std::path::Path;

/// After so many complaints the rest is silence.
const COMPLAINTS_MAX: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// `PRAGMA quick_check`, which is quick because it leaves the indexes out; those on runs are compared here.
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

/// One check.
#[derive(Debug)]
struct Look {
    depth: Depth,
    complaints: Vec<String>,
    indexes: [Index; 3],
}

/// What an index on runs should hold, gathered from the runs.
#[derive(Clone, Copy, Debug)]
struct Index {
    name: &'static str,
    /// Its entries, in its own order.
    entries: &'static str,
    holds: fn(Class) -> bool,
    content: Content,
}

/// Of a set of entries: how many, and the exclusive or of their sums, which no order changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Content {
    count: u64,
    sums: u64,
}

impl Content {
    fn add(&mut self, entry: Entry) {
        let (job, class, no) = entry;
        let sum = [job, class, no].into_iter().fold(Sum::new(), |sum, n| sum.number(n.cast_unsigned()));
        self.count += 1;
        self.sums ^= sum.get();
    }
}

/// Job, class (0 where an index has the one and not the other) and number.
type Entry = (i64, i64, i64);

/// Name, entries, and the classes it holds.
type Definition = (&'static str, &'static str, fn(Class) -> bool);

const INDEXES: [Definition; 3] = [
    ("run_by_job", "SELECT job, 0, no FROM run INDEXED BY run_by_job ORDER BY job, no", |_| true),
    ("run_odd", "SELECT 0, class, no FROM run INDEXED BY run_odd WHERE class <> 1 ORDER BY class, no", |class| {
        class != Class::OK
    }),
    (
        "run_odd_by_job",
        "SELECT job, class, no FROM run INDEXED BY run_odd_by_job WHERE class > 1 ORDER BY job, class, no",
        |class| !matches!(class, Class::OK | Class::Live),
    ),
];

impl Index {
    const fn new((name, entries, holds): Definition) -> Index {
        Index { name, entries, holds, content: Content { count: 0, sums: 0 } }
    }

    /// The entry that a run should have here.
    fn entry(&self, row: &Row) -> Entry {
        let no = row.no.get().cast_signed();
        match self.name {
            "run_by_job" => (row.job, 0, no),
            "run_odd" => (0, row.class, no),
            _ => (row.job, row.class, no),
        }
    }
}

impl Reader {
    /// What is wrong, in words; empty when all is well. It reads the whole ledger, so it belongs on a thread of its own.
    /// What it finds makes the next [`Ledger::open`] look at everything too.
    pub fn quick_check(&self) -> Result<Vec<String>, ReadError> {
        quick_check(&self.shelf, &self.dir)
    }
}

impl Reader {
    /// The first of [`Reader::quick_check`]; what keeps it from being made is one too, unless it is not damage.
    pub fn complaint(&self) -> Option<String> {
        match self.quick_check() {
            Ok(complaints) => complaints.into_iter().next(),
            Err(error) => error.damage(),
        }
    }
}

impl Ledger {
    /// As [`Reader::quick_check`], which a thread of its own can do while this ledger goes on.
    pub fn quick_check(&self) -> Result<Vec<String>, ReadError> {
        quick_check(&self.shelf, &self.dir)
    }
}

fn quick_check(shelf: &Shelf, dir: &Path) -> Result<Vec<String>, ReadError> {
    let mut complaints = shelf.check(Depth::Quick)?;
    if let Some(first) = complaints.first()
        && let Err(error) = mark::suspect(dir, first)
    {
        complaints.push(format!("and no mark of it could be left for the next start: {error}"));
    }
    Ok(complaints)
}

impl Shelf {
    pub(crate) fn check(&self, depth: Depth) -> Result<Vec<String>, ReadError> {
        let _moment = self.moment()?;
        let mut look = Look { depth, complaints: Vec::new(), indexes: INDEXES.map(Index::new) };
        // A page that cannot be read ends a part of the check, and is itself the complaint.
        for part in [Shelf::check_file, Shelf::check_runs, Shelf::check_indexes, Shelf::check_events, Shelf::check_rest]
        {
            match part(self, &mut look) {
                Ok(()) => {}
                Err(ReadError::Damage { what }) => look.complaints.push(what),
                Err(other) => return Err(other),
            }
            look.complaints.truncate(COMPLAINTS_MAX);
        }
        Ok(look.complaints)
    }

    fn check_file(&self, look: &mut Look) -> Result<(), ReadError> {
        let sql = match look.depth {
            Depth::Quick => "PRAGMA quick_check(20)",
            Depth::Full => "PRAGMA integrity_check(20)",
        };
        let mut pragma = self.conn.prepare(sql)?;
        let lines = pragma.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        look.complaints.extend(lines.into_iter().filter(|line| line != "ok"));
        Ok(())
    }

    fn check_runs(&self, look: &mut Look) -> Result<(), ReadError> {
        let book = self.book()?;
        let mut recount = [0; Class::COUNT];
        let mut greatest = 0;
        let mut select = self.conn.prepare("SELECT no, job, class, body FROM run ORDER BY no")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            if look.complaints.len() >= COMPLAINTS_MAX {
                return Ok(());
            }
            let number: i64 = row.get(0)?;
            let Some(no) = u64::try_from(number).ok().and_then(RunNo::new) else {
                look.complaints.push(format!("a run has the number {number}, which is none"));
                continue;
            };
            if no.get() <= greatest {
                look.complaints.push(format!("run {no} is out of order"));
            }
            greatest = no.get();
            let row = Row { no, job: row.get(1)?, class: row.get(2)?, body: row.get(3)? };
            match self.unpack(&row)? {
                Ok(run) if self.job_name(row.job)? != run.job => {
                    look.complaints.push(format!("run {no} is filed under another job"));
                }
                Ok(run) => {
                    let class = Class::of(&run.state);
                    recount[usize::from(class.number())] += 1;
                    for index in look.indexes.iter_mut().filter(|index| (index.holds)(class)) {
                        let entry = index.entry(&row);
                        index.content.add(entry);
                    }
                }
                Err(damaged) => look.complaints.push(damaged.to_string()),
            }
        }
        if look.complaints.is_empty() && recount != book.runs {
            look.complaints.push("runs are missing, or counted twice".to_owned());
        }
        Ok(())
    }

    /// Whether each index has what the runs say, in its order; only of use when the runs are all right.
    fn check_indexes(&self, look: &mut Look) -> Result<(), ReadError> {
        if !look.complaints.is_empty() {
            return Ok(());
        }
        for index in look.indexes {
            let mut select = self.conn.prepare(index.entries)?;
            let mut rows = select.query([])?;
            let (mut content, mut before) = (Content::default(), None);
            while let Some(row) = rows.next()? {
                let entry = (row.get(0)?, row.get(1)?, row.get(2)?);
                if before.is_some_and(|before| entry <= before) {
                    look.complaints.push(format!("the index {} is out of order", index.name));
                    return Ok(());
                }
                before = Some(entry);
                content.add(entry);
            }
            if content != index.content {
                look.complaints.push(format!("the index {} has other runs than there are", index.name));
            }
        }
        Ok(())
    }

    fn check_events(&self, look: &mut Look) -> Result<(), ReadError> {
        let book = self.book()?;
        let mut expected = book.last_event - book.events.min(book.last_event) + 1;
        let mut select = self.conn.prepare("SELECT seq, run, body FROM event ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, run, body): (u64, Option<u64>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if seq != expected {
                look.complaints.push(format!("event {expected} is missing"));
                return Ok(());
            }
            if event::unpack(seq, run.and_then(RunNo::new), &body).is_none() {
                look.complaints.push(format!("event {seq} is unreadable"));
            }
            expected += 1;
        }
        if expected != book.last_event + 1 {
            look.complaints.push(format!("event {expected} is missing"));
        }
        Ok(())
    }

    /// Names, tags, periods, keys, definitions, standings, queues and ticks: a search for one that cannot exist reads them all.
    fn check_rest(&self, look: &mut Look) -> Result<(), ReadError> {
        let jobs: Vec<i64> =
            self.conn.prepare("SELECT id FROM job")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for job in jobs {
            self.job_name(job)?;
        }
        self.jobs_tagged("")?;
        crate::period::check(self)?;
        let (kept, good) = crate::key::count(self)?;
        if kept != good {
            look.complaints.push(format!("{} idempotency keys are unreadable", kept - good));
        }
        let (kept, good) = crate::done::count(self)?;
        if kept != good {
            look.complaints.push(format!("{} idempotency keys of wishes are unreadable", kept - good));
        }
        let (kept, good) = crate::definition::count(self)?;
        if kept != good {
            look.complaints.push(format!("{} definitions of jobs are unreadable", kept - good));
        }
        let (standings, queues) = crate::standing::bad(self)?;
        if standings > 0 {
            look.complaints.push(format!("how {standings} jobs stand is unreadable"));
        }
        if queues > 0 {
            look.complaints.push(format!("{queues} queues are unreadable"));
        }
        let (kept, good) = crate::tick::count(self)?;
        if kept != good {
            look.complaints.push(format!("{} decisions of ticks are unreadable", kept - good));
        }
        Ok(())
    }
}
