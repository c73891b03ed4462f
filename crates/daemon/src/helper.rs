//! Helpers: probes and stop commands, started by the keepers as runs are, and in no history.
//!
//! The daemon has no children, so whatever must be executed is executed by a keeper: with a spec, a slot, a cgroup and a
//! timeout. A helper's number says that it is one ([`RunNo::is_helper`]). The engine passes over such slots; they are
//! started, read and forgotten here, on connections of our own, so that many probes a second cost the ledger nothing.
//!
//! ```text
//!   spec written ▸ Start to the current keeper ▸ Changed: slot DRAINED ▸ spec removed ▸ Forget ▸ told
//!      ▲ a keeper died: its table is read at whoever serves it now; what no table has is started again
//!      └ nobody waits any more (or another daemon had): Stop, Forget
//! ```
//! One whose *mark* is there is not ended by a daemon that starts: it goes on, and its end is waited for again.

use crate::engine::slot;
use kin_core::{Exit, RunNo, SpawnStep};
use kin_keeper::cgroup::Cgroups;
use kin_keeper::spec::Spec;
use kin_keeper::sys::misc::{receive, send};
use kin_keeper::sys::wait;
use kin_keeper::table::{DRAINED, Snapshot, Table, flag};
use kin_keeper::tree::{Kill, Processes, Swept, TreeRun, kill_tree};
use kin_keeper::wire::{self, Ask, PACKET, PROTOCOL, Refusal, Role, StopKind, Tell};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Where nobody answers, it is looked again so often.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a helper of dead keepers, and who descends from it, is killed.
const ORPHANS: Duration = Duration::from_secs(1);
/// Orders and words under way. Whoever waits for a helper holds one place, and there are fewer runs than that.
const ROOM: usize = 8192;

/// How a helper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperEnd {
    Code(u8),
    Signal(u8),
    TimedOut,
    SpawnFailed {
        step: SpawnStep,
        errno: i32,
    },
    /// Both keepers died with it.
    Unknown,
}

impl std::fmt::Display for HelperEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HelperEnd::Code(code) => write!(f, "exit code {code}"),
            HelperEnd::Signal(signal) => write!(f, "signal {signal}"),
            HelperEnd::TimedOut => f.write_str("no end in its time"),
            HelperEnd::SpawnFailed { step, errno } => {
                write!(f, "not started ({}: {})", step.word(), io::Error::from_raw_os_error(*errno))
            }
            HelperEnd::Unknown => f.write_str("nobody knows how it ended"),
        }
    }
}

/// Why there was no helper.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("a helper's spec could not be written: {0}")]
    Spec(#[source] io::Error),
    #[error("the run table has no free slot for a helper")]
    Full,
    #[error("the server is closing")]
    Closing,
}

type Answer = Result<HelperEnd, HelperError>;

enum Order {
    Run {
        no: RunNo,
        spec: Vec<u8>,
        /// Where its number is written before it is started.
        mark: Option<PathBuf>,
        reply: oneshot::Sender<Answer>,
    },
    /// An earlier daemon had it run.
    Again { no: RunNo, mark: PathBuf, reply: oneshot::Sender<Answer> },
    /// It is not wanted any more, but its end still is, if somebody waits for it.
    End { no: RunNo },
    /// Nobody waits for it any more.
    Drop { no: RunNo },
}

/// Cheap to clone. The last one to go takes the connections with it.
#[derive(Clone, Debug)]
pub struct Helpers {
    orders: mpsc::Sender<Order>,
    next: Arc<AtomicU64>,
}

impl Helpers {
    /// Must be called inside the runtime. What a daemon before us left running is ended.
    pub fn open(run: &Path) -> io::Result<Helpers> {
        Helpers::open_keeping(run, &BTreeSet::new(), None)
    }

