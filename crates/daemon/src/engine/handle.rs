//! The engine's door: what the rest of the daemon may ask of it.
//!
//! Cloned freely. Every method sends one input and waits for its answer, which comes when the batch it was part of has
//! been committed. Reading needs no engine: `reader` gives a read-only connection to the ledger, and `watch` tells when
//! there is more to read.

use super::adopt::Adopt;
use super::ending::{Ending, Unwritten};
use super::readers::{PooledReader, Readers};
use super::timing::ZoneFiles;
use super::upgrade::Progress;
use super::{Input, Probed};
use crate::makers::Makers;
use kin_config::good::Reading;
use kin_config::project::Project;
use kin_core::job::{Job, Queue};
use kin_core::{
    Farewell, Granted, JobName, NewRun, Outlook, Reason, Refusal, Rehearsal, Run, RunId, RunNo, Standing, StopKind,
    StopWhy, Time, Timed, Wish,
};
use kin_keeper::spec::Spec;
use kin_keeper::wire::Guard;
use kin_ledger::{ReadError, Source};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A wish for a run, validated.
#[derive(Clone, Debug)]
pub struct Submit {
    pub new: NewRun,
    /// How to start it. The engine adds what only it knows: where the logs are, the cgroup, and the variables KIN_JOB,
    /// KIN_RUN_ID, KIN_SLOT, KIN_ATTEMPT, KIN_SOCKET.
    pub spec: Spec,
    pub key: Option<Key>,
}

/// Makes a repeat of the same request find the first one's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub text: String,
    /// A sum over the request's content.
    pub content: u64,
}

/// An accepted wish for a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub run: Run,
    /// The key was known: this is the run of the first request.
    pub repeat: bool,
}

/// How far the ledger has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The newest event's number. Grows after each commit that changed anything.
    pub event_seq: u64,
}

/// What keeps the engine from recording what happens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trouble {
    /// The disk is full: nothing new is accepted.
    pub full_since: Option<Time>,
    /// What is known all the same, and shown as such.
    pub unwritten: Option<Arc<Unwritten>>,
    /// The ledger was lost, or a part of it: what was found, and done, when this engine began.
    pub rebuilt: Option<String>,
    /// The ledger is damaged: this daemon ends, the next one mends it, and whoever asked asks that one.
    pub mending: bool,
}

/// The two keepers, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    /// `Degraded` also while nobody has said anything yet, or what was said is still being read.
    pub guard: Guard,
    pub elder: Option<Link>,
    pub keeper: Option<Link>,
    /// The front's pid, where one is attached.
    pub front: Option<u32>,
    /// Every fact about the chain as it is now is in the ledger.
    pub settled: bool,
    pub upgrade: Progress,
}

/// One keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub generation: u64,
    pub pid: Option<u32>,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A wish for one run of a defined job.
#[derive(Clone, Debug)]
pub struct RunJob {
    pub job: JobName,
    /// As `uid:1000`.
    pub by: String,
    /// Over what its definition says.
    pub env: BTreeMap<String, String>,
    pub key: Option<Key>,
}

/// What came of a reading of the job files.
#[derive(Clone, Debug)]
pub struct Reloaded {
    pub applied: bool,
    pub steps: Vec<Step>,
    /// What no file can know: how they go together with what was defined otherwise.
    pub mistakes: kin_config::Report,
}

/// One job that comes, changes or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub job: JobName,
    /// add, change, remove.
    pub what: &'static str,
    pub follows: String,
    pub keys: Vec<String>,
}

/// A job as the rules have it.
#[derive(Clone, Debug)]
pub struct JobNow {
    pub standing: Standing,
    /// The definition in force.
    pub job: Arc<Job>,
    /// Where its newest definition comes from.
    pub source: Source,
    /// Why that file does not hold as it is now, if it does not.
    pub stale: Option<String>,
    /// Those that live, oldest first.
    pub runs: Vec<Run>,
    /// Why it has no run, or not as many as it should.
    pub why: Vec<Reason>,
    /// When it is due next, in UTC seconds.
    pub next: Option<i64>,
}

/// When jobs are due.
#[derive(Clone, Debug)]
pub struct Timetable {
    /// Whose clocks an expression goes by that names none; `None`: the machine's.
    pub timezone: Option<String>,
    /// Those with a schedule.
    pub jobs: Vec<TimedNow>,
}

#[derive(Clone, Debug)]
pub struct TimedNow {
    pub job: JobName,
    pub timed: Arc<Timed>,
    /// All instants up to this one are decided, in UTC seconds.
    pub decided: i64,
    pub disabled: bool,
    /// Nothing is run before that, in UTC seconds.
    pub paused: i64,
    pub tags: Vec<String>,
}

