//! The rules of jobs, each by a few words of story. (That they hold together is the simulation's to show.)

use super::{NeedWhy, Reason, Rehearsal, World, differences};
use crate::effect::{Act, Effects};
use crate::fact::{Fact, Settled};
use crate::job::{After, AfterRule, Check, Job, Millis, Need, Overlap, Port, Program, Queue, Ready, Restart};
use crate::seen::{Close, How, Phase, Seen};
use crate::wish::{Granted, JobPlan, Plan, QueuePlan, QueueWish, StopKind, Wish};
use crate::{Exit, Hold, JobName, Mint, Refusal, Rest, Run, RunNo, RunState, StopWhy, Time, Trigger};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::{format, vec};

const NOON: i64 = 1_800_000_000_000_000_000;

/// A world with a keeper, and a clock to turn.
struct Stage {
    world: World,
    now: i64,
    rev: u64,
    fx: Effects,
    /// Whoever makes specs does not answer.
    slow: bool,
}

fn name(text: &str) -> JobName {
    JobName::parse(text).expect("a name")
}

fn job(text: &str) -> Job {
    Job::new(name(text), Program::Shell("true".to_string()))
}

fn service(text: &str, instances: u32) -> Job {
    let mut job = job(text);
    job.life.restart = Restart::Always;
    job.life.instances = instances;
    job.life.again = crate::job::Again::restarts();
    job.life.again.jitter_percent = 0;
    job
}

fn needing(mut job: Job, needed: &str) -> Job {
    job.life.needs.push(Need { job: name(needed), restart: false });
    job
}

impl Stage {
    fn new(jobs: impl IntoIterator<Item = Job>) -> Stage {
        let world = World::load("boot".to_string(), Mint::after(100), []);
        let mut stage = Stage { world, now: NOON, rev: 0, fx: Effects::default(), slow: false };
        stage.fact(Fact::Settled(Settled { keeper: Some(1), ..Settled::default() }));
        stage.plan(jobs).expect("a good plan");
        stage
    }
    fn plan(&mut self, jobs: impl IntoIterator<Item = Job>) -> Result<Granted, Refusal> {
        self.rev += 1;
        let put = |job| JobPlan::Put { job: Arc::new(job), rev: self.rev };
        let jobs = jobs.into_iter().map(put).collect();
        self.wish(Wish::Plan(Plan { jobs, ..Plan::default() }))
    }
    fn wish(&mut self, wish: Wish) -> Result<Granted, Refusal> {
        self.fx = Effects::default();
        let granted = self.world.wish(Time(self.now), wish, &mut self.fx);
        self.make();
        granted
    }
    fn fact(&mut self, fact: Fact) {
        self.fx = Effects::default();
        self.world.fact(Time(self.now), fact, &mut self.fx);
        self.make();
    }
    fn make(&mut self) {
        if !self.slow {
            self.world.make_at_once(Time(self.now), &mut self.fx);
        }
    }
    /// A daemon of the same boot, which finds nobody in the tables.
    fn restart_daemon(&mut self) {
        let boot = self.world.boot.clone();
        self.restart_machine();
        self.world.boot = boot;
        self.fact(Fact::Booted);
        self.fact(Fact::Settled(Settled { keeper: Some(1), ..Settled::default() }));
    }
    /// A daemon of the next boot, which has said nothing yet.
    fn restart_machine(&mut self) {
        let live: Vec<Run> = self.world.live().cloned().collect();
        let mut world = World::load(format!("{}, another", self.world.boot), Mint::after(self.world.minted()), live);
        let definitions = self.world.jobs.values().flat_map(|post| {
            post.definitions.iter().map(|(rev, job)| super::Definition { rev: *rev, job: job.clone() })
        });
        let queues = self.world.queues().cloned().collect::<Vec<_>>();
        world.know(self.world.standings().cloned(), definitions.collect::<Vec<_>>(), queues);
        self.world = world;
    }
    fn run_job(&mut self, job: &str) -> Result<Granted, Refusal> {
        self.wish(Wish::RunJob { job: name(job), by: "uid:0".to_string() })
    }
    fn up(&mut self, job: &str) {
        self.wish(Wish::Up { job: name(job), by: "uid:0".to_string() }).expect("granted");
    }
    fn down(&mut self, job: &str) {
        self.wish(Wish::Down { job: name(job) }).expect("granted");
    }
    /// The n-th oldest live run of the job.
    fn run(&self, job: &str, n: usize) -> &Run {
        self.runs(job).nth(n).expect("a run")
    }
    fn runs(&self, job: &str) -> impl Iterator<Item = &Run> {
        self.world.live().filter(move |run| run.job.as_str() == job)
    }
    fn words(&self, job: &str) -> Vec<&'static str> {
        self.runs(job).map(|run| run.state.word()).collect()
    }
    fn lives(&mut self, run: RunNo) {
        self.fact(Fact::Slot { run, seen: Seen::bare(Phase::Running) });
    }
    fn all_live(&mut self) {
        let starting = |run: &&Run| matches!(run.state, RunState::Starting { .. });
        let all: Vec<RunNo> = self.world.live().filter(starting).map(|run| run.no).collect();
        all.into_iter().for_each(|run| self.lives(run));
    }
    fn ends(&mut self, run: RunNo, code: u8) {
        let close = Close { how: How::Exit(Exit::Code(code)), at: Time(self.now), timed_out: false, oom: false };
        self.fact(Fact::Slot { run, seen: Seen::bare(Phase::Drained(close)) });
    }
    /// The oldest run of a job ends.
    fn first_ends(&mut self, job: &str, code: u8) {
        let run = self.run(job, 0).no;
        self.ends(run, code);
    }
    fn after_ms(&mut self, ms: u64) {
        self.now += Millis(ms).ns();
        self.fact(Fact::Time);
    }
    fn triggers(&self) -> Vec<String> {
        self.fx.changed.values().map(|run| format!("{} {:?}", run.job, run.trigger)).collect()
    }
}

#[test]
fn a_crash_loop_waits_longer_each_time_and_says_until_when() {
    let mut stage = Stage::new([service("web", 1)]);
    for (attempt, wait) in [(1, 500), (2, 1000), (3, 2000)] {
        stage.all_live();
        assert_eq!(stage.run("web", 0).attempt, attempt);
        stage.first_ends("web", 1);
        let until = Time(stage.now).plus(Millis(wait).ns());
        assert_eq!(stage.run("web", 0).state, RunState::Waiting { until, wait: Millis(wait) });
        assert_eq!(stage.world.due(), Some(until));
        let why = stage.world.why(stage.run("web", 0).no);
        assert!(matches!(why[..], [Reason::Backoff { until: at, .. }] if at == until), "{why:?}");
        stage.after_ms(wait - 1);
        assert_eq!(stage.words("web"), ["waiting"]);
        stage.after_ms(1);
        assert_eq!(stage.words("web"), ["starting"]);
        assert_eq!(stage.fx.make.len(), 1, "its spec is made when it begins");
    }
    stage.all_live();
    stage.now += Millis::seconds(61).ns();
    stage.first_ends("web", 1);
    assert_eq!(stage.run("web", 0).attempt, 1, "it was healthy for long enough");
}

