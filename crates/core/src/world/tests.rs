//! The rules, each by a few words of story; and random histories.

use super::World;
use crate::effect::{Act, Effects, What};
use crate::fact::{Fact, Settled, StartRefusal};
use crate::seen::How;
use crate::seen::{Close, Ladder, Phase, Seen};
use crate::wish::Serial;
use crate::wish::{Granted, NewRun, StopKind, Wish};
use crate::{Exit, Trigger};
use crate::{JobName, Mint, Outcome, Refusal, Run, RunNo, RunState, SpawnStep, StopWhy, Time};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;

fn no(n: u64) -> RunNo {
    RunNo::new(n).expect("a small number")
}

fn new_run() -> NewRun {
    NewRun {
        job: JobName::parse("job").expect("a name"),
        trigger: Trigger::Manual { by: "uid:0".to_string() },
        command: Vec::new(),
        directory: String::new(),
        timeout_ms: None,
        tags: Vec::new(),
        tty: false,
        latch: None,
        serial: None,
        no_overlap: false,
    }
}

fn settled(keeper: u64) -> Fact {
    Fact::Settled(Settled { keeper: Some(keeper), ..Settled::default() })
}

fn exited(code: u8) -> Seen {
    let close = Close { how: How::Exit(Exit::Code(code)), at: Time(9), timed_out: false, oom: false };
    Seen::bare(Phase::Drained(close))
}

/// A world with a keeper, and what follows from one wish.
fn wish(world: &mut World, wish: Wish) -> (Result<Granted, Refusal>, Effects) {
    let mut fx = Effects::default();
    let answer = world.wish(Time(5), wish, &mut fx);
    (answer, fx)
}

fn fact(world: &mut World, fact: Fact) -> Effects {
    let mut fx = Effects::default();
    world.fact(Time(6), fact, &mut fx);
    fx
}

fn submit(world: &mut World, n: u64, new: NewRun) -> Effects {
    let (answer, fx) = wish(world, Wish::Submit { no: no(n), new: Box::new(new) });
    assert!(matches!(answer, Ok(Granted::Run(_))), "{answer:?}");
    fx
}

#[test]
fn a_run_is_given_to_the_keeper_in_the_commit_that_accepts_it() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(3));
    let fx = submit(&mut world, 1, new_run());
    assert_eq!(fx.changed[&no(1)].state, RunState::Starting { generation: Some(3) });
    assert_eq!(fx.acts, [Act::Start { run: no(1), generation: 3 }]);
    assert!(fx.promises);
    assert_eq!(fx.events.len(), 1);
}

#[test]
fn a_process_that_is_adopted_runs_once_and_is_no_keepers() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(3));
    let adopt = |n: u64, started_at: Time| Wish::Adopt { no: no(n), new: Box::new(new_run()), pid: 7, started_at };
    let (answer, fx) = wish(&mut world, adopt(1, Time(99)));
    assert!(matches!(answer, Ok(Granted::Run(_))), "{answer:?}");
    let run = &fx.changed[&no(1)];
    assert_eq!(run.state, RunState::Running { unowned: true, interrupted: false });
    // Nobody is asked to start it, and it did not begin after now.
    assert_eq!((run.pid, run.started_at, fx.acts.len(), fx.promises), (Some(7), Some(Time(5)), 0, true));
    let (answer, fx) = wish(&mut world, adopt(2, Time(1)));
    assert_eq!(answer, Err(Refusal::IsRun { pid: 7, run: world.get(no(1)).expect("lives").id() }));
    assert!(fx.changed.is_empty());
    // It is found again after each death, which is no news.
    let fx = fact(&mut world, Fact::Survivor { run: no(1), seen: Seen { pid: Some(7), ..Seen::bare(Phase::Running) } });
    assert!(fx.changed.is_empty() && fx.events.is_empty(), "{fx:?}");
    fact(&mut world, Fact::Settled(Settled { keeper: Some(3), found: [no(1)].into(), ..Settled::default() }));
    let fx = fact(&mut world, Fact::Slot { run: no(1), seen: exited(7) });
    assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), "failed(7)");
    assert!(wish(&mut world, adopt(3, Time(1))).0.is_ok(), "the number is free again");
}

