//! Listings: which runs, newest first, a page at a time.
//!
//! Every index on runs is, within one value, in order of the run's number. So a listing is a merge of *streams* of numbers,
//! one for each value that is wanted (each job that a glob names, each bad outcome), taken from the newest down; what the
//! streams cannot know (a tag, a time, an exact state) is checked on each run itself. No stream is ever sorted or counted.
//!
//! | asked for | streams | checked on the run |
//! |---|---|---|
//! | nothing, `ended`, `ok` | all runs, or one for each job | outcome |
//! | alive, or one state of a living run | the living | state, job |
//! | failures, or one outcome other than ok | one for each outcome, or for each job and outcome | – |
//! | a tag | as above, for the jobs that ever had a run with it | tag |
//! | since, until | the same, between the numbers of those periods (period.rs) | time |
//!
//! What remains slow is a listing whose every run must be looked at and nearly none wanted, as the few good runs of a job
//! that always fails. There the ledger looks at [`LOOKED_AT_MAX`] runs, answers with what it found, and says where to go on.

use crate::class::Class;
use crate::row::Row;
use crate::shelf::{Shelf, damage, job_sum};
use crate::{Damaged, OutcomeKind, ReadError, Stage, period};
use kin_core::{JobName, Run, RunNo, Time};
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::ops::Range;

