//! Defined jobs from the command line, with a server: what is typed, what is said, and the exit code.

use serde_json::Value;
use testkit::server::{DEADLINE, Options};
use testkit::{Cli, Server, eventually};

const JOBS: &str = r#"
[kin.queues.heavy]
slots = 1
resources = { gpu = 1 }

[web]
exec = ["sleep", "600"]
restart = "always"
tags = ["app"]
stop = { wait = "1s" }

[backup]
command = "echo out; echo $LEVEL >&2; exit 3"

[train]
command = "exec sleep 600"
queue = "heavy"
overlap = "allow"

# Its name looks like the id of a run.
[web-frontend]
exec = ["sleep", "600"]
"#;

fn server() -> Server {
    Options::new(env!("CARGO_BIN_EXE_kin")).config(JOBS).start()
}

fn web(cli: &Cli<'_>, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, DEADLINE, || Some(cli.run(&["list", "web", "--json"]).expect(0).json()[0].clone()).filter(&is))
}

fn pids(job: &Value) -> Vec<u64> {
    let runs = job["runs"].as_array().cloned().unwrap_or_default();
    runs.iter().filter(|run| run["state"] == "running").filter_map(|run| run["pid"].as_u64()).collect()
}

#[test]
fn run_prints_the_id_or_ends_as_the_run_did() {
    let server = server();
    let cli = Cli::new(&server);
    let id = cli.run(&["run", "backup"]).expect(0).line();
    assert!(id.starts_with("backup-"), "{id}");
    cli.run(&["wait", &id]).expect(1);
    let said = cli.run(&["run", "backup", "-f", "--env", "LEVEL=full"]).expect(3);
    assert_eq!((said.text().as_str(), said.errors().as_str()), ("out\n", "full\n"));
    let ended = cli.run(&["run", "backup", "--wait", "--json"]).expect(3).json();
    assert_eq!((&ended["state"], &ended["exit_code"], &ended["rev"]), (&"ended".into(), &3.into(), &1.into()));

    let before = cli.run(&["log", "backup", "--json", "--limit", "0"]).expect(0).json();
    let dry = cli.run(&["run", "backup", "--dry-run", "--env", "LEVEL=x", "--json"]).expect(0).json();
    assert_eq!(dry["argv"][0], "sh");
    assert!(dry["env"].as_array().expect("names").contains(&"LEVEL".into()), "{dry}");
    assert_eq!(cli.run(&["log", "backup", "--json", "--limit", "0"]).expect(0).json(), before, "nothing was run");

    assert_eq!((&dry["waits"], &dry["refused"]), (&serde_json::json!([]), &Value::Null));
    cli.run(&["disable", "backup"]).expect(0);
    let dry = cli.run(&["run", "backup", "--dry-run"]).expect(5).text();
    assert!(dry.contains("refused    it would be skipped: its job is disabled\n"), "{dry}");
    cli.run(&["enable", "backup"]).expect(0);

    cli.run(&["log", "web-frontend"]).expect(0);
    assert!(cli.run(&["log", "bakcup"]).expect(4).errors().contains("did you mean backup?"));
    let said = cli.run(&["run", "bakcup"]).expect(4).errors();
    assert_eq!(said, "kin: there is no job \"bakcup\"\n  hint: did you mean backup?\n");
    assert!(cli.run(&["run", "web"]).expect(5).errors().contains("kin start web"));
    cli.run(&["run", "web", "--dry-run", "--json"]).expect(5);
    cli.run(&["run", "backup", "--env", "LEVEL"]).expect(2);

    assert!(cli.run(&["why", "web-frontend"]).expect(0).text().starts_with("web-frontend (task) is idle.\n"));
    let id = cli.run(&["run", "web-frontend"]).expect(0).line();
    assert_eq!(cli.run(&["stop", "web-frontend"]).expect(0).line(), format!("{id}  stopping"));
    let story = cli.run(&["why", "backup"]).expect(0).text();
    assert!(story.starts_with("backup (task) is idle.\n"), "{story}");
    assert!(story.contains(&format!("Its last run to end was {}: failed(3)", ended["id"].as_str().expect("an id"))));
    server.shutdown();
}

