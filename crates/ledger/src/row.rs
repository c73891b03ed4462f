//! A run's row: `no`, `job` and `class` for SQLite to find it by, and a body of about 35 bytes with all the rest.
//!
//! ```text
//! body:  making   flags   created   [started] [ended] [pid] [exit] [out] [rss] [cpu]
//!        [follows] [slot] [attempt] [err] [out dropped] [err dropped] [left behind]
//!        [the instance of its trigger] [ready at] [ready by] [healthy at]
//!        [read] [written] [port] [left out] [status]
//!        state   (zeros, while it lives)   sum u64
//! ```
//! All numbers are packed (pack.rs); those in brackets are there when their flag is set. Times are differences, each from
//! the one before it, and the first from the instant that the run's number was most likely minted at: that is only a
//! prediction that makes the difference small, and whatever the number says, the time that comes back is the one given.
//! The sum is over the run's number, its job, its class, its making's sum and the body: a row under a wrong number, in a
//! wrong job or with another making is as damaged as one with a flipped bit.

use crate::Stage;
use crate::class::Class;
use crate::making::{self, Making, Sum64};
use crate::outcome;
use crate::pack::{Packer, Unpacker};
use crate::sum::Sum;
use kin_core::StopKind;
use kin_core::job::Millis;
use kin_core::run::{Notes, StopWhy};
use kin_core::{Health, Hold, JobName, Run, RunNo, RunState, Time, Trigger};

/// A living run's body is made as long as it will most likely be in the end: a row that grew would split its page, and a
/// page once split stays half empty for ever.
const LIVE_BODY: usize = 30;

const STARTED: u64 = 1;
const ENDED: u64 = 1 << 1;
const PID: u64 = 1 << 2;
const EXIT: u64 = 1 << 3;
const OUT: u64 = 1 << 4;
const RSS: u64 = 1 << 5;
const CPU: u64 = 1 << 6;
const FOLLOWS: u64 = 1 << 7;
const SLOT: u64 = 1 << 8;
const ATTEMPT: u64 = 1 << 9;
const ERR: u64 = 1 << 10;
const OUT_DROPPED: u64 = 1 << 11;
const ERR_DROPPED: u64 = 1 << 12;
const LEFT_BEHIND: u64 = 1 << 13;
const TRIGGER: u64 = 1 << 14;
const READY_AT: u64 = 1 << 15;
const READY_BY: u64 = 1 << 16;
const HEALTHY_AT: u64 = 1 << 17;
const READ: u64 = 1 << 18;
const WRITTEN: u64 = 1 << 19;
const PORT: u64 = 1 << 20;
const LEFT_OUT: u64 = 1 << 21;
const STATUS: u64 = 1 << 22;
const LEAVING: u64 = 1 << 23;
const ALL: u64 = (1 << 24) - 1;

/// Held, but at no latch. No stage has this number.
const HELD_FOR_NEEDS: u64 = 64;

/// A row as it stands in the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) no: RunNo,
    pub(crate) job: i64,
    pub(crate) class: i64,
    pub(crate) body: Vec<u8>,
}

impl Row {
    pub(crate) fn pack(run: &Run, job: i64, making: i64, making_sum: Sum64) -> Row {
        let class = Class::of(&run.state);
        let mut p = Packer::new();
        p.number(making.cast_unsigned());
        let flags = flags(run);
        p.number(flags);
        p.signed(run.created_at.0.wrapping_sub(minted_at(run.no).0));
        let mut before = run.created_at;
        for at in [run.started_at, run.ended_at].into_iter().flatten() {
            p.signed(at.0.wrapping_sub(before.0));
            before = at;
        }
        if let Some(pid) = run.pid {
            p.number(u64::from(pid));
        }
        if let Some(exit) = run.exit {
            outcome::pack_exit(&mut p, exit);
        }
        let plain = |p: &mut Packer, flag: u64, n: u64| {
            if flags & flag != 0 {
                p.number(n);
            }
        };
        plain(&mut p, OUT, run.out_bytes);
        if let Some(rss) = run.max_rss_bytes {
            p.number(pack_rss(rss));
        }
        plain(&mut p, CPU, run.cpu_ms.unwrap_or(0));
        plain(&mut p, FOLLOWS, run.follows.map_or(0, RunNo::get));
        plain(&mut p, SLOT, u64::from(run.slot));
        plain(&mut p, ATTEMPT, u64::from(run.attempt));
        plain(&mut p, ERR, run.err_bytes);
        plain(&mut p, OUT_DROPPED, run.out_dropped);
        plain(&mut p, ERR_DROPPED, run.err_dropped);
        plain(&mut p, LEFT_BEHIND, u64::from(run.left_behind));
        if flags & TRIGGER != 0 {
            making::pack_instance(&mut p, &run.trigger);
        }
        for at in [run.health.ready_at, run.health.ready_by, run.health.healthy_at].into_iter().flatten() {
            p.signed(at.0.wrapping_sub(run.created_at.0));
        }
        pack_notes(&mut p, &run.notes);
        pack_state(&mut p, &run.state);
        if class == Class::Live {
            p.pad_to(LIVE_BODY);
        }
        let seed = seed(run.no, job, i64::from(class.number()), making_sum);
        Row { no: run.no, job, class: i64::from(class.number()), body: p.sealed(seed) }
    }

