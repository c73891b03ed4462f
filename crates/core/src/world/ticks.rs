//! Ticks: the instants of schedules, each decided once.
//!
//! A job's `Reckoning` says up to which instant all is decided. It is recorded in the commit that decides, together with the
//! run that comes of it; so whoever dies before that commit has decided nothing, and whoever dies after it all.
//!
//! - A schedule that is new, or another, counts from now: writing it down fires nothing. Before it comes into force, what
//!   was due by the old one is decided by the old one.
//! - The same words may mean another schedule to the next server, whose own zone is another. That is no edit: what has come
//!   since the last decision is decided by what they mean now, as after any absence.
//! - A clock that is set back shows instants again that are decided. They stay decided.
//! - A rhythm follows real time all the same: when it is told that the clock was set back, it begins a new line of time
//!   where its next beat is, and what the clock shows again is another tick.
//! - A clock that is set back very far was wrong before, or is wrong now, and nobody can know which. It begins a new line
//!   of time, so that a job does not wait for years: what comes is decided anew. If the clock then goes forward again, to
//!   where it was, what the former line has decided is not caught up.
//! - A clock that is set forward, a night in standby, and a server that was not there are the same: what was missed is
//!   caught up as the job says, or is recorded as missed (verdict.rs).

use super::make::Birth;
use super::overtake::Way;
use super::verdict::{GRACE, Verdict, verdicts};
use super::{Mutant, Reason, World, post::Post};
use crate::effect::Effects;
use crate::job::{CatchUp, Millis};
use crate::run::Trigger;
use crate::schedule::wall::{DAY, HOUR};
use crate::schedule::{Wall, stable};
use crate::standing::{Former, Reckoning, Standing};
use crate::tick::COUNTED;
use crate::{Coming, Decided, Decision, JobName, Outcome, Run, RunNo, SkipWhy, Tick, Time, Timed};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What is due more often than daily is never silent for longer than this, whatever is done to the clock. It is cron's
/// number: set back by less, its jobs at times of day wait until the clock is there again, and those with a wildcard in
/// the minute or hour go on; set back by more, all go by what it shows.
const SILENT: i64 = 3 * HOUR;
/// And this for all else.
const SILENT_RARE: i64 = DAY;

/// In days. Between two decisions there are not more on one line of time: a clock that begins in 1970, and then leaps to
/// some year before the right one, has shown nothing by that.
const YEAR: i64 = 366;

/// So many jobs that are due together are decided in one commit.
const TURN: usize = 64;

/// In a `Reckoning`: of a job that had a schedule.
const NO_SCHEDULE: u64 = 0;

const NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests;

const fn seconds(now: Time) -> i64 {
    now.0.div_euclid(NS)
}

impl World {
    /// With `know`: the timing of each revision that has one. What has none counts from the next
    /// `Fact::Time` on.
    pub fn know_times(&mut self, timed: impl IntoIterator<Item = (JobName, u64, Arc<Timed>)>) {
        for (job, rev, timed) in timed {
            if let Some(post) = self.jobs.get_mut(&job).filter(|post| post.definitions.contains_key(&rev)) {
                post.timed.insert(rev, timed);
            }
        }
        let all: Vec<JobName> = self.jobs.keys().cloned().collect();
        for job in all {
            self.rearm(&job);
        }
    }

    /// The instant at which a job is due next, in UTC seconds.
    pub fn next_of(&self, job: &JobName) -> Option<i64> {
        self.agenda.of(job)
    }

    /// Why a job that has a schedule is due at no instant to come, by what the rules know.
    pub fn why_never(&self, job: &JobName) -> Option<Reason> {
        let timed = self.timed(job).filter(|timed| !timed.at_boot())?;
        match self.next_open(job) {
            Some(None) => Some(Reason::Shut),
            Some(Some(_)) => None,
            // It is looked at in a moment.
            None if self.next_of(job).is_some() => None,
            None if timed.last_before(i64::MAX).is_none() => Some(Reason::Skipped),
            None => Some(Reason::Over),
        }
    }

