//! What a run by hand would come to now: done in a world of its own, by the very rules, and thrown away.

use super::places::{self, Gate};
use super::{NeedWhy, Reason, World};
use crate::effect::Effects;
use crate::run::Hold;
use crate::wish::{Granted, Wish};
use crate::{JobName, Outcome, Refusal, RunState, Time};
use alloc::string::String;
use alloc::vec::Vec;

/// What it would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rehearsal {
    /// All that would be in its way, the nearest first; nothing: it would start at once.
    Runs(Vec<Reason>),
    /// It would be on record, and never start.
    Ends(Outcome),
}

impl World {
    /// Refused as the wish itself would be.
    pub fn rehearse(&self, now: Time, job: &JobName, by: String) -> Result<Rehearsal, Refusal> {
        let mut world = self.clone();
        let mut fx = Effects::default();
        let Granted::Run(run) = world.wish(now, Wish::RunJob { job: job.clone(), by }, &mut fx)? else {
            return Ok(Rehearsal::Runs(Vec::new()));
        };
        let no = run.no;
        let Some(run) = world.live.get(&no) else {
            let outcome = fx.changed.get(&no).and_then(|run| run.outcome()).or(run.outcome()).cloned();
            return Ok(outcome.map_or_else(|| Rehearsal::Runs(Vec::new()), Rehearsal::Ends));
        };
        let mut reasons = world.why(no);
        // What comes after the first is in its way as well: it is asked of a run that has come as far as its gates.
        if matches!(run.state, RunState::Held { .. }) {
            let is_needs = matches!(run.state, RunState::Held { on: Hold::Needs(_) });
            world.change(now, no, &mut fx, |run| run.state = RunState::Queued);
            let further = world.why(no);
            reasons.extend(further.into_iter().filter(|reason| !(is_needs && matches!(reason, Reason::Needs { .. }))));
        }
        reasons.retain(|reason| !matches!(reason, Reason::Nothing | Reason::Making | Reason::Starting));
        for reason in &mut reasons {
            if let Reason::Needs { because, .. } = reason
                && matches!(because, NeedWhy::NotYet(id) if !self.live.contains_key(&id.no))
            {
                *because = NeedWhy::GoesFirst;
            }
        }
        Ok(Rehearsal::Runs(reasons))
    }

    /// One that cannot go yet is never the first of its line; where a place is free and nobody is before it, that gate is
    /// not what it waits for.
    pub(super) fn is_open(&self, run: &crate::Run, gate: &Gate) -> bool {
        let Some(house) = self.places.gates.get(gate) else { return true };
        let before = house.line.range(..places::place_in_line(run)).next().is_some();
        !before && house.going.len() < self.width(run, gate)
    }
}
