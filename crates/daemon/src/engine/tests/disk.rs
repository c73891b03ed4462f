//! A disk that takes nothing, and what is known all the same.

use super::*;

#[tokio::test]
async fn a_full_disk_refuses_wishes_and_keeps_facts() {
    let (house, life) = House::at_work().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.disk_full(true);
    let refusal = life.handle.submit(submit("b")).await.expect_err("refused");
    assert_eq!(refusal, Refusal::NoRoom { why: "the disk is full".into() });
    assert_eq!(house.specs(), [no.to_string()]);
    house.fake().exits(no, 4);
    // Refused only after the exit was heard and could not be recorded.
    let refusal = life.handle.submit(submit("b")).await.expect_err("refused");
    assert!(matches!(refusal, Refusal::NoRoom { .. }));
    assert_eq!(house.fake().slot_state(no), Some(kin_keeper::table::DRAINED));
    house.disk_full(false);
    assert_eq!(outcome(&life.ended(no).await), "failed(4)");
    house.fake().until_free(no);
    life.handle.submit(submit("b")).await.expect("accepted again");
}

#[tokio::test]
async fn a_ledger_that_takes_nothing_keeps_no_run_alive() {
    let (house, life) = House::at_work().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let other = life.handle.submit(submit("b")).await.expect("accepted").run.no;
    let mut held = submit("c");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    life.in_state(other, "running").await;
    house.disk_full(true);
    let run = life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("done");
    assert_eq!(run.state, RunState::Stopping { why: StopWhy::Asked, kind: StopKind::Ladder });
    life.handle.signal(other, 10, false, false, by()).await.expect("done");
    house.fake().until_signalled(other, 10);
    // Its end is known, and shown as what is not recorded.
    let known = life
        .known(|trouble| {
            let unwritten = trouble.unwritten.as_ref()?;
            unwritten.runs.get(&no).filter(|run| run.outcome().is_some()).cloned()
        })
        .await;
    assert_eq!(outcome(&known), "stopped");
    assert_eq!(house.reader().run(no).expect("read").expect("there").state.word(), "running");
    assert!(life.handle.trouble().full_since.is_some());
    assert_eq!(life.handle.chain().guard, Guard::Whole, "the keepers are as they were");
    // What lies in the ledger alone cannot be ended without it, and does not run.
    let refusal = life.handle.stop(held, StopKind::Ladder, StopWhy::Asked, by()).await.expect_err("refused");
    assert!(matches!(refusal, Refusal::Unavailable { .. }), "{refusal}");
    let refusal = life.handle.release("go".into()).await.expect_err("refused");
    assert!(matches!(refusal, Refusal::NoRoom { .. }), "{refusal}");
    house.disk_full(false);
    assert_eq!(outcome(&life.ended(no).await), "stopped");
    assert_eq!(house.events("disk.full"), 1);
    life.known(|trouble| trouble.unwritten.is_none().then_some(())).await;
    assert_eq!(house.reader().run(held).expect("read").expect("there").state.word(), "held");
}

#[tokio::test]
async fn that_a_run_is_ready_is_said_once_and_not_lost_with_a_commit() {
    use kin_core::job::{Check, Job, Millis, Program, Ready, Restart};
    let (house, life) = House::at_work().await;
    let mut job = Job::new(JobName::parse("web").expect("a name"), Program::Exec(vec!["/bin/true".into()]));
    job.life.restart = Restart::Always;
    job.life.ready = Some(Ready {
        by: Check::After(Millis(500_000)),
        every: Millis(1_000),
        look_timeout: Millis(1_000),
        within: Some(Millis(600_000)),
    });
    life.handle.define(std::sync::Arc::new(job), by()).await.expect("defined");
    let running =
        |reader: &Reader| reader.live().expect("read").runs.into_iter().find(|run| run.state.word() == "running");
    let no = life.until(running).await.no;
    house.disk_full(true);
    life.handle.said(crate::probe::Said::Ready { run: no });
    // Heard after it.
    life.handle.submit(submit("b")).await.expect_err("refused");
    house.disk_full(false);
    life.until(|reader| reader.run(no).expect("read").filter(|run| run.health.ready_at.is_some())).await;
}

#[tokio::test]
async fn a_wish_that_was_only_done_is_known_from_the_table() {
    let (house, life) = House::at_work().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.disk_full(true);
    house.dies_at("done-unrecorded");
    life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("done");
    life.dead().await;
    house.disk_full(false);
    let life = house.start();
    assert_eq!(outcome(&life.ended(no).await), "stopped");
}

#[tokio::test]
async fn a_server_ends_with_its_runs_though_nothing_can_be_recorded() {
    let (house, life) = House::at_work().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let mut held = submit("c");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.disk_full(true);
    let farewell = life.handle.shutdown(true, true, by()).await.expect("granted");
    assert_eq!((farewell.stopping[0].no, farewell.waiting[0].no), (no, held));
    assert!(farewell.cancelled.is_empty());
    assert!(matches!(life.over().await, Ended::Shutdown));
    house.fake().until_closing();
    assert_eq!(house.fake().slot_state(no), Some(kin_keeper::table::DRAINED));
    house.disk_full(false);
    let life = house.start();
    assert_eq!(outcome(&life.ended(no).await), "stopped");
    assert_eq!(house.reader().run(held).expect("read").expect("there").state.word(), "held");
}
