//! Schedules through a real server: each instant once, whoever is killed and whatever is done to the clock.

use serde_json::Value;
use std::path::Path;
use testkit::http::{Answer, Request};
use testkit::server::{DEADLINE, Options, Role, Server};
use testkit::wait::eventually;

fn server(text: &str) -> Server {
    started(Options::new(env!("CARGO_BIN_EXE_kin")), text)
}

fn started(options: Options, text: &str) -> Server {
    let server = options.prepare();
    write(&server, text);
    server.start_again();
    server
}

/// As an editor does it: never half of it.
fn write(server: &Server, text: &str) {
    let new = server.home().join(".jobs.new");
    std::fs::write(&new, text).expect("writes");
    std::fs::rename(new, server.home().join("jobs.toml")).expect("renames");
}

fn ask(server: &Server, request: &Request) -> Answer {
    server.http().insist(request, DEADLINE).expect("an answer")
}

fn job(server: &Server, name: &str) -> Value {
    ask(server, &Request::get(format!("/v1/jobs/{name}"))).expect(200).json()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}

#[test]
fn a_run_knows_the_instant_that_it_is_for() {
    let server = server(
        "[each]\nschedule = '* * * * * *'\ncommand = 'echo $KIN_SCHEDULED_FOR $KIN_TICK $KIN_ATTEMPT >> $HOME/each; false'\n\
         tries = 2\ndelay = '1ms'\noverlap = 'allow'\n",
    );
    let each = server.home().join("each");
    let said = eventually("two instants, two tries", DEADLINE, || Some(lines(&each)).filter(|said| said.len() >= 4));
    let mut told = Vec::new();
    for line in &said {
        let words: Vec<&str> = line.split(' ').collect();
        let [instant, second, attempt] = words[..] else { panic!("{line}") };
        let at: jiff::Timestamp = instant.parse().expect("an instant");
        assert_eq!((at.as_second().to_string().as_str(), instant.len()), (second, 20), "{line}");
        told.push((at.as_second(), attempt.to_string()));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), said.len(), "each try of each instant once: {said:?}");
    assert_eq!(told[0].0, told[1].0, "the second try is for the same instant");
    let next: jiff::Timestamp = job(&server, "each")["next_at"].as_str().expect("an instant").parse().expect("one");
    assert!(next.as_second() > told[0].0);
    server.kill(Role::Daemon).expect("a daemon");
    eventually("it goes on", DEADLINE, || (lines(&each).len() >= said.len() + 2).then_some(()));
    server.shutdown();
}