    /// Which making it refers to, not proven yet.
    pub(crate) fn making(&self) -> Option<i64> {
        Unpacker::new(&self.body).number().map(u64::cast_signed)
    }

    /// The run, if the sum says that it is this one; else why not.
    pub(crate) fn unpack(&self, making: &Making) -> Result<Run, &'static str> {
        let seed = seed(self.no, self.job, self.class, making.sum);
        let mut u = Unpacker::unseal(&self.body, seed).ok_or("its sum does not match its content")?;
        self.fields(&mut u, making).ok_or("it is written in a way this kin does not know")
    }

    fn fields(&self, u: &mut Unpacker<'_>, making: &Making) -> Option<Run> {
        u.number()?;
        let flags = u.number()?;
        if flags & !ALL != 0 {
            return None;
        }
        let has = |flag: u64| flags & flag != 0;
        let created_at = Time(minted_at(self.no).0.wrapping_add(u.signed()?));
        let mut before = created_at;
        let mut later = |u: &mut Unpacker<'_>| {
            before = Time(before.0.wrapping_add(u.signed()?));
            Some(before)
        };
        let started_at = if has(STARTED) { Some(later(u)?) } else { None };
        let ended_at = if has(ENDED) { Some(later(u)?) } else { None };
        let pid = if has(PID) { Some(u.small()?) } else { None };
        let exit = if has(EXIT) { Some(outcome::unpack_exit(u)?) } else { None };
        let out_bytes = if has(OUT) { u.number()? } else { 0 };
        let max_rss_bytes = if has(RSS) { Some(unpack_rss(u.number()?)?) } else { None };
        let cpu_ms = if has(CPU) { Some(u.number()?) } else { None };
        let follows = if has(FOLLOWS) { Some(RunNo::new(u.number()?)?) } else { None };
        let slot = if has(SLOT) { u.small()? } else { 0 };
        let attempt = if has(ATTEMPT) { u.small()? } else { 1 };
        let err_bytes = if has(ERR) { u.number()? } else { 0 };
        let out_dropped = if has(OUT_DROPPED) { u.number()? } else { 0 };
        let err_dropped = if has(ERR_DROPPED) { u.number()? } else { 0 };
        let left_behind = if has(LEFT_BEHIND) { u.small()? } else { 0 };
        let trigger = making::unpack_instance(u, &making.trigger)?;
        let after = |u: &mut Unpacker<'_>, flag: u64| match has(flag) {
            true => Some(Some(Time(created_at.0.wrapping_add(u.signed()?)))),
            false => Some(None),
        };
        let health =
            Health { ready_at: after(u, READY_AT)?, ready_by: after(u, READY_BY)?, healthy_at: after(u, HEALTHY_AT)? };
        let notes = unpack_notes(u, flags)?;
        let state = unpack_state(u, Class::from_number(self.class)?)?;
        Some(Run {
            no: self.no,
            job: making.job.clone(),
            slot,
            attempt,
            follows,
            trigger,
            state,
            exit,
            pid,
            created_at,
            started_at,
            ended_at,
            out_bytes,
            err_bytes,
            out_dropped,
            err_dropped,
            max_rss_bytes,
            cpu_ms,
            left_behind,
            group: making.group.clone(),
            group_max: making.group_max,
            command: making.command.clone(),
            directory: making.directory.clone(),
            timeout_ms: making.timeout_ms,
            tags: making.tags.clone(),
            tty: making.tty,
            boot: making.boot.clone(),
            terms: making.terms.clone(),
            health,
            notes,
        })
    }
}

