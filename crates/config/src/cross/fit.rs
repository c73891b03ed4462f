//! Keys of one job that do not go together.

use super::wrong;
use crate::job::{Definition, OF_SCHEDULE, OF_SERVICE};
use crate::mistake::{Code, Mistake};
use kin_core::job::{Overlap, Port};

pub(super) fn check(definition: &Definition, mistakes: &mut Vec<Mistake>) {
    let (job, conflict) = (&definition.job, Code::Conflict);
    let said = |key: &str| definition.keys.contains_key(key);
    let service = job.life.is_service();
    if service {
        let why = "a service is there all the time";
        for key in ["schedule", "after"].into_iter().filter(|key| said(key)) {
            let help = "leave out 'restart', or make a job of its own for it";
            mistakes.push(wrong(definition, key, conflict, format!("{why}: '{key}' has no meaning")).help(help));
        }
        if own(definition, "timeout") && job.life.timeout.is_some() {
            let message = format!("{why}, and 'timeout' ends it");
            let help = "leave it out, or restart it by the schedule of another job";
            mistakes.push(super::about(definition, "timeout", Mistake::warning(conflict, message)).help(help));
        }
    } else {
        if job.life.instances != 1 && own(definition, "instances") {
            let message = "'instances' are of a service only";
            let help = "write restart = \"always\", or several jobs";
            mistakes.push(wrong(definition, "instances", conflict, message).help(help));
        }
        for key in OF_SERVICE.into_iter().filter(|key| *key != "instances").filter(|key| own(definition, key)) {
            let message = format!("'{key}' is of a service only");
            mistakes.push(wrong(definition, key, conflict, message).help("write restart = \"always\""));
        }
        // One that is written badly is not missing: that it is wrong was said.
        if job.time.schedules.is_empty() && !said("schedule") {
            for key in OF_SCHEDULE {
                if own(definition, key) {
                    let message = format!("'{key}' means nothing without 'schedule'");
                    mistakes.push(wrong(definition, key, Code::Missing, message));
                }
            }
        }
    }
    if own(definition, "shift") && !job.time.schedules.is_empty() {
        if job.time.calendars.is_empty() {
            let message = "'shift' means nothing without 'calendars': every day counts";
            mistakes.push(wrong(definition, "shift", Code::Missing, message));
        }
        // What follows no clock has no time of day that another day could have.
        if let Some(every) = job.time.schedules.iter().find(|text| text.trim_start().starts_with("@every")) {
            let message = format!("'shift' moves times of day, and '{every}' has none");
            let help = "write the times, as \"0 */4 * * *\", or leave out 'shift'";
            mistakes.push(wrong(definition, "shift", conflict, message).help(help));
        }
    }
    // That it wants `overlap` at all was said already.
    if own(definition, "overlap_max") && said("overlap") && !matches!(job.gates.overlap, Overlap::Queue(_)) {
        let message = "'overlap_max' means nothing unless overlap = \"queue\"";
        mistakes.push(wrong(definition, "overlap_max", conflict, message));
    }
    if own(definition, "max_delay") && job.life.again.max_delay < job.life.again.delay {
        let message = "'max_delay' is shorter than 'delay'";
        mistakes.push(wrong(definition, "max_delay", conflict, message));
    }
    if own(definition, "group") && !said("user") && job.around.user.is_none() {
        let message = "'group' means nothing without 'user'";
        mistakes.push(wrong(definition, "group", Code::Missing, message));
    }
    if let Some(Port::From(first)) = job.around.port {
        let last = u32::from(first) + job.life.instances.saturating_sub(1);
        if last > u32::from(u16::MAX) {
            let message =
                format!("{} instances from port {first} on need port {last}, which there is not", job.life.instances);
            mistakes.push(wrong(definition, "port", conflict, message));
        }
    }
    let names: Vec<_> = job.around.sockets.iter().map(|socket| &socket.name).collect();
    if let Some((n, name)) = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name)) {
        let message = format!("two sockets are named '{name}' (the first is number {})", names[..n].len());
        mistakes.push(wrong(definition, "sockets", Code::Twice, message));
    }
}

fn own(definition: &Definition, key: &str) -> bool {
    definition.keys.get(key).is_some_and(|said| said.own)
}
