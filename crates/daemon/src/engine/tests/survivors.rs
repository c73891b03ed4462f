//! Runs that no keeper has: those that outlived both, and those that were adopted.

use super::*;

#[tokio::test]
async fn what_outlives_both_keepers_is_unowned_and_then_known_or_lost() {
    let (house, life) = House::at_work().await;
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().expect("a sleeper");
    house.fake().next_pid(sleeper.id());
    let alive = life.handle.submit(submit("alive")).await.expect("accepted").run.no;
    life.in_state(alive, "running").await;
    // This one's process is gone by then.
    house.fake().next_pid(0x3fff_fff0);
    let gone = life.handle.submit(submit("gone")).await.expect("accepted").run.no;
    life.in_state(gone, "running").await;
    house.fake().both_die();
    let run = life
        .until(|reader| {
            let run = reader.run(alive).expect("read").expect("there");
            (run.state == RunState::Running { unowned: true, interrupted: false }).then_some(run)
        })
        .await;
    assert_eq!(run.pid, Some(sleeper.id()));
    assert_eq!(life.ended(gone).await.outcome(), Some(&Outcome::Lost(LostWhy::Unknown)));
    assert!(house.elders_wanted.load(Ordering::Relaxed) > 0);
    // A new elder comes; the survivor stays what it is, and a stop works on it.
    house.fake().born_again();
    life.settled().await;
    life.handle.stop(alive, StopKind::Kill, StopWhy::Asked, by()).await.expect("granted");
    sleeper.wait().expect("reaped");
    let run = life.ended(alive).await;
    let want = if run.exit.is_some() { "stopped" } else { "lost(unknown)" };
    assert_eq!(outcome(&run), want);
    // The dead generations' tables hold nothing more, and go.
    let tables = || {
        let names = std::fs::read_dir(house.run()).expect("names").flatten();
        names.filter(|e| e.path().extension().is_some_and(|e| e == "tab")).count()
    };
    for _ in 0..3 {
        let no = life.handle.submit(submit("later")).await.expect("accepted").run.no;
        life.in_state(no, "running").await;
    }
    assert_eq!(tables(), 2);
}

/// No table has it, so only who watched it knows of its end.
#[tokio::test]
async fn the_end_of_a_survivor_without_a_table_is_said_until_it_is_recorded() {
    let (house, life) = House::at_work().await;
    house.fake().next_pid(0x3fff_fff0);
    let run = life.handle.submit(submit("a")).await.expect("accepted").run;
    life.in_state(run.no, "running").await;
    let mut command = std::process::Command::new("sleep");
    command.arg("600").env("KIN_RUN_ID", run.id().to_string()).env("KIN_SOCKET", house.run().join("kin.sock"));
    let mut sleeper = command.spawn().expect("a sleeper");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    house.fake().both_die();
    for entry in std::fs::read_dir(house.run()).expect("names").flatten() {
        if entry.path().extension().is_some_and(|e| e == "tab") {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    let life = house.start();
    let unowned = RunState::Running { unowned: true, interrupted: false };
    life.until(|reader| reader.run(run.no).expect("read").filter(|run| run.state == unowned)).await;
    house.disk_full(true);
    sleeper.kill().expect("killed");
    sleeper.wait().expect("reaped");
    // It was tried, and it is not recorded.
    let is_known = |trouble: &Trouble| trouble.unwritten.as_ref()?.runs.get(&run.no)?.outcome().map(drop);
    life.known(is_known).await;
    house.disk_full(false);
    assert_eq!(outcome(&life.ended(run.no).await), "lost(unknown)");
}

#[tokio::test]
async fn an_adoption_that_is_not_recorded_leaves_nothing() {
    let (house, life) = House::at_work().await;
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().expect("a sleeper");
    let pid = sleeper.id();
    let ticks = kin_keeper::boot::start_ticks(pid).expect("it lives");
    let wish = Adopt {
        new: submit("foreign").new,
        process: Adopted { pid, ticks, signal: 15, wait_ms: 100 },
        started_at: Time(1),
        key: None,
    };
    house.disk_full(true);
    life.handle.adopt(wish).await.expect_err("it cannot be recorded");
    let files = std::fs::read_dir(house.state().join("adopted")).expect("made");
    assert_eq!(files.count(), 0);
    sleeper.kill().expect("it is ours");
    sleeper.wait().expect("it ends");
}

/// It is watched until it is recorded that it is not.
#[tokio::test]
async fn a_process_is_given_up_when_that_is_recorded_and_not_before() {
    let (house, life) = House::at_work().await;
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().expect("a sleeper");
    let pid = sleeper.id();
    let ticks = kin_keeper::boot::start_ticks(pid).expect("it lives");
    let adopt = || Adopt {
        new: NewRun { trigger: Trigger::Adopt { by: "uid:7".into() }, ..submit("foreign").new },
        process: Adopted { pid, ticks, signal: 15, wait_ms: 100 },
        started_at: Time(1),
        key: None,
    };
    let no = life.handle.adopt(adopt()).await.expect("adopted").run.no;
    let files = || std::fs::read_dir(house.state().join("adopted")).expect("made").count();
    house.disk_full(true);
    life.handle.disown(no, "uid:7".into()).await.expect_err("it cannot be recorded");
    assert_eq!((files(), house.reader().run(no).expect("read").expect("there").outcome().cloned()), (1, None));
    house.disk_full(false);
    let run = life.handle.disown(no, "uid:7".into()).await.expect("given up");
    assert_eq!((outcome(&run).as_str(), house.events("run.disowned")), ("lost(disowned)", 1));
    // It is nobody's now, so it can be adopted; and the file of the former is gone before that is answered.
    let again = life.handle.adopt(adopt()).await.expect("adopted").run.no;
    assert_eq!(files(), 1);
    sleeper.kill().expect("it is ours");
    sleeper.wait().expect("it ends");
    life.ended(again).await;
    assert_eq!(outcome(&life.ended(no).await), "lost(disowned)");
}