fn seed(no: RunNo, job: i64, class: i64, making_sum: Sum64) -> Sum {
    Sum::new().number(no.get()).number(job.cast_unsigned()).number(class.cast_unsigned()).number(making_sum)
}

fn flags(run: &Run) -> u64 {
    [
        (run.started_at.is_some(), STARTED),
        (run.ended_at.is_some(), ENDED),
        (run.pid.is_some(), PID),
        (run.exit.is_some(), EXIT),
        (run.out_bytes != 0, OUT),
        (run.max_rss_bytes.is_some(), RSS),
        (run.cpu_ms.is_some(), CPU),
        (run.follows.is_some(), FOLLOWS),
        (run.slot != 0, SLOT),
        (run.attempt != 1, ATTEMPT),
        (run.err_bytes != 0, ERR),
        (run.out_dropped != 0, OUT_DROPPED),
        (run.err_dropped != 0, ERR_DROPPED),
        (run.left_behind != 0, LEFT_BEHIND),
        (has_instance(&run.trigger), TRIGGER),
        (run.health.ready_at.is_some(), READY_AT),
        (run.health.ready_by.is_some(), READY_BY),
        (run.health.healthy_at.is_some(), HEALTHY_AT),
        (run.notes.read_bytes.is_some(), READ),
        (run.notes.write_bytes.is_some(), WRITTEN),
        (run.notes.port.is_some(), PORT),
        (!run.notes.left_out.is_empty(), LEFT_OUT),
        (run.notes.status.is_some(), STATUS),
        (run.notes.leaving, LEAVING),
    ]
    .into_iter()
    .filter_map(|(there, flag)| there.then_some(flag))
    .sum()
}

fn pack_notes(p: &mut Packer, notes: &Notes) {
    let numbers = [notes.read_bytes, notes.write_bytes, notes.port.map(u64::from)];
    numbers.into_iter().flatten().for_each(|n| p.number(n));
    if !notes.left_out.is_empty() {
        p.number(notes.left_out.len() as u64);
        notes.left_out.iter().for_each(|text| p.text(text));
    }
    if let Some(status) = &notes.status {
        p.text(status);
    }
}

fn unpack_notes(u: &mut Unpacker<'_>, flags: u64) -> Option<Notes> {
    let has = |flag: u64| flags & flag != 0;
    let read_bytes = if has(READ) { Some(u.number()?) } else { None };
    let write_bytes = if has(WRITTEN) { Some(u.number()?) } else { None };
    let port = if has(PORT) { Some(u16::try_from(u.number()?).ok()?) } else { None };
    let texts = if has(LEFT_OUT) { u.number()? } else { 0 };
    let left_out = (0..texts).map(|_| Some(u.text()?.to_owned())).collect::<Option<_>>()?;
    let status = if has(STATUS) { Some(u.text()?.to_owned()) } else { None };
    Some(Notes { port, left_out, read_bytes, write_bytes, status, leaving: has(LEAVING) })
}

/// Whether a trigger says something of its own run alone.
const fn has_instance(trigger: &Trigger) -> bool {
    match trigger {
        Trigger::Schedule { .. } | Trigger::Chain { .. } | Trigger::Restart { .. } | Trigger::Retry { .. } => true,
        Trigger::Manual { .. }
        | Trigger::Boot
        | Trigger::Watch { .. }
        | Trigger::Dependency
        | Trigger::Adopt { .. } => false,
    }
}

/// When a number that follows the clock was minted.
fn minted_at(no: RunNo) -> Time {
    const YEAR_2020_MS: i64 = 1_577_836_800_000;
    Time::from_millis(YEAR_2020_MS.saturating_add_unsigned(no.get() / 64))
}

/// The kernel counts memory in KiB, so ten bits are nearly always zero. One bit of 64 is needed to say so: sizes from 2^63
/// on, which no memory has, are kept as that.
fn pack_rss(bytes: u64) -> u64 {
    if bytes.is_multiple_of(1024) { bytes / 1024 * 2 } else { bytes.min(u64::MAX >> 1) << 1 | 1 }
}

fn unpack_rss(n: u64) -> Option<u64> {
    if n & 1 == 0 { (n / 2).checked_mul(1024) } else { Some(n >> 1) }
}

