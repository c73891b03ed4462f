//! `kin up` and `kin down`: the jobs of one file, together.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use testkit::procfs;
use testkit::server::{DEADLINE, Options, Role};
use testkit::{Server, eventually};

const SHOP: &str = r#"
[kin.queues.narrow]
slots = 1

[db]
command = "trap 'sleep 0.3; echo db is closed; exit 0' TERM; echo \"db in $PWD\"; while :; do sleep 0.1; done"
restart = "always"
ready = { line = "db in" }

[web]
command = "trap 'sleep 0.3; exit 0' TERM; echo \"web $GREETING\"; while :; do sleep 0.1; done"
restart = "always"
needs = ["db"]
env = { GREETING = "hello" }

[task]
command = "echo done by hand"
queue = "narrow"

[gated]
command = "echo gone through"
latch = "gate"
"#;

/// A directory of its own, with this project in it.
fn project(server: &Server, dir: &str, text: &str) -> PathBuf {
    let dir = server.home().join(dir);
    std::fs::create_dir_all(dir.join("deep")).expect("a directory");
    std::fs::write(dir.join("kin.toml"), text).expect("writes");
    dir
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn kin(server: &Server, dir: &Path, args: &[&str]) -> Said {
    let output = server.command().current_dir(dir).args(args).output().expect("kin starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    #[track_caller]
    fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }
    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }
}

/// Each job and the pids of its runs that run.
fn running(server: &Server, dir: &Path) -> Vec<(String, Vec<u64>)> {
    let jobs = kin(server, dir, &["list", "--json"]).expect(0).json();
    let pids = |job: &serde_json::Value| {
        let runs = job["runs"].as_array().cloned().unwrap_or_default();
        runs.iter().filter(|run| run["state"] == "running").filter_map(|run| run["pid"].as_u64()).collect::<Vec<_>>()
    };
    jobs.as_array().expect("jobs").iter().map(|job| (job["name"].as_str().unwrap_or("").into(), pids(job))).collect()
}

/// The pid of a service's one run, once it runs.
fn pid(server: &Server, dir: &Path, job: &str) -> u64 {
    eventually(&format!("{job} runs"), DEADLINE, || {
        let all = running(server, dir);
        all.into_iter().find(|(name, _)| name == job).and_then(|(_, pids)| <[u64; 1]>::try_from(pids).ok())
    })[0]
}

fn names(server: &Server, dir: &Path) -> Vec<String> {
    running(server, dir).into_iter().map(|(name, _)| name).collect()
}

/// One who follows.
struct Follower {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Follower {
    fn new(mut command: Command) -> Follower {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kin starts");
        let (send, lines) = mpsc::channel();
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("a pipe"));
        let err: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("a pipe"));
        for stream in [out, err] {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Follower { child, lines, seen: Vec::new() }
    }

    #[track_caller]
    fn hears(&mut self, what: &str) {
        while !self.seen.iter().any(|line| line.contains(what)) {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => self.seen.push(line),
                Err(e) => panic!("{what:?} does not come: {e}\n{}", self.seen.join("\n")),
            }
        }
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("is there");
    }

    #[track_caller]
    fn ends(&mut self, code: i32) {
        let ended = eventually("it ends", DEADLINE, || self.child.try_wait().expect("a child"));
        assert_eq!(ended.code(), Some(code));
    }
}

