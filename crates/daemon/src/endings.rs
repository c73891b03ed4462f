//! Who waits for a run's end.
//!
//! One task reads the events of each commit once, for all that wait, and only while somebody does. Whoever waits first
//! takes a seat and then reads the run: an end that came before is in the row, one that comes after finds the seat.

use crate::engine::Handle;
use crate::http::convert;
use kin_core::{Run, RunNo};
use kin_ledger::{ReadError, Stage};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// As many events are read at a time.
const PAGE: u32 = 1000;
/// A ledger that could not be read is read again after so long.
const AGAIN: Duration = Duration::from_millis(200);

type Said = Option<Arc<kin_api::Run>>;

#[derive(Clone, Debug)]
pub struct Endings {
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    runs: Mutex<HashMap<RunNo, Seats>>,
}

#[derive(Debug)]
struct Seats {
    say: watch::Sender<Said>,
    taken: usize,
}

/// One who waits. Dropping it gives the seat back.
#[derive(Debug)]
pub struct Ending {
    said: watch::Receiver<Said>,
    seat: Option<(Arc<Waiting>, RunNo)>,
}

impl Endings {
    /// Must be called inside the runtime.
    pub fn new(engine: Handle, host: String) -> Endings {
        let waiting = Arc::<Waiting>::default();
        tokio::spawn(listen(Arc::clone(&waiting), engine, host));
        Endings { waiting }
    }

    /// Takes a seat. Read the run after this, not before.
    pub fn wait_for(&self, no: RunNo) -> Ending {
        let mut runs = self.waiting.runs();
        let seats = runs.entry(no).or_insert_with(|| Seats { say: watch::channel(None).0, taken: 0 });
        seats.taken += 1;
        Ending { said: seats.say.subscribe(), seat: Some((Arc::clone(&self.waiting), no)) }
    }
}

impl Ending {
    /// Of a run that has ended already.
    pub fn known(run: kin_api::Run) -> Ending {
        Ending { said: watch::channel(Some(Arc::new(run))).1, seat: None }
    }

    /// Said by whoever holds the other end.
    pub fn told_by(said: watch::Receiver<Said>) -> Ending {
        Ending { said, seat: None }
    }

    pub fn now(&self) -> Said {
        self.said.borrow().clone()
    }

    pub async fn wait(&mut self) -> Arc<kin_api::Run> {
        loop {
            if let Some(run) = self.now() {
                return run;
            }
            if self.said.changed().await.is_err() {
                // Nobody can say it any more: the server is ending, and its connections with it.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some((waiting, no)) = self.seat.take() else { return };
        let mut runs = waiting.runs();
        if let Some(seats) = runs.get_mut(&no) {
            seats.taken -= 1;
            if seats.taken == 0 {
                runs.remove(&no);
            }
        }
    }
}

impl Waiting {
    fn runs(&self) -> MutexGuard<'_, HashMap<RunNo, Seats>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, run: &Run, host: &str) {
        if let Some(seats) = self.runs().get(&run.no) {
            seats.say.send_replace(Some(Arc::new(convert::run(run, host))));
        }
    }
}

async fn listen(waiting: Arc<Waiting>, engine: Handle, host: String) {
    let mut committed = engine.watch();
    let mut seen = committed.borrow_and_update().event_seq;
    while committed.changed().await.is_ok() {
        // In this order: whoever takes a seat after this look has read a run that had not ended by `newest`, and the
        // events beyond that are for the next turn.
        let newest = committed.borrow_and_update().event_seq;
        let awaited: Arc<HashSet<RunNo>> = Arc::new(waiting.runs().keys().copied().collect());
        while !awaited.is_empty() && seen < newest {
            let (engine, awaited) = (engine.clone(), Arc::clone(&awaited));
            match tokio::task::spawn_blocking(move || ended(&engine, seen, newest, &awaited)).await {
                Ok(Ok(runs)) => {
                    runs.iter().for_each(|run| waiting.tell(run, &host));
                    break;
                }
                // No commit may follow that would make us look again.
                Ok(Err(_)) | Err(_) => again().await,
            }
        }
        seen = newest;
    }
}

#[expect(clippy::disallowed_methods, reason = "no event tells that a ledger can be read again")]
async fn again() {
    tokio::time::sleep(AGAIN).await;
}

/// The awaited runs that ended with the events after `seen`, up to `newest`.
fn ended(engine: &Handle, mut seen: u64, newest: u64, awaited: &HashSet<RunNo>) -> Result<Vec<Run>, ReadError> {
    let reader = engine.reader()?;
    let mut runs = Vec::new();
    while seen < newest {
        let events = reader.events_after(seen, PAGE)?;
        let Some(last) = events.last() else { break };
        seen = last.seq;
        for event in events.iter().take_while(|event| event.seq <= newest) {
            let ends = event.change.as_ref().is_some_and(|change| change.to == Stage::Ended);
            if let Some(no) = event.run.as_ref().map(|run| run.no).filter(|no| ends && awaited.contains(no)) {
                runs.extend(reader.run(no)?);
            }
        }
    }
    Ok(runs)
}
