//! The log against a real ledger: whatever died, was torn or had no room, each event has its line once, in order.

use super::*;
use kin_core::{JobName, LostWhy, Outcome, RunNo, SpawnStep};
use kin_ledger::{Batch, Durability, Opened, Stage};
use tempfile::TempDir;

struct House {
    dir: TempDir,
    ledger: Ledger,
}

impl House {
    fn new() -> House {
        let dir = tempfile::tempdir().expect("a directory");
        let Opened { ledger, .. } = Ledger::open(dir.path(), Time(0)).expect("a ledger");
        House { dir, ledger }
    }

    /// A log as a new daemon has it.
    fn journal(&self) -> Journal {
        let mut journal = Journal::new(self.dir.path());
        journal.finish(&self.ledger);
        journal
    }

    /// Commits that many events; whoever should hear of it is told with what comes back.
    fn commit(&mut self, count: u64) -> (Range<u64>, Vec<NewEvent>) {
        let events: Vec<NewEvent> = (0..count).map(|_| note("news")).collect();
        let batch = Batch { events: events.clone(), ..Batch::default() };
        let applied = self.ledger.apply(&batch, Durability::Normal).expect("a commit");
        (applied.seqs, events)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("a log")
    }

    /// The numbers of all lines, the oldest file first.
    fn seqs(&self) -> Vec<u64> {
        let old = (1..=OLD).rev().map(|n| old(&self.path(), n)).chain([self.path()]);
        let texts = old.filter_map(|path| std::fs::read(path).ok());
        let mut seqs = Vec::new();
        for text in texts {
            assert!(text.is_empty() || text.ends_with(b"\n"), "{:?} is torn", String::from_utf8_lossy(&text));
            for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                seqs.push(seq_of(line).unwrap_or_else(|| panic!("{:?} is no line", String::from_utf8_lossy(line))));
            }
        }
        seqs
    }
}

fn note(message: &str) -> NewEvent {
    NewEvent { at: Time(0), kind: "server.started".into(), run: None, change: None, message: Some(message.into()) }
}

fn all(until: u64) -> Vec<u64> {
    (1..=until).collect()
}

/// Makes it look as if the time had come.
fn due(journal: &mut Journal) {
    if journal.behind.is_some() {
        journal.behind = Some(Instant::now());
    }
}

fn line(event: &NewEvent) -> String {
    let mut text = String::new();
    Line::of_new(1234, event).write(&mut text);
    text
}

#[test]
fn a_line_says_all_there_is_to_an_event() {
    let run = RunId { job: JobName::parse("job").expect("a name"), no: RunNo::new(42).expect("a number") };
    let state = |to, outcome, exit| NewEvent {
        at: Time(1_795_216_295_673_999_999),
        kind: "run.state".into(),
        run: Some(run.clone()),
        change: Some(Change { from: Some(Stage::Running), to, outcome, exit }),
        message: None,
    };
    let failed = state(Stage::Ended, Some(Outcome::Failed { code: 3 }), Some(Exit::Code(3)));
    let want = format!(
        "2026-11-20T23:11:35.673Z 1234 WARN event=[run.state] run=[{run}] prev_state=[running] new_state=[ended] \
         outcome=[failed] exit_code=[3]\n"
    );
    assert_eq!(line(&failed), want);
    assert_eq!(seq_of(want.trim_end().as_bytes()), Some(1234));
    let rest = |event: &NewEvent| line(event).split_once("1234 ").expect("a number").1.trim_end().to_string();
    let mut new = state(Stage::Queued, None, None);
    new.change.as_mut().expect("a change").from = None;
    assert_eq!(rest(&new), format!("INFO event=[run.state] run=[{run}] prev_state=[none] new_state=[queued]"));
    let spawn = Outcome::SpawnFailed { step: SpawnStep::Exec, errno: 2 };
    assert!(rest(&state(Stage::Ended, Some(spawn), None)).ends_with("outcome=[spawn-failed] step=[exec] errno=[2]"));
    let lost = rest(&state(Stage::Ended, Some(Outcome::Lost(LostWhy::Reboot)), None));
    assert!(lost.starts_with("WARN") && lost.ends_with("outcome=[lost] reason=[reboot]"), "{lost}");
    let stopped = state(Stage::Ended, Some(Outcome::Stopped), Some(Exit::Signal { signal: 15, core: false }));
    assert!(rest(&stopped).starts_with("INFO") && rest(&stopped).ends_with("outcome=[stopped] signal=[15]"));
}

#[test]
fn a_message_cannot_break_out_of_its_line() {
    let said = line(&note("a] run=[x\\\n\u{1b}[31m\u{202e}\u{0}é"));
    assert!(said.ends_with("message=[a\\] run=[x\\\\\\n\\u{1b}[31m\\u{202e}\\u{0}é]\n"), "{said}");
    let long = line(&note(&"é".repeat(MESSAGE_MAX)));
    assert!(long.len() < MESSAGE_MAX + 100 && long.ends_with("…]\n"));
}

