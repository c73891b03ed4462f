//! From a definition to a spec.

use super::*;
use kin_core::job::Millis;
use kin_core::job::{Program, Ready, Socket, SocketAt};
use kin_core::{JobName, RunNo};
use kin_keeper::spec::SpecView;
use std::os::unix::fs::PermissionsExt;

struct Town {
    dir: tempfile::TempDir,
    server: Server,
    given: BTreeMap<String, String>,
}

fn town() -> Town {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("run")).expect("made");
    std::fs::write(dir.path().join("passwd"), "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/zsh\n")
        .expect("written");
    std::fs::write(dir.path().join("group"), "ann:x:1000:\nwheel:x:10:ann\n").expect("written");
    let env = [
        ("HOME", "/root"),
        ("USER", "root"),
        ("PATH", "/opt/bin:/bin"),
        ("LC_TIME", "C"),
        ("XDG_RUNTIME_DIR", "/run/user/0"),
        ("KIN_HOME", "/k"),
        ("KIN_NOFILE_SOFT", "7"),
        ("KIN_RUN_ID", "outer-00000001"),
        ("SECRET", "s"),
        ("AWS_KEY", "k"),
        ("AWS_ID", "i"),
    ];
    let server = Server {
        env: env.map(|(n, v)| (n.into(), v.into())).into(),
        run: dir.path().join("run"),
        uid: 0,
        gid: 0,
        files_soft: None,
        offered: Offered { memory: true, pids: true, cpu: true },
        people: People::at(dir.path(), Path::new("/nowhere/getent")),
    };
    Town { dir, server, given: BTreeMap::new() }
}

fn job(program: &str) -> Job {
    let words = program.split(' ').map(String::from).collect();
    Job::new(JobName::parse("web").expect("a name"), Program::Exec(words))
}

fn id() -> RunId {
    RunId { job: JobName::parse("web").expect("a name"), no: RunNo::new(77).expect("a number") }
}

impl Town {
    fn make(&self, job: &Job) -> Makes<Made> {
        let id = id();
        let log_base = Path::new("/state/logs/web/web-0000001F");
        let given = BTreeSet::new();
        let which = Which {
            id: &id,
            slot: 2,
            attempt: 3,
            env: &self.given,
            here: None,
            port: Some(4000),
            given: &given,
            log_base,
        };
        make(job, &which, &self.server, &mut |_| ())
    }
    fn env(&self, job: &Job) -> BTreeMap<String, String> {
        let made = self.make(job).expect("made");
        let pair = |entry: &Vec<u8>| {
            let text = String::from_utf8_lossy(entry).into_owned();
            text.split_once('=').map(|(n, v)| (n.to_string(), v.to_string())).expect("NAME=value")
        };
        made.spec.env.iter().map(pair).collect()
    }
}

#[test]
fn a_run_finds_what_is_plain_of_the_servers_environment_and_what_it_names() {
    let mut town = town();
    let mut job = job("tool");
    let env = town.env(&job);
    let names: Vec<&str> = env.keys().map(String::as_str).collect();
    let want = [
        "HOME",
        "KIN_ATTEMPT",
        "KIN_HOME",
        "KIN_JOB",
        "KIN_RUN_ID",
        "KIN_SLOT",
        "KIN_SOCKET",
        "LC_TIME",
        "PATH",
        "USER",
        "XDG_RUNTIME_DIR",
    ];
    assert_eq!(names, want);
    assert_eq!(
        (env["KIN_RUN_ID"].as_str(), env["KIN_SLOT"].as_str(), env["KIN_ATTEMPT"].as_str()),
        (id().to_string().as_str(), "2", "3")
    );
    // Each source wins over those before it.
    job.around.env_pass = vec!["AWS_*".into(), "KIN_NOFILE_SOFT".into()];
    let file = town.dir.path().join("web.env");
    std::fs::write(&file, "AWS_ID=file\nA=file\nB=file\n").expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("set");
    town.server.uid = rustix::process::geteuid().as_raw();
    job.around.env_files = vec![file.to_string_lossy().into_owned()];
    job.around.env = [("A".into(), "job".into()), ("KIN_JOB".into(), "forged".into())].into();
    town.given = [("B".into(), "given".into())].into();
    let env = town.env(&job);
    let got = ["AWS_KEY", "AWS_ID", "A", "B", "KIN_JOB"].map(|name| env[name].as_str());
    assert_eq!(got, ["k", "file", "job", "given", "web"]);
    assert!(!env.contains_key("SECRET") && !env.contains_key("KIN_NOFILE_SOFT"));
}

