//! The engine with a real ledger and keepers that only pretend, over real tables and sockets.

mod clock;
mod fake;
mod jobs;

use super::*;
use fake::Fake;
use kin_core::{JobName, LostWhy, NewRun, Outcome, Run, RunState, Serial, StopKind, StopWhy, Trigger};
use kin_keeper::spec::Spec;
use kin_ledger::{Query, Reader, Stage};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use tempfile::TempDir;

/// Where an engine of this state directory dies, and which ones have no room on their disk.
static DEATHS: Mutex<BTreeMap<PathBuf, &'static str>> = Mutex::new(BTreeMap::new());
static FULL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// What a dying engine unwinds with; nothing of it is printed.
struct Death;

pub(super) fn perhaps_die(state: &Path, step: &'static str) {
    let mut deaths = DEATHS.lock().expect("deaths");
    if deaths.get(state) == Some(&step) {
        deaths.remove(state);
        drop(deaths);
        std::panic::resume_unwind(Box::new(Death));
    }
}

pub(super) fn is_disk_full(state: &Path) -> bool {
    FULL.lock().expect("disks").contains(state)
}

fn by() -> String {
    "uid:7".into()
}

/// A place for a server, which outlives its engines.
struct House {
    dir: TempDir,
    fake: Option<Fake>,
    boot: String,
    elders_wanted: std::sync::Arc<AtomicU32>,
    /// What its clock shows more than the machine's, in nanoseconds.
    ahead: std::sync::Arc<AtomicI64>,
}

struct Life {
    handle: Handle,
    ended: oneshot::Receiver<Ended>,
}

impl House {
    fn new() -> House {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["state", "run", "run/spec"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let boot = "boot-1".to_string();
        let fake = Some(Fake::new(&dir.path().join("run"), &boot));
        House { dir, fake, boot, elders_wanted: Default::default(), ahead: Default::default() }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
    fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }
    fn fake(&self) -> &Fake {
        self.fake.as_ref().expect("keepers")
    }

    fn start(&self) -> Life {
        let Started { handle, ended, .. } = start(self.config()).expect("an engine");
        Life { handle, ended }
    }

    fn config(&self) -> Config {
        let wanted = std::sync::Arc::clone(&self.elders_wanted);
        let ahead = std::sync::Arc::clone(&self.ahead);
        Config {
            state: self.state(),
            run: self.run(),
            boot: self.boot.clone(),
            durability: Durability::Normal,
            retention: Retention {
                jobs: BTreeMap::new(),
                max_age_ms: None,
                max_count: None,
                per_job: None,
                events_max_age_ms: None,
                events_max_count: None,
            },
            job_output_max: u64::MAX,
            care_after: Duration::from_secs(300),
            server: Server {
                env: [(b"HOME".to_vec(), b"/".to_vec())].into(),
                ..Server::this(&self.run(), &self.state(), None)
            },
            times: Times::new(&kin_config::Settings::default()),
            new_elder: Box::new(move || {
                wanted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }),
            clock: Box::new(move || {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
                Time(since.as_nanos() as i64 + ahead.load(Ordering::Relaxed))
            }),
            upgraded: false,
        }
    }

    fn dies_at(&self, step: &'static str) {
        DEATHS.lock().expect("deaths").insert(self.state(), step);
    }
    fn disk_full(&self, full: bool) {
        let mut disks = FULL.lock().expect("disks");
        if full {
            disks.insert(self.state());
        } else {
            disks.remove(&self.state());
        }
    }
    fn reader(&self) -> Reader {
        Reader::open(&self.state()).expect("a reader")
    }
    fn specs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.run().join("spec")).expect("specs");
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
    fn events(&self, kind: &str) -> usize {
        self.reader().events_after(0, 10_000).expect("events").iter().filter(|e| e.kind == kind).count()
    }
}

