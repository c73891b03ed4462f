//! Why a run stands where it stands, and why a job has no run: as data, for whoever tells it in words.

use super::places::{Gate, gates, place_in_line};
use super::{World, queue};
use crate::run::{Hold, StopWhy};
use crate::{JobName, Outcome, Rest, Run, RunId, RunNo, RunState, Time, Untimed};
use alloc::string::String;
use alloc::vec::Vec;

/// One thing that is in the way of a run, or of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Until somebody releases it.
    Latch {
        latch: String,
    },
    /// What it needs is not ready.
    Needs {
        job: JobName,
        because: NeedWhy,
    },
    /// Until then, after the end of the run it follows. `tries`: how many there are in all.
    Backoff {
        until: Time,
        attempt: u32,
        tries: Option<u32>,
        follows: Option<RunNo>,
    },
    /// Until then, after its tick: for its job's jitter, or because what is caught up waits for a moment.
    Delay {
        until: Time,
        jitter: bool,
        catch_up: bool,
        /// One of its job that was caught up before it, and goes first.
        behind: Option<RunId>,
    },
    /// All places of its serial group are taken; so many are before it.
    Group {
        group: String,
        holders: Vec<RunId>,
        most: u32,
        before: usize,
    },
    Mutex {
        mutex: String,
        holders: Vec<RunId>,
        before: usize,
    },
    /// So many runs of its own job may go at once.
    Turn {
        holders: Vec<RunId>,
        most: u32,
        before: usize,
    },
    /// Its queue is paused.
    Paused {
        queue: String,
    },
    /// Its queue has too little of a resource just now.
    Queue {
        queue: String,
        resource: String,
        need: u32,
        free: u32,
        slots: u32,
        holders: Vec<RunId>,
        before: usize,
    },
    /// It would fit, and waits behind a larger one that was first.
    Behind {
        queue: String,
        first: RunId,
    },
    /// Its queue will never have as much as it takes.
    TooLarge {
        queue: String,
        resource: String,
        need: u32,
        slots: u32,
    },
    /// What it is to find around it is looked up: its files, its user, its sockets.
    Making,
    /// No keeper takes starts just now.
    NoKeeper,
    /// The keeper has no room for more runs.
    NoRoom,
    /// The keeper was told; it has not said yet that it lives.
    Starting,
    /// The server is ending: nothing begins.
    Closing,
    /// It lives, and is not ready; by then it must be. The probe's last word.
    NotReady {
        by: Option<Time>,
        said: Option<String>,
    },
    /// It is to go, and these go first, because they need it.
    GoesAfter {
        jobs: Vec<JobName>,
    },
    Stopping {
        why: StopWhy,
    },
    Draining,
    Ended {
        outcome: Outcome,
    },
    /// Nothing is in its way.
    Nothing,
    // Of jobs.
    /// Nobody has defined it.
    Undefined,
    Removed,
    Disabled {
        by_hand: bool,
    },
    /// A service that is to be down.
    Down,
    /// A slot of a service that stays empty.
    Rests {
        slot: u32,
        rest: Rest,
    },
    /// One by one, its runs are replaced; back to that revision, if the new one does not become ready.
    Rolling {
        back_to: Option<u64>,
    },
    /// This revision did not become ready; the one before it is in force.
    WentBack {
        failed: u64,
    },
    /// It has a schedule, and is due at no time: it cannot be told when. `why`: `of` in words.
    Untimed {
        of: Untimed,
        why: String,
    },
    /// Its calendars allow none of its instants, for ten years to come.
    Shut,
    /// All of its instants are over.
    Over,
    /// Clocks skip all of its instants, and its `dst` leaves them out.
    Skipped,
    /// Its `after` waits for these.
    Round {
        waits_for: Vec<JobName>,
    },
}

/// Why a needed job is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeedWhy {
    Undefined,
    Disabled,
    Down,
    /// This run of it is not ready, or not over, yet.
    NotYet(RunId),
    /// Its slots are empty, and stay so.
    Rests(Rest),
    /// It has not been run, or did not end ok.
    NotDone,
    /// It would be started first. (Only of what is rehearsed.)
    GoesFirst,
}

impl World {
    /// Everything that is in the way of a live run; the nearest first.
    pub fn why(&self, no: RunNo) -> Vec<Reason> {
        let Some(run) = self.live.get(&no) else { return Vec::new() };
        let mut reasons = Vec::new();
        if self.is_closing() && (run.state.is_pending() || run.state == RunState::Starting { generation: None }) {
            reasons.push(Reason::Closing);
        }
        match &run.state {
            RunState::Held { on: Hold::Latch(latch) } => reasons.push(Reason::Latch { latch: latch.clone() }),
            RunState::Held { on: Hold::Needs(_) } => reasons.extend(self.why_missing(run)),
            RunState::Waiting { until, .. } if run.follows.is_none() => {
                let time = self.job_of(run).map(|job| &job.time);
                let jitter = time.is_some_and(|time| time.jitter.0 > 0);
                let catch_up = run.trigger.is_late() && time.is_some_and(|time| time.catch_up_delay.0 > 0);
                let behind = self.goes_behind(run).map(Run::id);
                reasons.push(Reason::Delay { until: *until, jitter, catch_up, behind });
            }
            RunState::Waiting { until, .. } => reasons.push(Reason::Backoff {
                until: *until,
                attempt: run.attempt,
                tries: self.job(&run.job).and_then(|job| job.life.again.tries),
                follows: run.follows,
            }),
            RunState::Queued => {
                reasons.extend(self.why_missing(run));
                reasons.extend(gates(run).iter().flat_map(|gate| self.why_gate(run, gate)));
            }
            RunState::Starting { .. } if self.roomless.contains(&no) => reasons.push(Reason::NoRoom),
            RunState::Starting { .. } if run.is_being_made() => {
                reasons.push(Reason::Making);
                reasons.extend(self.keeper.is_none().then_some(Reason::NoKeeper));
            }
            RunState::Starting { generation: None } => reasons.push(Reason::NoKeeper),
            RunState::Starting { generation: Some(_) } => reasons.push(Reason::Starting),
            RunState::Running { .. } => {
                if run.is_defined() && run.health.ready_at.is_none() {
                    reasons.push(Reason::NotReady { by: run.health.ready_by, said: self.unready.get(&no).cloned() });
                }
                if self.is_leaving(&run.job) && run.is_defined() {
                    let there = |name: &&JobName| self.runs_of(name).any(|run| run.state.is_going());
                    let jobs: Vec<JobName> = self.dependents(&run.job).filter(there).cloned().collect();
                    if !jobs.is_empty() {
                        reasons.push(Reason::GoesAfter { jobs });
                    }
                }
            }
            RunState::Stopping { why, .. } => reasons.push(Reason::Stopping { why: *why }),
            RunState::Draining { .. } => reasons.push(Reason::Draining),
            RunState::Ended { outcome } => reasons.push(Reason::Ended { outcome: outcome.clone() }),
        }
        if reasons.is_empty() {
            reasons.push(Reason::Nothing);
        }
        reasons
    }

