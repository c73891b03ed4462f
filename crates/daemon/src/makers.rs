//! Threads for what may take its time: files on somebody's network, directories of users, names of hosts. Whoever waits
//! there holds up nobody but the others in this line.
//!
//! A thread that hangs cannot be ended. So of each job one piece at a time is begun, and few pieces of each kind; one
//! that is given up on is counted no longer, and leaves its thread to the next one's. Each says what it asks for just now,
//! and since when.

use crate::clock;
use crate::surroundings::Asked;
use kin_core::{JobName, RunId, Time};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many of a kind are begun, beside those that are given up on.
const MOST: usize = 4;
/// So many of a kind hang at the most, also of those that are given up on.
const HANG_MOST: usize = 64;
const KINDS: usize = 3;

/// What a piece of work is for. None of one kind waits for those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A run is to begin.
    Start,
    /// A run that lives has lost what it had.
    Restore,
    /// Only to say what a run would be. `alone`: it leaves names for a while that are those of all dry runs.
    Rehearsal { alone: bool },
}

impl Errand {
    fn is_kind_of(self, other: Errand) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
    const fn is_alone(self) -> bool {
        matches!(self, Errand::Rehearsal { alone: true })
    }
}

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
    at_work: BTreeMap<Ticket, Begun>,
    threads: usize,
    idle: usize,
    over: bool,
}

#[derive(Debug)]
struct Begun {
    errand: Errand,
    at_work: AtWork,
    /// Since when it waits for that.
    asks: Instant,
    begun: Instant,
    given_up: bool,
}

struct Piece {
    ticket: Ticket,
    run: RunId,
    errand: Errand,
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
    pub fn send(
        &self,
        run: &RunId,
        errand: Errand,
        todo: impl FnOnce(&mut dyn FnMut(&Asked)) + Send + 'static,
    ) -> Ticket {
        let mut line = self.shared.lock();
        line.next += 1;
        let ticket = Ticket(line.next);
        line.waiting.push_back(Piece { ticket, run: run.clone(), errand, todo: Box::new(todo) });
        give_hands(&self.shared, &mut line);
        ticket
    }

    /// Nobody waits for it any more. True: nobody has begun with it, and nobody will.
    pub fn forget(&self, ticket: Ticket) -> bool {
        let mut line = self.shared.lock();
        let before = line.waiting.len();
        line.waiting.retain(|piece| piece.ticket != ticket);
        line.waiting.len() < before
    }

    /// It takes too long. Whoever is at it stays there, and others have his place; of its job nothing of this kind is
    /// begun before it is done.
    pub fn give_up(&self, ticket: Ticket) {
        let mut line = self.shared.lock();
        if let Some(begun) = line.at_work.get_mut(&ticket) {
            begun.given_up = true;
            give_hands(&self.shared, &mut line);
        }
    }

    /// Who hangs of this job, and was given up on: while he does, nothing of this kind is begun for it.
    pub fn hangs(&self, errand: Errand, job: &JobName) -> Option<AtWork> {
        let line = self.shared.lock();
        let hangs = |begun: &&Begun| begun.given_up && begun.is_of(errand, job);
        line.at_work.values().find(hangs).map(|begun| begun.at_work.clone())
    }

    /// When somebody began with it, if he is still at it.
    pub fn begun(&self, ticket: Ticket) -> Option<Instant> {
        self.shared.lock().at_work.get(&ticket).map(|begun| begun.begun)
    }

    pub fn progress(&self, ticket: Ticket) -> Progress {
        let line = self.shared.lock();
        match line.at_work.get(&ticket) {
            Some(begun) => Progress::At(begun.at_work.clone()),
            None => line.behind(|piece| piece.ticket == ticket),
        }
    }

    /// The same of a run.
    pub fn progress_of(&self, run: &RunId) -> Progress {
        let line = self.shared.lock();
        let at = line.at_work.values().find(|begun| begun.at_work.run == *run);
        at.map_or_else(|| line.behind(|piece| piece.run == *run), |begun| Progress::At(begun.at_work.clone()))
    }

    /// Those who have waited for one answer for so long, and how many wait in line.
    pub fn hanging(&self, long: Duration) -> (Vec<AtWork>, usize) {
        let line = self.shared.lock();
        let hangs = line.at_work.values().filter(|begun| begun.asks.elapsed() >= long);
        (hangs.map(|begun| begun.at_work.clone()).collect(), line.waiting.len())
    }
}