#[test]
fn an_adopted_process_can_be_given_up_also_in_the_middle_of_a_stop_and_nothing_is_guessed_of_it() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(3));
    let new = || NewRun { trigger: Trigger::Adopt { by: "uid:0".to_string() }, ..new_run() };
    let adopt = |n: u64| Wish::Adopt { no: no(n), new: Box::new(new()), pid: 7, started_at: Time(1) };
    for (n, stopped) in [(1, false), (2, true)] {
        assert!(wish(&mut world, adopt(n)).0.is_ok());
        if stopped {
            let stop = Wish::Stop { run: no(n), kind: StopKind::Ladder, why: StopWhy::Asked };
            assert!(wish(&mut world, stop).0.is_ok());
        }
        let (answer, fx) = wish(&mut world, Wish::Disown { run: no(n) });
        let Ok(Granted::Run(run)) = answer else { panic!("{answer:?}") };
        assert_eq!(run.outcome().expect("it is over").to_string(), "lost(disowned)");
        assert_eq!((run.exit, run.ended_at, fx.promises), (None, Some(Time(5)), true));
        assert!(fx.acts.iter().all(|act| matches!(act, Act::RemoveSpec { .. } | Act::Forget { .. })), "{:?}", fx.acts);
        // Its end, seen late, changes nothing.
        assert!(fact(&mut world, Fact::Slot { run: no(n), seen: exited(7) }).changed.is_empty());
    }
    submit(&mut world, 3, new_run());
    let (answer, fx) = wish(&mut world, Wish::Disown { run: no(3) });
    let words = answer.expect_err("kin started it").to_string();
    assert_eq!(words, "run job-00000003 was started by kin, which keeps to it until it ends");
    assert!(fx.is_empty());
}

#[test]
fn overlap_names_the_run_that_lives() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    submit(&mut world, 1, new_run());
    let new = NewRun { no_overlap: true, ..new_run() };
    let (answer, fx) = wish(&mut world, Wish::Submit { no: no(2), new: Box::new(new) });
    let words = answer.expect_err("refused").to_string();
    assert_eq!(words, "run job-00000001 of the same job is not over yet");
    assert!(fx.is_empty());
}

#[test]
fn an_interrupt_that_is_survived_leaves_an_ok() {
    for (code, want) in [(0, "ok"), (1, "interrupted")] {
        let mut world = World::load("boot".to_string(), Mint::after(100), []);
        fact(&mut world, settled(3));
        submit(&mut world, 1, new_run());
        fact(&mut world, Fact::Slot { run: no(1), seen: Seen::bare(Phase::Running) });
        let signal = Wish::Signal { run: no(1), signal: 2, leader_only: false, interrupt: true };
        let (_, fx) = wish(&mut world, signal);
        assert_eq!(fx.acts, [Act::Signal { run: no(1), signal: 2, leader_only: false }]);
        assert_eq!(world.get(no(1)).expect("lives").state.word(), "running");
        let fx = fact(&mut world, Fact::Slot { run: no(1), seen: exited(code) });
        assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), want);
    }
}

#[test]
fn a_stop_that_only_the_table_remembers_is_a_stop() {
    let asked = |seen: Seen| Seen { stop_asked: true, ..seen };
    let killed = |ladder| Seen { ladder, adopted: true, ..asked(exited(3)) };
    for (first, end, want) in [
        (asked(Seen::bare(Phase::Running)), exited(3), "stopped"),
        (Seen::bare(Phase::Running), killed(Ladder::KilledAfter), "stopped"),
        (Seen::bare(Phase::Running), exited(3), "failed(3)"),
    ] {
        let mut world = World::load("boot".to_string(), Mint::after(100), []);
        fact(&mut world, settled(3));
        submit(&mut world, 1, new_run());
        fact(&mut world, Fact::Slot { run: no(1), seen: first.clone() });
        let stopping = world.get(no(1)).expect("lives").state.word() == "stopping";
        assert_eq!(stopping, first.stop_asked);
        let fx = fact(&mut world, Fact::Slot { run: no(1), seen: end.clone() });
        assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), want);
        let notes: Vec<_> = fx
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Note { kind, .. } => Some(*kind),
                What::State { .. } | What::Released { .. } | What::Defined { .. } => None,
            })
            .collect();
        let all = ["run.adopted", "run.killed"];
        assert_eq!(notes, if end.adopted { &all[..] } else { &[] });
    }
}

