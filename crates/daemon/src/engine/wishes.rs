//! What callers want of the engine: each wish answered by the rules, and told to its caller with the commit.

use super::handle::{self, Accepted, Call, Key, Submit};
use super::upgrade::Progress;
use super::{Answer, Batch, Ended, Engine, words};
use kin_core::{Granted, JobName, Refusal, Run, RunId, RunNo, Wish};
use kin_keeper::wire::Guard;
use kin_ledger::{NewKey, ReadError};

impl Engine {
    pub(super) fn call(&mut self, call: Call, key: Option<Key>, batch: &mut Batch) {
        let now = self.now();
        let Some(call) = self.not_done_before(call, key.as_ref(), batch) else { return };
        match call {
            Call::Submit { submits, reply } => {
                let results: Vec<Result<Accepted, Refusal>> =
                    submits.into_iter().map(|submit| self.submit(submit, batch)).collect();
                batch.answers.push(Box::new(move |failed| {
                    let answer = match failed {
                        Some(refusal) => results.iter().map(|_| Err(refusal.clone())).collect(),
                        None => results,
                    };
                    // Who asked may have gone; the key, or the listing, finds the run.
                    drop(reply.send(answer));
                }));
            }
            Call::End(ending) => self.wish_end(ending, key, batch),
            Call::Job(call) => self.job_call(call, key, batch),
            Call::Adopt { wish, reply } => {
                let answer = self.adopt_process(*wish, batch);
                batch.answers.push(answering(reply, answer));
            }
            Call::Disown { no, by, reply } => {
                let answer = self.disown_process(no, &by, batch);
                self.keep_done(key, &answer, batch);
                batch.answers.push(answering(reply, answer));
            }
            Call::Release { latch, reply } => {
                let answer =
                    self.has_room().and_then(|()| self.world.wish(now, Wish::Release { latch }, &mut batch.fx));
                let answer = answer.map(|granted| match granted {
                    Granted::Released(ids) => ids,
                    Granted::Run(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_) => Vec::new(),
                });
                batch.accepts |= answer.as_ref().is_ok_and(|ids| !ids.is_empty());
                self.keep_done(key, &answer, batch);
                batch.answers.push(answering(reply, answer));
            }
            Call::Upgrade { program, reply } => {
                let answer = self.upgrade(&program, batch);
                if answer.is_ok() {
                    batch.ending = Some(Ended::Upgrade { program });
                }
                batch.answers.push(answering(reply, answer));
            }
            Call::Ready => self.link.ready(),
        }
    }

    pub(super) fn submit(&mut self, mut submit: Submit, batch: &mut Batch) -> Result<Accepted, Refusal> {
        let now = self.now();
        if let Some(repeat) = self.repeat(submit.key.as_ref(), &submit.new.job, batch)? {
            return Ok(repeat);
        }
        if self.world.is_closing() {
            return Err(Refusal::Closing);
        }
        self.has_room()?;
        let no = self.world.mint(now);
        self.step("accept-minted");
        let id = RunId { job: submit.new.job.clone(), no };
        self.write_spec(&id, &mut submit)?;
        self.step("accept-spec");
        let key = submit.key;
        match self.world.wish(now, Wish::Submit { no, new: Box::new(submit.new) }, &mut batch.fx) {
            Ok(Granted::Run(run)) => {
                batch.specs.push(no);
                batch.accepts = true;
                if let Some(Key { text, content }) = key {
                    let new = NewKey { key: text.clone(), content, run: no, at: now };
                    batch.keys.insert(text, new);
                }
                Ok(Accepted { run: *run, repeat: false })
            }
            Ok(Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_)) => {
                Err(Refusal::Unknown { run: no })
            }
            Err(refusal) => {
                self.remove_spec(no);
                Err(refusal)
            }
        }
    }

    /// The run of the first request under this key, if there was one.
    pub(super) fn repeat(&self, key: Option<&Key>, job: &JobName, batch: &Batch) -> Result<Option<Accepted>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        let Some((content, no)) = self.known_key(&key.text, batch)? else {
            return match self.known_done(&key.text, batch)? {
                Some(_) => Err(Refusal::KeyOfOther { key: key.text.clone() }),
                None => Ok(None),
            };
        };
        let run = match batch.fx.changed.get(&no) {
            Some(run) => Some(run.clone()),
            None => self.any_run(no)?,
        };
        match run {
            Some(run) if content == key.content => Ok(Some(Accepted { run, repeat: true })),
            Some(run) => Err(Refusal::KeyReused { key: key.text.clone(), first: run.id() }),
            // It was made: the key stands in one commit with it. Retention took its row since.
            None => Err(Refusal::KeyForgotten {
                key: key.text.clone(),
                first: no,
                job: (content == key.content).then(|| job.clone()),
            }),
        }
    }

    /// What a key stands for, in this batch or before it.
    pub(super) fn known_key(&self, key: &str, batch: &Batch) -> Result<Option<(u64, RunNo)>, Refusal> {
        match batch.keys.get(key) {
            Some(new) => Ok(Some((new.content, new.run))),
            None => self.ledger.key(key).map_err(|e| unavailable(&e)),
        }
    }

    /// A run as it is now, whether it lives or not.
    pub(super) fn any_run(&self, no: RunNo) -> Result<Option<Run>, Refusal> {
        match self.world.get(no) {
            Some(run) => Ok(Some(run.clone())),
            None => self.ledger.run(no).map_err(|e| unavailable(&e)),
        }
    }

    /// A wish about one run, which may have ended.
    pub(super) fn about(&mut self, no: RunNo, wish: Wish, batch: &mut Batch) -> Result<Run, Refusal> {
        let now = self.now();
        match self.world.wish(now, wish, &mut batch.fx) {
            Ok(Granted::Run(run)) => Ok(*run),
            Ok(Granted::Released(_) | Granted::Job(_) | Granted::Done | Granted::Farewell(_)) => {
                Err(Refusal::Unknown { run: no })
            }
            Err(Refusal::Unknown { run }) => match batch.fx.changed.get(&run) {
                Some(ended) => Err(has_ended(ended)),
                None => Err(self.any_run(run)?.map_or(Refusal::Unknown { run }, |run| has_ended(&run))),
            },
            Err(refusal) => Err(refusal),
        }
    }

    pub(super) fn upgrade(&self, program: &std::path::Path, batch: &mut Batch) -> Result<(), Refusal> {
        let info = *self.chain.borrow();
        if info.guard != Guard::Whole || !info.settled {
            return Err(Refusal::Degraded);
        }
        if info.upgrade == Progress::UnderWay {
            return Err(Refusal::Unavailable { why: "an upgrade is under way; try again when it is done".into() });
        }
        self.write_upgrade(program).map_err(|e| Refusal::Unavailable { why: format!("the upgrade: {e}") })?;
        self.note("server.upgrade", format!("the server becomes {}", program.display()), batch);
        Ok(())
    }
}

pub(super) fn answering<T: 'static>(reply: handle::Reply<T>, answer: Result<T, Refusal>) -> Answer {
    Box::new(move |failed| {
        // Who asked may have gone.
        drop(reply.send(match failed {
            Some(refusal) => answer.and(Err(refusal.clone())),
            None => answer,
        }));
    })
}

pub(super) fn has_ended(run: &Run) -> Refusal {
    match run.outcome() {
        Some(outcome) => Refusal::Ended { run: run.id(), outcome: outcome.clone() },
        None => Refusal::Unknown { run: run.no },
    }
}

pub(super) fn unavailable(e: &ReadError) -> Refusal {
    Refusal::Unavailable { why: words(e) }
}