    /// The same, but for these: somebody will wait for them again. Also who is in the cgroups of this `state`, of helpers
    /// that nobody knows any more.
    pub fn open_keeping(run: &Path, kept: &BTreeSet<RunNo>, state: Option<&Path>) -> io::Result<Helpers> {
        let (orders, ordered) = mpsc::channel(ROOM);
        let (hear, heard) = mpsc::channel(ROOM);
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let run_dir = rustix::fs::open(run, flags, rustix::fs::Mode::empty())?;
        let mut hands = Hands {
            run: run.to_path_buf(),
            run_dir,
            state: state.map(Path::to_path_buf),
            cgroups: Cgroups::none(),
            given_out: (0, Arc::default()),
            peers: BTreeMap::new(),
            keeper: None,
            going: BTreeMap::new(),
            stale: BTreeSet::new(),
            forgetting: BTreeMap::new(),
            hear,
            look_at: None,
            next_peer: 0,
        };
        hands.find_cgroups();
        let greatest = hands.find_stale(kept);
        hands.end_groups(|no| !kept.contains(&no));
        let ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let first = greatest.map_or(0, |no| no.wrapping_add(1)).max(ms.wrapping_mul(64) % (1 << 40));
        let next = Arc::new(AtomicU64::new(first));
        hands.given_out = (first, next.clone());
        tokio::spawn(hands.serve(ordered, heard));
        Ok(Helpers { orders, next })
    }

    /// A number for the next one: its spec is made for it.
    pub fn number(&self) -> RunNo {
        RunNo::helper(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs one to its end. It has the time that its spec gives it; dropped before that, it is killed.
    pub async fn run(&self, no: RunNo, spec: &Spec) -> Answer {
        self.run_marked(no, spec, None).await
    }

    /// `mark`: a file that holds its number from before it begins, for the next daemon.
    pub async fn run_marked(&self, no: RunNo, spec: &Spec, mark: Option<PathBuf>) -> Answer {
        let bytes = spec.encode().map_err(|bad| HelperError::Spec(io::Error::other(bad)))?;
        self.wait(no, |reply| Order::Run { no, spec: bytes, mark, reply }).await
    }

    /// One that an earlier daemon had begun, and that is `kept`. `HelperError::Spec`: it has ended, and how is forgotten.
    pub async fn run_again(&self, no: RunNo, mark: PathBuf) -> Answer {
        self.wait(no, |reply| Order::Again { no, mark, reply }).await
    }

    /// Kills one. Whoever waits for it hears of its end; one that nobody waits for is forgotten then.
    pub async fn end(&self, no: RunNo) {
        // Closing: they end with us.
        self.orders.send(Order::End { no }).await.ok();
    }

    async fn wait(&self, no: RunNo, order: impl FnOnce(oneshot::Sender<Answer>) -> Order) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| HelperError::Closing)?;
        let mut held = Held { no, orders: Some(self.orders.clone()) };
        let answer = answer.await.unwrap_or(Err(HelperError::Closing));
        held.orders = None;
        answer
    }
}

/// Somebody waits for it, while this is there.
struct Held {
    no: RunNo,
    orders: Option<mpsc::Sender<Order>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(orders) = self.orders.take() {
            // Full: its own timeout ends it.
            orders.try_send(Order::Drop { no: self.no }).ok();
        }
    }
}

#[derive(Clone, Copy)]
enum Heard {
    Tell { generation: u64, tell: Tell },
    HungUp { generation: u64, peer: u64 },
}

struct Peer {
    number: u64,
    say: mpsc::Sender<wire::Record>,
    table: Table,
}

struct Going {
    reply: oneshot::Sender<Answer>,
    /// The generation it was last asked of.
    asked: Option<u64>,
    /// Where its end is written, before its slot is free.
    mark: Option<PathBuf>,
}

struct Hands {
    run: PathBuf,
    run_dir: OwnedFd,
    /// Whose runs have their cgroups somewhere; where, once that is known: the first elder makes the place while we begin.
    state: Option<PathBuf>,
    cgroups: Cgroups,
    /// Which numbers are ours: from the first to before the next.
    given_out: (u64, Arc<AtomicU64>),
    peers: BTreeMap<u64, Peer>,
    /// Who takes starts, and which turn of the chain said so.
    keeper: Option<(u64, u64)>,
    going: BTreeMap<RunNo, Going>,
    /// Of an earlier daemon, or dropped: to be ended and forgotten.
    stale: BTreeSet<RunNo>,
    /// Asked to be forgotten, and by whom: a keeper that dies before it hears that leaves the slot to another.
    forgetting: BTreeMap<RunNo, u64>,
    hear: mpsc::Sender<Heard>,
    /// When to look for keepers again.
    look_at: Option<Instant>,
    next_peer: u64,
}

