//! What `kin doctor` looks at. Each check says what is, and what to do where something is amiss.

use super::convert;
use super::door::About;
use super::error::Answer;
use super::server::guard_word;
use super::slots::{Blocked, Slots};
use super::tcp::Opened;
use super::token;
use crate::engine::{ChainInfo, Trouble};
use crate::makers::AtWork;
use kin_api::server::{Check, Doctor};
use kin_core::{JobName, Run, RunId, RunNo};
use kin_keeper::cgroup::Lack;
use kin_keeper::room;
use kin_keeper::table::Table;
use kin_keeper::wire::Guard;
use kin_ledger::Counters;
use std::path::Path;

const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
/// As many open files let the keepers hold a few hundred runs.
const FILES: u64 = 4096;
/// So many jobs are named; the others are counted.
const NAMED: usize = 5;

/// What the engine and the ledger say.
#[derive(Debug)]
pub struct Said {
    pub chain: ChainInfo,
    pub counters: Answer<Counters>,
    /// Every run that is not over, as far as the ledger can be read.
    pub live: Vec<Run>,
    /// What keeps the log of events from being written.
    pub journal: Option<String>,
    pub trouble: Trouble,
    /// Jobs that have a schedule and are due at no time, each with why.
    pub untimed: Vec<(JobName, String)>,
    /// Jobs with a revision that did not become ready, and the one that is in force again.
    pub went_back: Vec<(JobName, u64, u64)>,
    /// What keeps runs from being made; and how many wait behind those.
    pub hanging: (Vec<AtWork>, usize),
}

pub fn examine(about: &About, said: Said) -> Doctor {
    let mut checks = vec![keepers(&said.chain), ledger(about, said.counters)];
    checks.extend(recording(&said.trouble));
    checks.push(events(about, said.journal));
    checks.extend(schedules(&said.untimed));
    checks.extend(roll_backs(&said.went_back));
    checks.push(disk(&about.state, &said.trouble));
    checks.extend(outputs(&about.run, &said.live));
    checks.extend(said.hanging.0.iter().map(|at| surroundings(at, said.hanging.1)));
    checks.extend(about.doors.borrow().iter().map(door));
    checks.extend([
        memory(&about.run),
        cgroups(&about.run),
        link(about),
        files(),
        kernel(rustix::system::uname().release().to_string_lossy().as_ref()),
    ]);
    let ok = checks.iter().all(|check| check.result != "failed");
    Doctor { ok, guard: guard_word(said.chain.guard).into(), checks }
}

