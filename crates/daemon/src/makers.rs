//! Threads for what may take its time: files on somebody's network, directories of users, names of hosts. Whoever waits
//! there holds up nobody but the others in this line.
//!
//! A thread that hangs cannot be ended. So there are few, made when they are needed first; while all of them hang, what
//! comes waits in line, until whoever sent it waits no longer. Each says what it asks for just now, and since when.

use crate::clock;
use crate::surroundings::Asked;
use kin_core::{JobName, RunId, Time};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many hang at the most.
pub const MOST: usize = 4;

type Todo = Box<dyn FnOnce(&mut dyn FnMut(&Asked)) + Send>;

/// Cloned freely; all are one line. The threads end with the last of them, if they can.
#[derive(Clone, Debug)]
pub struct Makers {
    shared: Arc<Shared>,
    /// Counts those who may still send something.
    _open: Arc<Open>,
}

/// Names a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What one thread is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtWork {
    pub run: RunId,
    pub asked: Asked,
    pub since: Time,
}

/// How far a piece of work has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody has begun with it. The first of those whom it waits for.
    InLine {
        behind: Option<AtWork>,
    },
    At(AtWork),
    /// Done, or never heard of.
    Nothing,
}

#[derive(Debug, Default)]
struct Shared {
    line: Mutex<Line>,
    more: Condvar,
}

#[derive(Default)]
struct Line {
    next: u64,
    waiting: VecDeque<Piece>,
    at_work: BTreeMap<Ticket, (AtWork, Instant)>,
    /// Jobs of which no second piece may be begun now.
    alone: Vec<JobName>,
    threads: usize,
    idle: usize,
    over: bool,
}

struct Piece {
    ticket: Ticket,
    run: RunId,
    /// Two of one job would be in each other's way.
    alone: bool,
    todo: Todo,
}

#[derive(Debug)]
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.more.notify_all();
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("waiting", &self.waiting.len())
            .field("at_work", &self.at_work)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing is left half done by whoever panics with it.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Makers {
    fn default() -> Makers {
        let shared = Arc::new(Shared::default());
        Makers { _open: Arc::new(Open(Arc::clone(&shared))), shared }
    }
}

impl Makers {
    /// Puts it at the end of the line. `todo` is given whom to tell what it asks for, before it does; what comes of it, it
    /// says itself.
    pub fn send(&self, run: &RunId, alone: bool, todo: impl FnOnce(&mut dyn FnMut(&Asked)) + Send + 'static) -> Ticket {
        let mut line = self.shared.lock();
        line.next += 1;
        let ticket = Ticket(line.next);
        line.waiting.push_back(Piece { ticket, run: run.clone(), alone, todo: Box::new(todo) });
        if line.waiting.len() > line.idle && line.threads < MOST {
            let shared = Arc::clone(&self.shared);
            match std::thread::Builder::new().name("kin-maker".into()).spawn(move || work(&shared)) {
                Ok(_) => line.threads += 1,
                // Those that are there do it; if there are none, whoever waits for it hears nothing in time.
                Err(e) => crate::say!("kin daemon: a thread cannot be made: {e}"),
            }
        }
        self.shared.more.notify_one();
        ticket
    }

    /// Nobody waits for it any more. True: nobody has begun with it, and nobody will.
    pub fn forget(&self, ticket: Ticket) -> bool {
        let mut line = self.shared.lock();
        let before = line.waiting.len();
        line.waiting.retain(|piece| piece.ticket != ticket);
        line.waiting.len() < before
    }

    pub fn progress(&self, ticket: Ticket) -> Progress {
        let line = self.shared.lock();
        match line.at_work.get(&ticket) {
            Some((at_work, _)) => Progress::At(at_work.clone()),
            None if line.waiting.iter().any(|piece| piece.ticket == ticket) => line.behind(),
            None => Progress::Nothing,
        }
    }

    /// The same of a run.
    pub fn progress_of(&self, run: &RunId) -> Progress {
        let line = self.shared.lock();
        if let Some((at_work, _)) = line.at_work.values().find(|(at_work, _)| at_work.run == *run) {
            return Progress::At(at_work.clone());
        }
        if line.waiting.iter().any(|piece| piece.run == *run) { line.behind() } else { Progress::Nothing }
    }

    /// Those who have waited for one answer for so long, and how many wait in line.
    pub fn hanging(&self, long: Duration) -> (Vec<AtWork>, usize) {
        let line = self.shared.lock();
        let hangs = line.at_work.values().filter(|(_, since)| since.elapsed() >= long);
        (hangs.map(|(at_work, _)| at_work.clone()).collect(), line.waiting.len())
    }
}

