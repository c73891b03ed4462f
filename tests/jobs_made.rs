//! What a run is to find around it may lie where nobody answers: that run waits for it, and nobody else does.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::cli::Cli;
use testkit::http::{Answer, Request};
use testkit::server::{DEADLINE, Options, Role, Server};
use testkit::wait::eventually;

/// Far less than anything that hangs is waited for.
const SOON: Duration = Duration::from_secs(10);

/// An env file that does not answer until `answers`.
struct Hanging {
    file: PathBuf,
}

impl Hanging {
    fn new(server: &Server, name: &str) -> Hanging {
        let file = server.home().join(name);
        std::fs::write(&file, "WORD=said\n").expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("set");
        let hanging = Hanging { file };
        std::fs::write(hanging.mark(), "").expect("written");
        hanging
    }
    fn mark(&self) -> PathBuf {
        format!("{}.hangs", self.file.display()).into()
    }
    fn answers(&self) {
        std::fs::remove_file(self.mark()).expect("removed");
    }
}

fn server(patience: Duration) -> Server {
    let options = Options::new(env!("CARGO_BIN_EXE_kin")).env("KIN_TEST_HANGS", "1");
    options.env("KIN_TEST_MAKE_MS", patience.as_millis().to_string()).prepare()
}

fn define(server: &Server, text: &str) {
    std::fs::write(server.home().join("jobs.toml"), text).expect("written");
    server.start_again();
}

fn within(server: &Server, request: &Request, patience: Duration) -> Answer {
    server.http().insist(request, patience).expect("an answer in time")
}

/// The number of the run.
fn run(server: &Server, job: &str) -> String {
    let answer = within(server, &Request::post(format!("/v1/jobs/{job}/run"), &serde_json::json!({})), SOON);
    let run = answer.json();
    run["id"].as_str().or_else(|| run["run"]["id"].as_str()).unwrap_or_else(|| panic!("{run}")).to_owned()
}

fn show(server: &Server, id: &str) -> Value {
    within(server, &Request::get(format!("/v1/runs/{id}")), SOON).expect(200).json()
}

fn when(server: &Server, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{id}: {what}"), DEADLINE, || Some(show(server, id)).filter(&is))
}