impl Hands {
    async fn serve(mut self, mut ordered: mpsc::Receiver<Order>, mut heard: mpsc::Receiver<Heard>) {
        self.connect_all();
        loop {
            let look = self.look_at;
            let time = async {
                match look {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = ordered.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                Some(word) = heard.recv() => self.hear(word),
                () = time => self.connect_all(),
            }
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Run { no, spec, mark, reply } => {
                let marked = || mark.as_ref().map_or(Ok(()), |mark| write_mark(mark, no));
                if let Err(e) = self.write_spec(no, &spec).and_then(|()| marked()) {
                    self.remove_spec(no);
                    // Whoever asked may have gone; then nobody needs to know.
                    reply.send(Err(HelperError::Spec(e))).ok();
                    return;
                }
                self.going.insert(no, Going { reply, asked: None, mark });
                self.start(no);
            }
            Order::Again { no, mark, reply } => {
                self.going.insert(no, Going { reply, asked: None, mark: Some(mark) });
                let holder = self.peers.iter().find(|(_, peer)| peer.table.find(no.get()).is_some()).map(|(g, _)| *g);
                match holder {
                    Some(generation) => self.look_at_slot(generation, no),
                    None => self.start_what_is_nowhere(),
                }
            }
            Order::End { no } if !self.going.contains_key(&no) => {
                self.stale.insert(no);
                self.look_for(no);
                // Its keepers may be dead, and its run outlived them: what lives of it is ended.
                for generation in self.generations() {
                    if !self.peers.contains_key(&generation) && self.is_lost(generation, no) {
                        self.stale.remove(&no);
                    }
                }
                if !self.peers.values().any(|peer| peer.table.find(no.get()).is_some()) {
                    self.end_groups(|of| of == no);
                }
            }
            Order::End { no } => {
                let holder = self.peers.iter().find(|(_, peer)| peer.table.find(no.get()).is_some()).map(|(g, _)| *g);
                if let Some(generation) = holder {
                    self.say(generation, Ask::Stop { run: no.get(), why: StopKind::Kill });
                }
            }
            Order::Drop { no } => {
                let Some(going) = self.going.remove(&no) else { return };
                if going.asked.is_some() {
                    self.stale.insert(no);
                }
                self.look_for(no);
            }
        }
    }

    fn start(&mut self, no: RunNo) {
        let Some((generation, _)) = self.keeper else { return };
        if self.say(generation, Ask::Start { run: no.get() })
            && let Some(going) = self.going.get_mut(&no)
        {
            going.asked = Some(generation);
        }
    }

    /// False: there is no such connection.
    fn say(&mut self, generation: u64, ask: Ask) -> bool {
        let Some(peer) = self.peers.get(&generation) else { return false };
        if peer.say.try_send(ask.encode()).is_err() {
            // It reads nothing: whoever answers there later hears it anew.
            self.peers.remove(&generation);
            self.look_soon();
            return false;
        }
        true
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::HungUp { generation, peer } => {
                if self.peers.get(&generation).is_some_and(|p| p.number == peer) {
                    self.peers.remove(&generation);
                    // The one that is left may serve it already.
                    self.connect_all();
                }
            }
            Heard::Tell { generation, tell } => self.told(generation, tell),
        }
    }

