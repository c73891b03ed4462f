//! Files that are watched: a change restarts what watches them, once, and also if it came while no daemon lived.

use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use testkit::eventually;
use testkit::server::{DEADLINE, Options, Role, Server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(path, text).expect("writes");
}

/// Waits for another run than these, running alone, because this file changed.
fn another(server: &Server, known: &mut Vec<String>, because: &str) {
    let run = eventually(&format!("another run because of {because}"), DEADLINE, || {
        let runs = server.job("web")["runs"].as_array().cloned().unwrap_or_default();
        let [run] = &runs[..] else { return None };
        let id = run["id"].as_str()?.to_string();
        (run["state"] == "running" && !known.contains(&id)).then(|| run.clone())
    });
    assert_eq!(run["trigger"]["kind"], "watch", "{run}");
    assert!(run["trigger"]["path"].as_str().is_some_and(|path| path.contains(because)), "{run}");
    known.push(run["id"].as_str().expect("an id").to_string());
}

#[test]
fn a_changed_file_restarts_what_watches_it() {
    let server = Options::new(KIN).prepare();
    let app = server.home().join("app");
    write(&app.join("src/main.rs"), "1");
    server.write_jobs(&format!(
        "[web]\nexec = ['sleep', '1000']\nrestart = 'always'\ndir = '{}'\nwatch = ['src/**', '*.conf', '!src/made/**']\n",
        app.display()
    ));
    server.start_again();
    let mut known: Vec<String> =
        server.running("web", 1).iter().map(|run| run["id"].as_str().expect("an id").to_string()).collect();
    // One change, one restart.
    write(&app.join("src/main.rs"), "2");
    another(&server, &mut known, "main.rs");
    // Many changes at once are one.
    for n in 0..50 {
        write(&app.join(format!("src/deep/er/{n}.rs")), "x");
    }
    another(&server, &mut known, "src/deep");
    // As editors do it, in a directory that came later.
    write(&app.join(".new"), "x");
    std::fs::rename(app.join(".new"), app.join("src/deep/er/7.rs")).expect("renames");
    another(&server, &mut known, "7.rs");
    std::fs::remove_file(app.join("src/main.rs")).expect("removes");
    another(&server, &mut known, "main.rs");
    write(&app.join("web.conf"), "x");
    another(&server, &mut known, "web.conf");
    // What is left out, what is hidden, and what nobody named.
    for path in ["src/made/a.rs", "src/.main.rs.swp", "src/.git/HEAD", "other/a.rs", "README"] {
        write(&app.join(path), "x");
    }
    testkit::wait::let_time_pass(Duration::from_secs(1));
    let is_last = |server: &Server, known: &[String]| {
        assert_eq!(server.running("web", 1)[0]["id"], known[known.len() - 1].as_str(), "none of that is watched");
    };
    is_last(&server, &known);
    // While no daemon lives: found by the next one, once.
    let daemon = server.pid(Role::Daemon).expect("a daemon");
    testkit::procfs::kill_marked(daemon, server.mark(), rustix::process::Signal::STOP).expect("stops it");
    write(&app.join("web.conf"), "y");
    server.kill(Role::Daemon).expect("a daemon");
    another(&server, &mut known, "web.conf");
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    testkit::wait::let_time_pass(Duration::from_secs(1));
    is_last(&server, &known);
    // Stopped by hand, it stays down.
    server.post("/v1/jobs/web/stop", &json!({})).expect(200);
    server.job_when("web", "is down", |job| job["state"] == "down");
    write(&app.join("web.conf"), "z");
    testkit::wait::let_time_pass(Duration::from_secs(1));
    assert_eq!(server.job("web")["state"], "down");
    let runs = server.runs_of("web");
    let watched = runs.iter().filter(|run| run["trigger"]["kind"] == "watch").count();
    assert_eq!(watched, known.len() - 1, "{:?}", runs.iter().map(|run| &run["trigger"]).collect::<Vec<&Value>>());
    server.shutdown();
}

/// A directory is swapped for another one by renaming, as builds and deployments do it: below the job's directory, and that
/// directory itself.
#[test]
fn a_directory_that_is_renamed_is_watched_where_it_is_now() {
    let server = Options::new(KIN).prepare();
    let app = server.home().join("app");
    write(&app.join("src/a/one.rs"), "1");
    server.write_jobs(&format!(
        "[web]\nexec = ['sleep', '1000']\nrestart = 'always'\ndir = '{}'\nwatch = ['src/**']\n",
        app.display()
    ));
    server.start_again();
    let mut known: Vec<String> =
        server.running("web", 1).iter().map(|run| run["id"].as_str().expect("an id").to_string()).collect();
    std::fs::rename(app.join("src/a"), app.join("src/b")).expect("renames");
    another(&server, &mut known, "src/");
    write(&app.join("src/b/one.rs"), "2");
    another(&server, &mut known, "src/b/one.rs");
    // The whole of it.
    write(&server.home().join("new/src/two.rs"), "1");
    std::fs::rename(&app, server.home().join("old")).expect("renames");
    std::fs::rename(server.home().join("new"), &app).expect("renames");
    another(&server, &mut known, "two.rs");
    write(&app.join("src/two.rs"), "2");
    another(&server, &mut known, "two.rs");
    server.shutdown();
}

/// The roll that a change began goes on over the death of the daemon, and the same change begins no other.
#[test]
fn a_daemon_that_dies_in_a_roll_replaces_nobody_twice() {
    let server = Options::new(KIN).prepare();
    let app = server.home().join("app");
    write(&app.join("src/main.rs"), "1");
    write(&app.join("ready"), "");
    server.write_jobs(&format!(
        "[web]\nexec = ['sleep', '1000']\nrestart = 'always'\ninstances = 2\ndir = '{0}'\nwatch = ['src/**']\n\
         ready = {{ exec = 'test -e {0}/ready', every = '100ms' }}\n",
        app.display()
    ));
    server.start_again();
    server.job_when("web", "both are ready", |job| job["state"] == "ready");
    std::fs::remove_file(app.join("ready")).expect("removes");
    write(&app.join("src/main.rs"), "2");
    let watched = || {
        let runs = server.job("web")["runs"].as_array().cloned().unwrap_or_default();
        runs.iter().filter(|run| run["state"] == "running" && run["trigger"]["kind"] == "watch").count()
    };
    // The first is replaced, and not ready: the other waits for its turn.
    eventually("one is another", DEADLINE, || (watched() == 1).then_some(()));
    server.kill(Role::Daemon).expect("a daemon");
    server.wait_whole(DEADLINE);
    testkit::wait::let_time_pass(Duration::from_secs(1));
    write(&app.join("ready"), "");
    eventually("both are others", DEADLINE, || (watched() == 2).then_some(()));
    testkit::wait::let_time_pass(Duration::from_secs(1));
    assert_eq!(server.runs_of("web").len(), 4, "two, and one more for each");
    server.shutdown();
}
