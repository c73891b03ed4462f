//! The keys of a job: the one table from which its checking, its documents and its plans are made.
//!
//! Order counts: what comes first is set first, and what stands below may build on it (`restart` decides what `tries`
//! means where it is not said).

use crate::key::Effect::{NextRun, Restart as Restarts, Stored};
use crate::key::{Key, OneOf, Table};
use crate::keys::records::{NEEDS, SOCKETS};
use crate::kind::{Field, Kind, Unit, Word};
use crate::rule;
use kin_core::job::{
    After, AfterRule, Again, Alive, Backoff, CatchUp, Check, Dst, JitterMode, Job, Life, Millis, OnFull, Overlap,
    Program, Ready, Restart,
};
use kin_core::schedule::Way;
use std::collections::BTreeSet;
use std::sync::OnceLock;

pub static JOB: Table<Job> = Table {
    keys: &KEYS,
    groups: &[
        ("limits", "What it may use. What no controller of this machine can keep is refused, unless `best_effort`."),
        ("ready", "How it is known that it is ready: exactly one of the ways, looked at until it says yes."),
        ("alive", "How it is known that it still does its work: one of the ways, looked at as long as it runs."),
        ("stop", "How it is asked to end. After it KILL, for the whole tree."),
        ("logs", "What is kept of its output and its history."),
    ],
    one_of: &[
        OneOf { table: "", keys: &["command", "exec"], needed: true },
        OneOf { table: "", keys: &["restart", "type"], needed: false },
        OneOf { table: "", keys: &["tries", "max_retries"], needed: false },
        OneOf {
            table: "ready",
            keys: &["ready.http", "ready.tcp", "ready.exec", "ready.line", "ready.notify", "ready.fd", "ready.after"],
            needed: true,
        },
        OneOf { table: "alive", keys: &["alive.http", "alive.tcp", "alive.exec", "alive.notify"], needed: true },
    ],
    index: OnceLock::new(),
};

/// Kept while the keys are read: what `overlap = "queue"` holds unless `overlap_max` says otherwise.
const OVERLAP_MAX: u32 = 100;

macro_rules! field {
    (|$a:ident| $get:expr, |$b:ident, $v:ident| $set:expr) => {
        Field { get: |$a: &Job| $get, set: |$b: &mut Job, $v| $set }
    };
    (|_| $get:expr, $set:expr) => {
        Field { get: |_| $get, set: $set }
    };
    ($get:expr, |$b:ident, $v:ident| $set:expr) => {
        Field { get: $get, set: |$b: &mut Job, $v| $set }
    };
    ($get:expr, $set:expr) => {
        Field { get: $get, set: $set }
    };
}

macro_rules! rlimit {
    ($name:literal, $unit:ident, $key:literal, $doc:literal, $example:literal) => {
        Key::new(
            $key,
            Kind::Rlimit(
                Unit::$unit,
                field!(|j: &Job| j.around.limits.rlimits.get($name).copied(), |j: &mut Job, v| j
                    .around
                    .limits
                    .rlimits
                    .extend([($name.into(), v)])),
            ),
        )
        .doc($doc)
        .example($example)
        .absent("the server's own")
        .effect(Restarts)
    };
}

