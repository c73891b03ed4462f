//! How a run comes to run, and to its end, whoever dies meanwhile.

use super::*;
use kin_ledger::Ledger;

#[tokio::test]
async fn a_run_is_accepted_started_and_ended() {
    let (house, life) = House::at_work().await;
    let accepted = life.handle.submit(submit("a")).await.expect("accepted");
    assert!(!accepted.repeat);
    let no = accepted.run.no;
    life.in_state(no, "running").await;
    let spec = std::fs::read(house.run().join("spec").join(no.to_string())).expect("a spec");
    let want = format!("KIN_RUN_ID={}", accepted.run.id());
    assert!(spec.split(|b| *b == 0).any(|entry| entry == want.as_bytes()));
    house.fake().exits(no, 3);
    let run = life.ended(no).await;
    assert_eq!((outcome(&run).as_str(), run.exit), ("failed(3)", Some(kin_core::Exit::Code(3))));
    house.fake().until_free(no);
    assert!(house.specs().is_empty());
    assert_eq!(house.fake().executed(no), 1);
}

#[tokio::test]
async fn whoever_dies_at_any_step_starts_it_once_and_ends_it_truly() {
    for step in [
        "accept-minted",
        "accept-spec",
        "accept-committed",
        "accept-answered",
        "start-committed",
        "start-sent",
        "end-committed",
        "end-spec-removed",
        "end-forgotten",
    ] {
        let house = House::new();
        house.fake().all_exit_with(Some(7));
        let life = house.start();
        life.settled().await;
        house.dies_at(step);
        let answer = life.handle.submit(keyed("a", "key", 1)).await;
        life.dead().await;
        let life = house.start();
        // As the CLI does over a broken connection; where it was answered, this only finds it.
        let run = life.handle.submit(keyed("a", "key", 1)).await.unwrap_or_else(|e| panic!("{step}: {e}")).run;
        if let Ok(first) = answer {
            assert_eq!(first.run.no, run.no, "{step}");
        }
        let run = life.ended(run.no).await;
        assert_eq!(outcome(&run), "failed(7)", "{step}");
        house.fake().until_free(run.no);
        assert_eq!(house.fake().executions(), 1, "{step}");
        assert_eq!(house.reader().runs(&Query::default()).expect("runs").runs.len(), 1, "{step}");
        let ends = house.reader().events_of(run.no, 100).expect("events");
        let ends = ends.iter().filter(|e| e.change.as_ref().is_some_and(|c| c.to == Stage::Ended)).count();
        assert_eq!(ends, 1, "{step}");
        life.until(|_| house.specs().is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_key_finds_its_run_and_refuses_another_request() {
    let house = House::new();
    let life = house.start();
    let first = life.handle.submit(keyed("a", "key", 1)).await.expect("accepted").run;
    let again = life.handle.submit(keyed("a", "key", 1)).await.expect("found");
    assert!(again.repeat && again.run.no == first.no);
    let refusal = life.handle.submit(keyed("a", "key", 2)).await.expect_err("refused");
    assert_eq!(refusal, Refusal::KeyReused { key: "key".into(), first: first.id() });
    // In one batch too.
    let both = life.handle.submit_batch(vec![keyed("b", "two", 5), keyed("b", "two", 5)]).await;
    let runs: Vec<(RunNo, bool)> = both.into_iter().map(|r| r.map(|a| (a.run.no, a.repeat)).expect("ok")).collect();
    assert_eq!(runs[0].0, runs[1].0);
    assert_eq!((runs[0].1, runs[1].1), (false, true));
}

#[tokio::test]
async fn a_key_that_outlives_its_runs_row_names_the_run_and_starts_no_other() {
    let (house, life) = House::at_work().await;
    let first = life.handle.submit(keyed("a", "key", 1)).await.expect("accepted").run;
    life.in_state(first.no, "running").await;
    house.dies_at("end-committed");
    house.fake().exits(first.no, 0);
    life.dead().await;
    let mut ledger = Ledger::open(&house.state(), Time(0)).expect("a ledger").ledger;
    let none = Retention { max_count: Some(0), ..Retention::default() };
    assert_eq!(ledger.sweep(&none, Time(0), 10).expect("a sweep").runs, [first.id()]);
    ledger.close().expect("closed");
    let life = house.start();
    let gone = |job: Option<&str>| Refusal::KeyForgotten {
        key: "key".into(),
        first: first.no,
        job: job.map(|job| JobName::parse(job).expect("a name")),
    };
    let refusal = life.handle.submit(keyed("a", "key", 1)).await.expect_err("refused");
    assert_eq!(refusal, gone(Some("a")));
    assert!(refusal.to_string().starts_with(&format!("the run {} was made with", first.id())), "{refusal}");
    assert_eq!(life.handle.submit(keyed("a", "key", 2)).await.expect_err("refused"), gone(None));
    let failure = crate::http::error::Failure::from(refusal);
    assert_eq!((failure.status.as_u16(), failure.error.run), (410, Some(first.id().to_string())));
    assert!(house.reader().runs(&Query::default()).expect("runs").runs.is_empty());
    assert_eq!(house.fake().executions(), 1);
}

#[tokio::test]
async fn a_start_lost_with_its_keeper_is_said_to_the_next() {
    let (house, life) = House::at_work().await;
    house.fake().deaf(true);
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    let old = house.fake().current();
    // The elder takes the dead keeper's table over, which is empty, and makes a new keeper.
    house.fake().keeper_dies();
    house.fake().deaf(false);
    let run = life.in_state(no, "running").await;
    assert_ne!(house.fake().generation_of(no), Some(old));
    assert_eq!((house.fake().executed(no), run.no), (1, no));
    house.fake().exits(no, 0);
    assert_eq!(outcome(&life.ended(no).await), "ok");
}

#[tokio::test]
async fn a_start_lost_with_keeper_and_daemon_is_said_again_though_the_table_is_gone() {
    let (house, life) = House::at_work().await;
    house.fake().deaf(true);
    house.dies_at("start-sent");
    let answer = life.handle.submit(submit("a")).await.expect("accepted");
    life.dead().await;
    house.fake().keeper_dies();
    house.fake().deaf(false);
    let life = house.start();
    life.in_state(answer.run.no, "running").await;
    assert_eq!(house.fake().executed(answer.run.no), 1);
}

#[tokio::test]
async fn runs_of_a_dead_keeper_go_on_in_the_hands_of_the_elder() {
    let (house, life) = House::at_work().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    house.fake().keeper_dies();
    let second = life.handle.submit(submit("b")).await.expect("accepted").run.no;
    life.in_state(second, "running").await;
    assert_ne!(house.fake().generation_of(no), house.fake().generation_of(second));
    life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("stopped");
    assert_eq!(outcome(&life.ended(no).await), "stopped");
    house.fake().until_free(no);
    assert_eq!(house.fake().executed(no), 1);
}

#[tokio::test]
async fn a_stop_is_honoured_whenever_it_comes() {
    let (house, life) = House::at_work().await;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    let run = life.handle.stop(held, StopKind::Ladder, StopWhy::Asked, by()).await.expect("granted");
    assert_eq!(outcome(&run), "cancelled");
    let refusal = life.handle.stop(held, StopKind::Ladder, StopWhy::Asked, by()).await.expect_err("over");
    assert_eq!(refusal, Refusal::Ended { run: run.id(), outcome: Outcome::Cancelled });
    // The start is on its way, and so is the daemon's death.
    house.fake().deaf(true);
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.handle.stop(no, StopKind::Ladder, StopWhy::Asked, by()).await.expect("granted");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("b")).await);
    life.dead().await;
    house.fake().deaf(false);
    let life = house.start();
    let run = life.ended(no).await;
    assert!(matches!(outcome(&run).as_str(), "stopped" | "cancelled"), "{run:?}");
    if outcome(&run) == "cancelled" {
        assert_eq!(house.fake().executed(no), 0);
    }
}

#[tokio::test]
async fn a_released_latch_and_a_group_go_in_order() {
    let (house, life) = House::at_work().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let mut wish = submit("a");
        wish.new.latch = Some("go".into());
        wish.new.serial = Some(Serial { group: "g".into(), max: 1 });
        runs.push(life.handle.submit(wish).await.expect("accepted").run.no);
    }
    let released = life.handle.release("go".into()).await.expect("released");
    assert_eq!(released.iter().map(|id| id.no).collect::<Vec<_>>(), runs);
    assert!(life.handle.release("go".into()).await.expect("released").is_empty());
    for (i, no) in runs.iter().enumerate() {
        life.in_state(*no, "running").await;
        for later in &runs[i + 1..] {
            assert_eq!(house.reader().run(*later).expect("read").expect("there").state, RunState::Queued);
        }
        house.fake().exits(*no, 0);
        life.ended(*no).await;
    }
}

#[tokio::test]
async fn a_full_table_makes_runs_wait_and_loses_none() {
    let house = House::new();
    house.fake().room(2);
    let life = house.start();
    life.settled().await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(life.handle.submit(submit("a")).await.expect("accepted").run.no);
    }
    for no in &runs {
        life.in_state(*no, "running").await;
        house.fake().exits(*no, 0);
        assert_eq!(outcome(&life.ended(*no).await), "ok");
    }
    assert_eq!(house.fake().executions(), 4);
}

#[tokio::test]
async fn an_interrupt_is_passed_on_and_judged_by_the_end() {
    let (house, life) = House::at_work().await;
    for (code, want) in [(0, "ok"), (130, "interrupted")] {
        let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
        life.in_state(no, "running").await;
        let run = life.handle.signal(no, 2, false, true, by()).await.expect("granted");
        assert_eq!(run.state, RunState::Running { unowned: false, interrupted: true });
        house.fake().until_signalled(no, 2);
        house.fake().exits(no, code);
        assert_eq!(outcome(&life.ended(no).await), want);
    }
}
