//! The judge of ticks: what becomes of each instant, by a list of all of them, one after the other.
//!
//! It knows of each job up to when all is decided. At each look of the rules it writes down all instants that have come since
//! then, and beside each what the words of the rules want of it; what was recorded must be that, no more and no less.

use super::almanac::{Cal, DAY, HOUR, Words, closed_by};
use super::host::Ledger;
use super::judge::{Check, Wait, definition, in_force, instances, is_disabled};
use crate::job::{CatchUp, JitterMode, Overlap, Timing};
use crate::tick::COUNTED;
use crate::{Decided, Decision, JobName, Outcome, Run, RunNo, RunState, SkipWhy, Standing, Tick, Time, Trigger};
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::mem;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

const SECOND: i64 = 1_000_000_000;
/// So late, a tick is on time.
const GRACE: i64 = 60;
/// So long no job may be silent because a clock was set back; and one that is due daily or more rarely.
const SILENT: i64 = 3 * HOUR;
const SILENT_RARE: i64 = DAY;

/// What stood there when a commit was made.
#[derive(Clone, Copy)]
pub(super) struct Commit<'a> {
    pub(super) before: &'a Ledger,
    pub(super) after: &'a Ledger,
    pub(super) changed: &'a [RunNo],
    pub(super) ticks: &'a [Decided],
    pub(super) now: Time,
    pub(super) passed: i64,
    /// The clock was set, and it is told that it was, by so many nanoseconds.
    pub(super) stepped: Option<i64>,
    /// Of a fact, which notices the clock; else of a wish.
    pub(super) fact: bool,
    /// The rules were asked what is due.
    pub(super) looked: bool,
    /// And nothing else.
    pub(super) only_time: bool,
    /// As they were when it was decided.
    pub(super) calendars: &'a [Cal],
}

/// How far a job is decided.
#[derive(Clone, Debug)]
struct Book {
    words: Option<Rc<Words>>,
    done: i64,
    /// Up to where another line of time has decided, and where this one begins.
    former: Option<(i64, i64)>,
    next: Option<i64>,
}

/// What is to become of an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    Missed,
    Closed(String),
    Paused,
    Begin { caught_up: bool, missed: u64, late: bool, of_many: bool },
}

#[derive(Debug, Default)]
pub(super) struct TickJudge {
    books: BTreeMap<JobName, Book>,
    decided: BTreeSet<Tick>,
    paused: BTreeMap<JobName, i64>,
    /// Stable jitter, once it is known.
    jitter: BTreeMap<(JobName, u64), i64>,
    /// Jobs that are to be run because of this boot, until it is recorded.
    boot: Option<BTreeSet<JobName>>,
    /// Those that went back in the last commit, with all that may be due for the next look.
    left: BTreeSet<JobName>,
    pub(super) instants: u64,
}

impl TickJudge {
    /// The machine has another name: which wait a stable jitter is follows from that.
    pub(super) fn elsewhere(&mut self) {
        self.jitter.clear();
    }

    pub(super) fn rebooted(&mut self, ledger: &Ledger) {
        self.boot = Some(ledger.standings.keys().cloned().collect());
    }

    pub(super) fn paused(&mut self, job: &JobName, until: i64) {
        self.paused.insert(job.clone(), until);
    }

    pub(super) fn enabled(&mut self, job: &JobName) {
        self.paused.remove(job);
    }

    /// Whether the rules may ask for another look at once.
    pub(super) fn is_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// When the rules must be asked next because of a tick, at the latest and at the earliest.
    pub(super) fn alarm(&self) -> Option<i64> {
        self.books.values().filter_map(|book| book.next).min()
    }