/// A project that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectNow {
    pub name: String,
    pub path: String,
    pub jobs: Vec<JobName>,
    pub queues: Vec<String>,
    pub latches: Vec<String>,
}

/// A project that is not up any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    pub path: String,
    /// Those that lived, as they are now.
    pub runs: Vec<Run>,
}

#[derive(Clone, Debug)]
pub struct QueueNow {
    pub queue: Queue,
    pub running: Vec<Run>,
    /// The next one first.
    pub waiting: Vec<Run>,
}

/// What only the rules can tell. Answered as of the last commit.
#[derive(Debug)]
pub(super) enum Look {
    /// `None`: all.
    Jobs {
        job: Option<JobName>,
        reply: oneshot::Sender<Vec<JobNow>>,
    },
    Queues {
        reply: oneshot::Sender<Vec<QueueNow>>,
    },
    StaleFiles {
        reply: oneshot::Sender<Vec<PathBuf>>,
    },
    Times {
        reply: oneshot::Sender<Timetable>,
    },
    Projects {
        reply: oneshot::Sender<Vec<ProjectNow>>,
    },
    /// What a run by hand would come to.
    Rehearse {
        job: JobName,
        reply: oneshot::Sender<Result<Rehearsal, Refusal>>,
    },
    /// What is in the way of a run that lives, and what comes of its end.
    Why {
        run: Box<Run>,
        reply: oneshot::Sender<(Vec<Reason>, Option<Outlook>)>,
    },
}

/// What a handle asks about defined jobs.
#[derive(Debug)]
pub(super) enum JobCall {
    Files { reading: Arc<Reading>, plan: bool, reply: Reply<Reloaded> },
    Define { job: Arc<Job>, by: String, reply: Reply<()> },
    Undefine { job: JobName, by: String, reply: Reply<()> },
    Run { wish: Box<RunJob>, reply: Reply<Accepted> },
    Wish { wish: Wish, reply: Reply<Granted> },
    Up { project: Arc<Project>, plan: bool, by: String, reply: Reply<Reloaded> },
    ProjectDown { project: String, by: String, reply: Reply<Gone> },
    Look(Look),
}

/// What a handle asks of the engine.
#[derive(Debug)]
pub(super) enum Call {
    Submit {
        submits: Vec<Submit>,
        reply: oneshot::Sender<Vec<Result<Accepted, Refusal>>>,
    },
    End(Ending),
    Adopt {
        wish: Box<Adopt>,
        reply: Reply<Accepted>,
    },
    Job(JobCall),
    Disown {
        no: RunNo,
        by: String,
        reply: Reply<Run>,
    },
    Release {
        latch: String,
        reply: Reply<Vec<RunId>>,
    },
    Upgrade {
        program: PathBuf,
        reply: Reply<()>,
    },
    /// The daemon accepts callers.
    Ready,
}

#[derive(Clone, Debug)]
pub struct Handle {
    /// Not bounded by itself: each open request has at most one call in it, and open requests are bounded at the door.
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) committed: watch::Receiver<Committed>,
    pub(super) probed: watch::Receiver<Vec<Probed>>,
    pub(super) zones: watch::Receiver<ZoneFiles>,
    pub(super) watching: watch::Receiver<Vec<Arc<Job>>>,
    pub(super) chain: watch::Receiver<ChainInfo>,
    pub(super) journal: watch::Receiver<Option<String>>,
    pub(super) trouble: watch::Receiver<Trouble>,
    pub(super) readers: Arc<Readers>,
    pub(super) makers: Makers,
    pub(super) make_within: Duration,
    /// Under which the next wish is granted once.
    pub(super) key: Option<Key>,
}

impl Handle {
    /// For one wish: a repeat under the same key is answered by what the first one came to.
    pub fn under(&self, key: Option<Key>) -> Handle {
        Handle { key, ..self.clone() }
    }

    pub async fn submit(&self, submit: Submit) -> Result<Accepted, Refusal> {
        self.submit_batch(vec![submit]).await.pop().unwrap_or(Err(Refusal::Closing))
    }

    /// One commit for all; each is accepted or refused by itself. The answers are in the order of the wishes.
    pub async fn submit_batch(&self, submits: Vec<Submit>) -> Vec<Result<Accepted, Refusal>> {
        let count = submits.len();
        let (reply, answer) = oneshot::channel();
        let gone = |count| std::iter::repeat_with(|| Err(Refusal::Closing)).take(count).collect();
        if self.inputs.send(Input::Call(Call::Submit { submits, reply }, None)).is_err() {
            return gone(count);
        }
        answer.await.unwrap_or_else(|_| gone(count))
    }

