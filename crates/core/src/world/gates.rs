//! Gates: groups, mutexes, turns and queues. Who may begin next.
//!
//! A run begins when all its gates let it through at once; it never holds one while it waits for another, so runs cannot
//! block each other in a circle. Nobody starves:
//!
//! - In each line the greater priority goes first, then the older run.
//! - A mutex, a turn or a group is kept for the first run of its line that could go, even while that run still waits for
//!   something else. So whoever is first stays first.
//! - A queue is different, because its runs need different amounts and other things besides. A run that waits only for its
//!   queue is *hungry*, and nobody behind a hungry run takes anything of that queue: however large it is, the queue drains
//!   until it fits. A run that waits for something else as well is passed over by those behind it; once that something is
//!   free, which by the rule above comes to be, it is hungry. So whatever happens at a mutex or a turn is looked at in the
//!   queues of those who stand there, too.
//! - A run in a paused queue, or one whose needs are not ready, keeps nothing: it may stand there for days.

use super::places::{Gate, Gatehouse, gates, place_in_line};
use super::{Mutant, World};
use crate::effect::Effects;
use crate::{Run, RunNo, RunState, Time};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// What one more run of a queue would find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) resource: String,
    pub(super) need: u32,
    pub(super) free: u32,
    pub(super) slots: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// Nothing is in its way.
    Free,
    /// Only its queue is too full.
    Hungry,
    Blocked,
}

impl World {
    /// That gate may have opened for somebody.
    pub(super) fn admit(&mut self, now: Time, gate: &Gate, fx: &mut Effects) {
        if self.is_closing() {
            return;
        }
        let line: Vec<RunNo> = match self.places.gates.get(gate) {
            Some(house) => house.line.iter().map(|(_, no)| *no).collect(),
            None => return,
        };
        self.look_at_queues_of(gate, &line);
        for no in line {
            let Some(run) = self.live.get(&no) else { continue };
            match self.stands(run) {
                Stands::Free => self.begin(now, no, fx),
                Stands::Hungry if matches!(gate, Gate::Queue(_)) && !self.breaks(Mutant::Overtake) => break,
                // It is the one for whom the gate is kept.
                Stands::Hungry | Stands::Blocked if !matches!(gate, Gate::Queue(_)) && self.could_go(run) => break,
                Stands::Hungry | Stands::Blocked => {}
            }
        }
    }

    /// Who was hungry and is kept by this gate now is passed over by those behind it in its queue: some of them may be free.
    fn look_at_queues_of(&mut self, gate: &Gate, line: &[RunNo]) {
        let any_queue = self.places.gates.range(Gate::Queue(String::new())..).next().is_some();
        if matches!(gate, Gate::Queue(_)) || !any_queue {
            return;
        }
        let queues = line.iter().filter_map(|no| self.live.get(no)?.terms.queue.as_ref());
        let queues: BTreeSet<&String> = queues.collect();
        self.look_gates.extend(queues.into_iter().cloned().map(Gate::Queue));
    }

    fn stands(&self, run: &Run) -> Stands {
        if run.state != RunState::Queued || !self.could_go(run) || !self.passes_all_but_its_queue(run) {
            return Stands::Blocked;
        }
        if self.shortage(run).is_some() {
            return Stands::Hungry;
        }
        if self.hungry_before(run).is_some() && !self.breaks(Mutant::Overtake) {
            return Stands::Blocked;
        }
        Stands::Free
    }

    /// Neither paused nor kept by what it needs.
    pub(super) fn could_go(&self, run: &Run) -> bool {
        let paused = run.terms.queue.as_ref().is_some_and(|queue| self.is_paused(queue));
        !paused && self.missing(run).is_empty()
    }

    pub(super) fn passes_all_but_its_queue(&self, run: &Run) -> bool {
        gates(run).iter().filter(|gate| !matches!(gate, Gate::Queue(_))).all(|gate| self.passes(run, gate))
    }

    /// A gate other than a queue.
    pub(super) fn passes(&self, run: &Run, gate: &Gate) -> bool {
        let Some(house) = self.places.gates.get(gate) else { return true };
        house.going.len() < self.width(run, gate) && self.first_in_line(house) == Some(run.no)
    }

    /// How many runs fit through at once.
    pub(super) fn width(&self, run: &Run, gate: &Gate) -> usize {
        let width = match gate {
            Gate::Group(_) => run.group_max as usize,
            Gate::Mutex(_) => 1,
            Gate::Turn(job) => match self.job(job) {
                Some(_) => self.instances(job).max(1) as usize,
                None => run.terms.turn as usize,
            },
            Gate::Queue(_) => usize::MAX,
        };
        width.saturating_add(usize::from(self.breaks(Mutant::OneTooMany)))
    }

    pub(super) fn first_in_line(&self, house: &Gatehouse) -> Option<RunNo> {
        let mut line = house.line.iter().map(|(_, no)| *no);
        line.find(|no| self.live.get(no).is_some_and(|run| self.could_go(run)))
    }

    /// Who is before this run in its queue and waits for nothing but the queue.
    pub(super) fn hungry_before(&self, run: &Run) -> Option<&Run> {
        let house = self.places.gates.get(&Gate::Queue(run.terms.queue.clone()?))?;
        let before = house.line.range(..place_in_line(run)).filter_map(|(_, no)| self.live.get(no));
        before.into_iter().find(|other| self.could_go(other) && self.passes_all_but_its_queue(other))
    }

    /// What its queue has too little of, if anything.
    pub(super) fn shortage(&self, run: &Run) -> Option<Shortage> {
        let name = run.terms.queue.as_ref()?;
        let going = self.places.gates.get(&Gate::Queue(name.clone())).map(|house| &house.going);
        let users: Vec<&Run> = going.into_iter().flatten().filter_map(|no| self.live.get(no)).collect();
        let slots = self.slots(name);
        slots.iter().find_map(|(resource, slots)| {
            let need = super::queue::takes(&run.terms.need, resource);
            let used = users
                .iter()
                .fold(0u32, |used, user| used.saturating_add(super::queue::takes(&user.terms.need, resource)));
            let slots = slots.saturating_add(u32::from(self.breaks(Mutant::OneTooMany)));
            let free = slots.saturating_sub(used);
            (need > free).then(|| Shortage { resource: resource.clone(), need, free, slots })
        })
    }
}
