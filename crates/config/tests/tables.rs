//! The table of keys is sound: every key's example is read, written and read again as the same; whatever can be said can
//! be stored; and no bytes are too strange.

use kin_config::canon;
use kin_config::keys::job::JOB;
use kin_config::keys::kin::{CALENDAR, KIN, QUEUE};
use kin_config::set::job_of_tree;
use kin_config::{Set, files, schema, tree};
use proptest::prelude::*;
use std::path::Path;

/// What a key wants beside it, that its example alone is a sound job.
fn job_with(key: &kin_config::key::Key<kin_core::job::Job>, value: &str) -> String {
    let mut text = String::from("[x]\n");
    if !["command", "exec"].contains(&key.name) {
        text += "exec = ['x']\n";
    }
    let wanted = match key.name {
        "ready.every" | "ready.timeout" | "ready.within" => "ready.tcp = '$HOME:1'\n",
        "alive.every" | "alive.timeout" | "alive.failures" | "alive.grace" => "alive.tcp = 'h:1'\n",
        "ready.codes" => "ready.http = 'http://h'\n",
        "alive.codes" => "alive.http = 'http://h'\n",
        "overlap_max" => "overlap = 'queue'\n",
        "after_rule" => "after = 'x'\n",
        "need" => "queue = 'q'\n",
        "group" => "user = 'u'\n",
        "instances" | "rolling" | "watch" => "restart = 'always'\n",
        name if name.starts_with("catch_up") || name.starts_with("jitter") => "schedule = '@reboot'\n",
        "timezone" | "dst" | "calendars" => "schedule = '@reboot'\n",
        "shift" => "schedule = '0 9 * * *'\ncalendars = 'workdays'\n",
        _ => "",
    };
    let port = if value.contains("$PORT") { "port = 'auto'\n" } else { "" };
    format!("{text}{wanted}{port}{} = {value}\n", key.name)
}

#[test]
fn every_key_has_a_sentence_and_an_example_that_is_kept() {
    for key in JOB.keys {
        assert!(key.doc.ends_with('.') && !key.example.is_empty(), "{}", key.name);
        let job = canon::parse(&job_with(key, key.example)).unwrap_or_else(|e| panic!("{}: {e:?}", key.name));
        let text = canon::canonical(&job);
        assert_eq!(canon::parse(&text).as_ref(), Ok(&job), "{}: {text}", key.name);
        if !key.foreign {
            // It says something, and what it says differs from nothing.
            let leaf = key.name.split('.').next_back().expect("a name");
            assert!(text.contains(leaf), "{}: {text}", key.name);
        }
        let set = Set::of_text(
            "a.toml",
            &format!(
                "[kin.calendars.workdays]\n[kin.queues.heavy]\n[kin.queues.q]\nresources={{cpu=2,gpu=1}}\n{}",
                job_with(key, key.example)
            ),
        );
        let unknown = |m: &&kin_config::Mistake| m.is_error() && !["unknown-job", "cycle"].contains(&m.code.word());
        assert_eq!(set.report.mistakes.iter().find(unknown), None, "{}", key.name);
    }
}

#[test]
fn every_setting_has_a_sentence_and_an_example_that_is_read() {
    let of = |before: &str, name: &str, doc: &str, example: &str| {
        assert!(doc.ends_with('.'), "{name}");
        let set = Set::of_text("a.toml", &format!("{before}\n{name} = {example}\n"));
        assert!(set.is_whole(), "{}", set.report.text(false));
    };
    KIN.keys.iter().for_each(|key| of("[kin]", key.name, key.doc, key.example));
    QUEUE.keys.iter().for_each(|key| of("[kin.queues.q]", key.name, key.doc, key.example));
    for key in CALENDAR.keys {
        assert!(key.doc.ends_with('.'), "{}", key.name);
        let wanted = key.wants.map_or("", |_| "ics = 'holidays.ics'\n");
        let text = format!("[kin.calendars.c]\n{wanted}{} = {}\n", key.name, key.example);
        let event = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261225\nEND:VEVENT\nEND:VCALENDAR\n";
        let input = |path: &str, text: &str| files::text(Path::new(path), 0, text.into());
        let set = Set::read(vec![input("a.toml", &text), input("holidays.ics", event)]);
        assert!(set.is_whole(), "{}", set.report.text(false));
    }
}