impl Life {
    /// Waits until the ledger shows it.
    async fn until<T>(&self, mut look: impl FnMut(&Reader) -> Option<T>) -> T {
        let mut watch = self.handle.watch();
        let waiting = async {
            loop {
                watch.borrow_and_update();
                let found = look(&self.handle.reader().expect("a reader"));
                if let Some(found) = found {
                    return found;
                }
                watch.changed().await.expect("an engine");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time")
    }
    async fn ended(&self, no: RunNo) -> Run {
        self.until(|reader| reader.run(no).expect("read").filter(|run| run.outcome().is_some())).await
    }
    async fn in_state(&self, no: RunNo, word: &str) -> Run {
        self.until(|reader| reader.run(no).expect("read").filter(|run| run.state.word() == word)).await
    }
    /// Waits until the engine says it of what it cannot record.
    async fn known<T>(&self, look: impl Fn(&Trouble) -> Option<T>) -> T {
        let mut trouble = self.handle.trouble.clone();
        let waiting = trouble.wait_for(|trouble| look(trouble).is_some());
        let seen = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").expect("an engine");
        look(&seen).expect("it was so")
    }
    async fn settled(&self) {
        let mut chain = self.handle.watch_chain();
        let waiting = chain.wait_for(|info| info.settled);
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").expect("an engine");
    }
    /// It was told to die, and did.
    async fn dead(self) {
        let end = tokio::time::timeout(Duration::from_secs(20), self.ended).await.expect("in time");
        assert!(end.is_err(), "it ended instead of dying: {end:?}");
    }
    async fn over(self) -> Ended {
        tokio::time::timeout(Duration::from_secs(20), self.ended).await.expect("in time").expect("an end")
    }
}

pub(super) fn submit(job: &str) -> Submit {
    let mut spec = Spec::new(b"/", b"");
    spec.programs = vec![b"/bin/true".to_vec()];
    spec.argv = vec![b"true".to_vec()];
    let new = NewRun {
        job: JobName::parse(job).expect("a name"),
        trigger: Trigger::Manual { by: "uid:0".into() },
        command: vec!["true".into()],
        directory: "/".into(),
        timeout_ms: None,
        tags: Vec::new(),
        tty: false,
        latch: None,
        serial: None,
        no_overlap: false,
    };
    Submit { new, spec, key: None }
}

fn keyed(job: &str, key: &str, content: u64) -> Submit {
    Submit { key: Some(Key { text: key.into(), content }), ..submit(job) }
}

fn outcome(run: &Run) -> String {
    run.outcome().map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn a_run_is_accepted_started_and_ended() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let accepted = life.handle.submit(submit("a")).await.expect("accepted");
    assert!(!accepted.repeat);
    let no = accepted.run.no;
    life.in_state(no, "running").await;
    let spec = std::fs::read(house.run().join("spec").join(no.to_string())).expect("a spec");
    let want = format!("KIN_RUN_ID={}", accepted.run.id());
    assert!(spec.split(|b| *b == 0).any(|entry| entry == want.as_bytes()));
    house.fake().exits(no, 3);
    let run = life.ended(no).await;
    assert_eq!((outcome(&run).as_str(), run.exit), ("failed(3)", Some(kin_core::Exit::Code(3))));
    house.fake().until_free(no);
    assert!(house.specs().is_empty());
    assert_eq!(house.fake().executed(no), 1);
}

#[tokio::test]
async fn whoever_dies_at_any_step_starts_it_once_and_ends_it_truly() {
    for step in [
        "accept-minted",
        "accept-spec",
        "accept-committed",
        "accept-answered",
        "start-committed",
        "start-sent",
        "end-committed",
        "end-spec-removed",
        "end-forgotten",
    ] {
        let house = House::new();
        house.fake().all_exit_with(Some(7));
        let life = house.start();
        life.settled().await;
        house.dies_at(step);
        let answer = life.handle.submit(keyed("a", "key", 1)).await;
        life.dead().await;
        let life = house.start();
        // As the CLI does over a broken connection; where it was answered, this only finds it.
        let run = life.handle.submit(keyed("a", "key", 1)).await.unwrap_or_else(|e| panic!("{step}: {e}")).run;
        if let Ok(first) = answer {
            assert_eq!(first.run.no, run.no, "{step}");
        }
        let run = life.ended(run.no).await;
        assert_eq!(outcome(&run), "failed(7)", "{step}");
        house.fake().until_free(run.no);
        assert_eq!(house.fake().executions(), 1, "{step}");
        assert_eq!(house.reader().runs(&Query::default()).expect("runs").runs.len(), 1, "{step}");
        let ends = house.reader().events_of(run.no, 100).expect("events");
        let ends = ends.iter().filter(|e| e.change.as_ref().is_some_and(|c| c.to == Stage::Ended)).count();
        assert_eq!(ends, 1, "{step}");
        life.until(|_| house.specs().is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_key_finds_its_run_and_refuses_another_request() {
    let house = House::new();
    let life = house.start();
    let first = life.handle.submit(keyed("a", "key", 1)).await.expect("accepted").run;
    let again = life.handle.submit(keyed("a", "key", 1)).await.expect("found");
    assert!(again.repeat && again.run.no == first.no);
    let refusal = life.handle.submit(keyed("a", "key", 2)).await.expect_err("refused");
    assert_eq!(refusal, Refusal::KeyReused { key: "key".into(), first: first.id() });
    // In one batch too.
    let both = life.handle.submit_batch(vec![keyed("b", "two", 5), keyed("b", "two", 5)]).await;
    let runs: Vec<(RunNo, bool)> = both.into_iter().map(|r| r.map(|a| (a.run.no, a.repeat)).expect("ok")).collect();
    assert_eq!(runs[0].0, runs[1].0);
    assert_eq!((runs[0].1, runs[1].1), (false, true));
}

#[tokio::test]
async fn a_start_lost_with_its_keeper_is_said_to_the_next() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    house.fake().deaf(true);
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let old = house.fake().current();
    // The elder takes the dead keeper's table over, which is empty, and makes a new keeper.
    house.fake().keeper_dies();
    house.fake().deaf(false);
    let run = life.in_state(no, "running").await;
    assert_ne!(house.fake().generation_of(no), Some(old));
    assert_eq!((house.fake().executed(no), run.no), (1, no));
    house.fake().exits(no, 0);
    assert_eq!(outcome(&life.ended(no).await), "ok");
}

#[tokio::test]
async fn a_start_lost_with_keeper_and_daemon_is_said_again_though_the_table_is_gone() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    house.fake().deaf(true);
    house.dies_at("start-sent");
    let answer = life.handle.submit(submit("a")).await.expect("accepted");
    life.dead().await;
    house.fake().keeper_dies();
    house.fake().deaf(false);
    let life = house.start();
    life.in_state(answer.run.no, "running").await;
    assert_eq!(house.fake().executed(answer.run.no), 1);
}

#[tokio::test]
async fn runs_of_a_dead_keeper_go_on_in_the_hands_of_the_elder() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.fake().keeper_dies();
    let second = life.handle.submit(submit("b")).await.expect("accepted").run.no;
    life.in_state(second, "running").await;
    assert_ne!(house.fake().generation_of(no), house.fake().generation_of(second));
    life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("stopped");
    assert_eq!(outcome(&life.ended(no).await), "stopped");
    house.fake().until_free(no);
    assert_eq!(house.fake().executed(no), 1);
}

#[tokio::test]
async fn a_stop_is_honoured_whenever_it_comes() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    let run = life.handle.stop(held, StopKind::Ladder, StopWhy::Asked, by()).await.expect("granted");
    assert_eq!(outcome(&run), "cancelled");
    let refusal = life.handle.stop(held, StopKind::Ladder, StopWhy::Asked, by()).await.expect_err("over");
    assert_eq!(refusal, Refusal::Ended { run: run.id(), outcome: Outcome::Cancelled });
    // The start is on its way, and so is the daemon's death.
    house.fake().deaf(true);
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("granted");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("b")).await);
    life.dead().await;
    house.fake().deaf(false);
    let life = house.start();
    let run = life.ended(no).await;
    assert!(matches!(outcome(&run).as_str(), "stopped" | "cancelled"), "{run:?}");
    if outcome(&run) == "cancelled" {
        assert_eq!(house.fake().executed(no), 0);
    }
}