    /// The next instant at which its calendars let it run; `None` in it: there is none in the next ten years. `None`: it has
    /// no schedule, or none that comes again.
    pub fn next_open(&self, job: &JobName) -> Option<Option<i64>> {
        // 0: it is looked at in a moment, and then known.
        let next = self.next_of(job).filter(|at| *at > 0)?;
        Some(self.timed(job)?.next_open(next - 1))
    }

    /// Its next instants after that one, as far as they are not decided yet.
    pub fn coming(&self, job: &JobName, after: i64, n: usize) -> Vec<Coming> {
        let Some(timed) = self.timed(job) else { return Vec::new() };
        let decided = self.standing(job).and_then(|standing| standing.ticks).map_or(i64::MIN, |ticks| ticks.to);
        timed.coming(after.max(decided), n)
    }

    /// The timing in force.
    pub fn timed(&self, job: &JobName) -> Option<&Arc<Timed>> {
        let post = self.jobs.get(job).filter(|post| !post.standing.removed)?;
        post.timed.get(&post.standing.rev)
    }

    pub(super) fn next_tick(&self) -> Option<Time> {
        let wrong = match () {
            () if self.breaks(Mutant::LateAlarm) => 60,
            () if self.breaks(Mutant::BusyAlarm) => -60,
            () => 0,
        };
        self.agenda.first().map(|at| Time((at + wrong).saturating_mul(NS)))
    }

    /// After every change of what it follows from.
    pub(super) fn rearm(&mut self, job: &JobName) {
        let next = self.jobs.get(job).and_then(next_of);
        self.agenda.set(job, next);
    }

    /// Definitions that came, and what was said of when they are due.
    pub(super) fn set_times(
        &mut self,
        now: Time,
        came: &[JobName],
        mut timed: BTreeMap<JobName, Arc<Timed>>,
        fx: &mut Effects,
    ) {
        for job in came {
            self.set_time(now, job, timed.remove(job), fx);
        }
        for (job, timed) in timed {
            self.set_time(now, &job, Some(timed), fx);
        }
    }

    fn set_time(&mut self, now: Time, job: &JobName, timed: Option<Arc<Timed>>, fx: &mut Effects) {
        let breaks_days = self.breaks(Mutant::KeepDays);
        let Some(post) = self.jobs.get_mut(job) else { return };
        let rev = post.standing.rev;
        let elsewhere =
            timed.as_ref().is_some_and(|timed| post.timed.values().any(|before| timed.lands_elsewhere(before)));
        let same = |timed: &Timed| post.timed.get(&rev).is_some_and(|before| before.sum == timed.sum);
        match timed {
            Some(timed) if breaks_days && same(&timed) => {}
            Some(timed) => drop(post.timed.insert(rev, timed)),
            None => drop(post.timed.remove(&rev)),
        }
        self.reckon(now, job, elsewhere && !self.breaks(Mutant::LandBehind), fx);
        self.rearm(job);
    }

    /// A schedule that is new, or another, counts from now. So does one that was away and comes again, and one whose days
    /// land elsewhere: what would have landed before now is not run.
    fn reckon(&mut self, now: Time, job: &JobName, elsewhere: bool, fx: &mut Effects) {
        let Some(timed) = self.timed(job) else {
            if !self.breaks(Mutant::ForgetAbsence) {
                self.alter(job, fx, Standing::goes_by_no_schedule);
            }
            return;
        };
        let fires = self.breaks(Mutant::FireAtEdit);
        let (schedule, time, now) = (timed.sum, now, seconds(now));
        self.alter(job, fx, |standing| {
            let line = standing.rev;
            let ticks = standing.ticks.get_or_insert(Reckoning { schedule, to: now, line, former: None });
            if ticks.schedule != schedule || elsewhere {
                let now = if fires { now - DAY } else { now };
                *ticks = Reckoning { schedule, to: ticks.to.max(now), ..*ticks };
            }
        });
        self.is_not_silent(time, job, fx);
    }

    /// It may be due more often than what was there when the clock was set back.
    fn is_not_silent(&mut self, now: Time, job: &JobName, fx: &mut Effects) {
        if self.is_far_back(now, job) && !self.breaks(Mutant::StaySilent) {
            self.begin_line(now, seconds(now), job, fx);
        }
    }