#[test]
fn a_service_goes_down_stays_down_and_comes_up_again() {
    let server = server();
    let cli = Cli::new(&server);
    let first = pids(&web(&cli, "it runs", |job| pids(job).len() == 1));
    // A run that is ended by hand rests, until the service is started again.
    let id = web(&cli, "it runs", |_| true)["runs"][0]["id"].as_str().expect("an id").to_owned();
    cli.run(&["kill", &id, "--wait"]).expect(0);
    assert!(pids(&web(&cli, "it rests", |_| true)).is_empty());
    cli.run(&["start", "web"]).expect(0);
    web(&cli, "another run", |job| pids(job).len() == 1 && pids(job) != first);
    // By its name it is down.
    let said = cli.run(&["stop", "@app", "--wait"]).expect(0).text();
    assert!(said.starts_with("web  down"), "{said}");
    let down = web(&cli, "it is down", |job| job["state"] == "down");
    assert_eq!((&down["up"], pids(&down).len()), (&false.into(), 0));
    assert!(
        cli.run(&["why", "web"])
            .expect(0)
            .text()
            .contains("It was stopped. `kin start web` starts it, and keeps it running.")
    );
    cli.run(&["stop", "web"]).expect(0);
    // What was wished is remembered.
    cli.run(&["start", "w*"]).expect(0);
    cli.run(&["start", "web"]).expect(0);
    let one = pids(&web(&cli, "it runs again", |job| pids(job).len() == 1));
    cli.run(&["scale", "web=3"]).expect(0);
    let three = pids(&web(&cli, "three run", |job| pids(job).len() == 3));
    assert!(three.contains(&one[0]));
    cli.run(&["restart", "web", "--at-once"]).expect(0);
    web(&cli, "all are new", |job| pids(job).len() == 3 && !pids(job).iter().any(|pid| three.contains(pid)));
    let said = cli.run(&["stop", "web", "backup", "nosuch"]).expect(4);
    assert!(said.errors().contains("nothing matches \"nosuch\"") && said.errors().contains("backup has no runs"));
    assert!(cli.run(&["start", "backup"]).expect(5).errors().contains("backup is no service"));
    cli.run(&["scale", "web=many"]).expect(2);
    cli.run(&["scale", "wbe=2"]).expect(4);
    assert!(cli.run(&["scale", "web=10001"]).expect(2).errors().contains("10000 is the most"));
    server.shutdown();
}

