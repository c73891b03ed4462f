//! Stories, sentence by sentence.

use super::followers::How;
use super::*;
use crate::http::convert::tests::sample;
use kin_core::RunNo;
use kin_keeper::table::{RUNNING, Table};
use kin_ledger::Change;
use std::sync::atomic::Ordering;

fn change(run: &Run, from: Option<Stage>, to: Stage) -> Event {
    let outcome = run.outcome().filter(|_| to == Stage::Ended).cloned();
    let change = Some(Change { from, to, outcome, exit: None });
    Event { seq: 1, at: run.created_at, kind: "run.state".into(), run: Some(run.id()), change, message: None }
}

fn note(run: &Run, kind: &str, message: &str) -> Event {
    Event { kind: kind.into(), change: None, message: Some(message.into()), ..change(run, None, Stage::Held) }
}

fn tell(run: &Run, events: Vec<Event>) -> Vec<String> {
    story(run, &Facts { events, ..Facts::default() }, run.created_at)
}

#[test]
fn a_queued_run_says_whom_it_waits_for_and_since_when() {
    let mut run = sample(RunState::Queued);
    (run.group, run.group_max) = (Some("disk".into()), 1);
    let mut other = run.clone();
    other.no = RunNo::parse("00000007").expect("a number");
    other.state = RunState::Running { unowned: false, interrupted: false };
    let events = vec![change(&run, None, Stage::Queued)];
    let facts = Facts { events, live: vec![other, run.clone()], ..Facts::default() };
    let story = story(&run, &facts, Time::from_millis(run.created_at.millis() + 65_000));
    assert_eq!(
        story[2..],
        [
            "It waits for a place in the group \"disk\", since 2026-11-30T13:54:01.120Z (1 min 5 s): \
             1 of at most 1 are taken, by backup-00000007.",
            "It is the first in the queue.",
            "Next: it starts when a place is free; `kin stop backup-NeP8nb4q` cancels it.",
        ]
    );
}

#[test]
fn what_never_ran_says_the_step_in_words_and_what_to_do() {
    let run = sample(RunState::Ended { outcome: Outcome::SpawnFailed { step: SpawnStep::Exec, errno: 2 } });
    let events = vec![
        change(&run, None, Stage::Starting),
        change(&run, Some(Stage::Starting), Stage::Running),
        change(&run, Some(Stage::Running), Stage::Ended),
    ];
    let want = [
        "backup-NeP8nb4q was asked for by uid:1000 at 2026-11-30T13:54:01.120Z: true",
        "2026-11-30T13:54:01.120Z: it was to start.",
        "2026-11-30T13:54:01.120Z: a process was made for it.",
        "2026-11-30T13:54:01.120Z: it ended: spawn-failed(exec: No such file or directory).",
        "It never ran: true could not be executed: No such file or directory (step exec).",
        "Look at the program's name and at the PATH it was given, and whether the interpreter in its first line is \
         there; then start it again.",
        "Nothing followed from it.",
    ];
    assert_eq!(tell(&run, events), want);
    for step in SpawnStep::ALL {
        for errno in [1, 2, 8, 11, 12, 13, 20, 24, 28, 5] {
            let run = sample(RunState::Ended { outcome: Outcome::SpawnFailed { step, errno } });
            let story = tell(&run, Vec::new());
            assert!(
                story[1].starts_with("It never ran: ") && story[2].ends_with("; then start it again."),
                "{story:?}"
            );
        }
    }
}