    /// The clock was set, or may have been; `by`: where it is known by how much, in nanoseconds. How many schedules begin a
    /// new line of time.
    pub(super) fn tell_ticks_of_the_clock(&mut self, now: Time, by: Option<i64>, fx: &mut Effects) -> usize {
        let by = by.filter(|by| *by < 0 && !self.breaks(Mutant::SilentRhythm));
        let silent = self.breaks(Mutant::StaySilent);
        let all: Vec<JobName> = self.jobs.keys().cloned().collect();
        let mut begun = 0;
        for job in all {
            let from = by.and_then(|by| self.goes_on_in_rhythm(now, by, &job));
            let from = from.or_else(|| (!silent && self.is_far_back(now, &job)).then(|| seconds(now)));
            let Some(from) = from else { continue };
            self.begin_line(now, from, &job, fx);
            begun += 1;
        }
        begun
    }

    /// A rhythm follows real time, and the clock was set back by that much: from where on it is to go by what it shows now.
    /// An instant that is shown again is due again if it is nearer to the next beat than to the last one; so it leaves out
    /// no beat, and makes no two of one.
    fn goes_on_in_rhythm(&self, now: Time, by: i64, job: &JobName) -> Option<i64> {
        let timed = self.timed(job).filter(|timed| timed.is_rhythm())?;
        let ticks = self.standing(job).and_then(|standing| standing.ticks)?;
        let last = timed.last_before(ticks.to.saturating_add(1))?;
        let next = timed.next_after(ticks.to);
        // Some fall silent for a night: the distance that it has while it beats.
        let after = next.map(|next| next - last);
        let beat = after.into_iter().chain(timed.last_before(last).map(|before| last - before)).min()?;
        // By what the clock shows now, the last was then.
        let last = last.saturating_mul(NS).saturating_add(by);
        let half = last.saturating_add(beat.saturating_mul(NS / 2)).div_euclid(NS);
        let from = half.clamp(seconds(now), seconds(now) + silence(Some(timed)));
        let again = timed.next_after(from)?;
        next.is_none_or(|next| again < next).then_some(from)
    }

    /// Whether it would be silent for too long until the clock shows again what is decided.
    fn is_far_back(&self, now: Time, job: &JobName) -> bool {
        let silent = silence(self.timed(job));
        let ticks = self.standing(job).and_then(|standing| standing.ticks);
        ticks.is_some_and(|ticks| ticks.to - seconds(now) > silent)
    }

    fn begin_line(&mut self, now: Time, from: i64, job: &JobName, fx: &mut Effects) {
        self.alter(job, fx, |standing| {
            if let Some(ticks) = &mut standing.ticks {
                let to = ticks.former.map_or(ticks.to, |former| former.to.max(ticks.to));
                ticks.line = stable(&format!("{} {}", ticks.line, now.0), "line");
                ticks.former = Some(Former { to, since: from });
                ticks.to = from;
            }
        });
    }

    /// A service is back at the revision before: what came since it was looked at last is due by that one.
    pub(super) fn go_back_in_time(&mut self, now: Time, job: &JobName, fx: &mut Effects) {
        let sum = self.timed(job).map(|timed| timed.sum);
        self.alter(job, fx, |standing| match (sum, &mut standing.ticks) {
            (Some(sum), Some(ticks)) => ticks.schedule = sum,
            (_, _) => standing.goes_by_no_schedule(),
        });
        self.is_not_silent(now, job, fx);
        self.rearm(job);
    }

    /// All that is due by now.
    pub(super) fn decide_ticks(&mut self, now: Time, fx: &mut Effects) {
        let jobs = self.agenda.due(seconds(now));
        self.decide_ticks_of_all(now, &jobs, fx);
    }

    /// What is due by now, but of those that are on time only a turn's worth: their runs can begin while the next are
    /// decided. What is late is all said at once. The rest is due at once.
    pub(super) fn decide_some_ticks(&mut self, now: Time, fx: &mut Effects) {
        let late = seconds(now) - GRACE;
        let jobs = self.agenda.due_by_turns(seconds(now), late, TURN);
        self.decide_ticks_of_all(now, &jobs, fx);
    }

