//! Many talkative runs while only the daemon dies: afterwards each must have told its whole story.

use crate::server::{Role, Server};
use crate::wait::let_time_pass;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub jobs: u64,
    pub lines: u64,
    pub over: Duration,
    pub kills: u32,
}

impl Size {
    /// As the promise is worded: 200 jobs, 100 lines each, over 20 s, 50 kills.
    pub const FULL: Size = Size { jobs: 200, lines: 100, over: Duration::from_secs(20), kills: 50 };
}

/// True stories told; panics on the first that is not true.
pub fn run(kin: &Path, size: Size) -> u64 {
    let server = Server::start(kin);
    let guest = crate::guest_path().to_string_lossy().into_owned();
    let witness = server.home().join("witness");
    let submit = |index: u64| {
        let words = [
            guest.clone(),
            "lines".into(),
            format!("index={index}"),
            format!("witness={}", witness.display()),
            format!("n={}", size.lines),
            format!("over_ms={}", size.over.as_millis()),
            format!("code={}", index % 3),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        server.submit(&server.request(&words))["id"].as_str().expect("an id").to_string()
    };
    let ids: Vec<String> = (0..size.jobs).map(submit).collect();
    let start = Instant::now();
    for kill in 1..=size.kills {
        let due = start + size.over.mul_f64(f64::from(kill) / f64::from(size.kills + 1));
        let_time_pass(due.saturating_duration_since(Instant::now()));
        server.wait_whole(crate::server::DEADLINE);
        assert!(server.kill(Role::Daemon).is_some(), "there was a daemon to kill");
    }
    let lines: String = (1..=size.lines).map(|n| format!("line {n}\n")).collect();
    let mut told = crate::witness::Witness::open(&witness).expect("the witness");
    for (index, id) in ids.iter().enumerate() {
        let run = server.wait_end_within(id, size.over + Duration::from_secs(30));
        let code = index as u64 % 3;
        assert_eq!(run["exit_code"].as_u64(), Some(code), "{run}");
        assert_eq!(run["outcome"], if code == 0 { "ok" } else { "failed" }, "{run}");
        assert_eq!(String::from_utf8_lossy(&server.output(id, "out")), lines, "{id}");
        told.read_on().expect("the witness");
        assert_eq!(told.story(index as u64).starts.len(), 1, "{id} started once");
    }
    server.shutdown();
    size.jobs
}