fn outcome(server: &Server, id: &str) -> String {
    let ended = when(server, id, "ends", |run| !run["outcome"].is_null());
    ended["outcome"].as_str().map_or_else(|| ended["outcome"].to_string(), str::to_owned)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn nobody_waits_for_what_another_run_is_to_find_around_it() {
    let server = server(Duration::from_secs(3600));
    let hanging = Hanging::new(&server, "secrets");
    let ticked = server.home().join("ticked");
    define(
        &server,
        &format!(
            "[slow]\ncommand = \"echo $WORD\"\nenv_file = {0:?}\nmutex = \"m\"\n\
             [rehearsed]\ncommand = \"true\"\nenv_file = {0:?}\n[quick]\ncommand = \"true\"\n\
             [behind]\ncommand = \"true\"\nmutex = \"m\"\n[tick]\ncommand = \"echo >> {1}\"\nschedule = \"@every 1s\"\n",
            hanging.file,
            ticked.display()
        ),
    );
    let slow = run(&server, "slow");
    assert_eq!(when(&server, &slow, "starts", |run| run["state"] == "starting")["directory"], "");
    // The others go on: each answer comes soon, and schedules are kept.
    let quick = run(&server, "quick");
    assert_eq!(outcome(&server, &quick), "ok");
    let before = lines(&ticked);
    eventually("it ticks", DEADLINE, || (lines(&ticked) > before + 1).then_some(()));
    let behind = run(&server, "behind");
    assert_eq!(show(&server, &behind)["state"], "queued", "its place is taken");
    let cli = Cli::new(&server);
    assert!(cli.run(&["list"]).expect(0).text().contains("slow"));
    // Who asks is told what it waits for.
    let why = eventually("it is at it", DEADLINE, || {
        Some(cli.run(&["why", &slow]).expect(0).text()).filter(|why| why.contains("It waits for its env_file"))
    });
    assert!(why.contains("its env_file $KIN_HOME/secrets to be read"), "{why}");
    let doctor = eventually("the doctor sees it", DEADLINE, || {
        Some(cli.run(&["doctor"]).text()).filter(|doctor| doctor.contains("surroundings"))
    });
    assert!(doctor.contains(&format!("{slow} waits for its env_file")), "{doctor}");
    // A rehearsal waits there as well, and nobody for it.
    let mut rehearsal = cli.command(&["run", "rehearsed", "--dry-run"]).spawn().expect("runs");
    eventually("it hangs", DEADLINE, || cli.run(&["doctor"]).text().contains("rehearsed-").then_some(()));
    assert_eq!(outcome(&server, &run(&server, "quick")), "ok");
    // A stop is honoured at once, and what it held is free.
    cli.run(&["stop", &slow]).expect(0);
    assert_eq!(outcome(&server, &slow), "cancelled");
    assert_eq!(outcome(&server, &behind), "ok");
    // The late answer is nothing: nothing of it stays.
    hanging.answers();
    assert!(rehearsal.wait().expect("ends").success(), "it is answered in the end");
    eventually("the doctor sees nobody", DEADLINE, || {
        (!cli.run(&["doctor"]).text().contains("surroundings")).then_some(())
    });
    let spec = server.run_dir().join("spec");
    let no = slow.rsplit('-').next().expect("a number");
    eventually("its spec is gone", DEADLINE, || (!spec.join(no).exists()).then_some(()));
    let again = run(&server, "slow");
    assert_eq!(outcome(&server, &again), "ok");
    assert_eq!(server.output(&again, "out"), b"said\n");
    assert_eq!(show(&server, &slow)["started_at"], Value::Null);
}

#[test]
fn who_does_not_answer_in_time_is_named_and_the_next_try_may_have_it() {
    let server = server(Duration::from_millis(1500));
    let hanging = Hanging::new(&server, "secrets");
    let text = format!("[slow]\ncommand = \"true\"\nenv_file = {:?}\noverlap = \"allow\"\n", hanging.file);
    define(&server, &text);
    let slow = run(&server, "slow");
    assert!(outcome(&server, &slow).starts_with("spawn-failed"));
    let why = Cli::new(&server).run(&["why", &slow]).expect(0).text();
    assert!(why.contains("its env_file $KIN_HOME/secrets could not be read within 1.5s"), "{why}");
    // While it hangs nothing else of its job is begun: who comes meanwhile hears at once whom to look for.
    for _ in 0..5 {
        let next = run(&server, "slow");
        assert_eq!(outcome(&server, &next), "spawn-failed");
        let why = Cli::new(&server).run(&["why", &next]).expect(0).text();
        let want = format!("{slow} has waited for its env_file $KIN_HOME/secrets to be read since ");
        assert!(why.contains(&want), "{why}");
    }
    hanging.answers();
    eventually("the next may have it", DEADLINE, || (outcome(&server, &run(&server, "slow")) == "ok").then_some(()));
}

#[test]
fn who_only_waits_in_line_is_made_when_those_before_him_are_given_up() {
    let server = server(Duration::from_millis(1500));
    let hanging = Hanging::new(&server, "secrets");
    let fine = server.home().join("fine");
    std::fs::write(&fine, "WORD=fine\n").expect("written");
    std::fs::set_permissions(&fine, PermissionsExt::from_mode(0o600)).expect("set");
    let mut text = format!("[web]\ncommand = \"echo $WORD\"\nenv_file = {fine:?}\n");
    for n in 0..4 {
        text += &format!("[hang{n}]\ncommand = \"true\"\nenv_file = {:?}\n", hanging.file);
    }
    text += &format!("[tick]\ncommand = \"true\"\nschedule = \"@every 1s\"\nenv_file = {:?}\n", hanging.file);
    define(&server, &text);
    // As many as have places, of jobs with schedules too, and then one that asks somebody who answers.
    let hangs: Vec<String> = (0..4).map(|n| run(&server, &format!("hang{n}"))).collect();
    let web = run(&server, "web");
    assert_eq!(outcome(&server, &web), "ok");
    assert_eq!(server.output(&web, "out"), b"fine\n");
    for id in &hangs {
        assert!(outcome(&server, id).starts_with("spawn-failed"));
    }
    // They hang for good, and hold up nobody.
    assert_eq!(outcome(&server, &run(&server, "web")), "ok");
    hanging.answers();
}

#[test]
fn a_directory_of_logs_that_does_not_answer_holds_up_only_its_run() {
    let server = server(Duration::from_secs(3600));
    let fine = server.home().join("fine");
    std::fs::write(&fine, "WORD=fine\n").expect("written");
    std::fs::set_permissions(&fine, PermissionsExt::from_mode(0o600)).expect("set");
    define(&server, &format!("[slow]\ncommand = \"true\"\nenv_file = {fine:?}\n[quick]\ncommand = \"true\"\n"));
    let first = run(&server, "slow");
    assert_eq!(outcome(&server, &first), "ok");
    assert!(server.state().join("logs/slow").is_dir());
    let mark = server.state().join("logs/slow.hangs");
    std::fs::write(&mark, "").expect("written");
    let slow = run(&server, "slow");
    assert_eq!(outcome(&server, &run(&server, "quick")), "ok");
    assert_eq!(show(&server, &slow)["state"], "starting");
    eventually("it says so", DEADLINE, || {
        Cli::new(&server).run(&["why", &slow]).expect(0).text().contains("the directory of its logs").then_some(())
    });
    std::fs::remove_file(mark).expect("removed");
    assert_eq!(outcome(&server, &slow), "ok");
}

#[test]
fn rehearsals_that_hang_keep_no_start_from_its_place() {
    let server = server(Duration::from_millis(1500));
    let hanging = Hanging::new(&server, "secrets");
    let fine = server.home().join("fine");
    std::fs::write(&fine, "WORD=fine\n").expect("written");
    std::fs::set_permissions(&fine, PermissionsExt::from_mode(0o600)).expect("set");
    let text = format!("[web]\ncommand = \"true\"\nenv_file = [{fine:?}, {:?}]\n", hanging.file);
    define(&server, &text);
    let cli = Cli::new(&server);
    let first = cli.run(&["run", "web", "--dry-run"]).errors();
    assert!(first.contains("could not be read within 1.5s"), "{first}");
    let second = cli.run(&["run", "web", "--dry-run"]).errors();
    assert!(second.contains("has waited for its env_file"), "{second}");
    // Its thread stays there; the job's own runs are not kept back by it.
    std::fs::write(
        server.home().join("jobs.toml"),
        "[web]\ncommand = \"true\"\nenv_file = \"FINE\"\n".replace("FINE", &fine.display().to_string()),
    )
    .expect("written");
    cli.run(&["reload"]).expect(0);
    assert_eq!(outcome(&server, &run(&server, "web")), "ok");
    hanging.answers();
}

#[test]
fn what_is_being_made_when_the_daemon_is_killed_starts_once() {
    let server = server(Duration::from_secs(3600));
    let hanging = Hanging::new(&server, "secrets");
    let witness = server.home().join("witness");
    let text = format!("[slow]\ncommand = \"echo $WORD >> {}\"\nenv_file = {:?}\n", witness.display(), hanging.file);
    define(&server, &text);
    let slow = run(&server, "slow");
    for _ in 0..3 {
        when(&server, &slow, "starts", |run| run["state"] == "starting");
        let before = server.kill(Role::Daemon);
        eventually("another daemon", DEADLINE, || server.pid(Role::Daemon).filter(|pid| Some(*pid) != before));
    }
    // Also a keeper that comes is told nothing of it.
    server.kill(Role::Keeper);
    server.wait_whole(DEADLINE);
    assert_eq!((show(&server, &slow)["state"].as_str(), lines(&witness)), (Some("starting"), 0));
    hanging.answers();
    assert_eq!(outcome(&server, &slow), "ok");
    assert_eq!(std::fs::read_to_string(&witness).expect("read"), "said\n");
}