    /// `by` says who asks, as `uid:1000`.
    pub async fn stop(&self, no: RunNo, kind: StopKind, why: StopWhy, by: String) -> Result<Run, Refusal> {
        self.ask(|reply| Call::End(Ending::Stop { no, kind, why, by, reply })).await
    }

    /// `interrupt`: it is the caller's own INT or TERM, passed on.
    pub async fn signal(
        &self,
        no: RunNo,
        signal: u8,
        leader_only: bool,
        interrupt: bool,
        by: String,
    ) -> Result<Run, Refusal> {
        self.ask(|reply| Call::End(Ending::Signal { no, signal, leader_only, interrupt, by, reply })).await
    }

    /// The runs that were let go, oldest first.
    pub async fn release(&self, latch: String) -> Result<Vec<RunId>, Refusal> {
        self.ask(|reply| Call::Release { latch, reply }).await
    }

    /// What the job files say now. `plan`: only says what would follow.
    pub async fn files(&self, reading: Arc<Reading>, plan: bool) -> Result<Reloaded, Refusal> {
        self.ask(|reply| Call::Job(JobCall::Files { reading, plan, reply })).await
    }

    /// A process becomes a run.
    pub async fn adopt(&self, wish: Adopt) -> Result<Accepted, Refusal> {
        self.ask(|reply| Call::Adopt { wish: Box::new(wish), reply }).await
    }

    /// An adopted one is watched no more. `by` says who asks.
    pub async fn disown(&self, no: RunNo, by: String) -> Result<Run, Refusal> {
        self.ask(|reply| Call::Disown { no, by, reply }).await
    }

    pub async fn define(&self, job: Arc<Job>, by: String) -> Result<(), Refusal> {
        self.ask(|reply| Call::Job(JobCall::Define { job, by, reply })).await
    }

    pub async fn undefine(&self, job: JobName, by: String) -> Result<(), Refusal> {
        self.ask(|reply| Call::Job(JobCall::Undefine { job, by, reply })).await
    }

    pub async fn run_job(&self, wish: RunJob) -> Result<Accepted, Refusal> {
        self.ask(|reply| Call::Job(JobCall::Run { wish: Box::new(wish), reply })).await
    }

    /// All runs of a job end; a service stays down. The runs, as they are now.
    pub async fn stop_job(&self, job: JobName, by: String) -> Result<Granted, Refusal> {
        self.ask(|reply| Call::End(Ending::Down { job, by, reply })).await
    }

    /// About a job or a queue: up, restart, scale, enable, disable.
    pub async fn wish(&self, wish: Wish) -> Result<Granted, Refusal> {
        self.ask(|reply| Call::Job(JobCall::Wish { wish, reply })).await
    }

    /// One job, or all.
    pub async fn jobs(&self, job: Option<JobName>) -> Result<Vec<JobNow>, Refusal> {
        self.look(|reply| Look::Jobs { job, reply }).await
    }

    /// Job files that do not hold as they are.
    pub async fn stale_files(&self) -> Result<Vec<PathBuf>, Refusal> {
        self.look(|reply| Look::StaleFiles { reply }).await
    }

    pub async fn queues(&self) -> Result<Vec<QueueNow>, Refusal> {
        self.look(|reply| Look::Queues { reply }).await
    }

    pub async fn timetable(&self) -> Result<Timetable, Refusal> {
        self.look(|reply| Look::Times { reply }).await
    }

    /// All of a project's jobs, as its file says them now, and its services up. `plan`: only says what would follow.
    pub async fn project_up(&self, project: Arc<Project>, plan: bool, by: String) -> Result<Reloaded, Refusal> {
        self.ask(|reply| Call::Job(JobCall::Up { project, plan, by, reply })).await
    }

    /// All of its jobs end and are forgotten. The runs that lived, as they are now.
    pub async fn project_down(&self, project: String, by: String) -> Result<Gone, Refusal> {
        self.ask(|reply| Call::Job(JobCall::ProjectDown { project, by, reply })).await
    }

    pub async fn projects(&self) -> Result<Vec<ProjectNow>, Refusal> {
        self.look(|reply| Look::Projects { reply }).await
    }

    /// What is in the way of a live run; and what comes of its end, by the definitions in force.
    pub async fn why(&self, run: &Run) -> Result<(Vec<Reason>, Option<Outlook>), Refusal> {
        let run = Box::new(run.clone());
        self.look(|reply| Look::Why { run, reply }).await
    }

