//! How each job stands, and what each queue is now: a row each, replaced whenever it changes.
//!
//! Bodies are packed as those of runs are, and sealed with their own name: a row under another name is as damaged as one
//! with a flipped bit.

use crate::making::{self, pack_instance, pack_trigger, unpack_instance, unpack_trigger};
use crate::pack::{Packer, Unpacker};
use crate::shelf::{Shelf, damage};
use crate::sum::Sum;
use crate::{Error, ReadError, Reader};
use kin_core::job::Queue;
use kin_core::standing::{Former, Reckoning};
use kin_core::{JobName, Renewal, Rest, RunNo, Standing};
use std::collections::BTreeMap;

/// A queue as it is, and as the job files say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    pub queue: Queue,
    /// `None`: no file has it; somebody made it by hand.
    pub defined: Option<Queue>,
}

const UP: u64 = 1;
const REMOVED: u64 = 1 << 1;
const BY_HAND: u64 = 1 << 2;
const DISABLED: u64 = 1 << 3;
const SCALE: u64 = 1 << 4;
const RENEWAL: u64 = 1 << 5;
const ROLLING: u64 = 1 << 6;
const FORMER: u64 = 1 << 7;
const FAILED: u64 = 1 << 8;
const DONE: u64 = 1 << 9;
const RUNG: u64 = 1 << 10;
const TICKS: u64 = 1 << 11;
const FORMER_LINE: u64 = 1 << 12;
const PORTS: u64 = 1 << 13;
const PAUSED: u64 = 1 << 14;
const ALL: u64 = (1 << 15) - 1;

fn seed(kind: u64, name: &str) -> Sum {
    Sum::new().number(kind).number(name.len() as u64).bytes(name.as_bytes())
}

const STANDING: u64 = 1;
const QUEUE: u64 = 2;

fn pack(standing: &Standing) -> Vec<u8> {
    let mut p = Packer::new();
    let renewal = standing.renewal.as_ref();
    let flags = [
        (standing.up, UP),
        (standing.removed, REMOVED),
        (standing.disabled.is_some(), BY_HAND),
        (standing.disabled == Some(true), DISABLED),
        (standing.scale.is_some(), SCALE),
        (renewal.is_some(), RENEWAL),
        (renewal.is_some_and(|renewal| renewal.rolling), ROLLING),
        (standing.former.is_some(), FORMER),
        (standing.failed.is_some(), FAILED),
        (standing.done.is_some(), DONE),
        (standing.rung, RUNG),
        (standing.ticks.is_some(), TICKS),
        (standing.ticks.is_some_and(|ticks| ticks.former.is_some()), FORMER_LINE),
        (!standing.ports.is_empty(), PORTS),
        (standing.paused.is_some(), PAUSED),
    ];
    p.number(flags.into_iter().filter_map(|(there, flag)| there.then_some(flag)).sum());
    p.number(standing.rev);
    for n in [standing.scale.map(u64::from), standing.former, standing.failed, standing.done.map(RunNo::get)] {
        n.into_iter().for_each(|n| p.number(n));
    }
    if let Some(renewal) = renewal {
        p.number(renewal.upto.get());
        pack_trigger(&mut p, &renewal.why);
        pack_instance(&mut p, &renewal.why);
    }
    p.number(standing.rest.len() as u64);
    for (slot, rest) in &standing.rest {
        p.number(u64::from(*slot));
        p.number(pack_rest(*rest));
    }
    p.number(standing.round.len() as u64);
    for (job, ok) in &standing.round {
        p.text(job.as_str());
        p.number(u64::from(*ok));
    }
    if let Some(ticks) = &standing.ticks {
        p.number(ticks.schedule);
        p.signed(ticks.to);
        p.number(ticks.line);
        if let Some(former) = &ticks.former {
            p.signed(former.to);
            p.signed(former.since);
        }
    }
    standing.paused.iter().for_each(|until| p.signed(*until));
    p.text(&standing.boot);
    if !standing.ports.is_empty() {
        p.number(standing.ports.len() as u64);
        for (slot, port) in &standing.ports {
            p.number(u64::from(*slot));
            p.number(u64::from(*port));
        }
    }
    p.sealed(seed(STANDING, standing.job.as_str()))
}