static KEYS: [Key<Job>; 99] = [
    // What it is.
    Key::new("command", Kind::Text(&rule::SCRIPT, field!(shell, |j, v| j.program = Program::Shell(v))))
        .doc("What to run, given to `sh -c`.")
        .example("\"pg_dump app | zstd > /backup/app.zst\"")
        .effect(Restarts)
        .own(),
    Key::new("exec", Kind::Argv(field!(exec, |j, v| j.program = Program::Exec(v))))
        .doc("What to run, without a shell: the program and its arguments. `$NAME` stands for a variable of the run's environment, `$$` for `$`.")
        .example("[\"./web\", \"--port\", \"$PORT\"]")
        .effect(Restarts)
        .own(),
    Key::new("description", Kind::Text(&rule::LINE, field!(|j| filled(&j.description), |j, v| j.description = v)))
        .doc("One line for people.")
        .example("\"nightly dump of the app's database\"")
        .effect(Stored)
        .own(),
    Key::new("tags", Kind::Texts(&rule::TAG, field!(|j| Some(j.tags.clone()), |j, v| j.tags = v)))
        .doc("Words to select it by: `kin ps @app`.")
        .example("[\"app\"]")
        .effect(Stored),
    Key::new("disabled", Kind::Bool(field!(|j| Some(j.disabled), |j, v| j.disabled = v)))
        .doc("Asked to run, it records a skipped run instead.")
        .example("true"),
    // How it lives.
    Key::new("restart", Kind::Choice(&RESTART, |j| Some(restart_word(j))))
        .doc("`always` and `on-failure` make it a service: kept running, started again when it ends. `never`: it is run.")
        .example("\"always\""),
    Key::new("type", Kind::Choice(&TYPE, |_| None))
        .doc("`restart` as ProcMan and k1s write it: `continuous` is `always`, `one_time` and `one-off` are `never`.")
        .example("\"continuous\"")
        .foreign(),
    Key::new(
        "instances",
        Kind::Int { min: 0, max: Life::MOST_INSTANCES as i64, field: field!(|j| Some(i64::from(j.life.instances)), |j, v| j.life.instances = whole(v)) },
    )
    .doc("Of a service: how many runs of it there are to be. Each has a slot, numbered from 0, in `KIN_SLOT`.")
    .example("2"),
    Key::new(
        "tries",
        Kind::Count {
            min: 1,
            word: "unlimited",
            field: field!(|j| Some(j.life.again.tries.map(u64::from)), |j, v| j.life.again.tries = v.map(short)),
        },
    )
    .doc("Runs in all, the first among them, before it is given up.")
    .example("3"),
    Key::new(
        "max_retries",
        Kind::Count {
            min: 0,
            word: "unlimited",
            field: field!(|_| None, |j: &mut Job, v: Option<u64>| j.life.again.tries = v.filter(|n| *n > 0).map(short)),
        },
    )
    .doc("`tries` as krust-pm writes it: 0 is unlimited.")
    .example("3")
    .foreign(),
    Key::new("delay", Kind::Length(field!(|j| Some(j.life.again.delay), |j, v| set_delay(j, v))))
        .doc("Between a bad end and the next try; after one that could not be started `\"100ms\"` at the least.")
        .example("\"30s\""),
    Key::new("backoff", Kind::Choice(&BACKOFF, |j| Some(backoff_word(j))))
        .doc("`exponential`: each delay is twice the one before.")
        .example("\"exponential\""),
    Key::new("max_delay", Kind::Length(field!(|j| Some(j.life.again.max_delay), |j, v| j.life.again.max_delay = v)))
        .doc("No delay is longer.")
        .example("\"30m\""),
    Key::new("delay_jitter", Kind::Percent(field!(|j| Some(j.life.again.jitter_percent), |j, v| j.life.again.jitter_percent = v)))
        .doc("Up to so much of the delay is added, so that not all come back at once.")
        .example("\"20%\""),
    Key::new("healthy_after", Kind::Length(field!(|j| Some(j.life.again.healthy_after), |j, v| j.life.again.healthy_after = v)))
        .doc("A run that lived for so long begins the count of tries and the delays anew.")
        .example("\"5m\"")
        .effect(NextRun),
    Key::new("retry_on", Kind::RetryOn(field!(|j| Some(j.life.again.on.clone()), |j, v| j.life.again.on = v)))
        .doc("Which bad ends are followed by another try: `failed` (any exit code that is no success), exit codes, `signaled`, `timed-out`, `spawn-failed`, `lost`.")
        .example("[75, \"timed-out\"]"),
    Key::new(
        "success",
        Kind::Codes {
            max: 255,
            field: field!(
                |j: &Job| Some(j.life.success.iter().map(|n| u16::from(*n)).collect()),
                |j: &mut Job, v: BTreeSet<u16>| j.life.success = v.into_iter().map(|n| (n & 0xff) as u8).collect()
            ),
        },
    )
    .doc("Exit codes that are a success.")
    .example("[0, 3]")
    .effect(NextRun),
    Key::new("needs", Kind::Records(&NEEDS))
        .doc("Jobs it needs: it starts when they are ready and stops before them. With `restart = true` it is restarted when the needed one is.")
        .example("[\"db\", { job = \"cache\", restart = true }]")
        .own(),
    Key::new("timeout", Kind::LengthOr("never", field!(|j| Some(j.life.timeout), |j, v| j.life.timeout = v)))
        .doc("From a run's start to its end; then it is stopped, and has timed out. A number alone is seconds.")
        .example("\"1h 30m\"")
        .effect(NextRun),
    Key::new("linger", Kind::Length(field!(|j| Some(j.life.linger), |j, v| j.life.linger = v)))
        .doc("How long somebody may hold its output open after its own end.")
        .example("\"30s\"")
        .effect(NextRun),
    Key::new("rolling", Kind::Bool(field!(|j| Some(j.life.rolling), |j, v| j.life.rolling = v)))
        .doc("A new definition replaces the instances one by one, each once the one before is ready.")
        .example("false"),
    // Ready and alive.
    Key::new("ready.http", Kind::Text(&rule::URL, field!(|j| ready(j).and_then(http), |j, v| ready_by(j, Check::Http { url: v, codes: BTreeSet::new() }))))
        .doc("It answers there.")
        .example("\"http://127.0.0.1:$PORT/health\"")
        .effect(NextRun),
    Key::new("ready.codes", Kind::Codes { max: 599, field: field!(|j| ready(j).and_then(http_codes), |j, v| if let Some(ready) = &mut j.life.ready { set_codes(&mut ready.by, v) }) })
        .doc("Statuses that mean yes.")
        .example("[200, 204]")
        .absent("200 to 399")
        .wants("ready.http")
        .effect(NextRun),
    Key::new("ready.tcp", Kind::Text(&rule::ADDRESS, field!(|j| ready(j).and_then(tcp), |j, v| ready_by(j, Check::Tcp { address: v }))))
        .doc("Somebody listens there.")
        .example("\"127.0.0.1:$PORT\"")
        .effect(NextRun),
    Key::new("ready.exec", Kind::Program(field!(|j| ready(j).and_then(by_exec), |j, v| ready_by(j, Check::Exec(v)))))
        .doc("This program ends with 0. A text is given to `sh -c`, a list is run as it is.")
        .example("\"pg_isready -q\"")
        .effect(NextRun),
    Key::new("ready.line", Kind::Text(&rule::PATTERN, field!(|j| ready(j).and_then(line), |j, v| ready_by(j, Check::Line(v)))))
        .doc("A line of its output matches this regular expression.")
        .example("\"listening on\"")
        .effect(NextRun),
    Key::new("ready.notify", Kind::Bool(field!(|j| ready(j).and_then(notify), |j, v| if v { ready_by(j, Check::Notify) })))
        .doc("It says `READY=1` to `$NOTIFY_SOCKET`, as programs for systemd do.")
        .example("true")
        .effect(NextRun),
    Key::new("ready.fd", Kind::Int { min: 3, max: 1023, field: field!(|j| ready(j).and_then(fd), |j, v| ready_by(j, Check::Fd(whole(v)))) })
        .doc("It writes a newline to this descriptor, as programs for s6 do.")
        .example("3")
        .effect(NextRun),
    Key::new("ready.after", Kind::Length(field!(|j| ready(j).and_then(lived), |j, v| ready_by(j, Check::After(v)))))
        .doc("It has simply lived for so long.")
        .example("\"2s\"")
        .effect(NextRun),
    Key::new("ready.every", Kind::Length(field!(|j| Some(ready(j)?.every), |j, v| ready_mut(j).every = v)))
        .doc("Between two looks.")
        .example("\"500ms\"")
        .effect(NextRun),
    Key::new("ready.timeout", Kind::Length(field!(|j| Some(ready(j)?.look_timeout), |j, v| ready_mut(j).look_timeout = v)))
        .doc("Of one look.")
        .example("\"2s\"")
        .effect(NextRun),
    Key::new("ready.within", Kind::LengthOr("never", field!(|j| Some(ready(j)?.within), |j, v| ready_mut(j).within = v)))
        .doc("Not ready by then, the run has failed and is stopped.")
        .example("\"30s\"")
        .effect(NextRun),
    Key::new("alive.http", Kind::Text(&rule::URL, field!(|j| alive(j).and_then(http), |j, v| alive_by(j, Check::Http { url: v, codes: BTreeSet::new() }))))
        .doc("It answers there.")
        .example("\"http://127.0.0.1:$PORT/health\""),
    Key::new("alive.codes", Kind::Codes { max: 599, field: field!(|j| alive(j).and_then(http_codes), |j, v| if let Some(alive) = &mut j.life.alive { set_codes(&mut alive.by, v) }) })
        .doc("Statuses that mean yes.")
        .example("[200]")
        .absent("200 to 399")
        .wants("alive.http"),
    Key::new("alive.tcp", Kind::Text(&rule::ADDRESS, field!(|j| alive(j).and_then(tcp), |j, v| alive_by(j, Check::Tcp { address: v }))))
        .doc("Somebody listens there.")
        .example("\"127.0.0.1:5432\""),
    Key::new("alive.exec", Kind::Program(field!(|j| alive(j).and_then(by_exec), |j, v| alive_by(j, Check::Exec(v)))))
        .doc("This program ends with 0.")
        .example("[\"./check\"]"),
    Key::new("alive.notify", Kind::Bool(field!(|j| alive(j).and_then(notify), |j, v| if v { alive_by(j, Check::Notify) })))
        .doc("It says `WATCHDOG=1` to `$NOTIFY_SOCKET` once in each `every`, as programs for systemd do.")
        .example("true")
        .effect(NextRun),
    Key::new("alive.every", Kind::Length(field!(|j| Some(alive(j)?.every), |j, v| alive_mut(j).every = v)))
        .doc("Between two looks.")
        .example("\"30s\""),
    Key::new("alive.timeout", Kind::Length(field!(|j| Some(alive(j)?.look_timeout), |j, v| alive_mut(j).look_timeout = v)))
        .doc("Of one look.")
        .example("\"2s\""),
    Key::new("alive.failures", Kind::Int { min: 1, max: 1000, field: field!(|j| Some(i64::from(alive(j)?.failures)), |j, v| alive_mut(j).failures = whole(v)) })
        .doc("So many bad looks in a row, and it is restarted.")
        .example("5"),
    Key::new("alive.grace", Kind::Length(field!(|j| Some(alive(j)?.grace), |j, v| alive_mut(j).grace = v)))
        .doc("No look before that, from its readiness on.")
        .example("\"30s\""),
    // How it is stopped.
    Key::new("stop.signal", Kind::Signals(field!(|j| Some(j.life.stop.signals.clone()), |j, v| j.life.stop.signals = v)))
        .aliases(&["stop.signals"])
        .doc("By name or number; of a list one after the other.")
        .example("\"INT\"")
        .effect(NextRun),
    Key::new("stop.wait", Kind::Length(field!(|j| Some(j.life.stop.wait), |j, v| j.life.stop.wait = v)))
        .doc("How long each signal is given.")
        .example("\"30s\"")
        .effect(NextRun),
    Key::new("stop.command", Kind::Program(field!(|j| j.life.stop.command.clone(), |j, v| j.life.stop.command = Some(v))))
        .doc("Run first, with the run's surroundings. When it ends well the run has `wait` to end by itself, then come the signals; when it fails they come at once.")
        .example("\"./web quit\"")
        .effect(NextRun),
    Key::new("stop.command_timeout", Kind::Length(field!(|j| Some(j.life.stop.command_timeout), |j, v| j.life.stop.command_timeout = v)))
        .doc("How long that command is given.")
        .example("\"20s\"")
        .effect(NextRun),
    // When.
    Key::new("schedule", Kind::Texts(&rule::SCHEDULE, field!(|j| Some(j.time.schedules.clone()), |j, v| j.time.schedules = v)))
        .doc("When it runs: cron with 5, 6 or 7 fields, `@every 90s`, `@at 2026-12-24T18:00`, `@reboot`, systemd's after `calendar:`; a list is fine.")
        .example("\"30 2 * * *\"")
        .own(),
    Key::new("timezone", Kind::Text(&rule::ZONE, field!(|j| j.time.timezone.clone(), |j, v| j.time.timezone = Some(v))))
        .doc("In which its schedule is meant.")
        .example("\"Europe/Paris\"")
        .absent("the server's"),
    Key::new("dst", Kind::Choice(&DST, |j| Some(dst_word(j))))
        .doc("A fixed time that a clock change doubles or leaves out: `once` runs it once, `skip` not at all where it does not exist, `both` as often as the clock shows it.")
        .example("\"skip\""),
    Key::new("catch_up", Kind::Choice(&CATCH_UP, catch_up_word))
        .doc("What was missed while no server ran: `none`, `once`, `all`.")
        .example("\"once\"")
        .absent("`once` for what runs daily or more rarely, else `none`"),
    Key::new("catch_up_window", Kind::Length(field!(|j| Some(j.time.catch_up_window), |j, v| j.time.catch_up_window = v)))
        .doc("What was missed longer ago is not made up for.")
        .example("\"7d\""),
    Key::new("catch_up_max", Kind::Int { min: 1, max: 1000, field: field!(|j| Some(i64::from(j.time.catch_up_max)), |j, v| j.time.catch_up_max = whole(v)) })
        .doc("With `catch_up = \"all\"`: at most so many.")
        .example("5"),
    Key::new("catch_up_delay", Kind::Length(field!(|j| Some(j.time.catch_up_delay), |j, v| j.time.catch_up_delay = v)))
        .doc("A run that is caught up starts so long after the server found that it was missed.")
        .example("\"10m\""),
    Key::new("jitter", Kind::Length(field!(|j| Some(j.time.jitter), |j, v| j.time.jitter = v)))
        .doc("Each scheduled run starts up to so much later.")
        .example("\"10m\""),
    Key::new("jitter_mode", Kind::Choice(&JITTER_MODE, |j| Some(jitter_word(j))))
        .doc("`stable`: the same for each run of the job, by a hash of host and job. `random`: another each time.")
        .example("\"random\""),
    Key::new("calendars", Kind::Texts(&rule::WORDS, field!(|j| Some(j.time.calendars.clone()), |j, v| j.time.calendars = v)))
        .aliases(&["calendar"])
        .doc("Its schedule counts only on the days of these calendars, `[kin.calendars.NAME]`.")
        .example("[\"workdays\"]"),
    Key::new("shift", Kind::Choice(&SHIFT, |j| j.time.shift.map(Way::word)))
        .doc("What is due on a day that its calendars do not count is not left out, but moved to the same time of the `next_business_day`, or of the `previous_business_day`: the nearest that they count (in short `next`, `prev`). Those that land together are one.")
        .example("\"next_business_day\"")
        .absent("it is not run"),
    // What it waits for, and what follows.
    Key::new("overlap", Kind::Choice(&OVERLAP, |j| Some(overlap_word(j))))
        .doc("A scheduled or chained run that comes while another lives: `skip` records it as skipped, `queue` lets it wait, `allow` starts it, `replace` stops the other one first.")
        .example("\"queue\""),
    Key::new(
        "overlap_max",
        Kind::Int { min: 1, max: 100_000, field: field!(|j| if let Overlap::Queue(n) = j.gates.overlap { Some(i64::from(n)) } else { None }, |j, v| if let Overlap::Queue(n) = &mut j.gates.overlap { *n = whole(v) }) },
    )
    .doc("With `overlap = \"queue\"`: so many may wait; what comes then is skipped.")
    .example("5")
    .absent("100")
    .wants("overlap"),
    Key::new("mutex", Kind::Texts(&rule::WORDS, field!(|j| Some(j.gates.mutex.clone()), |j, v| j.gates.mutex = v)))
        .doc("At most one run of all jobs that name the same.")
        .example("\"gpu\"")
        .effect(NextRun),
    Key::new("queue", Kind::Text(&rule::WORD, field!(|j| j.gates.queue.clone(), |j, v| j.gates.queue = Some(v))))
        .doc("It waits for a slot of this queue, `[kin.queues.NAME]`.")
        .example("\"heavy\"")
        .effect(NextRun),
    Key::new("priority", Kind::Int { min: -1_000_000, max: 1_000_000, field: field!(|j| Some(i64::from(j.gates.priority)), |j, v| j.gates.priority = i32::try_from(v).unwrap_or(0)) })
        .doc("In its queue: greater goes first, then older.")
        .example("5")
        .effect(NextRun),
    Key::new("need", Kind::Counts(field!(|j| Some(j.gates.need.clone()), |j, v| j.gates.need = v)))
        .doc("What it takes of its queue, by resource; `slots` is 1 unless it is said.")
        .example("{ cpu = 2, gpu = 1 }")
        .effect(NextRun)
        .wants("queue"),
    Key::new("latch", Kind::Text(&rule::WORD, field!(|j| j.gates.latch.clone(), |j, v| j.gates.latch = Some(v))))
        .doc("Its runs are held until `kin release LATCH`.")
        .example("\"go\"")
        .effect(NextRun),
    Key::new("next", Kind::Names(field!(|j| Some(j.chain.next.clone()), |j, v| j.chain.next = v)))
        .doc("Jobs that run when it ends ok.")
        .example("\"upload, report\""),
    Key::new("error", Kind::Names(field!(|j| Some(j.chain.error.clone()), |j, v| j.chain.error = v)))
        .doc("Jobs that run when it fails or times out and is not tried again.")
        .example("\"page-me\""),
    Key::new("after", Kind::Names(field!(|j| j.chain.after.as_ref().map(|after| after.jobs.clone()), |j, v| j.chain.after = Some(After { jobs: v, rule: AfterRule::AllOk }))))
        .doc("It runs once for each round of these jobs.")
        .example("[\"extract\", \"clean\"]")
        .own(),
    Key::new("after_rule", Kind::Choice(&AFTER_RULE, |j| Some(after_word(j.chain.after.as_ref()?.rule))))
        .doc("`all-ok`: each of them ended ok since the last round. `all-done`: each of them ended. `any`: one of them ended ok.")
        .example("\"any\"")
        .absent("`all-ok`")
        .wants("after")
        .own(),
    // What is around it.
    Key::new("dir", Kind::Text(&rule::PATH, field!(|j| j.around.dir.clone(), |j, v| j.around.dir = Some(v))))
        .aliases(&["work_dir", "workdir"])
        .doc("Where it runs.")
        .example("\"/srv/web\"")
        .absent("HOME; under `kin up` the directory of the file")
        .effect(Restarts),
    Key::new("env", Kind::Map(&rule::VARIABLE, &rule::TEXT, field!(|j| Some(j.around.env.clone()), |j, v| j.around.env = v)))
        .doc("Variables of its environment. Numbers and truths are taken as they are written.")
        .example("{ RUST_LOG = \"info\" }")
        .effect(Restarts),
    Key::new("env_file", Kind::Texts(&rule::PATH, field!(|j| Some(j.around.env_files.clone()), |j, v| j.around.env_files = v)))
        .aliases(&["env_files"])
        .doc("Files of `NAME=value` lines, read when a run is made. Nobody but their owner may read them, or the run is refused.")
        .example("\".env\"")
        .effect(Restarts),
    Key::new("env_pass", Kind::Texts(&rule::GLOB, field!(|j| Some(j.around.env_pass.clone()), |j, v| j.around.env_pass = v)))
        .doc("Variables taken over from the server's own environment, by name or glob.")
        .example("[\"SSH_AUTH_SOCK\", \"AWS_*\"]")
        .effect(Restarts),
    Key::new("credentials", Kind::Map(&rule::FILE_NAME, &rule::PATH, field!(|j| Some(j.around.credentials.clone()), |j, v| j.around.credentials = v)))
        .doc("Name to file: copied into a directory of the run's own, which `$CREDENTIALS_DIRECTORY` names.")
        .example("{ db = \"/etc/kin/db.password\" }")
        .effect(Restarts),
    Key::new("user", Kind::Who(field!(|j| j.around.user.clone(), |j, v| j.around.user = Some(v))))
        .doc("As whom it runs. Only a server of root can do that.")
        .example("\"www\"")
        .absent("the server's")
        .effect(Restarts),
    Key::new("group", Kind::Who(field!(|j| j.around.group.clone(), |j, v| j.around.group = Some(v))))
        .doc("With which group.")
        .example("\"www-data\"")
        .absent("the user's own")
        .effect(Restarts),
    Key::new("umask", Kind::Umask(field!(|j| j.around.umask, |j, v| j.around.umask = Some(v))))
        .doc("In octal.")
        .example("\"027\"")
        .absent("the server's")
        .effect(Restarts),
    Key::new("nice", Kind::Int { min: -20, max: 19, field: field!(|j| j.around.nice.map(i64::from), |j, v| j.around.nice = i32::try_from(v).ok()) })
        .doc("Greater lets others go first.")
        .example("5")
        .absent("the server's")
        .effect(Restarts),
    Key::new("no_new_privileges", Kind::Bool(field!(|j| j.around.no_new_privileges, |j, v| j.around.no_new_privileges = Some(v))))
        .doc("Nothing it starts gains rights by a set-uid file: no `sudo`, no `ping`.")
        .example("true")
        .absent("true where `user` is said, else false")
        .effect(Restarts),
    Key::new("tty", Kind::Bool(field!(|j| Some(j.around.tty), |j, v| j.around.tty = v)))
        .doc("It has a terminal of its own; its two streams are one.")
        .example("true")
        .effect(Restarts),
    Key::new("port", Kind::Port(field!(|j| j.around.port.clone(), |j, v| j.around.port = Some(v))))
        .doc("`PORT` in its environment: this number plus its slot, or `auto`: a free one, kept over restarts.")
        .example("3000")
        .effect(Restarts)
        .own(),
    Key::new("sockets", Kind::Records(&SOCKETS))
        .doc("Sockets that stay open between runs and are passed to each as `LISTEN_FDS`, so that a restart refuses no connection.")
        .example("[{ name = \"http\", tcp = \"127.0.0.1:8080\" }]")
        .effect(Restarts)
        .own(),
    Key::new("limits.memory", Kind::Size(field!(|j| j.around.limits.memory, |j, v| j.around.limits.memory = Some(v))))
        .doc("Of the whole tree, by cgroup.")
        .example("\"512M\"")
        .effect(Restarts),
    Key::new("limits.cpu", Kind::Cpu(field!(|j| j.around.limits.cpu_millis, |j, v| j.around.limits.cpu_millis = Some(v))))
        .doc("Processors, of the whole tree, by cgroup.")
        .example("1.5")
        .effect(Restarts),
    Key::new("limits.pids", Kind::Int { min: 1, max: 4_194_304, field: field!(|j| j.around.limits.pids.and_then(|n| i64::try_from(n).ok()), |j, v| j.around.limits.pids = u64::try_from(v).ok()) })
        .doc("Processes and threads of the whole tree, by cgroup.")
        .example("200")
        .effect(Restarts),
    Key::new("limits.best_effort", Kind::Bool(field!(|j| Some(j.around.limits.best_effort), |j, v| j.around.limits.best_effort = v)))
        .doc("What cannot be kept here is left out, and said, instead of refusing the run.")
        .example("true")
        .effect(NextRun),
    rlimit!("nofile", Number, "limits.nofile", "Open files of each process.", "4096"),
    rlimit!("nproc", Number, "limits.nproc", "Processes of the user.", "300"),
    rlimit!("core", Size, "limits.core", "Of a core file.", "0"),
    rlimit!("stack", Size, "limits.stack", "Of each stack.", "{ soft = \"8M\", hard = \"unlimited\" }"),
    rlimit!("fsize", Size, "limits.fsize", "Of each file it writes.", "\"1G\""),
    rlimit!("data", Size, "limits.data", "Of each process's data.", "\"1G\""),
    rlimit!("as", Size, "limits.as", "Of each process's addresses.", "\"4G\""),
    rlimit!("memlock", Size, "limits.memlock", "Memory that each process may lock.", "\"unlimited\""),
    rlimit!("cpu", Seconds, "limits.cpu_time", "Processor time of each process.", "\"1h\""),
    Key::new("watch", Kind::Texts(&rule::WATCH, field!(|j| Some(j.watch.clone()), |j, v| j.watch = v)))
        .doc("Paths below its directory, as globs (`**` is any number of directories): when one changes, it is restarted. One that begins with `!` is left out; a name that begins with a dot only fits a pattern that says the dot.")
        .example("[\"src/**\"]")
        .own(),
    // What is kept.
    Key::new("logs.keep", Kind::LengthOr("forever", field!(|j| Some(j.keep.age), |j, v| j.keep.age = v)))
        .doc("How long its output stays after a run's end; the newest run's stays. The run itself is kept as `[kin.history]` says.")
        .example("\"90d\""),
    Key::new("logs.size", Kind::Size(field!(|j| Some(j.keep.bytes), |j, v| j.keep.bytes = v)))
        .doc("Output of all its ended runs together; the oldest goes first.")
        .example("\"1G\""),
    Key::new("logs.run_size", Kind::Size(field!(|j| Some(j.keep.run_bytes), |j, v| j.keep.run_bytes = v)))
        .doc("Output of one run and stream; what is cut is marked and counted.")
        .example("\"100M\"")
        .effect(NextRun),
    Key::new("logs.runs", Kind::Count { min: 1, word: "all", field: field!(|j| Some(j.keep.runs), |j, v| j.keep.runs = v) })
        .doc("How many runs stay, with their output; `[kin.history]` may say less.")
        .example("100"),
    Key::new("logs.on_full", Kind::Choice(&ON_FULL, |j| Some(on_full_word(j))))
        .doc("When the disk is full: `drop` blocks the program for a minute, then drops output and counts it; `block` waits for ever. The last words of a run that was stopped wait for room as long, and its end with them.")
        .example("\"block\"")
        .effect(NextRun),
];