    /// `words`: what the definition in force after the commit says, by job.
    pub(super) fn look(
        &mut self,
        commit: Commit<'_>,
        words: &BTreeMap<JobName, Rc<Words>>,
        waits: &mut BTreeMap<RunNo, Wait>,
    ) -> Check {
        let now = commit.now.0.div_euclid(1_000_000_000);
        for decided in commit.ticks {
            if !self.decided.insert(decided.tick.clone()) {
                return Err(format!("{:?} is decided twice", decided.tick));
            }
            if decided.decided_at != commit.now {
                return Err(format!("{:?} says that it was decided at {:?}", decided.tick, decided.decided_at));
            }
        }
        self.left.clear();
        let mut gone_back: BTreeMap<JobName, Option<Rc<Words>>> = BTreeMap::new();
        for by in commit.stepped.into_iter().filter(|by| *by < 0) {
            self.books.values_mut().for_each(|book| book.stepped(now, by));
        }
        if commit.fact {
            self.notice(now);
        }
        // No wish but a plan changes words; what does so besides is a service that goes back, also when a wish has it fail.
        if commit.fact || !commit.looked {
            // It goes by the words before, for all that is not decided yet.
            for (job, book) in &mut self.books {
                let words = words.get(job).filter(|_| commit.after.standings.contains_key(job));
                if book.words.as_ref().map(Rc::as_ptr) != words.map(Rc::as_ptr) {
                    gone_back.insert(job.clone(), book.goes_by(words.cloned()));
                }
            }
        }
        let mut ticks: BTreeMap<&JobName, Vec<&Decided>> = BTreeMap::new();
        for decided in commit.ticks {
            ticks.entry(&decided.tick.job).or_default().push(decided);
        }
        // Which runs came of a tick; each is to be claimed by one.
        let new = |no: &&RunNo| !commit.before.runs.contains_key(no);
        let new: Vec<&Run> = commit.changed.iter().filter(new).filter_map(|no| commit.after.runs.get(no)).collect();
        let mut claimed: BTreeMap<RunNo, &Tick> = BTreeMap::new();
        self.boots(commit, now, &mut ticks, &mut claimed)?;
        let jobs: Vec<JobName> = self.books.keys().cloned().collect();
        for job in jobs {
            let of_job = ticks.remove(&job).unwrap_or_default();
            // It may have gone back after it was asked what is due: then that was by the words that it left, and all that is
            // due by the others is decided at the next look.
            if let Some(left) = gone_back.get(&job) {
                // (The same words and other calendars are the same line: what comes is judged by what holds now.)
                let line = |ledger: &Ledger| ledger.standings.get(&job).and_then(Standing::line_of_ticks);
                let (by_left, by_these) = (line(commit.before), line(commit.after));
                let left_first =
                    by_left != by_these && of_job.iter().any(|decided| Some(decided.tick.schedule) == by_left);
                if let Some(book) = self.books.get_mut(&job).filter(|_| !left_first) {
                    book.notice(now);
                }
                if of_job.is_empty() && self.wants_any(commit, &job, now) {
                    self.left.insert(job);
                    continue;
                }
                if left_first {
                    let comes = self.books.get_mut(&job).map(|book| book.goes_by(left.clone()));
                    self.job(commit, &job, now, &of_job, &mut claimed, waits)?;
                    if let (Some(book), Some(comes)) = (self.books.get_mut(&job), comes) {
                        book.goes_by(comes);
                        book.notice(now);
                    }
                    continue;
                }
            }
            self.job(commit, &job, now, &of_job, &mut claimed, waits)?;
        }
        if let Some((job, _)) = ticks.into_iter().find(|(_, decided)| !decided.is_empty()) {
            return Err(format!("a tick of {job} is decided, which has no schedule"));
        }
        for run in new {
            let service = in_force(commit.before, &run.job).is_some_and(|job| job.life.is_service());
            let by_tick = matches!(run.trigger, Trigger::Schedule { .. });
            if by_tick && !claimed.contains_key(&run.no) && !service {
                return Err(format!("{} says that it is of {:?}, and no tick is recorded", run.id(), run.trigger));
            }
        }
        self.other_words(commit, words, now);
        Ok(())
    }

    /// A clock that was set back so far that jobs would be silent begins a new line of time.
    fn notice(&mut self, now: i64) {
        for book in self.books.values_mut() {
            book.notice(now);
        }
    }