#[tokio::test]
async fn a_released_latch_and_a_group_go_in_order() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let mut wish = submit("a");
        wish.new.latch = Some("go".into());
        wish.new.serial = Some(Serial { group: "g".into(), max: 1 });
        runs.push(life.handle.submit(wish).await.expect("accepted").run.no);
    }
    let released = life.handle.release("go".into()).await.expect("released");
    assert_eq!(released.iter().map(|id| id.no).collect::<Vec<_>>(), runs);
    assert!(life.handle.release("go".into()).await.expect("released").is_empty());
    for (i, no) in runs.iter().enumerate() {
        life.in_state(*no, "running").await;
        for later in &runs[i + 1..] {
            assert_eq!(house.reader().run(*later).expect("read").expect("there").state, RunState::Queued);
        }
        house.fake().exits(*no, 0);
        life.ended(*no).await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_wishes_and_keeps_facts() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.disk_full(true);
    let refusal = life.handle.submit(submit("b")).await.expect_err("refused");
    assert_eq!(refusal, Refusal::NoRoom { why: "the disk is full".into() });
    assert_eq!(house.specs(), [no.to_string()]);
    house.fake().exits(no, 4);
    // Refused only after the exit was heard and could not be recorded.
    let refusal = life.handle.submit(submit("b")).await.expect_err("refused");
    assert!(matches!(refusal, Refusal::NoRoom { .. }));
    assert_eq!(house.fake().slot_state(no), Some(kin_keeper::table::DRAINED));
    house.disk_full(false);
    assert_eq!(outcome(&life.ended(no).await), "failed(4)");
    house.fake().until_free(no);
    life.handle.submit(submit("b")).await.expect("accepted again");
}

