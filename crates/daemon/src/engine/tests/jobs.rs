//! Defined jobs, with keepers that only pretend.

use super::*;
use kin_config::good::{Good, Reading};
use kin_core::Wish;
use kin_core::job::{Again, Job, Millis, Program, Restart};
use std::sync::Arc;

fn name(job: &str) -> JobName {
    JobName::parse(job).expect("a name")
}

fn service(job: &str, how: impl FnOnce(&mut Job)) -> Arc<Job> {
    let mut job = Job::new(name(job), Program::Exec(vec!["/bin/true".into()]));
    job.life.restart = Restart::Always;
    job.life.again = Again { delay: Millis(50), jitter_percent: 0, ..Again::restarts() };
    how(&mut job);
    Arc::new(job)
}

impl Life {
    async fn running(&self, job: &str, count: usize) -> Vec<Run> {
        let job = name(job);
        self.until(|reader| {
            let mut runs = reader.live().expect("read").runs;
            runs.retain(|run| run.job == job);
            runs.sort_by_key(|run| run.no);
            (runs.len() == count && runs.iter().all(|run| run.state.word() == "running")).then_some(runs)
        })
        .await
    }
    /// All that is known of jobs.
    async fn all(&self) -> String {
        format!(
            "{:#?}\n{:#?}",
            self.handle.jobs(None).await.expect("jobs"),
            self.handle.queues().await.expect("queues")
        )
    }
}

#[tokio::test]
async fn what_is_known_of_jobs_is_the_same_after_a_commit_that_failed_and_after_a_death() {
    let (house, life) = House::at_work().await;
    life.handle.define(service("db", |_| ()), by()).await.expect("defined");
    life.handle.define(service("web", |job| job.life.instances = 2), by()).await.expect("defined");
    life.handle.wish(Wish::Scale { job: name("web"), instances: 3, by: by() }).await.expect("scaled");
    life.running("db", 1).await;
    let runs = life.running("web", 3).await;
    life.handle.stop_job(name("db"), by()).await.expect("down");
    life.running("db", 0).await;
    let slots = BTreeMap::from([("slots".to_string(), 7)]);
    let queue = Wish::Queue { name: "wide".into(), how: kin_core::QueueWish::Slots(slots) };
    life.handle.wish(queue).await.expect("a queue");
    let (before, specs) = (life.all().await, house.specs());
    house.disk_full(true);
    let wishes = [
        Wish::Scale { job: name("web"), instances: 5, by: by() },
        Wish::Up { job: name("db"), by: by() },
        Wish::Disable { job: name("web") },
    ];
    for wish in wishes {
        let refusal = life.handle.wish(wish).await.expect_err("refused");
        assert!(matches!(refusal, Refusal::NoRoom { .. }), "{refusal}");
    }
    let other = service("db", |job| job.description = "other".into());
    life.handle.define(other, by()).await.expect_err("refused");
    life.handle.undefine(name("web"), by()).await.expect_err("refused");
    assert_eq!(life.all().await, before);
    let mut now = house.specs();
    now.sort();
    let mut then = specs;
    then.sort();
    assert_eq!(now, then, "nothing of what was refused is left");
    house.disk_full(false);
    house.dies_at("end-committed");
    house.fake().exits(runs[0].no, 1);
    life.dead().await;
    let life = house.start();
    life.settled().await;
    let after = life.running("web", 3).await;
    assert_eq!(after[..2], runs[1..], "those that lived go on");
    assert_eq!((after[2].follows, after[2].slot, after[2].attempt), (Some(runs[0].no), runs[0].slot, 2));
    let jobs = life.handle.jobs(None).await.expect("jobs");
    let standings: Vec<_> = jobs.iter().map(|now| (now.standing.up, now.standing.scale, now.standing.rev)).collect();
    assert_eq!(standings, [(false, None, 1), (true, Some(3), 1)]);
    assert_eq!(house.fake().executions(), 5);
}