#[test]
fn words_are_expanded_and_command_lines_are_the_shells() {
    let town = town();
    let mut exec = job("tool --port=$PORT ${KIN_JOB}-$KIN_SLOT $$x");
    exec.around.port = Some(Port::From(3000));
    exec.around.dir = Some("$HOME/srv".into());
    let spec = town.make(&exec).expect("made").spec;
    let argv: Vec<String> = spec.argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
    assert_eq!(argv, ["tool", "--port=3002", "web-2", "$x"]);
    assert_eq!((spec.programs[0].as_slice(), spec.directory.as_slice()), (&b"/opt/bin/tool"[..], &b"/root/srv"[..]));
    exec.program = Program::Shell("echo $PORT $NOPE".into());
    let spec = town.make(&exec).expect("made").spec;
    assert_eq!((spec.programs, spec.argv[2].as_slice()), (vec![b"/bin/sh".to_vec()], &b"echo $PORT $NOPE"[..]));
    exec.around.port = Some(Port::Auto);
    assert_eq!(town.make(&exec).expect("made").port, Some(4000), "the one it had");
}

#[test]
fn an_undefined_variable_is_refused_with_its_key() {
    let town = town();
    let refused = |job: &Job| town.make(job).expect_err("refused");
    let exec = refused(&job("tool $NOPE"));
    assert!(exec.message.contains("exec") && exec.message.contains("$NOPE"), "{exec}");
    let mut bad = job("tool");
    bad.around.dir = Some("$NOPE".into());
    assert_eq!(refused(&bad).step, SpawnStep::Directory);
    bad.around.dir = Some("relative".into());
    assert!(refused(&bad).message.contains("absolute"));
    bad.around.dir = None;
    let look = |by| Ready { by, every: Millis(1), look_timeout: Millis(1), within: None };
    bad.life.ready = Some(look(Check::Http { url: "http://$HOST/".into(), codes: [].into() }));
    assert!(refused(&bad).message.contains("ready.http"));
    bad.life.ready = Some(look(Check::Line("^ready$".into())));
    assert!(town.make(&bad).is_ok(), "a pattern's $ is its own");
    bad.life.stop.command = Some(Program::Exec(vec!["stopper".into(), "$NOPE".into()]));
    assert!(refused(&bad).message.contains("stop.command"));
}

#[test]
fn a_server_that_was_told_nothing_of_its_user_looks_it_up() {
    let mut town = town();
    let told = |town: &Town| ["HOME", "USER", "LOGNAME", "SHELL"].map(|name| town.env(&job("tool"))[name].clone());
    let before = town.server.env.clone();
    town.server.people.complete(&mut town.server.env, 1000);
    assert_eq!(town.server.env, before, "it was told");
    town.server.env.clear();
    town.server.people.complete(&mut town.server.env, 1000);
    assert_eq!(told(&town), ["/home/ann", "ann", "ann", "/bin/zsh"]);
    assert_eq!(town.make(&job("tool")).expect("made").spec.directory, b"/home/ann");
    town.server.env.clear();
    town.server.people.complete(&mut town.server.env, 4711);
    assert!(town.server.env.is_empty(), "nobody knows that one");
}

#[test]
fn another_user_has_a_home_of_its_own_and_no_new_privileges() {
    let town = town();
    let mut job = job("tool");
    let plain = town.make(&job).expect("made").spec;
    assert_eq!((plain.user, plain.no_new_privileges), (None, false));
    job.around.user = Some("ann".into());
    let made = town.make(&job).expect("made");
    let user = made.spec.user.as_ref().expect("a user");
    assert_eq!((user.uid, user.gid, user.groups.as_slice()), (1000, 1000, &[10, 1000][..]));
    assert!(made.spec.no_new_privileges && made.spec.directory == b"/home/ann");
    let env = town.env(&job);
    let got = ["HOME", "USER", "LOGNAME", "SHELL"].map(|name| env[name].as_str());
    assert_eq!(got, ["/home/ann", "ann", "ann", "/bin/zsh"]);
    assert!(!env.contains_key("XDG_RUNTIME_DIR"));
    job.around.no_new_privileges = Some(false);
    assert!(!town.make(&job).expect("made").spec.no_new_privileges);
    job.around.user = Some("nobody-here".into());
    assert_eq!(town.make(&job).expect_err("refused").step, SpawnStep::User);
}

