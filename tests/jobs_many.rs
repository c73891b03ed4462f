//! Many clients at once want the same: one process is made, and everybody is told which.

use std::process::Stdio;
use testkit::eventually;
use testkit::server::{DEADLINE, Role, Server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");
const CLIENTS: usize = 50;

/// Exit code, stdout, stderr of each.
fn all_at_once(server: &Server, args: &[&str], meanwhile: impl FnOnce()) -> Vec<(Option<i32>, String, String)> {
    let start = |_| {
        let mut client = server.command();
        client.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a client")
    };
    let clients: Vec<_> = (0..CLIENTS).map(start).collect();
    meanwhile();
    let end = |client: std::process::Child| {
        let end = client.wait_with_output().expect("its end");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
        (end.status.code(), text(&end.stdout), text(&end.stderr))
    };
    clients.into_iter().map(end).collect()
}

/// Also when the daemon is killed while they ask: each asks again, with its own key.
#[test]
fn fifty_clients_that_run_one_job_make_one_process_and_learn_its_run() {
    let server = Server::with_jobs(KIN, "[one]\ncommand = 'echo x >> $HOME/ran; exec sleep 1000'\n");
    for round in 1..=3 {
        let answers = all_at_once(&server, &["run", "one"], || {
            if round > 1 {
                server.kill(Role::Daemon).expect("a daemon");
            }
        });
        let made: Vec<&String> = answers.iter().filter(|(code, ..)| *code == Some(0)).map(|(_, id, _)| id).collect();
        let [id] = made[..] else { panic!("{answers:?}") };
        for (code, out, errors) in answers.iter().filter(|(code, ..)| *code != Some(0)) {
            assert_eq!((*code, out.as_str()), (Some(5), ""), "{errors}");
            assert!(errors.contains(id), "{errors} does not name {id}");
        }
        eventually("its line", DEADLINE, || (server.lines("ran").len() == round).then_some(()));
        server.wait_whole(DEADLINE);
        let live = server.running("one", 1);
        assert_eq!(live[0]["id"], **id);
        server.command().args(["stop", "--wait", "one"]).output().expect("stopped");
        server.wait_end(id);
    }
    assert_eq!(server.runs_of("one").len(), 3, "and no other was ever accepted");
    assert_eq!(server.lines("ran").len(), 3);
    server.shutdown();
}

#[test]
fn fifty_clients_that_start_one_service_make_one_process() {
    let server =
        Server::with_jobs(KIN, "[web]\ncommand = 'echo x >> $HOME/ran; exec sleep 1000'\nrestart = 'always'\n");
    server.running("web", 1);
    server.post("/v1/jobs/web/stop", &serde_json::json!({})).expect(200);
    server.job_when("web", "is down", |job| job["state"] == "down");
    let answers = all_at_once(&server, &["start", "web"], || assert!(server.kill(Role::Daemon).is_some()));
    for (code, _, errors) in &answers {
        assert_eq!(*code, Some(0), "{errors}");
    }
    server.running("web", 1);
    assert_eq!(server.runs_of("web").len(), 2);
    eventually("both lines", DEADLINE, || (server.lines("ran").len() == 2).then_some(()));
    server.shutdown();
}

/// The first command starts the server: it answers when it knows the files, however many jobs are in them.
#[test]
fn whoever_asks_first_finds_what_the_files_say() {
    let server = testkit::server::Options::new(KIN).prepare();
    let many: String = (0..3000).map(|n| format!("[j{n}]\ncommand = 'true'\n")).collect();
    server.write_jobs(&format!("{many}[last]\ncommand = 'exit 7'\n"));
    let said = server.command().args(["run", "--wait", "last"]).output().expect("runs");
    assert_eq!(said.status.code(), Some(7), "{said:?}");
    server.shutdown();
}