#[test]
fn a_stop_says_who_asked_and_whether_kill_was_needed() {
    let mut run = sample(RunState::Ended { outcome: Outcome::Stopped });
    run.left_behind = 2;
    let events = vec![
        change(&run, Some(Stage::Starting), Stage::Running),
        note(&run, "run.stop-asked", "uid:7 asked for its end"),
        change(&run, Some(Stage::Running), Stage::Stopping),
        note(&run, "run.killed", "it did not end within its grace after the stop signal: KILL was needed"),
        change(&run, Some(Stage::Stopping), Stage::Ended),
    ];
    let story = tell(&run, events);
    let at = "2026-11-30T13:54:01.120Z";
    let want = [
        format!("{at}: it ran."),
        format!("{at}: uid:7 asked for its end."),
        format!("{at}: it did not end within its grace after the stop signal: KILL was needed."),
        format!("{at}: it ended: stopped."),
        "Somebody asked for its end.".into(),
        "2 of its processes outlived it.".into(),
    ];
    assert_eq!(story[1..7], want);
}

/// Its own clock says when each was; what was heard late stands where it belongs.
#[test]
fn what_happened_is_told_in_the_order_of_its_time() {
    let mut run = sample(RunState::Ended { outcome: Outcome::Stopped });
    let at = |ms: i64| Time::from_millis(run.created_at.millis() + ms);
    let (started, ended, heard) = (at(3), at(10), at(12));
    let event = |at: Time, event: Event| Event { at, ..event };
    let events = vec![
        event(at(1), change(&run, None, Stage::Starting)),
        event(at(5), change(&run, Some(Stage::Starting), Stage::Running)),
        event(at(11), note(&run, "run.stop-asked", "uid:7 asked for its end")),
        event(heard, note(&run, "run.killed", "KILL was needed")),
        event(heard, change(&run, Some(Stage::Running), Stage::Draining)),
        event(heard, change(&run, Some(Stage::Draining), Stage::Ended)),
    ];
    (run.started_at, run.ended_at) = (Some(started), Some(ended));
    let story = tell(&run, events);
    let lines = story[1..7].iter().map(|line| line.split_once("Z: ").expect("a time"));
    let (times, told): (Vec<&str>, Vec<&str>) = lines.unzip();
    let want = [
        "it was to start.",
        "it ran.",
        "KILL was needed.",
        "its process ended.",
        "it ended: stopped.",
        "uid:7 asked for its end.",
    ];
    assert_eq!(told, want);
    assert!(times.is_sorted(), "{story:?}");
}

/// As a keeper's table would show it.
fn slot(flags: u32, set: impl Fn(&kin_keeper::table::Slot)) -> Snapshot {
    let dir = tempfile::tempdir().expect("a directory");
    let table = Table::create(&dir.path().join("t"), 1, "boot").expect("a table");
    let slot = &table.slots()[3];
    slot.clear();
    slot.set_flag(flags);
    set(slot);
    slot.state.store(RUNNING, Ordering::Release);
    slot.snapshot(3).expect("a snapshot")
}

#[test]
fn a_run_that_lives_says_what_its_slot_says() {
    let mut run = sample(RunState::Running { unowned: false, interrupted: false });
    let blocked = slot(flag::OUTPUT_BLOCKED | flag::ADOPTED, |slot| {
        slot.t_blocked.store(u64::try_from(run.created_at.0).expect("a time"), Ordering::Relaxed);
        slot.out_dropped.store(40, Ordering::Relaxed);
        slot.err_dropped.store(2, Ordering::Relaxed);
    });
    let files = vec![(PathBuf::from("/logs/a.out"), 12), (PathBuf::from("/logs/a.err"), 0)];
    let not_recorded = Some("the disk is full".to_string());
    let facts = Facts { slot: Some(blocked), files, not_recorded, ..Facts::default() };
    let told = story(&run, &facts, Time::from_millis(run.created_at.millis() + 61_000));
    for want in [
        "The keeper that started it has died, and the other one has taken it over.",
        "Its output is blocked since 2026-11-30T13:54:01.120Z (1 min 1 s), because the disk is full; 42 bytes were \
         dropped so far.",
        "Its output is in /logs/a.out (12 bytes), /logs/a.err (0 bytes).",
        "Not all of this is in the history yet, because the disk is full; it is recorded when it can be.",
    ] {
        assert!(told.iter().any(|line| line == want), "{want}\n{told:#?}");
    }
    run.state = RunState::Stopping { why: StopWhy::Asked, kind: kin_core::StopKind::Ladder };
    for (flags, signal, want) in [
        (0, 15, "TERM has been sent to all of its processes, and KILL follows when its grace is over."),
        (flag::KILLED, 15, "KILL has been sent to all of its processes."),
        (0, 0, "if it does not end by itself it is killed."),
    ] {
        let slot = slot(flags, |slot| slot.stop_signal.store(signal, Ordering::Relaxed));
        let told = story(&run, &Facts { slot: Some(slot), ..Facts::default() }, run.created_at);
        assert!(told[1].starts_with("Its end was asked for, and it ") && told[1].ends_with(want), "{told:?}");
    }
}