const fn word<T>(word: &'static str, aliases: &'static [&'static str], set: fn(&mut T)) -> Word<T> {
    Word { word, aliases, set }
}

static RESTART: [Word<Job>; 3] = [
    word("never", &["no"], |j| restart(j, Restart::Never)),
    word("on-failure", &["on_failure"], |j| restart(j, Restart::OnFailure)),
    word("always", &[], |j| restart(j, Restart::Always)),
];
static TYPE: [Word<Job>; 2] = [
    word("continuous", &[], |j| restart(j, Restart::Always)),
    word("one_time", &["one-off", "one-time", "one_off"], |j| restart(j, Restart::Never)),
];
static BACKOFF: [Word<Job>; 2] = [
    word("fixed", &[], |j| j.life.again.backoff = Backoff::Fixed),
    word("exponential", &[], |j| j.life.again.backoff = Backoff::Exponential),
];
static DST: [Word<Job>; 3] = [
    word("once", &[], |j| j.time.dst = Dst::Once),
    word("skip", &[], |j| j.time.dst = Dst::Skip),
    word("both", &[], |j| j.time.dst = Dst::Both),
];
static CATCH_UP: [Word<Job>; 3] = [
    word("none", &[], |j| j.time.catch_up = Some(CatchUp::None)),
    word("once", &[], |j| j.time.catch_up = Some(CatchUp::Once)),
    word("all", &[], |j| j.time.catch_up = Some(CatchUp::All)),
];
static SHIFT: [Word<Job>; 2] = [
    word("next_business_day", &["next"], |j| j.time.shift = Some(Way::Next)),
    word("previous_business_day", &["previous", "prev"], |j| j.time.shift = Some(Way::Previous)),
];
static JITTER_MODE: [Word<Job>; 2] = [
    word("stable", &[], |j| j.time.jitter_mode = JitterMode::Stable),
    word("random", &[], |j| j.time.jitter_mode = JitterMode::Random),
];
static OVERLAP: [Word<Job>; 4] = [
    word("skip", &[], |j| j.gates.overlap = Overlap::Skip),
    word("queue", &[], |j| j.gates.overlap = Overlap::Queue(OVERLAP_MAX)),
    word("allow", &[], |j| j.gates.overlap = Overlap::Allow),
    word("replace", &[], |j| j.gates.overlap = Overlap::Replace),
];
static AFTER_RULE: [Word<Job>; 3] = [
    word("all-ok", &["all_ok", "all_success"], |j| after_rule(j, AfterRule::AllOk)),
    word("all-done", &["all_done"], |j| after_rule(j, AfterRule::AllDone)),
    word("any", &[], |j| after_rule(j, AfterRule::Any)),
];
static ON_FULL: [Word<Job>; 2] =
    [word("drop", &[], |j| j.keep.on_full = OnFull::Drop), word("block", &[], |j| j.keep.on_full = OnFull::Block)];

fn restart(job: &mut Job, how: Restart) {
    job.life.restart = how;
    job.life.again = if job.life.is_service() { Again::restarts() } else { Again::retries() };
}

const fn restart_word(job: &Job) -> &'static str {
    match job.life.restart {
        Restart::Never => "never",
        Restart::OnFailure => "on-failure",
        Restart::Always => "always",
    }
}

