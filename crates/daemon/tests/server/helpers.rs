//! Helpers: started by the real keepers, told with their codes, in no history, and over with whoever wanted them.

use crate::support::{LONG, Server};
use kin_core::job::{Check, Job, Millis, Program, Ready, Socket, SocketAt};
use kin_core::{JobName, RunNo, SpawnStep};
use kin_daemon::helper::{HelperEnd, HelperError, Helpers};
use kin_daemon::probe::{Probes, Said, Watched};
use kin_daemon::surroundings;
use kin_keeper::spec::{Output, Spec};
use kin_keeper::table::Table;
use rustix::process::{Pid, Signal};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn shell(no: RunNo, script: &str) -> Spec {
    let mut spec = Spec::new(b"/", format!("job-{no}").as_bytes());
    spec.programs = vec![b"/bin/sh".to_vec()];
    spec.argv = vec![b"sh".to_vec(), b"-c".to_vec(), script.as_bytes().to_vec()];
    spec.env = vec![b"PATH=/usr/bin:/bin".to_vec()];
    spec.cgroup = no.to_string().into_bytes();
    spec.output = Output::Null;
    spec.timeout_ms = 60_000;
    spec.stop_signal = 9;
    spec.stop_wait_ms = 0;
    spec.linger_ms = 0;
    spec
}

async fn run(helpers: &Helpers, script: &str) -> Result<HelperEnd, HelperError> {
    let no = helpers.number();
    tokio::time::timeout(LONG, helpers.run(no, &shell(no, script))).await.expect("in time")
}

async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let since = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(since.elapsed() < LONG, "still not: {what}");
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(5)).await;
    }
}

fn tables(server: &Server) -> Vec<Table> {
    let entries = std::fs::read_dir(server.run()).expect("reads").flatten();
    let tables = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "tab"));
    tables.filter_map(|path| Table::open(&path).ok()).collect()
}

fn slots(server: &Server) -> usize {
    tables(server).iter().map(|table| table.snapshots().count()).sum()
}

fn specs(server: &Server) -> usize {
    std::fs::read_dir(server.run().join("spec")).expect("reads").count()
}

/// The guard is whole again, and nobody of it is who was killed: the server does not hear of a death at once.
async fn whole_without(server: &Server, killed: Pid) {
    let dead = killed.as_raw_pid() as u32;
    let is_new = |role: &str| {
        let link = std::fs::read_link(server.run().join(role)).ok()?;
        let table = Table::open(&server.run().join(link.with_extension("tab"))).ok()?;
        Some(table.header().owner.load(std::sync::atomic::Ordering::Relaxed)).filter(|pid| *pid != dead)
    };
    until("two other keepers", || (is_new("elder")? != is_new("keeper")?).then_some(())).await;
    server.until("/v1/server", |value| value["guard"] == "whole" && value["pid"] != dead).await;
}

/// Who has that role now.
fn owner(server: &Server, role: &str) -> u32 {
    let link = std::fs::read_link(server.run().join(role)).expect("a name");
    let table = Table::open(&server.run().join(link.with_extension("tab"))).expect("a table");
    table.header().owner.load(std::sync::atomic::Ordering::Relaxed)
}

fn pid_in(path: &Path) -> Option<Pid> {
    Pid::from_raw(std::fs::read_to_string(path).ok()?.trim().parse().ok()?)
}

fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_helpers_end_is_told_and_nothing_else_is_left_of_it() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    assert_eq!(run(&helpers, "exit 0").await.expect("ran"), HelperEnd::Code(0));
    assert_eq!(run(&helpers, "echo much; exit 7").await.expect("ran"), HelperEnd::Code(7));
    assert_eq!(run(&helpers, "kill -15 $$").await.expect("ran"), HelperEnd::Signal(15));
    let no = helpers.number();
    let mut spec = shell(no, "");
    spec.programs = vec![b"/no/such/program".to_vec()];
    let failed = helpers.run(no, &spec).await.expect("ran");
    assert_eq!(failed, HelperEnd::SpawnFailed { step: SpawnStep::Exec, errno: 2 });
    let no = helpers.number();
    let mut spec = shell(no, "sleep 1000");
    spec.timeout_ms = 50;
    assert_eq!(helpers.run(no, &spec).await.expect("ran"), HelperEnd::TimedOut);
    let all = futures_util::future::join_all((0..100).map(|i| run(&helpers, if i % 2 == 0 { "exit 1" } else { ":" })));
    let codes: Vec<_> = all.await.into_iter().map(|end| end.expect("ran")).collect();
    assert_eq!(codes.iter().filter(|end| **end == HelperEnd::Code(1)).count(), 50);
    until("all slots are free again", || (slots(&server) == 0).then_some(())).await;
    assert_eq!(specs(&server), 0);
    let (_, runs) = server.get("/v1/runs").await;
    assert_eq!(runs.to_string().matches("\"id\"").count(), 0, "{runs}");
    let logs: Vec<PathBuf> =
        std::fs::read_dir(server.state().join("logs")).expect("reads").flatten().map(|e| e.path()).collect();
    assert!(logs.is_empty(), "{logs:?}");
    assert!(!server.log().contains("no end record"), "{}", server.log());
}

#[tokio::test]
async fn a_helper_outlives_its_keeper_and_is_started_again_where_it_never_was() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    for _kill in 0..3 {
        let (begun, go) = (server.dir().join("begun"), server.dir().join("go"));
        let script =
            format!("echo $$ > {}; until test -e {}; do sleep 0.01; done; exit 5", begun.display(), go.display());
        let waiting = run(&helpers, &script);
        let kill = async {
            until("it has begun", || pid_in(&begun)).await;
            let pid = Pid::from_raw(owner(&server, "keeper") as i32).expect("a pid");
            rustix::process::kill_process(pid, Signal::KILL).expect("killed");
            std::fs::write(&go, "").expect("written");
            // Asked while nobody takes starts, perhaps.
            (run(&helpers, "exit 6").await, pid)
        };
        let (end, (other, killed)) = tokio::join!(waiting, kill);
        assert_eq!((end.expect("told"), other.expect("told")), (HelperEnd::Code(5), HelperEnd::Code(6)));
        std::fs::remove_file(&begun).expect("removed");
        std::fs::remove_file(&go).expect("removed");
        whole_without(&server, killed).await;
    }
    until("all slots are free again", || (slots(&server) == 0).then_some(())).await;
}

#[tokio::test]
async fn a_helper_that_nobody_waits_for_is_ended() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let begun = server.dir().join("begun");
    let script = format!("echo $$ > {}; sleep 1000", begun.display());
    let pid = tokio::select! {
        end = run(&helpers, &script) => panic!("it ended: {end:?}"),
        pid = until("it has begun", || pid_in(&begun)) => pid,
    };
    until("it is gone", || (!lives(pid)).then_some(())).await;
    until("its slot is free", || (slots(&server) == 0).then_some(())).await;
    assert_eq!(specs(&server), 0);
}

