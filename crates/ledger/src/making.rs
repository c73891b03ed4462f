//! A making: all of a run that its job's other runs have too. Kept once, referred to by number from each run's row.
//!
//! A job that runs ten million times has one making as long as its command, directory, tags, group, caller and boot stay
//! the same. A run whose command is like no other costs a making of its own, about 150 bytes more.
//!
//! Format 1 is of runs without a definition that somebody asked for; all others are written in format 2, which begins with
//! the same fields but for the trigger.

use crate::pack::{Packer, Unpacker};
use crate::sum::Sum;
use kin_core::run::Nominal;
use kin_core::{JobName, Run, RunNo, Terms, Trigger};
use std::collections::BTreeMap;

const PLAIN: u64 = 1;
const DEFINED: u64 = 2;

/// What is the same in all of a job's triggers of one kind. The rest stands in the run's row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Manual {
        by: String,
    },
    Schedule,
    /// For others before it that were missed, too.
    ScheduleForOthers,
    /// Late.
    CaughtUp,
    Chain {
        error: bool,
    },
    Boot,
    Restart,
    Retry,
    /// Of what its schedule began.
    RetryOfTick,
    Watch {
        path: String,
    },
    Dependency,
    Adopt {
        by: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Making {
    /// Over its packed bytes. Part of the sum of every run that refers to it, so that a making that is damaged, or is not
    /// the one meant, shows in each of them.
    pub(crate) sum: Sum64,
    pub(crate) job: JobName,
    pub(crate) trigger: Kind,
    pub(crate) group: Option<String>,
    pub(crate) group_max: u32,
    pub(crate) command: Vec<String>,
    pub(crate) directory: String,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) tags: Vec<String>,
    pub(crate) tty: bool,
    pub(crate) boot: String,
    pub(crate) terms: Terms,
}

pub(crate) type Sum64 = u64;

/// The bytes of a run's making.
pub(crate) fn pack(run: &Run) -> Vec<u8> {
    let mut p = Packer::new();
    let plain = matches!(run.trigger, Trigger::Manual { .. }) && run.terms == Terms::default();
    p.number(if plain { PLAIN } else { DEFINED });
    p.text(run.job.as_str());
    pack_trigger(&mut p, &run.trigger);
    option(&mut p, run.group.as_deref(), |p, group| p.text(group));
    p.number(u64::from(run.group_max));
    list(&mut p, &run.command);
    p.text(&run.directory);
    option(&mut p, run.timeout_ms, Packer::number);
    list(&mut p, &run.tags);
    p.number(u64::from(run.tty));
    p.text(&run.boot);
    if !plain {
        pack_terms(&mut p, &run.terms);
    }
    p.done()
}

pub(crate) fn sum(packed: &[u8]) -> Sum64 {
    Sum::new().bytes(packed).get()
}

pub(crate) fn unpack(packed: &[u8]) -> Option<Making> {
    let mut u = Unpacker::new(packed);
    let format = u.number()?;
    if format != PLAIN && format != DEFINED {
        return None;
    }
    let job = JobName::parse(u.text()?).ok()?;
    let trigger = unpack_trigger(&mut u)?;
    Some(Making {
        sum: sum(packed),
        job,
        trigger,
        group: if u.number()? == 0 { None } else { Some(u.text()?.to_owned()) },
        group_max: u.small()?,
        command: unpack_list(&mut u)?,
        directory: u.text()?.to_owned(),
        timeout_ms: if u.number()? == 0 { None } else { Some(u.number()?) },
        tags: unpack_list(&mut u)?,
        tty: u.number()? != 0,
        boot: u.text()?.to_owned(),
        terms: if format == PLAIN { Terms::default() } else { unpack_terms(&mut u)? },
    })
}

pub(crate) fn pack_trigger(p: &mut Packer, trigger: &Trigger) {
    match trigger {
        Trigger::Manual { by } => {
            p.number(0);
            p.text(by);
        }
        Trigger::Schedule { late: false, missed: 0, .. } => p.number(1),
        Trigger::Schedule { late: false, .. } => p.number(9),
        Trigger::Schedule { late: true, .. } => p.number(10),
        Trigger::Chain { error, .. } => {
            p.number(2);
            p.number(u64::from(*error));
        }
        Trigger::Boot => p.number(3),
        Trigger::Restart { .. } => p.number(4),
        Trigger::Retry { of: None, .. } => p.number(5),
        Trigger::Retry { of: Some(_), .. } => p.number(11),
        Trigger::Watch { path } => {
            p.number(6);
            p.text(path);
        }
        Trigger::Dependency => p.number(7),
        Trigger::Adopt { by } => {
            p.number(8);
            p.text(by);
        }
    }
}

pub(crate) fn unpack_trigger(u: &mut Unpacker<'_>) -> Option<Kind> {
    Some(match u.number()? {
        0 => Kind::Manual { by: u.text()?.to_owned() },
        1 => Kind::Schedule,
        2 => Kind::Chain { error: u.number()? != 0 },
        3 => Kind::Boot,
        4 => Kind::Restart,
        5 => Kind::Retry,
        6 => Kind::Watch { path: u.text()?.to_owned() },
        7 => Kind::Dependency,
        8 => Kind::Adopt { by: u.text()?.to_owned() },
        9 => Kind::ScheduleForOthers,
        10 => Kind::CaughtUp,
        11 => Kind::RetryOfTick,
        _ => return None,
    })
}

