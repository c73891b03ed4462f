//! Defined jobs under the same kills: services that crash and are rolled, queues, a mutex, chains, retries, a latch, a stop
//! command; all in use while processes of kin die.
//!
//! Each run says in one file when it begins and when it is about to end, by one append each. So the file is one true order
//! of all of them, and what must never be is read off it: a slot with two runs, a service with more than its
//! instances, a queue with more than its slots, a run that began twice. What must have happened is asked of kin: every run
//! that was accepted ended as it was to, and each step of a chain followed once.

use super::field::Field;
use crate::http::{Http, Request};
use crate::rng::Rng;
use crate::server::Server;
use crate::wait::{let_time_pass, within};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// No run of these jobs takes longer, waits at its gates included.
const LIFE: Duration = Duration::from_secs(90);
/// Between them no `web` serves nobody.
const SERVES: &str = "x serves";
const CLOSES: &str = "x closes";
const QUEUED: [&str; 3] = ["queue-a", "queue-b", "queue-c"];
const QUEUE_SLOTS: usize = 2;
const EXCLUSIVE: [&str; 2] = ["mutex-a", "mutex-b"];
const SERVICES: [(&str, usize); 4] = [("web", 3), ("app", 2), ("crash", 2), ("polite", 1)];
const LANES: u64 = 6;

/// What the job file says.
pub fn definitions() -> String {
    let say = |word: &str| format!("echo {word} $KIN_JOB $KIN_SLOT $KIN_RUN_ID >> $HOME/told");
    let serve = |body: &str| {
        let (begins, ends) = (say("s"), say("e"));
        // A TERM that comes to the shell's child before that is `sleep` is lost in the shell's own handler; so its end is made.
        format!("trap '{ends}; kill -9 $! 2>&-; exit 0' TERM; {begins}; echo up; {body}")
    };
    let for_ever = "while :; do sleep 600 & wait $!; done";
    let crashing = format!("sleep 0.$(($$ % 5 + 1)) & wait $!; {}; exit 1", say("e"));
    let task = |seconds: &str, code: u8| format!("{}; sleep {seconds}; {}; exit {code}", say("s"), say("e"));
    let mut text = format!(
        "[kin.queues.narrow]\nslots = {QUEUE_SLOTS}\n\
         [web]\ncommand = \"\"\"{}\"\"\"\nrestart = 'always'\ninstances = 3\nready = {{ line = '^up$' }}\nstop = {{ wait = '1h' }}\n\
         [app]\ncommand = \"\"\"{}\"\"\"\nrestart = 'always'\ninstances = 2\nneeds = ['web']\nstop = {{ wait = '1h' }}\n\
         [crash]\ncommand = \"\"\"{}\"\"\"\nrestart = 'on-failure'\ninstances = 2\ndelay = '50ms'\nmax_delay = '400ms'\nstop = {{ wait = '1h' }}\n\
         [polite]\ncommand = \"\"\"{}\"\"\"\nrestart = 'always'\nport = 'auto'\n\
         stop = {{ command = \"echo a $KIN_JOB $KIN_SLOT $KIN_RUN_ID >> $HOME/told; touch $HOME/quit-$KIN_PID\", wait = '1h' }}\n",
        serve(for_ever),
        serve(for_ever),
        serve(&crashing),
        format_args!(
            "trap '' TERM; {}; while ! test -e $HOME/quit-$$; do sleep 0.05; done; rm $HOME/quit-$$; {}",
            say("s"),
            say("e")
        ),
    );
    let mut add = |name: &str, command: &str, more: &str| {
        text += &format!("[{name}]\ncommand = \"\"\"{command}\"\"\"\noverlap = 'allow'\n{more}\n");
    };
    for name in QUEUED {
        add(name, &task("0.05", 0), "queue = 'narrow'");
    }
    for name in EXCLUSIVE {
        add(name, &task("0.03", 0), "mutex = 'one'");
    }
    add("first", &task("0.01", 0), "next = 'second'");
    add("second", &task("0.01", 0), "next = 'third'");
    add("third", &task("0.01", 0), "");
    add("flaky", &task("0.01", 3), "tries = 3\ndelay = '30ms'\nerror = 'page'");
    add("page", &task("0.01", 0), "");
    add("held", &task("0.01", 0), "latch = 'gate'");
    text
}

/// One lane of runs: asked for with a key, waited for, judged with all that follows from it.
fn lane(field: &Field, lane: u64) -> Result<(), String> {
    let mut http = field.server().http();
    let mut rng = Rng::part(field.options.seed, (lane + 1) << 40);
    let mut count = 0;
    while !field.is_finishing() {
        count += 1;
        let key = format!("jobs-{}-{lane}-{count}", field.options.seed);
        let name = match rng.below(7) {
            0 | 1 => *rng.pick(&QUEUED),
            2 => *rng.pick(&EXCLUSIVE),
            3 => "first",
            4 => "flaky",
            5 => "held",
            _ => {
                turn(field, &mut http, &mut rng)?;
                continue;
            }
        };
        one(field, &mut http, name, &key).map_err(|e| format!("{name} ({key}): {e}"))?;
    }
    Ok(())
}