impl Begun {
    fn is_of(&self, errand: Errand, job: &JobName) -> bool {
        self.errand.is_kind_of(errand) && self.at_work.run.job == *job
    }
    /// Whether a piece cannot be begun beside it.
    fn is_in_the_way_of(&self, piece: &Piece) -> bool {
        self.is_of(piece.errand, &piece.run.job) || self.errand.is_alone() && piece.errand.is_alone()
    }
}

impl Line {
    /// What the first one waits for that is meant: who is in its way, or else who was there first.
    fn behind(&self, is_meant: impl Fn(&Piece) -> bool) -> Progress {
        let Some(piece) = self.waiting.iter().find(|piece| is_meant(piece)) else { return Progress::Nothing };
        let kind = self.at_work.values().filter(|begun| begun.errand.is_kind_of(piece.errand));
        let first = kind.min_by_key(|begun| (!begun.is_in_the_way_of(piece), begun.asks));
        Progress::InLine { behind: first.map(|begun| begun.at_work.clone()) }
    }

    fn may_begin(&self, piece: &Piece) -> bool {
        let kind = || self.at_work.values().filter(|begun| begun.errand.is_kind_of(piece.errand));
        kind().filter(|begun| !begun.given_up).count() < MOST
            && kind().count() < HANG_MOST
            && !kind().any(|begun| begun.is_in_the_way_of(piece))
    }

    fn next(&self) -> Option<usize> {
        self.waiting.iter().position(|piece| self.may_begin(piece))
    }

    fn given_up(&self) -> usize {
        self.at_work.values().filter(|begun| begun.given_up).count()
    }
}

/// Somebody for what may be begun.
fn give_hands(shared: &Arc<Shared>, line: &mut Line) {
    if line.next().is_none() {
        return;
    }
    if line.waiting.len() > line.idle && line.threads < line.given_up() + KINDS * MOST {
        let theirs = Arc::clone(shared);
        match std::thread::Builder::new().name("kin-maker".into()).spawn(move || work(&theirs)) {
            Ok(_) => line.threads += 1,
            // Those that are there do it; if there are none, whoever waits for it hears nothing in time.
            Err(e) => crate::say!("kin daemon: a thread cannot be made: {e}"),
        }
    }
    shared.more.notify_all();
}

