//! Wishes that make no run, granted once under an idempotency key: what a repeat is answered by stands in the same commit.
//!
//! A wish that was refused leaves nothing: its repeat is asked anew. So is that of a wish whose repeat does no harm and
//! is not told "no": a reading of files, `kin up`, the end of the server.

use super::ending::Ending;
use super::handle::{Call, Gone, JobCall, Key};
use super::wishes::unavailable;
use super::{Batch, Engine};
use kin_core::{Granted, Refusal, Run, RunId, RunNo};
use kin_ledger::NewDone;

/// What a wish came to, as it is kept: only that, runs, or a path and runs.
pub(super) trait Outcome {
    fn kept(&self) -> String;
}

impl Outcome for () {
    fn kept(&self) -> String {
        String::new()
    }
}
impl Outcome for Run {
    fn kept(&self) -> String {
        self.id().to_string()
    }
}
impl Outcome for Vec<RunId> {
    fn kept(&self) -> String {
        self.iter().map(|id| format!("{id}\n")).collect()
    }
}
impl Outcome for Gone {
    /// A path may hold anything, also the end of a line: it comes last.
    fn kept(&self) -> String {
        let ids: String = self.runs.iter().map(|run| format!("{}\n", run.id())).collect();
        format!("{ids}\n{}", self.path)
    }
}
impl Outcome for Granted {
    fn kept(&self) -> String {
        match self {
            Granted::Run(run) => run.kept(),
            Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_) => String::new(),
        }
    }
}

fn ids(kept: &str) -> Vec<RunId> {
    kept.lines().map_while(RunId::parse).collect()
}

impl Engine {
    /// A granted wish is remembered with all that follows from it.
    pub(super) fn keep_done<T: Outcome>(&self, key: Option<Key>, answer: &Result<T, Refusal>, batch: &mut Batch) {
        if let (Some(Key { text, content }), Ok(granted)) = (key, answer) {
            let new = NewDone { key: text.clone(), content, at: self.now(), answer: granted.kept() };
            batch.done.insert(text, new);
        }
    }

    /// The call, if its key is new or it has none; any other is answered here.
    pub(super) fn not_done_before(&self, call: Call, key: Option<&Key>, batch: &mut Batch) -> Option<Call> {
        let Some(key) = key else { return Some(call) };
        let kept = match self.done_before(key, batch) {
            Ok(None) => return Some(call),
            Ok(Some(kept)) => Ok(kept),
            Err(refusal) => Err(refusal),
        };
        // The first one may be in this very batch: who asks again hears of it when that is recorded.
        let answer: super::Answer = match call {
            Call::End(Ending::Stop { reply, .. } | Ending::Signal { reply, .. }) | Call::Disown { reply, .. } => {
                super::wishes::answering(reply, kept.and_then(|kept| self.one_of(&kept, batch)))
            }
            Call::End(Ending::Down { reply, .. }) | Call::Job(JobCall::Wish { reply, .. }) => {
                super::wishes::answering(reply, kept.map(|_| Granted::Done))
            }
            Call::Release { reply, .. } => super::wishes::answering(reply, kept.map(|kept| ids(&kept))),
            Call::Job(JobCall::Define { reply, .. } | JobCall::Undefine { reply, .. }) => {
                super::wishes::answering(reply, kept.map(drop))
            }
            Call::Job(JobCall::ProjectDown { reply, .. }) => {
                super::wishes::answering(reply, kept.and_then(|kept| self.gone_of(&kept, batch)))
            }
            // Those that make a run have their keys themselves; the others are not kept.
            Call::End(Ending::Shutdown { .. })
            | Call::Job(JobCall::Files { .. } | JobCall::Run { .. } | JobCall::Up { .. } | JobCall::Look(_))
            | Call::Submit { .. }
            | Call::Adopt { .. }
            | Call::Upgrade { .. }
            | Call::Ready => return Some(call),
        };
        batch.answers.push(answer);
        None
    }

    fn done_before(&self, key: &Key, batch: &Batch) -> Result<Option<String>, Refusal> {
        match self.known_done(&key.text, batch)? {
            Some((content, kept)) if content == key.content => Ok(Some(kept)),
            Some(_) => Err(Refusal::KeyOfOther { key: key.text.clone() }),
            None if self.known_key(&key.text, batch)?.is_some() => Err(Refusal::KeyOfOther { key: key.text.clone() }),
            None => Ok(None),
        }
    }

    /// What was granted under a key, in this batch or before it.
    pub(super) fn known_done(&self, key: &str, batch: &Batch) -> Result<Option<(u64, String)>, Refusal> {
        match batch.done.get(key) {
            Some(new) => Ok(Some((new.content, new.answer.clone()))),
            None => self.ledger.done(key).map_err(|e| unavailable(&e)),
        }
    }

    fn one_of(&self, kept: &str, batch: &Batch) -> Result<Run, Refusal> {
        let unreadable = || Refusal::Unavailable { why: "what was kept of the first request is unreadable".into() };
        let id = ids(kept).pop().ok_or_else(unreadable)?;
        self.run_now(id.no, batch)?.ok_or(Refusal::Unknown { run: id.no })
    }

    fn gone_of(&self, kept: &str, batch: &Batch) -> Result<Gone, Refusal> {
        let (runs, path) =
            kept.split_once("\n\n").or_else(|| Some(("", kept.strip_prefix('\n')?))).unwrap_or((kept, ""));
        let mut gone = Gone { path: path.to_string(), runs: Vec::new() };
        for id in ids(runs) {
            // One that is not kept any more has ended.
            gone.runs.extend(self.run_now(id.no, batch)?);
        }
        Ok(gone)
    }

    fn run_now(&self, no: RunNo, batch: &Batch) -> Result<Option<Run>, Refusal> {
        match batch.fx.changed.get(&no) {
            Some(run) => Ok(Some(run.clone())),
            None => self.any_run(no),
        }
    }
}