#[tokio::test]
async fn what_a_dead_daemon_left_is_ended_and_never_called_a_run() {
    let mut server = Server::serving();
    let begun = server.dir().join("begun");
    let path = server.run();
    let (script, file) = (format!("echo $$ > {}; sleep 1000", begun.display()), begun.clone());
    // A runtime that goes away takes everything with it and says nothing, as a death does.
    let pid = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let pid = runtime.block_on(async {
            let helpers = Helpers::open(&path).expect("helpers");
            let no = helpers.number();
            let spec = shell(no, &script);
            let pid = tokio::select! {
                end = helpers.run(no, &spec) => panic!("it ended: {end:?}"),
                pid = until("it has begun", || pid_in(&file)) => pid,
            };
            std::mem::forget(helpers);
            pid
        });
        runtime.shutdown_background();
        pid
    });
    let pid = tokio::task::spawn_blocking(move || pid.join().expect("joined")).await.expect("joined");
    // (The order to drop it was lost with the runtime, or was heard: either way the next daemon must see to it.)
    let daemon = server.until("/v1/server", |value| value["pid"].is_u64()).await["pid"].as_u64().expect("a pid");
    rustix::process::kill_process(Pid::from_raw(daemon as i32).expect("a pid"), Signal::KILL).expect("killed");
    until("it is gone", || (!lives(pid)).then_some(())).await;
    until("its slot is free", || (slots(&server) == 0).then_some(())).await;
    let runs = server.until("/v1/runs", |value| value.is_object() || value.is_array()).await;
    assert_eq!(runs.to_string().matches("\"id\"").count(), 0, "{runs}");
    server.front.take().map(|mut front| front.kill()).transpose().expect("ended");
}

#[tokio::test]
async fn signals_follow_each_other_and_then_the_whole_tree_is_killed() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let heard = server.dir().join("heard");
    let no = helpers.number();
    let file = heard.display();
    let mut spec = shell(
        no,
        &format!(
            "trap 'echo int >> {file}' INT; trap 'echo term >> {file}' TERM; trap 'echo usr1 >> {file}' USR1; while :; do sleep 0.01; done"
        ),
    );
    spec.timeout_ms = 200;
    spec.stop_signal = 2;
    spec.stop_more = vec![15, 10];
    spec.stop_wait_ms = 100;
    let end = tokio::time::timeout(LONG, helpers.run(no, &spec)).await.expect("in time").expect("ran");
    assert_eq!(end, HelperEnd::TimedOut);
    assert_eq!(std::fs::read_to_string(&heard).expect("heard"), "int\nterm\nusr1\n");
}

#[tokio::test]
async fn an_exec_probe_finds_around_it_what_its_run_does() {
    let server = Server::serving();
    let mut wish = server.wish("echo up; sleep 1000");
    wish["env"]["A"] = "1".into();
    let id = server.submit(&wish).await;
    let run = server.until(&format!("/v1/runs/{id}"), |run| run["pid"].is_u64()).await;
    let id = kin_core::RunId::parse(&id).expect("an id");
    let base = server.state().join("logs/job").join(id.to_string());
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let watcher = kin_daemon::output::growth::Watcher::new().expect("a watcher");
    let probes = Probes::open(&server.run(), helpers, watcher, None, move |word| drop(say.send(word))).expect("probes");
    let watch = |script: String| {
        let by = Check::Exec(Program::Shell(script));
        let ready = Ready { by, every: Millis(20), look_timeout: Millis(10_000), within: None };
        probes.watch([Watched {
            id: id.clone(),
            pid: run["pid"].as_u64().map(|pid| pid as u32),
            started_at: kin_core::Time(0),
            is_ready: false,
            ready: Some(ready),
            alive: None,
            log_base: base.clone(),
        }]);
    };
    let gate = server.dir().join("gate");
    watch(format!("test \"$A/$KIN_PID/$KIN_RUN_ID\" = '1/{}/{id}' || exit 9; test -e {}", run["pid"], gate.display()));
    let first = tokio::time::timeout(LONG, said.recv()).await.expect("in time").expect("said");
    assert_eq!(first, Said::NotReady { run: id.no, why: "the probe: exit code 1".into() });
    std::fs::write(&gate, "").expect("written");
    assert_eq!(tokio::time::timeout(LONG, said.recv()).await.expect("in time"), Some(Said::Ready { run: id.no }));
    watch("kill -9 $$".into());
    let why = tokio::time::timeout(LONG, said.recv()).await.expect("in time").expect("said");
    assert_eq!(why, Said::NotReady { run: id.no, why: "the probe: signal 9".into() });
    let (_, runs) = server.get("/v1/runs").await;
    assert_eq!(runs.to_string().matches("\"id\"").count(), 1, "{runs}");
}

