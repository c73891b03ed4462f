//! The engine with a real ledger and keepers that only pretend, over real tables and sockets.

mod clock;
mod disk;
mod ending;
mod fake;
mod jobs;
mod rebuilding;
mod starting;
mod survivors;

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

    /// One whose engine knows its keepers.
    async fn at_work() -> (House, Life) {
        let house = House::new();
        let life = house.start();
        life.settled().await;
        (house, life)
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
                held: BTreeSet::new(),
                jobs: BTreeMap::new(),
                max_age_ms: None,
                max_count: None,
                per_job: None,
                events_max_age_ms: None,
                events_max_count: None,
            },
            job_output_max: u64::MAX,
            care_after: Duration::from_secs(300),
            make_within: Duration::from_secs(30),
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