#[test]
fn what_was_committed_before_a_death_is_caught_up() {
    let mut house = House::new();
    for _ in 0..3 {
        let mut journal = house.journal();
        let (seqs, events) = house.commit(3);
        journal.tell(&seqs, &events);
        // The next commit is the last thing this daemon does.
        house.commit(2);
    }
    let mut journal = house.journal();
    assert_eq!((house.seqs(), journal.wake_at()), (all(15), None));
    // And one that was told nothing finds out from the next.
    house.commit(PAGE.into());
    let (seqs, events) = house.commit(1);
    journal.tell(&seqs, &events);
    journal.finish(&house.ledger);
    assert_eq!((house.seqs(), journal.wake_at()), (all(16 + u64::from(PAGE)), None));
    let mode = std::fs::metadata(house.path()).expect("a log").mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_log_cut_anywhere_goes_on_as_if_it_never_had_been() {
    let mut house = House::new();
    house.commit(6);
    drop(house.journal());
    let whole = house.text();
    for cut in 0..whole.len() {
        std::fs::write(house.path(), &whole[..cut]).expect("writes");
        drop(house.journal());
        assert_eq!(house.text(), whole, "cut at {cut}");
    }
    // Zeros are what a power cut leaves.
    std::fs::write(house.path(), format!("{}{}", &whole[..200], "\0".repeat(4096))).expect("writes");
    drop(house.journal());
    assert_eq!(house.text(), whole);
}

#[test]
fn a_file_that_is_full_is_followed_by_another_over_any_death() {
    let mut house = House::new();
    house.commit(1);
    drop(house.journal());
    let (one, count) = (house.text().len() as u64, 10);
    for begun in 0..count {
        let mut journal = house.journal();
        journal.size_max = 4 * (one + 4);
        let (seqs, events) = house.commit(2);
        journal.tell(&seqs, &events);
        // A death between two renames, and one before the new file is there.
        match begun {
            4 => std::fs::rename(old(&house.path(), 2), old(&house.path(), 3)).expect("moves"),
            7 => rotate(&house.path()).expect("rotates"),
            _ => {}
        }
    }
    drop(house.journal());
    let seqs = house.seqs();
    let newest = house.ledger.last_event();
    assert_eq!(seqs, (newest - seqs.len() as u64 + 1..=newest).collect::<Vec<_>>());
    assert!(seqs.len() >= 10 && old(&house.path(), 3).exists(), "{seqs:?}");
}

#[test]
fn a_rotation_moves_only_what_is_in_its_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(NAME);
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("writes");
    let read = |n| std::fs::read_to_string(old(&path, n)).unwrap_or_default();
    write(&path, "c");
    write(&old(&path, 1), "b");
    write(&old(&path, 3), "a");
    rotate(&path).expect("rotates");
    assert_eq!((read(1), read(2), read(3)), ("c".into(), "b".into(), "a".into()));
    write(&path, "d");
    rotate(&path).expect("rotates");
    assert_eq!((read(1), read(2), read(3)), ("d".into(), "c".into(), "b".into()));
}

#[test]
fn a_full_disk_leaves_no_half_line_and_is_caught_up_with() {
    let mut house = House::new();
    let mut journal = house.journal();
    let (seqs, events) = house.commit(3);
    journal.tell(&seqs, &events);
    journal.room = Some(100);
    for _ in 0..3 {
        let (seqs, events) = house.commit(3);
        journal.tell(&seqs, &events);
        assert_eq!(house.seqs(), all(3));
        let again = journal.wake_at().expect("a time to try again");
        assert!(again > Instant::now());
        // Not before its time, and then in vain.
        journal.catch_up(&house.ledger);
        assert_eq!(journal.wake_at(), Some(again));
        due(&mut journal);
        journal.catch_up(&house.ledger);
        assert_eq!(house.seqs(), all(3));
    }
    journal.room = None;
    due(&mut journal);
    journal.finish(&house.ledger);
    assert_eq!((house.seqs(), journal.wake_at()), (all(12), None));
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew_with_the_next_event() {
    let mut house = House::new();
    let mut journal = house.journal();
    let (seqs, events) = house.commit(2);
    journal.tell(&seqs, &events);
    std::fs::rename(house.path(), house.dir.path().join("elsewhere")).expect("moves");
    let (seqs, events) = house.commit(1);
    journal.tell(&seqs, &events);
    assert_eq!(house.seqs(), [3]);
    let moved = std::fs::read_to_string(house.dir.path().join("elsewhere")).expect("reads");
    assert_eq!(moved.lines().count(), 2);
}

#[test]
fn what_is_no_file_of_ours_is_left_alone() {
    let mut house = House::new();
    std::fs::create_dir(house.path()).expect("a directory");
    let mut journal = house.journal();
    let (seqs, events) = house.commit(1);
    journal.tell(&seqs, &events);
    assert!(journal.wake_at().is_some_and(|at| at > Instant::now()));
    std::fs::remove_dir(house.path()).expect("removes");
    std::os::unix::fs::symlink("/dev/null", house.path()).expect("a link");
    due(&mut journal);
    journal.catch_up(&house.ledger);
    assert!(journal.wake_at().is_some());
    std::fs::remove_file(house.path()).expect("removes");
    due(&mut journal);
    journal.finish(&house.ledger);
    assert_eq!(house.seqs(), [1]);
}

#[test]
fn a_ledger_that_was_lost_is_said_and_its_successor_followed() {
    let mut house = House::new();
    house.commit(5);
    drop(house.journal());
    let before = house.text();
    let log = std::fs::read(house.path()).expect("reads");
    house = House::new();
    std::fs::write(house.path(), log).expect("writes");
    let mut journal = house.journal();
    let (seqs, events) = house.commit(2);
    journal.tell(&seqs, &events);
    let text = house.text();
    let after: Vec<&str> = text.strip_prefix(&before).expect("the old lines").lines().collect();
    assert_eq!(after.len(), 3, "{after:#?}");
    assert!(after[0].contains(" 0 WARN event=[events.lost]"), "{after:#?}");
    assert!(after[1].contains(" 1 INFO ") && after[2].contains(" 2 INFO "), "{after:#?}");
}