/// So many runs are looked at for one page (some 50 ms), and no more.
pub const LOOKED_AT_MAX: usize = 20_000;
/// A page without a limit, and the most that one may ask for.
const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 10_000;
/// Each stream costs a search or two. Where a glob needs more than a few, the newest runs of all jobs are tried first, so
/// many of them; where it needs more than the most, nothing else is tried.
const STREAMS_FEW: usize = 32;
const STREAMS_MAX: usize = 4_096;
const LOOKED_AT_FIRST: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A job's name, or a glob of one (`*`, `?`, `[…]`).
    pub job: Option<String>,
    pub state: Option<StateIs>,
    pub outcome: Option<OutcomeIs>,
    pub tag: Option<String>,
    /// Created at or after.
    pub since: Option<Time>,
    /// Created before.
    pub until: Option<Time>,
    /// At most so many; 0 means 50, and more than 10,000 means 10,000.
    pub limit: u32,
    /// Only runs with a smaller number: the `next` of the page before.
    pub before: Option<RunNo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateIs {
    Live,
    Ended,
    Stage(Stage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeIs {
    /// Any that [`kin_core::Outcome::is_failure`] counts as one.
    Failure,
    /// Any but that it was never to be started (skipped) or not any more (cancelled).
    Began,
    Kind(OutcomeKind),
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first.
    pub runs: Vec<Run>,
    /// Runs that belong here as far as can be told, but whose record is damaged.
    pub damaged: Vec<Damaged>,
    /// Where to go on; `None` after the last. A page may be short and still have a `next`: the ledger looks at
    /// [`LOOKED_AT_MAX`] runs for one page and no more.
    pub next: Option<RunNo>,
}

impl Query {
    fn classes(&self) -> BTreeSet<Class> {
        let by_state = |class: &Class| match (self.state, class) {
            (None, _) => true,
            (Some(StateIs::Ended | StateIs::Stage(Stage::Ended)), class) => *class != Class::Live,
            (Some(StateIs::Live | StateIs::Stage(_)), class) => *class == Class::Live,
        };
        let by_outcome = |class: &Class| match (self.outcome, class) {
            (None, _) => true,
            (Some(_), Class::Live) => false,
            (Some(OutcomeIs::Failure), Class::Ended(kind)) => kind.is_failure(),
            (Some(OutcomeIs::Began), Class::Ended(kind)) => {
                !matches!(kind, OutcomeKind::Skipped | OutcomeKind::Cancelled)
            }
            (Some(OutcomeIs::Kind(wanted)), Class::Ended(kind)) => wanted == *kind,
        };
        let ended = OutcomeKind::ALL.into_iter().map(Class::Ended);
        std::iter::once(Class::Live).chain(ended).filter(|c| by_state(c) && by_outcome(c)).collect()
    }

    fn limit(&self) -> usize {
        match usize::try_from(self.limit).unwrap_or(LIMIT_MAX) {
            0 => LIMIT_DEFAULT,
            limit => limit.min(LIMIT_MAX),
        }
    }

    /// What no stream knows.
    fn wants(&self, run: &Run) -> bool {
        let state = match self.state {
            Some(StateIs::Stage(stage)) => Stage::of(&run.state) == stage,
            None | Some(StateIs::Live | StateIs::Ended) => true,
        };
        state
            && self.tag.as_ref().is_none_or(|tag| run.tags.contains(tag))
            && self.since.is_none_or(|since| run.created_at >= since)
            && self.until.is_none_or(|until| run.created_at < until)
    }
}

/// Whose numbers.
#[derive(Clone, Copy, Debug)]
enum Of {
    All,
    Job(i64),
    /// Alive, or ended other than ok.
    Odd(Class),
    OddOfJob(i64, Class),
}

/// Numbers in falling order, a few fetched at a time.
#[derive(Debug)]
struct Stream {
    of: Of,
    fetched: VecDeque<i64>,
    /// What is left of it.
    between: Range<i64>,
    dry: bool,
}

impl Stream {
    fn next(&mut self, shelf: &Shelf, chunk: usize) -> Result<Option<i64>, ReadError> {
        if self.fetched.is_empty() && !self.dry {
            self.fetched = self.fetch(shelf, chunk)?;
            self.dry = self.fetched.len() < chunk;
        }
        let Some(no) = self.fetched.pop_front() else {
            return Ok(None);
        };
        if !self.between.contains(&no) {
            return Err(damage("an index of runs is out of order"));
        }
        self.between.end = no;
        Ok(Some(no))
    }

    fn fetch(&self, shelf: &Shelf, chunk: usize) -> Result<VecDeque<i64>, ReadError> {
        let (source, job, class) = match self.of {
            Of::All => ("run WHERE ?1 IS NULL AND ?2 IS NULL", None, None),
            Of::Job(job) => ("run INDEXED BY run_by_job WHERE job = ?1 AND ?2 IS NULL", Some(job), None),
            Of::Odd(class) => {
                ("run INDEXED BY run_odd WHERE ?1 IS NULL AND class = ?2 AND class <> 1", None, Some(class))
            }
            Of::OddOfJob(job, class) => {
                ("run INDEXED BY run_odd_by_job WHERE job = ?1 AND class = ?2 AND class > 1", Some(job), Some(class))
            }
        };
        let class = class.map(Class::number);
        let limit = i64::try_from(chunk).unwrap_or(i64::MAX);
        let sql = format!("SELECT no FROM {source} AND no < ?3 AND no >= ?4 ORDER BY no DESC LIMIT ?5");
        let mut select = shelf.conn.prepare_cached(&sql)?;
        let rows = select.query_map((job, class, self.between.end, self.between.start, limit), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Shelf {
    /// Every run that has not ended, newest first.
    pub(crate) fn living(&self) -> Result<Page, ReadError> {
        let _moment = self.moment()?;
        let mut select = self
            .conn
            .prepare_cached("SELECT no FROM run INDEXED BY run_odd WHERE class = 0 AND class <> 1 ORDER BY no DESC")?;
        let numbers = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        let mut page = Page::default();
        for no in numbers {
            self.look(no, Of::Odd(Class::Live), &mut page, |_, _| true)?;
        }
        Ok(page)
    }

    pub(crate) fn page(&self, query: &Query) -> Result<Page, ReadError> {
        let _moment = self.moment()?;
        let mut page = Page::default();
        let jobs = self.jobs_of(query)?;
        let Some(mut between) = period::between(self, query.since, query.until)? else {
            return Ok(page);
        };
        if let Some(before) = query.before {
            between.end = between.end.min(before.get().cast_signed());
        }
        let classes = query.classes();
        let wanted: Option<BTreeSet<i64>> = jobs.as_ref().map(|jobs| jobs.iter().copied().collect());
        let wants = |row: &Row, run: &Run| {
            wanted.as_ref().is_none_or(|jobs| jobs.contains(&row.job))
                && classes.contains(&Class::of(&run.state))
                && query.wants(run)
        };
        for (of, look_at) in plans(jobs.as_deref(), &classes) {
            page.next = self.merge(&of, look_at, between.clone(), query.limit(), &mut page, wants)?;
            match page.next {
                Some(next) if page.runs.len() + page.damaged.len() < query.limit() => {
                    between.end = next.get().cast_signed();
                }
                None | Some(_) => break,
            }
        }
        Ok(page)
    }

    /// Fills the page from these streams, but looks at so many runs only; where to go on, if there is more.
    fn merge(
        &self,
        of: &[Of],
        look_at: usize,
        between: Range<i64>,
        limit: usize,
        page: &mut Page,
        wants: impl Fn(&Row, &Run) -> bool,
    ) -> Result<Option<RunNo>, ReadError> {
        let stream = |of: &Of| Stream { of: *of, fetched: VecDeque::new(), between: between.clone(), dry: false };
        let mut streams: Vec<Stream> = of.iter().map(stream).collect();
        let chunk = (2 * limit / streams.len().max(1)).clamp(1, 256);
        let mut newest = BinaryHeap::new();
        for (i, stream) in streams.iter_mut().enumerate() {
            newest.extend(stream.next(self, chunk)?.map(|no| (no, i)));
        }
        let mut looked_at = 0;
        while let Some((no, i)) = newest.pop() {
            newest.extend(streams[i].next(self, chunk)?.map(|next| (next, i)));
            self.look(no, streams[i].of, page, &wants)?;
            looked_at += 1;
            if page.runs.len() + page.damaged.len() >= limit || looked_at >= look_at {
                return Ok(if newest.is_empty() { None } else { number(no) });
            }
        }
        Ok(None)
    }

    /// Puts the run on the page if it is wanted. One whose record is damaged always is: nobody can tell any more.
    fn look(&self, no: i64, of: Of, page: &mut Page, wants: impl FnOnce(&Row, &Run) -> bool) -> Result<(), ReadError> {
        let no = number(no).ok_or_else(|| damage("an index of runs holds a number that is none"))?;
        let mut damaged = |why| page.damaged.push(Damaged { no, why });
        let row = match self.row(no).map_err(ReadError::from) {
            Ok(Some(row)) => row,
            Ok(None) => {
                damaged("an index knows it, and its row is missing");
                return Ok(());
            }
            Err(ReadError::Damage { .. }) => {
                damaged("its page cannot be read");
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        match self.unpack(&row)? {
            Ok(_) if !of.holds(&row) => damaged("an index has it in a wrong place"),
            Ok(run) if wants(&row, &run) => page.runs.push(run),
            Ok(_) => {}
            Err(found) => page.damaged.push(found),
        }
        Ok(())
    }

    /// The jobs that can have such runs; `None`: all of them.
    fn jobs_of(&self, query: &Query) -> Result<Option<Vec<i64>>, ReadError> {
        let by_name = query.job.as_deref().map(|glob| self.jobs_named(glob)).transpose()?.flatten();
        let by_tag = query.tag.as_deref().map(|tag| self.jobs_tagged(tag)).transpose()?;
        Ok(match (by_name, by_tag) {
            (Some(named), Some(tagged)) => Some(named.into_iter().filter(|job| tagged.contains(job)).collect()),
            (Some(named), None) => Some(named),
            (None, Some(tagged)) => Some(tagged.into_iter().collect()),
            (None, None) => None,
        })
    }

    /// `None`: every job's name matches.
    pub(crate) fn jobs_named(&self, glob: &str) -> Result<Option<Vec<i64>>, ReadError> {
        if let Ok(name) = JobName::parse(glob)
            && let Some(id) = self.job_id(&name)?
        {
            return Ok(Some(vec![id]));
        }
        // Every name is looked at, for a damaged one is a job that would be missing here without a word.
        let mut select = self.conn.prepare_cached("SELECT id, name, sum, name GLOB ?1 FROM job")?;
        let mut rows = select.query([glob])?;
        let (mut all, mut matching) = (0, Vec::new());
        while let Some(row) = rows.next()? {
            let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
            if row.get::<_, i64>(2)? != job_sum(id, &name) {
                return Err(damage("the name of a job is unreadable"));
            }
            all += 1;
            if row.get(3)? {
                matching.push(id);
            }
        }
        Ok(if all > 0 && matching.len() == all { None } else { Some(matching) })
    }

    pub(crate) fn jobs_tagged(&self, tag: &str) -> Result<BTreeSet<i64>, ReadError> {
        let mut select = self.conn.prepare_cached("SELECT tag, job, sum FROM tagged")?;
        let mut rows = select.query([])?;
        let mut jobs = BTreeSet::new();
        while let Some(row) = rows.next()? {
            let (found, job): (String, i64) = (row.get(0)?, row.get(1)?);
            if row.get::<_, i64>(2)? != job_sum(job, &found) {
                return Err(damage("a tag is unreadable"));
            }
            if found == tag {
                jobs.insert(job);
            }
        }
        Ok(jobs)
    }
}

impl Of {
    /// Whether a row is where the index says.
    fn holds(self, row: &Row) -> bool {
        let is = |class: Class| i64::from(class.number()) == row.class;
        match self {
            Of::All => true,
            Of::Job(job) => row.job == job,
            Of::Odd(class) => is(class),
            Of::OddOfJob(job, class) => row.job == job && is(class),
        }
    }
}

/// From which streams a page is filled, and how many runs are looked at before the next plan is tried.
///
/// Where many jobs are wanted, the newest runs of all jobs are tried first: most likely they fill the page, and a search in
/// the stream of each job would take longer.
fn plans(jobs: Option<&[i64]>, classes: &BTreeSet<Class>) -> Vec<(Vec<Of>, usize)> {
    if classes.is_empty() {
        return Vec::new();
    }
    let (ok, live) = (classes.contains(&Class::OK), classes.contains(&Class::Live));
    let of_all = || if ok { vec![Of::All] } else { classes.iter().copied().map(Of::Odd).collect() };
    let of_job = |job: i64| match (ok, live) {
        (true, _) => vec![Of::Job(job)],
        (false, _) => classes.iter().map(|class| Of::OddOfJob(job, *class)).collect(),
    };
    match jobs {
        // The living are few, and have no streams of their own for each job.
        Some(jobs) if ok || !live => {
            let of: Vec<Of> = jobs.iter().copied().flat_map(of_job).collect();
            if of.len() <= STREAMS_FEW {
                vec![(of, LOOKED_AT_MAX)]
            } else if of.len() <= STREAMS_MAX {
                vec![(of_all(), LOOKED_AT_FIRST), (of, LOOKED_AT_MAX)]
            } else {
                vec![(of_all(), LOOKED_AT_MAX)]
            }
        }
        None | Some(_) => vec![(of_all(), LOOKED_AT_MAX)],
    }
}

fn number(no: i64) -> Option<RunNo> {
    RunNo::new(u64::try_from(no).ok()?)
}