    /// What a run by hand would come to now.
    pub async fn rehearse(&self, job: JobName) -> Result<Rehearsal, Refusal> {
        self.look(|reply| Look::Rehearse { job, reply }).await?
    }

    async fn look<T>(&self, look: impl FnOnce(oneshot::Sender<T>) -> Look) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Call(Call::Job(JobCall::Look(look(reply))), None);
        self.inputs.send(input).map_err(|_| Refusal::Closing)?;
        answer.await.map_err(|_| Refusal::Closing)
    }

    /// Answered at once; the engine ends when all that had to end first has.
    pub async fn shutdown(&self, stop_runs: bool, cancel: bool, by: String) -> Result<Farewell, Refusal> {
        self.ask(|reply| Call::End(Ending::Shutdown { stop_runs, cancel, by, reply })).await
    }

    /// The engine ends with `Ended::Upgrade`; whoever started it then becomes the new program.
    pub async fn upgrade(&self, program: PathBuf) -> Result<(), Refusal> {
        self.ask(|reply| Call::Upgrade { program, reply }).await
    }

    /// The daemon accepts callers: the keepers are told now, and each time one of them is new.
    pub fn ready(&self) {
        // An engine that has ended has nobody to tell any more.
        drop(self.inputs.send(Input::Call(Call::Ready, None)));
    }

    /// Somebody who read the ledger met damage. True: this daemon is over, and the next one mends it.
    pub async fn damaged(&self, what: String) -> bool {
        let (reply, goes_on) = oneshot::channel();
        self.inputs.send(Input::Damaged(what, Some(reply))).is_err() || goes_on.await.is_err()
    }

    /// Which runs are to be looked at.
    pub fn probed(&self) -> watch::Receiver<Vec<Probed>> {
        self.probed.clone()
    }

    /// The files that schedules depend on.
    pub fn zones(&self) -> watch::Receiver<ZoneFiles> {
        self.zones.clone()
    }

    /// One of them has changed.
    pub fn zones_changed(&self) {
        // An engine that has ended has no schedules.
        drop(self.inputs.send(Input::Zones));
    }

    /// The jobs whose files are watched, as they are defined.
    pub fn watching(&self) -> watch::Receiver<Vec<Arc<Job>>> {
        self.watching.clone()
    }

    /// What was seen of one.
    pub fn said(&self, said: crate::probe::Said) {
        // An engine that has ended wants no news.
        drop(self.inputs.send(Input::Said(said)));
    }

    /// What came of a stop command.
    pub fn asked(&self, asked: crate::stopping::Asked) {
        // An engine that has ended leaves it to the keeper, and to the next.
        drop(self.inputs.send(Input::Asked(asked)));
    }

    /// Changes after each commit; the ledger may then be read.
    pub fn watch(&self) -> watch::Receiver<Committed> {
        self.committed.clone()
    }

    pub fn chain(&self) -> ChainInfo {
        *self.chain.borrow()
    }

    /// Changes whenever elder, keeper or guard do.
    pub fn watch_chain(&self) -> watch::Receiver<ChainInfo> {
        self.chain.clone()
    }

    /// What keeps the log of events behind the ledger, if anything does.
    pub fn journal_trouble(&self) -> Option<String> {
        self.journal.borrow().clone()
    }

    /// What keeps the engine from recording what happens, if anything does.
    pub fn trouble(&self) -> Trouble {
        self.trouble.borrow().clone()
    }

    /// Changes with each of them.
    pub fn watch_trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.clone()
    }

    /// Those who make what may take its time.
    pub const fn makers(&self) -> &Makers {
        &self.makers
    }

    /// What a run finds around it is waited for so long.
    pub const fn make_within(&self) -> Duration {
        self.make_within
    }

    /// Until the run has ended, and that could not be recorded.
    pub async fn until_unrecorded(&self, no: RunNo) {
        let ended = |trouble: &Trouble| trouble.unwritten.as_ref().is_some_and(|unwritten| unwritten.has_ended(no));
        if self.trouble.clone().wait_for(ended).await.is_err() {
            // The engine is gone, and knows nothing more.
            std::future::pending::<()>().await;
        }
    }

    /// A read-only connection of one's own, given back when dropped. It blocks: use it off the async threads.
    pub fn reader(&self) -> Result<PooledReader, ReadError> {
        self.readers.take()
    }

    /// An engine that has ended refuses everything: the server is closing.
    async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Call(call(reply), self.key.clone())).map_err(|_| Refusal::Closing)?;
        answer.await.unwrap_or(Err(Refusal::Closing))
    }
}