/// A service is restarted, one by one or at once, or is scaled; the queue is paused for a moment.
fn turn(field: &Field, http: &mut Http, rng: &mut Rng) -> Result<(), String> {
    let (path, body) = match rng.below(5) {
        0 => ("/v1/jobs/web/restart", json!({"rolling": true})),
        1 => ("/v1/jobs/polite/restart", json!({"rolling": false})),
        2 => ("/v1/jobs/crash/start", json!({})),
        3 => ("/v1/jobs/app/restart", json!({"rolling": rng.percent(50)})),
        _ => {
            send(http, &Request::post("/v1/queues/narrow", &json!({"paused": true})))?;
            let_time_pass(Duration::from_millis(rng.below(100)));
            ("/v1/queues/narrow", json!({"paused": false}))
        }
    };
    send(http, &Request::post(path, &body))?;
    field.note(|report| report.turns += 1);
    let_time_pass(Duration::from_millis(rng.below(200)));
    Ok(())
}

fn send(http: &mut Http, request: &Request) -> Result<Value, String> {
    let answer = http.insist(request, PATIENCE).map_err(|e| e.to_string())?;
    if answer.status / 100 == 2 { Ok(answer.json()) } else { Err(format!("{}: {}", answer.status, answer.json())) }
}

fn one(field: &Field, http: &mut Http, name: &str, key: &str) -> Result<(), String> {
    let asked = send(http, &Request::post(format!("/v1/jobs/{name}/run"), &json!({})).key(key))?;
    let id = asked["id"].as_str().ok_or("no id")?.to_string();
    // The same request, the same run.
    let again = send(http, &Request::post(format!("/v1/jobs/{name}/run"), &json!({})).key(key))?;
    if again["id"] != asked["id"] {
        return Err(format!("the same key made {} after {id}", again["id"]));
    }
    if name == "held" {
        release_until_it_goes(http, &id)?;
    }
    let code = u64::from(name == "flaky") * 3;
    let mut ended = end(http, &id, code)?;
    field.note(|report| report.job_runs += 1);
    match name {
        "first" => {
            for next in ["second", "third"] {
                ended = followed(http, &ended, next, "chain", 0)?;
                field.note(|report| report.followed += 1);
            }
        }
        "flaky" => {
            for attempt in [2, 3] {
                ended = followed(http, &ended, "flaky", "retry", 3)?;
                if ended["attempt"] != attempt {
                    return Err(format!("attempt {attempt} calls itself {}", ended["attempt"]));
                }
                field.note(|report| report.followed += 1);
            }
            followed(http, &ended, "page", "chain", 0)?;
        }
        _ => {}
    }
    Ok(())
}

/// Another lane may have let it go already.
fn release_until_it_goes(http: &mut Http, id: &str) -> Result<(), String> {
    let gone = within(LIFE, || {
        let run = send(http, &Request::get(format!("/v1/runs/{id}"))).ok()?;
        if run["state"] != "held" {
            return Some(());
        }
        // 404: nobody waits there, because the answer to the same release was lost.
        drop(http.insist(&Request::post("/v1/latches/gate/release", &json!({})), PATIENCE));
        None
    });
    gone.ok_or_else(|| format!("{id} stays held"))
}

fn end(http: &mut Http, id: &str, code: u64) -> Result<Value, String> {
    let wait = Request::get(format!("/v1/runs/{id}/wait?timeout_ms=500"));
    let ended = within(LIFE, || match http.insist(&wait, PATIENCE) {
        Ok(answer) if answer.status == 200 => Some(Ok(answer.json())),
        Ok(answer) if answer.status == 202 => None,
        Ok(answer) => Some(Err(format!("{}: {}", answer.status, answer.json()))),
        Err(e) => Some(Err(e.to_string())),
    });
    let run = match ended {
        Some(ended) => ended?,
        None => return Err(format!("{id} does not end: {}", send(http, &Request::get(format!("/v1/runs/{id}")))?)),
    };
    let outcome = if code == 0 { "ok" } else { "failed" };
    if run["outcome"] == outcome && run["exit_code"] == code {
        return Ok(run);
    }
    Err(format!("ended otherwise than as {outcome} ({code}): {run}"))
}

/// The one run that an end led to; it has ended as it was to, too.
fn followed(http: &mut Http, before: &Value, job: &str, kind: &str, code: u64) -> Result<Value, String> {
    let id = before["id"].as_str().ok_or("no id")?;
    let no = &id[id.len() - 8..];
    let list = send(http, &Request::get(format!("/v1/runs?job={job}&limit=1000")))?;
    let of_it = |run: &&Value| run["trigger"]["kind"] == kind && run["trigger"]["run"] == no;
    let all: Vec<&Value> =
        list["runs"].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter(of_it).collect();
    // It is a row of the very commit that ended the one before.
    let [next] = all[..] else { return Err(format!("{id} was followed by {} runs of {job}: {all:?}", all.len())) };
    end(http, next["id"].as_str().ok_or("no id")?, code)
}