#[test]
fn every_default_that_is_said_aloud_changes_nothing() {
    let bare = canon::parse("[x]\nexec = ['x']\n").expect("a job");
    for key in JOB.keys.iter().filter(|key| !["command", "exec"].contains(&key.name) && key.wants.is_none()) {
        let Some(value) = key.kind.write(&bare) else { continue };
        let job = canon::parse(&format!("[x]\nexec = ['x']\n{} = {}\n", key.name, value.toml()));
        assert_eq!(job.as_ref(), Ok(&bare), "{}", key.name);
    }
    assert_eq!(canon::canonical(&bare), "[x]\nexec = [\"x\"]\n");
}

#[test]
fn the_schema_knows_every_key() {
    let schema = schema::schema();
    let job = schema["patternProperties"].as_object().and_then(|all| all.values().next()).expect("a job");
    for key in JOB.keys {
        let one = match key.name.split_once('.') {
            Some((group, name)) => &job["properties"][group]["properties"][name],
            None => &job["properties"][key.name],
        };
        assert_eq!(one["description"], key.doc, "{}", key.name);
        let shared = &schema["properties"]["defaults"]["properties"];
        let there = match key.name.split_once('.') {
            Some((group, name)) => !shared[group]["properties"][name].is_null(),
            None => !shared[key.name].is_null(),
        };
        assert_eq!(there, key.shared, "{}", key.name);
    }
    assert!(schema["properties"]["kin"]["properties"]["queues"]["patternProperties"].is_object());
}