#[test]
fn a_stop_that_was_asked_for_is_not_restarted_until_it_is_started_again() {
    let mut stage = Stage::new([service("web", 2)]);
    stage.all_live();
    let run = stage.run("web", 1).no;
    stage.wish(Wish::Stop { run, kind: StopKind::Ladder, why: StopWhy::Asked }).expect("granted");
    stage.ends(run, 0);
    assert_eq!(stage.words("web"), ["running"]);
    assert_eq!(stage.world.why_job(&name("web")), [Reason::Rests { slot: 1, rest: Rest::Stopped }]);
    stage.up("web");
    assert_eq!(stage.runs("web").map(|run| run.slot).collect::<Vec<_>>(), [0, 1]);
}

/// Its leader has exited, and somebody holds its pipes.
fn drains(stage: &mut Stage, run: RunNo, code: u8) {
    let close = Close { how: How::Exit(Exit::Code(code)), at: Time(stage.now), timed_out: false, oom: false };
    stage.fact(Fact::Slot { run, seen: Seen::bare(Phase::Exited(close)) });
}

#[test]
fn a_stop_does_not_explain_an_end_that_came_before_it() {
    let mut task = job("task");
    task.life.again = crate::job::Again { tries: Some(2), ..crate::job::Again::retries() };
    let mut stage = Stage::new([task, service("web", 1)]);
    stage.run_job("task").expect("granted");
    stage.all_live();
    for (text, follows) in [("task", true), ("web", false)] {
        let no = stage.run(text, 0).no;
        drains(&mut stage, no, 1);
        stage.wish(Wish::Stop { run: no, kind: StopKind::Ladder, why: StopWhy::Asked }).expect("granted");
        assert!(stage.fx.acts.contains(&Act::Stop { run: no, kind: StopKind::Ladder }), "what it left is ended");
        stage.ends(no, 1);
        assert_eq!(stage.fx.changed[&no].outcome(), Some(&crate::Outcome::Failed { code: 1 }), "{text}");
        assert_eq!(stage.runs(text).count(), usize::from(follows), "{text}");
    }
    let rest = &stage.world.standing(&name("web")).expect("it stands").rest;
    assert_eq!(*rest, BTreeMap::from([(0, Rest::Stopped)]));
    // And a start that comes before its pipes are closed takes that back.
    stage.up("web");
    stage.all_live();
    let no = stage.run("web", 0).no;
    drains(&mut stage, no, 1);
    stage.wish(Wish::Stop { run: no, kind: StopKind::Ladder, why: StopWhy::Asked }).expect("granted");
    stage.up("web");
    stage.ends(no, 1);
    assert_eq!(stage.words("web"), ["waiting"]);
}

#[test]
fn tries_of_a_service_are_used_up() {
    let mut web = service("web", 1);
    web.life.again.tries = Some(2);
    let mut stage = Stage::new([web]);
    stage.all_live();
    stage.first_ends("web", 1);
    stage.after_ms(500);
    stage.all_live();
    stage.first_ends("web", 1);
    assert!(stage.words("web").is_empty());
    assert_eq!(stage.world.why_job(&name("web")), [Reason::Rests { slot: 0, rest: Rest::GaveUp }]);
}