#[test]
fn output_that_went_is_said_to_be_gone() {
    let mut run = sample(RunState::Ended { outcome: Outcome::Ok });
    run.out_bytes = 7;
    assert!(tell(&run, Vec::new()).contains(&"Its output, 7 bytes, is no longer kept.".to_string()));
}

#[test]
fn lengths_are_short() {
    for (ms, want) in
        [(0, "0.0 s"), (2_540, "2.5 s"), (65_000, "1 min 5 s"), (3_900_000, "1 h 5 min"), (90_000_000, "1 d 1 h")]
    {
        assert_eq!(length(ms), want);
    }
}

#[test]
fn a_run_that_was_caught_up_says_how_late_and_for_how_many() {
    let mut run = sample(RunState::Queued);
    for (late_ms, missed, want) in [
        (7, 0, "came by its schedule of 2026-11-30T13:40:00.000Z at "),
        (7, 63, "came by its schedule of 2026-11-30T13:40:00.000Z and for 63 missed before it, at "),
        (61_000, 63, "came by its schedule of 2026-11-30T13:40:00.000Z, 61 s late, and for 63 missed before it, at "),
        (7, 1000, "came by its schedule of 2026-11-30T13:40:00.000Z and for 1000 or more missed before it, at "),
    ] {
        run.trigger = kin_core::Trigger::Schedule { at: 1_796_046_000, late_ms, late: late_ms > 60_999, missed };
        let story = tell(&run, Vec::new());
        assert!(story[0].contains(want), "{story:?}");
    }
}

#[test]
fn a_run_in_a_paused_queue_is_told_who_lets_it_go() {
    let mut run = sample(RunState::Queued);
    run.terms.rev = 1;
    let reasons = vec![kin_core::Reason::Paused { queue: "heavy".into() }];
    let told = story(&run, &Facts { reasons, ..Facts::default() }, run.created_at);
    let id = run.id();
    let next = format!(
        "Next: it starts when its queue goes on (`kin queue heavy --resume`) and has a place free; `kin stop {id}` cancels it."
    );
    assert_eq!(told[1], "Its queue \"heavy\" is paused (`kin queue heavy --resume` lets it go on).");
    assert_eq!(told.last(), Some(&next), "{told:?}");
}

#[test]
fn a_wait_says_for_what() {
    let mut run = sample(RunState::Waiting { until: Time(0), wait: kin_core::job::Millis(1000) });
    for (late_ms, want) in [
        (0, "it was to wait for its jitter, or behind what was caught up before it."),
        (61_000, "it was to be caught up, after a moment's wait."),
    ] {
        run.trigger = kin_core::Trigger::Schedule { at: 1_796_046_000, late_ms, late: late_ms > 60_999, missed: 0 };
        let story = tell(&run, vec![change(&run, None, Stage::Waiting)]);
        assert!(story[1].ends_with(want), "{story:?}");
    }
    let words = |jitter, catch_up| {
        super::reason::words(&kin_core::Reason::Delay { until: run.created_at, jitter, catch_up, behind: None })
    };
    assert_eq!(words(true, false).as_deref(), Some("it waits for its jitter, until 2026-11-30T13:54:01.120Z"));
    let both = "it is caught up, and waits for its `catch_up_delay` and its jitter, until 2026-11-30T13:54:01.120Z";
    assert_eq!(words(true, true).as_deref(), Some(both));
}