#[test]
fn up_follows_ctrl_c_leaves_it_up_and_down_ends_it_in_order() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let shop = project(&server, "shop", SHOP);
    let mut up = server.command();
    up.current_dir(shop.join("deep")).args(["up"]);
    let mut follower = Follower::new(up);
    follower.hears("kin: shop is up: 2 services, 2 tasks; Ctrl-C leaves it up, kin down ends it");
    follower.hears("kin: nothing starts gated, task by itself: kin run does");
    // Its directory is the file's, and not the one in which it was typed.
    follower.hears(&format!("db    | db in {}", shop.display()));
    follower.hears("web   | web hello");
    kin(&server, &shop, &["run", "task", "--wait"]).expect(0);
    follower.hears("task  | done by hand");
    follower.hears("task  * ended: ok");
    let held = kin(&server, &shop, &["run", "gated"]).expect(0).out;
    follower.hears("gated * held; kin release gate lets it go");
    assert_eq!(kin(&server, &shop.join("deep"), &["release", "gate"]).expect(0).out, held);
    follower.hears("gated | gone through");
    let web = pid(&server, &shop, "shop.web");
    procfs::kill_marked(u32::try_from(web).expect("a pid"), server.mark(), rustix::process::Signal::KILL).expect("may");
    follower.hears("web   * ended: signaled(KILL)");
    follower.hears("attempt 2");
    let at = |what: &str| follower.seen.iter().position(|line| line.contains(what));
    // The wait may be over before it can be told how long it is.
    let again = at("again in ");
    assert!(again.is_none() || at("ended: signaled(KILL)") < again, "{}", follower.seen.join("\n"));
    follower.interrupt();
    follower.hears("kin: detached: shop stays up; kin up follows it again, kin down ends it");
    follower.ends(0);
    pid(&server, &shop, "shop.web");

    // Whoever follows sees the end of it, also when somebody else asked for that.
    let mut again = server.command();
    again.current_dir(&shop).args(["up"]);
    let mut again = Follower::new(again);
    again.hears("db    | db in ");
    let down = kin(&server, &shop, &["down"]).expect(0);
    assert!(down.err.contains("kin: shop is down; kin log 'shop.*' shows what it did"), "{}", down.err);
    again.hears("db    | db is closed");
    again.hears("kin: shop is down");
    again.ends(0);
    assert!(names(&server, &shop).is_empty());
    let log = kin(&server, &shop, &["log", "shop.*", "--json", "--limit", "0"]).expect(0).json();
    let end = |job: &str| {
        let mut runs = log.as_array().expect("runs").iter().filter(|run| run["job"] == job);
        runs.next_back()
            .map(|run| (run["outcome"].as_str().map(str::to_owned), run["ended_at"].as_str().map(str::to_owned)))
    };
    let ((web, first), (db, second)) = (end("shop.web").expect("its history stays"), end("shop.db").expect("this too"));
    assert_eq!((web.as_deref(), db.as_deref()), (Some("stopped"), Some("stopped")));
    assert!(first < second, "web needs db, so it ends first: {first:?}, {second:?}");
    let said = kin(&server, &shop, &["down"]).expect(4).err;
    assert_eq!(said, "kin: no project is up here\n  hint: no project is up at all\n");
    server.shutdown();
}

/// As a pager does that is not scrolled.
#[test]
fn who_does_not_read_what_up_prints_can_still_interrupt_it() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let text = "[noisy]\ncommand = 'yes 0123456789012345678901234567890123456789 | head -c 3000000; exec sleep 600'\n\
                restart = 'always'\n";
    let dir = project(&server, "noisy", text);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut up = server.command();
        let up = up.current_dir(&dir).arg("up").args(["--lines", "60000"]);
        let (out, pipe) = std::io::pipe().expect("a pipe");
        let mut child = up.stdout(pipe.try_clone().expect("a clone")).stderr(pipe).spawn().expect("kin");
        eventually("the pipe is full", DEADLINE, || {
            (rustix::io::ioctl_fionread(&out).expect("a pipe") > 60_000).then_some(())
        });
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).expect("is there");
        let ended = eventually("it ends", DEADLINE, || child.try_wait().expect("a child"));
        assert_eq!(ended.code(), Some(0), "{signal:?}");
    }
    kin(&server, &dir, &["down"]).expect(0);
    server.shutdown();
}