#[tokio::test]
async fn what_is_said_to_the_notify_socket_waits_for_whoever_reads_it() {
    let server = Server::serving();
    let run = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    run.connect(server.run().join("notify.sock")).expect("connected");
    for role in ["daemon", "keeper", "elder"] {
        run.send(b"READY=1").expect("taken");
        let pid = match role {
            "daemon" => {
                server.until("/v1/server", |value| value["pid"].is_u64()).await["pid"].as_u64().map(|pid| pid as i32)
            }
            role => Some(owner(&server, role) as i32),
        };
        let pid = Pid::from_raw(pid.expect("a pid")).expect("a pid");
        rustix::process::kill_process(pid, Signal::KILL).expect("killed");
        // The same socket still, whoever has died: nothing that lies in it is lost.
        run.send(b"READY=1").unwrap_or_else(|e| panic!("after the death of the {role}: {e}"));
        whole_without(&server, pid).await;
    }
    run.send(b"READY=1").expect("taken");
}

#[tokio::test]
async fn a_kept_socket_refuses_nobody_while_runs_and_keepers_come_and_go() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address").port();
    let path = server.dir().join("kept.sock");
    let socket = |name: &str, at| Socket { name: name.into(), at };
    let mut job = Job::new(JobName::parse("web").expect("a name"), Program::Shell("true".into()));
    job.around.dir = Some("/".into());
    job.around.sockets = vec![
        socket("web", SocketAt::Tcp(format!("127.0.0.1:{port}"))),
        socket("admin", SocketAt::Unix(path.to_string_lossy().into_owned())),
    ];
    let (state, run) = (server.state(), std::fs::canonicalize(server.run()).expect("there"));
    let around = surroundings::Server::this(&run, &state, None);
    let no = helpers.number();
    let id = kin_core::RunId { job: job.name.clone(), no };
    let base = state.join("logs/web/x");
    let which = surroundings::Which {
        id: &id,
        slot: 0,
        attempt: 1,
        env: &[].into(),
        here: None,
        port: None,
        given: &[].into(),
        log_base: &base,
    };
    let made = surroundings::make(&job, &which, &around, &mut |_| ()).expect("made");
    let ensure = || surroundings::sockets::ensure(&run, &made.sockets);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    ensure().expect("kept");
    let connects = |when: &str| {
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|e| panic!("{when}: {e}"));
        std::os::unix::net::UnixStream::connect(&path).unwrap_or_else(|e| panic!("{when}: {e}"));
    };
    connects("kept, and nobody runs");
    let seen = server.dir().join("seen");
    let script = format!(
        "(readlink /proc/$$/fd/3 /proc/$$/fd/4; test $LISTEN_PID = $$ && echo mine $LISTEN_FDS $LISTEN_FDNAMES) > {}",
        seen.display()
    );
    for role in ["keeper", "elder", "keeper"] {
        let no = helpers.number();
        let mut spec = shell(no, &script);
        spec.sockets = made.spec.sockets.clone();
        spec.env.extend(made.spec.env.iter().filter(|entry| entry.starts_with(b"LISTEN_")).cloned());
        assert_eq!(helpers.run(no, &spec).await.expect("ran"), HelperEnd::Code(0));
        let text = std::fs::read_to_string(&seen).expect("seen");
        assert!(text.matches("socket:[").count() == 2 && text.ends_with("mine 2 web:admin\n"), "{text}");
        connects("a run has come and gone");
        let pid = Pid::from_raw(owner(&server, role) as i32).expect("a pid");
        rustix::process::kill_process(pid, Signal::KILL).expect("killed");
        connects("one of the keepers is dead");
        whole_without(&server, pid).await;
        let again = ensure();
        assert!(again.is_ok(), "it is there already, or the address would be in use: {again:?}");
    }
    for kept in surroundings::sockets::kept(&run) {
        assert!(kept.is_named(&job));
        surroundings::sockets::release(&run, &kept).expect("released");
    }
    until("nobody keeps it", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())).await;
    assert!(!path.exists());
    let no = helpers.number();
    let mut spec = shell(no, &script);
    spec.sockets = made.spec.sockets;
    let failed = helpers.run(no, &spec).await.expect("told");
    assert_eq!(failed, HelperEnd::SpawnFailed { step: SpawnStep::Stdio, errno: 9 });
}

