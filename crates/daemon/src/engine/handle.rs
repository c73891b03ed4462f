//! The engine's door: what the rest of the daemon may ask of it.
//!
//! Cloned freely. Every method sends one input and waits for its answer, which comes when the batch it was part of has
//! been committed. Reading needs no engine: `reader` gives a read-only connection to the ledger, and `watch` tells when
//! there is more to read.

use super::Input;
use super::ending::{Ending, Unwritten};
use super::readers::{PooledReader, Readers};
use kin_core::{Farewell, NewRun, Refusal, Run, RunId, RunNo, StopKind, StopWhy, Time};
use kin_keeper::spec::Spec;
use kin_keeper::wire::Guard;
use kin_ledger::ReadError;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
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
}

/// One keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub generation: u64,
    pub pid: Option<u32>,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What a handle asks of the engine.
#[derive(Debug)]
pub(super) enum Call {
    Submit {
        submits: Vec<Submit>,
        reply: oneshot::Sender<Vec<Result<Accepted, Refusal>>>,
    },
    End(Ending),
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
    pub(super) chain: watch::Receiver<ChainInfo>,
    pub(super) journal: watch::Receiver<Option<String>>,
    pub(super) trouble: watch::Receiver<Trouble>,
    pub(super) readers: Arc<Readers>,
}

impl Handle {
    pub async fn submit(&self, submit: Submit) -> Result<Accepted, Refusal> {
        self.submit_batch(vec![submit]).await.pop().unwrap_or(Err(Refusal::Closing))
    }

    /// One commit for all; each is accepted or refused by itself. The answers are in the order of the wishes.
    pub async fn submit_batch(&self, submits: Vec<Submit>) -> Vec<Result<Accepted, Refusal>> {
        let count = submits.len();
        let (reply, answer) = oneshot::channel();
        let gone = |count| std::iter::repeat_with(|| Err(Refusal::Closing)).take(count).collect();
        if self.inputs.send(Input::Call(Call::Submit { submits, reply })).is_err() {
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

    /// Answered at once; the engine ends when all that had to end first has.
    pub async fn shutdown(&self, stop_runs: bool, by: String) -> Result<Farewell, Refusal> {
        self.ask(|reply| Call::End(Ending::Shutdown { stop_runs, by, reply })).await
    }

    /// The engine ends with `Ended::Upgrade`; whoever started it then becomes the new program.
    pub async fn upgrade(&self, program: PathBuf) -> Result<(), Refusal> {
        self.ask(|reply| Call::Upgrade { program, reply }).await
    }

    /// The daemon accepts callers: the keepers are told now, and each time one of them is new.
    pub fn ready(&self) {
        // An engine that has ended has nobody to tell any more.
        drop(self.inputs.send(Input::Call(Call::Ready)));
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

    /// A read-only connection of one's own, given back when dropped. It blocks: use it off the async threads.
    pub fn reader(&self) -> Result<PooledReader, ReadError> {
        self.readers.take()
    }

    /// An engine that has ended refuses everything: the server is closing.
    async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Call(call(reply))).map_err(|_| Refusal::Closing)?;
        answer.await.unwrap_or(Err(Refusal::Closing))
    }
}