/// A script's output stays as it is: it is said on stderr, and once.
#[test]
fn a_file_that_clashes_with_a_request_is_named_and_the_others_are_taken() {
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).config("[kin]\n").start();
    let home = server.home().to_path_buf();
    let write = |name: &str, text: &str| std::fs::write(home.join(name), text).expect("writes");
    write("base.toml", "[base]\ncommand = 'true'\n");
    write("indep.toml", "[indep]\ncommand = 'echo old'\n");
    Cli::new(&server).run(&["reload"]).expect(0);
    let define = serde_json::json!({ "text": "command = 'true'\nneeds = ['base']" });
    let define = testkit::http::Request::put("/v1/jobs/ab", &define);
    server.http().insist(&define, DEADLINE).expect("an answer").expect(200);
    write("base.toml", "[other]\ncommand = 'true'\n");
    write("indep.toml", "[indep]\ncommand = 'echo new'\n");
    write("fresh.toml", "[fresh]\ncommand = 'true'\n");
    for again in [false, true] {
        if again {
            server.start_again();
        }
        let cli = Cli::new(&server);
        let said = cli.run(&["reload"]).expect(2).errors();
        assert!(said.contains("'base' is not there any more, and ab, defined over the API by uid:"), "{said}");
        assert!(said.contains("base.toml:1:1") && said.contains("DELETE /v1/jobs/ab"), "{said}");
        assert!(said.ends_with("kin: 1 mistake; its file keeps its last good jobs\n"), "{said}");
        let json = cli.run(&["reload", "--json"]).expect(2).json();
        assert!(json["mistakes"][0]["file"].as_str().is_some_and(|file| file.ends_with("/base.toml")), "{json}");
        let all = cli.run(&["list", "--json"]).expect(0);
        let names = all.json().as_array().expect("jobs").iter().map(|job| job["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names, ["ab", "base", "fresh", "indep"]);
        assert!(all.errors().contains("base.toml") && all.errors().lines().count() == 1, "{}", all.errors());
        assert!(cli.run(&["show", "indep"]).expect(0).text().contains("echo new"));
        let doctor = cli.run(&["doctor", "--json"]).expect(0).json();
        let checks = doctor["checks"].as_array().expect("checks");
        assert!(checks.iter().any(|check| check["name"] == "job files" && check["result"] == "warning"), "{doctor}");
    }
}

#[test]
fn a_new_file_with_mistakes_is_not_passed_over_in_silence() {
    let server = server();
    let cli = Cli::new(&server);
    let file = server.home().join("new.toml");
    std::fs::write(&file, "[new]\ncomand = 'true'\n").expect("writes");
    assert!(cli.run(&["reload"]).expect(2).errors().contains("new.toml:2:1"));
    let said = cli.run(&["list"]).expect(0).errors();
    assert!(said.contains("new.toml does not hold as it is now, and none of its jobs do"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = cli.run(&["run", "new"]).expect(4).errors();
    assert!(said.contains("new.toml holds: kin reload --plan says why"), "{said}");
    std::fs::write(&file, "[new]\ncommand = 'true'\ndir = '/nope'\n").expect("writes");
    cli.run(&["reload"]).expect(0);
    assert_eq!(cli.run(&["list"]).expect(0).errors(), "");
    let said = cli.run(&["run", "new", "--dry-run"]).expect(2).errors();
    assert!(said.contains("its directory /nope is not there"), "{said}");
}

#[test]
fn what_was_edited_holds_for_the_next_command() {
    let server = server();
    let cli = Cli::new(&server).env("EDITOR", "sed -i 's/exit 3/exit 4/'").env("VISUAL", "");
    let said = cli.run(&["edit", "backup"]).expect(0);
    assert!(said.errors().contains("is in place: 4 jobs in 1 file"), "{}", said.errors());
    cli.run(&["run", "backup", "--wait"]).expect(4);
}

#[test]
fn that_a_file_is_broken_is_said_wherever_its_jobs_are_asked_about() {
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).prepare();
    let write = |text: &str| {
        let new = server.home().join(".new");
        std::fs::write(&new, text).expect("writes");
        std::fs::rename(new, server.home().join("jobs.toml")).expect("renames");
    };
    let good = "[one]\ncommand = 'true'\n[two]\nexec = ['sleep', '600']\nrestart = 'always'\n";
    write(good);
    server.start_again();
    let cli = Cli::new(&server);
    let said =
        "kin: $KIN_HOME/jobs.toml does not hold as it is now, its last good jobs do: kin reload --plan says why\n";
    assert_eq!(cli.run(&["list"]).expect(0).errors(), "");
    write("[one]\ncommand = ");
    let broken =
        eventually("it is read", DEADLINE, || Some(cli.run(&["list", "--json"])).filter(|said| !said.err.is_empty()));
    assert_eq!(broken.errors(), said);
    assert_eq!(
        broken.json().as_array().expect("jobs").iter().map(|job| &job["stale"]).collect::<Vec<_>>(),
        [true, true]
    );
    let why = cli.run(&["why", "one"]).expect(0).text();
    assert!(why.contains("Its file does not hold as it is now, because of this: line "), "{why}");
    let next = cli.run(&["next"]).expect(0).errors();
    assert!(next.contains("jobs.toml does not hold as it is now, and what it says does not count"), "{next}");
    for verb in [&["run", "one"][..], &["restart", "two"], &["start", "two"], &["disable", "one"], &["show", "one"]] {
        assert_eq!(cli.run(verb).expect(0).errors(), said, "{verb:?}");
    }
    write(good);
    eventually("it is read", DEADLINE, || cli.run(&["list"]).expect(0).err.is_empty().then_some(()));
    server.shutdown();
}

#[test]
fn a_service_is_starting_until_it_is_ready_and_idle_when_it_has_ended_well() {
    let jobs = "[slow]\nexec = ['sleep', '600']\nrestart = 'always'\nready = { exec = ['test', '-e', '$HOME/there'], every = '50ms' }\n\
                [done]\ncommand = 'exit 0'\nrestart = 'on-failure'\n";
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).config(jobs).start();
    let cli = Cli::new(&server);
    let state = |job: &str, state: &str, live: usize| {
        eventually(state, DEADLINE, || {
            let job = cli.run(&["list", job, "--json"]).expect(0).json()[0].clone();
            let runs = job["runs"].as_array().expect("runs").iter().filter(|run| run["state"] == "running").count();
            (job["state"] == state && runs == live).then_some(())
        });
    };
    state("slow", "starting", 1);
    std::fs::write(server.home().join("there"), "").expect("writes");
    state("slow", "ready", 1);
    state("done", "idle", 0);
    cli.run(&["stop", "slow", "--wait"]).expect(0);
    state("slow", "down", 0);
    server.shutdown();
}

/// What a definition asks for and cannot be had: why names it, and what to do about that.
#[test]
fn why_says_what_to_do_about_a_definition_that_cannot_be_had() {
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).prepare();
    let home = server.home().display().to_string();
    let jobs = format!(
        "[open]\ncommand = 'true'\nenv_file = '{home}/open.env'\n\
         [gone]\ncommand = 'true'\nenv_file = '{home}/gone.env'\n\
         [nobody]\ncommand = 'true'\nuser = 'no-such-user'\n\
         [secret]\ncommand = 'true'\ncredentials = {{ key = '{home}/no-key' }}\n\
         [nowhere]\ncommand = 'true'\ndir = '{home}/no-dir'\n"
    );
    std::fs::write(server.home().join("jobs.toml"), jobs).expect("writes");
    let env = server.home().join("open.env");
    std::fs::write(&env, "A=1\n").expect("writes");
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&env, readable).expect("its mode");
    server.start_again();
    let cli = Cli::new(&server);
    for (job, what, todo) in [
        (
            "open",
            "It never ran: env_file $KIN_HOME/open.env: mode 0644 lets others at it; `chmod 600 $KIN_HOME/open.env` closes it",
            "Do that; then start it again.",
        ),
        (
            "gone",
            "It never ran: env_file $KIN_HOME/gone.env: No such file",
            "Make that file, or take it out of the definition of gone; then",
        ),
        (
            "nobody",
            "It never ran: there is no user \"no-such-user\"",
            "Make that user or group, or name another one in the definition of nobody; then",
        ),
        (
            "secret",
            "It never ran: credential key, $KIN_HOME/no-key: No such file",
            "Make that file, or take it out of the definition of secret; then",
        ),
        (
            "nowhere",
            "its directory $KIN_HOME/no-dir could not be entered",
            "Make that directory, or name another one as `dir` of its job; then",
        ),
    ] {
        let said = cli.run(&["run", job, "--wait"]);
        assert_ne!(said.code, 0, "{job}");
        let why = cli.run(&["why", job]).expect(0).text();
        assert!(why.contains(what) && why.contains(todo), "{job}: {what} {todo}\n{why}");
    }
    server.shutdown();
}

