//! What the reference says of a change of each key is what the rules do.

use kin_config::canon;
use kin_config::key::Effect;
use kin_config::keys::job::JOB;
use kin_core::{Follows, differences};

/// Keys whose examples need others beside them.
fn beside(key: &str) -> &'static str {
    match key {
        "ready.codes" => "ready.http = 'http://x/'\n",
        "alive.codes" => "alive.http = 'http://x/'\n",
        "ready.every" | "ready.timeout" | "ready.within" => "ready.tcp = '127.0.0.1:1'\n",
        "alive.every" | "alive.timeout" | "alive.failures" | "alive.grace" => "alive.tcp = '127.0.0.1:1'\n",
        "overlap_max" => "overlap = 'queue'\n",
        "need" => "queue = 'q'\n",
        "after_rule" => "after = ['a']\n",
        _ => "",
    }
}

#[test]
fn every_key_has_the_effect_that_its_page_says() {
    let mut wrong = Vec::new();
    for key in JOB.keys.iter().filter(|key| !matches!(key.name, "command" | "exec")) {
        let (name, beside) = (key.name, beside(key.name));
        let without = format!("[x]\nexec = ['y']\n{beside}");
        let value = match name {
            "restart" => "\"on-failure\"",
            "type" => "\"continuous\"",
            "disabled" | "ready.notify" | "alive.notify" => "true",
            _ => key.example,
        };
        let (Ok(before), Ok(after)) = (canon::parse(&without), canon::parse(&format!("{without}{name} = {value}\n")))
        else {
            wrong.push(format!("{name} = {value} cannot be read alone"));
            continue;
        };
        let follows = differences(&before, &after).iter().map(|difference| difference.follows).max();
        let fits = match (key.effect, follows) {
            // It may be what it was before, by its default.
            (_, None) => false,
            (Effect::Restart, Some(follows)) => follows == Follows::Restart,
            (Effect::NextRun, Some(follows)) => follows == Follows::Stored,
            (Effect::AtOnce | Effect::Stored, Some(follows)) => follows == Follows::AtOnce,
        };
        // What makes a check where there was none is as much as the whole table of it.
        let whole = name.starts_with("alive.") && follows == Some(Follows::AtOnce);
        if !fits && !whole {
            wrong.push(format!("{name}: the page says {:?}, the rules {follows:?}", key.effect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