    fn decide_ticks_of_all(&mut self, now: Time, jobs: &[JobName], fx: &mut Effects) {
        if self.is_closing() {
            return;
        }
        let mut absence = Absence::default();
        for job in jobs {
            self.decide_ticks_of(now, job, &mut absence, fx);
        }
        if let Some(words) = absence.words(seconds(now)) {
            self.note(now, "ticks.late", None, words, fx);
        }
    }

    fn decide_ticks_of(&mut self, now: Time, job: &JobName, absence: &mut Absence, fx: &mut Effects) {
        let Some(timed) = self.timed(job).cloned().map(|timed| self.as_broken(timed)) else { return };
        let ticks = self.standing(job).and_then(|standing| standing.ticks);
        let counted = |ticks: &Reckoning| {
            ticks.schedule == timed.sum || (ticks.schedule != NO_SCHEDULE && !self.breaks(Mutant::FromNowElsewhere))
        };
        let Some(ticks) = ticks.filter(counted) else {
            return self.reckon(now, job, false, fx);
        };
        // Other words are reckoned with when they come. So the words are the same, and what they mean here is other than
        // it was for the server before: its zone has another name. It goes on by that, as after any absence.
        let elsewhere = ticks.schedule != timed.sum;
        let ticks = Reckoning { schedule: timed.sum, ..ticks };
        if elsewhere {
            self.alter(job, fx, |standing| standing.ticks = Some(ticks));
            if timed.next_after(ticks.to).is_none_or(|next| next > seconds(now)) {
                return;
            }
        }
        let now_s = seconds(now);
        // Where the former line has decided, only what happens just now is new.
        let after =
            ticks.former.map_or(ticks.to, |former| if now_s > former.to { former.to.max(ticks.to) } else { ticks.to });
        let again = ticks.former.is_some_and(|former| now_s <= former.to);
        let after = if self.breaks(Mutant::CatchUpFormer) { ticks.to } else { after };
        let disabled = self.is_disabled(job) && !self.breaks(Mutant::CatchUpDisabled);
        let catch_up = if again || disabled { CatchUp::None } else { timed.catch_up };
        let verdicts = verdicts(&timed, after, now_s, catch_up, self.breaks(Mutant::ClosedFillUp));
        let proved = ticks.former.is_none_or(|former| {
            let on_time =
                verdicts.iter().any(|(at, verdict)| !matches!(verdict, Verdict::Missed { .. }) && now_s - at <= GRACE);
            // Or it decides on two different days, however late: a laptop may never be there in time.
            let (day, before) = (now_s.div_euclid(DAY), ticks.to.div_euclid(DAY));
            let goes_on = ticks.to > former.since && day > before && day - before <= YEAR;
            let goes_on = goes_on && !verdicts.is_empty() && !self.breaks(Mutant::ProvedOnTime);
            now_s > former.to || ((on_time || goes_on) && now_s - former.since > DAY)
        });
        // First the watermark: what the runs start may look at it.
        let to = match () {
            () if self.breaks(Mutant::TickTwice) => now_s - 1,
            () if self.breaks(Mutant::LoseTick) => now_s + HOUR,
            () => now_s,
        };
        self.alter(job, fx, |standing| {
            let former = if proved { None } else { ticks.former };
            standing.ticks = Some(Reckoning { to, former, ..ticks });
        });
        let paused = self.standing(job).and_then(|standing| standing.paused).unwrap_or(i64::MIN);
        fx.promises |= !verdicts.is_empty();
        let schedule = line_of(timed.sum, ticks.line);
        for (at, verdict) in verdicts {
            // Nobody would have run what was disabled or paused.
            if !disabled && !matches!(verdict, Verdict::Missed { until, .. } if until < paused) {
                absence.notes(job, at, &verdict);
            }
            let decision = match verdict {
                Verdict::Run { .. } if at < paused && !self.breaks(Mutant::IgnoreTickPause) => Decision::Paused,
                Verdict::Missed { .. } if self.breaks(Mutant::ForgetStretch) => continue,
                Verdict::Run { .. } | Verdict::Closed { .. } | Verdict::Missed { .. } => {
                    self.carry_out(now, job, &timed, at, verdict, fx)
                }
            };
            let tick = Tick { job: job.clone(), schedule, at };
            let moved = if self.breaks(Mutant::ForgetMoved) { None } else { timed.moved(at) };
            fx.ticks.push(Decided { tick, decided_at: now, decision, moved });
        }
        if paused <= now_s {
            self.alter(job, fx, |standing| standing.paused = None);
        }
    }