#[test]
fn the_end_of_a_server_with_its_runs_cancels_what_has_not_started() {
    for (stop_runs, want) in [(true, "cancelled"), (false, "held")] {
        let mut world = World::load("boot".to_string(), Mint::after(100), []);
        fact(&mut world, settled(3));
        submit(&mut world, 1, NewRun { latch: Some("go".into()), ..new_run() });
        let serial = || Some(Serial { group: "g".into(), max: 1 });
        submit(&mut world, 2, NewRun { serial: serial(), ..new_run() });
        submit(&mut world, 3, NewRun { serial: serial(), ..new_run() });
        let (answer, fx) = wish(&mut world, Wish::Shutdown { stop_runs, cancel: false });
        let Ok(Granted::Farewell(farewell)) = answer else { panic!("{answer:?}") };
        let numbers = |ids: &[crate::RunId]| ids.iter().map(|id| id.no).collect::<Vec<_>>();
        let (cancelled, waiting) = (numbers(&farewell.cancelled), numbers(&farewell.waiting));
        let both = vec![no(1), no(3)];
        assert_eq!((cancelled, waiting), if stop_runs { (both, vec![]) } else { (vec![], both) });
        let held = fx.changed.get(&no(1)).or(world.get(no(1))).expect("there");
        let word = held.outcome().map_or(held.state.word(), Outcome::word);
        assert_eq!(word, want);
        assert!(!fx.acts.iter().any(|act| matches!(act, Act::Start { .. })), "nothing takes a free place any more");
    }
}

#[test]
fn the_end_removes_the_spec_and_only_then_the_slot() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(3));
    submit(&mut world, 1, new_run());
    let fx = fact(&mut world, Fact::Slot { run: no(1), seen: exited(0) });
    assert_eq!(fx.acts, [Act::RemoveSpec { run: no(1) }, Act::Forget { run: no(1) }]);
    assert_eq!(fx.changed[&no(1)].ended_at, Some(Time(9)));
    assert!(fact(&mut world, Fact::Slot { run: no(1), seen: exited(1) }).is_empty());
}

#[test]
fn what_a_table_that_cannot_be_read_may_have_had_is_lost() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(3));
    submit(&mut world, 1, new_run());
    let unproven = BTreeSet::from([no(1)]);
    let fx = fact(&mut world, Fact::Settled(Settled { keeper: Some(4), unproven, ..Settled::default() }));
    assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), "lost(unknown)");
}

/// The end of the one makes room for the other, which is given to nobody: nobody answers.
#[test]
fn what_found_no_room_is_not_given_to_a_keeper_that_is_gone() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(2));
    submit(&mut world, 4, new_run());
    submit(&mut world, 5, new_run());
    fact(&mut world, Fact::Refused { run: no(5), generation: 2, why: StartRefusal::Full });
    let unproven = BTreeSet::from([no(4)]);
    let fx = fact(&mut world, Fact::Settled(Settled { keeper: None, unproven, ..Settled::default() }));
    assert_eq!(fx.changed[&no(4)].outcome().expect("ended").to_string(), "lost(unknown)");
    assert!(!fx.acts.iter().any(|act| matches!(act, Act::Start { .. })), "{:?}", fx.acts);
    let fx = fact(&mut world, settled(3));
    assert!(fx.acts.contains(&Act::Start { run: no(5), generation: 3 }), "{:?}", fx.acts);
}

#[test]
fn another_boot_loses_held_and_queued_runs_too() {
    let mut world = World::load("one".to_string(), Mint::after(100), []);
    submit(&mut world, 1, NewRun { latch: Some("a".to_string()), ..new_run() });
    let mut world = World::load("two".to_string(), Mint::after(100), world.live().cloned().collect::<Vec<_>>());
    let fx = fact(&mut world, Fact::Booted);
    assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), "lost(reboot)");
}

