//! People, schedules and files: what they want of the world.

use super::host::{Host, SECOND};
use super::jobs::name;
use crate::job::{Need, Queue};
use crate::wish::{JobPlan, NewRun, Plan, QueuePlan, QueueWish, Serial, Wish};
use crate::{JobName, RunNo, Trigger};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

impl Host {
    pub(super) fn client(&mut self) -> Result<(), String> {
        let job = name(self.dice.below(self.count));
        let by = "uid:0".to_string();
        let live: Vec<RunNo> = self.world.live().map(|run| run.no).collect();
        let wish = match self.dice.below(28) {
            0..=4 => Wish::RunJob { job, by },
            5 | 6 => Wish::Changed { job, path: "another".into() },
            7 | 8 => Wish::Up { job, by },
            9 => Wish::Down { job },
            10 => Wish::Restart { job, by, rolling: None },
            11 => Wish::Scale { job, instances: self.dice.below(4) as u32, by },
            12 => Wish::Disable { job },
            13 | 14 => Wish::Enable { job, by },
            15 | 16 => Wish::Release { latch: format!("l{}", self.dice.below(2)) },
            17 => Wish::Queue { name: "q".into(), how: self.some_queue_wish() },
            18 => Wish::Changed { job, path: "file".into() },
            19 => self.exec(),
            20..=22 => Wish::Plan(self.some_plan(&job)),
            23 | 24 => {
                let until =
                    self.now().plus(self.dice.below(4 * 3600) as i64 * self.pace as i64 * SECOND - 600 * SECOND);
                Wish::Pause { job, until }
            }
            25 => self.other_calendars(),
            _ => {
                let Some(run) = self.dice.pick(&live).copied() else { return Ok(()) };
                return self.stop(run);
            }
        };
        self.wants(wish)
    }

    fn some_queue_wish(&mut self) -> QueueWish {
        match self.dice.below(4) {
            0 => QueueWish::Pause,
            1 | 2 => QueueWish::Resume,
            _ => QueueWish::Slots(BTreeMap::from([
                ("slots".to_string(), self.dice.between(1, 4) as u32),
                ("gpu".to_string(), self.dice.between(1, 2) as u32),
            ])),
        }
    }

    fn exec(&mut self) -> Wish {
        let now = self.now();
        let no = self.world.mint(now);
        let new = NewRun {
            job: JobName::parse("exec").expect("a name"),
            trigger: Trigger::Manual { by: "uid:0".into() },
            command: Vec::new(),
            directory: String::new(),
            timeout_ms: None,
            tags: Vec::new(),
            tty: false,
            latch: self.dice.one_in(4).then(|| "l0".into()),
            serial: self.dice.one_in(2).then(|| Serial { group: "g".into(), max: 2 }),
            no_overlap: self.dice.one_in(6),
        };
        self.spec_of_exec(no);
        Wish::Submit { no, new: Box::new(new) }
    }

    /// Most change one job a little; some change several, or what cannot be.
    fn some_plan(&mut self, job: &JobName) -> Plan {
        let mut plan = Plan::default();
        let n: u64 = job.as_str()[1..].parse().expect("a number");
        self.rev += 1;
        let rev = self.rev;
        let known = self.world.defined(job).map(|definition| (*definition.job).clone());
        match (self.dice.below(12), known) {
            (0, _) => plan.jobs.push(JobPlan::Remove(job.clone())),
            (1, Some(mut known)) => {
                // A circle, unless nothing needs it.
                known.life.needs.push(Need { job: name(self.count - 1), restart: false });
                plan.jobs.push(JobPlan::Put { job: Arc::new(known), rev });
            }
            (2, Some(mut known)) => {
                known.gates.queue = Some("q".into());
                known.gates.need.insert("gpu".into(), 100);
                plan.jobs.push(JobPlan::Put { job: Arc::new(known), rev });
            }
            (3, Some(mut known)) => {
                known.life.instances = self.dice.between(1, 4) as u32;
                known.tags.push("new".into());
                plan.jobs.push(JobPlan::Put { job: Arc::new(known), rev });
            }
            (4..=6, Some(mut known)) => {
                known.around.dir = Some(format!("/{rev}"));
                plan.jobs.push(JobPlan::Put { job: Arc::new(known), rev });
            }
            (7, Some(mut known)) => {
                known.time = crate::job::Timing::default();
                plan.jobs.push(JobPlan::Put { job: Arc::new(known), rev });
            }
            (8, Some(mut known)) => {
                known.time = self.atlas.some_timing(&mut self.dice);
                plan.jobs.push(JobPlan::Put { job: Arc::new(known), rev });
            }
            (9, Some(mut known)) => {
                // As another job has it, or as it had it before.
                let others: Vec<_> = self.ledger.definitions.values().map(|job| job.time.clone()).collect();
                known.time = self.dice.pick(&others).cloned().unwrap_or_default();
                plan.jobs.push(JobPlan::Put { job: Arc::new(known), rev });
            }
            (_, _) => {
                let job = self.any_job(n);
                plan.jobs.push(JobPlan::Put { job: Arc::new(job), rev });
                if self.dice.one_in(4) {
                    let slots = BTreeMap::from([("slots".to_string(), 3), ("gpu".to_string(), 2)]);
                    plan.queues.push(QueuePlan::Put(Queue { name: "q".into(), slots, paused: false }));
                }
            }
        }
        plan
    }
}