#[derive(Clone, Copy)]
enum Verdict {
    Ok,
    Warning(&'static str),
    Failed(&'static str),
}

fn check(name: &str, verdict: Verdict, message: String) -> Check {
    let (result, hint) = match verdict {
        Verdict::Ok => ("ok", None),
        Verdict::Warning(hint) => ("warning", Some(hint)),
        Verdict::Failed(hint) => ("failed", Some(hint)),
    };
    Check { name: name.into(), result: result.into(), message, hint: hint.map(Into::into) }
}

fn keepers(chain: &ChainInfo) -> Check {
    let pid = |link: Option<crate::engine::Link>| match link.and_then(|link| link.pid) {
        Some(pid) => format!("process {pid}"),
        None => "nobody".into(),
    };
    let message = format!("elder: {}, keeper: {}", pid(chain.elder), pid(chain.keeper));
    let roles = [("elder", chain.elder), ("keeper", chain.keeper)];
    let others = of_other_programs(roles.map(|(role, link)| (role, link.and_then(|link| link.pid))));
    match chain.guard {
        // A daemon that died before both had followed it, say: the next one does not know of it.
        Guard::Whole if !others.is_empty() => {
            let hint = "an upgrade was broken off, or another program has been put in kin's place: run `kin upgrade`";
            let message = format!("{message}; not the daemon's program: {}", others.join(", "));
            check("keepers", Verdict::Warning(hint), message)
        }
        Guard::Whole => check("keepers", Verdict::Ok, message),
        Guard::Degraded => {
            let hint = "one keeper is alone; kin makes the other as soon as the system lets it make processes";
            check("keepers", Verdict::Failed(hint), message)
        }
    }
}

/// Who of them runs another program than we do. Whose program cannot be seen is not named.
fn of_other_programs(roles: [(&'static str, Option<u32>); 2]) -> Vec<&'static str> {
    let program = |who: &str| {
        let stat = rustix::fs::stat(format!("/proc/{who}/exe")).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    let Some(ours) = program("self") else { return Vec::new() };
    let is_other = |pid: Option<u32>| pid.and_then(|pid| program(&pid.to_string())).is_some_and(|its| its != ours);
    roles.into_iter().filter(|(_, pid)| is_other(*pid)).map(|(role, _)| role).collect()
}

/// One on TCP. Its token is looked at anew: it may have been damaged since.
fn door(opened: &Opened) -> Check {
    let usable = opened.token.clone().and_then(|file| match token::read(&file) {
        Ok(_) => Ok(file),
        Err(why) => Err(format!("{}: {why}", file.display())),
    });
    match usable {
        Ok(file) => {
            let message = format!("{} is open to whoever shows the token in {}", opened.address, file.display());
            check("listen", Verdict::Ok, message)
        }
        Err(why) => {
            let hint = "mend what is named, then start the server anew: runs go on meanwhile";
            check("listen", Verdict::Failed(hint), format!("{} lets nobody in: {why}", opened.address))
        }
    }
}

fn live_runs(runs: u64) -> String {
    if runs == 1 { "1 run lives".into() } else { format!("{runs} runs live") }
}

fn event_count(n: u64) -> String {
    if n == 1 { "1 event".into() } else { format!("{n} events") }
}

fn ledger(about: &About, counters: Answer<Counters>) -> Check {
    let path = about.state.join(kin_ledger::DB);
    if std::fs::symlink_metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        let hint =
            "end the server, and put a copy in its place if there is one: the next server rebuilds what runs have left";
        let message = format!(
            "{} was removed: what is recorded now is in a file without a name, and gone when this server ends",
            path.display()
        );
        return check("ledger", Verdict::Failed(hint), message);
    }
    match counters {
        Ok(counters) => {
            let mut message =
                format!("{}; {}, {}", about.ledger, live_runs(counters.live), event_count(counters.events));
            let rebuilt = kin_ledger::rebuilt(&about.state);
            if let Some(last) = rebuilt.as_deref().and_then(|text| text.lines().last()) {
                message.push_str("; ");
                message.push_str(last);
                match rebuilt.iter().flat_map(|text| text.lines()).count() {
                    1 => {}
                    n => message.push_str(&format!(" (kin.db.rebuilt tells of {n} such times)")),
                }
            }
            let verdict = if about.ledger.starts_with("set aside") {
                Verdict::Warning("the damaged file was kept beside the new one; what it still told was carried over")
            } else if rebuilt.is_some() || about.ledger.starts_with("lost") {
                Verdict::Warning(
                    "the history before that has gaps; kin says so until you remove kin.db.rebuilt from the state directory",
                )
            } else {
                Verdict::Ok
            };
            check("ledger", verdict, message)
        }
        Err(failure) => {
            let hint = "stop the server, copy kin.db away, and start again: kin keeps what is sound";
            check("ledger", Verdict::Failed(hint), failure.error.message)
        }
    }
}

fn events(about: &About, trouble: Option<String>) -> Check {
    let path = about.state.join("events.log");
    match trouble {
        None => check("events", Verdict::Ok, format!("each has its line in {}", path.display())),
        Some(why) => {
            let hint = "nothing is lost: the lines follow from the ledger as soon as the file can be written";
            check("events", Verdict::Warning(hint), format!("{} stays behind: {why}", path.display()))
        }
    }
}

/// Only where something is known that the ledger has not got.
fn recording(trouble: &Trouble) -> Option<Check> {
    let unwritten = trouble.unwritten.as_ref()?;
    let (since, why, n) = (convert::time(unwritten.since), &unwritten.why, unwritten.runs.len());
    let runs = if n == 1 { "1 run is" } else { &format!("{n} runs are") };
    let message = format!("nothing can be recorded since {since}: {why}; {runs} further than the history says");
    let hint = "stops and signals work all the same; what happened is recorded as soon as the ledger can be written";
    Some(check("recording", Verdict::Failed(hint), message))
}

/// Only where jobs are silent that should not be.
fn schedules(untimed: &[(JobName, String)]) -> Option<Check> {
    let (_, why) = untimed.first()?;
    let names: Vec<&str> = untimed.iter().take(NAMED).map(|(job, _)| job.as_str()).collect();
    let more = untimed.len() - names.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let are = if untimed.len() == 1 { "is" } else { "are" };
    let message = format!("{}{more} {are} due at no time: {why}", names.join(", "));
    Some(check("schedules", Verdict::Failed("mend what is named; `kin why JOB` says it of each job"), message))
}

/// Only where what a job's file says is not what runs.
fn roll_backs(went_back: &[(JobName, u64, u64)]) -> Option<Check> {
    if went_back.is_empty() {
        return None;
    }
    let one = |(job, failed, rev): &(JobName, u64, u64)| {
        format!("revision {failed} of {job} did not become ready, and {rev} is in force again")
    };
    let mut said: Vec<String> = went_back.iter().take(NAMED).map(one).collect();
    if went_back.len() > NAMED {
        said.push(format!("so it is with {} more", went_back.len() - NAMED));
    }
    let hint =
        "correct the definition, and it is tried anew; `kin why JOB` and `kin log JOB` tell of the runs that failed";
    Some(check("revisions", Verdict::Warning(hint), said.join("; ")))
}

fn disk(state: &Path, trouble: &Trouble) -> Check {
    let hint = "make room: `kin log` shows what was kept, the logs are below the state directory";
    match rustix::fs::statvfs(state) {
        Ok(stat) => {
            let (free, all) = (room::free(&stat), stat.f_blocks.saturating_mul(stat.f_frsize));
            let message = format!("{} MiB of {} MiB free below {}", free >> 20, all >> 20, state.display());
            match trouble.full_since {
                Some(at) => {
                    let message = format!("full since {}: nothing new is started; {message}", convert::time(at));
                    check("disk", Verdict::Failed(hint), message)
                }
                // A file system that makes inodes as it needs them counts none at all.
                None if stat.f_files > 0 && stat.f_favail == 0 => {
                    let files = format!("no file can be made: all {} inodes are in use; {message}", stat.f_files);
                    check("disk", Verdict::Failed("remove files: there is room, and no inode is left"), files)
                }
                None if free == 0 => check("disk", Verdict::Failed(hint), message),
                None if room::is_scarce(&stat) => check("disk", Verdict::Warning(hint), message),
                None => check("disk", Verdict::Ok, message),
            }
        }
        Err(e) => {
            check("disk", Verdict::Failed("is the state directory still there?"), format!("{}: {e}", state.display()))
        }
    }
}

/// A line for each run whose output waits.
fn outputs(run_dir: &Path, live: &[Run]) -> Vec<Check> {
    let blocked = match Slots::open(run_dir) {
        Ok(slots) => slots.blocked(),
        // Its own check says so.
        Err(_) => return Vec::new(),
    };
    if blocked.is_empty() {
        return vec![check("output", Verdict::Ok, "no run waits for the disk".into())];
    }
    let name = |no: RunNo| live.iter().find(|run| run.no == no).map(Run::id);
    blocked.into_iter().map(|(no, blocked)| output(no, name(no), blocked)).collect()
}

fn output(no: RunNo, id: Option<RunId>, blocked: Blocked) -> Check {
    let id = id.map_or_else(|| no.to_string(), |id| id.to_string());
    let since = blocked.since.map_or(String::new(), |at| format!(" since {}", convert::time(at)));
    let message = format!(
        "{id}: its output is blocked{since}, because {}; {} bytes were dropped so far",
        blocked.why(),
        blocked.dropped
    );
    let hint = "make room; after a minute what it writes is dropped and counted, and `kin stop` ends it";
    check("output", Verdict::Failed(hint), message)
}

/// Only where somebody is asked for something, and does not answer.
fn surroundings(at: &AtWork, waiting: usize) -> Check {
    let line = match waiting {
        0 => String::new(),
        1 => "; one run waits in line".into(),
        n => format!("; {n} runs wait in line"),
    };
    let message = format!("{} waits for {}, since {}{line}", at.run, at.asked.wait(), convert::time(at.since));
    let hint = "look whether that file system, or that directory of users or hosts, answers; a run that waits too long has \
                failed to start, and others go on meanwhile";
    check("surroundings", Verdict::Failed(hint), message)
}

fn memory(run: &Path) -> Check {
    match rustix::fs::statfs(run) {
        Ok(stat) => {
            #[expect(clippy::useless_conversion, reason = "the field's type differs by architecture")]
            let kind = i64::from(stat.f_type);
            let message = format!("the runtime directory is {}", run.display());
            let hint = "it does not lie in memory: environments of runs are written to the disk";
            let in_memory = kind == TMPFS || kind == RAMFS;
            check("runtime", if in_memory { Verdict::Ok } else { Verdict::Warning(hint) }, message)
        }
        Err(e) => check("runtime", Verdict::Failed("the keepers make it again"), format!("{}: {e}", run.display())),
    }
}

/// As the elder found it when it was made.
fn cgroups(run: &Path) -> Check {
    let elder = || {
        let socket = std::fs::read_link(run.join("elder")).ok()?;
        let table = Table::open(&run.join(socket).with_extension("tab")).ok()?;
        Lack::of(table.header().cgroups.load(std::sync::atomic::Ordering::Relaxed))
    };
    match elder() {
        Some(None) => check("cgroups", Verdict::Ok, "each run has a cgroup of its own".into()),
        Some(Some(lack)) => {
            let hint = "a stop finds a run's processes by other traces, and limits of memory, cpu and pids are refused; as a \
                        service with Delegate=yes kin has cgroups (docs/service-manager.md)";
            check("cgroups", Verdict::Warning(hint), format!("runs have none of their own: {}", lack.words()))
        }
        None => check("cgroups", Verdict::Ok, "the elder does not say whether runs have their own".into()),
    }
}

fn link(about: &About) -> Check {
    let link = about.state.join("run");
    match std::fs::read_link(&link) {
        Ok(target) if target == about.run => check("link", Verdict::Ok, format!("{} leads to it", link.display())),
        Ok(target) => {
            let hint = "clients look there for the server; start the server again";
            check("link", Verdict::Failed(hint), format!("{} leads to {}", link.display(), target.display()))
        }
        Err(e) => {
            let hint = "clients find no server without it; start the server again";
            check("link", Verdict::Failed(hint), format!("{}: {e}", link.display()))
        }
    }
}

fn files() -> Check {
    let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let message = soft.map_or("no limit of open files".into(), |soft| format!("at most {soft} open files"));
    let hint = "raise the hard limit of open files (`LimitNOFILE=` of the unit) to hold more runs at once";
    check("files", if soft.is_none_or(|soft| soft >= FILES) { Verdict::Ok } else { Verdict::Warning(hint) }, message)
}

/// From 6.15 on the kernel remembers exit codes for those who are not the parent.
fn kernel(release: &str) -> Check {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 15) {
        return check("kernel", Verdict::Ok, format!("Linux {release} keeps exit codes for both keepers"));
    }
    let message = format!("Linux {release} tells exit codes only to parents");
    let hint = "if both keepers of a run are killed during its life, one after the other, its exit code is lost";
    check("kernel", Verdict::Warning(hint), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_that_did_not_follow_an_upgrade_is_named() {
        let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let (us, it) = (Some(std::process::id()), Some(other.id()));
        let said = [
            of_other_programs([("elder", it), ("keeper", us)]),
            of_other_programs([("elder", us), ("keeper", us)]),
            of_other_programs([("elder", None), ("keeper", it)]),
        ];
        other.kill().expect("killed");
        other.wait().expect("gone");
        assert_eq!(said, [vec!["elder"], vec![], vec!["keeper"]]);
    }

    #[test]
    fn kernels_are_told_apart() {
        for (release, want) in [
            ("6.15.0", "ok"),
            ("6.18.44-fc", "ok"),
            ("7.0-rc1", "ok"),
            ("6.8.0-31-generic", "warning"),
            ("x", "warning"),
        ] {
            assert_eq!(kernel(release).result, want, "{release}");
        }
    }

    #[test]
    fn a_link_that_leads_astray_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let about = About {
            stops_on_exit: false,
            state: dir.path().into(),
            run: dir.path().join("real"),
            host: String::new(),
            started_at: kin_core::Time(0),
            boot: String::new(),
            durability: "full",
            ledger: "good".into(),
            files_soft: None,
            server: crate::surroundings::Server::this(dir.path(), dir.path(), None),
            doors: tokio::sync::watch::channel(Vec::new()).1,
        };
        assert_eq!(link(&about).result, "failed");
        std::os::unix::fs::symlink(&about.run, dir.path().join("run")).expect("a link");
        assert_eq!(link(&about).result, "ok");
    }

    #[test]
    fn a_revision_that_was_given_up_is_named() {
        assert!(roll_backs(&[]).is_none());
        let job = |text: &str| (JobName::parse(text).expect("a name"), 4, 3);
        let check = roll_backs(&["a", "b", "c", "d", "e", "f"].map(job)).expect("a check");
        let message = "revision 4 of a did not become ready, and 3 is in force again; ";
        assert!(check.message.starts_with(message) && check.message.ends_with("; so it is with 1 more"), "{check:?}");
        assert_eq!(check.result, "warning");
    }

    #[test]
    fn jobs_that_are_due_at_no_time_are_amiss() {
        assert!(schedules(&[]).is_none());
        let job = |text: &str| (JobName::parse(text).expect("a name"), "there is no time zone \"Foo/Bar\"".to_owned());
        let check = schedules(&["a", "b", "c", "d", "e", "f"].map(job)).expect("a check");
        assert_eq!(check.result, "failed");
        assert_eq!(check.message, "a, b, c, d, e and 1 more are due at no time: there is no time zone \"Foo/Bar\"");
    }
}
