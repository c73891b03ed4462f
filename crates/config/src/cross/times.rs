//! Schedules that come to nothing, or say twice what they say: nobody writes that on purpose.

use super::about;
use crate::job::Definition;
use crate::keys::kin::CALENDARS;
use crate::mistake::{Code, Mistake, Spot};
use crate::set::{SETTINGS, Set};
use crate::tree::Value;
use jiff::tz::{AmbiguousOffset, TimeZone};
use kin_core::Timed;
use kin_core::job::{self, CatchUp};
use kin_core::schedule::{Dst, Schedule, Zone};
use std::sync::Arc;

/// A reading of clocks somewhere is so far from the same reading of UTC, at most.
const APART: i64 = 26 * 3600;

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// What a job's own keys say.
pub(super) fn check(definition: &Definition, mistakes: &mut Vec<Mistake>) {
    let time = &definition.job.time;
    let mut warn = |key: &str, code: Code, message: String, help: &str| {
        mistakes.push(about(definition, key, Mistake::warning(code, message)).help(help));
    };
    let is_empty = |value: &Value| matches!(value, Value::List(items) if items.is_empty());
    if definition.keys.get("schedule").is_some_and(|said| is_empty(&said.tree.value)) {
        let help = "leave it out for a job that is run by hand, or write when it is due";
        warn("schedule", Code::Missing, "'schedule' is an empty list: it is due at no time".into(), help);
    }
    for (n, text) in time.schedules.iter().enumerate() {
        let same = |other: &&String| other.trim() == text.trim();
        if time.schedules[..n].iter().any(|other| same(&other)) {
            let message = format!("the schedule '{text}' stands there twice; what is due at one instant is run once");
            warn("schedule", Code::Twice, message, "leave out one of them");
        }
        // Of a zone that nobody here knows: a day and more after it is over everywhere.
        let is_over =
            |schedule: &Schedule| !schedule.is_reboot() && schedule.next_after(now() - APART, &Zone::utc()).is_none();
        if Schedule::parse(text, definition.job.name.as_str(), Dst::Once).is_ok_and(|schedule| is_over(&schedule)) {
            let message = format!("'{text}' is over: it is due at no time to come");
            warn("schedule", Code::Schedule, message, "write another time, or leave it out");
        }
    }
    let own = |key: &str| definition.keys.get(key).is_some_and(|said| said.own);
    if own("catch_up_max") && time.catch_up != Some(CatchUp::All) {
        let message = "'catch_up_max' means nothing unless catch_up = \"all\"".into();
        warn("catch_up_max", Code::Conflict, message, "write catch_up = \"all\", or leave it out");
    }
    for key in ["catch_up_window", "catch_up_delay"] {
        if own(key) && time.catch_up == Some(CatchUp::None) {
            let message = format!("'{key}' means nothing with catch_up = \"none\"");
            warn(key, Code::Conflict, message, "leave out one of the two");
        }
    }
}

/// The one instant of a schedule at a time that clocks skip: those that the schedule names, or the job, its defaults or
/// `[kin]`, or where nobody does, this machine's, which the server has as well.
pub(super) fn skipped(set: &Set, definition: &Definition, mistakes: &mut Vec<Mistake>) {
    let time = &definition.job.time;
    if time.dst != job::Dst::Skip {
        return;
    }
    let named = time.timezone.as_deref().or(set.settings.timezone.as_deref());
    for text in &time.schedules {
        let Some(zone) = skipped_in(definition, text, named) else { continue };
        let message = format!("'{text}' is at no time: clocks in {zone} skip it, and dst = \"skip\" leaves it out");
        let mistake = about(definition, "schedule", Mistake::warning(Code::Schedule, message));
        mistakes.push(mistake.help("write another time, or dst = \"once\""));
    }
}

/// The zone whose clocks skip the one instant of that schedule. `None`: they do not, or it has others.
fn skipped_in(definition: &Definition, text: &str, named: Option<&str>) -> Option<String> {
    let schedule = Schedule::parse(text, definition.job.name.as_str(), Dst::Once).ok()?;
    let utc = Zone::utc();
    let only = schedule.next_after(i64::MIN, &utc)?;
    if schedule.needs_no_zone() || schedule.next_after(only.at, &utc).is_some() {
        return None;
    }
    let zone = match schedule.zone().or(named) {
        Some(name) => TimeZone::get(name).ok()?,
        None => TimeZone::system(),
    };
    let reading = TimeZone::UTC.to_datetime(jiff::Timestamp::from_second(only.at).ok()?);
    let offset = zone.to_ambiguous_timestamp(reading).offset();
    matches!(offset, AmbiguousOffset::Gap { .. }).then(|| zone.iana_name().unwrap_or("this machine's zone").to_owned())
}

/// Calendars that count no day.
pub(super) fn empty(set: &Set, mistakes: &mut Vec<Mistake>) {
    for (name, calendar) in &set.settings.calendars {
        // A file may have days tomorrow.
        if calendar.ics.is_some() || !calendar.days_alone().is_some_and(|calendar| calendar.is_empty()) {
            continue;
        }
        let key = format!("{SETTINGS}.{CALENDARS}.{name}");
        let message = format!("the calendar '{name}' counts no day: nothing that names it is ever run");
        let mistake = Mistake::warning(Code::Conflict, message).key(key.clone());
        let mistake =
            mistake.help("say its 'weekdays', days to 'include', or an 'ics' file with ics_days = \"include\"");
        mistakes.push(match set.said.get(&key) {
            Some(Spot { source, span }) => mistake.at(*source, span),
            None => mistake,
        });
    }
}

/// A job whose calendars forbid all its days. By UTC: on which day a time of day is, all clocks agree.
pub(super) fn shut(set: &Set, definition: &Definition, mistakes: &mut Vec<Mistake>) {
    let time = &definition.job.time;
    if time.calendars.is_empty() || time.schedules.is_empty() {
        return;
    }
    let calendar = |name: &str| set.settings.calendars.get(name)?.days_alone().filter(|calendar| !calendar.is_empty());
    let utc = Arc::new(Zone::utc());
    let Ok(Some(timed)) = Timed::read(&definition.job, "", |_| Some(utc.clone()), calendar) else { return };
    if timed.parts().any(|(schedule, _)| schedule.needs_no_zone()) {
        return;
    }
    let from = now() - APART;
    if timed.next_after(from).is_some() && timed.next_open(from).is_none() {
        let names = time.calendars.join("', '");
        let (what, forbid) =
            if time.calendars.len() == 1 { ("the calendar", "forbids") } else { ("the calendars", "forbid") };
        let message = format!("{what} '{names}' {forbid} each day on which it is due, for ten years to come");
        let help = "`kin next` shows its instants; with 'shift' they are moved to days that count";
        mistakes.push(about(definition, "calendars", Mistake::warning(Code::Conflict, message)).help(help));
    }
}