#[tokio::test]
async fn a_ledger_that_takes_nothing_keeps_no_run_alive() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let other = life.handle.submit(submit("b")).await.expect("accepted").run.no;
    let mut held = submit("c");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    life.in_state(other, "running").await;
    house.disk_full(true);
    let run = life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("done");
    assert_eq!(run.state, RunState::Stopping { why: StopWhy::Asked, kind: StopKind::Ladder });
    life.handle.signal(other, 10, false, false, by()).await.expect("done");
    house.fake().until_signalled(other, 10);
    // Its end is known, and shown as what is not recorded.
    let known = life
        .known(|trouble| {
            let unwritten = trouble.unwritten.as_ref()?;
            unwritten.runs.get(&no).filter(|run| run.outcome().is_some()).cloned()
        })
        .await;
    assert_eq!(outcome(&known), "stopped");
    assert_eq!(house.reader().run(no).expect("read").expect("there").state.word(), "running");
    assert!(life.handle.trouble().full_since.is_some());
    assert_eq!(life.handle.chain().guard, Guard::Whole, "the keepers are as they were");
    // What lies in the ledger alone cannot be ended without it, and does not run.
    let refusal = life.handle.stop(held, StopKind::Ladder, StopWhy::Asked, by()).await.expect_err("refused");
    assert!(matches!(refusal, Refusal::Unavailable { .. }), "{refusal}");
    let refusal = life.handle.release("go".into()).await.expect_err("refused");
    assert!(matches!(refusal, Refusal::NoRoom { .. }), "{refusal}");
    house.disk_full(false);
    assert_eq!(outcome(&life.ended(no).await), "stopped");
    assert_eq!(house.events("disk.full"), 1);
    life.known(|trouble| trouble.unwritten.is_none().then_some(())).await;
    assert_eq!(house.reader().run(held).expect("read").expect("there").state.word(), "held");
}

#[tokio::test]
async fn a_wish_that_was_only_done_is_known_from_the_table() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.disk_full(true);
    house.dies_at("done-unrecorded");
    life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("done");
    life.dead().await;
    house.disk_full(false);
    let life = house.start();
    assert_eq!(outcome(&life.ended(no).await), "stopped");
}

