//! The end of a server, and who takes its place.

use super::*;

#[tokio::test]
async fn a_server_that_ends_leaves_its_runs_and_the_next_reads_how_they_ended() {
    let mut house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    let farewell = life.handle.shutdown(false, false, by()).await.expect("granted");
    assert_eq!((farewell.left[0].no, farewell.waiting[0].no), (no, held));
    assert!(matches!(life.over().await, Ended::Shutdown));
    house.fake().until_closing();
    house.fake().exits(no, 9);
    house.fake().leaves(&house.state());
    house.fake = Some(Fake::new(&house.run(), &house.boot));
    let life = house.start();
    assert_eq!(outcome(&life.ended(no).await), "failed(9)");
    assert_eq!(house.reader().run(held).expect("read").expect("there").state.word(), "held");
    // An answer to a later call: by then all of the first batch is done.
    life.handle.release("nothing".into()).await.expect("released");
    assert_eq!(std::fs::read_dir(house.state().join("left")).expect("left").count(), 0);
}

#[tokio::test]
async fn a_server_that_stops_its_runs_waits_for_them() {
    let (house, life) = House::at_work().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    let mut queued = submit("queued");
    queued.new.serial = Some(Serial { group: "one".into(), max: 1 });
    let first = life.handle.submit(queued.clone()).await.expect("accepted").run.no;
    let queued = life.handle.submit(queued).await.expect("accepted").run.no;
    let farewell = life.handle.shutdown(true, true, by()).await.expect("granted");
    let numbers = |ids: &[kin_core::RunId]| ids.iter().map(|id| id.no).collect::<Vec<_>>();
    assert_eq!(numbers(&farewell.stopping), [no, first]);
    assert_eq!((numbers(&farewell.cancelled), farewell.waiting.len()), (vec![held, queued], 0));
    assert!(matches!(life.over().await, Ended::Shutdown));
    let ended = |no| outcome(&house.reader().run(no).expect("read").expect("there"));
    assert_eq!([no, first].map(ended), ["stopped", "stopped"]);
    assert_eq!([held, queued].map(ended), ["cancelled", "cancelled"]);
    assert_eq!(house.specs(), Vec::<String>::new());
    assert_eq!(house.events("run.stop-asked"), 4);
}

#[tokio::test]
async fn a_ledger_has_one_engine() {
    let house = House::new();
    let life = house.start();
    let again = start(house.config());
    assert!(matches!(again, Err(StartError::Io { .. })), "{again:?}");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    house.start().settled().await;
}

#[tokio::test]
async fn an_engine_whose_server_was_made_anew_elsewhere_gives_way() {
    let (house, life) = House::at_work().await;
    std::os::unix::fs::symlink("/elsewhere", house.state().join("run")).expect("a link");
    house.fake().both_die();
    assert!(matches!(life.over().await, Ended::Failed { .. }));
}