const fn backoff_word(job: &Job) -> &'static str {
    match job.life.again.backoff {
        Backoff::Fixed => "fixed",
        Backoff::Exponential => "exponential",
    }
}

const fn dst_word(job: &Job) -> &'static str {
    match job.time.dst {
        Dst::Once => "once",
        Dst::Skip => "skip",
        Dst::Both => "both",
    }
}

fn catch_up_word(job: &Job) -> Option<&'static str> {
    job.time.catch_up.map(|how| match how {
        CatchUp::None => "none",
        CatchUp::Once => "once",
        CatchUp::All => "all",
    })
}

const fn jitter_word(job: &Job) -> &'static str {
    match job.time.jitter_mode {
        JitterMode::Stable => "stable",
        JitterMode::Random => "random",
    }
}

const fn overlap_word(job: &Job) -> &'static str {
    match job.gates.overlap {
        Overlap::Skip => "skip",
        Overlap::Queue(_) => "queue",
        Overlap::Allow => "allow",
        Overlap::Replace => "replace",
    }
}

const fn after_word(rule: AfterRule) -> &'static str {
    match rule {
        AfterRule::AllOk => "all-ok",
        AfterRule::AllDone => "all-done",
        AfterRule::Any => "any",
    }
}

fn after_rule(job: &mut Job, rule: AfterRule) {
    if let Some(after) = &mut job.chain.after {
        after.rule = rule;
    }
}