fn work(shared: &Arc<Shared>) {
    let mut line = shared.lock();
    loop {
        let Some(Piece { ticket, run, errand, todo }) = line.next().and_then(|at| line.waiting.remove(at)) else {
            // Others have taken the place of one who was given up on.
            if line.over || line.threads > line.given_up() + KINDS * MOST {
                line.threads -= 1;
                return;
            }
            line.idle += 1;
            line = shared.more.wait(line).unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
            continue;
        };
        let begun = Instant::now();
        let at_work = AtWork { run, asked: Asked::Nothing, since: clock::now() };
        line.at_work.insert(ticket, Begun { errand, at_work, asks: begun, begun, given_up: false });
        drop(line);
        todo(&mut |asked| {
            if let Some(begun) = shared.lock().at_work.get_mut(&ticket) {
                (begun.at_work.asked, begun.at_work.since) = (asked.clone(), clock::now());
                begun.asks = Instant::now();
            }
        });
        line = shared.lock();
        line.at_work.remove(&ticket);
        give_hands(shared, &mut line);
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

    /// One that hangs until what is given back is dropped.
    fn hangs(makers: &Makers, run: &RunId, errand: Errand) -> (Ticket, mpsc::Sender<()>) {
        let ((open, gate), (begun, begins)) = (mpsc::channel::<()>(), mpsc::channel());
        let ticket = makers.send(run, errand, move |tell| {
            tell(&Asked::Socket("x".into()));
            begun.send(()).ok();
            gate.recv().ok();
        });
        begins.recv_timeout(LONG).expect("begun");
        (ticket, open)
    }

    #[test]
    fn who_hangs_holds_up_nobody_while_there_is_a_place_and_all_is_done_in_the_end() {
        let makers = Makers::default();
        let (done, told) = mpsc::channel();
        let mut gates: Vec<_> =
            (1..MOST).map(|n| hangs(&makers, &id(&format!("hangs{n}"), 1), Errand::Start).1).collect();
        let send = |n: u64| {
            let done = done.clone();
            makers.send(&id("quick", n), Errand::Start, move |_| done.send(n).unwrap_or_default())
        };
        for n in 10..20 {
            send(n);
        }
        let said: Vec<u64> = (10..20).map(|_| told.recv_timeout(LONG).expect("done")).collect();
        assert_eq!(said, (10..20).collect::<Vec<_>>(), "in their order, by the one that is left");
        // (The last of the others may not have put its work down yet.)
        let (at_work, waiting) = makers.hanging(Duration::ZERO);
        let hanging = at_work.iter().filter(|at| at.run.job.as_str() != "quick");
        assert_eq!((hanging.clone().count(), waiting), (MOST - 1, 0));
        assert!(hanging.clone().all(|at| at.asked == Asked::Socket("x".into())));
        // Now all of them hang.
        let (last, gate) = hangs(&makers, &id("hangs", 9), Errand::Start);
        let (first, second) = (send(30), send(31));
        assert!(matches!(makers.progress(first), Progress::InLine { behind: Some(_) }));
        assert!(matches!(makers.progress_of(&id("hangs", 9)), Progress::At(_)));
        assert!(makers.begun(last).is_some() && makers.begun(first).is_none());
        // Other kinds have places of their own.
        for errand in [Errand::Restore, Errand::Rehearsal { alone: true }] {
            let done = done.clone();
            makers.send(&id("hangs", 9), errand, move |_| done.send(1).unwrap_or_default());
            assert_eq!(told.recv_timeout(LONG), Ok(1));
        }
        assert!(makers.forget(first) && !makers.forget(first));
        drop(gate);
        assert_eq!(told.recv_timeout(LONG), Ok(31), "the first was forgotten");
        assert!(!makers.forget(second));
        gates.clear();
    }

    #[test]
    fn who_is_given_up_on_leaves_his_place_and_only_his_job_waits() {
        let makers = Makers::default();
        let mut gates = Vec::new();
        for n in 0..2 * MOST {
            let (ticket, gate) = hangs(&makers, &id(&format!("hangs{n}"), 1), Errand::Start);
            assert_eq!(makers.hangs(Errand::Start, &id(&format!("hangs{n}"), 1).job), None);
            makers.give_up(ticket);
            gates.push(gate);
        }
        let first = id("hangs0", 1);
        assert_eq!(makers.hangs(Errand::Start, &first.job).map(|at| at.run), Some(first.clone()));
        assert_eq!(makers.hangs(Errand::Restore, &first.job), None);
        let (done, told) = mpsc::channel();
        let again = makers.send(&id("hangs0", 2), Errand::Start, move |_| done.send(()).unwrap_or_default());
        // Whoever comes after it is done before it.
        drop(hangs(&makers, &id("other", 3), Errand::Start));
        let behind = Progress::InLine { behind: makers.hangs(Errand::Start, &first.job) };
        assert_eq!(makers.progress(again), behind);
        drop(gates.remove(0));
        assert_eq!(told.recv_timeout(LONG), Ok(()));
    }

    #[test]
    fn two_of_one_job_or_two_that_are_to_be_alone_are_not_begun_at_once() {
        let alone = Errand::Rehearsal { alone: true };
        for (first, second, errand) in [("a", "a", Errand::Start), ("a", "c", alone)] {
            let makers = Makers::default();
            let (told, tells) = mpsc::channel();
            let say = |word: &'static str| {
                let told = told.clone();
                move |_: &mut dyn FnMut(&Asked)| told.send(word).unwrap_or_default()
            };
            let (_, gate) = hangs(&makers, &id(first, 1), errand);
            let waits = makers.send(&id(second, 2), errand, say("second"));
            let other = if errand == alone { Errand::Rehearsal { alone: false } } else { errand };
            makers.send(&id("b", 3), other, say("other"));
            assert_eq!(tells.recv_timeout(LONG), Ok("other"));
            assert!(matches!(makers.progress(waits), Progress::InLine { behind: Some(_) }));
            drop(gate);
            assert_eq!(tells.recv_timeout(LONG), Ok("second"));
        }
    }
}