/// What it says of a try that failed comes before the next one, and the code is that of the last.
#[test]
fn a_run_that_is_waited_for_is_tried_to_its_end() {
    let jobs = "\
[third]\ncommand = 'echo $KIN_ATTEMPT; test $KIN_ATTEMPT = 3'\ntries = 4\ndelay = 0\n\
[never]\ncommand = 'exit $((KIN_ATTEMPT + 10))'\ntries = 2\ndelay = '1s'\n\
[once]\ncommand = 'exit 7'\n";
    let server = Options::new(env!("CARGO_BIN_EXE_kin")).config(jobs).start();
    let cli = Cli::new(&server);
    let said = cli.run(&["run", "third", "--wait"]).expect(0);
    assert_eq!(said.text(), "1\n2\n3\n");
    let told: Vec<String> = said.errors().lines().map(str::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains(" ended failed(1); attempt 2 follows ") && told[1].contains(" attempt 3 follows "),
        "{told:?}"
    );
    for how in [&["--wait", "--json"][..], &["-f"]] {
        let said = cli.run(&[&["run", "never"], how].concat()).expect(12);
        assert!(said.errors().contains(" ended failed(11); attempt 2 follows at "), "{}", said.errors());
        if how.len() == 2 {
            assert_eq!((&said.json()["attempt"], &said.json()["exit_code"]), (&2.into(), &12.into()));
        }
    }
    assert_eq!(cli.run(&["run", "once", "--wait"]).expect(7).errors(), "");
    server.shutdown();
}