fn no(text: &str) -> RunNo {
    RunNo::parse(text).expect("a number")
}

fn follower(run: &Run, number: &str, state: RunState, how: How) -> Follower {
    Follower { run: Run { no: no(number), state, ..run.clone() }, how }
}

fn outlook() -> Outlook {
    Outlook {
        restart: kin_core::job::Restart::Never,
        tries: Some(1),
        again: None,
        healthy_at: None,
        next: Vec::new(),
        error: Vec::new(),
        joins: Vec::new(),
        held: Vec::new(),
        restarted_with: Vec::new(),
    }
}

fn names(names: &[&str]) -> Vec<kin_core::JobName> {
    names.iter().map(|name| kin_core::JobName::parse(name).expect("a name")).collect()
}

#[test]
fn what_followed_is_named_whether_it_is_over_or_not() {
    let mut run = sample(RunState::Ended { outcome: Outcome::Ok });
    run.terms.rev = 1;
    let end = vec![change(&run, Some(Stage::Running), Stage::Ended)];
    assert_eq!(tell(&run, end.clone()).last().expect("a line"), "Nothing followed from it.");
    let unknown = "Nothing that is still known followed from it.";
    assert_eq!(tell(&run, Vec::new()).last().expect("a line"), unknown, "that event is not kept any more");
    let with = How::After { with: Some(kin_core::RunId { job: run.job.clone(), no: no("00000003") }) };
    let followers = vec![
        follower(&run, "00000007", RunState::Queued, How::Next),
        follower(&run, "00000008", RunState::Ended { outcome: Outcome::Failed { code: 2 } }, with),
    ];
    let facts = Facts { followers, ..Facts::default() };
    let told = story(&run, &facts, run.created_at);
    assert_eq!(
        told.last().expect("a line"),
        "From it followed backup-00000007 (next: queued), backup-00000008 (after it and backup-00000003: failed(2))."
    );
    // One that waits for others too is named before it is there.
    let of = names(&["backup", "load", "dump"]);
    let join = |waits_for: &[&str]| kin_core::Join {
        job: names(&["report"]).remove(0),
        rule: kin_core::job::AfterRule::AllDone,
        of: of.clone(),
        waits_for: names(waits_for),
    };
    for (waits_for, want) in [
        (&["load"][..], "report comes after backup, load, dump, and waits for load."),
        (&["backup", "load"], "Nothing followed from it."),
        (&[], "Nothing followed from it."),
    ] {
        let outlook = Some(Outlook { joins: vec![join(waits_for)], ..outlook() });
        let told = story(&run, &Facts { outlook, events: end.clone(), ..Facts::default() }, run.created_at);
        assert_eq!(told.last().expect("a line"), want);
    }
}

#[test]
fn who_waited_for_any_end_does_not_call_it_a_good_one() {
    let mut run = sample(RunState::Queued);
    run.trigger = Trigger::Chain { run: no("00000007"), error: false };
    for (outcome, want) in [
        (Outcome::Ok, "followed the good end of run backup-00000007 at "),
        (Outcome::Failed { code: 1 }, "followed the end of run backup-00000007, the last that it waited for, at "),
    ] {
        let cause = Some(Run { no: no("00000007"), state: RunState::Ended { outcome }, ..run.clone() });
        let told = story(&run, &Facts { cause, ..Facts::default() }, run.created_at);
        assert!(told[0].contains(want), "{told:?}");
    }
}