    fn told(&mut self, generation: u64, tell: Tell) {
        match tell {
            Tell::Changed { run, .. } => {
                if let Some(no) = RunNo::new(run).filter(|no| no.is_helper()) {
                    self.look_at_slot(generation, no);
                }
            }
            Tell::Refused { run, why } => {
                if let Some(no) = RunNo::new(run).filter(|no| no.is_helper()) {
                    self.refused(generation, no, why);
                }
            }
            Tell::Hello { .. } | Tell::Reread => self.read(generation),
            Tell::Chain { elder, keeper, turn, .. } => {
                if self.keeper.is_some_and(|(_, known)| turn < known) {
                    return;
                }
                self.keeper = Some((keeper, turn));
                for generation in [elder, keeper] {
                    self.connect(generation);
                }
                self.start_what_is_nowhere();
            }
            Tell::DaemonGaveUp { .. }
            | Tell::DaemonReady { .. }
            | Tell::Bye
            | Tell::Busy { .. }
            | Tell::Front { .. } => {}
        }
    }

    fn refused(&mut self, generation: u64, no: RunNo, why: Refusal) {
        let error = match why {
            // Another takes starts now, and says so.
            Refusal::NotCurrent => {
                if let Some(going) = self.going.get_mut(&no)
                    && going.asked == Some(generation)
                {
                    going.asked = None;
                }
                return self.look_soon();
            }
            Refusal::Full => HelperError::Full,
            Refusal::Closing => HelperError::Closing,
            // A doubled Start came after the end; or the spec was never there to be read.
            Refusal::NoSpec => HelperError::Spec(io::Error::from(io::ErrorKind::NotFound)),
        };
        self.remove_spec(no);
        self.stale.remove(&no);
        self.tell(no, Err(error));
    }

    /// Everything a table has of helpers.
    fn read(&mut self, generation: u64) {
        let Some(peer) = self.peers.get(&generation) else { return };
        let ours: Vec<RunNo> = helpers(&peer.table).map(|(no, _)| no).collect();
        for no in ours {
            self.look_at_slot(generation, no);
        }
        self.start_what_is_nowhere();
    }

    fn look_for(&mut self, no: RunNo) {
        let holder = self.peers.iter().find(|(_, peer)| peer.table.find(no.get()).is_some()).map(|(g, _)| *g);
        match holder {
            Some(generation) => self.look_at_slot(generation, no),
            // It has not begun, or nobody serves it now. Without a spec it never begins.
            None => self.remove_spec(no),
        }
    }

    fn look_at_slot(&mut self, generation: u64, no: RunNo) {
        let Some(peer) = self.peers.get(&generation) else { return };
        let Some(slot) = slot::of_run(&peer.table, no.get()) else { return };
        let stale = self.stale.contains(&no);
        if !stale && !self.going.contains_key(&no) && !self.forgetting.contains_key(&no) {
            return;
        }
        if slot.state != DRAINED {
            if stale {
                self.say(generation, Ask::Stop { run: no.get(), why: StopKind::Kill });
            }
            return;
        }
        let end = end(&slot);
        if let Some(mark) = self.going.get(&no).and_then(|going| going.mark.as_ref())
            && let Err(e) = crate::stopping::Mark::add(mark, end)
        {
            crate::say!("kin daemon: cannot write {}: {e}", mark.display());
        }
        self.remove_spec(no);
        self.say(generation, Ask::Forget { run: no.get() });
        self.stale.remove(&no);
        self.see_who_is_forgotten();
        self.forgetting.insert(no, generation);
        kin_keeper::fault::point("helper-ended");
        self.tell(no, Ok(end));
    }

    fn see_who_is_forgotten(&mut self) {
        let Hands { forgetting, peers, .. } = self;
        // Of a generation that nobody answers for just now, nothing is known.
        forgetting.retain(|no, by| peers.get(by).is_none_or(|peer| peer.table.find(no.get()).is_some()));
    }

    fn tell(&mut self, no: RunNo, answer: Answer) {
        if let Some(going) = self.going.remove(&no) {
            // Whoever asked may have gone.
            going.reply.send(answer).ok();
        }
    }

    /// What was asked of nobody, or of a keeper that died before it began.
    fn start_what_is_nowhere(&mut self) {
        let Some((keeper, _)) = self.keeper.filter(|(keeper, _)| self.peers.contains_key(keeper)) else { return };
        let waiting: Vec<RunNo> =
            self.going.iter().filter(|(_, going)| going.asked != Some(keeper)).map(|(no, _)| *no).collect();
        for no in waiting {
            if !self.peers.values().any(|peer| peer.table.find(no.get()).is_some()) {
                self.start(no);
            }
        }
    }