#[test]
fn scaling_down_frees_the_highest_slots_and_up_takes_the_lowest() {
    let mut stage = Stage::new([service("web", 3)]);
    stage.all_live();
    let scale = |n| Wish::Scale { job: name("web"), instances: n, by: "uid:0".to_string() };
    stage.wish(scale(1)).expect("granted");
    assert_eq!(stage.words("web"), ["running", "stopping", "stopping"]);
    for slot in [1, 1] {
        let run = stage.run("web", slot).no;
        stage.ends(run, 0);
    }
    stage.wish(scale(2)).expect("granted");
    assert_eq!(stage.runs("web").map(|run| run.slot).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn scaling_down_looks_at_each_run_so_many_times_and_not_at_all_for_each() {
    let scaled = |instances: u32, held: bool| {
        let web = service("web", instances);
        let web = if held { needing(web, "db") } else { web };
        let mut db = service("db", 1);
        db.disabled = true;
        let mut stage = Stage::new([db, web]);
        if !held {
            stage.all_live();
        }
        assert_eq!(stage.words("web").len(), instances as usize);
        stage.world.looked.set(0);
        stage.wish(Wish::Scale { job: name("web"), instances: 0, by: "uid:0".to_string() }).expect("granted");
        assert!(stage.runs("web").all(|run| run.state.word() == "stopping"));
        stage.world.looked.get()
    };
    for held in [true, false] {
        let (few, many) = (scaled(40, held), scaled(400, held));
        assert!(many <= few * 11, "{few} looks for 40 runs, {many} for 400");
    }
}

/// A start, or an end that another run follows, is no reason to go through all the others.
#[test]
fn starts_and_ends_of_many_runs_look_at_none_of_the_others() {
    let looks = |instances: u32| {
        let mut stage = Stage::new([service("web", instances)]);
        stage.world.looked.set(0);
        stage.all_live();
        let all: Vec<RunNo> = stage.runs("web").map(|run| run.no).collect();
        all.into_iter().take(10).for_each(|no| stage.ends(no, 1));
        assert_eq!(stage.words("web").iter().filter(|word| **word == "waiting").count(), 10);
        stage.world.looked.get()
    };
    assert_eq!((looks(20), looks(400)), (0, 0));
}

#[test]
fn what_was_said_by_hand_holds_until_a_definition_says_something_new_about_it() {
    let mut stage = Stage::new([service("web", 1)]);
    let scale = Wish::Scale { job: name("web"), instances: 3, by: "uid:0".to_string() };
    stage.wish(scale).expect("granted");
    stage.wish(Wish::Disable { job: name("web") }).expect("granted");
    let by_hand = |stage: &Stage| stage.world.standing(&name("web")).map(|now| (now.scale, now.disabled));
    let mut web = service("web", 1);
    web.description = "other words".to_string();
    stage.plan([web.clone()]).expect("planned");
    assert_eq!(by_hand(&stage), Some((Some(3), Some(true))), "nothing was said of either");
    web.life.instances = 2;
    stage.plan([web.clone()]).expect("planned");
    assert_eq!(by_hand(&stage), Some((None, Some(true))));
    web.disabled = true;
    stage.plan([web.clone()]).expect("planned");
    assert_eq!(by_hand(&stage), Some((None, None)));
    web.disabled = false;
    stage.plan([web.clone()]).expect("planned");
    let stays = stage.words("web").iter().filter(|word| **word != "stopping").count();
    assert_eq!(stays, 2, "as many as its definition says");
    stage.wish(Wish::Scale { job: name("web"), instances: 9, by: "uid:0".to_string() }).expect("granted");
    web.around.port = Some(Port::From(65_530));
    stage.plan([web]).expect("planned");
    assert_eq!(by_hand(&stage), Some((None, None)), "there are no nine ports from there on");
}

#[test]
fn nobody_scales_beyond_what_a_file_may_say() {
    let mut low = service("low", 1);
    low.around.port = Some(Port::From(65_530));
    let mut free = service("free", 1);
    free.around.port = Some(Port::Auto);
    let mut stage = Stage::new([service("web", 1), free, low]);
    stage.down("web");
    let scale = |job: &str, instances| Wish::Scale { job: name(job), instances, by: "uid:0".to_string() };
    for job in ["web", "free"] {
        let before = stage.world.standing(&name(job)).cloned();
        let refusal = stage.wish(scale(job, 10_001)).expect_err("too many");
        assert!(refusal.to_string().contains("10000 is the most"), "{refusal}");
        assert_eq!((stage.world.standing(&name(job)).cloned(), &stage.fx), (before, &Effects::default()));
    }
    let refusal = stage.wish(scale("low", 7)).expect_err("no such port");
    assert_eq!(refusal.to_string(), "7 instances from port 65530 on need port 65536, which there is not");
    assert_eq!(stage.words("low").len(), 1);
    stage.wish(scale("low", 6)).expect("up to the last port");
    stage.wish(scale("web", 10_000)).expect("as many as there may be");
    stage.wish(scale("low", 0)).expect("none at all");
}

#[test]
fn what_is_needed_goes_up_first_and_down_last() {
    let mut stage = Stage::new([service("db", 1), needing(service("web", 1), "db")]);
    let db = stage.run("db", 0).no;
    assert_eq!(stage.run("web", 0).state, RunState::Held { on: Hold::Needs(vec![name("db")]) });
    let why = stage.world.why(stage.run("web", 0).no);
    let not_yet = NeedWhy::NotYet(stage.run("db", 0).id());
    assert_eq!(why, [Reason::Needs { job: name("db"), because: not_yet }]);
    stage.lives(db);
    assert_eq!(stage.words("web"), ["starting"]);
    stage.all_live();
    stage.down("db");
    assert_eq!((stage.words("db"), stage.words("web")), (vec!["running"], vec!["stopping"]));
    let why = stage.world.why(db);
    assert_eq!(why, [Reason::GoesAfter { jobs: vec![name("web")] }]);
    stage.first_ends("web", 0);
    assert_eq!((stage.words("db"), stage.words("web")), (vec!["stopping"], vec!["held"]));
    stage.first_ends("db", 0);
    stage.up("web");
    assert_eq!((stage.words("db"), stage.words("web")), (vec!["starting"], vec!["held"]), "it pulls what it needs");
}

#[test]
fn what_somebody_has_stopped_is_started_by_a_person_and_not_by_a_rule() {
    let mut stage = Stage::new([service("db", 2), needing(job("report"), "db")]);
    stage.all_live();
    let stopped = stage.run("db", 0).no;
    stage.wish(Wish::Stop { run: stopped, kind: StopKind::Ladder, why: StopWhy::Asked }).expect("granted");
    stage.ends(stopped, 0);
    stage.wish(Wish::Changed { job: name("report"), path: "file".into() }).expect("granted");
    assert_eq!(stage.words("db"), ["running"], "that slot stays empty");
    stage.down("db");
    stage.first_ends("db", 0);
    stage.first_ends("report", 0);
    stage.wish(Wish::Changed { job: name("report"), path: "file".into() }).expect("granted");
    assert_eq!(stage.words("report"), ["held"]);
    assert_eq!(stage.words("db").len(), 0);
    let held = stage.run("report", 0).no;
    stage.wish(Wish::Stop { run: held, kind: StopKind::Ladder, why: StopWhy::Asked }).expect("granted");
    stage.run_job("report").expect("granted");
    assert_eq!(stage.words("db"), ["starting", "starting"]);
}

#[test]
fn a_needed_job_that_is_run_is_ready_when_it_has_ended_ok() {
    let mut stage = Stage::new([job("migrate"), needing(service("web", 1), "migrate")]);
    assert_eq!(stage.run("migrate", 0).trigger, Trigger::Dependency);
    stage.all_live();
    stage.first_ends("migrate", 1);
    assert_eq!(stage.words("web"), ["held"]);
    stage.run_job("migrate").expect("granted");
    stage.all_live();
    stage.first_ends("migrate", 0);
    assert_eq!(stage.words("web"), ["starting"]);
}

#[test]
fn a_task_is_skipped_when_the_task_that_it_needs_has_failed_for_good() {
    let mut tried = job("tried");
    tried.life.again.tries = Some(2);
    let mut stage = Stage::new([
        tried,
        needing(job("main"), "tried"),
        needing(job("last"), "main"),
        needing(service("web", 1), "tried"),
    ]);
    stage.run_job("last").expect("granted");
    assert_eq!((stage.words("main"), stage.words("last")), (vec!["held"], vec!["held"]));
    stage.all_live();
    stage.first_ends("tried", 1);
    assert_eq!((stage.words("tried"), stage.words("main")), (vec!["waiting"], vec!["held"]), "it is tried again");
    stage.after_ms(3_600_000);
    stage.all_live();
    let (failed, main, last) = (stage.run("tried", 0).id(), stage.run("main", 0).no, stage.run("last", 0).no);
    stage.first_ends("tried", 1);
    let skipped = crate::Outcome::Skipped(crate::SkipWhy::Dependency);
    for no in [main, last] {
        assert_eq!(stage.fx.changed.get(&no).and_then(Run::outcome), Some(&skipped));
    }
    let words = format!("{stage_events:?}", stage_events = stage.fx.events);
    assert!(words.contains(&format!("{failed} ended failed(1), and main needs tried to end ok")), "{words}");
    assert_eq!(stage.words("web"), ["held"], "a service is to be up, and waits on");
    stage.run_job("main").expect("granted");
    assert_eq!((stage.words("tried"), stage.words("main")), (vec!["starting"], vec!["held"]), "it is run anew");
}

#[test]
fn a_task_that_gave_way_with_what_it_needs_is_asked_for_again_by_who_waits_for_it() {
    let mut stage =
        Stage::new([service("db", 1), needing(job("migrate"), "db"), needing(service("web", 1), "migrate")]);
    stage.all_live();
    stage.all_live();
    assert_eq!((stage.words("migrate"), stage.words("web")), (vec!["running"], vec!["held"]));
    stage.down("db");
    assert_eq!(stage.words("migrate"), ["stopping"]);
    stage.first_ends("migrate", 143);
    assert_eq!((stage.words("migrate"), stage.words("web")), (vec!["held"], vec!["held"]));
    stage.first_ends("db", 143);
    stage.up("db");
    stage.all_live();
    assert_eq!(stage.words("migrate"), ["starting"]);
    stage.all_live();
    stage.first_ends("migrate", 0);
    assert_eq!(stage.words("web"), ["starting"]);
}

/// Seed 144071242 of the simulation, in short.
#[test]
fn who_is_asked_for_again_stands_in_the_line_before_a_place_is_given_away() {
    let queued = |text: &str, priority| {
        let mut job = job(text);
        job.gates.queue = Some("q".into());
        job.gates.priority = priority;
        job
    };
    let (mut first, mut mends) = (queued("first", 5), queued("mends", 0));
    first.chain.error = vec![name("mends")];
    mends.gates.overlap = Overlap::Replace;
    let web = needing(needing(service("web", 1), "first"), "mends");
    let mut stage = Stage::new([first, mends, queued("other", 1), web]);
    stage.run_job("other").expect("granted");
    stage.all_live();
    assert_eq!((stage.words("first"), stage.words("mends")), (vec!["running"], vec!["queued"]));
    stage.first_ends("first", 1);
    // The run of `mends` that waited gives way to the one of the chain, so `web` asks again for all that it needs.
    assert_eq!((stage.words("first"), stage.words("other")), (vec!["starting"], vec!["queued"]));
}

#[test]
fn what_is_adopted_cannot_have_the_name_of_a_defined_job() {
    let mut stage = Stage::new([job("fd")]);
    let new = |job: &str| crate::wish::NewRun {
        job: name(job),
        trigger: Trigger::Adopt { by: "uid:0".to_string() },
        command: Vec::new(),
        directory: String::new(),
        timeout_ms: None,
        tags: Vec::new(),
        tty: false,
        latch: None,
        serial: None,
        no_overlap: false,
    };
    let adopt = |job: &str| Wish::Adopt {
        no: RunNo::parse("00000001").expect("a number"),
        new: std::boxed::Box::new(new(job)),
        pid: 7,
        started_at: Time(1),
    };
    assert_eq!(stage.wish(adopt("fd")).expect_err("refused"), Refusal::IsDefined { job: name("fd") });
    stage.wish(adopt("other")).expect("granted");
}

#[test]
fn who_finds_the_line_full_is_told_so() {
    let mut queued = job("q");
    queued.gates.overlap = Overlap::Queue(2);
    let mut stage = Stage::new([queued]);
    for _ in 0..3 {
        stage.run_job("q").expect("granted");
    }
    let (live, refused) = (stage.run("q", 0).id(), stage.run_job("q").expect_err("refused"));
    assert_eq!(refused, Refusal::LineFull { live: live.clone(), most: 2 });
    assert_eq!(refused.to_string(), "2 runs of the same job wait already, and `overlap_max` lets no more wait");
    assert_eq!(
        stage.world.rehearse(Time(stage.now), &name("q"), "uid:0".to_string()),
        Err(Refusal::LineFull { live, most: 2 })
    );
}

#[test]
fn a_circle_of_needs_is_refused_and_nothing_of_the_plan_is_done() {
    let mut stage = Stage::new([job("a")]);
    let refused = stage.plan([needing(service("x", 1), "y"), needing(service("y", 1), "x")]);
    assert_eq!(refused.expect_err("refused").to_string(), "these jobs need each other: x → y → x");
    assert!(stage.fx.is_empty());
    let refused = stage.plan([needing(service("x", 1), "nobody")]);
    assert_eq!(refused.expect_err("refused").to_string(), "x names nobody in `needs`, and there is no such job");
    assert_eq!(stage.world.standings().count(), 1);
}

fn slow(dir: &str) -> Job {
    let mut web = service("web", 2);
    web.around.dir = Some(dir.to_string());
    let by = Check::Tcp { address: "here".to_string() };
    let within = Some(Millis::seconds(10));
    web.life.ready = Some(Ready { by, every: Millis(100), look_timeout: Millis(100), within });
    web
}

#[test]
fn a_new_definition_goes_round_one_by_one_and_back_when_it_is_not_ready() {
    let mut stage = Stage::new([slow("/old")]);
    stage.all_live();
    for n in [0, 1] {
        let run = stage.run("web", n).no;
        stage.fact(Fact::Ready { run });
    }
    stage.plan([slow("/new")]).expect("a good plan");
    assert_eq!(stage.words("web"), ["stopping", "running"]);
    stage.first_ends("web", 0);
    assert_eq!(stage.words("web"), ["running", "starting"]);
    assert_eq!(stage.run("web", 1).terms.rev, 2);
    stage.all_live();
    assert_eq!(stage.words("web"), ["running", "running"], "the other waits until this one is ready");
    stage.after_ms(10_000);
    assert_eq!(stage.run("web", 1).state, RunState::Stopping { why: StopWhy::NotReady, kind: StopKind::Ladder });
    let run = stage.run("web", 1).no;
    stage.ends(run, 0);
    assert_eq!(stage.fx.changed[&run].outcome().expect("ended").to_string(), "unhealthy(not-ready)");
    assert_eq!(stage.runs("web").map(|run| run.terms.rev).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(stage.world.why_job(&name("web")), [Reason::WentBack { failed: 2 }]);
    assert_eq!(stage.world.defined(&name("web")).expect("defined").rev, 1);
}

/// Else no plan could be made any more, for a definition that stands in no file.
#[test]
fn nobody_goes_back_to_what_does_not_fit_any_more() {
    let mut stage = Stage::new([service("db", 1), needing(slow("/old"), "db")]);
    for job in ["db", "web"] {
        stage.all_live();
        for run in stage.runs(job).map(|run| run.no).collect::<Vec<_>>() {
            stage.fact(Fact::Ready { run });
        }
    }
    stage.plan([slow("/new")]).expect("a good plan");
    stage
        .wish(Wish::Plan(Plan { jobs: vec![JobPlan::Remove(name("db"))], ..Plan::default() }))
        .expect("nobody needs it");
    stage.first_ends("db", 0);
    stage.first_ends("web", 0);
    stage.all_live();
    stage.after_ms(10_000);
    let run = stage.runs("web").find(|run| run.terms.rev == 2).expect("it was tried").no;
    stage.ends(run, 0);
    assert!(
        stage.fx.events.iter().any(|event| matches!(&event.what, crate::effect::What::Note { kind: "job.stays", .. }))
    );
    assert_eq!(stage.world.defined(&name("web")).expect("defined").rev, 2);
    assert_eq!(stage.words("web"), ["running", "waiting"], "what serves by the former goes on");
    stage.plan([service("other", 1)]).expect("plans can still be made");
}

#[test]
fn a_new_definition_is_done_when_all_are_ready() {
    let mut stage = Stage::new([service("web", 2)]);
    stage.all_live();
    let mut web = service("web", 2);
    web.around.umask = Some(0o77);
    stage.plan([web]).expect("a good plan");
    for _ in 0..2 {
        stage.first_ends("web", 0);
        stage.all_live();
    }
    assert_eq!(stage.runs("web").map(|run| run.terms.rev).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(stage.world.standing(&name("web")).expect("stands").former, None);
    let mut tagged = service("web", 2);
    tagged.around.umask = Some(0o77);
    tagged.tags.push("app".to_string());
    stage.plan([tagged]).expect("a good plan");
    assert_eq!(stage.words("web"), ["running", "running"], "a tag restarts nothing");
}

#[test]
fn fifty_who_run_the_same_job_make_one_run_and_learn_its_name() {
    let mut stage = Stage::new([job("backup")]);
    let answers: Vec<_> = (0..50).map(|_| stage.run_job("backup")).collect();
    let live = stage.run("backup", 0).id();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Refusal::Overlap { live: live.clone() })).count(), 49);
    stage.wish(Wish::Changed { job: name("backup"), path: "f".to_string() }).expect("granted");
    let skipped = stage.fx.changed.values().next().expect("a record");
    assert_eq!(skipped.outcome().expect("ended").to_string(), "skipped(overlap)");
    assert_eq!(skipped.trigger, Trigger::Watch { path: "f".to_string() });
}

#[test]
fn overlap_replace_starts_when_the_one_before_has_ended() {
    let mut sync = job("sync");
    sync.gates.overlap = Overlap::Replace;
    let mut stage = Stage::new([sync]);
    stage.run_job("sync").expect("granted");
    stage.all_live();
    stage.wish(Wish::Changed { job: name("sync"), path: "f".to_string() }).expect("granted");
    assert_eq!(stage.words("sync"), ["stopping", "queued"]);
    assert!(stage.run_job("sync").is_err(), "by hand a full job is refused");
    stage.first_ends("sync", 0);
    assert_eq!(stage.words("sync"), ["starting"]);
}

#[test]
fn what_began_when_all_were_allowed_at_once_is_waited_for_when_they_are_not_any_more() {
    let with = |overlap: Overlap| {
        let mut job = job("a");
        job.gates.overlap = overlap;
        job
    };
    for overlap in [Overlap::Queue(3), Overlap::Replace] {
        let mut stage = Stage::new([with(Overlap::Allow)]);
        stage.run_job("a").expect("granted");
        stage.run_job("a").expect("granted");
        stage.all_live();
        stage.plan([with(overlap)]).expect("a good plan");
        stage.wish(Wish::Changed { job: name("a"), path: "file".into() }).expect("granted");
        let new = stage.runs("a").last().expect("a run").no;
        assert_eq!(stage.world.get(new).expect("live").state, RunState::Queued, "{overlap:?}");
        stage.first_ends("a", 0);
        assert_eq!(stage.world.get(new).expect("live").state, RunState::Queued, "one of them goes still");
        stage.first_ends("a", 0);
        assert_eq!(stage.words("a"), ["starting"], "{overlap:?}");
    }
}

#[test]
fn a_disabled_job_records_a_skipped_run() {
    let mut stage = Stage::new([job("backup")]);
    stage.wish(Wish::Disable { job: name("backup") }).expect("granted");
    let Ok(Granted::Run(run)) = stage.run_job("backup") else { panic!("it is recorded") };
    assert_eq!(run.outcome().expect("ended").to_string(), "skipped(disabled)");
    assert_eq!(stage.world.why_job(&name("backup")), [Reason::Disabled { by_hand: true }]);
}

#[test]
fn a_run_by_hand_is_rehearsed_by_the_rules_and_nothing_comes_of_it() {
    let mut sync = job("sync");
    sync.gates.overlap = Overlap::Queue(9);
    let mut held = needing(job("held"), "db");
    held.gates.latch = Some("go".to_string());
    held.gates.queue = Some("heavy".to_string());
    held.gates.mutex = vec!["m".to_string(), "free".to_string()];
    let mut holder = job("holder");
    holder.gates.mutex = vec!["m".to_string()];
    let mut stage = Stage::new([job("one"), sync, held, holder, service("db", 1)]);
    stage.all_live();
    stage.down("db");
    stage.first_ends("db", 0);
    let pause = |how| Wish::Queue { name: "heavy".to_string(), how };
    stage.wish(pause(QueueWish::Pause)).expect("granted");
    let rehearse = |stage: &Stage, job: &str| stage.world.rehearse(Time(stage.now), &name(job), "uid:0".to_string());
    assert_eq!(rehearse(&stage, "one"), Ok(Rehearsal::Runs(vec![])));
    let before = stage.world.clone();
    stage.run_job("holder").expect("granted");
    let holds = stage.run("holder", 0).id();
    let [latch, needs, mutex, paused] = &match rehearse(&stage, "held") {
        Ok(Rehearsal::Runs(reasons)) => <[Reason; 4]>::try_from(reasons).expect("four"),
        other => panic!("{other:?}"),
    };
    assert_eq!(*latch, Reason::Latch { latch: "go".to_string() });
    assert_eq!(*needs, Reason::Needs { job: name("db"), because: NeedWhy::GoesFirst });
    assert_eq!(*mutex, Reason::Mutex { mutex: "m".to_string(), holders: vec![holds], before: 0 });
    assert_eq!(*paused, Reason::Paused { queue: "heavy".to_string() });
    stage.first_ends("holder", 0);
    assert_eq!(stage.world.standing(&name("db")), before.standing(&name("db")), "nothing was started");
    assert_eq!(stage.world.len(), 0);

    stage.run_job("one").expect("granted");
    let live = stage.run("one", 0).id();
    assert_eq!(rehearse(&stage, "one"), Err(Refusal::Overlap { live }));
    stage.run_job("sync").expect("granted");
    let holders = vec![stage.run("sync", 0).id()];
    let turn = Reason::Turn { holders, most: 1, before: 0 };
    assert_eq!(rehearse(&stage, "sync"), Ok(Rehearsal::Runs(vec![turn])));
    stage.wish(Wish::Disable { job: name("sync") }).expect("granted");
    let skipped = Ok(Rehearsal::Ends(crate::Outcome::Skipped(crate::SkipWhy::Disabled)));
    assert_eq!(rehearse(&stage, "sync"), skipped);
    assert!(matches!(rehearse(&stage, "db"), Err(Refusal::IsService { .. })));
}

#[test]
fn a_large_run_is_not_starved_by_small_ones() {
    let sized = |text: &str, cpu: u32| {
        let mut job = job(text);
        job.gates.queue = Some("heavy".to_string());
        job.gates.need = BTreeMap::from([("cpu".to_string(), cpu)]);
        job.gates.overlap = Overlap::Allow;
        job
    };
    let mut stage = Stage::new([]);
    let slots = BTreeMap::from([("cpu".to_string(), 4)]);
    let queues = vec![QueuePlan::Put(Queue { name: "heavy".to_string(), slots, paused: false })];
    stage.wish(Wish::Plan(Plan { queues, ..Plan::default() })).expect("a queue");
    stage.plan([sized("small", 1), sized("large", 4)]).expect("a good plan");
    for job in ["small", "small", "large", "small"] {
        stage.run_job(job).expect("granted");
    }
    assert_eq!(stage.words("small"), ["starting", "starting", "queued"]);
    let (large, last) = (stage.run("large", 0), stage.run("small", 2));
    assert_eq!(
        stage.world.why(last.no),
        [Reason::Behind { queue: "heavy".to_string(), first: large.id() }],
        "it would fit, and does not overtake"
    );
    let why = stage.world.why(large.no);
    assert!(matches!(&why[..], [Reason::Queue { need: 4, free: 2, slots: 4, holders, .. }] if holders.len() == 2));
    stage.all_live();
    stage.first_ends("small", 0);
    stage.first_ends("small", 0);
    assert_eq!((stage.words("large"), stage.words("small")), (vec!["starting"], vec!["queued"]));
    let refused = stage.plan([sized("huge", 5)]).expect_err("refused").to_string();
    assert_eq!(refused, "huge needs 5 of \"cpu\", and the queue \"heavy\" has 4 in all");
    let less = QueueWish::Slots(BTreeMap::from([("cpu".to_string(), 3)]));
    assert!(stage.wish(Wish::Queue { name: "heavy".to_string(), how: less }).is_err(), "nothing becomes impossible");
}

#[test]
fn who_is_behind_one_that_its_mutex_keeps_goes_on_as_soon_as_that_is_so() {
    let queued = |text: &str, slots: u32| {
        let mut job = job(text);
        job.gates.queue = Some("q".into());
        job.gates.need = BTreeMap::from([("slots".to_string(), slots)]);
        job
    };
    let mut large = queued("large", 2);
    large.gates.mutex = vec!["m".into()];
    let mut holder = job("holder");
    holder.gates.mutex = vec!["m".into()];
    holder.gates.latch = Some("l".into());
    holder.gates.priority = 1;
    let mut stage = Stage::new([]);
    let slots = BTreeMap::from([("slots".to_string(), 2)]);
    let queues = vec![QueuePlan::Put(Queue { name: "q".into(), slots, paused: false })];
    stage.wish(Wish::Plan(Plan { queues, ..Plan::default() })).expect("a good plan");
    stage.plan([queued("first", 1), large, queued("small", 1), holder]).expect("a good plan");
    for job in ["holder", "first", "large", "small"] {
        stage.run_job(job).expect("granted");
    }
    assert_eq!(stage.words("small"), ["queued"], "the large one is hungry, and goes first");
    stage.wish(Wish::Release { latch: "l".into() }).expect("released");
    assert_eq!(stage.words("large"), ["queued"], "its mutex is taken");
    assert_eq!(stage.words("small"), ["starting"]);
}

#[test]
fn a_chain_goes_on_and_never_round() {
    let mut a = job("a");
    a.chain.next = vec![name("b")];
    let mut b = job("b");
    b.chain.next = vec![name("a")];
    b.chain.error = vec![name("page")];
    let mut stage = Stage::new([a, b, job("page")]);
    stage.run_job("a").expect("granted");
    stage.all_live();
    stage.first_ends("a", 0);
    stage.all_live();
    stage.first_ends("b", 0);
    assert!(stage.triggers().iter().any(|trigger| trigger.starts_with("a Chain")));
    let again = stage.fx.changed.values().find(|run| run.job.as_str() == "a").expect("a record");
    assert_eq!(again.outcome().expect("ended").to_string(), "skipped(loop)");
    stage.run_job("b").expect("granted");
    stage.all_live();
    stage.first_ends("b", 3);
    assert_eq!(stage.words("page"), ["starting"]);
}

#[test]
fn a_job_after_others_runs_once_a_round() {
    for (rule, ends, runs) in [
        (AfterRule::AllOk, &[("a", 0), ("a", 0), ("b", 0), ("b", 0), ("a", 0)][..], 2),
        (AfterRule::AllOk, &[("a", 1), ("b", 0), ("a", 0)][..], 1),
        (AfterRule::AllDone, &[("a", 1), ("b", 0), ("b", 0)][..], 1),
        (AfterRule::Any, &[("a", 0), ("b", 0), ("a", 1), ("b", 0)][..], 2),
        (AfterRule::Any, &[("a", 0), ("a", 0)][..], 2),
    ] {
        let mut joined = job("joined");
        joined.gates.overlap = Overlap::Allow;
        joined.chain.after = Some(After { jobs: vec![name("a"), name("b")], rule });
        let mut stage = Stage::new([job("a"), job("b"), joined]);
        for (job, code) in ends {
            stage.run_job(job).expect("granted");
            let run = stage.run(job, 0).no;
            stage.lives(run);
            stage.ends(run, *code);
        }
        assert_eq!(stage.runs("joined").count(), runs, "{rule:?} of {ends:?}");
    }
}

#[test]
fn after_a_reboot_what_was_up_is_up_and_what_had_not_begun_begins_again() {
    let mut backup = job("backup");
    backup.gates.latch = Some("go".to_string());
    let mut stage = Stage::new([service("web", 1), backup]);
    stage.run_job("backup").expect("granted");
    stage.all_live();
    let standings: Vec<_> = stage.world.standings().cloned().collect();
    let definitions: Vec<_> = ["web", "backup"].map(|job| stage.world.defined(&name(job)).expect("defined")).into();
    let live: Vec<Run> = stage.world.live().cloned().collect();
    let mut world = World::load("another".to_string(), Mint::after(stage.world.minted()), live);
    world.know(standings, definitions, []);
    stage.world = world;
    stage.fact(Fact::Booted);
    let web = stage.run("web", 0);
    assert_eq!((web.trigger.clone(), web.attempt, web.state.word()), (Trigger::Boot, 1, "starting"));
    assert_eq!(stage.run("backup", 0).state, RunState::Held { on: Hold::Latch("go".to_string()) });
    assert_eq!(stage.run("backup", 0).boot, "another");
}

#[test]
fn what_is_needed_is_run_again_for_whoever_waits_when_it_is_not_done_any_more() {
    let again = crate::job::Again { tries: Some(2), delay: Millis(8_000), ..crate::job::Again::retries() };
    let mut report = needing(job("report"), "prep");
    report.life.again = again;
    let mut stage = Stage::new([job("prep"), report.clone()]);
    stage.run_job("report").expect("granted");
    stage.all_live();
    stage.first_ends("prep", 0);
    stage.all_live();
    stage.first_ends("report", 1);
    assert_eq!(stage.words("report"), ["waiting"]);
    stage.restart_machine();
    stage.fact(Fact::Booted);
    stage.fact(Fact::Settled(Settled { keeper: Some(1), ..Settled::default() }));
    assert_eq!(stage.words("prep").len(), 0, "its next try needs it, and is not due yet");
    stage.after_ms(60_000);
    assert_eq!((stage.words("report"), stage.words("prep")), (vec!["held"], vec!["starting"]));
    stage.all_live();
    stage.first_ends("prep", 0);
    assert_eq!(stage.words("report"), ["starting"]);
    stage.all_live();
    stage.first_ends("report", 0);

    // In the line of a paused queue, and another definition; and after a boot.
    report.gates.queue = Some("q".into());
    stage.plan([report]).expect("a good plan");
    stage.wish(Wish::Queue { name: "q".into(), how: QueueWish::Pause }).expect("granted");
    stage.run_job("report").expect("granted");
    assert_eq!((stage.words("report"), stage.words("prep").len()), (vec!["queued"], 0));
    let mut other = job("prep");
    other.around.dir = Some("/other".into());
    stage.plan([other]).expect("a good plan");
    assert_eq!((stage.words("report"), stage.words("prep")), (vec!["queued"], vec!["starting"]));
    stage.all_live();
    stage.first_ends("prep", 0);
    stage.restart_machine();
    stage.fact(Fact::Booted);
    assert_eq!((stage.words("report"), stage.words("prep")), (vec!["queued"], vec!["starting"]));
}

#[test]
fn what_ended_in_the_boot_before_makes_nobody_ready_in_this_one() {
    let mut report = needing(needing(job("report"), "prep"), "web");
    report.gates.mutex = vec!["m".into()];
    let mut holder = job("holder");
    holder.gates.mutex = vec!["m".into()];
    let mut stage = Stage::new([job("prep"), service("web", 1), report, holder]);
    stage.run_job("prep").expect("granted");
    stage.all_live();
    stage.first_ends("prep", 0);
    stage.run_job("holder").expect("granted");
    stage.all_live();
    stage.run_job("report").expect("granted");
    assert_eq!(stage.words("report"), ["queued"]);
    stage.restart_machine();
    let held = stage.run("holder", 0).no;
    stage.ends(held, 0);
    assert_eq!(stage.words("report"), ["queued"], "its place is free, and what it needs is not ready in this boot");
    stage.fact(Fact::Booted);
    assert_eq!(stage.words("report"), ["queued"]);
}

#[test]
fn a_set_clock_makes_no_wait_longer_or_shorter() {
    for hours in [-5, 5] {
        let mut stage = Stage::new([service("web", 1)]);
        stage.all_live();
        stage.first_ends("web", 1);
        let by = hours * 3600 * 1_000_000_000;
        stage.now += by;
        stage.fact(Fact::Stepped { by });
        stage.after_ms(499);
        assert_eq!(stage.words("web"), ["waiting"]);
        stage.after_ms(1);
        assert_eq!(stage.words("web"), ["starting"]);
    }
    // Nobody said so: it is bounded all the same.
    let mut stage = Stage::new([service("web", 1)]);
    stage.all_live();
    stage.first_ends("web", 1);
    stage.now -= Millis::seconds(3600).ns();
    stage.fact(Fact::Time);
    assert_eq!(stage.world.due(), Some(Time(stage.now).plus(Millis(500).ns())));
}

/// Its leader's end is known; that others still hold its pipes makes it neither older nor younger.
#[test]
fn a_clock_that_is_set_while_a_run_drains_does_not_change_whether_it_was_healthy() {
    for (lived, attempt) in [(11_000, 1), (9_000, 4)] {
        for hours in [-5, 5] {
            let mut service = service("web", 1);
            service.life.again.healthy_after = Millis(10_000);
            let mut stage = Stage::new([service]);
            for _ in 0..2 {
                stage.all_live();
                stage.first_ends("web", 1);
                stage.after_ms(60_000);
            }
            stage.all_live();
            stage.after_ms(lived);
            let (run, at) = (stage.run("web", 0).no, Time(stage.now));
            let close = Close { how: How::Exit(Exit::Code(1)), at, timed_out: false, oom: false };
            stage.fact(Fact::Slot { run, seen: Seen::bare(Phase::Exited(close.clone())) });
            assert_eq!(stage.words("web"), ["draining"]);
            let by = hours * 3600 * 1_000_000_000;
            stage.now += by;
            stage.fact(Fact::Stepped { by });
            let next = stage.world.outlook(Time(stage.now), stage.run("web", 0)).and_then(|outlook| outlook.again);
            assert_eq!(next.map(|(attempt, _)| attempt), Some(attempt), "{lived} ms, {hours} h");
            stage.fact(Fact::Slot { run, seen: Seen::bare(Phase::Drained(close)) });
            assert_eq!(stage.run("web", 0).attempt, attempt, "{lived} ms, {hours} h");
        }
    }
}

#[test]
fn a_removed_service_goes_and_is_forgotten_when_it_is_gone() {
    let mut stage = Stage::new([service("web", 1)]);
    stage.all_live();
    let jobs = vec![JobPlan::Remove(name("web"))];
    stage.wish(Wish::Plan(Plan { jobs, ..Plan::default() })).expect("granted");
    assert_eq!(stage.words("web"), ["stopping"]);
    assert!(matches!(stage.fx.acts[..], [Act::Stop { .. }]));
    stage.first_ends("web", 0);
    assert_eq!(stage.fx.standings, BTreeMap::from([(name("web"), None)]));
    assert_eq!(stage.world.standings().count(), 0);
}

/// Whoever adds a field to a definition comes by here, and says in plan.rs what follows from it.
#[test]
fn every_part_of_a_definition_has_a_key() {
    let before = job("a");
    type Change = fn(&mut Job);
    let changes: [(&str, Change); 12] = [
        ("command", |job| job.program = Program::Exec(vec!["x".to_string()])),
        ("env_pass", |job| job.around.env_pass.push("X".to_string())),
        ("limits", |job| job.around.limits.pids = Some(7)),
        ("linger", |job| job.life.linger = Millis(1)),
        ("rolling", |job| job.life.rolling = false),
        ("again_on", |job| job.life.again.on.lost = true),
        ("need", |job| job.gates.need = BTreeMap::from([("cpu".to_string(), 1)])),
        ("error", |job| job.chain.error.push(name("b"))),
        ("catch_up", |job| job.time.catch_up_max = 1),
        ("keep.runs", |job| job.keep.runs = Some(1)),
        ("watch", |job| job.watch.push("*".to_string())),
        ("disabled", |job| job.disabled = true),
    ];
    for (key, change) in changes {
        let mut after = before.clone();
        change(&mut after);
        assert_eq!(differences(&before, &after).iter().map(|d| d.key).collect::<Vec<_>>(), [key]);
    }
    // A new field breaks these lines.
    let Job {
        name: _,
        description: _,
        tags: _,
        disabled: _,
        program: _,
        around,
        life,
        gates,
        chain,
        time,
        keep,
        watch: _,
    } = before;
    let crate::job::Around {
        dir: _,
        env: _,
        env_files: _,
        env_pass: _,
        credentials: _,
        user: _,
        group: _,
        umask: _,
        nice: _,
        no_new_privileges: _,
        limits: _,
        port: _,
        sockets: _,
        tty: _,
    } = around;
    let crate::job::Life {
        restart: _,
        instances: _,
        again,
        success: _,
        ready: _,
        alive: _,
        needs: _,
        stop: _,
        timeout: _,
        linger: _,
        rolling: _,
    } = life;
    let crate::job::Again { tries: _, delay: _, backoff: _, max_delay: _, jitter_percent: _, healthy_after: _, on: _ } =
        again;
    let crate::job::Gates { overlap: _, mutex: _, queue: _, priority: _, need: _, latch: _ } = gates;
    let crate::job::Chain { next: _, error: _, after: _ } = chain;
    let crate::job::Timing {
        schedules: _,
        timezone: _,
        dst: _,
        catch_up: _,
        catch_up_window: _,
        catch_up_max: _,
        catch_up_delay: _,
        jitter: _,
        jitter_mode: _,
        calendars: _,
        shift: _,
    } = time;
    let crate::job::Keep { age: _, bytes: _, run_bytes: _, runs: _, on_full: _ } = keep;
}

#[test]
fn the_end_of_a_server_with_its_runs_cancels_what_a_job_has_not_started() {
    for (stop_runs, cancel) in [(true, true), (true, false), (false, false)] {
        let mut queued = job("queued");
        queued.gates.overlap = Overlap::Queue(5);
        let mut tried = job("tried");
        tried.life.again.tries = Some(5);
        let mut held = job("held");
        held.gates.latch = Some("go".into());
        let mut stage = Stage::new([queued, tried, held, service("web", 1)]);
        for job in ["queued", "queued", "tried", "held"] {
            stage.run_job(job).expect("granted");
        }
        stage.up("web");
        stage.all_live();
        stage.first_ends("tried", 1);
        stage.first_ends("web", 1);
        assert_eq!(stage.words("queued"), ["running", "queued"]);
        let waiting = ["tried", "held", "web"].map(|job| stage.words(job).join(" "));
        assert_eq!(waiting, ["waiting", "held", "waiting"]);
        let Ok(Granted::Farewell(farewell)) = stage.wish(Wish::Shutdown { stop_runs, cancel }) else {
            panic!("no farewell")
        };
        let jobs = |ids: &[crate::RunId]| ids.iter().map(|id| id.job.to_string()).collect::<Vec<_>>();
        let (cancelled, waiting) = (jobs(&farewell.cancelled), jobs(&farewell.waiting));
        if cancel {
            assert_eq!((cancelled.join(" "), waiting.join(" ")), ("queued held tried".into(), "web".into()));
            assert_eq!([stage.words("tried").len(), stage.words("held").len()], [0, 0]);
        } else {
            assert_eq!((cancelled.len(), waiting.join(" ")), (0, "queued held tried web".into()));
        }
        assert!(!stage.fx.acts.iter().any(|act| matches!(act, Act::Start { .. })), "nothing begins any more");
    }
}

#[test]
fn who_finds_a_full_line_of_runs_says_so() {
    let (mut first, mut fast) = (job("first"), job("fast"));
    first.chain.next = vec![name("fast")];
    fast.gates.overlap = Overlap::Queue(1);
    let mut stage = Stage::new([first, fast]);
    stage.run_job("fast").expect("it runs");
    stage.run_job("fast").expect("it waits");
    stage.run_job("first").expect("it runs");
    stage.all_live();
    stage.first_ends("first", 0);
    let mut said = Vec::new();
    for event in &stage.fx.events {
        if let crate::effect::What::Note { kind: "run.skipped", message, .. } = &event.what {
            said.push(message.clone());
        }
    }
    assert_eq!(said, ["a run waits already, and `overlap_max` lets no more wait"]);
}

// ---- what is made takes its time ----

fn made(run: RunNo) -> Fact {
    Fact::Made { run, directory: "/srv".into(), port: None, auto: false, left_out: Vec::new() }
}

/// One job whose only run is being made.
fn being_made() -> (Stage, RunNo) {
    let mut slow = job("slow");
    slow.around.dir = Some("~/slow".into());
    slow.gates.mutex = Vec::from(["m".to_string()]);
    let mut other = job("other");
    other.gates.mutex = Vec::from(["m".to_string()]);
    let mut stage = Stage::new([slow, other]);
    stage.slow = true;
    stage.run_job("slow").expect("granted");
    let no = stage.run("slow", 0).no;
    assert!(stage.run("slow", 0).is_being_made());
    assert_eq!((stage.fx.make.contains(&no), stage.fx.acts.len()), (true, 0), "no keeper is told of it");
    (stage, no)
}

#[test]
fn a_run_that_is_being_made_has_its_place_and_is_given_when_it_is_made() {
    let (mut stage, no) = being_made();
    assert!(matches!(stage.world.why(no)[..], [Reason::Making]));
    stage.run_job("other").expect("granted");
    assert_eq!(stage.words("other"), ["queued"], "the mutex is taken");
    // A keeper that comes hears nothing of it; and it is not forgotten.
    stage.fact(Fact::KeeperGone { generation: 1 });
    assert!(matches!(stage.world.why(no)[..], [Reason::Making, Reason::NoKeeper]));
    stage.fact(Fact::Settled(Settled { keeper: Some(2), ..Settled::default() }));
    assert_eq!((stage.fx.make.contains(&no), stage.fx.acts.len()), (true, 0));
    stage.restart_daemon();
    assert_eq!((stage.fx.make.contains(&no), stage.fx.acts.len()), (true, 0), "made again by the next daemon");
    stage.fact(made(no));
    assert_eq!(stage.fx.acts, [Act::Start { run: no, generation: 1 }]);
    assert_eq!(stage.run("slow", 0).directory, "/srv");
    // Said twice, and said too late, it is nothing.
    stage.fact(made(no));
    stage.fact(Fact::Unmakeable { run: no, step: crate::SpawnStep::Spec, errno: 110, message: "late".into() });
    assert!(stage.fx.is_empty());
}

#[test]
fn a_run_that_is_being_made_can_be_stopped_and_never_starts() {
    for another_daemon in [false, true] {
        let (mut stage, no) = being_made();
        stage.run_job("other").expect("granted");
        if another_daemon {
            stage.restart_daemon();
        }
        let Ok(Granted::Run(run)) = stage.wish(Wish::Stop { run: no, kind: StopKind::Ladder, why: StopWhy::Asked })
        else {
            panic!("it can be stopped");
        };
        assert_eq!((run.outcome(), run.directory.as_str()), (Some(&crate::Outcome::Cancelled), "~/slow"));
        assert_eq!(stage.words("slow").len(), 0);
        assert_eq!(stage.words("other"), ["starting"], "its place is free");
        stage.fact(made(no));
        assert!(stage.fx.is_empty(), "late");
    }
}

#[test]
fn a_run_that_cannot_be_made_in_time_has_failed_to_start() {
    let (mut stage, no) = being_made();
    stage.fact(Fact::Unmakeable { run: no, step: crate::SpawnStep::Spec, errno: 110, message: "no answer".into() });
    let outcome = stage.fx.changed[&no].outcome().cloned();
    assert_eq!(outcome, Some(crate::Outcome::SpawnFailed { step: crate::SpawnStep::Spec, errno: 110 }));
}

#[test]
fn a_server_that_ends_leaves_what_is_being_made_to_the_next() {
    for stop_runs in [false, true] {
        let (mut stage, no) = being_made();
        let Ok(Granted::Farewell(farewell)) = stage.wish(Wish::Shutdown { stop_runs, cancel: false }) else {
            panic!("granted");
        };
        assert_eq!((farewell.waiting.len(), farewell.stopping.len()), (1, 0));
        assert!(!stage.world.is_going() && stage.run("slow", 0).no == no);
    }
    let (mut stage, _) = being_made();
    stage.wish(Wish::Shutdown { stop_runs: true, cancel: true }).expect("granted");
    assert_eq!(stage.words("slow").len(), 0);
}

#[test]
fn what_would_go_at_once_does_not_begin() {
    // The task is done; what it needs is stopped, and so all that needs the task goes.
    let mut stage =
        Stage::new([service("db", 1), needing(job("migrate"), "db"), needing(service("web", 1), "migrate")]);
    stage.slow = false;
    stage.up("web");
    stage.all_live();
    stage.all_live();
    stage.first_ends("migrate", 0);
    stage.all_live();
    assert_eq!(stage.words("web"), ["running"]);
    stage.down("db");
    let no = stage.run("web", 0).no;
    stage.ends(no, 0);
    assert_eq!(stage.words("web"), ["held"], "it waits for what is stopped");
    let why = stage.world.why(stage.run("web", 0).no);
    assert!(
        matches!(&why[..], [Reason::Needs { job, because: NeedWhy::Down }] if job.as_str() == "migrate"),
        "{why:?}"
    );
    stage.first_ends("db", 0);
    stage.up("db");
    stage.all_live();
    assert_eq!(stage.words("web"), ["running"]);
}
