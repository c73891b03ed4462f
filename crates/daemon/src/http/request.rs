//! A wish for a run, from the words of the contract into core terms. What is wrong with it is said here; what may not be
//! is decided elsewhere.

use super::error::{Answer, Failure};
use super::inherited;
use crate::engine::{Key, Submit};
use crate::surroundings::{DEFAULT_PATH, programs};
use kin_api::RunRequest;
use kin_api::run::from_wire;
use kin_config::signal;
use kin_core::wish::{NewRun, Serial};
use kin_core::{JobName, Trigger};
use kin_keeper::spec::{Output, Spec, Stdin};

const NAME_MAX: usize = 100;
const TAGS_MAX: usize = 32;
/// A century: no clock of the keeper overflows before.
const WAIT_MAX_MS: u64 = 100 * 366 * 86_400_000;
/// Said by kin alone.
const OWN: [&str; 5] = ["KIN_JOB", "KIN_RUN_ID", "KIN_SLOT", "KIN_ATTEMPT", "KIN_SOCKET"];

/// Who asks, and what every run is given.
#[derive(Clone, Debug)]
pub struct Asker {
    pub by: String,
    /// The soft limit of open files to give back.
    pub files_soft: Option<u64>,
}

pub fn submit(request: &RunRequest, key: Option<&str>, asker: &Asker) -> Answer<Submit> {
    let new = new_run(request, asker)?;
    let spec = spec(request, asker)?;
    let key = key.map(|text| Answer::Ok(Key { text: text.to_string(), content: content(request)? })).transpose()?;
    Ok(Submit { new, spec, key })
}

fn new_run(request: &RunRequest, asker: &Asker) -> Answer<NewRun> {
    let program = request.argv.first().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| Failure::bad("argv must name a program"))?;
    let job = match &request.job {
        Some(job) => JobName::parse(job).map_err(|e| Failure::bad(e.to_string()))?,
        None => JobName::from_program(program),
    };
    let serial = request.serial.as_ref().map(|serial| {
        let group = serial.group.clone().unwrap_or_else(|| job.to_string());
        named("a group's name", &group).map(|()| Serial { group, max: serial.max })
    });
    if let Some(latch) = &request.latch {
        named("a latch's name", latch)?;
    }
    if request.tags.len() > TAGS_MAX {
        return Err(Failure::bad(format!("a run has at most {TAGS_MAX} tags")));
    }
    request.tags.iter().try_for_each(|tag| named("a tag", tag))?;
    Ok(NewRun {
        job,
        trigger: Trigger::Manual { by: asker.by.clone() },
        command: request.argv.clone(),
        directory: request.directory.clone(),
        timeout_ms: request.timeout_ms,
        tags: request.tags.clone(),
        tty: request.tty.is_some(),
        latch: request.latch.clone(),
        serial: serial.transpose()?,
        no_overlap: request.no_overlap,
    })
}

fn spec(request: &RunRequest, asker: &Asker) -> Answer<Spec> {
    let directory = bytes("the directory", &request.directory)?;
    if directory.first() != Some(&b'/') {
        return Err(Failure::bad("the directory must be an absolute path"));
    }
    let mut spec = Spec::new(&directory, b"");
    spec.argv = request.argv.iter().map(|arg| bytes("an argument", arg)).collect::<Answer<_>>()?;
    for (name, value) in &request.env {
        if name.is_empty() || name.contains('=') {
            return Err(Failure::bad(format!("{name:?} cannot be the name of a variable")));
        }
        if !OWN.contains(&name.as_str()) {
            spec.env.push([bytes("a variable's name", name)?, bytes("a variable", value)?].join(&b'='));
        }
    }
    let path = request.env.get("PATH").map_or(DEFAULT_PATH.to_vec(), |path| from_wire(path));
    spec.programs = programs(&spec.argv[0], &path);
    if let Some(umask) = request.umask {
        spec.umask = Some(umask).filter(|m| *m <= 0o777).ok_or_else(|| Failure::bad("the umask is at most 0777"))?;
    }
    if let Some(text) = &request.stop_signal {
        spec.stop_signal = signal::parse(text).map_err(Failure::bad)?;
    }
    spec.timeout_ms = match request.timeout_ms {
        Some(0) => return Err(Failure::bad("a timeout of nothing would end the run before it begins")),
        timeout => wait("the timeout", timeout.unwrap_or(0))?,
    };
    if let Some(stop_wait_ms) = request.stop_wait_ms {
        spec.stop_wait_ms = wait("the wait before KILL", stop_wait_ms)?;
    }
    spec.nice = request.nice.map(inherited::nice).transpose()?;
    spec.rlimits = inherited::limits(&request.rlimits, asker.files_soft)?;
    (spec.stdin, spec.output) = stdio(request)?;
    spec.hand_key = request.hand.unwrap_or(0);
    Ok(spec)
}

fn stdio(request: &RunRequest) -> Answer<(Stdin, Output)> {
    match (request.hand, request.bypass, request.tty) {
        (Some(0), _, _) => Err(Failure::bad("descriptors are handed in under a key other than 0")),
        (_, true, Some(_)) => Err(Failure::bad("a run with a terminal of its own cannot bypass kin with its output")),
        (Some(_), _, Some(_)) => Err(Failure::bad("a run with a terminal of its own takes no descriptors")),
        (None, true, None) => Err(Failure::bad("bypass needs descriptors, handed in before under a key")),
        (None, false, Some(size)) => Ok((Stdin::Null, Output::Tty { rows: size.rows, cols: size.cols })),
        (Some(_), bypass, None) => Ok((Stdin::Handed, if bypass { Output::Bypass } else { Output::Pipes })),
        (None, false, None) => Ok((Stdin::Null, Output::Pipes)),
    }
}