#[test]
fn readiness_sockets_limits_and_stops_stand_in_the_spec() {
    let town = town();
    let mut job = job("tool");
    let look = |by| Ready { by, every: Millis(1), look_timeout: Millis(1), within: None };
    job.life.ready = Some(look(Check::Fd(5)));
    job.life.stop.signals = vec![2, 15, 1];
    job.life.timeout = Some(Millis(9_000));
    job.around.limits.memory = Some(4096);
    let socket = |name: &str| Socket { name: name.into(), at: SocketAt::Tcp("127.0.0.1:0".into()) };
    job.around.sockets = vec![socket("web"), socket("admin")];
    let made = town.make(&job).expect("made");
    let bytes = made.spec.encode().expect("encodes");
    let view = SpecView::check(&bytes).expect("checks");
    assert_eq!((view.ready_fd(), view.socket_count(), view.timeout_ms()), (Some(5), 2, 9_000));
    assert_eq!((0..4).map_while(|rung| view.stop_rung(rung)).collect::<Vec<_>>(), [2, 15, 1]);
    assert_eq!(view.cgroup_files().next(), Some((&b"memory.max"[..], &b"4096"[..])));
    assert_ne!(made.spec.sockets[0], made.spec.sockets[1]);
    assert_eq!(made.sockets.iter().map(|s| s.key).collect::<Vec<_>>(), made.spec.sockets);
    assert_eq!(std::fs::read(ready_path(&town.server.run, id().no)).expect("made"), b"");
    let env = town.env(&job);
    assert_eq!((env["LISTEN_FDS"].as_str(), env["LISTEN_FDNAMES"].as_str()), ("2", "web:admin"));
    assert_eq!(Checks::again(&job, &view), Ok(made.checks));
    job.life.ready = Some(look(Check::Fd(4)));
    assert!(town.make(&job).expect_err("refused").message.contains("readiness is taken"));
    job.life.ready = Some(look(Check::Notify));
    let notify = town.server.notify_socket();
    assert_eq!(town.env(&job)["NOTIFY_SOCKET"], notify.to_string_lossy());
}

#[test]
fn a_helper_has_its_runs_surroundings_and_none_of_its_streams() {
    let town = town();
    let mut web = job("tool");
    web.around.user = Some("ann".into());
    web.around.env = [("A".into(), "1".into())].into();
    let look = |by| Ready { by, every: Millis(1), look_timeout: Millis(1), within: None };
    web.life.ready = Some(look(Check::Notify));
    let bytes = town.make(&web).expect("made").spec.encode().expect("encodes");
    let view = SpecView::check(&bytes).expect("checks");
    let no = RunNo::helper(5);
    let probe = Program::Exec(vec!["probe".into(), "-v".into()]);
    let spec = helper(&view, &id(), Some(4711), &probe, no, 1_000).expect("made");
    assert_eq!(spec.user.as_ref().map(|user| user.uid), Some(1000));
    assert_eq!(
        (spec.output, spec.timeout_ms, spec.programs[0].as_slice()),
        (Output::Null, 1_000, &b"/opt/bin/probe"[..])
    );
    let has = |entry: &str| spec.env.iter().any(|have| have == entry.as_bytes());
    assert!(has("A=1") && has("KIN_PID=4711") && has(&format!("KIN_RUN_ID={}", id())));
    assert!(!spec.env.iter().any(|have| have.starts_with(b"NOTIFY_SOCKET=")));
    assert_eq!(spec.log_base, format!("web-{no}").into_bytes());
}

#[test]
fn credentials_are_copied_and_named() {
    let mut town = town();
    town.server.uid = rustix::process::geteuid().as_raw();
    town.server.gid = rustix::process::getegid().as_raw();
    let from = town.dir.path().join("secret");
    std::fs::write(&from, "s3cret").expect("written");
    std::fs::set_permissions(&from, PermissionsExt::from_mode(0o600)).expect("set");
    let mut job = job("tool");
    job.around.credentials = [("db".into(), from.to_string_lossy().into_owned())].into();
    let env = town.env(&job);
    let dir = Path::new(&env["CREDENTIALS_DIRECTORY"]);
    assert_eq!(std::fs::read_to_string(dir.join("db")).expect("read"), "s3cret");
    assert!(!town.make(&job).expect("made").spec.env.iter().any(|entry| entry.ends_with(b"s3cret")));
    sweep(&town.server.run, |no| no == id().no).expect("swept");
    assert!(dir.exists());
    clear(&town.server.run, id().no).expect("cleared");
    assert!(!dir.exists());
}

#[test]
fn what_a_job_asks_of_its_keeper_stands_in_the_spec() {
    let town = town();
    let mut job = job("tool");
    let plain = town.make(&job).expect("made").spec;
    assert_eq!((plain.keep_bytes, plain.on_full), (1 << 30, OnFull::Drop));
    job.keep.run_bytes = 100 << 20;
    job.keep.on_full = kin_core::job::OnFull::Block;
    let spec = town.make(&job).expect("made").spec;
    assert_eq!((spec.keep_bytes, spec.on_full), (100 << 20, OnFull::Block));
}
