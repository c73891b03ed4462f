//! Schedules that come, change and go, and services that go back to a revision before.

use super::*;

/// A service that was due hourly and is ready; and the run that it is to give way to, of another schedule.
fn hourly_service_that_is_put_anew(schedule: &str) -> (Machine, RunNo) {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut service = job("0 * * * *");
    service.life.restart = crate::job::Restart::Always;
    let by = Check::Tcp { address: "here".to_string() };
    let (every, look_timeout) = (Millis(100), Millis(100));
    service.life.ready = Some(Ready { by, every, look_timeout, within: None });
    machine.put(service.clone());
    let run = machine.world.live().next().expect("it is up").no;
    machine.fact(Fact::Ready { run });
    service.time.schedules = vec![schedule.to_string()];
    service.around.dir = Some("/other".to_string());
    machine.put(service);
    let new = machine.world.live().last().expect("a new one").no;
    (machine, new)
}

#[test]
fn a_job_that_is_gone_or_has_no_schedule_any_more_is_due_never() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    let mut bare = job("");
    bare.time.schedules.clear();
    machine.put(bare);
    assert_eq!(machine.world.due(), None);
    machine.put(job("0 * * * *"));
    assert_eq!(machine.world.due(), Some(Time((DAY_0 + HOUR) * NS)));
    let plan = Plan { jobs: vec![JobPlan::Remove(name("backup"))], ..Plan::default() };
    machine.wish(Wish::Plan(plan));
    assert_eq!(machine.world.due(), None);
    machine.look(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), Vec::<String>::new());
}

/// Found by seed 30 of the simulation: it was caught up for the time in which it had no schedule.
#[test]
fn a_schedule_that_comes_again_counts_from_now() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 2 * * *"));
    let mut bare = job("");
    bare.time.schedules.clear();
    machine.put(bare);
    machine.look(DAY_0 + 27 * HOUR);
    machine.put(job("0 2 * * *"));
    machine.restart();
    assert_eq!(machine.told(), Vec::<String>::new(), "written down, it fires nothing");
    assert_eq!(machine.world.due(), Some(Time((DAY_0 + 50 * HOUR) * NS)));
}

/// Found by seed 446 of the simulation: a clock that went back for less than a day leaves a daily job as it is, and the hourly
/// one that it becomes was silent for that long.
#[test]
fn a_job_that_becomes_more_frequent_is_not_silent_either() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 2 * * *"));
    machine.pass(DAY_0 + 26 * HOUR);
    machine.told();
    machine.look(DAY_0 + 6 * HOUR);
    machine.put(job("0 * * * *"));
    machine.restart();
    machine.pass(DAY_0 + 7 * HOUR);
    assert_eq!(machine.told(), ["7:00 run"]);
}

/// Found by seed 180 of the simulation: what came between a service's going back and the next look was lost.
#[test]
fn a_service_that_goes_back_goes_on_with_the_schedule_of_before() {
    let (mut machine, new) = hourly_service_that_is_put_anew("30 * * * *");
    machine.now = Time((DAY_0 + 3 * HOUR + 60) * NS);
    machine.end(new);
    assert_eq!(machine.world.defined(&name("backup")).map(|definition| definition.rev), Some(1), "it went back");
    machine.fact(Fact::Time);
    assert_eq!(machine.told(), ["1:00 2 missed to 2:00", "3:00 run"]);
}

/// A daily job may be silent for a day after a clock was set back; the hourly one that it goes back to may not.
#[test]
fn a_service_that_goes_back_to_more_is_not_silent() {
    let (mut machine, new) = hourly_service_that_is_put_anew("0 2 * * *");
    machine.look(DAY_0 + 20 * HOUR);
    machine.now = Time((DAY_0 + 3 * HOUR) * NS);
    machine.fact(Fact::Stepped { by: -17 * HOUR * NS });
    machine.told();
    machine.end(new);
    assert_eq!(machine.world.defined(&name("backup")).map(|definition| definition.rev), Some(1), "it went back");
    machine.look(DAY_0 + 4 * HOUR);
    assert_eq!(machine.told(), ["4:00 run"]);
}

/// A ledger of before there were ticks; or a service that went back to the revision before, which had other words.
#[test]
fn a_schedule_that_nobody_has_reckoned_with_counts_from_now() {
    let mut machine = Machine::at(DAY_0);
    machine.put(job("0 * * * *"));
    machine.standings.get_mut(&name("backup")).expect("it stands").ticks = None;
    machine.load();
    assert_eq!(machine.world.due(), Some(Time(0)), "it is looked at as soon as may be");
    machine.look(DAY_0 + 5 * HOUR);
    assert_eq!(machine.told(), Vec::<String>::new());
    machine.pass(DAY_0 + 6 * HOUR);
    assert_eq!(machine.told(), ["6:00 run"]);
}

#[test]
fn a_service_is_started_by_its_tick_and_left_as_it_is_when_it_is_up() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut service = job("0 * * * *");
    service.life.restart = crate::job::Restart::Always;
    machine.put(service);
    machine.wish(Wish::Down { job: name("backup") });
    assert!(machine.world.is_empty());
    machine.pass(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["1:00 run", "2:00 run"]);
    let runs: BTreeSet<RunNo> = machine.runs.values().filter(|run| run.outcome().is_none()).map(|run| run.no).collect();
    assert_eq!(runs.len(), 1);
}

#[test]
fn a_disabled_job_starts_nothing_that_it_needs() {
    let mut machine = Machine::at(DAY_0);
    machine.busy = true;
    let mut database = Job::new(name("database"), Program::Shell("true".into()));
    database.life.restart = crate::job::Restart::Always;
    machine.put(database);
    machine.wish(Wish::Down { job: name("database") });
    let mut needs = job("0 * * * *");
    needs.life.needs = vec![crate::job::Need { job: name("database"), restart: false }];
    machine.put(needs);
    machine.wish(Wish::Disable { job: name("backup") });
    machine.pass(DAY_0 + HOUR);
    assert_eq!(machine.told(), ["1:00 disabled"]);
    assert!(machine.world.is_empty());
    machine.wish(Wish::Enable { job: name("backup"), by: "uid:0".into() });
    machine.pass(DAY_0 + 2 * HOUR);
    assert_eq!(machine.told(), ["2:00 run"]);
    assert!(!machine.world.live().any(|run| run.job == name("database")), "somebody has stopped it");
}