fn bytes(what: &str, text: &str) -> Answer<Vec<u8>> {
    let bytes = from_wire(text);
    if bytes.contains(&0) { Err(Failure::bad(format!("{what} may not hold a NUL byte"))) } else { Ok(bytes) }
}

fn named(what: &str, text: &str) -> Answer<()> {
    let fits = !text.is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control);
    let bad = || Failure::bad(format!("{what} has 1 to {NAME_MAX} characters, and none that cannot be seen"));
    fits.then_some(()).ok_or_else(bad)
}

fn wait(what: &str, ms: u64) -> Answer<u64> {
    if ms > WAIT_MAX_MS { Err(Failure::bad(format!("{what} is longer than a century"))) } else { Ok(ms) }
}

/// A sum over what was asked for: fields that say nothing are not in it, so that a newer client's repeat is the same.
fn content(request: &RunRequest) -> Answer<u64> {
    let json = serde_json::to_vec(request).map_err(|e| Failure::internal(e.to_string()))?;
    Ok(json.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_api::run::{Serial as ApiSerial, TtySize};

    fn request(argv: &[&str]) -> RunRequest {
        RunRequest {
            argv: argv.iter().map(ToString::to_string).collect(),
            directory: "/srv".into(),
            ..RunRequest::default()
        }
    }

    fn ask(request: &RunRequest) -> Answer<Submit> {
        submit(request, None, &Asker { by: "uid:7".into(), files_soft: Some(64) })
    }

    #[test]
    fn a_program_is_looked_for_in_the_runs_own_path() {
        let mut wish = request(&["tool", "-x"]);
        wish.env.insert("PATH".into(), "/opt/a::rel".into());
        wish.env.insert("KIN_RUN_ID".into(), "forged".into());
        wish.env.insert("A".into(), "1=2".into());
        let submit = ask(&wish).expect("accepted");
        assert_eq!(submit.spec.programs, [&b"/opt/a/tool"[..], b"./tool", b"rel/tool"]);
        assert_eq!(submit.spec.env, [&b"A=1=2"[..], b"PATH=/opt/a::rel"]);
        assert_eq!((submit.new.job.as_str(), submit.spec.rlimits[0].soft), ("tool", 64));
        let submit = ask(&request(&["tool"])).expect("accepted");
        assert_eq!(submit.spec.programs, [&b"/bin/tool"[..], b"/usr/bin/tool"]);
        let submit = ask(&request(&["./tool"])).expect("accepted");
        assert_eq!(submit.spec.programs, [b"./tool"]);
    }

    #[test]
    fn bytes_that_are_not_text_arrive_as_they_were() {
        let wish = request(&["/bin/echo", &kin_api::run::to_wire(b"\xff")]);
        assert_eq!(ask(&wish).expect("accepted").spec.argv[1], b"\xff");
    }

    #[test]
    fn a_group_is_the_job_unless_it_is_named() {
        let mut wish = request(&["tool"]);
        wish.serial = Some(ApiSerial { group: None, max: 2 });
        assert_eq!(ask(&wish).expect("accepted").new.serial, Some(Serial { group: "tool".into(), max: 2 }));
    }

    type Spoil = fn(&mut RunRequest);

    #[test]
    fn what_is_wrong_is_said() {
        let spoils: [(&str, Spoil); 16] = [
            ("nice", |r| r.nice = Some(20)),
            ("limit", |r| r.rlimits.extend([("files".into(), kin_api::run::Rlimit { soft: None, hard: None })])),
            ("program", |r| r.argv.clear()),
            ("program", |r| r.argv[0].clear()),
            ("NUL", |r| r.argv[1] = "a\0b".into()),
            ("absolute", |r| r.directory = "srv".into()),
            ("name of a variable", |r| drop(r.env.insert("A=B".into(), String::new()))),
            ("umask", |r| r.umask = Some(0o1000)),
            ("signal", |r| r.stop_signal = Some("NOPE".into())),
            ("timeout", |r| r.timeout_ms = Some(0)),
            ("century", |r| r.timeout_ms = Some(u64::MAX)),
            ("bypass", |r| r.bypass = true),
            ("terminal", |r| (r.tty, r.hand) = (Some(TtySize { rows: 1, cols: 1 }), Some(3))),
            ("latch", |r| r.latch = Some(String::new())),
            ("tag", |r| r.tags = vec!["\n".into()]),
            ("job's name", |r| r.job = Some("-x".into())),
        ];
        for (word, spoil) in spoils {
            let mut wish = request(&["tool", "-x"]);
            spoil(&mut wish);
            let message = ask(&wish).expect_err(word).error.message;
            assert!(message.contains(word), "{word}: {message}");
        }
    }

    #[test]
    fn the_same_request_has_the_same_content() {
        let (a, mut b) = (request(&["a"]), request(&["a"]));
        assert_eq!(content(&a), content(&b));
        b.env.insert("A".into(), "1".into());
        assert_ne!(content(&a), content(&b));
    }
}