    /// A schedule that is new, or another, counts from now.
    fn other_words(&mut self, commit: Commit<'_>, words: &BTreeMap<JobName, Rc<Words>>, now: i64) {
        self.books.retain(|job, _| commit.after.standings.contains_key(job));
        self.paused.retain(|job, _| commit.after.standings.contains_key(job));
        for job in commit.after.standings.keys() {
            let words = words.get(job).cloned();
            let Some(book) = self.books.get_mut(job) else {
                if let Some(words) = words {
                    let mut book = Book { words: Some(words), done: now, former: None, next: None };
                    book.find_next();
                    self.books.insert(job.clone(), book);
                }
                continue;
            };
            let same = match (&book.words, &words) {
                (Some(one), Some(other)) => Rc::ptr_eq(one, other),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                if words.is_some() {
                    book.done = book.done.max(now);
                }
                let comes = words.is_some();
                book.words = words;
                book.find_next();
                if comes {
                    book.notice(now);
                }
            }
        }
    }

    /// `@reboot`: once for each job that was there before the boot.
    fn boots<'a>(
        &mut self,
        commit: Commit<'a>,
        now: i64,
        ticks: &mut BTreeMap<&'a JobName, Vec<&'a Decided>>,
        claimed: &mut BTreeMap<RunNo, &'a Tick>,
    ) -> Check {
        let Some(boot) = self.boot.take() else { return Ok(()) };
        for name in boot {
            let is_due =
                self.books.get(&name).and_then(|book| book.words.as_ref()).is_some_and(|words| words.at_boot());
            let Some(job) = in_force(commit.before, &name).filter(|_| is_due) else { continue };
            let lines = [commit.before, commit.after].map(|ledger| Some(ledger.standings.get(&name)?.line_of_ticks()));
            let of_job = ticks.entry(job_key(commit, &name)).or_default();
            let found = of_job.iter().position(|decided| {
                decided.tick.at == now && lines.iter().all(|line| *line != Some(Some(decided.tick.schedule)))
            });
            let Some(found) = found else { return Err(format!("the boot is no tick of {name}")) };
            let decided = of_job.remove(found);
            let standing = commit.before.standings.get(&name);
            let disabled = standing.is_some_and(|standing| is_disabled(standing, job));
            let paused = self.paused.get(&name).is_some_and(|until| now < *until);
            let right = match decided.decision {
                Decision::Paused => paused,
                Decision::SkippedDisabled { .. } => disabled && !paused,
                Decision::Run { .. } => !disabled && !paused,
                Decision::SkippedOverlap { .. } | Decision::SkippedLineFull { .. } | Decision::Suppressed { .. } => {
                    !disabled && !paused
                }
                Decision::CaughtUp { .. } | Decision::Missed { .. } => false,
            };
            if !right {
                return Err(format!("the boot comes to {:?} for {name}; disabled {disabled}", decided.decision));
            }
            if let Some(no) = run_of(&decided.decision).filter(|_| !job.life.is_service()) {
                let run = commit.after.runs.get(&no).ok_or_else(|| format!("{decided:?} names no run"))?;
                if run.trigger != Trigger::Boot || claimed.insert(no, &decided.tick).is_some() {
                    return Err(format!("{} is not of the boot alone: {:?}", run.id(), run.trigger));
                }
            }
        }
        Ok(())
    }

    /// Whether anything is to become of a job's instants, had it been asked for just now.
    fn wants_any(&self, commit: Commit<'_>, name: &JobName, now: i64) -> bool {
        let Some(book) = self.books.get(name) else { return false };
        let Some(words) = &book.words else { return false };
        let due = book.next.is_some_and(|next| next <= now);
        due && !wanted(book, words, commit.calendars, now, false, i64::MIN).is_empty()
    }

    fn job<'a>(
        &mut self,
        commit: Commit<'a>,
        name: &JobName,
        now: i64,
        ticks: &[&'a Decided],
        claimed: &mut BTreeMap<RunNo, &'a Tick>,
        waits: &mut BTreeMap<RunNo, Wait>,
    ) -> Check {
        let Some(book) = self.books.get_mut(name) else { return Ok(()) };
        let words = book.words.clone().filter(|_| commit.looked && book.next.is_some_and(|next| next <= now));
        let Some(words) = words else {
            return if ticks.is_empty() { Ok(()) } else { Err(format!("nothing is due, and decided is {ticks:?}")) };
        };
        let (Some(standing), Some(job)) = (commit.before.standings.get(name), in_force(commit.before, name)) else {
            return Err(format!("{name} has instants, and is not there"));
        };
        let disabled = is_disabled(standing, job);
        let pause = self.paused.get(name).copied();
        let want = wanted(book, &words, commit.calendars, now, disabled, pause.unwrap_or(i64::MIN));
        self.instants += want.len() as u64;
        // What this line of time has shown: it is right when it goes on for a day, and decides what is due.
        // (Or decides on two days, less than a year from each other.)
        let on_time = want.iter().any(|(at, want)| *want != Want::Missed && now - at <= GRACE);
        let days = now.div_euclid(DAY) - book.done.div_euclid(DAY);
        let proved = book.former.is_none_or(|(to, since)| {
            let goes_on = !want.is_empty() && book.done > since && days > 0 && days <= 366;
            now > to || ((on_time || goes_on) && now - since > DAY)
        });
        if proved {
            book.former = None;
        }
        book.done = now;
        book.find_next();
        if pause.is_some_and(|until| until <= now) {
            self.paused.remove(name);
        }
        let mut said: BTreeMap<i64, &Decided> = BTreeMap::new();
        for decided in ticks {
            let moved = words.moved(decided.tick.at);
            if decided.moved != moved {
                return Err(format!("{decided:?} was moved: {moved:?}"));
            }
            for at in covered(decided, &words)? {
                if said.insert(at, decided).is_some() {
                    return Err(format!("{name} at {at} is decided twice at once: {ticks:?}"));
                }
            }
        }
        let all: BTreeSet<i64> = want.keys().chain(said.keys()).copied().collect();
        let others = stood_for(commit, name);
        for at in &all {
            let (wanted, decided) = (want.get(at), said.get(at));
            let (Some(wanted), Some(decided)) = (wanted, decided) else {
                return Err(format!("{name} at {at}, now {now}: wanted is {wanted:?}, decided is {decided:?}"));
            };
            let is_right = match (wanted, &decided.decision) {
                (Want::Missed, Decision::Missed { .. }) | (Want::Paused, Decision::Paused) => true,
                (Want::Closed(by), Decision::Suppressed { by: said }) => by == said,
                (Want::Begin { .. }, Decision::SkippedDisabled { .. }) => disabled,
                (Want::Begin { of_many, .. }, Decision::SkippedOverlap { .. } | Decision::SkippedLineFull { .. }) => {
                    !disabled && !of_many && !job.life.is_service()
                }
                (Want::Begin { .. }, Decision::Suppressed { .. } | Decision::Run { .. }) if job.life.is_service() => {
                    !disabled
                }
                (Want::Begin { caught_up: false, .. }, Decision::Run { .. }) => {
                    !disabled && (others == 0 || !commit.only_time)
                }
                (Want::Begin { caught_up, missed, late, .. }, Decision::CaughtUp { missed: said, .. }) => {
                    let others = if *late { 0 } else { others };
                    let is_told = *said == COUNTED.min(missed + others) || (!commit.only_time && said == missed);
                    !disabled && (*caught_up || others > 0) && is_told
                }
                (_, _) => false,
            };
            if !is_right {
                return Err(format!(
                    "{name} at {at}, now {now}: wanted is {wanted:?}, decided is {:?}; disabled {disabled}",
                    decided.decision
                ));
            }
            if let (Want::Begin { late, missed, .. }, Some(no)) = (wanted, run_of(&decided.decision))
                && !job.life.is_service()
            {
                let run = commit.after.runs.get(&no).ok_or_else(|| format!("{decided:?} names no run"))?;
                let in_force = (commit.after.standings.get(name), in_force(commit.after, name));
                let disabled_since = matches!(in_force, (Some(standing), Some(job)) if is_disabled(standing, job));
                if !is_told_rightly(run, &decided.decision, disabled_since && !disabled) {
                    return Err(format!("{} is {:?}, and its tick {:?}", run.id(), run.state, decided.decision));
                }
                let stands_for =
                    if let Decision::CaughtUp { missed, .. } = decided.decision { missed } else { *missed };
                self.run(commit, &words, run, (*at, stands_for), *late, waits)?;
                if commit.before.runs.contains_key(&no) || claimed.insert(no, &decided.tick).is_some() {
                    return Err(format!("{} is the run of two ticks", run.id()));
                }
            }
        }
        let begun: Vec<(&Want, &Decision)> = want
            .iter()
            .filter(|(_, want)| matches!(want, Want::Begin { .. }))
            .filter_map(|(at, want)| Some((want, &said.get(at)?.decision)))
            .collect();
        match begun[..] {
            [(Want::Begin { of_many: false, late, .. }, decision)] if !disabled && commit.only_time => {
                overlap(commit, name, &words.timing, *late, decision)
            }
            _ => Ok(()),
        }
    }

    /// The run of a tick: why it is, and when it may begin.
    fn run(
        &mut self,
        commit: Commit<'_>,
        words: &Words,
        run: &Run,
        (at, missed): (i64, u64),
        late: bool,
        waits: &mut BTreeMap<RunNo, Wait>,
    ) -> Check {
        let late_ms = (commit.now.0 - at * 1_000_000_000) / 1_000_000;
        let want = Trigger::Schedule { at, late_ms: late_ms.max(0) as u64, late, missed };
        if run.trigger != want {
            return Err(format!("{} is of {:?}, and not of {want:?}", run.id(), run.trigger));
        }
        let definition = commit.before.standings.get(&run.job).and_then(|standing| definition(commit.before, standing));
        let latch = definition.is_some_and(|job| job.gates.latch.is_some());
        if run.outcome().is_some() || latch {
            return Ok(());
        }
        let (from, delay) = match late {
            true => (commit.now.0, words.timing.catch_up_delay.0 as i64 * 1_000_000),
            false => (at * 1_000_000_000, 0),
        };
        let most = words.timing.jitter.0 as i64 * 1_000_000;
        let mut begins = None;
        if let RunState::Waiting { until, wait } = run.state {
            if from + wait.ns() != until.0 {
                return Err(format!("{} waits {wait:?} from {from}, and until {until:?}", run.id()));
            }
            begins = Some(until.0);
        }
        if let Some(begins) = begins.filter(|_| words.timing.catch_up == Some(CatchUp::All))
            && definition.is_some_and(|job| job.gates.overlap != Overlap::Allow)
        {
            // In order: not before those of its job that were caught up before it.
            let before = commit.after.runs.range(..run.no).map(|(_, run)| run);
            let last = before.filter(|before| before.job == run.job).filter_map(caught_up_until).max();
            let whole = |ns: i64| from + (ns - from + 999_999) / 1_000_000 * 1_000_000;
            if last.is_some_and(|last| begins < last) {
                return Err(format!("{} begins before one that was caught up: {last:?}", run.id()));
            }
            if last.map(whole) == Some(begins) {
                let at = commit.passed + begins - commit.now.0;
                waits.insert(run.no, Wait { made: commit.passed, least: at, most: at });
                return Ok(());
            }
        }
        let jitter = begins.map(|begins| begins - from - delay);
        if jitter.is_some_and(|jitter| jitter < 0 || (jitter > 0 && jitter >= most)) {
            return Err(format!("{} waits {jitter:?} ns beside {delay}; its jitter is below {most}", run.id()));
        }
        if jitter.is_none() && from + delay > commit.now.0 {
            return Err(format!("{} does not wait, and was to", run.id()));
        }
        if words.timing.jitter_mode == JitterMode::Stable {
            let key = (run.job.clone(), words.timing.jitter.0);
            match (self.jitter.get(&key), jitter) {
                (Some(known), Some(jitter)) if *known != jitter => {
                    return Err(format!("{} has a jitter of {jitter} ns, and had {known}", run.id()));
                }
                (Some(known), None) if from + delay + known > commit.now.0 => {
                    return Err(format!("{} does not wait for its jitter", run.id()));
                }
                (None, Some(jitter)) => {
                    self.jitter.insert(key, jitter);
                }
                (Some(_), _) | (None, None) => {}
            }
        }
        if let Some(begins) = begins {
            let at = commit.passed + begins - commit.now.0;
            waits.insert(run.no, Wait { made: commit.passed, least: at, most: at });
        }
        Ok(())
    }
}