    fn carry_out(
        &mut self,
        now: Time,
        job: &JobName,
        timed: &Timed,
        at: i64,
        verdict: Verdict,
        fx: &mut Effects,
    ) -> Decision {
        let (mut caught_up, mut missed, of_many, late) = match verdict {
            Verdict::Closed { .. } if self.breaks(Mutant::IgnoreCalendar) => (false, 0, false, false),
            Verdict::Missed { count, until } => return Decision::Missed { count, until },
            Verdict::Closed { by } => return Decision::Suppressed { by },
            // Nobody asked for a run: no record of one stands before the job's last, tick after tick.
            Verdict::Run { .. } if self.is_disabled(job) => return Decision::SkippedDisabled { run: None },
            Verdict::Run { caught_up, missed, of_many, late } => (caught_up, missed, of_many, late),
        };
        let nominal = Time(at.saturating_mul(NS));
        let late_ms = u64::try_from(now.millis().saturating_sub(nominal.millis())).unwrap_or(0);
        let mut wait = timed.wait(job, self.mint.last());
        let mut from = nominal;
        if late {
            wait = Millis(wait.0.saturating_add(timed.delay.0));
            from = now;
        }
        let at = if self.breaks(Mutant::WrongTick) { at + 1 } else { at };
        let trigger = |missed| Trigger::Schedule { at, late_ms, late, missed };
        let mut birth = Birth { wait: Some((from.plus(wait.ns()), wait)), ..Birth::first(trigger(missed)) };
        let is_service = self.job(job).is_some_and(|job| job.life.is_service());
        self.revive(now, job, fx);
        let way = self.overtake(now, job, timed, (late, from), &mut birth, fx);
        if let Way::For(others) = way {
            caught_up = true;
            missed = COUNTED.min(missed + others);
            birth.trigger = trigger(missed);
        }
        if self.breaks(Mutant::TwoRuns) && !is_service {
            self.make(now, job, birth.clone(), fx);
        }
        let of_many = of_many || matches!(way, Way::Behind) || self.breaks(Mutant::IgnoreOverlap);
        let run = if of_many && !is_service {
            // They would be in each other's way; so they take turns instead.
            self.make(now, job, birth, fx).and_then(|no| self.live.get(&no).or_else(|| fx.changed.get(&no)).cloned())
        } else {
            self.ask_for(now, job, birth, fx)
        };
        match run {
            Some(run) => decision_of(&run, caught_up, missed),
            None => self.service_was_started(job),
        }
    }

    /// A service that is up already stays as it is; its run is the one that the tick wanted.
    fn service_was_started(&self, job: &JobName) -> Decision {
        match self.runs_of(job).next_back() {
            Some(run) => Decision::Run { run: run.no },
            None => Decision::Suppressed { by: "it has no slot to run in".to_string() },
        }
    }

    /// `@reboot`: once for each boot of the machine, of jobs that were defined before it.
    pub(super) fn decide_boot(&mut self, now: Time, jobs: &[JobName], fx: &mut Effects) {
        if self.breaks(Mutant::ForgetBoot) {
            return;
        }
        for job in jobs {
            let Some(timed) = self.timed(job).filter(|timed| timed.at_boot()).cloned() else { continue };
            let wait = timed.wait(job, self.mint.last());
            let birth = Birth { wait: Some((now.plus(wait.ns()), wait)), ..Birth::first(Trigger::Boot) };
            let disabled = self.is_disabled(job);
            if !disabled {
                self.revive(now, job, fx);
            }
            let paused =
                self.standing(job).and_then(|standing| standing.paused).is_some_and(|until| seconds(now) < until);
            let decision = if paused {
                Decision::Paused
            } else if disabled {
                Decision::SkippedDisabled { run: None }
            } else {
                match self.ask_for(now, job, birth, fx) {
                    Some(run) => decision_of(&run, false, 0),
                    None => self.service_was_started(job),
                }
            };
            let schedule = stable(&self.boot, &format!("{}", timed.sum));
            let tick = Tick { job: job.clone(), schedule, at: seconds(now) };
            fx.ticks.push(Decided { tick, decided_at: now, decision, moved: None });
        }
    }
}