#[test]
fn a_request_is_judged_by_the_same_table() {
    let read = |text: &str| {
        let json = serde_json::from_str(text).expect("json");
        job_of_tree("web", &tree::of_json(&json).expect("a tree"))
    };
    let job =
        read(r#"{"exec": ["w", "$PORT"], "port": 80, "ready": {"http": "http://h", "codes": [200]}, "dir": null}"#);
    let text = canon::canonical(&job.expect("a job"));
    assert_eq!(text, "[web]\nexec = [\"w\", \"$PORT\"]\nready.http = \"http://h\"\nready.codes = [200]\nport = 80\n");
    let wrong = read(r#"{"exec": ["w", "$POTR"], "redy": {}, "nice": 2.5}"#).expect_err("wrong");
    let said: Vec<_> = wrong.iter().map(|m| (m.key.as_str(), m.code.word())).collect();
    assert_eq!(said, [("web.redy", "unknown-key"), ("web.nice", "wrong-type"), ("web.exec", "variable")]);
}

/// Values that a key may have, by its kind.
fn value(name: &'static str) -> BoxedStrategy<String> {
    use kin_config::kind::Kind;
    let key = JOB.keys.iter().find(|key| key.name == name).expect("a key");
    let text =
        || "\\PC{1,12}".prop_filter("visible", |t| !t.trim().is_empty() && !t.contains('\0')).prop_map(|t| toml(&t));
    let word = || "[a-z_][a-z0-9_.-]{0,5}".prop_map(|t| toml(&t));
    let length = || (0u64..1_000_000_000_000).prop_map(|ms| toml(&kin_config::quantity::show_length(ms)));
    let size = || (0u64..i64::MAX as u64).prop_map(|n| n.to_string());
    let list = |one: BoxedStrategy<String>| {
        prop::collection::vec(one, 1..4).prop_map(|all| format!("[{}]", all.join(", "))).boxed()
    };
    match &key.kind {
        Kind::Bool(_) if matches!(name, "ready.notify" | "alive.notify") => Just("true".to_string()).boxed(),
        Kind::Bool(_) => any::<bool>().prop_map(|b| b.to_string()).boxed(),
        Kind::Int { min, max, .. } => (*min..=*max).prop_map(|n| n.to_string()).boxed(),
        Kind::Count { min, word, .. } => {
            let unlimited = toml(word);
            prop_oneof![(*min..1_000_000).prop_map(|n| n.to_string()), Just(unlimited)].boxed()
        }
        Kind::Cpu(_) => (1u32..4_000_000).prop_map(|n| format!("{}", f64::from(n) / 1000.0)).boxed(),
        Kind::Percent(_) => (0u8..=100).prop_map(|n| format!("'{n}%'")).boxed(),
        Kind::Text(..) | Kind::Texts(..) if name == "schedule" => prop_oneof![
            Just("'@reboot'".to_string()),
            (1u32..100_000).prop_map(|s| format!("'@every {s}s'")),
            (0u8..60, 0u8..24).prop_map(|(minute, hour)| format!("'{minute} {hour} * * *'")),
        ]
        .boxed(),
        Kind::Text(..) if name == "dir" => "[/~$][a-z]{1,5}".prop_map(|t| toml(&t.replace('$', "$HOME/"))).boxed(),
        Kind::Text(rule, _) | Kind::Texts(rule, _) => match rule.word {
            "URL" => Just("'http://h/$HOME'".to_string()).boxed(),
            "host:port" => (1u16..).prop_map(|n| format!("'h:{n}'")).boxed(),
            "time zone" => Just("'UTC'".to_string()).boxed(),
            "name" | "tag" | "regular expression" | "glob" => word().boxed(),
            _ => text().boxed(),
        },
        Kind::Choice(words, _) => {
            let all: Vec<String> =
                words.iter().flat_map(|w| std::iter::once(w.word).chain(w.aliases.iter().copied())).map(toml).collect();
            prop::sample::select(all).boxed()
        }
        Kind::Length(_) => length().boxed(),
        Kind::LengthOr(word, _) => prop_oneof![length(), Just(toml(word))].boxed(),
        Kind::Size(_) => size().boxed(),
        Kind::Who(_) => prop_oneof![word(), (0..u32::MAX).prop_map(|n| n.to_string())].boxed(),
        Kind::Map(..) if name == "env" => prop::collection::btree_map("[A-Z_][A-Z_0-9]{0,3}", "v\\PC{0,5}", 0..4)
            .prop_map(|all| table(all.into_iter().map(|(k, v)| (k, toml(&v)))))
            .boxed(),
        Kind::Map(..) => prop::collection::btree_map("[A-Z ä\"]{1,4}", "v\\PC{0,5}", 0..4)
            .prop_map(|all| table(all.into_iter().map(|(k, v)| (k, toml(&v)))))
            .boxed(),
        Kind::Counts(_) => prop::collection::btree_map("[a-z]{1,4}", any::<u32>(), 0..4)
            .prop_map(|all| table(all.into_iter().map(|(k, v)| (k, v.to_string()))))
            .boxed(),
        Kind::Codes { max, .. } => list((0..=*max).prop_map(|n| n.to_string()).boxed()),
        Kind::Umask(_) => (0u32..=0o777).prop_map(|n| format!("'{n:03o}'")).boxed(),
        Kind::Signals(_) => list((1u8..=64).prop_map(|n| n.to_string()).boxed()),
        Kind::Program(_) => prop_oneof![text(), list(text().boxed())].boxed(),
        Kind::Argv(_) => list(text().boxed()),
        Kind::Names(_) => list(word().boxed()),
        Kind::Port(_) => prop_oneof![(1u16..).prop_map(|n| n.to_string()), Just("'auto'".to_string())].boxed(),
        Kind::Rlimit(..) => prop_oneof![
            (0u32..1_000_000).prop_map(|n| n.to_string()),
            Just("'unlimited'".to_string()),
            (0u32..9999).prop_map(|n| format!("{{ soft = {n}, hard = {} }}", n + 1)),
        ]
        .boxed(),
        Kind::RetryOn(_) => list(
            prop_oneof![
                (0u8..).prop_map(|n| n.to_string()),
                prop::sample::select(vec!["failed", "signaled", "timed-out", "spawn-failed", "lost"]).prop_map(toml)
            ]
            .boxed(),
        ),
        Kind::Records(_) if name == "needs" => {
            list(prop_oneof![word(), word().prop_map(|w| format!("{{ job = {w}, restart = true }}"))].boxed())
        }
        Kind::Records(_) => list(
            (word(), prop::sample::select(vec!["tcp = 'h:1'", "udp = 'h:2'", "unix = '/s'"]))
                .prop_map(|(w, at)| format!("{{ name = {w}, {at} }}"))
                .boxed(),
        ),
    }
}

fn toml(text: &str) -> String {
    kin_config::tree::Value::text(text).toml()
}

fn table(entries: impl Iterator<Item = (String, String)>) -> String {
    let all: Vec<String> = entries.map(|(k, v)| format!("{} = {v}", kin_config::tree::toml_key(&k))).collect();
    format!("{{ {} }}", all.join(", "))
}

/// A job that says some keys, each with a value of its kind.
fn any_job() -> impl Strategy<Value = String> {
    let all: Vec<&'static str> = JOB
        .keys
        .iter()
        .map(|key| key.name)
        .filter(|n| !["command", "exec", "type", "max_retries"].contains(n))
        .collect();
    let some = prop::sample::subsequence(all.clone(), 0..all.len().min(30));
    let program = prop_oneof![
        value("command").prop_map(|v| format!("command = {v}\n")),
        value("exec").prop_map(|v| format!("exec = {v}\n"))
    ];
    (program, some, prop::sample::select(vec![0usize, 1, 2, 3, 4, 5, 6]), any::<bool>()).prop_flat_map(
        |(program, names, ready, alive)| {
            let ways = ["http", "tcp", "exec", "line", "notify", "fd", "after"].map(|way| format!("ready.{way}"));
            let lively = ["alive.tcp"];
            let mut names: Vec<&'static str> = names
                .into_iter()
                .filter(|name| {
                    !ways.contains(&(*name).to_string())
                        && !["alive.http", "alive.tcp", "alive.exec", "alive.notify"].contains(name)
                })
                .filter(|name| (*name != "ready.codes" || ready == 0) && *name != "alive.codes")
                .collect();
            let way = JOB.keys.iter().map(|key| key.name).find(|name| *name == ways[ready]).expect("a way");
            names.push(way);
            if alive || names.iter().any(|name| name.starts_with("alive.")) {
                names.push(lively[0]);
            }
            for (one, wants) in [("overlap_max", "overlap"), ("need", "queue"), ("after_rule", "after")] {
                if names.contains(&one) && !names.contains(&wants) {
                    names.push(wants);
                }
            }
            let values: Vec<_> = names.iter().map(|name| (Just(*name), value(name))).collect();
            values.prop_map(move |values| {
                let lines: String = values.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
                format!("[x]\n{program}{lines}")
            })
        },
    )
}

proptest! {
    #[test]
    fn what_can_be_said_can_be_stored(text in any_job()) {
        let job = canon::parse(&text);
        prop_assert!(job.is_ok(), "{}\n{:?}", text, job);
        let job = job.expect("a job");
        let stored = canon::canonical(&job);
        let back = canon::parse(&stored);
        prop_assert_eq!(back.as_ref(), Ok(&job), "{}", stored);
        // And once more, by way of JSON.
        let by_json = job_json(&job);
        prop_assert_eq!(by_json.as_ref(), Ok(&job));
    }

    #[test]
    fn two_jobs_differ_by_a_key_exactly_when_they_differ(a in any_job(), b in any_job()) {
        let read = |text: &str| canon::parse(text).map_err(|e| TestCaseError::fail(format!("{text}: {e:?}")));
        let (a, b) = (read(&a)?, read(&b)?);
        prop_assert_eq!(canon::diff(&a, &b).is_empty(), a == b);
        prop_assert!(canon::diff(&a, &a).is_empty());
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        look(bytes);
    }

    #[test]
    fn no_text_is_too_strange(text in "([\\[\\]{}=.,\"'a-c \n#$0-9]|kin|ready|exec|needs|env|\\[a\\]\n|\u{feff}|\r|ä){0,60}") {
        look(text.into_bytes());
    }

    #[test]
    fn no_change_of_a_good_text_is_too_strange(text in any_job(), at in any::<prop::sample::Index>(), with in "\\PC{0,3}|[\\[\\]{}=.,\"'\n\0]{1,3}", cut in 0usize..5) {
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, with.chars());
        look(chars.into_iter().collect::<String>().into_bytes());
    }
}

fn job_json(job: &kin_core::job::Job) -> Result<std::sync::Arc<kin_core::job::Job>, String> {
    let tree = tree::of_json(&canon::json(job)).ok_or("no tree")?;
    let text = format!("[{}]\n", kin_config::tree::toml_key(job.name.as_str()));
    let kin_config::tree::Value::Table(entries) = &tree.value else { return Err("no table".into()) };
    let lines: String =
        entries.iter().map(|e| format!("{} = {}\n", kin_config::tree::toml_key(&e.key), e.tree.value.toml())).collect();
    canon::parse(&format!("{text}{lines}")).map_err(|e| format!("{e:?}"))
}

/// Whatever it is, it is judged, and the judgement can be shown.
fn look(bytes: Vec<u8>) {
    let set = Set::read(vec![files::text(Path::new("a.toml"), 0, bytes)]);
    let (text, json) = (set.report.text(true), set.report.json());
    assert_eq!(text.is_empty(), set.report.mistakes.is_empty());
    assert_eq!(json.as_array().map(Vec::len), Some(set.report.mistakes.len()));
}
