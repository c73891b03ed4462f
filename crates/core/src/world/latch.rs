//! Latches: each run is released once.

use super::{Mutant, World};
use crate::effect::{Effects, Event, What};
use crate::wish::Granted;
use crate::{Refusal, RunNo, Time};
use alloc::vec::Vec;

impl World {
    pub(super) fn release(&mut self, now: Time, latch: &str, fx: &mut Effects) -> Result<Granted, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        let mut held: Vec<RunNo> = self.places.latches.get(latch).into_iter().flatten().copied().collect();
        if self.breaks(Mutant::ReleaseAll) {
            held = self.places.latches.values().flatten().copied().collect();
        }
        if self.breaks(Mutant::ReleaseSome) {
            held.pop();
        }
        if held.is_empty() {
            return Ok(Granted::Released(Vec::new()));
        }
        fx.promises = true;
        let what = What::Released { latch: latch.into(), runs: held.len() };
        fx.events.push(Event { at: now, what });
        let mut ids = Vec::with_capacity(held.len());
        for no in held {
            let Some(run) = self.live.get(&no) else { continue };
            ids.push(run.id());
            self.let_go(now, no, fx);
        }
        Ok(Granted::Released(ids))
    }
}
