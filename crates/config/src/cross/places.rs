//! What jobs share: queues, calendars, ports.

use super::{about, at_word, wrong};
use crate::guess;
use crate::job::Definition;
use crate::mistake::{Code, Mistake};
use crate::set::Set;
use crate::tree::Value;
use kin_core::job::Port;
use std::ops::Range;

/// Where it is said how much of a resource it needs.
fn number_of(definition: &Definition, resource: &str) -> Option<(usize, Range<usize>)> {
    let said = definition.keys.get("need")?;
    let Value::Table(entries) = &said.tree.value else { return None };
    let entry = entries.iter().find(|entry| entry.key == resource)?;
    Some((said.source?, entry.tree.span.clone()))
}

pub(super) fn queues(set: &Set, definition: &Definition, mistakes: &mut Vec<Mistake>) {
    let job = &definition.job;
    if let Some(name) = &job.gates.queue {
        match set.queue(name) {
            None if set.may_lack(name) => {}
            None => {
                let near = guess::hint(name, set.settings.queues.keys().map(String::as_str));
                let message = format!("there is no queue '{name}'{near}");
                let help = format!("[kin.queues.{name}] makes one");
                mistakes.push(wrong(definition, "queue", Code::UnknownQueue, message).help(help));
            }
            Some(queue) => {
                for (what, wanted) in &job.gates.need {
                    let there = queue.slots.get(what);
                    let message = match there {
                        // Slots that nobody counts are without end.
                        None if what == "slots" => continue,
                        None => format!("the queue '{name}' has no '{what}'"),
                        Some(there) if wanted > there => {
                            format!(
                                "it needs {wanted} of '{what}', and the queue '{name}' has {there}: it would never run"
                            )
                        }
                        Some(_) => continue,
                    };
                    let mistake = wrong(definition, "need", Code::Conflict, message);
                    let mistake = mistake.key(definition.key(&format!("need.{what}")));
                    mistakes.push(match number_of(definition, what) {
                        Some((source, at)) => mistake.at(source, &at),
                        None => mistake,
                    });
                }
            }
        }
    }
    for name in &job.time.calendars {
        if !set.settings.calendars.contains_key(name) && !set.may_lack(name) {
            let near = guess::hint(name, set.settings.calendars.keys().map(String::as_str));
            let mistake = Mistake::error(Code::UnknownCalendar, format!("there is no calendar '{name}'{near}"));
            mistakes.push(at_word(
                definition,
                "calendars",
                name,
                mistake.help(format!("[kin.calendars.{name}] makes one")),
            ));
        }
    }
}

/// Ports of two jobs that may live at once.
pub(super) fn ports(set: &Set, mistakes: &mut Vec<Mistake>) {
    let mut all: Vec<(u32, u32, &Definition)> = set
        .jobs
        .values()
        .filter(|definition| !definition.job.disabled)
        .filter_map(|definition| match definition.job.around.port {
            Some(Port::From(first)) => {
                let more = definition.job.life.instances.max(1) - 1;
                Some((u32::from(first), u32::from(first) + more, definition))
            }
            Some(Port::Auto) | None => None,
        })
        .collect();
    all.sort_by_key(|(first, _, definition)| (*first, definition.job.name.clone()));
    let mut highest: Option<(u32, &Definition)> = None;
    for (first, last, definition) in all {
        if let Some((taken, other)) = highest
            && first <= taken
        {
            let message = format!("port {first} is '{}''s too", other.job.name);
            let mut mistake = about(definition, "port", Mistake::error(Code::Conflict, message));
            if let Some(spot) = other.spot("port") {
                let instances = other.job.life.instances;
                let words = if instances > 1 { format!("{instances} instances from here on") } else { "here".into() };
                mistake = mistake.also(spot, words);
            }
            mistakes.push(mistake);
        }
        if highest.is_none_or(|(taken, _)| last > taken) {
            highest = Some((last, definition));
        }
    }
}