impl Book {
    /// What follows real time beats on. What the clock shows again is a beat if half the time from one to the next has
    /// passed since the last, or if it would be silent for too long.
    fn stepped(&mut self, now: i64, by: i64) {
        let Some(words) = self.words.clone().filter(|words| words.is_rhythm()) else { return };
        let Some(last) = words.last_until(self.done) else { return };
        let distance = [words.next_after(last).map(|next| next - last), words.last_until(last - 1).map(|at| last - at)];
        let Some(distance) = distance.into_iter().flatten().min() else { return };
        let silent = if words.rare { SILENT_RARE } else { SILENT };
        let is_near = |at: i64| 2 * (at * SECOND - (last * SECOND + by)) <= distance * SECOND;
        let stays = |at: &i64| is_near(*at) && *at <= now + silent;
        let mut beats = core::iter::successors(words.next_after(now), |at| words.next_after(*at));
        let Some(beat) = beats.find(|at| !stays(at)).filter(|at| self.next.is_none_or(|next| *at < next)) else {
            return;
        };
        let half = (2 * last * SECOND + 2 * by + distance * SECOND).div_euclid(2 * SECOND);
        let from = half.max(now).min(now + silent);
        debug_assert!(words.next_after(from) == Some(beat));
        let to = self.former.map_or(self.done, |(to, _)| to.max(self.done));
        self.former = Some((to, from));
        self.done = from;
        self.find_next();
    }