/// That nobody was there when jobs were due: said once for all of them.
#[derive(Default)]
struct Absence {
    since: Option<i64>,
    last: Option<JobName>,
    jobs: usize,
    missed: u64,
    /// Of a job so many were missed that they were not counted to the end.
    uncounted: bool,
    caught_up: usize,
}

impl Absence {
    fn notes(&mut self, job: &JobName, at: i64, verdict: &Verdict) {
        match verdict {
            Verdict::Run { late: true, .. } => self.caught_up += 1,
            Verdict::Missed { count, .. } => {
                self.missed += count;
                self.uncounted |= *count >= COUNTED;
            }
            Verdict::Run { late: false, .. } | Verdict::Closed { .. } => return,
        }
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
        if self.last.as_ref() != Some(job) {
            self.last = Some(job.clone());
            self.jobs += 1;
        }
    }

    /// What was missed within the last minute counts when something was missed before it: nobody was there all the while.
    /// By itself it is no absence.
    fn words(&self, now: i64) -> Option<String> {
        let since = Wall(self.since.filter(|since| now - since > GRACE)?);
        let of = if self.jobs == 1 { "a job".to_string() } else { format!("{} jobs", self.jobs) };
        let (missed, caught_up) = (self.missed, self.caught_up);
        let was = if self.jobs == 1 { "was" } else { "were" };
        let more = if self.uncounted { " or more" } else { "" };
        let sums = format!("{caught_up} caught up, {missed}{more} missed");
        Some(format!("nobody was there when {of} {was} due, from {since} UTC on: {sums}"))
    }
}

impl Standing {
    /// What its ticks are called in the ledger, as long as this line of time goes on.
    pub fn line_of_ticks(&self) -> Option<u64> {
        self.ticks.map(|ticks| line_of(ticks.schedule, ticks.line))
    }

    /// It has none any more: what comes, if it is the same again, is a new one.
    pub(super) const fn goes_by_no_schedule(&mut self) {
        if let Some(ticks) = &mut self.ticks {
            ticks.schedule = NO_SCHEDULE;
        }
    }

    /// They are decided at least as far as that, whatever it says itself.
    pub fn decided_to(&mut self, at: i64) {
        if let Some(ticks) = &mut self.ticks {
            ticks.to = ticks.to.max(at);
        }
    }
}

/// For so long a job is not silent because a clock was set back.
fn silence(timed: Option<&Arc<Timed>>) -> i64 {
    match timed {
        Some(timed) if !timed.rare => SILENT,
        Some(_) | None => SILENT_RARE,
    }
}

/// `0`, long ago, asks for a look at once: it was decided by another schedule, or never.
fn next_of(post: &Post) -> Option<i64> {
    let timed = post.timed.get(&post.standing.rev).filter(|_| !post.standing.removed)?;
    match post.standing.ticks {
        Some(ticks) if ticks.schedule == timed.sum => timed.next_after(ticks.to),
        Some(_) | None => Some(0),
    }
}

/// The same schedule on another line of time has other ticks.
fn line_of(sum: u64, line: u64) -> u64 {
    stable(&format!("{sum}"), &format!("{line}"))
}

fn decision_of(run: &Run, caught_up: bool, missed: u64) -> Decision {
    let run_no: RunNo = run.no;
    match run.outcome() {
        Some(Outcome::Skipped(SkipWhy::Overlap { live })) => Decision::SkippedOverlap { run: run_no, live: *live },
        Some(Outcome::Skipped(SkipWhy::LineFull { waiting })) => {
            Decision::SkippedLineFull { run: run_no, waiting: *waiting }
        }
        _ if caught_up => Decision::CaughtUp { run: run_no, missed },
        _ => Decision::Run { run: run_no },
    }
}