#[tokio::test]
async fn a_server_ends_with_its_runs_though_nothing_can_be_recorded() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let mut held = submit("c");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.disk_full(true);
    let farewell = life.handle.shutdown(true, true, by()).await.expect("granted");
    assert_eq!((farewell.stopping[0].no, farewell.waiting[0].no), (no, held));
    assert!(farewell.cancelled.is_empty());
    assert!(matches!(life.over().await, Ended::Shutdown));
    house.fake().until_closing();
    assert_eq!(house.fake().slot_state(no), Some(kin_keeper::table::DRAINED));
    house.disk_full(false);
    let life = house.start();
    assert_eq!(outcome(&life.ended(no).await), "stopped");
    assert_eq!(house.reader().run(held).expect("read").expect("there").state.word(), "held");
}

#[tokio::test]
async fn a_server_that_ends_leaves_its_runs_and_the_next_reads_how_they_ended() {
    let mut house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    let farewell = life.handle.shutdown(false, false, by()).await.expect("granted");
    assert_eq!((farewell.left[0].no, farewell.waiting[0].no), (no, held));
    assert!(matches!(life.over().await, Ended::Shutdown));
    house.fake().until_closing();
    house.fake().exits(no, 9);
    house.fake().leaves(&house.state());
    house.fake = Some(Fake::new(&house.run(), &house.boot));
    let life = house.start();
    assert_eq!(outcome(&life.ended(no).await), "failed(9)");
    assert_eq!(house.reader().run(held).expect("read").expect("there").state.word(), "held");
    // An answer to a later call: by then all of the first batch is done.
    life.handle.release("nothing".into()).await.expect("released");
    assert_eq!(std::fs::read_dir(house.state().join("left")).expect("left").count(), 0);
}

#[tokio::test]
async fn a_server_that_stops_its_runs_waits_for_them() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    let mut queued = submit("queued");
    queued.new.serial = Some(Serial { group: "one".into(), max: 1 });
    let first = life.handle.submit(queued.clone()).await.expect("accepted").run.no;
    let queued = life.handle.submit(queued).await.expect("accepted").run.no;
    let farewell = life.handle.shutdown(true, true, by()).await.expect("granted");
    let numbers = |ids: &[kin_core::RunId]| ids.iter().map(|id| id.no).collect::<Vec<_>>();
    assert_eq!(numbers(&farewell.stopping), [no, first]);
    assert_eq!((numbers(&farewell.cancelled), farewell.waiting.len()), (vec![held, queued], 0));
    assert!(matches!(life.over().await, Ended::Shutdown));
    let ended = |no| outcome(&house.reader().run(no).expect("read").expect("there"));
    assert_eq!([no, first].map(ended), ["stopped", "stopped"]);
    assert_eq!([held, queued].map(ended), ["cancelled", "cancelled"]);
    assert_eq!(house.specs(), Vec::<String>::new());
    assert_eq!(house.events("run.stop-asked"), 4);
}

#[tokio::test]
async fn what_outlives_both_keepers_is_unowned_and_then_known_or_lost() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().expect("a sleeper");
    house.fake().next_pid(sleeper.id());
    let alive = life.handle.submit(submit("alive")).await.expect("accepted").run.no;
    life.in_state(alive, "running").await;
    // This one's process is gone by then.
    house.fake().next_pid(0x3fff_fff0);
    let gone = life.handle.submit(submit("gone")).await.expect("accepted").run.no;
    life.in_state(gone, "running").await;
    house.fake().both_die();
    let run = life
        .until(|reader| {
            let run = reader.run(alive).expect("read").expect("there");
            (run.state == RunState::Running { unowned: true, interrupted: false }).then_some(run)
        })
        .await;
    assert_eq!(run.pid, Some(sleeper.id()));
    assert_eq!(life.ended(gone).await.outcome(), Some(&Outcome::Lost(LostWhy::Unknown)));
    assert!(house.elders_wanted.load(Ordering::Relaxed) > 0);
    // A new elder comes; the survivor stays what it is, and a stop works on it.
    house.fake().born_again();
    life.settled().await;
    life.handle.stop(alive, StopKind::Kill, StopWhy::Asked, by()).await.expect("granted");
    sleeper.wait().expect("reaped");
    let run = life.ended(alive).await;
    let want = if run.exit.is_some() { "stopped" } else { "lost(unknown)" };
    assert_eq!(outcome(&run), want);
    // The dead generations' tables hold nothing more, and go.
    let tables = || {
        let names = std::fs::read_dir(house.run()).expect("names").flatten();
        names.filter(|e| e.path().extension().is_some_and(|e| e == "tab")).count()
    };
    for _ in 0..3 {
        let no = life.handle.submit(submit("later")).await.expect("accepted").run.no;
        life.in_state(no, "running").await;
    }
    assert_eq!(tables(), 2);
}