#[test]
fn a_survivor_counts_and_can_be_stopped() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(3));
    submit(&mut world, 1, new_run());
    fact(&mut world, Fact::Survivor { run: no(1), seen: Seen::bare(Phase::Running) });
    assert_eq!(world.get(no(1)).expect("lives").state, RunState::Running { unowned: true, interrupted: false });
    let (_, fx) = wish(&mut world, Wish::Stop { run: no(1), kind: StopKind::Kill, why: StopWhy::Asked });
    assert_eq!(fx.acts, [Act::Stop { run: no(1), kind: StopKind::Kill }]);
    let close = Close { how: How::Unknown, at: Time(9), timed_out: false, oom: false };
    let fx = fact(&mut world, Fact::Slot { run: no(1), seen: Seen::bare(Phase::Drained(close)) });
    assert_eq!(fx.changed[&no(1)].outcome().expect("ended").to_string(), "lost(unknown)");
}

#[test]
fn a_kill_is_said_again_as_a_kill() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    fact(&mut world, settled(3));
    for n in 1..=3 {
        submit(&mut world, n, new_run());
        fact(&mut world, Fact::Slot { run: no(n), seen: Seen::bare(Phase::Running) });
    }
    let (ladder, kill) = (StopKind::Ladder, StopKind::Kill);
    // Of the third the grace was too long for somebody; what is asked after that does not make it longer again.
    for (n, kind) in [(1, kill), (2, ladder), (3, ladder), (3, kill), (3, ladder)] {
        wish(&mut world, Wish::Stop { run: no(n), kind, why: StopWhy::Asked }).0.expect("granted");
    }
    let mut world = World::load("boot".to_string(), Mint::after(100), world.live().cloned().collect::<Vec<_>>());
    let found = [no(1), no(2), no(3)].into();
    let fx = fact(&mut world, Fact::Settled(Settled { keeper: Some(3), found, unproven: Default::default() }));
    let stop = |n, kind| Act::Stop { run: no(n), kind };
    assert_eq!(fx.acts, [stop(1, StopKind::Kill), stop(2, StopKind::Ladder), stop(3, StopKind::Kill)]);
    let fx = fact(&mut world, Fact::Survivor { run: no(1), seen: Seen::bare(Phase::Running) });
    assert_eq!(fx.acts, [stop(1, StopKind::Kill)]);
}