    fn notice(&mut self, now: i64) {
        let silent = if self.words.as_ref().is_some_and(|words| !words.rare) { SILENT } else { SILENT_RARE };
        if self.done - now > silent {
            let to = self.former.map_or(self.done, |(to, _)| to.max(self.done));
            self.former = Some((to, now));
            self.done = now;
            self.find_next();
        }
    }

    /// From now on; which it went by.
    fn goes_by(&mut self, words: Option<Rc<Words>>) -> Option<Rc<Words>> {
        let left = mem::replace(&mut self.words, words);
        self.find_next();
        left
    }

    fn find_next(&mut self) {
        self.next = self.words.as_ref().and_then(|words| words.next_after(self.done));
    }
}

/// The very name that the ticks of this commit have.
fn job_key<'a>(commit: Commit<'a>, name: &JobName) -> &'a JobName {
    let found = commit.ticks.iter().map(|decided| &decided.tick.job).find(|job| *job == name);
    found.unwrap_or_else(|| commit.before.standings.get_key_value(name).expect("it stands").0)
}

const fn run_of(decision: &Decision) -> Option<RunNo> {
    match decision {
        Decision::Run { run }
        | Decision::CaughtUp { run, .. }
        | Decision::SkippedOverlap { run, .. }
        | Decision::SkippedLineFull { run, .. } => Some(*run),
        Decision::SkippedDisabled { run } => *run,
        Decision::Suppressed { .. } | Decision::Paused | Decision::Missed { .. } => None,
    }
}