/// No table has it, so only who watched it knows of its end.
#[tokio::test]
async fn the_end_of_a_survivor_without_a_table_is_said_until_it_is_recorded() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    house.fake().next_pid(0x3fff_fff0);
    let run = life.handle.submit(submit("a")).await.expect("accepted").run;
    life.in_state(run.no, "running").await;
    let mut command = std::process::Command::new("sleep");
    command.arg("600").env("KIN_RUN_ID", run.id().to_string()).env("KIN_SOCKET", house.run().join("kin.sock"));
    let mut sleeper = command.spawn().expect("a sleeper");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    house.fake().both_die();
    for entry in std::fs::read_dir(house.run()).expect("names").flatten() {
        if entry.path().extension().is_some_and(|e| e == "tab") {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    let life = house.start();
    let unowned = RunState::Running { unowned: true, interrupted: false };
    life.until(|reader| reader.run(run.no).expect("read").filter(|run| run.state == unowned)).await;
    house.disk_full(true);
    sleeper.kill().expect("killed");
    sleeper.wait().expect("reaped");
    // It was tried, and it is not recorded.
    let is_known = |trouble: &Trouble| trouble.unwritten.as_ref()?.runs.get(&run.no)?.outcome().map(drop);
    life.known(is_known).await;
    house.disk_full(false);
    assert_eq!(outcome(&life.ended(run.no).await), "lost(unknown)");
}

#[tokio::test]
async fn an_adoption_that_is_not_recorded_leaves_nothing() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().expect("a sleeper");
    let pid = sleeper.id();
    let ticks = kin_keeper::boot::start_ticks(pid).expect("it lives");
    let wish = Adopt {
        new: submit("foreign").new,
        process: Adopted { pid, ticks, signal: 15, wait_ms: 100 },
        started_at: Time(1),
        key: None,
    };
    house.disk_full(true);
    life.handle.adopt(wish).await.expect_err("it cannot be recorded");
    let files = std::fs::read_dir(house.state().join("adopted")).expect("made");
    assert_eq!(files.count(), 0);
    sleeper.kill().expect("it is ours");
    sleeper.wait().expect("it ends");
}

/// It is watched until it is recorded that it is not.
#[tokio::test]
async fn a_process_is_given_up_when_that_is_recorded_and_not_before() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().expect("a sleeper");
    let pid = sleeper.id();
    let ticks = kin_keeper::boot::start_ticks(pid).expect("it lives");
    let adopt = || Adopt {
        new: NewRun { trigger: Trigger::Adopt { by: "uid:7".into() }, ..submit("foreign").new },
        process: Adopted { pid, ticks, signal: 15, wait_ms: 100 },
        started_at: Time(1),
        key: None,
    };
    let no = life.handle.adopt(adopt()).await.expect("adopted").run.no;
    let files = || std::fs::read_dir(house.state().join("adopted")).expect("made").count();
    house.disk_full(true);
    life.handle.disown(no, "uid:7".into()).await.expect_err("it cannot be recorded");
    assert_eq!((files(), house.reader().run(no).expect("read").expect("there").outcome().cloned()), (1, None));
    house.disk_full(false);
    let run = life.handle.disown(no, "uid:7".into()).await.expect("given up");
    assert_eq!((outcome(&run).as_str(), house.events("run.disowned")), ("lost(disowned)", 1));
    // It is nobody's now, so it can be adopted; and the file of the former is gone before that is answered.
    let again = life.handle.adopt(adopt()).await.expect("adopted").run.no;
    assert_eq!(files(), 1);
    sleeper.kill().expect("it is ours");
    sleeper.wait().expect("it ends");
    life.ended(again).await;
    assert_eq!(outcome(&life.ended(no).await), "lost(disowned)");
}

