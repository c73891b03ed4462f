//! Definitions that come, change and go: all of a plan, or nothing of it.

use super::graph::circle;
use super::make::Birth;
use super::needs::is_ready;
use super::post::Post;
use super::queue::{self, SLOTS};
use super::service::may_have;
use super::{Mutant, World};
use crate::effect::{Effects, Event, What};
use crate::job::{Job, Limits, Queue};
use crate::run::{StopWhy, Trigger};
use crate::wish::{Granted, JobPlan, Plan, QueuePlan};
use crate::{JobName, Refusal, RunNo, RunState, Standing, Time};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What follows from a difference between two definitions of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Follows {
    /// What runs goes on; the next run is by the new words.
    Stored,
    /// It holds from now on, and nothing is restarted.
    AtOnce,
    /// The runs of a service are replaced.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: &'static str,
    pub follows: Follows,
}

type Same = fn(&Job, &Job) -> bool;

/// Every part of a definition, by the key that people write.
const KEYS: [(&str, Follows, Same); 58] = {
    use Follows::{AtOnce, Restart, Stored};
    [
        ("command", Restart, |a, b| a.program == b.program),
        ("dir", Restart, |a, b| a.around.dir == b.around.dir),
        ("env", Restart, |a, b| a.around.env == b.around.env),
        ("env_file", Restart, |a, b| a.around.env_files == b.around.env_files),
        ("env_pass", Restart, |a, b| a.around.env_pass == b.around.env_pass),
        ("credentials", Restart, |a, b| a.around.credentials == b.around.credentials),
        ("user", Restart, |a, b| a.around.user == b.around.user),
        ("group", Restart, |a, b| a.around.group == b.around.group),
        ("umask", Restart, |a, b| a.around.umask == b.around.umask),
        ("nice", Restart, |a, b| a.around.nice == b.around.nice),
        ("no_new_privileges", Restart, |a, b| a.around.no_new_privileges == b.around.no_new_privileges),
        ("limits", Restart, |a, b| {
            let kept = |job: &Job| Limits { best_effort: false, ..job.around.limits.clone() };
            kept(a) == kept(b)
        }),
        ("limits.best_effort", Stored, |a, b| a.around.limits.best_effort == b.around.limits.best_effort),
        ("port", Restart, |a, b| a.around.port == b.around.port),
        ("sockets", Restart, |a, b| a.around.sockets == b.around.sockets),
        ("tty", Restart, |a, b| a.around.tty == b.around.tty),
        // What the keeper does with a run stands in its spec, and no process notices: it goes on as it began.
        ("stop", Stored, |a, b| a.life.stop == b.life.stop),
        ("timeout", Stored, |a, b| a.life.timeout == b.life.timeout),
        ("linger", Stored, |a, b| a.life.linger == b.life.linger),
        ("ready", Stored, |a, b| a.life.ready == b.life.ready),
        ("alive", AtOnce, |a, b| a.life.alive == b.life.alive),
        ("keep.run_bytes", Stored, |a, b| a.keep.run_bytes == b.keep.run_bytes),
        ("keep.on_full", Stored, |a, b| a.keep.on_full == b.keep.on_full),
        ("success", Stored, |a, b| a.life.success == b.life.success),
        ("queue", Stored, |a, b| a.gates.queue == b.gates.queue),
        ("mutex", Stored, |a, b| a.gates.mutex == b.gates.mutex),
        ("need", Stored, |a, b| a.gates.need == b.gates.need),
        ("priority", Stored, |a, b| a.gates.priority == b.gates.priority),
        ("latch", Stored, |a, b| a.gates.latch == b.gates.latch),
        ("description", AtOnce, |a, b| a.description == b.description),
        ("tags", AtOnce, |a, b| a.tags == b.tags),
        ("disabled", AtOnce, |a, b| a.disabled == b.disabled),
        ("restart", AtOnce, |a, b| a.life.restart == b.life.restart),
        ("instances", AtOnce, |a, b| a.life.instances == b.life.instances),
        ("tries", AtOnce, |a, b| a.life.again.tries == b.life.again.tries),
        ("delay", AtOnce, |a, b| a.life.again.delay == b.life.again.delay),
        ("backoff", AtOnce, |a, b| a.life.again.backoff == b.life.again.backoff),
        ("max_delay", AtOnce, |a, b| a.life.again.max_delay == b.life.again.max_delay),
        ("jitter_percent", AtOnce, |a, b| a.life.again.jitter_percent == b.life.again.jitter_percent),
        ("healthy_after", Stored, |a, b| a.life.again.healthy_after == b.life.again.healthy_after),
        ("again_on", AtOnce, |a, b| a.life.again.on == b.life.again.on),
        ("needs", AtOnce, |a, b| a.life.needs == b.life.needs),
        ("rolling", AtOnce, |a, b| a.life.rolling == b.life.rolling),
        ("overlap", AtOnce, |a, b| a.gates.overlap == b.gates.overlap),
        ("next", AtOnce, |a, b| a.chain.next == b.chain.next),
        ("error", AtOnce, |a, b| a.chain.error == b.chain.error),
        ("after", AtOnce, |a, b| a.chain.after == b.chain.after),
        ("schedule", AtOnce, |a, b| a.time.schedules == b.time.schedules),
        ("timezone", AtOnce, |a, b| a.time.timezone == b.time.timezone),
        ("dst", AtOnce, |a, b| a.time.dst == b.time.dst),
        ("catch_up", AtOnce, |a, b| {
            let of = |job: &Job| {
                (job.time.catch_up, job.time.catch_up_window, job.time.catch_up_max, job.time.catch_up_delay)
            };
            of(a) == of(b)
        }),
        ("jitter", AtOnce, |a, b| (a.time.jitter, a.time.jitter_mode) == (b.time.jitter, b.time.jitter_mode)),
        ("calendars", AtOnce, |a, b| a.time.calendars == b.time.calendars),
        ("shift", AtOnce, |a, b| a.time.shift == b.time.shift),
        ("keep.age", AtOnce, |a, b| a.keep.age == b.keep.age),
        ("keep.bytes", AtOnce, |a, b| a.keep.bytes == b.keep.bytes),
        ("keep.runs", AtOnce, |a, b| a.keep.runs == b.keep.runs),
        ("watch", AtOnce, |a, b| a.watch == b.watch),
    ]
};