#[tokio::test]
async fn a_job_is_stopped_though_nothing_can_be_recorded_and_does_not_come_back() {
    let (house, life) = House::at_work().await;
    life.handle.define(service("web", |job| job.life.instances = 2), by()).await.expect("defined");
    let runs = life.running("web", 2).await;
    house.disk_full(true);
    life.handle.stop_job(name("web"), by()).await.expect("done");
    for run in &runs {
        let ended = |trouble: &Trouble| {
            let unwritten = trouble.unwritten.as_ref()?;
            unwritten.runs.get(&run.no).filter(|run| run.outcome().is_some()).map(outcome)
        };
        assert_eq!(life.known(ended).await, "stopped");
    }
    house.disk_full(false);
    for run in &runs {
        assert_eq!(outcome(&life.ended(run.no).await), "stopped");
    }
    let jobs = life.handle.jobs(None).await.expect("jobs");
    assert!(jobs[0].runs.is_empty(), "{:?}", jobs[0].runs);
    assert_eq!(jobs[0].standing.rest.len(), 2);
    assert_eq!((house.fake().executions(), house.events("job.stop-asked")), (2, 1));
}

#[tokio::test]
async fn whoever_dies_at_any_step_of_a_restart_has_one_run_and_no_more() {
    for step in ["end-committed", "end-spec-removed", "end-forgotten", "start-committed", "start-sent"] {
        let house = House::new();
        let life = house.start();
        life.settled().await;
        life.handle.define(service("web", |_| ()), by()).await.expect("defined");
        let first = life.running("web", 1).await.remove(0);
        house.dies_at(step);
        house.fake().exits(first.no, 1);
        life.dead().await;
        let life = house.start();
        let second = life
            .until(|reader| {
                let runs = reader.live().expect("read").runs;
                runs.into_iter().find(|run| run.no != first.no && run.state.word() == "running")
            })
            .await;
        assert_eq!((second.follows, second.attempt), (Some(first.no), 2), "{step}");
        assert_eq!((house.fake().executed(first.no), house.fake().executed(second.no)), (1, 1), "{step}");
        assert_eq!(house.fake().executions(), 2, "{step}");
    }
}

#[tokio::test]
async fn what_cannot_be_made_ends_in_the_commit_that_began_it() {
    let (house, life) = House::at_work().await;
    let lost = |job: &mut Job| {
        job.around.dir = Some("nowhere".into());
        job.life.again = Again { tries: Some(1), delay: Millis(0), ..Again::restarts() };
    };
    life.handle.define(service("lost", lost), by()).await.expect("defined");
    let jobs = life.handle.jobs(None).await.expect("jobs");
    assert!(jobs[0].runs.is_empty());
    assert_eq!(jobs[0].standing.rest, BTreeMap::from([(0, kin_core::Rest::GaveUp)]));
    let query = Query { job: Some("lost".into()), ..Query::default() };
    let runs = house.reader().runs(&query).expect("read").runs;
    assert_eq!(runs.iter().map(outcome).collect::<Vec<_>>(), ["spawn-failed(directory, 22)"]);
    assert_eq!((house.events("run.unmakeable"), house.fake().executions()), (1, 0));
    assert!(house.specs().is_empty());
}

fn read(text: &str) -> Arc<Reading> {
    read_all(&[("/etc/kin/a.toml", text)])
}

fn read_all(files: &[(&str, &str)]) -> Arc<Reading> {
    let input = |(path, text): &(&str, &str)| {
        let source = kin_config::Source::new(Path::new(path), *text);
        kin_config::Input { source, rank: 0, form: kin_config::set::Form::Written, mistakes: Vec::new() }
    };
    let reading = Good::default().judge(files.iter().map(input).collect());
    assert!(reading.left_out.is_empty(), "{}", reading.report.text(false));
    Arc::new(reading)
}

fn noon(timezone: &str) -> Arc<Reading> {
    read(&format!("[kin]\ntimezone = '{timezone}'\n[t]\ncommand = 'true'\nschedule = '0 12 * * *'\n"))
}

impl Life {
    /// The first noon after 1970 began.
    async fn noons(&self) -> (Option<String>, Vec<Option<i64>>) {
        let table = self.handle.timetable().await.expect("a timetable");
        (table.timezone, table.jobs.iter().map(|now| now.timed.next_after(0)).collect())
    }
}

const UTC: i64 = 12 * 3600;
const TOKYO: i64 = 3 * 3600;