#[tokio::test]
async fn a_ledger_has_one_engine() {
    let house = House::new();
    let life = house.start();
    let again = start(house.config());
    assert!(matches!(again, Err(StartError::Io { .. })), "{again:?}");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    house.start().settled().await;
}

#[tokio::test]
async fn an_engine_whose_server_was_made_anew_elsewhere_gives_way() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    std::os::unix::fs::symlink("/elsewhere", house.state().join("run")).expect("a link");
    house.fake().both_die();
    assert!(matches!(life.over().await, Ended::Failed { .. }));
}

#[tokio::test]
async fn a_reboot_loses_what_had_not_ended() {
    let mut house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    house.fake = None;
    std::fs::remove_dir_all(house.run()).expect("a new tmpfs");
    std::fs::create_dir_all(house.run().join("spec")).expect("a new tmpfs");
    house.boot = "boot-2".into();
    house.fake = Some(Fake::new(&house.run(), &house.boot));
    let life = house.start();
    for no in [no, held] {
        assert_eq!(outcome(&life.ended(no).await), "lost(reboot)");
    }
}

#[tokio::test]
async fn a_ledger_that_is_gone_is_filled_again_and_no_number_is_used_twice() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let running = life.handle.submit(submit("a")).await.expect("accepted").run;
    life.in_state(running.no, "running").await;
    let mut held = submit("b");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run;
    let over = RunNo::new(running.no.get() + 64_000_000).expect("a number");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    for entry in std::fs::read_dir(house.state()).expect("state").flatten() {
        if entry.file_name().to_string_lossy().starts_with("kin.db") {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    let logs = house.state().join("logs/old");
    std::fs::create_dir_all(&logs).expect("logs");
    let end = kin_keeper::index::End {
        run: over.get(),
        started_us: 5,
        ended_us: 9,
        out_bytes: 3,
        err_bytes: 0,
        exit: kin_keeper::index::EndExit::Code(2),
        flags: 0,
    };
    std::fs::write(logs.join("ends"), kin_keeper::index::end(&end)).expect("written");
    let life = house.start();
    let run = life.in_state(running.no, "running").await;
    assert_eq!(run.id(), running.id());
    assert_eq!(outcome(&life.ended(over).await), "failed(2)");
    assert_eq!(outcome(&life.ended(held.no).await), "lost(unknown)");
    assert_eq!(house.events("ledger.rebuilt"), 1);
    let next = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    assert!(next > over);
    house.fake().exits(running.no, 0);
    assert_eq!(outcome(&life.ended(running.no).await), "ok");
}

#[tokio::test]
async fn a_full_table_makes_runs_wait_and_loses_none() {
    let house = House::new();
    house.fake().room(2);
    let life = house.start();
    life.settled().await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(life.handle.submit(submit("a")).await.expect("accepted").run.no);
    }
    for no in &runs {
        life.in_state(*no, "running").await;
        house.fake().exits(*no, 0);
        assert_eq!(outcome(&life.ended(*no).await), "ok");
    }
    assert_eq!(house.fake().executions(), 4);
}

#[tokio::test]
async fn an_interrupt_is_passed_on_and_judged_by_the_end() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    for (code, want) in [(0, "ok"), (130, "interrupted")] {
        let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
        life.in_state(no, "running").await;
        let run = life.handle.signal(no, 2, false, true, by()).await.expect("granted");
        assert_eq!(run.state, RunState::Running { unowned: false, interrupted: true });
        house.fake().until_signalled(no, 2);
        house.fake().exits(no, code);
        assert_eq!(outcome(&life.ended(no).await), want);
    }
}