    // ---- connections ----

    fn look_soon(&mut self) {
        self.look_at = Some(self.look_at.unwrap_or_else(|| Instant::now() + AGAIN));
    }

    /// To everybody who serves a generation. What nobody serves is over.
    fn connect_all(&mut self) {
        self.look_at = None;
        self.find_cgroups();
        let there = self.generations();
        for generation in &there {
            self.connect(*generation);
        }
        self.forgetting.retain(|_, by| there.contains(by));
        let lost: Vec<RunNo> = self
            .going
            .iter()
            .filter_map(|(no, going)| Some((*no, going.asked?)))
            .filter(|(no, asked)| !self.peers.contains_key(asked) && self.is_lost(*asked, *no))
            .map(|(no, _)| no)
            .collect();
        for no in lost {
            self.remove_spec(no);
            self.tell(no, Ok(HelperEnd::Unknown));
        }
        self.end_groups(|no| self.is_ours(no) && !self.going.contains_key(&no));
        self.start_what_is_nowhere();
        if self.peers.is_empty() {
            // Both are dead: an elder is being made, or the server ends.
            self.look_at = Some(Instant::now() + AGAIN);
        }
    }

    /// Its table is served by nobody, and says that it began. What still lives of it is ended.
    fn is_lost(&self, generation: u64, no: RunNo) -> bool {
        let Ok(table) = Table::open(&self.run.join(format!("keeper.{generation:016x}.tab"))) else {
            // A table that is gone was empty when its owner removed it: the helper never began, and is asked for again.
            // Or the engine had no more use for it: then whoever began is in the cgroup.
            return group(no).is_some_and(|name| self.cgroups.populated(&name).unwrap_or(false));
        };
        if table.is_served() {
            return false;
        }
        let Some(slot) = slot::of_run(&table, no.get()) else { return false };
        if slot.pid == 0 {
            return false;
        }
        end_orphan(&slot, &self.cgroups);
        true
    }

    fn find_cgroups(&mut self) {
        if let Some(state) = self.state.as_ref().filter(|_| !self.cgroups.is_some()) {
            self.cgroups = Cgroups::standing(state);
        }
    }

    fn is_ours(&self, no: RunNo) -> bool {
        let next = self.given_out.1.load(Ordering::Relaxed);
        (RunNo::helper(self.given_out.0)..RunNo::helper(next)).contains(&no)
    }

    /// Kills who is in the cgroups of these helpers. For those that nobody waits for, nor will: it does not matter then
    /// what is known of one. Its keepers may be dead, its table gone, and itself too.
    fn end_groups(&self, ends: impl Fn(RunNo) -> bool) {
        self.cgroups.each(|name| {
            let no = name.to_str().ok().and_then(RunNo::parse).filter(|no| no.is_helper());
            if no.is_some_and(&ends)
                && let Err(e) = self.cgroups.kill(name)
            {
                crate::say!("kin daemon: cannot end what a helper has left: {e}");
            }
        });
    }