/// What a trigger says of its own run alone.
pub(crate) fn pack_instance(p: &mut Packer, trigger: &Trigger) {
    match trigger {
        Trigger::Schedule { at, late_ms, late, missed } => {
            p.signed(*at);
            p.number(*late_ms);
            if *late || *missed > 0 {
                p.number(*missed);
            }
        }
        Trigger::Chain { run, .. } | Trigger::Restart { run } => p.number(run.get()),
        Trigger::Retry { run, of } => {
            p.number(run.get());
            if let Some(Nominal { at, missed }) = of {
                p.signed(*at);
                p.number(*missed);
            }
        }
        Trigger::Manual { .. }
        | Trigger::Boot
        | Trigger::Watch { .. }
        | Trigger::Dependency
        | Trigger::Adopt { .. } => {}
    }
}

pub(crate) fn unpack_instance(u: &mut Unpacker<'_>, kind: &Kind) -> Option<Trigger> {
    let run = |u: &mut Unpacker<'_>| RunNo::new(u.number()?);
    Some(match kind {
        Kind::Manual { by } => Trigger::Manual { by: by.clone() },
        Kind::Schedule => Trigger::Schedule { at: u.signed()?, late_ms: u.number()?, late: false, missed: 0 },
        Kind::ScheduleForOthers => {
            Trigger::Schedule { at: u.signed()?, late_ms: u.number()?, late: false, missed: u.number()? }
        }
        Kind::CaughtUp => Trigger::Schedule { at: u.signed()?, late_ms: u.number()?, late: true, missed: u.number()? },
        Kind::Chain { error } => Trigger::Chain { run: run(u)?, error: *error },
        Kind::Boot => Trigger::Boot,
        Kind::Restart => Trigger::Restart { run: run(u)? },
        Kind::Retry => Trigger::Retry { run: run(u)?, of: None },
        Kind::RetryOfTick => {
            Trigger::Retry { run: run(u)?, of: Some(Nominal { at: u.signed()?, missed: u.number()? }) }
        }
        Kind::Watch { path } => Trigger::Watch { path: path.clone() },
        Kind::Dependency => Trigger::Dependency,
        Kind::Adopt { by } => Trigger::Adopt { by: by.clone() },
    })
}

fn pack_terms(p: &mut Packer, terms: &Terms) {
    p.number(terms.rev);
    p.signed(i64::from(terms.priority));
    option(p, terms.queue.as_deref(), |p, queue| p.text(queue));
    p.number(terms.need.len() as u64);
    for (resource, amount) in &terms.need {
        p.text(resource);
        p.number(u64::from(*amount));
    }
    list(p, &terms.mutex);
    p.number(u64::from(terms.turn));
    p.number(terms.chain.len() as u64);
    terms.chain.iter().for_each(|job| p.text(job.as_str()));
}

fn unpack_terms(u: &mut Unpacker<'_>) -> Option<Terms> {
    Some(Terms {
        rev: u.number()?,
        priority: i32::try_from(u.signed()?).ok()?,
        queue: if u.number()? == 0 { None } else { Some(u.text()?.to_owned()) },
        need: {
            let resources = (0..u.number()?).map(|_| Some((u.text()?.to_owned(), u.small()?)));
            resources.collect::<Option<BTreeMap<String, u32>>>()?
        },
        mutex: unpack_list(u)?,
        turn: u.small()?,
        chain: (0..u.number()?).map(|_| JobName::parse(u.text()?).ok()).collect::<Option<Vec<JobName>>>()?,
    })
}

pub(crate) fn option<T>(p: &mut Packer, value: Option<T>, put: impl FnOnce(&mut Packer, T)) {
    p.number(u64::from(value.is_some()));
    if let Some(value) = value {
        put(p, value);
    }
}

fn list(p: &mut Packer, items: &[String]) {
    p.number(items.len() as u64);
    items.iter().for_each(|item| p.text(item));
}

fn unpack_list(u: &mut Unpacker<'_>) -> Option<Vec<String>> {
    // The length is not trusted with an allocation: each item must be there first.
    (0..u.number()?).map(|_| u.text().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_making_of_before_there_were_jobs_is_still_read() {
        let mut p = Packer::new();
        p.number(1);
        p.text("backup");
        p.number(0);
        p.text("uid:1000");
        p.number(1);
        p.text("disk");
        p.number(2);
        list(&mut p, &["true".to_string()]);
        p.text("/");
        p.number(0);
        list(&mut p, &[]);
        p.number(0);
        p.text("boot");
        let old = p.done();
        let making = unpack(&old).expect("readable");
        assert_eq!(making.trigger, Kind::Manual { by: "uid:1000".into() });
        assert_eq!((making.group.as_deref(), making.group_max, making.boot.as_str()), (Some("disk"), 2, "boot"));
        assert_eq!(making.terms, Terms::default());
        for cut in 0..old.len() {
            assert_eq!(unpack(&old[..cut]), None);
        }
    }
}
