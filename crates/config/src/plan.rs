//! What a change of definitions means: which jobs come, go, and change, by which keys, and what follows from each.

use crate::canon::{self, KeyChange};
use crate::key::Effect;
use kin_core::JobName;
use kin_core::job::Job;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub added: Vec<Arc<Job>>,
    pub removed: Vec<Arc<Job>>,
    pub changed: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub from: Arc<Job>,
    pub to: Arc<Job>,
    pub keys: Vec<KeyChange>,
    /// The strongest that follows from one of its keys.
    pub effect: Effect,
}

impl Plan {
    pub fn between(from: &BTreeMap<JobName, Arc<Job>>, to: &BTreeMap<JobName, Arc<Job>>) -> Plan {
        let mut plan = Plan::default();
        for (name, job) in to {
            match from.get(name) {
                None => plan.added.push(job.clone()),
                Some(before) if Arc::ptr_eq(before, job) || before == job => {}
                Some(before) => plan.changed.push(Change::between(before, job)),
            }
        }
        plan.removed = from.iter().filter(|(name, _)| !to.contains_key(*name)).map(|(_, job)| job.clone()).collect();
        plan
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// A line for each job.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for job in &self.added {
            let follows = match (job.life.is_service(), job.disabled) {
                (true, false) => "adds and starts",
                (true, true) | (false, _) => "adds",
            };
            out += &format!("{follows} {}\n", job.name);
        }
        for job in &self.removed {
            let follows = if job.life.is_service() { "stops and removes" } else { "removes" };
            out += &format!("{follows} {}\n", job.name);
        }
        for change in &self.changed {
            out += &format!("{}\n", change.text());
        }
        if out.is_empty() { "nothing changes\n".into() } else { out }
    }

    pub fn json(&self) -> serde_json::Value {
        let names = |jobs: &[Arc<Job>]| jobs.iter().map(|job| job.name.to_string()).collect::<Vec<_>>();
        serde_json::json!({
            "added": names(&self.added),
            "removed": names(&self.removed),
            "changed": self.changed.iter().map(Change::json).collect::<Vec<_>>(),
        })
    }
}

impl Change {
    fn between(from: &Arc<Job>, to: &Arc<Job>) -> Change {
        let keys = canon::diff(from, to);
        let service = from.life.is_service() && to.life.is_service();
        let strongest = keys.iter().map(|key| key.effect).max().unwrap_or(Effect::Stored);
        // Only a service has a process that must be another one at once.
        let effect = if strongest == Effect::Restart && !service { Effect::NextRun } else { strongest };
        Change { from: from.clone(), to: to.clone(), keys, effect }
    }

    /// `restarts web: env.RUST_LOG changed`
    fn text(&self) -> String {
        let verb = match self.effect {
            Effect::Restart => "restarts",
            Effect::AtOnce => "changes",
            Effect::NextRun => "changes from the next run on",
            Effect::Stored => "stores",
        };
        let words: Vec<String> = self.keys.iter().map(KeyChange::text).collect();
        format!("{verb} {}: {}", self.to.name, words.join(", "))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "job": self.to.name.to_string(),
            "effect": self.effect.word(),
            "keys": self.keys.iter().map(KeyChange::json).collect::<Vec<_>>(),
        })
    }
}

impl KeyChange {
    /// `dir changed`, `env.A added`, `nice removed`
    pub fn text(&self) -> String {
        let what = match (&self.from, &self.to) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(_), Some(_)) => "changed",
        };
        format!("{} {what}", self.key)
    }

    pub fn json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "key": self.key, "effect": self.effect.word() });
        if !self.secret {
            json["from"] = serde_json::json!(self.from);
            json["to"] = serde_json::json!(self.to);
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::Set;

    fn jobs(text: &str) -> BTreeMap<JobName, Arc<Job>> {
        let set = Set::of_text("a.toml", text);
        assert!(set.is_whole(), "{}", set.report.text(false));
        set.plain()
    }

    #[test]
    fn a_plan_names_the_keys_and_what_follows() {
        let before = jobs(
            "[web]\nexec = ['web']\nrestart = 'always'\nenv.RUST_LOG = 'info'\nenv.OLD = '1'\n\n[gone]\ncommand = 'x'\n\n[one]\ncommand = 'x'\ntimeout = 5\n[same]\ncommand='x'\n[told]\ncommand='x'\n[lone]\ncommand='x'\n",
        );
        let after = jobs(
            "[defaults]\ntags = []\n[web]\nrestart = 'always'\nexec = ['web']\nenv.RUST_LOG = 'debug'\nnice = 3\n\n[one]\ncommand = 'y'\ntimeout = 5\n[same]\ncommand='x'\n[told]\ncommand='x'\ndescription='now'\n[lone]\ncommand='x'\nschedule='@reboot'\n[new]\ncommand='x'\n[up]\nexec=['x']\nrestart='on-failure'\n",
        );
        let plan = Plan::between(&before, &after);
        assert_eq!(
            plan.text(),
            "adds new\nadds and starts up\nremoves gone\nchanges lone: schedule added\n\
             changes from the next run on one: command changed\nstores told: description added\n\
             restarts web: env.OLD removed, env.RUST_LOG changed, nice added\n"
        );
        let json = plan.json();
        assert_eq!(json["changed"][3]["keys"][1], serde_json::json!({ "key": "env.RUST_LOG", "effect": "restart" }));
        assert_eq!(
            json["changed"][3]["keys"][2],
            serde_json::json!({ "key": "nice", "effect": "restart", "from": null, "to": "3" })
        );
        assert!(Plan::between(&after, &jobs_of(&after)).is_empty());
        assert_eq!(Plan::between(&after, &after).text(), "nothing changes\n");
    }

    /// The same by way of their canonical texts.
    fn jobs_of(jobs: &BTreeMap<JobName, Arc<Job>>) -> BTreeMap<JobName, Arc<Job>> {
        let read = |job: &Arc<Job>| canon::parse(&canon::canonical(job)).expect("reads itself");
        jobs.iter().map(|(name, job)| (name.clone(), read(job))).collect()
    }
}