    fn generations(&self) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(&self.run) else { return Vec::new() };
        let named = |name: &str| u64::from_str_radix(name.strip_prefix("keeper.")?.strip_suffix(".sock")?, 16).ok();
        entries.flatten().filter_map(|entry| named(entry.file_name().to_str()?)).collect()
    }

    fn connect(&mut self, generation: u64) {
        if generation == 0 || self.peers.contains_key(&generation) {
            return;
        }
        match self.try_connect(generation) {
            Ok(Some(peer)) => {
                self.peers.insert(generation, peer);
            }
            Ok(None) => {}
            Err(e) => {
                crate::say!("kin daemon: helpers cannot reach keeper {generation:016x}: {e}");
                self.look_soon();
            }
        }
    }

    /// `None`: nobody serves it.
    fn try_connect(&mut self, generation: u64) -> io::Result<Option<Peer>> {
        let table = match Table::open(&self.run.join(format!("keeper.{generation:016x}.tab"))) {
            Ok(table) => table,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // A path below a descriptor is never too long for an address.
        let path = format!("/proc/self/fd/{}/keeper.{generation:016x}.sock", self.run_dir.as_raw_fd());
        match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
            Ok(()) => {}
            Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let number = self.next_peer;
        self.next_peer += 1;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd that is never replaced is what it asks for")]
        let socket = Arc::new(AsyncFd::new(socket)?);
        let (say, said) = mpsc::channel(ROOM);
        tokio::spawn(speak(socket.clone(), said));
        tokio::spawn(listen(socket, generation, number, self.hear.clone()));
        // A keeper that does not know the second role yet keeps to the first.
        for role in [Role::Watcher, Role::Helper] {
            // The first words in an empty line.
            say.try_send(Ask::Hello { protocol: PROTOCOL, role }.encode()).map_err(io::Error::other)?;
        }
        Ok(Some(Peer { number, say, table }))
    }

    // ---- files ----

    fn write_spec(&self, no: RunNo, bytes: &[u8]) -> io::Result<()> {
        let dir = self.run.join("spec");
        let new = dir.join(format!(".tmp-{no}"));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        std::fs::rename(&new, dir.join(no.to_string()))
    }

    fn remove_spec(&self, no: RunNo) {
        let path = self.run.join("spec").join(no.to_string());
        if let Err(e) = std::fs::remove_file(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            crate::say!("kin daemon: cannot remove {}: {e}", path.display());
        }
    }

    /// What an earlier daemon left: slots are ended when their keeper is reached, specs go now. The greatest number of
    /// all, so that none is given out twice.
    fn find_stale(&mut self, kept: &BTreeSet<RunNo>) -> Option<u64> {
        for generation in self.generations() {
            let Ok(table) = Table::open(&self.run.join(format!("keeper.{generation:016x}.tab"))) else { continue };
            let served = table.is_served();
            for (no, slot) in helpers(&table) {
                let is_kept = kept.contains(&no);
                // One that is gone has no end that anybody could wait for.
                if !served && (!is_kept || !lives(&slot)) {
                    end_orphan(&slot, &self.cgroups);
                }
                if !is_kept {
                    self.stale.insert(no);
                }
            }
        }
        let specs = std::fs::read_dir(self.run.join("spec")).into_iter().flatten().flatten();
        let left: Vec<RunNo> =
            specs.filter_map(|entry| RunNo::parse(entry.file_name().to_str()?)).filter(|no| no.is_helper()).collect();
        for no in left.iter().filter(|no| !kept.contains(no)) {
            self.remove_spec(*no);
        }
        let first = RunNo::helper(0).get();
        self.stale.iter().chain(&left).chain(kept).map(|no| no.get() - first).max()
    }
}

fn write_mark(path: &Path, no: RunNo) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{no}")
}

/// The helpers in a table.
fn helpers(table: &Table) -> impl Iterator<Item = (RunNo, Snapshot)> + '_ {
    table.snapshots().filter_map(|slot| {
        let no = RunNo::new(slot.run).filter(|no| no.is_helper())?;
        Some((no, slot))
    })
}

fn end(at_end: &Snapshot) -> HelperEnd {
    if at_end.flags & flag::SPAWN_FAILED != 0 || at_end.step != 0 {
        let step = u8::try_from(at_end.step).ok().and_then(SpawnStep::from_number).unwrap_or(SpawnStep::Exec);
        return HelperEnd::SpawnFailed { step, errno: at_end.errno };
    }
    if at_end.flags & flag::TIMED_OUT != 0 {
        return HelperEnd::TimedOut;
    }
    if at_end.flags & flag::STATUS_UNKNOWN != 0 {
        return HelperEnd::Unknown;
    }
    match slot::exit(at_end.si_code, at_end.si_status) {
        Some(Exit::Code(code)) => HelperEnd::Code(code),
        Some(Exit::Signal { signal, .. }) => HelperEnd::Signal(signal),
        None => HelperEnd::Unknown,
    }
}