fn unpack(job: JobName, body: &[u8]) -> Option<Standing> {
    let u = &mut Unpacker::unseal(body, seed(STANDING, job.as_str()))?;
    let flags = u.number()?;
    if flags & !ALL != 0 {
        return None;
    }
    let has = |flag: u64| flags & flag != 0;
    let rev = u.number()?;
    let scale = if has(SCALE) { Some(u.small()?) } else { None };
    let former = if has(FORMER) { Some(u.number()?) } else { None };
    let failed = if has(FAILED) { Some(u.number()?) } else { None };
    let done = if has(DONE) { Some(RunNo::new(u.number()?)?) } else { None };
    let renewal = if has(RENEWAL) {
        let upto = RunNo::new(u.number()?)?;
        let kind = unpack_trigger(u)?;
        Some(Renewal { upto, why: unpack_instance(u, &kind)?, rolling: has(ROLLING) })
    } else {
        None
    };
    let rest = (0..u.number()?).map(|_| Some((u.small()?, unpack_rest(u.number()?)?))).collect::<Option<_>>()?;
    let round = (0..u.number()?).map(|_| Some((JobName::parse(u.text()?).ok()?, u.number()? != 0)));
    let round = round.collect::<Option<_>>()?;
    let ticks = if has(TICKS) {
        let (schedule, to, line) = (u.number()?, u.signed()?, u.number()?);
        let former = if has(FORMER_LINE) { Some(Former { to: u.signed()?, since: u.signed()? }) } else { None };
        Some(Reckoning { schedule, to, line, former })
    } else {
        None
    };
    let paused = if has(PAUSED) { Some(u.signed()?) } else { None };
    let boot = u.text()?.to_owned();
    let ports = if has(PORTS) { u.number()? } else { 0 };
    let ports = (0..ports).map(|_| Some((u.small()?, u16::try_from(u.number()?).ok()?))).collect::<Option<_>>()?;
    Some(Standing {
        job,
        rev,
        ticks,
        paused,
        up: has(UP),
        removed: has(REMOVED),
        disabled: has(BY_HAND).then(|| has(DISABLED)),
        scale,
        rest,
        renewal,
        former,
        failed,
        done,
        round,
        rung: has(RUNG),
        ports,
        boot,
    })
}

const fn pack_rest(rest: Rest) -> u64 {
    match rest {
        Rest::Stopped => 0,
        Rest::Finished => 1,
        Rest::GaveUp => 2,
    }
}

const fn unpack_rest(n: u64) -> Option<Rest> {
    match n {
        0 => Some(Rest::Stopped),
        1 => Some(Rest::Finished),
        2 => Some(Rest::GaveUp),
        _ => None,
    }
}

fn pack_one_queue(p: &mut Packer, queue: &Queue) {
    p.number(u64::from(queue.paused));
    p.number(queue.slots.len() as u64);
    for (resource, slots) in &queue.slots {
        p.text(resource);
        p.number(u64::from(*slots));
    }
}

fn unpack_one_queue(u: &mut Unpacker<'_>, name: &str) -> Option<Queue> {
    let paused = u.number()? != 0;
    let slots = (0..u.number()?).map(|_| Some((u.text()?.to_owned(), u.small()?)));
    Some(Queue { name: name.to_owned(), slots: slots.collect::<Option<BTreeMap<String, u32>>>()?, paused })
}

fn pack_queue(row: &QueueRow) -> Vec<u8> {
    let mut p = Packer::new();
    pack_one_queue(&mut p, &row.queue);
    making::option(&mut p, row.defined.as_ref(), pack_one_queue);
    p.sealed(seed(QUEUE, &row.queue.name))
}

fn unpack_queue(name: &str, body: &[u8]) -> Option<QueueRow> {
    let u = &mut Unpacker::unseal(body, seed(QUEUE, name))?;
    let queue = unpack_one_queue(u, name)?;
    let defined = if u.number()? == 0 { None } else { Some(unpack_one_queue(u, name)?) };
    Some(QueueRow { queue, defined })
}

pub(crate) fn put(shelf: &Shelf, job: &JobName, standing: Option<&Standing>) -> Result<(), Error> {
    put_row(shelf, "standing", "job", job.as_str(), standing.map(pack))
}

pub(crate) fn put_queue(shelf: &Shelf, name: &str, row: Option<&QueueRow>) -> Result<(), Error> {
    put_row(shelf, "queue", "name", name, row.map(pack_queue))
}

fn put_row(shelf: &Shelf, table: &str, key: &str, name: &str, body: Option<Vec<u8>>) -> Result<(), Error> {
    match body {
        Some(body) => shelf
            .conn
            .prepare_cached(&format!("INSERT OR REPLACE INTO {table} ({key}, body) VALUES (?1, ?2)"))?
            .execute((name, body))?,
        None => shelf.conn.prepare_cached(&format!("DELETE FROM {table} WHERE {key} = ?1"))?.execute([name])?,
    };
    Ok(())
}

/// Every row of a table, what cannot be believed as `None`.
fn rows<T>(
    shelf: &Shelf,
    sql: &str,
    read: impl Fn(&str, &[u8]) -> Option<T>,
    mut take: impl FnMut(Option<T>),
) -> rusqlite::Result<()> {
    let mut select = shelf.conn.prepare(sql)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        take(match (row.get::<_, String>(0), row.get::<_, Vec<u8>>(1)) {
            (Ok(name), Ok(body)) => read(&name, &body),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
        });
    }
    Ok(())
}

fn read_standing(name: &str, body: &[u8]) -> Option<Standing> {
    unpack(JobName::parse(name).ok()?, body)
}

const STANDINGS: &str = "SELECT job, body FROM standing ORDER BY job";
const QUEUES: &str = "SELECT name, body FROM queue ORDER BY name";

