//! Events: what happened, numbered without gaps, so that a listener who comes back misses nothing.

use crate::pack::{Packer, Unpacker};
use crate::sum::Sum;
use crate::{OutcomeKind, Stage, outcome};
use kin_core::{Exit, Outcome, RunId, RunNo, Time};

/// An event before it has its number.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub at: Time,
    /// `run.state`, `server.started`, …
    pub kind: String,
    pub run: Option<RunId>,
    pub change: Option<Change>,
    /// Words for people, where the kind has any.
    pub message: Option<String>,
}

/// A run's change of state.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `None`: the run is new.
    pub from: Option<Stage>,
    pub to: Stage,
    /// When `to` is `Ended`.
    pub outcome: Option<Outcome>,
    pub exit: Option<Exit>,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub seq: u64,
    pub at: Time,
    pub kind: String,
    pub run: Option<RunId>,
    pub change: Option<Change>,
    pub message: Option<String>,
}

const FORMAT: u64 = 1;

/// The body of an event's row. `job` is the number of the run's job.
pub(crate) fn pack(seq: u64, event: &NewEvent, job: Option<i64>) -> Vec<u8> {
    let mut p = Packer::new();
    p.number(FORMAT);
    p.signed(event.at.0);
    p.text(&event.kind);
    p.number(job.map_or(0, i64::cast_unsigned));
    p.number(u64::from(event.change.is_some()));
    if let Some(change) = &event.change {
        p.number(change.from.map_or(0, |from| 1 + u64::from(from.number())));
        p.number(u64::from(change.to.number()));
        p.number(change.outcome.as_ref().map_or(0, |outcome| 1 + OutcomeKind::of(outcome) as u64));
        if let Some(outcome) = &change.outcome {
            outcome::pack(&mut p, outcome);
        }
        p.number(u64::from(change.exit.is_some()));
        if let Some(exit) = change.exit {
            outcome::pack_exit(&mut p, exit);
        }
    }
    p.number(u64::from(event.message.is_some()));
    if let Some(message) = &event.message {
        p.text(message);
    }
    p.sealed(seed(seq, event.run.as_ref().map(|run| run.no)))
}

fn seed(seq: u64, run: Option<RunNo>) -> Sum {
    Sum::new().number(seq).number(run.map_or(0, RunNo::get))
}

/// An event whose job is still a number.
#[derive(Debug)]
pub(crate) struct Unnamed {
    pub(crate) event: Event,
    pub(crate) run: Option<(RunNo, i64)>,
}

pub(crate) fn unpack(seq: u64, run: Option<RunNo>, body: &[u8]) -> Option<Unnamed> {
    let mut u = Unpacker::unseal(body, seed(seq, run))?;
    if u.number()? != FORMAT {
        return None;
    }
    let at = Time(u.signed()?);
    let kind = u.text()?.to_owned();
    let job = u.number()?.cast_signed();
    let change = if u.number()? == 0 { None } else { Some(unpack_change(&mut u)?) };
    let message = if u.number()? == 0 { None } else { Some(u.text()?.to_owned()) };
    let event = Event { seq, at, kind, run: None, change, message };
    Some(Unnamed { event, run: run.map(|no| (no, job)) })
}

fn unpack_change(u: &mut Unpacker<'_>) -> Option<Change> {
    let from = match u.number()? {
        0 => None,
        n => Some(Stage::from_number(n - 1)?),
    };
    let to = Stage::from_number(u.number()?)?;
    let outcome = match u.small::<usize>()? {
        0 => None,
        n => Some(outcome::unpack(u, *OutcomeKind::ALL.get(n - 1)?)?),
    };
    let exit = if u.number()? == 0 { None } else { Some(outcome::unpack_exit(u)?) };
    Some(Change { from, to, outcome, exit })
}
