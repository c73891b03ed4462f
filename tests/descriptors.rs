//! No descriptor is forgotten: after very many runs, and deaths among them, everybody has as many as at the beginning.

use std::collections::BTreeMap;
use testkit::http::Request;
use testkit::{Role, Server, eventually, procfs, server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");
/// `KIN_TEST_RUNS=10000` makes it the long one.
const RUNS: usize = 1500;
const BATCH: usize = 100;
const SPARE: usize = 8;

fn runs() -> usize {
    std::env::var("KIN_TEST_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(RUNS)
}

/// What each has open, by role. The daemon's connections to the ledger are a pool that fills as it is used, and are
/// counted apart.
fn open(server: &Server) -> BTreeMap<Role, Vec<String>> {
    let of = |role| {
        let pid = server.pid(role).expect("it lives");
        let all = procfs::descriptors(pid).expect("its descriptors").into_values();
        (role, all.filter(|target| !target.contains("/kin.db")).collect())
    };
    [Role::Elder, Role::Keeper, Role::Daemon].map(of).into()
}

fn ledger_connections(server: &Server) -> usize {
    let pid = server.pid(Role::Daemon).expect("it lives");
    let all = procfs::descriptors(pid).expect("its descriptors");
    all.values().filter(|target| target.ends_with("/kin.db")).count()
}

/// Many runs at once; some write, some fail, some leave a pipe to a grandchild for an instant.
fn batch(server: &Server, n: usize) {
    let commands = ["true", "echo out; echo err >&2", "exit 3", "(sleep 0.02; echo late) & exit 0", "kill -9 $$"];
    let request = |i: usize| server.request(&["sh", "-c", commands[i % commands.len()]]);
    let body = serde_json::json!({ "runs": (0..n).map(request).collect::<Vec<_>>() });
    let key = format!("{}-{}", server.mark(), testkit::rng::Rng::fresh_seed());
    let request = Request::post("/v1/batch", &body).key(&key);
    let answer = server.http().insist(&request, server::DEADLINE).expect("an answer").expect(200).json();
    let accepted = answer["runs"].as_array().expect("runs").iter().filter(|item| item["run"]["id"].is_string()).count();
    assert_eq!(accepted, n, "{answer}");
}

fn until_quiet(server: &Server) {
    server.wait_whole(server::DEADLINE);
    eventually("all have ended", server::DEADLINE, || {
        let live = server.http().insist(&Request::get("/v1/runs?state=live&limit=1"), server::DEADLINE).ok()?;
        (live.json()["runs"].as_array()?.is_empty()).then_some(())
    });
}

#[test]
fn after_many_runs_and_deaths_everybody_has_as_many_descriptors_as_before() {
    let server = Server::start(KIN);
    let elders = || open(&server)[&Role::Elder].len();
    let fresh = elders();
    batch(&server, 20);
    until_quiet(&server);
    // Nobody starts anything any more, and the elder lets go all the same of what it held of those that have ended.
    eventually("the elder holds nothing of them", server::DEADLINE, || (elders() <= fresh).then_some(()));
    let before = open(&server);
    let mut done = 0;
    let mut victims = [Role::Daemon, Role::Keeper, Role::Elder].into_iter().cycle();
    while done < runs() {
        batch(&server, BATCH);
        done += BATCH;
        let victim = victims.next().expect("a cycle");
        server.kill(victim).expect("one to kill");
        server.wait_whole(server::DEADLINE);
        if done.is_multiple_of(BATCH * 5) {
            until_quiet(&server);
        }
    }
    until_quiet(&server);
    // Who has just answered may still hold the answer's connection.
    let mut last = before.clone();
    let back = testkit::within(server::DEADLINE, || {
        last = open(&server);
        let fits = |role: &Role| last[role].len().abs_diff(before[role].len()) <= SPARE;
        before.keys().all(fits).then_some(())
    });
    assert!(back.is_some(), "after {done} runs: {last:#?}\nat the beginning: {before:#?}");
    // The writer, the pool of idle readers, and nothing else.
    assert!(ledger_connections(&server) <= 10, "{}", ledger_connections(&server));
    let counts: Vec<_> = before.iter().map(|(role, had)| (role.word(), had.len(), last[role].len())).collect();
    println!("{done} runs: {counts:?}");
    server.shutdown();
}

#[test]
fn the_elder_lets_go_of_what_it_held_of_runs_that_have_ended_though_none_is_started() {
    let server = Server::start(KIN);
    let elders = || open(&server)[&Role::Elder].len();
    let fresh = elders();
    let ids: Vec<String> = (0..70)
        .map(|_| server.submit(&server.request(&["sleep", "1000"]))["id"].as_str().expect("an id").to_string())
        .collect();
    eventually("it holds two pipes and a spec of each", server::DEADLINE, || (elders() >= fresh + 210).then_some(()));
    for id in &ids {
        server.http().post(&format!("/v1/runs/{id}/stop"), &serde_json::json!({"kill": true})).expect(200);
    }
    until_quiet(&server);
    eventually("it lets go", server::DEADLINE, || (elders() <= fresh).then_some(()));
    server.shutdown();
}