#[test]
fn places_follow_from_the_runs_alone() {
    let mut world = World::load("boot".to_string(), Mint::after(100), []);
    let serial = Some(Serial { group: "g".to_string(), max: 1 });
    for n in 1..=3 {
        submit(&mut world, n, NewRun { serial: serial.clone(), ..new_run() });
    }
    let (_, fx) = wish(&mut world, Wish::Stop { run: no(1), kind: StopKind::Ladder, why: StopWhy::Asked });
    assert_eq!(fx.acts[0], Act::Withdraw { run: no(1) });
    let fx = fact(&mut world, Fact::Withdrawn { run: no(1) });
    assert_eq!(fx.changed[&no(1)].outcome(), Some(&Outcome::Cancelled));
    assert_eq!(fx.changed[&no(2)].state.word(), "starting");
    assert_eq!(world.get(no(3)).expect("lives").state, RunState::Queued);
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let run = (1u64..12).prop_map(no);
    let name = prop_oneof![Just("a".to_string()), Just("b".to_string())];
    prop_oneof![
        (
            run.clone(),
            proptest::option::of(name.clone()),
            proptest::option::of((name.clone(), 0u32..3)),
            any::<bool>(),
            name.clone()
        )
            .prop_map(|(no, latch, serial, no_overlap, job)| {
                let serial = serial.map(|(group, max)| Serial { group, max });
                let job = JobName::parse(&job).expect("a name");
                Wish::Submit { no, new: Box::new(NewRun { job, latch, serial, no_overlap, ..new_run() }) }
            }),
        (run.clone(), any::<bool>(), any::<bool>()).prop_map(|(run, kill, interrupt)| Wish::Stop {
            run,
            kind: if kill { StopKind::Kill } else { StopKind::Ladder },
            why: if interrupt { StopWhy::Interrupt } else { StopWhy::Asked },
        }),
        (run, any::<bool>()).prop_map(|(run, interrupt)| Wish::Signal {
            run,
            signal: 2,
            leader_only: false,
            interrupt
        }),
        name.prop_map(|latch| Wish::Release { latch }),
    ]
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let run = (1u64..12).prop_map(no);
    let how = prop_oneof![
        Just(How::Unknown),
        Just(How::Exit(Exit::Code(0))),
        Just(How::Exit(Exit::Signal { signal: 9, core: false })),
        Just(How::SpawnFailed { step: SpawnStep::Exec, errno: 2 }),
    ];
    let close = (how, any::<bool>()).prop_map(|(how, timed_out)| Close { how, at: Time(3), timed_out, oom: false });
    let phase = prop_oneof![
        Just(Phase::Intent),
        Just(Phase::Running),
        close.clone().prop_map(Phase::Exited),
        close.prop_map(Phase::Drained),
    ];
    let seen = phase.prop_map(Seen::bare);
    let runs = proptest::collection::btree_set(run.clone(), 0..6);
    let why = prop_oneof![Just(StartRefusal::Full), Just(StartRefusal::NotCurrent), Just(StartRefusal::NoSpec)];
    prop_oneof![
        4 => (run.clone(), seen.clone()).prop_map(|(run, seen)| Fact::Slot { run, seen }),
        2 => (run.clone(), 1u64..4, why).prop_map(|(run, generation, why)| Fact::Refused { run, generation, why }),
        1 => Just(Fact::Room),
        1 => run.clone().prop_map(|run| Fact::Withdrawn { run }),
        1 => Just(Fact::Booted),
        1 => (1u64..4).prop_map(|generation| Fact::KeeperGone { generation }),
        2 => (proptest::option::of(1u64..4), runs.clone(), runs)
            .prop_map(|(keeper, found, unproven)| Fact::Settled(Settled { keeper, found, unproven })),
        1 => (run, seen).prop_map(|(run, seen)| Fact::Survivor { run, seen }),
    ]
}

proptest! {
    /// Also facts that no keeper would say: whatever is said in whatever order, the story of a run stays a story.
    #[test]
    fn no_history_breaks_the_rules(
        inputs in proptest::collection::vec(proptest::strategy::Union::new_weighted(vec![
            (1, any_wish().prop_map(Ok).boxed()),
            (1, any_fact().prop_map(Err).boxed()),
        ]), 0..80)
    ) {
        let mut world = World::load("boot".to_string(), Mint::after(100), []);
        let mut rows: BTreeMap<RunNo, Run> = BTreeMap::new();
        for input in inputs {
            // A number is used once, as the mint promises.
            if let Ok(Wish::Submit { no, .. }) = &input && rows.contains_key(no) {
                continue;
            }
            let (fx, refused) = match input {
                Ok(input) => {
                    let (answer, fx) = wish(&mut world, input);
                    (fx, answer.is_err())
                }
                Err(input) => (fact(&mut world, input), false),
            };
            prop_assert!(!refused || fx.is_empty(), "a refused wish changes nothing");
            for (no, run) in fx.changed {
                prop_assert!(rows.get(&no).is_none_or(|run| run.outcome().is_none()), "a run ended twice");
                prop_assert_eq!(run.outcome().is_some(), run.outcome().is_some() && run.ended_at.is_some());
                rows.insert(no, run);
            }
            for act in &fx.acts {
                if let Act::Start { run, generation } = act {
                    let state = RunState::Starting { generation: Some(*generation) };
                    let now = world.get(*run).map(|run| run.state.clone());
                    prop_assert!(now == Some(state) || now.is_none(), "started without being recorded so");
                }
            }
            // All that the world knows can be loaded again from what it asked to be recorded.
            let live: Vec<Run> = rows.values().filter(|run| run.outcome().is_none()).cloned().collect();
            let again = World::load("boot".to_string(), Mint::after(100), live);
            prop_assert_eq!(&again.live, &world.live);
            prop_assert_eq!(&again.places, &world.places);
        }
    }
}