impl Reader {
    /// How each job stands, by name.
    pub fn standings(&self) -> Result<Vec<Standing>, ReadError> {
        let mut found = Vec::new();
        rows(&self.shelf, STANDINGS, read_standing, |row| found.push(row))?;
        let all: Option<Vec<Standing>> = found.into_iter().collect();
        all.ok_or_else(|| damage("how a job stands is unreadable"))
    }

    /// Every queue that was defined or changed by hand, by name.
    pub fn queues(&self) -> Result<Vec<QueueRow>, ReadError> {
        let mut found = Vec::new();
        rows(&self.shelf, QUEUES, unpack_queue, |row| found.push(row))?;
        found.into_iter().collect::<Option<Vec<QueueRow>>>().ok_or_else(|| damage("a queue is unreadable"))
    }
}

/// All that can be believed, for a new ledger.
pub(crate) fn all(
    shelf: &Shelf,
    mut standing: impl FnMut(Standing),
    mut queue: impl FnMut(QueueRow),
) -> rusqlite::Result<()> {
    rows(shelf, STANDINGS, read_standing, |row| row.into_iter().for_each(&mut standing))?;
    rows(shelf, QUEUES, unpack_queue, |row| row.into_iter().for_each(&mut queue))
}

/// How many rows of jobs and queues cannot be believed.
pub(crate) fn bad(shelf: &Shelf) -> rusqlite::Result<(u64, u64)> {
    let (mut standings, mut queues) = (0, 0);
    rows(shelf, STANDINGS, read_standing, |row| standings += u64::from(row.is_none()))?;
    rows(shelf, QUEUES, unpack_queue, |row| queues += u64::from(row.is_none()))?;
    Ok((standings, queues))
}

/// Whether there is a row, believable or not.
pub(crate) fn has(shelf: &Shelf, job: &JobName) -> rusqlite::Result<bool> {
    let mut select = shelf.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM standing WHERE job = ?1)")?;
    select.query_row([job.as_str()], |row| row.get(0))
}

pub(crate) fn has_queue(shelf: &Shelf, name: &str) -> rusqlite::Result<bool> {
    let mut select = shelf.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM queue WHERE name = ?1)")?;
    select.query_row([name], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_core::Trigger;
    use proptest::prelude::*;

    fn name(n: u8) -> JobName {
        JobName::parse(&format!("job-{n}")).expect("a name")
    }

    fn rest() -> impl Strategy<Value = Rest> {
        prop_oneof![Just(Rest::Stopped), Just(Rest::Finished), Just(Rest::GaveUp)]
    }

    fn renewal() -> impl Strategy<Value = Renewal> {
        let why = prop_oneof![
            any::<u8>().prop_map(|n| Trigger::Manual { by: format!("uid:{n}") }),
            Just(Trigger::Boot),
            any::<u8>().prop_map(|n| Trigger::Watch { path: format!("/{n}") }),
            Just(Trigger::Restart { run: RunNo::LAST }),
        ];
        (1u64..1 << 40, why, any::<bool>()).prop_map(|(upto, why, rolling)| Renewal {
            upto: RunNo::new(upto).expect("a number"),
            why,
            rolling,
        })
    }

    prop_compose! {
        fn standing()(
            rev: u64, up: bool, removed: bool, disabled: Option<bool>, scale: Option<u32>,
            rest in prop::collection::btree_map(any::<u32>(), rest(), 0..4),
            renewal in prop::option::of(renewal()), former: Option<u64>, failed: Option<u64>,
            done in prop::option::of(1u64..1 << 40),
            round in prop::collection::btree_map(any::<u8>().prop_map(name), any::<bool>(), 0..4),
            rung: bool, ports in prop::collection::btree_map(any::<u32>(), any::<u16>(), 0..3), boot in "[a-z]{0,9}",
        ) -> Standing {
            let done = done.and_then(RunNo::new);
            let line = rung.then_some(Former { to: 1, since: -2 });
            let ticks = scale.map(|n| Reckoning { schedule: n.into(), to: -i64::from(n), line: 7, former: line });
            let paused = failed.map(|n| n.cast_signed());
            Standing { ticks, paused, job: name(7), rev, up, removed, disabled, scale, rest, renewal, former, failed, done, round, rung, ports, boot }
        }
    }

    proptest! {
        #[test]
        fn a_standing_comes_back_and_only_under_its_own_name(standing in standing(), flip in 1u8.., at: prop::sample::Index) {
            let mut body = pack(&standing);
            prop_assert_eq!(unpack(name(7), &body), Some(standing));
            prop_assert_eq!(unpack(name(8), &body), None);
            let at = at.index(body.len());
            body[at] ^= flip;
            prop_assert_eq!(unpack(name(7), &body), None);
        }

        #[test]
        fn a_queue_comes_back(
            slots in prop::collection::btree_map("[a-z]{1,6}", any::<u32>(), 0..4), paused: bool, defined: bool
        ) {
            let queue = Queue { name: "heavy".into(), slots, paused };
            let row = QueueRow { defined: defined.then(|| queue.clone()), queue };
            let body = pack_queue(&row);
            prop_assert_eq!(unpack_queue("heavy", &body), Some(row));
            prop_assert_eq!(unpack_queue("light", &body), None);
        }
    }
}