#[test]
fn a_second_up_does_what_follows_from_the_change() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let shop = project(&server, "shop", SHOP);
    let first = kin(&server, &shop, &["up", "--detach"]).expect(0);
    assert!(first.out.contains("shop.web    add     it starts"), "{}", first.out);
    assert_eq!(first.err, "kin: shop is up: 2 services, 2 tasks\n");
    let (db, web) = (pid(&server, &shop, "shop.db"), pid(&server, &shop, "shop.web"));

    let same = kin(&server, &shop, &["up", "--detach"]).expect(0);
    assert_eq!((same.out.as_str(), same.err.as_str()), ("", "kin: nothing is different from what is up of shop\n"));
    assert_eq!((pid(&server, &shop, "shop.db"), pid(&server, &shop, "shop.web")), (db, web));

    let changed = SHOP.replace("hello", "good morning").replace("[gated]", "[other]").replace("slots = 1", "slots = 3");
    std::fs::write(shop.join("kin.toml"), changed).expect("writes");
    let plan = kin(&server, &shop, &["up", "--plan", "--json"]).expect(0).json();
    assert_eq!(plan["applied"], false);
    let step = |job: &str| plan["steps"].as_array().expect("steps").iter().find(|step| step["job"] == job).cloned();
    assert_eq!(step("shop.web").expect("web")["follows"], "restart");
    assert_eq!(step("shop.web").expect("web")["keys"], serde_json::json!(["env.GREETING"]));
    assert_eq!(step("shop.gated").expect("gated")["what"], "remove");
    assert!(step("shop.db").is_none(), "{plan}");
    assert_eq!(pid(&server, &shop, "shop.web"), web, "a plan changes nothing");

    kin(&server, &shop, &["up", "--detach"]).expect(0);
    let new =
        eventually("web is another", DEADLINE, || Some(pid(&server, &shop, "shop.web")).filter(|pid| *pid != web));
    assert_ne!(new, web);
    assert_eq!(pid(&server, &shop, "shop.db"), db, "what is the same stays as it is");
    assert_eq!(names(&server, &shop), ["shop.db", "shop.other", "shop.task", "shop.web"]);
    let queue = kin(&server, &shop, &["queue", "narrow", "--json"]).expect(0).json();
    assert_eq!((&queue[0]["name"], &queue[0]["slots"]["slots"]), (&"shop.narrow".into(), &3.into()));

    // What was stopped by hand is up again after it.
    kin(&server, &shop, &["stop", "web", "--wait"]).expect(0);
    let said = kin(&server, &shop, &["up", "--detach"]).expect(0).out;
    assert!(said.contains("shop.web  start   it starts"), "{said}");
    assert_ne!(pid(&server, &shop, "shop.web"), new);
    server.shutdown();
}

#[test]
fn two_projects_and_the_machines_own_jobs_do_not_clash() {
    let machine =
        "[web]\nexec = ['sleep', '600']\nrestart = 'always'\nstop = { wait = '1s' }\n[shop]\ncommand = 'true'\n";
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).config(machine).start();
    let one = project(&server, "one/shop", SHOP);
    let two = project(&server, "two", "[web]\nexec = ['sleep', '600']\nrestart = 'always'\nstop = { wait = '1s' }\n");
    kin(&server, &one, &["up", "-d"]).expect(0);
    kin(&server, &two, &["up", "-d"]).expect(0);
    let pids = ["web", "shop.web", "two.web"].map(|job| pid(&server, server.home(), job));

    // The short name means the project's job where one is, the machine's elsewhere, and so does a glob.
    for (dir, name) in [(server.home(), "web"), (one.as_path(), "shop.web"), (two.as_path(), "two.web")] {
        let said = kin(&server, dir, &["list", "web", "--json"]).expect(0).json();
        assert_eq!(said[0]["name"], name);
        let said = kin(&server, dir, &["list", "w*", "--json"]).expect(0).json();
        assert_eq!((&said[0]["name"], said.as_array().map(Vec::len)), (&name.into(), Some(1)));
    }
    let why = kin(&server, &one, &["why", "web"]).expect(0).out;
    assert!(why.contains(&format!("by the project shop, in {}/kin.toml", one.display())), "{why}");

    // The same name from another place is refused, and another name helps.
    let other = project(&server, "other/shop", "[web]\nexec = ['sleep', '600']\nrestart = 'always'\n");
    let said = kin(&server, &other, &["up", "-d"]).expect(5).err;
    assert!(said.contains(&format!("a project shop is up already, from {}/kin.toml", one.display())), "{said}");
    kin(&server, &other, &["up", "-d", "-p", "other"]).expect(0);
    pid(&server, &other, "other.web");
    // Nobody but the project changes its jobs.
    let http = server.http().send(&testkit::http::Request::delete("/v1/jobs/other.web")).expect("an answer");
    assert_eq!(http.status, 409, "{}", http.json());

    // Neither a reading of the machine's files nor a death of the daemon takes anything of it away.
    kin(&server, &two, &["reload"]).expect(0);
    server.kill(Role::Daemon).expect("there was one");
    server.wait_whole(DEADLINE);
    assert_eq!(["web", "shop.web", "two.web"].map(|job| pid(&server, server.home(), job)), pids);
    assert_eq!(kin(&server, &one, &["queue", "narrow", "--json"]).expect(0).json()[0]["name"], "shop.narrow");

    // Its file need not be there for its end; and only it ends.
    std::fs::remove_file(one.join("kin.toml")).expect("removes");
    kin(&server, &one, &["down"]).expect(0);
    let down = kin(&server, server.home(), &["down", "-p", "two", "--json"]).expect(0).json();
    assert_eq!((&down["project"], &down["runs"][0]["outcome"]), (&"two".into(), &"stopped".into()));
    assert_eq!(names(&server, server.home()), ["other.web", "shop", "web"]);
    assert_eq!(pid(&server, server.home(), "web"), pids[0]);
    let said = kin(&server, server.home(), &["down"]).expect(4).err;
    assert!(said.contains("up is other (") && said.contains("kin down --project NAME"), "{said}");
    kin(&server, server.home(), &["down", "-p", "nowhere"]).expect(4);
    kin(&server, &other, &["down", "--detach"]).expect(0);
    server.shutdown();
}