#[test]
fn a_run_in_a_crash_loop_says_how_many_have_failed_and_what_comes_then() {
    let mut run = sample(RunState::Running { unowned: false, interrupted: false });
    (run.terms.rev, run.attempt) = (1, 3);
    run.trigger = Trigger::Restart { run: no("00000007") };
    let last = |outcome| Some(Run { no: no("00000007"), state: RunState::Ended { outcome }, ..run.clone() });
    let again = Some((4, kin_core::job::Millis(4000)));
    let service = Outlook { restart: kin_core::job::Restart::Always, tries: None, again, ..outlook() };
    let before = Before { failed: 2, last: last(Outcome::Failed { code: 7 }) };
    let healthy = Outlook { healthy_at: Some(Time::from_millis(run.created_at.millis() + 5)), ..service.clone() };
    let facts = Facts { outlook: Some(healthy), before, ..Facts::default() };
    assert_eq!(
        story(&run, &facts, run.created_at)[2..],
        [
            "This is attempt 3.",
            "Before it 2 in a row failed, the last one, backup-00000007, with failed(7).",
            "Next: it ends by itself.",
            "When it has ended, well or badly, it is started again 4.0 s later, as attempt 4 (`restart = \"always\"`).",
            "If it lives until 2026-11-30T13:54:01.125Z, its attempts are counted anew.",
        ]
    );
    // Those that ended well did not fail.
    let before = Before { failed: 0, last: last(Outcome::Ok) };
    let told = story(&run, &Facts { outlook: Some(service), before, ..Facts::default() }, run.created_at);
    assert_eq!(told[2..4], ["This is attempt 3.", "The one before it, backup-00000007, ended: ok."]);
}

#[test]
fn a_task_says_which_try_is_its_last_and_that_all_are_used_up() {
    let mut run = sample(RunState::Running { unowned: false, interrupted: false });
    (run.terms.rev, run.attempt) = (1, 3);
    run.trigger = Trigger::Retry { run: no("00000007"), of: None };
    let begins = |run: &Run| story(run, &Facts::default(), run.created_at).remove(0);
    assert!(begins(&run).starts_with("backup-NeP8nb4q is attempt 3, after run 00000007 at "), "{}", begins(&run));
    let of = Some(kin_core::run::Nominal { at: 1_796_046_000, missed: 0 });
    let of_tick = Run { trigger: Trigger::Retry { run: no("00000007"), of }, ..run.clone() };
    let want = "is attempt 3 for its schedule's 2026-11-30T13:40:00.000Z, after run 00000007 at ";
    assert!(begins(&of_tick).contains(want), "{}", begins(&of_tick));
    let last = Outlook { tries: Some(3), next: names(&["load"]), error: names(&["mourn"]), ..outlook() };
    let facts = Facts { outlook: Some(last.clone()), ..Facts::default() };
    assert_eq!(
        story(&run, &facts, run.created_at)[2..],
        [
            "This is attempt 3 of 3.",
            "Next: it ends by itself.",
            "It is the last of its 3 tries: if it fails, it is not tried again.",
            "After a good end: load.",
            "After a bad end: mourn.",
        ]
    );
    let ended = Run { state: RunState::Ended { outcome: Outcome::TimedOut }, ..run.clone() };
    let events = vec![change(&ended, Some(Stage::Running), Stage::Ended)];
    let told = story(&ended, &Facts { events, ..facts }, run.created_at);
    assert_eq!(
        told[told.len() - 3..],
        ["This was attempt 3 of 3.", "All its tries are used up.", "Nothing followed from it."]
    );
    let ended = Run { attempt: 2, ..ended };
    let again = Outlook { again: Some((3, kin_core::job::Millis(90_000))), ..last };
    let told = story(&ended, &Facts { outlook: Some(again.clone()), ..Facts::default() }, run.created_at);
    assert!(!told.iter().any(|line| line.contains("used up")), "{told:?}");
    let told = story(&run, &Facts { outlook: Some(again), ..Facts::default() }, run.created_at);
    assert!(told.contains(&"If it fails, it is tried again 1 min 30 s later, as attempt 3 of 3.".into()), "{told:?}");
    assert!(told.contains(&"After a bad end, once no try is left: mourn.".into()), "{told:?}");
}