#[test]
fn disabled_jobs_are_listed_and_queues_are_paused_and_resized() {
    let server = server();
    let cli = Cli::new(&server);
    let names = || -> Vec<String> {
        let list = cli.run(&["list-disabled", "--json"]).expect(0).json();
        list.as_array().expect("an array").iter().map(|job| job["name"].as_str().expect("a name").into()).collect()
    };
    assert!(names().is_empty());
    cli.run(&["disable", "--regex", "b.*p|tr(a|i)in"]).expect(0);
    assert_eq!(names(), ["backup", "train"]);
    cli.run(&["disable", "--regex", "back"]).expect(4);
    cli.run(&["disable", "--regex", "("]).expect(2);
    cli.run(&["enable", "backup", "train"]).expect(0);
    assert!(names().is_empty());

    let queue = |args: &[&str]| cli.run(&[&["queue", "heavy", "--json"], args].concat()).expect(0).json()[0].clone();
    let first = cli.run(&["run", "train"]).expect(0).line();
    let second = cli.run(&["run", "train"]).expect(0).line();
    let now = queue(&[]);
    assert_eq!((&now["running"], &now["waiting"]), (&Value::from(vec![first]), &Value::from(vec![second])));
    let now = queue(&["--pause", "--slots", "2"]);
    assert_eq!((&now["paused"], now["waiting"].as_array().map(Vec::len)), (&true.into(), Some(1)));
    let now = queue(&["--resume", "--slots", "gpu=3"]);
    assert_eq!(now["slots"], serde_json::json!({ "gpu": 3, "slots": 2 }), "the other sizes stay");
    assert_eq!(now["waiting"].as_array().map(Vec::len), Some(0));
    let said = cli.run(&["queue", "heavy", "--slots", "gpo=3"]).expect(2).errors();
    assert_eq!(said, "kin: queue heavy has no \"gpo\"\n  hint: did you mean gpu?\n");
    let said = cli.run(&["queue", "hevy"]).expect(4).errors();
    assert_eq!(said, "kin: there is no queue \"hevy\"\n  hint: did you mean heavy?\n");
    cli.run(&["stop", "tr*", "--wait"]).expect(0);
    server.shutdown();
}