/// Each instant since all was decided, and what is to become of it.
fn wanted(book: &Book, words: &Words, calendars: &[Cal], now: i64, disabled: bool, paused: i64) -> BTreeMap<i64, Want> {
    // What another line of time has decided is not caught up; while this one is behind it, nothing is.
    let after = match book.former {
        Some((to, _)) if now > to => to.max(book.done),
        Some(_) | None => book.done,
    };
    let behind = book.former.is_some_and(|(to, _)| now <= to);
    let all = words.within(after + 1, now);
    let by_itself = if words.rare { CatchUp::Once } else { CatchUp::None };
    let policy = if behind || disabled { CatchUp::None } else { words.timing.catch_up.unwrap_or(by_itself) };
    let open = |at: i64| closed_by(words, calendars, at).is_none();
    let (on_time, late): (Vec<i64>, Vec<i64>) =
        all.iter().partition(|at| Some(*at) == all.last() && now - **at <= GRACE);
    let window = (words.timing.catch_up_window.0 / 1000) as i64;
    let mut young: Vec<i64> = late.iter().copied().filter(|at| now - at <= window).collect();
    let caught_up: Vec<i64> = match policy {
        CatchUp::None => Vec::new(),
        CatchUp::Once if on_time.iter().any(|at| open(*at)) => Vec::new(),
        CatchUp::Once => young.iter().rev().find(|at| open(**at)).copied().into_iter().collect(),
        // So many that are open; the closed ones among them are no runs, and as many of these are told one by one.
        CatchUp::All => {
            let (mut opened, mut shut) = (0, 0);
            let most = words.timing.catch_up_max;
            young.reverse();
            young.retain(|at| {
                if opened == most {
                    return false;
                }
                let counted = if open(*at) { &mut opened } else { &mut shut };
                *counted += 1;
                *counted <= most
            });
            young
        }
    };
    let mut wants = BTreeMap::new();
    let mut missed = 0;
    for at in &all {
        let late = caught_up.contains(at);
        let want = if !late && !on_time.contains(at) {
            missed += 1;
            Want::Missed
        } else if let Some(by) = closed_by(words, calendars, *at) {
            Want::Closed(by)
        } else if *at < paused {
            Want::Paused
        } else {
            let missed = if policy == CatchUp::Once { missed.min(COUNTED) } else { 0 };
            let of_many = caught_up.len() + on_time.len() > 1;
            Want::Begin { caught_up: late || missed > 0, missed, late, of_many }
        };
        wants.insert(*at, want);
    }
    wants
}