fn mark(server: &Server, words: &str) -> Result<(), String> {
    crate::witness::append(&server.home().join("told"), words).map_err(|e| e.to_string())
}

/// Waits until every service has all of its runs, and says from when on they serve.
pub fn begin(server: &Server) {
    for (name, instances) in SERVICES.into_iter().filter(|(name, _)| *name != "crash") {
        server.running(name, instances);
    }
    server.job_when("web", "all are ready", |job| {
        job["runs"].as_array().is_some_and(|runs| runs.iter().all(|run| run["ready_at"].is_string()))
    });
    mark(server, SERVES).expect("the file of what was told");
}

pub fn lanes<'scope, 'env: 'scope>(scope: &'scope std::thread::Scope<'scope, 'env>, field: &'env Field) {
    for n in 0..LANES {
        scope.spawn(move || field.guarded("job lane", || lane(field, n)));
    }
}

/// All is stopped, and what was told is judged.
pub fn finish(field: &Field) -> Result<(), String> {
    let server = field.server();
    mark(server, CLOSES)?;
    let mut http = server.http();
    for (name, _) in SERVICES {
        send(&mut http, &Request::post(format!("/v1/jobs/{name}/stop"), &json!({})))?;
    }
    let none = |list: Value| list["runs"].as_array().is_some_and(Vec::is_empty).then_some(());
    let over = within(LIFE, || none(send(&mut http, &Request::get("/v1/runs?state=live&limit=1000")).ok()?));
    over.ok_or("runs are live long after everything was stopped")?;
    told(&server.home().join("told"))
}

/// What the runs told, in the order in which it was told.
fn told(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let (mut begun, mut asked): (BTreeSet<&str>, BTreeSet<&str>) = Default::default();
    let mut open: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut serves = false;
    for (n, line) in (1..).zip(text.lines()) {
        let wrong = |what: String| Err(format!("{what}, at line {n} of {}: {line}", path.display()));
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["x", _] => serves = line == SERVES,
            ["s", job, slot, run] => {
                if !begun.insert(run) {
                    return wrong(format!("{run} began twice"));
                }
                let service = SERVICES.iter().find(|(name, _)| *name == job);
                if service.is_some()
                    && let Some((other, _)) = open.iter().find(|(_, of)| **of == (job, slot))
                {
                    return wrong(format!("slot {slot} of {job} has {other} already"));
                }
                if job == "app" && serves && !open.values().any(|(job, _)| *job == "web") {
                    return wrong("what it needs is not there".into());
                }
                open.insert(run, (job, slot));
                let count = |names: &[&str]| open.values().filter(|(job, _)| names.contains(job)).count();
                for (names, most) in [(&QUEUED[..], QUEUE_SLOTS), (&EXCLUSIVE[..], 1)] {
                    if count(names) > most {
                        return wrong(format!("{} at once of {names:?}", count(names)));
                    }
                }
                if let Some((_, instances)) = service.filter(|(name, instances)| count(&[name]) > *instances) {
                    return wrong(format!("more than {instances} of {job}"));
                }
            }
            ["e", job, _, run] => {
                open.remove(run);
                if job == "web" && serves && !open.values().any(|(job, _)| *job == "web") {
                    return wrong("no web is left".into());
                }
            }
            ["a", _, _, run] => {
                if !asked.insert(run) {
                    return wrong(format!("{run} was asked to end twice"));
                }
            }
            _ => return wrong("half a line".into()),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("all is over, and these never said so: {open:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invariant_is_noticed_when_it_is_broken() {
        let dir = tempfile::tempdir().expect("a directory");
        let judge = |lines: &[&str]| {
            let path = dir.path().join("told");
            std::fs::write(&path, lines.join("\n") + "\n").expect("writes");
            told(&path).err().unwrap_or_default()
        };
        assert_eq!(
            judge(&["s web 0 a", SERVES, "s web 1 b", "e web 0 a", "s web 0 c", CLOSES, "e web 0 c", "e web 1 b"]),
            ""
        );
        for (lines, why) in [
            (&["s web 0 a", "e web 0 a", "s web 0 a"][..], "began twice"),
            (&["s web 0 a", "s web 0 b"], "slot 0 of web has a already"),
            (&["s crash 0 a", "s crash 1 b", "s crash 2 c"], "more than 2 of crash"),
            (&["s queue-a 0 a", "s queue-b 0 b", "s queue-a 1 c"], "3 at once"),
            (&["s mutex-a 0 a", "s mutex-b 0 b"], "2 at once"),
            (&["s web 0 a", SERVES, "e web 0 a"], "no web is left"),
            (&[SERVES, "s app 0 a"], "not there"),
            (&["a polite 0 a", "a polite 0 a"], "asked to end twice"),
            (&["s first 0 a"], "never said so"),
            (&["s first"], "half a line"),
        ] {
            let said = judge(lines);
            assert!(said.contains(why), "{lines:?}: {said:?}");
        }
    }
}