fn pack_state(p: &mut Packer, state: &RunState) {
    match state {
        RunState::Ended { outcome } => return outcome::pack(p, outcome),
        RunState::Held { on: Hold::Needs(jobs) } => {
            p.number(HELD_FOR_NEEDS);
            p.number(jobs.len() as u64);
            return jobs.iter().for_each(|job| p.text(job.as_str()));
        }
        RunState::Held { on: Hold::Latch(_) }
        | RunState::Waiting { .. }
        | RunState::Queued
        | RunState::Starting { .. }
        | RunState::Running { .. }
        | RunState::Stopping { .. }
        | RunState::Draining { .. } => p.number(u64::from(Stage::of(state).number())),
    }
    match state {
        RunState::Held { on: Hold::Latch(latch) } => p.text(latch),
        RunState::Waiting { until, wait } => {
            p.signed(until.0);
            p.number(wait.0);
        }
        RunState::Starting { generation } => {
            p.number(u64::from(generation.is_some()));
            p.number(generation.unwrap_or(0));
        }
        RunState::Running { unowned, interrupted } => {
            p.number(u64::from(*unowned) | u64::from(*interrupted) << 1);
        }
        RunState::Stopping { why, kind } => {
            p.number(pack_why(Some(*why)) | if *kind == StopKind::Kill { KILL } else { 0 });
        }
        RunState::Draining { why } => p.number(pack_why(*why)),
        RunState::Held { on: Hold::Needs(_) } | RunState::Queued | RunState::Ended { .. } => {}
    }
}

fn unpack_state(u: &mut Unpacker<'_>, class: Class) -> Option<RunState> {
    if let Class::Ended(kind) = class {
        return Some(RunState::Ended { outcome: outcome::unpack(u, kind)? });
    }
    let number = u.number()?;
    if number == HELD_FOR_NEEDS {
        let jobs = (0..u.number()?).map(|_| JobName::parse(u.text()?).ok()).collect::<Option<Vec<JobName>>>()?;
        return Some(RunState::Held { on: Hold::Needs(jobs) });
    }
    Some(match Stage::from_number(number)? {
        Stage::Held => RunState::Held { on: Hold::Latch(u.text()?.to_owned()) },
        Stage::Waiting => RunState::Waiting { until: Time(u.signed()?), wait: Millis(u.number()?) },
        Stage::Queued => RunState::Queued,
        Stage::Starting => {
            let known = u.number()? != 0;
            let generation = u.number()?;
            RunState::Starting { generation: known.then_some(generation) }
        }
        Stage::Running => {
            let bits = u.number()?;
            RunState::Running { unowned: bits & 1 != 0, interrupted: bits & 2 != 0 }
        }
        Stage::Stopping => {
            let n = u.number()?;
            let kind = if n & KILL == 0 { StopKind::Ladder } else { StopKind::Kill };
            RunState::Stopping { why: unpack_why(n & !KILL)??, kind }
        }
        Stage::Draining => RunState::Draining { why: unpack_why(u.number()?)? },
        Stage::Ended => return None,
    })
}

/// Beside the why of a run that is stopped: KILL at once.
const KILL: u64 = 1 << 4;

const fn pack_why(why: Option<StopWhy>) -> u64 {
    match why {
        None => 0,
        Some(StopWhy::Asked) => 1,
        Some(StopWhy::Interrupt) => 2,
        Some(StopWhy::Planned) => 3,
        Some(StopWhy::Sick) => 4,
        Some(StopWhy::NotReady) => 5,
    }
}

/// Outside: whether the number is known. Inside: what it says.
const fn unpack_why(n: u64) -> Option<Option<StopWhy>> {
    match n {
        0 => Some(None),
        1 => Some(Some(StopWhy::Asked)),
        2 => Some(Some(StopWhy::Interrupt)),
        3 => Some(Some(StopWhy::Planned)),
        4 => Some(Some(StopWhy::Sick)),
        5 => Some(Some(StopWhy::NotReady)),
        _ => None,
    }
}

/// How far a run has come in its life: of two true rows of one run, the one that is further is the newer.
pub(crate) fn progress(run: &Run) -> usize {
    let stage = Stage::of(&run.state);
    Stage::ALL.iter().position(|s| *s == stage).unwrap_or(0)
}