#[test]
fn what_cannot_be_a_project_is_said_and_changes_nothing() {
    let server = Server::start(env!("CARGO_BIN_EXE_kin"));
    let dir = project(&server, "shop", SHOP);
    kin(&server, &dir, &["up", "-d"]).expect(0);
    let web = pid(&server, &dir, "shop.web");
    let wrong = format!("[kin]\ndurability = 'fast'\n{}", SHOP.replace("needs", "neds"));
    std::fs::write(dir.join("kin.toml"), wrong).expect("writes");
    let said = kin(&server, &dir, &["up", "-d"]).expect(2).err;
    assert!(said.contains("'kin.durability' is a setting of the server, and this is the file of a project"), "{said}");
    assert!(said.contains("unknown key 'neds', did you mean 'needs'?"), "{said}");
    assert!(said.contains("^^^^") && said.ends_with("2 mistakes, nothing was changed\n"), "{said}");
    assert_eq!(pid(&server, &dir, "shop.web"), web);

    let said = kin(&server, &dir, &["up", "-d", "-p", "two words"]).expect(2).err;
    assert_eq!(said.matches("error: ").count(), 2 + 1, "the two of the file, and its name once: {said}");

    let bare = project(&server, "bare", "# nothing yet\n");
    for args in [&["up", "-d"][..], &["up"], &["up", "--plan"]] {
        let said = kin(&server, &bare, args).expect(2).err;
        assert!(said.contains("kin.toml defines no jobs, so nothing is up of bare"), "{said}");
    }
    std::fs::write(bare.join("kin.toml"), "[one]\ncommand = 'true'\n").expect("writes");
    kin(&server, &bare, &["up", "-d"]).expect(0);
    std::fs::write(bare.join("kin.toml"), "").expect("writes");
    kin(&server, &bare, &["up", "-d"]).expect(0);

    let empty = server.home().join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    std::fs::remove_file(server.home().join("kin.toml")).ok();
    let said = kin(&server, &empty, &["up"]).expect(2).err;
    assert!(said.contains("there is no kin.toml in") && said.contains("kin up -f FILE"), "{said}");
    kin(&server, &empty, &["up", "-f", "nowhere.toml"]).expect(2);
    // The server's own file is no project's.
    std::fs::write(server.home().join("kin.toml"), "[a]\ncommand = 'true'\n").expect("writes");
    let said = kin(&server, server.home(), &["up"]).expect(2).err;
    assert!(said.contains("is the server's own, and no project's"), "{said}");
    kin(&server, &dir, &["down"]).expect(0);
    server.shutdown();
}
