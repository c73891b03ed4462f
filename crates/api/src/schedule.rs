//! What a schedule does, in words and instants.

use kin_core::schedule::{Offset, Plan, Schedule, Wall, Zone};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use kin_core::schedule::{Dst, Problem, Problems};

/// An explanation of the schedules of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    pub schedules: Vec<Explained>,
    /// The next instants of all of them.
    pub coming: Vec<Coming>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    pub expression: String,
    /// The zone whose clocks it goes by.
    pub timezone: String,
    /// What it does, in plain English.
    pub words: String,
    /// Whether it follows real time; else it names times of day, to which `dst` applies.
    pub follows_real_time: bool,
    pub dst: String,
    pub remarks: Vec<Remarked>,
}

/// What may surprise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Remarked {
    pub code: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coming {
    /// In UTC.
    pub at: String,
    /// What clocks show then, with their offset.
    pub local: String,
    /// Which schedule it is of, counted from 0.
    pub schedule: usize,
    /// What it has to do with a change of the clocks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What is wrong with one expression, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    pub expression: String,
    /// The character it begins at; the first is 1.
    pub column: usize,
    pub length: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    pub message: String,
}

impl Mistake {
    pub fn of(expression: &str, problem: &Problem) -> Mistake {
        Mistake {
            expression: expression.into(),
            column: problem.column,
            length: problem.length,
            field: problem.field.map(|field| field.word().into()),
            message: problem.message.clone(),
        }
    }
}

impl Explanation {
    /// Of schedules, each with its zone, from that instant on, in UTC seconds.
    pub fn of(schedules: &[(Schedule, Zone)], after: i64, count: usize) -> Explanation {
        let plan = Plan::new(schedules.iter().map(|(schedule, zone)| (schedule, zone)));
        let coming = plan.after(after).take(count).map(|(which, tick)| {
            let (schedule, zone) = &schedules[which];
            let note = schedule.note(&tick, zone);
            Coming { at: format!("{}Z", rfc(Wall(tick.at))), local: local(tick.at, zone), schedule: which, note }
        });
        Explanation {
            coming: coming.collect(),
            schedules: schedules.iter().map(|(schedule, zone)| explained(schedule, zone, after)).collect(),
        }
    }
}

fn explained(schedule: &Schedule, zone: &Zone, after: i64) -> Explained {
    let remarks = schedule.remarks(zone, after).into_iter();
    Explained {
        expression: schedule.text().into(),
        timezone: zone.name().into(),
        words: schedule.words(),
        follows_real_time: schedule.follows_real_time(),
        dst: schedule.dst().word().into(),
        remarks: remarks.map(|remark| Remarked { code: remark.code.into(), text: remark.text }).collect(),
    }
}

/// `2026-03-08T03:00:00-04:00`
pub fn local(at: i64, zone: &Zone) -> String {
    format!("{}{}", rfc(zone.wall(at)), Offset(zone.offset(at)))
}

fn rfc(wall: Wall) -> String {
    wall.to_string().replace(' ', "T")
}