const fn on_full_word(job: &Job) -> &'static str {
    match job.keep.on_full {
        OnFull::Drop => "drop",
        OnFull::Block => "block",
    }
}

fn shell(job: &Job) -> Option<String> {
    match &job.program {
        Program::Shell(text) => Some(text.clone()),
        Program::Exec(_) => None,
    }
}

fn exec(job: &Job) -> Option<Vec<String>> {
    match &job.program {
        Program::Exec(argv) => Some(argv.clone()),
        Program::Shell(_) => None,
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.into())
}

/// A delay that is longer than the longest lifts it: nobody asks for ten minutes and means five.
fn set_delay(job: &mut Job, delay: Millis) {
    job.life.again.delay = delay;
    job.life.again.max_delay = job.life.again.max_delay.max(delay);
}

/// Of a number whose range was looked at.
fn whole(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn short(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn ready(job: &Job) -> Option<&Ready> {
    job.life.ready.as_ref()
}

fn ready_mut(job: &mut Job) -> &mut Ready {
    job.life.ready.get_or_insert_with(plain_ready)
}

/// Until it says how.
pub(crate) fn plain_ready() -> Ready {
    Ready {
        by: Check::After(Millis(0)),
        every: Millis::seconds(1),
        look_timeout: Millis::seconds(5),
        within: Some(Millis::seconds(60)),
    }
}

fn ready_by(job: &mut Job, by: Check) {
    ready_mut(job).by = by;
}

fn alive(job: &Job) -> Option<&Alive> {
    job.life.alive.as_ref()
}

fn alive_mut(job: &mut Job) -> &mut Alive {
    job.life.alive.get_or_insert_with(plain_alive)
}

pub(crate) fn plain_alive() -> Alive {
    Alive {
        by: Check::After(Millis(0)),
        every: Millis::seconds(10),
        look_timeout: Millis::seconds(5),
        failures: 3,
        grace: Millis(0),
    }
}

fn alive_by(job: &mut Job, by: Check) {
    alive_mut(job).by = by;
}

trait HasCheck {
    fn by(&self) -> &Check;
}
impl HasCheck for Ready {
    fn by(&self) -> &Check {
        &self.by
    }
}
impl HasCheck for Alive {
    fn by(&self) -> &Check {
        &self.by
    }
}

fn http(of: &impl HasCheck) -> Option<String> {
    if let Check::Http { url, .. } = of.by() { Some(url.clone()) } else { None }
}

fn http_codes(of: &impl HasCheck) -> Option<BTreeSet<u16>> {
    if let Check::Http { codes, .. } = of.by() { Some(codes.clone()).filter(|codes| !codes.is_empty()) } else { None }
}

fn set_codes(by: &mut Check, to: BTreeSet<u16>) {
    if let Check::Http { codes, .. } = by {
        *codes = to;
    }
}

fn tcp(of: &impl HasCheck) -> Option<String> {
    if let Check::Tcp { address } = of.by() { Some(address.clone()) } else { None }
}

fn by_exec(of: &impl HasCheck) -> Option<Program> {
    if let Check::Exec(program) = of.by() { Some(program.clone()) } else { None }
}

fn line(of: &impl HasCheck) -> Option<String> {
    if let Check::Line(pattern) = of.by() { Some(pattern.clone()) } else { None }
}

fn notify(of: &impl HasCheck) -> Option<bool> {
    matches!(of.by(), Check::Notify).then_some(true)
}

fn fd(of: &impl HasCheck) -> Option<i64> {
    if let Check::Fd(n) = of.by() { Some(i64::from(*n)) } else { None }
}

fn lived(of: &impl HasCheck) -> Option<Millis> {
    if let Check::After(length) = of.by() { Some(*length) } else { None }
}