    fn why_missing(&self, run: &Run) -> impl Iterator<Item = Reason> {
        let missing = self.missing(run).into_iter();
        missing.map(|job| Reason::Needs { because: self.why_not_ready(&job), job })
    }

    fn why_not_ready(&self, name: &JobName) -> NeedWhy {
        let (Some(job), Some(post)) = (self.job(name), self.jobs.get(name)) else { return NeedWhy::Undefined };
        if self.is_leaving(name) && (job.life.is_service() || self.is_ready(name)) {
            return NeedWhy::Down;
        }
        if let Some(run) = self.runs_of(name).next() {
            return NeedWhy::NotYet(run.id());
        }
        if self.is_disabled(name) {
            return NeedWhy::Disabled;
        }
        match post.standing.rest.values().next() {
            Some(rest) => NeedWhy::Rests(*rest),
            None => NeedWhy::NotDone,
        }
    }

    fn why_gate(&self, run: &Run, gate: &Gate) -> Option<Reason> {
        if let Gate::Queue(name) = gate {
            return self.why_queue(run, name);
        }
        if self.passes(run, gate) || self.is_open(run, gate) {
            return None;
        }
        let (holders, before) = (self.holders(gate), self.before(run, gate));
        let most = u32::try_from(self.width(run, gate)).unwrap_or(u32::MAX);
        match gate {
            Gate::Group(group) => Some(Reason::Group { group: group.clone(), holders, most, before }),
            Gate::Mutex(mutex) => Some(Reason::Mutex { mutex: mutex.clone(), holders, before }),
            Gate::Turn(_) => Some(Reason::Turn { holders, most, before }),
            Gate::Queue(_) => None,
        }
    }

    fn why_queue(&self, run: &Run, name: &str) -> Option<Reason> {
        if self.is_paused(name) {
            return Some(Reason::Paused { queue: name.into() });
        }
        let gate = Gate::Queue(name.into());
        if let Some(short) = self.shortage(run) {
            let (resource, need, slots) = (short.resource, short.need, short.slots);
            if need > slots {
                return Some(Reason::TooLarge { queue: name.into(), resource, need, slots });
            }
            let takes =
                |no: &RunNo| self.live.get(no).is_some_and(|other| queue::takes(&other.terms.need, &resource) > 0);
            let going = self.places.gates.get(&gate).into_iter().flat_map(|house| &house.going);
            let holders = going.filter(|no| takes(no)).filter_map(|no| Some(self.live.get(no)?.id())).collect();
            let before = self.before(run, &gate);
            return Some(Reason::Queue {
                queue: name.into(),
                resource,
                need,
                free: short.free,
                slots,
                holders,
                before,
            });
        }
        self.hungry_before(run).map(|first| Reason::Behind { queue: name.into(), first: first.id() })
    }

    fn holders(&self, gate: &Gate) -> Vec<RunId> {
        let going = self.places.gates.get(gate).into_iter().flat_map(|house| &house.going);
        going.filter_map(|no| Some(self.live.get(no)?.id())).collect()
    }

    fn before(&self, run: &Run, gate: &Gate) -> usize {
        self.places.gates.get(gate).map_or(0, |house| house.line.range(..place_in_line(run)).count())
    }

    /// Why a job has no run, or not as many as it should, and what it is in the middle of.
    pub fn why_job(&self, name: &JobName) -> Vec<Reason> {
        let Some(post) = self.jobs.get(name) else { return Vec::from([Reason::Undefined]) };
        let Some(job) = self.job(name) else { return Vec::from([Reason::Removed]) };
        let mut reasons = Vec::new();
        if self.is_disabled(name) {
            reasons.push(Reason::Disabled { by_hand: post.standing.disabled.is_some() });
        }
        if job.life.is_service() && !post.standing.up {
            reasons.push(Reason::Down);
        }
        reasons.extend(post.standing.rest.iter().map(|(slot, rest)| Reason::Rests { slot: *slot, rest: *rest }));
        if post.standing.former.is_some() || post.standing.renewal.as_ref().is_some_and(|renewal| renewal.rolling) {
            reasons.push(Reason::Rolling { back_to: post.standing.former });
        }
        reasons.extend(post.standing.failed.map(|failed| Reason::WentBack { failed }));
        reasons.extend(self.join(name).map(|join| Reason::Round { waits_for: join.waits_for }));
        reasons
    }
}