#[tokio::test]
async fn a_newline_on_the_descriptor_it_was_promised_is_found_in_the_file() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let no = helpers.number();
    let mut spec = shell(no, "echo ready >&7");
    spec.ready_fd = Some(7);
    let refused = helpers.run(no, &spec).await.expect("told");
    assert_eq!(refused, HelperEnd::SpawnFailed { step: SpawnStep::Stdio, errno: 2 }, "nobody has made the file");
    let no = helpers.number();
    let word = surroundings::ready_path(&server.run(), no);
    std::fs::create_dir_all(word.parent().expect("a directory")).expect("made");
    std::fs::write(&word, "").expect("made");
    assert_eq!(helpers.run(no, &spec).await.expect("told"), HelperEnd::Code(0));
    assert_eq!(std::fs::read_to_string(&word).expect("written"), "ready\n");
}

#[tokio::test]
async fn limits_without_a_cgroup_to_keep_them_keep_it_from_starting() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let no = helpers.number();
    let mut spec = shell(no, "true");
    spec.cgroup_files = vec![kin_keeper::spec::CgroupFile::new("no.such.limit", 1)];
    let HelperEnd::SpawnFailed { step, .. } = helpers.run(no, &spec).await.expect("told") else { panic!("it started") };
    assert_eq!(step, SpawnStep::Cgroup);
    let no = helpers.number();
    let mut spec = shell(no, "true");
    spec.cgroup = Vec::new();
    spec.cgroup_files = vec![kin_keeper::spec::CgroupFile::new("memory.max", 1)];
    let failed = helpers.run(no, &spec).await.expect("told");
    assert_eq!(failed, HelperEnd::SpawnFailed { step: SpawnStep::Cgroup, errno: 95 });
}

#[tokio::test]
async fn a_ladder_goes_on_where_a_dead_keeper_left_it() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let heard = server.dir().join("heard");
    let no = helpers.number();
    let file = heard.display();
    let mut spec = shell(
        no,
        &format!(
            "trap 'echo int >> {file}' INT; trap 'echo term >> {file}' TERM; trap 'echo hup >> {file}' HUP; while :; do sleep 0.01; done"
        ),
    );
    spec.timeout_ms = 100;
    spec.stop_signal = 2;
    spec.stop_more = vec![15, 1];
    spec.stop_wait_ms = 1_500;
    let waiting = helpers.run(no, &spec);
    let kill = async {
        for (lines, role) in [(1, "keeper"), (2, "elder")] {
            let text = || std::fs::read_to_string(&heard).unwrap_or_default();
            until("a signal was heard", || (text().lines().count() >= lines).then_some(())).await;
            let pid = Pid::from_raw(owner(&server, role) as i32).expect("a pid");
            rustix::process::kill_process(pid, Signal::KILL).expect("killed");
            whole_without(&server, pid).await;
        }
    };
    let (end, ()) = tokio::join!(tokio::time::timeout(LONG, waiting), kill);
    assert_eq!(end.expect("in time").expect("told"), HelperEnd::TimedOut);
    // A keeper that dies between sending a signal and noting that leaves it to the next one to send it once more.
    let text = std::fs::read_to_string(&heard).expect("heard");
    let mut rungs: Vec<&str> = text.lines().collect();
    rungs.dedup();
    assert_eq!(rungs, ["int", "term", "hup"], "{text}");
}