/// In what two definitions of one job differ, and what follows from each.
pub fn differences(before: &Job, after: &Job) -> Vec<Difference> {
    let differ = KEYS.iter().filter(|(_, _, same)| !same(before, after));
    differ.map(|(key, follows, _)| Difference { key, follows: *follows }).collect()
}

/// Whether a run of a service by the one must give way to a run by the other.
pub(super) fn must_restart(before: &Job, after: &Job) -> bool {
    KEYS.iter().any(|(_, follows, same)| *follows == Follows::Restart && !same(before, after))
}

impl World {
    pub(super) fn plan(&mut self, now: Time, plan: Plan, fx: &mut Effects) -> Result<Granted, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        self.check_plan(&plan)?;
        fx.promises = true;
        // What was due by now was due by the schedules that held until now.
        if !self.breaks(Mutant::DropAtEdit) {
            self.decide_ticks(now, fx);
        }
        for queue in plan.queues {
            self.plan_queue(queue, fx);
        }
        let mut pulled = Vec::new();
        for job in plan.jobs {
            match job {
                JobPlan::Put { job, rev } => {
                    let name = job.name.clone();
                    if self.put_job(now, &job, rev, fx) {
                        pulled.push(name);
                    }
                }
                JobPlan::Remove(name) => self.remove_job(now, &name, fx),
            }
        }
        self.set_times(now, &pulled, plan.timed, fx);
        self.draw_graph();
        let mut came = Vec::new();
        for name in pulled {
            self.make_anew(now, &name, fx);
            self.fill(now, &name, &Birth::first(Trigger::Manual { by: "definition".into() }), fx);
            came.push(name);
        }
        // What it needs may be another, and what others need of it may have to be done anew.
        for name in came {
            self.ask_again_for_needs(now, &name, fx);
            self.dependents_ask_again(now, &name, fx);
        }
        // Nearly all of it may stand in another light now.
        self.look_jobs.extend(self.jobs.keys().cloned());
        self.look_gates.extend(self.places.gates.keys().cloned());
        Ok(Granted::Done)
    }

    /// Whether such a plan would be refused, and why. Nothing is changed.
    pub fn check_plan(&self, plan: &Plan) -> Result<(), Refusal> {
        let mut jobs: BTreeMap<&JobName, &Arc<Job>> =
            self.jobs.keys().filter_map(|name| Some((name, self.job(name)?))).collect();
        for change in &plan.jobs {
            match change {
                JobPlan::Put { job, rev } => {
                    let known = self.jobs.get(&job.name);
                    let newest = known.and_then(|post| post.definitions.keys().last().copied()).unwrap_or(0);
                    let newest = newest.max(known.and_then(|post| post.standing.failed).unwrap_or(0));
                    if self.job(&job.name) != Some(job) && *rev <= newest {
                        return Err(Refusal::OldRevision { job: job.name.clone(), rev: *rev, known: newest });
                    }
                    jobs.insert(&job.name, job);
                }
                JobPlan::Remove(name) => {
                    jobs.remove(name).ok_or_else(|| Refusal::UnknownJob { job: name.clone() })?;
                }
            }
        }
        let mut queues: Queues<'_> = self.queues.iter().map(|(name, queue)| (name.as_str(), &queue.slots)).collect();
        for change in &plan.queues {
            match change {
                QueuePlan::Put(queue) => queues.insert(&queue.name, &queue.slots),
                QueuePlan::Remove(name) => queues.remove(name.as_str()),
            };
        }
        for job in jobs.values() {
            check_names(job, &jobs)?;
            queue::job_fits(job, |name| slots_of(&queues, name))?;
        }
        match circle(&jobs) {
            Some(jobs) => Err(Refusal::Circle { jobs }),
            None => Ok(()),
        }
    }

    /// Whether an earlier definition of a job can be had beside all that is defined now.
    pub(super) fn still_fits(&self, job: &Arc<Job>) -> Result<(), Refusal> {
        let mut jobs: BTreeMap<&JobName, &Arc<Job>> =
            self.jobs.keys().filter_map(|name| Some((name, self.job(name)?))).collect();
        jobs.insert(&job.name, job);
        let queues: Queues<'_> = self.queues.iter().map(|(name, queue)| (name.as_str(), &queue.slots)).collect();
        check_names(job, &jobs)?;
        queue::job_fits(job, |name| slots_of(&queues, name))?;
        match circle(&jobs) {
            Some(jobs) => Err(Refusal::Circle { jobs }),
            None => Ok(()),
        }
    }

    fn plan_queue(&mut self, change: QueuePlan, fx: &mut Effects) {
        match change {
            QueuePlan::Put(queue) => {
                // A pause by hand outlives a new definition.
                let paused = queue.paused || self.queues.get(&queue.name).is_some_and(|before| before.paused);
                let queue = Queue { paused, ..queue };
                if self.queues.get(&queue.name) != Some(&queue) {
                    fx.queues.insert(queue.name.clone(), Some(queue.clone()));
                    self.queues.insert(queue.name.clone(), queue);
                }
            }
            QueuePlan::Remove(name) => {
                if self.queues.remove(&name).is_some() {
                    fx.queues.insert(name, None);
                }
            }
        }
    }

    /// Whether anything changed.
    fn put_job(&mut self, now: Time, job: &Arc<Job>, rev: u64, fx: &mut Effects) -> bool {
        let name = job.name.clone();
        let before = self.job(&name).cloned();
        if before.as_ref() == Some(job) {
            return false;
        }
        let from = if before.is_some() { self.jobs.get(&name).map_or(0, |post| post.standing.rev) } else { 0 };
        fx.events.push(Event { at: now, what: What::Defined { job: name.clone(), from, to: rev } });
        fx.defined.insert((name.clone(), rev), job.clone());
        let boot = self.boot.clone();
        let up = job.life.is_service();
        // What was to be run is no slot of a service, and the other way round.
        let other_kind = before.as_ref().is_some_and(|before| before.life.is_service() != up);
        if other_kind && up {
            self.cancel_pending(now, &name, fx);
        }
        let post = self.jobs.entry(name.clone()).or_insert_with(|| Post::new(Standing::new(name.clone(), 0, up, boot)));
        post.definitions.insert(rev, job.clone());
        let restarts = before.as_ref().is_some_and(|before| must_restart(before, job));
        let serves = up && !other_kind && restarts && job.life.rolling && self.runs_of(&name).any(is_ready);
        let was_service = before.as_ref().is_some_and(|before| before.life.is_service());
        // What was said by hand holds until the definition says something new about it, or cannot have it.
        let other_number = before.as_ref().is_none_or(|before| before.life.instances != job.life.instances);
        let other_switch = before.as_ref().is_none_or(|before| before.disabled != job.disabled);
        let other_rounds = before.as_ref().is_none_or(|before| before.chain.after != job.chain.after);
        self.alter(&name, fx, |standing| {
            // Where a roll that is not over goes back to is what served before it.
            let former = standing.former.or(Some(standing.rev)).filter(|former| serves && *former != 0);
            standing.former = former;
            standing.rev = rev;
            standing.failed = None;
            standing.scale = standing.scale.filter(|by_hand| !other_number && may_have(job, *by_hand).is_ok());
            standing.disabled = standing.disabled.filter(|_| !other_switch);
            let instances = standing.scale.unwrap_or(job.life.instances);
            standing.rest.retain(|slot, _| *slot < instances);
            if standing.removed || before.is_none() || was_service != up {
                standing.up = up;
                standing.removed = false;
                standing.rest.clear();
                standing.renewal = None;
            }
            if restarts || before.is_none() {
                standing.done = None;
                standing.rest.clear();
            }
            if other_rounds {
                standing.round.clear();
                standing.rung = false;
            }
        });
        if other_kind && !up {
            self.cancel_pending(now, &name, fx);
        }
        if up && restarts {
            self.try_the_new_at_once(now, &name, fx);
        }
        true
    }

    fn cancel_pending(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let pending: Vec<RunNo> = self.runs_of(name).filter(|run| run.state.is_pending()).map(|run| run.no).collect();
        for no in pending {
            self.stop_for(now, no, StopWhy::Planned, fx);
        }
    }

    /// What waits after a failure of the old need not.
    fn try_the_new_at_once(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let is_waiting = |state: &RunState| matches!(state, RunState::Waiting { .. });
        let waiting: Vec<RunNo> = self.runs_of(name).filter(|run| is_waiting(&run.state)).map(|run| run.no).collect();
        for no in waiting {
            self.stop_for(now, no, StopWhy::Planned, fx);
        }
    }

    fn remove_job(&mut self, now: Time, name: &JobName, fx: &mut Effects) {
        let Some(post) = self.jobs.get(name) else { return };
        let from = post.standing.rev;
        fx.events.push(Event { at: now, what: What::Defined { job: name.clone(), from, to: 0 } });
        self.alter(name, fx, |standing| {
            standing.removed = true;
            standing.up = false;
            standing.former = None;
            standing.renewal = None;
            standing.goes_by_no_schedule();
        });
    }
}

/// Each with what it has.
type Queues<'a> = BTreeMap<&'a str, &'a BTreeMap<String, u32>>;

fn slots_of(queues: &Queues<'_>, name: &str) -> BTreeMap<String, u32> {
    queues.get(name).map_or_else(|| BTreeMap::from([(SLOTS.to_string(), 1)]), |slots| (*slots).clone())
}

fn check_names(job: &Job, jobs: &BTreeMap<&JobName, &Arc<Job>>) -> Result<(), Refusal> {
    let named = [
        ("needs", job.life.needs.iter().map(|need| &need.job).collect::<Vec<_>>()),
        ("next", job.chain.next.iter().collect()),
        ("error", job.chain.error.iter().collect()),
        ("after", job.chain.after.iter().flat_map(|after| &after.jobs).collect()),
    ];
    for (key, names) in named {
        if let Some(missing) = names.into_iter().find(|name| !jobs.contains_key(name)) {
            return Err(Refusal::Missing { job: job.name.clone(), named: missing.clone(), key });
        }
    }
    Ok(())
}
