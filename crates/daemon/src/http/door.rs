//! What every handler has at hand.

use super::body::Named;
use super::convert;
use super::error::{Answer, Failure};
use super::tcp::Opened;
use crate::endings::{Ending, Endings};
use crate::engine::Handle;
use crate::jobfiles::Look;
use crate::output::LogFiles;
use crate::output::growth::Watcher;
use crate::surroundings::Server as Runs;
use kin_core::{Refusal, Run, RunId, RunState, Time};
use kin_keeper::index::Stream;
use kin_ledger::Reader;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug)]
pub struct Door {
    pub engine: Handle,
    pub endings: Endings,
    pub watcher: Watcher,
    /// Asks for a reading of the job files; `None`: nobody knows where they are.
    pub files: Option<Look>,
    pub about: About,
}

/// The server, as it was when it began to serve.
#[derive(Clone, Debug)]
pub struct About {
    pub state: PathBuf,
    pub run: PathBuf,
    pub host: String,
    pub started_at: Time,
    pub boot: String,
    /// `full` or `fast`.
    pub durability: &'static str,
    /// `[kin] on_exit = "stop"`: whoever ends the server without a word about its runs stops them.
    pub stops_on_exit: bool,
    /// What the ledger was found as, in words.
    pub ledger: String,
    /// What runs are given back, as the server's own was raised.
    pub files_soft: Option<u64>,
    /// What all runs of defined jobs share.
    pub server: Runs,
    /// Those on TCP.
    pub doors: watch::Receiver<Vec<Opened>>,
}

impl Door {
    /// Must be called inside the runtime.
    pub fn new(engine: Handle, about: About, files: Option<Look>) -> std::io::Result<Arc<Door>> {
        let endings = Endings::new(engine.clone(), about.host.clone());
        Ok(Arc::new(Door { engine, endings, watcher: Watcher::new()?, files, about }))
    }

    /// Reads the ledger where waiting for a disk harms nobody.
    pub async fn read<T, F>(&self, ask: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Answer<T> + Send + 'static,
    {
        let engine = self.engine.clone();
        let read = tokio::task::spawn_blocking(move || ask(&*engine.reader()?)).await;
        let read = read.unwrap_or_else(|_| Err(Failure::internal("reading the ledger broke off")));
        if let Err(Failure { damage: Some(what), .. }) = &read {
            // Where it is mended, that answer is never given (serve.rs).
            let _mends = self.engine.damaged(what.clone()).await;
        }
        read
    }

    /// The run as it is known, also where that could not be recorded.
    pub async fn run(&self, named: &Named) -> Answer<Run> {
        Ok(self.newest(self.recorded(named).await?))
    }

    async fn recorded(&self, named: &Named) -> Answer<Run> {
        let no = named.no;
        let run = self.read(move |ledger| Ok(ledger.run(no)?)).await?;
        let fits = |run: &Run| named.job.as_ref().is_none_or(|job| *job == run.job);
        run.filter(fits).ok_or_else(|| Failure::no_run(&named.text))
    }

    /// The run, and a seat from which its end is heard of.
    pub async fn run_and_ending(&self, named: &Named) -> Answer<(Run, Ending)> {
        let ending = self.endings.wait_for(named.no);
        // Whoever waits for the end waits for its record.
        let run = self.recorded(named).await?;
        let ending = if run.outcome().is_some() { Ending::known(self.said(&run)) } else { ending };
        Ok((run, ending))
    }

    /// The engine knows only runs that are not over: of the others, say so.
    pub async fn or_ended(&self, named: &Named, refusal: Refusal) -> Failure {
        if !super::error::is_unknown(&refusal, named.no) {
            return refusal.into();
        }
        match self.run(named).await {
            Ok(run) => match &run.state {
                RunState::Ended { outcome } => Refusal::Ended { run: run.id(), outcome: outcome.clone() }.into(),
                RunState::Held { .. }
                | RunState::Waiting { .. }
                | RunState::Queued
                | RunState::Starting { .. }
                | RunState::Running { .. }
                | RunState::Stopping { .. }
                | RunState::Draining { .. } => refusal.into(),
            },
            Err(failure) => failure,
        }
    }

    /// What is known of a run that the ledger showed.
    pub fn newest(&self, run: Run) -> Run {
        let unwritten = self.engine.trouble().unwritten;
        let newer = unwritten.as_ref().and_then(|unwritten| unwritten.runs.get(&run.no));
        newer.filter(|_| run.outcome().is_none()).cloned().unwrap_or(run)
    }

    pub fn said(&self, run: &Run) -> kin_api::Run {
        let unwritten = self.engine.trouble().unwritten;
        let unwritten = unwritten.filter(|u| u.runs.get(&run.no).is_some_and(|newer| newer.state == run.state));
        kin_api::Run {
            not_recorded: unwritten.map(|unwritten| unwritten.why.clone()),
            ..convert::run(run, &self.about.host)
        }
    }

    /// As they were said, but of those that still write with the lengths of their files: the ledger has them only from
    /// the end on.
    pub async fn so_far(&self, said: Vec<kin_api::Run>) -> Vec<kin_api::Run> {
        let writes = |run: &kin_api::Run| run.outcome.is_none() && run.started_at.is_some();
        if !said.iter().any(writes) {
            return said;
        }
        let (state, as_said) = (self.about.state.clone(), said.clone());
        let measured = tokio::task::spawn_blocking(move || {
            let measure = |run: &mut kin_api::Run| {
                let Some(files) = RunId::parse(&run.id).map(|id| LogFiles::of(&state, &id)) else { return };
                // What cannot be looked at is not known to be more.
                let len = |stream| files.stream(stream).end().unwrap_or(0);
                run.out_bytes = run.out_bytes.max(len(Stream::Out));
                run.err_bytes = run.err_bytes.max(len(Stream::Err));
            };
            let mut said = said;
            said.iter_mut().filter(|run| writes(run)).for_each(measure);
            said
        });
        measured.await.unwrap_or(as_said)
    }

    pub async fn one_so_far(&self, said: kin_api::Run) -> kin_api::Run {
        let as_said = said.clone();
        self.so_far(vec![said]).await.pop().unwrap_or(as_said)
    }

    pub fn logs(&self, run: &Run) -> LogFiles {
        LogFiles::of(&self.about.state, &run.id())
    }
}
