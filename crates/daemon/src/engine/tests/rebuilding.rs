//! What is left after a reboot, or when the ledger is gone.

use super::*;
use kin_core::job::{Again, Job, Millis, Program};

#[tokio::test]
async fn a_reboot_loses_what_had_not_ended() {
    let mut house = House::new();
    let life = house.start();
    life.settled().await;
    let no = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    life.in_state(no, "running").await;
    let mut held = submit("held");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run.no;
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    house.fake = None;
    std::fs::remove_dir_all(house.run()).expect("a new tmpfs");
    std::fs::create_dir_all(house.run().join("spec")).expect("a new tmpfs");
    house.boot = "boot-2".into();
    house.fake = Some(Fake::new(&house.run(), &house.boot));
    let life = house.start();
    for no in [no, held] {
        assert_eq!(outcome(&life.ended(no).await), "lost(reboot)");
    }
}

#[tokio::test]
async fn a_ledger_that_is_gone_is_filled_again_and_no_number_is_used_twice() {
    let (house, life) = House::at_work().await;
    let running = life.handle.submit(submit("a")).await.expect("accepted").run;
    life.in_state(running.no, "running").await;
    let mut held = submit("b");
    held.new.latch = Some("go".into());
    let held = life.handle.submit(held).await.expect("accepted").run;
    let over = RunNo::new(running.no.get() + 64_000_000).expect("a number");
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    for entry in std::fs::read_dir(house.state()).expect("state").flatten() {
        if entry.file_name().to_string_lossy().starts_with("kin.db") {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    let logs = house.state().join("logs/old");
    std::fs::create_dir_all(&logs).expect("logs");
    let end = kin_keeper::index::End {
        run: over.get(),
        started_us: 5,
        ended_us: 9,
        out_bytes: 3,
        err_bytes: 0,
        exit: kin_keeper::index::EndExit::Code(2),
        flags: 0,
    };
    std::fs::write(logs.join("ends"), kin_keeper::index::end(&end)).expect("written");
    let life = house.start();
    let run = life.in_state(running.no, "running").await;
    assert_eq!(run.id(), running.id());
    assert_eq!(outcome(&life.ended(over).await), "failed(2)");
    assert_eq!(outcome(&life.ended(held.no).await), "lost(unknown)");
    assert_eq!(house.events("ledger.rebuilt"), 1);
    let next = life.handle.submit(submit("a")).await.expect("accepted").run.no;
    assert!(next > over);
    house.fake().exits(running.no, 0);
    assert_eq!(outcome(&life.ended(running.no).await), "ok");
}

fn lose_ledger(house: &House) {
    for name in ["kin.db", "kin.db-wal", "kin.db-shm"] {
        std::fs::remove_file(house.state().join(name)).ok();
    }
}

/// Leaves all that is known of jobs, and no run.
fn lose_runs(house: &House) {
    let definitions = house.reader().definitions().expect("read");
    let all = definitions.iter().flat_map(|newest| house.reader().revisions(&newest.job).expect("read")).collect();
    let standings = house.reader().standings().expect("read");
    lose_ledger(house);
    let mut ledger = Ledger::open(&house.state(), Time(0)).expect("a ledger").ledger;
    let standings = standings.into_iter().map(|now| (now.job.clone(), Some(now))).collect();
    let batch = kin_ledger::Batch { definitions: all, standings, ..kin_ledger::Batch::default() };
    ledger.apply(&batch, Durability::Full).expect("a commit");
    ledger.close().expect("closed");
    std::fs::rename(house.state().join("kin.db"), house.state().join("kin.db.bak")).expect("a copy");
}

/// As a keeper notes them.
fn note_ends(house: &House, runs: &[&Run], code: i32) {
    let logs = house.state().join("logs").join(runs[0].job.as_str());
    std::fs::create_dir_all(&logs).expect("logs");
    let end = |run: &&Run| kin_keeper::index::End {
        run: run.no.get(),
        started_us: 5,
        ended_us: 9,
        out_bytes: 0,
        err_bytes: 0,
        exit: kin_keeper::index::EndExit::Code(code),
        flags: 0,
    };
    let ends: Vec<u8> = runs.iter().flat_map(|run| kin_keeper::index::end(&end(run)).to_vec()).collect();
    std::fs::write(logs.join("ends"), ends).expect("written");
}

/// The copy has it running, its keeper noted its end, and all that came of it was done.
#[tokio::test]
async fn what_had_ended_since_the_copy_is_not_followed_again() {
    let (house, life) = House::at_work().await;
    let job = JobName::parse("r").expect("a name");
    let mut task = Job::new(job.clone(), Program::Exec(vec!["/bin/true".into()]));
    task.life.again = Again { tries: Some(2), delay: Millis(0), jitter_percent: 0, ..Again::restarts() };
    life.handle.define(std::sync::Arc::new(task), by()).await.expect("defined");
    let wish = RunJob { job, by: by(), env: BTreeMap::new(), key: None };
    let first = life.handle.run_job(wish).await.expect("accepted").run;
    life.in_state(first.no, "running").await;
    house.reader().backup_to(&house.state().join("kin.db.bak")).expect("a copy");
    house.fake().exits(first.no, 1);
    let second =
        life.until(|reader| reader.live().expect("read").runs.into_iter().find(|run| run.no != first.no)).await;
    life.in_state(second.no, "running").await;
    house.fake().exits(second.no, 1);
    assert_eq!(outcome(&life.ended(second.no).await), "failed(1)");
    house.fake().until_free(second.no);
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    note_ends(&house, &[&first, &second], 1);
    lose_ledger(&house);
    let life = house.start();
    life.settled().await;
    assert_eq!(outcome(&life.ended(first.no).await), "failed(1)");
    let runs = house.reader().runs(&Query { job: Some("r".into()), ..Query::default() }).expect("read").runs;
    assert_eq!(runs.iter().map(|run| run.no).collect::<Vec<_>>(), [second.no, first.no]);
    assert_eq!(house.fake().executions(), 2);
}

/// Its row is gone, or all of the ledger: its slot is taken, and its mutex held.
#[tokio::test]
async fn a_service_whose_row_is_lost_is_not_begun_again() {
    for all in [false, true] {
        let (house, life) = House::at_work().await;
        let name = JobName::parse("svc").expect("a name");
        let mut job = Job::new(name, Program::Exec(vec!["/bin/true".into()]));
        job.life.restart = kin_core::job::Restart::Always;
        job.life.instances = 2;
        let job = std::sync::Arc::new(job);
        life.handle.define(job.clone(), by()).await.expect("defined");
        let both = |reader: &Reader| {
            let mut runs = reader.live().expect("read").runs;
            runs.sort_by_key(|run| run.no);
            let whole = runs.len() == 2 && runs.iter().all(|run| run.state.word() == "running");
            whole.then(|| runs.iter().map(|run| (run.no, run.slot, run.attempt)).collect::<Vec<_>>())
        };
        let before = life.until(both).await;
        if !all {
            // With the definition, and without its runs.
            house.dies_at("accept-minted");
            drop(life.handle.submit(submit("last")).await);
            life.dead().await;
            lose_runs(&house);
        } else {
            house.dies_at("accept-minted");
            drop(life.handle.submit(submit("last")).await);
            life.dead().await;
            lose_ledger(&house);
        }
        let life = house.start();
        life.settled().await;
        life.handle.define(job, by()).await.expect("defined");
        assert_eq!(life.until(both).await, before, "{all}");
        assert_eq!(house.fake().executions(), 2, "{all}");
        let live = house.reader().live().expect("read").runs;
        assert!(live.iter().all(|run| run.terms.rev == 1), "{live:?}");
    }
}

/// What a run holds is what it began with, whatever its job's definition says by now, or is there at all. Where that was
/// never written beside it, it is said that it is not known.
#[tokio::test]
async fn a_run_whose_row_is_lost_holds_what_it_held() {
    for (all, noted) in [(false, true), (true, true), (false, false)] {
        let (house, life) = House::at_work().await;
        let name = |name: &str| JobName::parse(name).expect("a name");
        let job = |of: &str, mutex: &str| {
            let mut job = Job::new(name(of), Program::Exec(vec!["/bin/true".into()]));
            job.gates.mutex = vec![mutex.into()];
            std::sync::Arc::new(job)
        };
        let run = |of: &str| RunJob { job: name(of), by: by(), env: BTreeMap::new(), key: None };
        life.handle.define(job("holds", "old"), by()).await.expect("defined");
        let holds = life.handle.run_job(run("holds")).await.expect("accepted").run;
        life.in_state(holds.no, "running").await;
        life.handle.define(job("holds", "new"), by()).await.expect("defined");
        let plain = life
            .handle
            .submit(Submit { new: kin_core::NewRun { tags: vec!["t".into()], ..submit("a").new }, ..submit("a") });
        let plain = plain.await.expect("accepted").run;
        life.in_state(plain.no, "running").await;
        house.dies_at("accept-minted");
        drop(life.handle.submit(submit("last")).await);
        life.dead().await;
        if !noted {
            // As a daemon of before wrote it.
            for run in [&holds, &plain] {
                let path = house.run().join("spec").join(run.no.to_string());
                let bytes = std::fs::read(&path).expect("a spec");
                let memo = kin_keeper::spec::SpecView::check(&bytes).expect("a spec").memo().len();
                let at = bytes.len() - 1 - memo;
                let spoilt = [&bytes[..at], &vec![b'x'; memo], &bytes[bytes.len() - 1..]].concat();
                std::fs::write(&path, spoilt).expect("written");
            }
        }
        if all {
            lose_ledger(&house);
        } else {
            lose_runs(&house);
        }
        let life = house.start();
        life.settled().await;
        let found = life.in_state(holds.no, "running").await;
        let held = if noted { ["old"] } else { ["new"] };
        assert_eq!(
            (found.terms.mutex.as_slice(), found.terms.rev),
            (&held.map(String::from)[..], if noted { 1 } else { 2 })
        );
        let expected = if noted { (&holds.trigger, holds.created_at) } else { (&found.trigger, found.created_at) };
        assert_eq!((&found.trigger, found.created_at), expected);
        let found = life.in_state(plain.no, "running").await;
        assert_eq!(found.tags, if noted { vec!["t".to_string()] } else { Vec::new() });
        let told = house.reader().events_of(holds.no, 100).expect("read");
        let is_not_known =
            told.iter().filter(|event| event.message.as_ref().is_some_and(|said| said.contains("is not known")));
        assert_eq!(is_not_known.count(), usize::from(!noted), "{told:?}");
        // Nobody else takes it.
        life.handle.define(job("waits", held[0]), by()).await.expect("defined");
        let waits = life.handle.run_job(run("waits")).await.expect("accepted").run;
        life.in_state(waits.no, "queued").await;
        house.fake().exits(holds.no, 0);
        life.in_state(waits.no, "running").await;
    }
}

/// A slot outlives its run's row only where that was old enough to go.
#[tokio::test]
async fn the_slot_of_a_run_that_was_swept_makes_no_other_run() {
    let (house, life) = House::at_work().await;
    let run = life.handle.submit(submit("a")).await.expect("accepted").run;
    life.in_state(run.no, "running").await;
    house.dies_at("end-committed");
    house.fake().exits(run.no, 0);
    life.dead().await;
    let mut ledger = Ledger::open(&house.state(), Time(0)).expect("a ledger").ledger;
    let all = Retention { max_count: Some(0), ..Retention::default() };
    assert_eq!(ledger.sweep(&all, Time(0), 10).expect("a sweep").runs, [run.id()]);
    ledger.close().expect("closed");
    let life = house.start();
    life.settled().await;
    house.fake().until_free(run.no);
    let runs = house.reader().runs(&Query::default()).expect("read").runs;
    assert_eq!(runs, []);
    drop(life);
}