impl Line {
    fn behind(&self) -> Progress {
        let first = self.at_work.values().min_by_key(|(_, since)| *since);
        Progress::InLine { behind: first.map(|(at_work, _)| at_work.clone()) }
    }

    fn take(&mut self) -> Option<Piece> {
        let free = |piece: &Piece| !(piece.alone && self.alone.contains(&piece.run.job));
        let at = self.waiting.iter().position(free)?;
        self.waiting.remove(at)
    }
}

fn work(shared: &Shared) {
    let mut line = shared.lock();
    loop {
        let Some(Piece { ticket, run, alone, todo }) = line.take() else {
            if line.over {
                return;
            }
            line.idle += 1;
            line = shared.more.wait(line).unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
            continue;
        };
        if alone {
            line.alone.push(run.job.clone());
        }
        let at = |asked: Asked| (AtWork { run: run.clone(), asked, since: clock::now() }, Instant::now());
        line.at_work.insert(ticket, at(Asked::Nothing));
        drop(line);
        todo(&mut |asked| drop(shared.lock().at_work.insert(ticket, at(asked.clone()))));
        line = shared.lock();
        line.at_work.remove(&ticket);
        if alone && let Some(at) = line.alone.iter().position(|job| *job == run.job) {
            line.alone.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_core::RunNo;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(20);

    fn id(job: &str, no: u64) -> RunId {
        RunId { job: JobName::parse(job).expect("a name"), no: RunNo::new(no).expect("a number") }
    }

    #[test]
    fn who_hangs_holds_up_nobody_while_a_thread_is_left_and_all_is_done_in_the_end() {
        let makers = Makers::default();
        let (done, told) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let mut gates = Vec::new();
        for n in 1..MOST as u64 {
            let (open, gate) = mpsc::channel::<()>();
            gates.push(open);
            let begun = begun.clone();
            makers.send(&id("hangs", n), false, move |tell| {
                tell(&Asked::Socket("x".into()));
                begun.send(()).ok();
                gate.recv().ok();
            });
        }
        for _ in 1..MOST {
            begins.recv_timeout(LONG).expect("begun");
        }
        let send = |n: u64| {
            let done = done.clone();
            makers.send(&id("quick", n), false, move |_| done.send(n).unwrap_or_default())
        };
        for n in 10..20 {
            send(n);
        }
        let said: Vec<u64> = (10..20).map(|_| told.recv_timeout(LONG).expect("done")).collect();
        assert_eq!(said, (10..20).collect::<Vec<_>>(), "in their order, by the one that is left");
        // (The last of the others may not have put its work down yet.)
        let (at_work, waiting) = makers.hanging(Duration::ZERO);
        let hanging = at_work.iter().filter(|at| at.run.job.as_str() == "hangs");
        assert_eq!((hanging.clone().count(), waiting), (MOST - 1, 0));
        assert!(hanging.clone().all(|at| at.asked == Asked::Socket("x".into())));
        // Now all of them hang.
        let (open, gate) = mpsc::channel::<()>();
        makers.send(&id("hangs", 9), false, move |_| {
            begun.send(()).ok();
            gate.recv().ok();
        });
        begins.recv_timeout(LONG).expect("begun");
        let (first, second) = (send(30), send(31));
        assert!(matches!(makers.progress(first), Progress::InLine { behind: Some(_) }));
        assert!(matches!(makers.progress_of(&id("hangs", 9)), Progress::At(_)));
        assert!(makers.forget(first) && !makers.forget(first));
        drop(open);
        assert_eq!(told.recv_timeout(LONG), Ok(31), "the first was forgotten");
        assert!(!makers.forget(second));
        drop(gates);
    }

    #[test]
    fn two_that_are_to_be_alone_are_not_begun_at_once() {
        let makers = Makers::default();
        let (told, tells) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let say = |word: &'static str| {
            let told = told.clone();
            move |_: &mut dyn FnMut(&Asked)| told.send(word).unwrap_or_default()
        };
        makers.send(&id("a", 1), true, {
            let say = say("first");
            move |tell| {
                gate.recv().ok();
                say(tell);
            }
        });
        makers.send(&id("a", 2), true, say("second"));
        makers.send(&id("b", 3), true, say("other"));
        assert_eq!(tells.recv_timeout(LONG), Ok("other"));
        drop(open);
        assert_eq!([tells.recv_timeout(LONG), tells.recv_timeout(LONG)], [Ok("first"), Ok("second")]);
    }
}