#[tokio::test]
async fn a_rung_that_was_noted_and_not_sent_is_sent_by_whoever_takes_over() {
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let file = |name: &str| server.dir().join(name).display().to_string();
    let deaf = |file: &str| {
        format!(
            "trap 'echo term >> {file}' TERM; trap 'echo usr1 >> {file}' USR1; trap 'echo hup >> {file}' HUP; while :; do sleep 0.01; done"
        )
    };
    let (stays, left) = (file("stays"), file("left"));
    // Of the second only a child is there when the second signal comes; it is in the group of a leader that has ended.
    let of_a_child = format!("({}) & trap 'exit 3' TERM; while :; do sleep 0.01; done", deaf(&left));
    for (heard, script) in [(&stays, deaf(&stays)), (&left, of_a_child)] {
        let no = helpers.number();
        let mut spec = shell(no, &script);
        spec.env.push(format!("KIN_RUN_ID=job-{no}").into_bytes());
        spec.timeout_ms = 200;
        spec.stop_signal = 15;
        spec.stop_more = vec![10, 1];
        spec.stop_wait_ms = 1_500;
        let waiting = helpers.run(no, &spec);
        let kill = async {
            let text = || std::fs::read_to_string(heard).unwrap_or_default();
            until("the first signal was heard", || (text() == "term\n").then_some(())).await;
            server.kill_at("stop-noted");
            until("the second was noted", || server.was_killed_at("stop-noted").then_some(())).await;
            server.until("/v1/server", |value| value["guard"] == "whole").await;
        };
        let (ended, ()) = tokio::join!(tokio::time::timeout(LONG, waiting), kill);
        assert_eq!(ended.expect("in time").expect("told"), HelperEnd::TimedOut);
        assert_eq!(std::fs::read_to_string(heard).expect("heard"), "term\nusr1\nhup\n");
    }
}

#[tokio::test]
async fn another_users_run_reaches_what_is_its_own_and_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        return println!("not run: only root may change the user");
    }
    let server = Server::serving();
    let helpers = Helpers::open(&server.run()).expect("helpers");
    let secret = server.dir().join("secret");
    std::fs::write(&secret, "s3cret").expect("written");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let script = "set -e; test $(id -u) = 65534; test \"$(cat $CREDENTIALS_DIRECTORY/db)\" = s3cret; test -w $NOTIFY_SOCKET; \
        ! test -r $KIN_SOCKET; ! ls $(dirname $KIN_SOCKET) 2>/dev/null; ! cat $(dirname $KIN_SOCKET)/spec/* 2>/dev/null; \
        grep -q 'NoNewPrivs:.1' /proc/self/status; pwd | grep -qx /";
    let mut job = Job::new(JobName::parse("web").expect("a name"), Program::Shell(script.into()));
    job.around.user = Some("65534".into());
    job.around.dir = Some("/".into());
    job.around.credentials = [("db".into(), secret.to_string_lossy().into_owned())].into();
    job.life.ready = Some(Ready { by: Check::Notify, every: Millis(1), look_timeout: Millis(1), within: None });
    let (state, run) = (server.state(), std::fs::canonicalize(server.run()).expect("there"));
    let around = surroundings::Server::this(&run, &state, None);
    let no = helpers.number();
    let id = kin_core::RunId { job: job.name.clone(), no };
    let base = PathBuf::from(format!("web-{no}"));
    let which = surroundings::Which {
        id: &id,
        slot: 0,
        attempt: 1,
        env: &[].into(),
        here: None,
        port: None,
        given: &[].into(),
        log_base: &base,
    };
    let mut spec = surroundings::make(&job, &which, &around, &mut |_| ()).expect("made").spec;
    spec.output = Output::Null;
    assert_eq!(helpers.run(no, &spec).await.expect("ran"), HelperEnd::Code(0));
    surroundings::clear(&run, no).expect("cleared");
    assert_eq!(std::fs::read_dir(run.join("credentials")).expect("there").count(), 0);
}