/// Whether its first process is there. Its number may have been given to another since, but not with the same start.
fn lives(slot: &Snapshot) -> bool {
    slot.pid != 0 && kin_keeper::boot::start_ticks(slot.pid) == Some(slot.start_ticks)
}

/// The name of its cgroup.
fn group(no: RunNo) -> Option<CString> {
    CString::new(no.to_string()).ok()
}

/// Its keepers are dead: a helper has nobody to be left to. Whom it started is in its cgroup, also when it is gone itself.
fn end_orphan(slot: &Snapshot, cgroups: &Cgroups) {
    if slot.pid == 0 || slot.state == DRAINED {
        return;
    }
    if slot.flags & flag::CGROUP != 0
        && cgroups.is_some()
        && let Some(name) = RunNo::new(slot.run).and_then(group)
        && let Err(e) = cgroups.kill(&name)
    {
        crate::say!("kin daemon: cannot end the cgroup of a helper of dead keepers (pid {}): {e}", slot.pid);
    }
    let Ok(pidfd) = wait::pidfd_open(slot.pid) else { return };
    if !lives(slot) {
        return;
    }
    // Whoever descends from it is found through it, so that it goes with them and not before.
    let ended = kill_all_of(slot).or_else(|_| wait::pidfd_send_signal(&pidfd, 9, false));
    if let Err(e) = ended {
        crate::say!("kin daemon: cannot end a helper of dead keepers (pid {}): {e}", slot.pid);
    }
}

/// It and all that descend from it.
fn kill_all_of(slot: &Snapshot) -> io::Result<()> {
    let id = RunNo::new(slot.run).map(|no| no.to_string()).unwrap_or_default();
    let tree = TreeRun { id: &id, leader: slot.pid, start_ticks: slot.start_ticks, pipes: [0; 2], known: &[] };
    let (mut processes, mut kill) = (Processes::new()?, Kill::default());
    let until = std::time::Instant::now() + ORPHANS;
    loop {
        match kill_tree(&mut processes, &[std::process::id()], &tree, &mut kill) {
            Swept::Gone => return Ok(()),
            Swept::Again { .. } if std::time::Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
            Swept::Again { .. } => {}
        }
    }
}

async fn speak(socket: Arc<AsyncFd<OwnedFd>>, mut said: mpsc::Receiver<wire::Record>) {
    let mut records = Vec::new();
    while said.recv_many(&mut records, PACKET / wire::RECORD).await > 0 {
        let packet = records.concat();
        records.clear();
        let sent = socket.async_io(tokio::io::Interest::WRITABLE, |fd| send(fd, &packet, &[]).map_err(io::Error::from));
        if sent.await.is_err() {
            // The other half hears the hang-up.
            return;
        }
    }
}

async fn listen(socket: Arc<AsyncFd<OwnedFd>>, generation: u64, peer: u64, hear: mpsc::Sender<Heard>) {
    let mut buffer = [0u8; PACKET];
    loop {
        let read =
            socket.async_io(tokio::io::Interest::READABLE, |fd| receive(fd, &mut buffer).map_err(io::Error::from));
        let len = match read.await {
            Ok(packet) if packet.len > 0 => packet.len,
            Ok(_) | Err(_) => {
                // Nobody hears it when the helpers have ended.
                hear.send(Heard::HungUp { generation, peer }).await.ok();
                return;
            }
        };
        for tell in wire::records(&buffer[..len]).filter_map(Tell::decode) {
            // What the engine's own runs do is the engine's to hear.
            let ours = match tell {
                Tell::Changed { run, .. } | Tell::Refused { run, .. } => RunNo::new(run).is_some_and(RunNo::is_helper),
                Tell::Hello { .. }
                | Tell::Reread
                | Tell::Chain { .. }
                | Tell::DaemonGaveUp { .. }
                | Tell::DaemonReady { .. }
                | Tell::Bye
                | Tell::Busy { .. }
                | Tell::Front { .. } => true,
            };
            if ours && hear.send(Heard::Tell { generation, tell }).await.is_err() {
                return;
            }
        }
    }
}
