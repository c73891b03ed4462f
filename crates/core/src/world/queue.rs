//! Queues: what they have, what a run takes of it, and the wishes about them.

use super::places::Gate;
use super::{Mutant, World};
use crate::effect::Effects;
use crate::job::{Job, Queue};
use crate::wish::{Granted, QueueWish};
use crate::{JobName, Refusal};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};

/// The resource that every run takes one of, unless it says otherwise.
pub(super) const SLOTS: &str = "slots";

/// What a run with these needs takes of a resource.
pub(super) fn takes(need: &BTreeMap<String, u32>, resource: &str) -> u32 {
    need.get(resource).copied().unwrap_or(u32::from(resource == SLOTS))
}

impl World {
    /// A queue that nobody has defined has one slot.
    pub(super) fn slots(&self, name: &str) -> BTreeMap<String, u32> {
        match self.queues.get(name) {
            Some(queue) => queue.slots.clone(),
            None => BTreeMap::from([(SLOTS.to_string(), 1)]),
        }
    }

    pub(super) fn is_paused(&self, name: &str) -> bool {
        self.queues.get(name).is_some_and(|queue| queue.paused) && !self.breaks(Mutant::IgnorePause)
    }

    pub(super) fn turn_queue(&mut self, name: &str, how: QueueWish, fx: &mut Effects) -> Result<Granted, Refusal> {
        let slots = self.slots(name);
        let mut queue =
            self.queues.get(name).cloned().unwrap_or_else(|| Queue { name: name.to_string(), slots, paused: false });
        match how {
            QueueWish::Pause => queue.paused = true,
            QueueWish::Resume => queue.paused = false,
            QueueWish::Slots(slots) => {
                let jobs = self.jobs.keys().filter_map(|name| self.job(name));
                for job in jobs.filter(|job| job.gates.queue.as_deref() == Some(name)) {
                    fits(&job.name, name, &job.gates.need, &slots)?;
                }
                queue.slots = slots;
            }
        }
        fx.promises = true;
        self.queues.insert(name.to_string(), queue.clone());
        fx.queues.insert(name.to_string(), Some(queue));
        self.look_gates.insert(Gate::Queue(name.to_string()));
        // Runs of it may have been passed over at other gates.
        self.look_gates.extend(self.places.gates.keys().cloned());
        Ok(Granted::Done)
    }
}

/// Whether a run with these needs can ever go through a queue with these slots.
pub(super) fn fits(
    job: &JobName,
    queue: &str,
    need: &BTreeMap<String, u32>,
    slots: &BTreeMap<String, u32>,
) -> Result<(), Refusal> {
    let too_large = |resource: &str, need: u32, slots: u32| Refusal::TooLarge {
        job: job.clone(),
        queue: queue.to_string(),
        resource: resource.to_string(),
        need,
        slots,
    };
    for (resource, need) in need {
        // A queue that counts no slots lets any number of runs through.
        match slots.get(resource) {
            None if resource == SLOTS => {}
            has => {
                let has = has.copied().unwrap_or(0);
                if *need > has {
                    return Err(too_large(resource, *need, has));
                }
            }
        }
    }
    match slots.get(SLOTS) {
        Some(0) if takes(need, SLOTS) > 0 => Err(too_large(SLOTS, takes(need, SLOTS), 0)),
        Some(_) | None => Ok(()),
    }
}

/// As `fits`, for a whole definition.
pub(super) fn job_fits(job: &Job, slots: impl Fn(&str) -> BTreeMap<String, u32>) -> Result<(), Refusal> {
    match &job.gates.queue {
        Some(queue) => fits(&job.name, queue, &job.gates.need, &slots(queue)),
        None => Ok(()),
    }
}