#[test]
fn a_paused_schedule_is_seen_wherever_one_looks() {
    let server = server();
    let cli = Cli::new(&server);
    let said = cli.run(&["disable", "backup", "--until", "1h"]).expect(2).errors();
    assert!(said.contains("no schedule"), "{said}");
    server.write_jobs(
        "[weekly]\ncommand = 'true'\nschedule = '@weekly'\n[often]\ncommand = 'true'\nschedule = '@every 10m'\n",
    );
    cli.run(&["reload"]).expect(0);
    let said = cli.run(&["next", "weekly", "--within", "1s"]).expect(0).errors();
    assert!(said.contains("nothing is due within 1s; weekly is due at 2"), "{said}");
    let said = cli.run(&["disable", "often", "--until", "3h"]).expect(0).text();
    assert!(said.starts_with("often  idle (paused until 2"), "{said}");
    assert!(cli.run(&["list", "often"]).expect(0).text().contains("paused to "));
    assert!(cli.run(&["list-disabled"]).expect(0).text().contains("often"));
    let why = cli.run(&["why", "often"]).expect(0).text();
    assert!(why.contains("is paused until") && why.contains("Next: it is due at 2"), "{why}");
    cli.run(&["enable", "often"]).expect(0);
    assert!(!cli.run(&["list", "often"]).expect(0).text().contains("paused"));

    server.write_jobs("[weekly]\ncommnad = 'true'\n");
    let doctor = cli.run(&["doctor"]).expect(0).text();
    assert!(doctor.contains("job files") && doctor.contains("kin check"), "{doctor}");
    server.shutdown();
}

#[test]
fn reload_says_what_changes_and_show_has_each_revision() {
    let server = server();
    let cli = Cli::new(&server);
    let file = server.home().join("kin.toml");
    std::fs::write(server.home().join(".new"), JOBS.replace("exit 3", "exit 4")).expect("writes");
    std::fs::rename(server.home().join(".new"), &file).expect("renames");
    // The server watches the file too, and may have been first: the revision tells, not the answer.
    cli.run(&["reload"]).expect(0);
    cli.run(&["run", "backup", "--wait"]).expect(4);
    let text = cli.run(&["show", "backup"]).expect(0).text();
    assert!(text.starts_with("# revision 2, ") && text.contains("exit 4"), "{text}");
    assert!(cli.run(&["show", "backup", "--rev", "1"]).expect(0).text().contains("exit 3"));
    let diff = cli.run(&["show", "backup", "--diff", "1"]).expect(0).text();
    assert!(diff.contains("\n- command = ") && diff.contains("\n+ command = "), "{diff}");
    let diff = cli.run(&["show", "backup", "--diff", "1", "--json"]).expect(0).json();
    assert_eq!((&diff[0]["from"], &diff[0]["to"]), (&1.into(), &2.into()), "{diff}");
    assert!(diff[0]["removed"][0].as_str().is_some_and(|line| line.contains("exit 3")), "{diff}");
    assert!(diff[0]["added"][0].as_str().is_some_and(|line| line.contains("exit 4")), "{diff}");
    assert_eq!(cli.run(&["show", "backup", "--history"]).expect(0).text().lines().count(), 4);
    cli.run(&["show", "backup", "--rev", "9"]).expect(4);
    cli.run(&["show", "bakup"]).expect(4);

    std::fs::write(&file, format!("{JOBS}\nx = 1\n")).expect("writes");
    let said = cli.run(&["reload", "--plan"]).expect(2).errors();
    assert!(said.contains("unknown key 'x'") && said.ends_with("kin: 1 mistake; its file keeps its last good jobs\n"));
    let plan = cli.run(&["reload", "--plan", "--json"]).expect(2).json();
    assert_eq!((&plan["applied"], &plan["mistakes"][0]["line"]), (&false.into(), &24.into()));

    let warned = format!("{JOBS}\n[slow]\nexec = ['sleep', '600']\nrestart = 'always'\ntimeout = '1h'\n");
    std::fs::write(&file, format!("{warned}x = 1\n")).expect("writes");
    let said = cli.run(&["reload", "--plan"]).expect(2).errors();
    assert!(said.ends_with("kin: 1 mistake and 1 warning; its file keeps its last good jobs\n"), "{said}");
    std::fs::write(&file, &warned).expect("writes");
    let said = cli.run(&["reload"]).expect(0).errors();
    assert!(said.ends_with("kin: 1 warning; what the files say holds\n"), "{said}");
    assert_eq!(cli.run(&["reload", "--json"]).expect(0).json()["mistakes"][0]["severity"], "warning");

    // Without a server the files are shown, and none is started for that.
    std::fs::write(&file, JOBS).expect("writes");
    assert!(cli.run(&["list"]).expect(0).text().lines().next().is_some_and(|head| head.contains("state")));
    cli.run(&["shutdown", "--stop-runs", "--wait"]).expect(0);
    assert!(cli.run(&["list"]).expect(0).text().lines().next().is_some_and(|head| head.contains("file")));
    assert_eq!(cli.run(&["list", "--json"]).expect(0).json()[0]["name"], "backup");
    cli.run(&["list", "web"]).expect(2);
    cli.run(&["reload"]).expect(3);
    cli.run(&["reload", "--plan"]).expect(3);
    server.assert_gone(DEADLINE);
}

