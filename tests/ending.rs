//! Around the end of a server: what is typed then finds the next one, and who only watches starts none.

use std::process::Stdio;
use std::time::{Duration, Instant};
use testkit::Cli;
use testkit::server::{DEADLINE, Options};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

#[test]
fn what_is_typed_right_after_a_shutdown_finds_the_next_server() {
    let server = Options::new(KIN).prepare();
    let cli = Cli::new(&server);
    for round in 0..8 {
        if round % 2 == 1 {
            cli.run(&["exec", "--detach", "--", "sleep", "600"]).expect(0);
        }
        cli.run(&["ps"]).expect(0);
        cli.run(&["shutdown", "--leave-runs"]).expect(0);
        let begun = Instant::now();
        let said = cli.run(&["exec", "--", "echo", "after"]).expect(0);
        assert_eq!(said.text(), "after\n", "{said:?}");
        assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    }
    server.stop();
}

#[test]
fn a_server_that_is_asked_for_right_after_a_shutdown_serves() {
    let server = Options::new(KIN).prepare();
    let cli = Cli::new(&server);
    for _ in 0..6 {
        cli.run(&["ps"]).expect(0);
        cli.run(&["shutdown"]).expect(0);
        cli.run(&["serve", "--background"]).expect(0);
        // Never starts one.
        cli.run(&["shutdown", "--wait"]).expect(0);
    }
    server.assert_gone(DEADLINE);
}

#[test]
fn who_only_watches_starts_no_server() {
    let server = Options::new(KIN).prepare();
    let cli = Cli::new(&server);
    cli.run(&["ps"]).expect(0);
    let mut watchers = Vec::new();
    for (name, args) in [("listen", &["listen"][..]), ("tail", &["tail", "-f"])] {
        let heard = server.home().join(name);
        let mut command = server.command();
        command.args(args).stdout(std::fs::File::create(&heard).expect("a file")).stderr(Stdio::null());
        watchers.push(command.spawn().expect("a watcher"));
        testkit::eventually("it hears something", DEADLINE, || {
            cli.run(&["exec", "--id", "mark", "--", "echo", "mark"]).expect(0);
            std::fs::read_to_string(&heard).is_ok_and(|text| text.contains("mark")).then_some(())
        });
    }
    cli.run(&["shutdown", "--stop-runs", "--wait"]).expect(0);
    for watcher in &mut watchers {
        let code = testkit::eventually("it gives up", DEADLINE, || watcher.try_wait().ok().flatten()).code();
        assert_eq!(code, Some(3));
    }
    cli.run(&["shutdown"]).expect(3);
    server.assert_gone(DEADLINE);
}