#[tokio::test]
async fn a_schedule_that_goes_while_the_timezone_changes_is_gone() {
    let (_house, life) = House::at_work().await;
    life.handle.files(noon("UTC"), false).await.expect("taken");
    assert_eq!(life.noons().await, (Some("UTC".into()), vec![Some(UTC)]));
    let without = read("[kin]\ntimezone = 'Asia/Tokyo'\n[t]\ncommand = 'true'\n");
    life.handle.files(without, false).await.expect("taken");
    assert_eq!(life.noons().await, (Some("Asia/Tokyo".into()), vec![]));
    // And there again, by the new clocks.
    life.handle.files(noon("Asia/Tokyo"), false).await.expect("taken");
    assert_eq!(life.noons().await, (Some("Asia/Tokyo".into()), vec![Some(TOKYO)]));
}

#[tokio::test]
async fn a_timezone_that_was_refused_once_is_taken_later() {
    let (house, life) = House::at_work().await;
    life.handle.files(noon("UTC"), false).await.expect("taken");
    house.disk_full(true);
    let refused = life.handle.files(noon("Asia/Tokyo"), false).await.expect_err("no room");
    assert!(matches!(refused, Refusal::NoRoom { .. }), "{refused}");
    assert_eq!(life.noons().await, (Some("UTC".into()), vec![Some(UTC)]), "all as it was");
    house.disk_full(false);
    life.handle.files(noon("Asia/Tokyo"), false).await.expect("taken");
    assert_eq!(life.noons().await, (Some("Asia/Tokyo".into()), vec![Some(TOKYO)]));
}

