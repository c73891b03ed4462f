//! What becomes of instants at which nobody was there: the rules themselves are asked.

use super::zone;
use kin_core::job::{CatchUp, Job, Program};
use kin_core::{Decided, Decision, Effects, Fact, JobName, JobPlan, Mint, Plan, Time, Timed, Wish, World};
use std::sync::Arc;

/// 2026-11-21T00:00:00Z.
const MIDNIGHT: i64 = 1_795_219_200;
const MINUTE: i64 = 60;

pub(super) fn table() -> String {
    let policies = [Some(CatchUp::None), Some(CatchUp::Once), Some(CatchUp::All), None];
    let rows = ["30 2 * * *", "0 * * * *", "30 * * * *", "*/5 * * * *"].map(|text| {
        let cells = policies.map(|policy| decided(text, policy).join("<br>"));
        [vec![format!("`{text}`")], cells.into()].concat()
    });
    super::table(&["schedule", "`\"none\"`", "`\"once\"`", "`\"all\"`, `catch_up_max = 3`", "unless told"], rows)
}

fn decided(text: &str, policy: Option<CatchUp>) -> Vec<String> {
    let name = JobName::parse("backup").expect("a name");
    let mut job = Job::new(name.clone(), Program::Shell("true".into()));
    job.time.schedules = vec![text.into()];
    job.time.catch_up = policy;
    job.time.catch_up_max = 3;
    let utc = Arc::new(zone("UTC"));
    let timed = Timed::read(&job, "host", |_| Some(utc.clone()), |_| None).expect("good").expect("a schedule");
    let mut world = World::load("boot".into(), Mint::after(0), []);
    let jobs = vec![JobPlan::Put { job: Arc::new(job), rev: 1 }];
    let plan = Plan { jobs, timed: [(name, Arc::new(timed))].into(), ..Plan::default() };
    let clock = |minutes: i64| Time((MIDNIGHT + minutes * MINUTE) * 1_000_000_000);
    world.wish(clock(10), Wish::Plan(plan), &mut Effects::default()).expect("granted");
    let mut fx = Effects::default();
    world.fact(clock(5 * 60 + 30), Fact::Time, &mut fx);
    fx.ticks.iter().map(words).collect()
}

fn words(decided: &Decided) -> String {
    let clock = |at: i64| {
        let minutes = (at - MIDNIGHT) / MINUTE;
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    };
    let at = clock(decided.tick.at);
    match &decided.decision {
        Decision::Run { .. } => format!("{at} run"),
        Decision::CaughtUp { missed: 0, .. } => format!("{at} caught up"),
        Decision::CaughtUp { missed, .. } => format!("{at} caught up, for {missed} too"),
        Decision::Missed { count: 1, .. } => format!("{at} missed"),
        Decision::Missed { count, until } => format!("{at}–{} missed: {count}", clock(*until)),
        Decision::SkippedOverlap { .. } => format!("{at} skipped: overlap"),
        Decision::SkippedLineFull { .. } => format!("{at} skipped: line full"),
        Decision::SkippedDisabled { .. } => format!("{at} skipped: disabled"),
        Decision::Suppressed { by } => format!("{at} suppressed: {by}"),
        Decision::Paused => format!("{at} paused"),
    }
}