/// Every verb that does something to runs or jobs can say in JSON what it did: an array of them, also of none.
#[test]
fn what_was_done_is_said_in_json_too() {
    let server = server();
    let cli = Cli::new(&server);
    let json = |words: &[&str]| cli.run(words).expect(0).json();
    let held = json(&["exec", "--detach", "--json", "--id", "gate", "--pending", "go", "--", "sleep", "600"]);
    assert_eq!((&held["job"], &held["state"]), (&"gate".into(), &"held".into()));
    let released = json(&["release", "go", "--json"]);
    assert_eq!((&released[0]["id"], released[1].is_null()), (&held["id"], true));
    assert_eq!(json(&["release", "go", "--json"]), serde_json::json!([]));
    server.wait_state(held["id"].as_str().expect("an id"), &["running"]);
    assert_eq!(json(&["signal", "WINCH", "gate", "--json"])[0]["id"], held["id"]);
    let killed = json(&["kill", "gate", "--wait", "--json"]);
    assert_eq!((&killed[0]["id"], &killed[0]["outcome"]), (&held["id"], &"stopped".into()));
    let train = json(&["run", "train", "--json"]);
    let stopped = json(&["stop", "web", "train", "--wait", "--json"]);
    assert_eq!((&stopped[0]["name"], &stopped[0]["up"]), (&"web".into(), &false.into()));
    assert_eq!((&stopped[1]["id"], &stopped[1]["state"]), (&train["id"], &"ended".into()));
    let lines = cli.run(&["stop", "web", "--json=lines"]).expect(0).text();
    assert!(lines.starts_with('{') && lines.lines().count() == 1, "{lines}");
    for words in
        [&["start", "web"][..], &["restart", "web"], &["scale", "web=2"], &["disable", "web"], &["enable", "web"]]
    {
        assert_eq!(json(&[words, &["--json"]].concat())[0]["name"], "web", "{words:?}");
    }
    let adopted = std::process::Command::new("sleep").arg("600").spawn();
    let mut guest = adopted.expect("a process");
    let run = json(&["adopt", &guest.id().to_string(), "--json"]);
    assert_eq!(json(&["disown", run["id"].as_str().expect("an id"), "--json"])[0]["id"], run["id"]);
    guest.kill().and_then(|()| guest.wait()).expect("gone");
    let web = server.running("web", 2);
    let ended = json(&["shutdown", "--stop-runs", "--wait", "--json"]);
    assert_eq!(ended["stopping"].as_array().map(Vec::len), Some(web.len()), "{ended}");
    server.assert_gone(DEADLINE);
}