#[tokio::test]
async fn a_plan_promises_only_what_would_be_done() {
    let (_house, life) = House::at_work().await;
    life.handle.files(read("[lib]\ncommand = 'true'\n"), false).await.expect("taken");
    let mut api = Job::new(name("api"), Program::Exec(vec!["/bin/true".into()]));
    api.chain.next.push(name("lib"));
    life.handle.define(Arc::new(api), by()).await.expect("defined");
    for plan in [true, false] {
        let done = life.handle.files(read(""), plan).await.expect("read");
        assert_eq!((done.applied, done.steps), (!plan, vec![]));
        let said = "'lib' is not there any more, and api, defined over the API by uid:7, names it in `next`";
        assert_eq!(done.mistakes.mistakes.iter().map(|m| m.message.as_str()).collect::<Vec<_>>(), [said]);
    }
    // The file is known not to hold as it is; and it does as soon as nothing is in its way.
    let stale = async || {
        let jobs = life.handle.jobs(None).await.expect("jobs");
        jobs.iter().map(|now| (now.standing.job.to_string(), now.stale.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(stale().await, [("api".into(), false), ("lib".into(), true)]);
    life.handle.undefine(name("api"), by()).await.expect("gone");
    assert_eq!(stale().await, []);
}

impl Life {
    async fn names(&self) -> String {
        let jobs = self.handle.jobs(None).await.expect("jobs");
        let said = |now: &JobNow| format!("{}{}", now.standing.job, if now.stale.is_some() { "!" } else { "" });
        jobs.iter().filter(|now| !now.standing.removed).map(said).collect::<Vec<_>>().join(" ")
    }

    /// The mistakes of a reading, each with its file.
    async fn told(&self, files: &[(&str, &str)]) -> Vec<String> {
        let report = self.handle.files(read_all(files), false).await.expect("read").mistakes;
        let path = |m: &kin_config::Mistake| {
            m.at.as_ref().and_then(|spot| report.place(spot)).map_or(String::new(), |(source, _)| source.name.clone())
        };
        report.mistakes.iter().map(|m| format!("{}: {}", path(m), m.message)).collect()
    }
}

const ONE: &str = "command = 'true'\n";
const ONE_FRESH: &str = "[fresh]\ncommand = 'true'\n";

#[tokio::test]
async fn a_file_that_clashes_with_a_request_keeps_only_its_own_from_being_taken() {
    let (_house, life) = House::at_work().await;
    let (base, more) = (format!("[base]\n{ONE}"), format!("[other]\n{ONE}"));
    let (indep, fresh) = (format!("[indep]\n{ONE}"), format!("[fresh]\n{ONE}"));
    assert_eq!(life.told(&[("/base.toml", &base), ("/indep.toml", &indep)]).await, [""; 0]);
    let mut api = Job::new(name("ab"), Program::Exec(vec!["/bin/true".into()]));
    api.chain.next.push(name("base"));
    life.handle.define(Arc::new(api), by()).await.expect("defined");
    // Also one that counts on what is held back.
    let dependent = format!("[dependent]\n{ONE}next = 'other'\n");
    let others = format!("{indep}tags = ['new']\n[two]\n{ONE}");
    let said = "/base.toml: 'base' is not there any more, and ab, defined over the API by uid:7, names it in `next`";
    let files = [
        ("/base.toml", more.as_str()),
        ("/dependent.toml", &dependent),
        ("/fresh.toml", &fresh),
        ("/indep.toml", &others),
    ];
    let told = life.told(&files).await;
    assert_eq!(told[0], said);
    assert!(told.len() == 2 && told[1].starts_with("/dependent.toml: dependent names other in `next`"), "{told:?}");
    assert_eq!(life.names().await, "ab base! fresh indep two");
    // The whole file is gone: it is named all the same.
    assert_eq!(life.told(&[("/fresh.toml", &fresh)]).await, [said]);
    assert_eq!(life.names().await, "ab base! fresh");
    // The request names it no more: the file is taken at once.
    life.told(&files).await;
    let api = Job::new(name("ab"), Program::Exec(vec!["/bin/true".into()]));
    life.handle.define(Arc::new(api), by()).await.expect("defined");
    assert_eq!(life.names().await, "ab dependent fresh indep other two");
}

#[tokio::test]
async fn a_queue_that_a_request_needs_larger_stays_and_other_files_are_taken() {
    let (_house, life) = House::at_work().await;
    let queue = |slots: u32| format!("[kin.queues.heavy]\nslots = {slots}\n[a]\n{ONE}queue = 'heavy'\n");
    assert_eq!(life.told(&[("/queue.toml", &queue(4))]).await, [""; 0]);
    let mut api = Job::new(name("ab"), Program::Exec(vec!["/bin/true".into()]));
    api.gates.queue = Some("heavy".into());
    api.gates.need = BTreeMap::from([("slots".into(), 3)]);
    life.handle.define(Arc::new(api), by()).await.expect("defined");
    let told = life.told(&[("/fresh.toml", &format!("[fresh]\n{ONE}")), ("/queue.toml", &queue(2))]).await;
    assert!(told.len() == 1 && told[0].starts_with("/queue.toml: ab needs 3 of \"slots\""), "{told:?}");
    assert_eq!(life.names().await, "a! ab fresh");
    let why = life.handle.jobs(Some(name("a"))).await.expect("jobs").remove(0).stale.expect("why");
    assert!(why.starts_with("line 1: ab needs 3 of \"slots\""), "{why}");
    // Also when it is said no more, whose file it was is known.
    for files in [&[("/fresh.toml", ONE_FRESH), ("/queue.toml", "")][..], &[("/fresh.toml", ONE_FRESH)]] {
        let told = life.told(files).await;
        assert!(
            told.len() == 1 && told[0].starts_with("/queue.toml: the queue heavy is not there any more"),
            "{told:?}"
        );
        assert_eq!(life.names().await, "a! ab fresh");
    }
    life.told(&[("/fresh.toml", ONE_FRESH), ("/queue.toml", &queue(2))]).await;
    let slots = async || life.handle.queues().await.expect("queues")[0].queue.slots["slots"];
    assert_eq!(slots().await, 4);
    life.handle.undefine(name("ab"), by()).await.expect("gone");
    assert_eq!((life.names().await.as_str(), slots().await), ("a fresh", 2));
}

#[tokio::test]
async fn no_file_takes_over_a_job_that_was_defined_over_the_api() {
    let (_house, life) = House::at_work().await;
    let jobs = async || {
        let jobs = life.handle.jobs(None).await.expect("jobs");
        jobs.iter().map(|now| format!("{} {:?}", now.standing.job, now.source)).collect::<Vec<_>>()
    };
    life.handle.files(read("[mine]\ncommand = 'one'\n"), false).await.expect("taken");
    let api = Arc::new(Job::new(name("api"), Program::Exec(vec!["/bin/true".into()])));
    life.handle.define(api, by()).await.expect("defined");
    let before = jobs().await;
    let both = "[api]\ncommand = 'true'\n[other]\ncommand = 'true'\n";
    for plan in [true, false] {
        let done = life.handle.files(read(both), plan).await.expect("read");
        assert_eq!((done.steps.len(), done.mistakes.errors()), (0, 1));
        let mistake = &done.mistakes.mistakes[0];
        assert!(mistake.message.starts_with("'api' is defined over the API, by uid:7"), "{}", mistake.message);
        assert!(mistake.at.is_some() && mistake.is_error());
        assert_eq!(jobs().await, before, "the file keeps its last good jobs");
    }
    life.handle.files(read("[mine]\ncommand = 'one'\n"), false).await.expect("taken");
    assert_eq!(jobs().await, before, "and what it never had it does not take away");
    // What was refused because of the name is taken when the name is free.
    life.handle.files(read(both), false).await.expect("read");
    assert!(
        life.handle.jobs(None).await.expect("jobs").iter().any(|now| now.stale.is_some()),
        "said of the file's own"
    );
    life.handle.undefine(name("api"), by()).await.expect("gone");
    assert!(!life.handle.jobs(None).await.expect("jobs").iter().any(|now| now.stale.is_some()));
    let now = jobs().await;
    assert!(now.len() == 2 && now.iter().all(|job| job.contains("/etc/kin/a.toml")), "{now:?}");
}

#[tokio::test]
async fn a_queue_of_a_job_file_is_no_projects_to_take_away() {
    let (_house, life) = House::at_work().await;
    let files = read("[kin.queues.'web.heavy']\nslots = 2\n[x]\ncommand = 'true'\nqueue = 'web.heavy'\n");
    life.handle.files(files, false).await.expect("taken");
    let text = "[kin.queues.light]\nslots = 1\n[a]\ncommand = 'true'\nqueue = 'light'\n";
    let source = kin_config::Source::new(Path::new("/srv/web/kin.toml"), text);
    let input = kin_config::Input { source, rank: 0, form: kin_config::set::Form::Written, mistakes: Vec::new() };
    let project = Arc::new(kin_config::project::read(input, Some("web")).expect("a project"));
    for _ in 0..2 {
        life.handle.project_up(Arc::clone(&project), false, by()).await.expect("up");
        assert_eq!(queues(&life).await, ["web.heavy", "web.light"]);
        let up = life.handle.projects().await.expect("projects");
        assert_eq!(up.iter().map(|now| now.queues.clone()).collect::<Vec<_>>(), [["web.light"]]);
        life.handle.project_down("web".into(), by()).await.expect("down");
        assert_eq!(queues(&life).await, ["web.heavy"]);
    }
}

async fn queues(life: &Life) -> Vec<String> {
    life.handle.queues().await.expect("queues").into_iter().map(|now| now.queue.name).collect()
}

#[tokio::test]
async fn a_job_of_which_it_is_lost_how_it_stands_is_there_and_its_run_goes_on() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    life.handle.define(service("web", |_| ()), by()).await.expect("defined");
    let run = life.running("web", 1).await.remove(0);
    house.dies_at("accept-minted");
    drop(life.handle.submit(submit("last")).await);
    life.dead().await;
    let mut ledger = kin_ledger::Ledger::open(&house.state(), Time(0)).expect("a ledger").ledger;
    let lost = kin_ledger::Batch { standings: vec![(name("web"), None)], ..kin_ledger::Batch::default() };
    ledger.apply(&lost, Durability::Full).expect("a commit");
    ledger.close().expect("closed");
    for _ in 0..2 {
        let life = house.start();
        life.settled().await;
        let jobs = life.handle.jobs(None).await.expect("jobs");
        assert_eq!(jobs.iter().map(|now| (now.standing.rev, now.runs.len())).collect::<Vec<_>>(), [(1, 1)]);
        assert_eq!(life.running("web", 1).await[0].no, run.no);
        assert_eq!((house.events("job.standing-lost"), house.fake().executions()), (1, 1));
        house.dies_at("accept-minted");
        drop(life.handle.submit(submit("last")).await);
        life.dead().await;
    }
}

/// Gone back to, and then a hundred others that did not hold.
#[tokio::test]
async fn a_revision_in_force_is_there_after_a_hundred_others() {
    let house = House::new();
    let life = house.start();
    life.settled().await;
    let latched = |n: u32| {
        service("web", |job| {
            job.description = n.to_string();
            job.life.instances = 1;
        })
    };
    life.handle.define(latched(0), by()).await.expect("defined");
    let run = life.running("web", 1).await.remove(0);
    for n in 1..=kin_ledger::REVISIONS_KEPT as u32 + 5 {
        life.handle.define(latched(n), by()).await.expect("defined");
    }
    // Its revision is what it was begun with.
    assert_eq!(life.running("web", 1).await[0], run);
    assert!(house.reader().definition(&name("web"), run.terms.rev).expect("read").is_some());
}
