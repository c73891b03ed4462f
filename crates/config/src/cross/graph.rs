//! Jobs that name jobs: whether those are there, and whether the ways between them come back to where they began.

use super::at_word;
use crate::guess;
use crate::job::Definition;
use crate::mistake::{Code, Mistake};
use crate::set::Set;
use kin_core::JobName;
use kin_core::job::Job;
use std::collections::{BTreeMap, BTreeSet};

fn named(job: &Job) -> [(&'static str, Vec<&JobName>); 4] {
    [
        ("needs", job.life.needs.iter().map(|need| &need.job).collect()),
        ("next", job.chain.next.iter().collect()),
        ("error", job.chain.error.iter().collect()),
        ("after", job.chain.after.iter().flat_map(|after| &after.jobs).collect()),
    ]
}

pub(super) fn names(set: &Set, definition: &Definition, mistakes: &mut Vec<Mistake>) {
    for (key, jobs) in named(&definition.job) {
        for name in jobs {
            match set.jobs.get(name) {
                None if set.may_lack(name.as_str()) => {}
                None => {
                    let near = guess::hint(name.as_str(), set.jobs.keys().map(JobName::as_str));
                    let mistake = Mistake::error(Code::UnknownJob, format!("there is no job '{name}'{near}"));
                    mistakes.push(at_word(definition, key, name.as_str(), mistake));
                }
                Some(other) if key == "needs" && other.job.disabled && !definition.job.disabled => {
                    let message = format!("'{name}' is disabled, and so this will wait for it");
                    let mistake = Mistake::warning(Code::Conflict, message);
                    mistakes.push(at_word(definition, key, name.as_str(), mistake));
                }
                Some(_) => {}
            }
        }
    }
}

/// Each circle once, in `needs` and in `after`; `next` and `error` may go round.
pub(super) fn cycles(set: &Set, mistakes: &mut Vec<Mistake>) {
    let needs = |job: &'_ Job| job.life.needs.iter().map(|need| need.job.clone()).collect::<Vec<_>>();
    let after = |job: &'_ Job| job.chain.after.iter().flat_map(|after| after.jobs.clone()).collect::<Vec<_>>();
    circles(set, "needs", "needs", &needs, mistakes);
    circles(set, "after", "comes after", &after, mistakes);
}

fn circles(set: &Set, key: &'static str, verb: &str, of: &dyn Fn(&Job) -> Vec<JobName>, mistakes: &mut Vec<Mistake>) {
    let edges: BTreeMap<&JobName, Vec<JobName>> = set
        .jobs
        .iter()
        .map(|(name, definition)| (name, of(&definition.job)))
        .filter(|(_, to)| !to.is_empty())
        .collect();
    let mut done: BTreeSet<&JobName> = BTreeSet::new();
    for start in edges.keys() {
        // Depth first without recursion: a chain of 10,000 jobs is no reason to overflow a stack.
        let mut path: Vec<(&JobName, usize)> = Vec::new();
        let mut on_path: BTreeSet<&JobName> = BTreeSet::new();
        if done.contains(*start) {
            continue;
        }
        path.push((start, 0));
        on_path.insert(start);
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let to = edges.get(at).and_then(|to| to.get(*next));
            *next += 1;
            let Some((to, _)) = to.and_then(|to| edges.get_key_value(to)) else {
                if to.is_none() {
                    done.insert(at);
                    on_path.remove(at);
                    path.pop();
                }
                continue;
            };
            if on_path.contains(*to) {
                let circle: Vec<&JobName> = path.iter().map(|(name, _)| *name).skip_while(|name| name != to).collect();
                say(set, key, verb, &circle, mistakes);
            } else if !done.contains(*to) {
                path.push((to, 0));
                on_path.insert(to);
            }
        }
    }
}

fn say(set: &Set, key: &'static str, verb: &str, circle: &[&JobName], mistakes: &mut Vec<Mistake>) {
    let Some(first) = circle.first() else { return };
    let message = match circle {
        [only] => format!("'{only}' {verb} itself"),
        _ => {
            let mut words: Vec<String> = circle.iter().map(|name| format!("'{name}'")).collect();
            words.push(format!("'{first}'"));
            format!("a circle: {}", words.join(&format!(" {verb} ")))
        }
    };
    let Some(definition) = set.jobs.get(*first) else { return };
    let second = circle.get(1).unwrap_or(first);
    let mut mistake = at_word(definition, key, second.as_str(), Mistake::error(Code::Cycle, message));
    for (n, name) in circle.iter().enumerate().skip(1) {
        let to = circle.get(n + 1).unwrap_or(first);
        let spot = set.jobs.get(*name).and_then(|d| super::spot_of(d, key, to.as_str()));
        if let Some(spot) = spot {
            mistake = mistake.also(spot, format!("'{name}' {verb} '{to}'"));
        }
    }
    mistakes.push(mistake);
}
