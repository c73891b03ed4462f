//! A making: all of a run that its job's other runs have too. Kept once, referred to by number from each run's row.
//!
//! A job that runs ten million times has one making as long as its command, directory, tags, group, caller and boot stay
//! the same. A run whose command is like no other costs a making of its own, about 150 bytes more.

use crate::pack::{Packer, Unpacker};
use crate::sum::Sum;
use kin_core::{JobName, Run, Trigger};

const FORMAT: u64 = 1;
const TRIGGER_MANUAL: u64 = 0;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Making {
    /// Over its packed bytes. Part of the sum of every run that refers to it, so that a making that is damaged, or is not
    /// the one meant, shows in each of them.
    pub(crate) sum: Sum64,
    pub(crate) job: JobName,
    pub(crate) trigger: Trigger,
    pub(crate) group: Option<String>,
    pub(crate) group_max: u32,
    pub(crate) command: Vec<String>,
    pub(crate) directory: String,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) tags: Vec<String>,
    pub(crate) tty: bool,
    pub(crate) boot: String,
}

pub(crate) type Sum64 = u64;

/// The bytes of a run's making.
pub(crate) fn pack(run: &Run) -> Vec<u8> {
    let mut p = Packer::new();
    p.number(FORMAT);
    p.text(run.job.as_str());
    match &run.trigger {
        Trigger::Manual { by } => {
            p.number(TRIGGER_MANUAL);
            p.text(by);
        }
    }
    option(&mut p, run.group.as_deref(), |p, group| p.text(group));
    p.number(u64::from(run.group_max));
    list(&mut p, &run.command);
    p.text(&run.directory);
    option(&mut p, run.timeout_ms, Packer::number);
    list(&mut p, &run.tags);
    p.number(u64::from(run.tty));
    p.text(&run.boot);
    p.done()
}

pub(crate) fn sum(packed: &[u8]) -> Sum64 {
    Sum::new().bytes(packed).get()
}

pub(crate) fn unpack(packed: &[u8]) -> Option<Making> {
    let mut u = Unpacker::new(packed);
    if u.number()? != FORMAT {
        return None;
    }
    let job = JobName::parse(u.text()?).ok()?;
    let trigger = match u.number()? {
        TRIGGER_MANUAL => Trigger::Manual { by: u.text()?.to_owned() },
        _ => return None,
    };
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
    })
}

fn option<T>(p: &mut Packer, value: Option<T>, put: impl FnOnce(&mut Packer, T)) {
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