/// Each instant that a decision is about.
fn covered(decided: &Decided, words: &Words) -> Result<Vec<i64>, String> {
    let at = decided.tick.at;
    let Decision::Missed { count, until } = decided.decision else { return Ok(Vec::from([at])) };
    let all = words.within(at, until);
    if all.first() != Some(&at) || all.last() != Some(&until) || count != (all.len() as u64).min(COUNTED) {
        return Err(format!("{decided:?} is a stretch from {:?} to {:?} of {}", all.first(), all.last(), all.len()));
    }
    Ok(all)
}

/// Of a run that came late and has not begun: until when it waits.
fn caught_up_until(run: &Run) -> Option<i64> {
    let RunState::Waiting { until, .. } = run.state else { return None };
    matches!(run.trigger, Trigger::Schedule { late: true, .. }).then_some(until.0)
}

/// It is asked whether there is room for it when its wait is over.
pub(super) fn waits_for_its_jitter(run: &Run) -> bool {
    matches!(run.state, RunState::Waiting { .. })
        && matches!(run.trigger, Trigger::Schedule { late: false, .. } | Trigger::Boot)
        && run.follows.is_none()
        && run.terms.turn == 0
}

/// Of those that were caught up and waited, and gave way in this commit: for how many instants they were.
fn stood_for(commit: Commit<'_>, name: &JobName) -> u64 {
    let of_job = commit.before.runs.values().filter(|run| run.job == *name);
    let waited = of_job.filter(|run| caught_up_until(run).is_some_and(|until| until > commit.now.0));
    let gave_way = waited.filter(|run| {
        commit.after.runs.get(&run.no).is_none_or(|run| matches!(run.outcome(), Some(Outcome::Cancelled)))
    });
    gave_way.map(|run| if let Trigger::Schedule { missed, .. } = run.trigger { missed + 1 } else { 0 }).sum()
}

