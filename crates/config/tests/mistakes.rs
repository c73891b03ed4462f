//! What people are told: all that is wrong at once, each with its place and what to write instead.

use kin_config::set::Form;
use kin_config::source::Source;
use kin_config::{Input, Set};
use std::path::Path;

fn told(text: &str) -> String {
    let set = Set::of_text("jobs.toml", text);
    format!("{}{}", set.report.text(false), set.report.sum())
}

fn files(files: &[(&str, usize, &str)]) -> Set {
    let input = |(path, rank, text): &(&str, usize, &str)| Input {
        source: Source::new(Path::new(path), *text),
        rank: *rank,
        form: Form::Written,
        mistakes: Vec::new(),
    };
    Set::read(files.iter().map(input).collect())
}

/// The codes and messages, without their pictures.
fn messages(text: &str) -> Vec<String> {
    let report = Set::of_text("jobs.toml", text).report;
    report.mistakes.iter().map(|m| format!("{} {}: {}", m.code.word(), m.key, m.message)).collect()
}

#[test]
fn everything_is_said_at_once_with_its_place() {
    insta::assert_snapshot!(told(
        "\
[kin]
durabilty = \"fast\"

[backup]
command = \"pg_dump app | zstd > /backup/app.zst\"
shedule = \"30 2 * * *\"
timeout = \"soon\"
next = \"upload,  raport\"
tries = 0

[report]
exec = \"./report --all\"
umask = 27
overlap = \"skp\"

[upload]
exec = [\"./upload\", \"$BUCKET\", \"${PORT}\"]
memory = \"1G\"
stop = { signal = \"TREM\" }
"
    ));
}

#[test]
fn a_text_that_breaks_off_is_read_as_far_as_it_goes() {
    insta::assert_snapshot!(told(
        "\
[web]
exec = [\"./web\"
restart = \"alwys\"

[db]
command = \"db
nice = 99
nice = 3

[db]
command = 'again'
"
    ));
}

#[test]
fn a_circle_is_shown_whole() {
    insta::assert_snapshot!(told(
        "\
[a]
command = 'a'
needs = ['b']
[b]
command = 'b'
needs = ['x', { job = 'c', restart = true }]
[c]
command = 'c'
needs = 'a'
[x]
command = 'x'
after = ['x']
"
    ));
}

#[test]
fn the_same_job_in_two_files_is_said_with_both_places() {
    let set = files(&[
        ("/home/u/.kin_dir/a.toml", 0, "[backup]\ncommand = 'a'\n"),
        ("/home/u/.kin_dir/b.toml", 0, "\n[backup]\ncommand = 'b'\n"),
        ("/home/u/.pm_dir/c.toml", 1, "[backup]\ncommand = 'c'\n"),
    ]);
    insta::assert_snapshot!(set.report.text(false));
}

#[test]
fn for_programs_the_same_is_json() {
    let set = Set::of_text("jobs.toml", "[web]\ncommand = 'x'\nshedule = '@reboot'\n[web]\ncommand='y'\n");
    insta::assert_snapshot!(serde_json::to_string_pretty(&set.report.json()).expect("json"));
}

#[test]
fn long_lines_and_bad_characters_do_no_harm() {
    let text =
        format!("[web]\ncommand = 'x'\n\tenv = {{ A = '{}', B = 1, C = [] }} # \u{9b}2J\u{202e}\n", "x".repeat(200));
    let shown = told(&text);
    assert!(!shown.contains(['\u{9b}', '\u{202e}']), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() < 140), "{shown}");
    insta::assert_snapshot!(shown);
}

/// The marks stand below what is wrong, and no further.
#[test]
fn a_wrong_part_of_a_schedule_is_marked_by_itself() {
    let shown = told("[a]\ncommand = 'x'\nschedule = ['30 2 * * *', '75 2 * FOO */0']\n");
    let marks: Vec<&str> = shown.lines().filter(|line| line.contains('^')).map(str::trim_end).collect();
    assert_eq!(marks.iter().map(|line| line.matches('^').count()).collect::<Vec<_>>(), [2, 3, 1], "{shown}");
}

#[test]
fn what_a_schedule_cannot_come_to_is_warned_of() {
    let calendars = "[kin.calendars.never]\nweekdays=[]\n[kin.calendars.work]\nweekdays='mon,tue,wed,thu,fri'\n\
                     [kin.calendars.rest]\nweekdays='sat,sun'\n[kin.calendars.feast]\nweekdays=[]\ninclude='2150-12-25'\n";
    let never = "conflict kin.calendars.never: the calendar 'never' counts no day: nothing that names it is ever run";
    for (keys, said) in [
        ("", None),
        ("schedule='0 9 * * *'\ncalendars='work'", None),
        ("schedule='0 9 * * *'\ncalendars='never'", None),
        ("schedule='0 9 * * SAT'\ncalendars='work'\nshift='next_business_day'", None),
        ("schedule=['0 9 * * SAT', '0 9 * * MON']\ncalendars='work'", None),
        (
            "schedule='0 9 * * SAT'\ncalendars='work'",
            Some(
                "conflict a.calendars: the calendar 'work' forbids each day on which it is due, for ten years to come",
            ),
        ),
        (
            "schedule='0 9 * * *'\ncalendars=['work', 'rest']",
            Some(
                "conflict a.calendars: the calendars 'work', 'rest' forbid each day on which it is due, for ten years to come",
            ),
        ),
        ("schedule=[]", Some("missing a.schedule: 'schedule' is an empty list: it is due at no time")),
        (
            "schedule=['0 9 * * *', ' 0 9 * * *']",
            Some(
                "twice a.schedule: the schedule ' 0 9 * * *' stands there twice; what is due at one instant is run once",
            ),
        ),
        (
            "schedule='@at 2026-01-02T03:04:05Z'",
            Some("schedule a.schedule: '@at 2026-01-02T03:04:05Z' is over: it is due at no time to come"),
        ),
        (
            "schedule='@at 2026-01-02 03:04'",
            Some("schedule a.schedule: '@at 2026-01-02 03:04' is over: it is due at no time to come"),
        ),
        (
            "schedule='@at 2190-03-28T02:30'\ntimezone='Europe/Berlin'\ndst='skip'",
            Some(
                "schedule a.schedule: '@at 2190-03-28T02:30' is at no time: clocks in Europe/Berlin skip it, and dst = \"skip\" leaves it out",
            ),
        ),
        (
            "schedule='@at 2190-03-28T02:30'\ndst='skip'\n[defaults]\ntimezone='Europe/Berlin'",
            Some(
                "schedule a.schedule: '@at 2190-03-28T02:30' is at no time: clocks in Europe/Berlin skip it, and dst = \"skip\" leaves it out",
            ),
        ),
        (
            "schedule='@at 2190-03-28T02:30'\ndst='skip'\n[kin]\ntimezone='Europe/Paris'",
            Some(
                "schedule a.schedule: '@at 2190-03-28T02:30' is at no time: clocks in Europe/Paris skip it, and dst = \"skip\" leaves it out",
            ),
        ),
        ("schedule='@at 2190-03-28T02:30'\ntimezone='Europe/Berlin'", None),
        ("schedule='@at 2190-03-28T03:30'\ntimezone='Europe/Berlin'\ndst='skip'", None),
        ("schedule=['@reboot', '@at 2190-01-02 03:04', '@every 1d']", None),
        (
            "schedule='0 9 * * *'\ncatch_up='none'\ncatch_up_max=3",
            Some("conflict a.catch_up_max: 'catch_up_max' means nothing unless catch_up = \"all\""),
        ),
        (
            "schedule='0 9 * * *'\ncatch_up='none'\ncatch_up_delay='3m'",
            Some("conflict a.catch_up_delay: 'catch_up_delay' means nothing with catch_up = \"none\""),
        ),
        ("schedule='0 9 * * *'\ncatch_up='all'\ncatch_up_max=3\ncatch_up_delay='3m'\ncatch_up_window='3d'", None),
    ] {
        let text = format!("{calendars}[a]\ncommand='x'\n{keys}\n");
        let set = Set::of_text("jobs.toml", &text);
        assert!(set.is_whole(), "{}", set.report.text(false));
        let all = messages(&text);
        let want: Vec<&str> = [never].into_iter().chain(said).collect();
        let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
        all.sort_unstable_by_key(|one| *one != never);
        assert_eq!(all, want, "{keys}");
    }
}

/// One mistake is one message, at the place where it is mended.
#[test]
fn nothing_is_said_twice_and_each_is_said_at_its_place() {
    let queue = "[kin.queues.heavy]\nslots = 1\n[a]\ncommand = 'x'\nqueue = 'heavy'\n";
    let shown = told(&format!("{queue}need = {{ slots = 5 }}\n"));
    assert!(shown.contains("6 | need = { slots = 5 }\n  |                  ^\n"), "{shown}");
    let of_overlap = messages("[a]\ncommand = 'x'\noverlap_max = 5\n");
    assert_eq!(of_overlap, ["missing a.overlap_max: 'overlap_max' means nothing without 'overlap'"]);
    let unclosed = told("[a]\ncommand = 'x'\n[b\ncommand = 'y'\n");
    assert_eq!(unclosed.matches("unclosed table").count(), 1, "{unclosed}");
    assert_eq!(messages("[a]\nexec = ['x', 5]\n"), ["wrong-type a.exec: each word of 'exec' is a text, not a number"]);
    let variable = messages("[a]\nexec = ['x', '$NOPE']\n");
    assert_eq!(variable, ["variable a.exec: $NOPE is not defined"]);
}

#[test]
fn what_cannot_go_together() {
    for (text, said) in [
        ("[a]\ncommand='x'\nexec=['x']", "conflict a.exec: 'exec' and 'command' exclude each other"),
        ("[a]\ntags=[]", "missing a: one of 'command', 'exec' is missing"),
        ("[a]\ncommand='x'\ninstances=2", "conflict a.instances: 'instances' are of a service only"),
        ("[a]\ncommand='x'\nwatch='*'", "conflict a.watch: 'watch' is of a service only"),
        ("[a]\ncommand='x'\njitter='1m'", "missing a.jitter: 'jitter' means nothing without 'schedule'"),
        (
            "[a]\ncommand='x'\nschedule='61 * * * *'\njitter='1m'\ntimezone='UTC'\ncatch_up='once'\ndst='skip'",
            "schedule a.schedule: 'schedule': minute: 61 is too large; minutes are 0 to 59",
        ),
        (
            "[a]\ncommand='x'\nready={line='(['}",
            "wrong-value a.ready.line: 'ready.line': it is no regular expression: unclosed character class",
        ),
        (
            "[a]\ncommand='x'\nready={http='http://127.0.0.1:99999/'}",
            "wrong-value a.ready.http: 'ready.http': '99999' is no port",
        ),
        (
            "[a]\ncommand='x'\nalive={http='http://[::1]:0/x:y'}",
            "wrong-value a.alive.http: 'alive.http': '0' is no port",
        ),
        (
            "[a]\ncommand='x'\nalive={}",
            "missing a.alive: 'alive' says not how: one of 'alive.http', 'alive.tcp', 'alive.exec', 'alive.notify' is missing",
        ),
        (
            "[a]\ncommand='x'\n[a.ready]",
            "missing a.ready: 'ready' says not how: one of 'ready.http', 'ready.tcp', 'ready.exec', 'ready.line', 'ready.notify', 'ready.fd', 'ready.after' is missing",
        ),
        (
            "[a]\ncommand='x'\ncredentials={'../x'='/etc/x'}",
            "wrong-value a.credentials.../x: '../x' cannot be the name of a file",
        ),
        (
            "[a]\ncommand='x'\nenv={'1A'='x'}",
            "wrong-value a.env.1A: '1A' cannot be the name of a variable: it has letters, digits and _, and no digit first",
        ),
        (
            "[a]\ncommand='x'\nenv={'a b'='x'}",
            "wrong-value a.env.a b: 'a b' cannot be the name of a variable: it has letters, digits and _, and no digit first",
        ),
        (
            "[a]\ncommand='x'\nrestart='always'\nwatch='/abs/src/**'",
            "wrong-value a.watch: 'watch': it names files below the job's directory; set 'dir', and write \"src/**\"",
        ),
        (
            "[a]\ncommand='x'\nrestart='always'\nwatch=['src/**', '!../made']",
            "wrong-value a.watch: 'watch': nothing above the job's directory is watched; set 'dir' to the one above",
        ),
        ("[a]\ncommand='x'\nuser=4294967295", "wrong-value a.user: 'user' is a name, or a number from 0 to 4294967294"),
        (
            "[a]\ncommand='x'\nlimits={cpu='2'}",
            "wrong-type a.limits.cpu: 'limits.cpu' is a number of processors, as 1.5, not a text",
        ),
        (
            "[a]\ncommand='x'\ndir='rel'",
            "wrong-value a.dir: 'dir' is an absolute path, or begins at ~, and 'rel' does not say where it begins",
        ),
        ("[a]\ncommand='x'\ngroup='g'", "missing a.group: 'group' means nothing without 'user'"),
        (
            "[a]\ncommand='x'\noverlap='skip'\noverlap_max=3",
            "conflict a.overlap_max: 'overlap_max' means nothing unless overlap = \"queue\"",
        ),
        ("[a]\ncommand='x'\nneed={cpu=1}", "missing a.need: 'need' means nothing without 'queue'"),
        ("[a]\ncommand='x'\ndelay='10s'\nmax_delay='5s'", "conflict a.max_delay: 'max_delay' is shorter than 'delay'"),
        (
            "[a]\ncommand='x'\nready={every='1s'}",
            "missing a.ready: 'ready' says not how: one of 'ready.http', 'ready.tcp', 'ready.exec', 'ready.line', 'ready.notify', 'ready.fd', 'ready.after' is missing",
        ),
        (
            "[a]\ncommand='x'\nready={tcp='h:1', fd=3}",
            "conflict a.ready.fd: 'ready.fd' and 'ready.tcp' exclude each other",
        ),
        (
            "[a]\ncommand='x'\nrestart='always'\nschedule='@reboot'",
            "conflict a.schedule: a service is there all the time: 'schedule' has no meaning",
        ),
        (
            "[a]\ncommand='x'\ntype='continuous'\nrestart='always'",
            "conflict a.restart: 'restart' and 'type' exclude each other",
        ),
        ("[a]\ncommand='x'\ndir='/'\nworkdir='/'", "conflict a.workdir: 'dir' and 'workdir' are the same key"),
        (
            "[a]\ncommand='x'\nrestart='always'\ninstances=9\nport=65530",
            "conflict a.port: 9 instances from port 65530 on need port 65538, which there is not",
        ),
        (
            "[a]\ncommand='x'\nrestart='always'\ninstances=3\nport=3000\n[b]\ncommand='x'\nport=3002",
            "conflict b.port: port 3002 is 'a''s too",
        ),
        ("[a]\ncommand='x'\nqueue='q'", "unknown-queue a.queue: there is no queue 'q'"),
        (
            "[kin.queues.q]\n[a]\ncommand='x'\nqueue='q'\nneed={gpu=1}",
            "conflict a.need.gpu: the queue 'q' has no 'gpu'",
        ),
        (
            "[kin.queues.q]\nresources={cpu=8}\n[a]\ncommand='x'\nqueue='q'\nneed={cpu=9}",
            "conflict a.need.cpu: it needs 9 of 'cpu', and the queue 'q' has 8: it would never run",
        ),
        (
            "[a]\ncommand='x'\nschedule='0 9 * * *'\nshift='next_business_day'",
            "missing a.shift: 'shift' means nothing without 'calendars': every day counts",
        ),
        (
            "[kin.calendars.c]\n[a]\ncommand='x'\nschedule='@every 5m'\ncalendars='c'\nshift='previous'",
            "conflict a.shift: 'shift' moves times of day, and '@every 5m' has none",
        ),
        (
            "[kin.calendars.c]\nics='holidays.txt'",
            "wrong-value kin.calendars.c.ics: 'ics': a calendar file's name ends in .ics; write \"holidays.ics\"",
        ),
        (
            "[kin.calendars.c]\nics='holidays.ics'",
            "file kin.calendars.c.ics: the file of calendar 'c', holidays.ics, was not read",
        ),
        (
            "[a]\ncommand='x'\nschedule='@reboot'\ncalendars='c'",
            "unknown-calendar a.calendars: there is no calendar 'c'",
        ),
        (
            "[a]\ncommand='x'\nschedule=['@reboot', ' ']",
            "schedule a.schedule: 'schedule': it is empty; write five: minute hour day-of-month month day-of-week (six begin with seconds, seven end with years)",
        ),
        ("[a]\nexec=['x', '$HOME', '$FOO']", "variable a.exec: $FOO is not defined"),
        ("[a]\nexec=['x', '$(date)']", "variable a.exec: this $ begins no name"),
        ("[a]\nexec=['x']\ndir='/srv/$USR'", "variable a.dir: $USR is not defined, did you mean 'USER'?"),
        (
            "['a b']\ncommand='x'",
            "job-name a b: 'a b': a job's name has only letters, digits, '_', '.' and '-', not ' '",
        ),
        ("[a.b]\ncommand='x'", "unknown-key a.b: unknown key 'b'"),
        ("command = 'x'", "unknown-key command: 'command' stands before any [job], and is no setting"),
        (
            "[defaults]\ncommand='x'",
            "conflict defaults.command: 'command' is each job's own, and cannot stand in [defaults]",
        ),
        (
            "[a]\ncommand='x'\ntimezone='Mars/Base'\nschedule='@reboot'",
            "wrong-value a.timezone: 'timezone': there is no time zone 'Mars/Base'; zones have names as Europe/Paris or UTC",
        ),
        (
            "[kin]\ntimezone='Europe/Berln'",
            "wrong-value kin.timezone: 'timezone': there is no time zone 'Europe/Berln', did you mean 'Europe/Berlin'?",
        ),
        (
            "[a]\ncommand='x'\nschedule=['0 3 * * *', 'calendar: daily Europe/Belin']",
            "schedule a.schedule: 'schedule': time zone: there is no time zone 'Europe/Belin', did you mean 'Europe/Berlin'?",
        ),
    ] {
        assert_eq!(messages(text), [said], "{text}");
    }
}

#[test]
fn users_and_groups_are_names_or_numbers() {
    let set =
        Set::of_text("jobs.toml", "[a]\ncommand='x'\nuser=0\ngroup=65534\n[b]\ncommand='x'\nuser='www'\ngroup='33'\n");
    assert_eq!(set.report.text(false), "");
    let who = |name: &str| {
        let around = &set.jobs[&kin_core::JobName::parse(name).expect("a name")].job.around;
        (around.user.clone(), around.group.clone())
    };
    assert_eq!(who("a"), (Some("0".into()), Some("65534".into())));
    assert_eq!(who("b"), (Some("www".into()), Some("33".into())));
}

#[test]
fn what_others_write_is_understood() {
    let set = Set::of_text(
        "jobs.toml",
        "[a]\ncommand='x'\ntype='continuous'\nmax_retries=3\nwork_dir='/tmp'\n[b]\ncommand='x'\ntype='one-off'\nmax_retries=0\nnext='a , c'\nerror='c'\n[c]\ncommand='x'\ntimeout=5000\n",
    );
    assert!(set.is_whole(), "{}", set.report.text(false));
    let job = |name: &str| set.jobs.values().find(|d| d.job.name.as_str() == name).expect("a job").job.clone();
    let (a, b, c) = (job("a"), job("b"), job("c"));
    assert!(a.life.is_service() && !b.life.is_service());
    assert_eq!((a.life.again.tries, b.life.again.tries), (Some(3), None));
    assert_eq!(a.around.dir.as_deref(), Some("/tmp"));
    assert_eq!(b.chain.next.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(c.life.timeout.map(|t| t.0), Some(5_000_000));
}

#[test]
fn defaults_are_shared_and_a_job_has_the_last_word() {
    let set = files(&[
        (
            "/c/kin.toml",
            0,
            "[defaults]\nerror='page'\nnice=1\nenv={A='1',B='1'}\nready.after='1s'\ninstances=2\ncatch_up='all'\ngroup='g'\n[page]\ncommand='x'\n",
        ),
        (
            "/c/other.toml",
            0,
            "[defaults]\nenv={B='2',C='2'}\nmax_delay='1s'\n[web]\nexec=['w','$A']\nenv.C='3'\nready={tcp='h:1'}\n[up]\nexec=['x']\nrestart='always'\ndelay='5s'\n",
        ),
    ]);
    assert!(set.is_whole(), "{}", set.report.text(false));
    let job = |name: &str| set.jobs.values().find(|d| d.job.name.as_str() == name).expect("a job").job.clone();
    let (page, web, up) = (job("page"), job("web"), job("up"));
    assert!(page.chain.error.is_empty());
    assert_eq!((web.chain.error.len(), web.around.nice, web.life.instances, web.time.catch_up), (1, Some(1), 1, None));
    assert_eq!(web.around.env.values().map(String::as_str).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert!(matches!(&web.life.ready.as_ref().expect("ready").by, kin_core::job::Check::Tcp { .. }));
    assert_eq!((up.life.instances, up.life.again.max_delay, web.around.group.clone()), (2, up.life.again.delay, None));
    for definition in set.jobs.values() {
        let text = kin_config::canon::canonical(&definition.job);
        assert_eq!(kin_config::canon::parse(&text).as_deref(), Ok(&*definition.job), "{text}");
    }
}

#[test]
fn a_source_as_canonical_text_says_the_same_jobs() {
    let text = "[defaults]\nnice=1\nenv.A='1'\ninstances=3\n[a]\ncommand='x'\nnext='b'\n['b.c']\nexec=['x','$A']\nrestart='always'\n[b]\ncommand='y'\n";
    let set = Set::of_text("a.toml", text);
    assert!(set.is_whole(), "{}", set.report.text(false));
    let again = Set::of_text("a.toml", &kin_config::canon::canonical_of(&set, 0));
    assert!(again.is_whole(), "{}", again.report.text(false));
    assert_eq!((again.plain(), again.jobs.len()), (set.plain(), 3));
}

#[test]
fn settings_come_from_all_files_and_each_once() {
    let set = files(&[
        (
            "/c/a.toml",
            0,
            "[kin]\ndurability='fast'\nlisten=['127.0.0.1:7070', {address='1298', dialect='k1s'}]\nhistory.keep='forever'\n[kin.queues.q]\nslots=2\nresources={gpu=1}\n",
        ),
        (
            "/c/b.toml",
            0,
            "[kin]\non_exit='stop'\n[kin.queues.r]\n[kin.calendars.work]\nweekdays='mon, fri'\nexclude=['2026-12-25']\n",
        ),
    ]);
    assert!(set.is_whole(), "{}", set.report.text(false));
    let settings = &set.settings;
    assert_eq!((settings.durability.word(), settings.on_exit.word(), settings.history.age), ("fast", "stop", None));
    assert_eq!(settings.listen[1].dialect.as_deref(), Some("k1s"));
    assert_eq!(settings.queues["q"].slots.values().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(settings.queues["r"].slots["slots"], 1);
    assert_eq!(settings.calendars["work"].weekdays.iter().copied().collect::<Vec<_>>(), [0, 4]);
    let set = files(&[("/c/a.toml", 0, "[kin]\non_exit='stop'\n"), ("/c/b.toml", 0, "[kin]\non_exit='leave'\n")]);
    assert_eq!(set.report.mistakes[0].message, "'kin.on_exit' is said in two files");
    assert_eq!(set.report.mistakes[0].also.len(), 1);
}

/// What a text that breaks off cannot have defined is said with all the rest; of what it may have, nothing is said.
#[test]
fn names_that_nobody_defines_are_said_beside_what_breaks_the_text() {
    let text = "[a]\ncommand = 'x'\nneeds = ['nope', 'later', 'half', 'deep']\nqueue = 'noq'\ncalendars = 'nocal'\ntries =\n\
                [b]\ncommand = 'x'\nnext = 'gone'\nqueue = 'small'\n[later]\ncommand = 'x'\n['half'\ncommand = 'x'\n\
                deep.command = \n[kin.queues.small]\nslots = \n";
    let said = messages(text);
    for want in ["no job 'nope'", "no queue 'noq'", "no calendar 'nocal'", "no job 'gone'"] {
        assert!(said.iter().any(|line| line.contains(want)), "{want}: {said:#?}");
    }
    for known in ["'later'", "'half'", "'deep'", "'small'"] {
        assert!(!said.iter().any(|line| line.contains(known)), "{known}: {said:#?}");
    }
    // In another file as well; and where nothing could be read, anything may stand.
    let other = ("b.toml", 0, "[x]\ncommand = 'x'\nneeds = ['nope', 'y']\n");
    let set = files(&[("a.toml", 0, "[y]\ncommand = \n"), other]);
    let said: Vec<&str> = set.report.mistakes.iter().map(|m| m.message.as_str()).collect();
    assert!(said.contains(&"there is no job 'nope'") && said.len() == 2, "{said:#?}");
    let (mut inputs, unread) =
        (Vec::new(), kin_config::files::Reader::of_process().file(Path::new("/no/such.toml"), 0));
    inputs.push(unread);
    inputs.push(Input {
        source: Source::new(Path::new(other.0), other.2),
        rank: 0,
        form: Form::Written,
        mistakes: Vec::new(),
    });
    assert_eq!(Set::read(inputs).report.mistakes.len(), 1);
}