/// Whether there was room for the run of a tick, and what came of it.
fn overlap(commit: Commit<'_>, name: &JobName, timing: &Timing, late: bool, decision: &Decision) -> Check {
    let (Some(standing), Some(job)) = (commit.before.standings.get(name), in_force(commit.before, name)) else {
        return Ok(());
    };
    if job.life.is_service() {
        return Ok(());
    }
    // What else came in the same moment (by a chain) may have come before it.
    let new = commit.changed.iter().filter(|no| !commit.before.runs.contains_key(no));
    if new.filter_map(|no| commit.after.runs.get(no)).filter(|run| run.job == *name).count() > 1 {
        return Ok(());
    }
    let of_job = |run: &&Run| run.job == *name && run.is_defined() && run.outcome().is_none();
    // Nor is one that waits for its jitter, in anybody's: it comes when that is over. (Where one comes
    // in the same commit, it was before this tick, and what it met nobody wrote down.)
    let mut of_before = commit.before.runs.values().filter(of_job);
    let stays = |run: &Run| commit.after.runs.get(&run.no).is_some_and(waits_for_its_jitter);
    if of_before.any(|run| waits_for_its_jitter(run) && !stays(run)) {
        return Ok(());
    }
    let of_before = commit.before.runs.values().filter(of_job);
    let live: Vec<&Run> = of_before.filter(|run| !waits_for_its_jitter(run)).collect();
    let came = run_of(decision).and_then(|no| commit.after.runs.get(&no));
    if came.is_some_and(waits_for_its_jitter) {
        return Ok(());
    }
    let full = live.len() >= instances(standing, job).max(1) as usize;
    // Those that were caught up and wait are in nobody's way.
    let waits = |run: &&&Run| caught_up_until(run).is_some_and(|until| until > commit.now.0);
    let waiting: Vec<&&Run> = live.iter().filter(waits).collect();
    let all = timing.catch_up == Some(CatchUp::All);
    let skipped = matches!(decision, Decision::SkippedOverlap { .. } | Decision::SkippedLineFull { .. });
    if !waiting.is_empty() && job.gates.overlap != Overlap::Allow && (all || !late) {
        let stand = |run: &&&Run| commit.after.runs.get(&run.no).and_then(caught_up_until).is_some();
        let stands = waiting.iter().all(&stand);
        let gone = !waiting.iter().any(stand);
        let others = live.len() - waiting.len() >= instances(standing, job).max(1) as usize;
        match (all, stands, gone) {
            (true, true, _) | (false, _, true) if !skipped => return Ok(()),
            // There is no room for it, whatever waits.
            (false, _, _) if others => {}
            (_, _, _) => {
                return Err(format!("a tick of {name} comes to {decision:?}, beside {waiting:?} that are caught up"));
            }
        }
    }
    let now = |run: &&&Run| commit.after.runs.get(&run.no);
    let names_one = |no: RunNo| live.iter().any(|run| run.no == no);
    let named = if let Decision::SkippedOverlap { live, .. } = decision {
        job.gates.overlap == Overlap::Skip && live.is_some_and(names_one)
    } else if let Decision::SkippedLineFull { waiting, .. } = decision {
        job.gates.overlap == Overlap::Queue(*waiting)
    } else {
        true
    };
    if !named {
        return Err(format!("a tick of {name} comes to {decision:?}, with {:?}", job.gates.overlap));
    }
    let right = match job.gates.overlap {
        _ if !full => !skipped,
        Overlap::Allow => !skipped,
        Overlap::Skip => skipped,
        Overlap::Replace => {
            let stays = |run: &&Run| {
                let now = now(&run);
                now.is_some_and(|run| run.state.is_pending() || matches!(run.state, RunState::Running { .. }))
            };
            !skipped && !live.iter().any(stays)
        }
        Overlap::Queue(most) => {
            let waiting = |state: &RunState| state.is_pending();
            let before = live.iter().filter(|run| waiting(&run.state)).count();
            let after = live.iter().filter_map(|run| now(&run)).filter(|run| waiting(&run.state)).count();
            before != after || skipped == (before >= most as usize)
        }
    };
    let why = |run: &&Run| format!("{} {:?}", run.id(), run.state);
    if right {
        Ok(())
    } else {
        let live: Vec<String> = live.iter().map(why).collect();
        Err(format!("a tick of {name} comes to {decision:?}, beside {live:?}"))
    }
}

/// A skipped run says why; and what is said to be run is not skipped. Unless the new definition, which came after the tick
/// in the same commit, is disabled: as if it had come in the next one.
fn is_told_rightly(run: &Run, decision: &Decision, disabled_since: bool) -> bool {
    let is_run = matches!(decision, Decision::Run { .. } | Decision::CaughtUp { .. });
    match run.outcome() {
        Some(Outcome::Skipped(SkipWhy::Disabled)) => {
            matches!(decision, Decision::SkippedDisabled { .. }) || (is_run && disabled_since)
        }
        Some(Outcome::Skipped(SkipWhy::Overlap { live: of_run })) => {
            matches!(decision, Decision::SkippedOverlap { live, .. } if live == of_run)
        }
        Some(Outcome::Skipped(SkipWhy::LineFull { waiting: of_run })) => {
            matches!(decision, Decision::SkippedLineFull { waiting, .. } if waiting == of_run)
        }
        Some(_) | None => is_run,
    }
}
