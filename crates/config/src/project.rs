//! A project: the jobs of one file, for `kin up`.
//!
//! ```text
//!   shop/kin.toml   [web] needs = ["db"]   ──▶   shop.web needs shop.db, in the file's directory
//! ```
//! What the file names (jobs, queues, mutexes, latches) is its own, so each name gets the project's before it, and no two
//! projects, nor the machine's own jobs, ever mean the same. Paths begin at the file. After that its jobs are jobs like any
//! other.

use crate::mistake::{Code, Mistake, Report, Spot};
#[cfg(test)]
use crate::set::Form;
use crate::set::{Input, SETTINGS, Set};
use kin_core::JobName;
use kin_core::job::{Job, Queue};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What of `[kin]` a project may say.
const SETTINGS_OF_PROJECTS: [&str; 2] = ["kin.project", "kin.timezone"];

#[derive(Clone, Debug)]
pub struct Project {
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    pub jobs: BTreeMap<JobName, Arc<Job>>,
    pub queues: BTreeMap<String, Queue>,
    /// What somebody should look at, although it holds.
    pub report: Report,
}

/// Reads the file of a project; its path is a whole one. `name`: in the place of the one that the file or its directory says.
pub fn read(input: Input, name: Option<&str>) -> Result<Project, Report> {
    let path = input.source.path.clone();
    let set = Set::read_project(vec![input]);
    let mut mistakes = set.report.mistakes.clone();
    foreign_settings(&set, &mut mistakes);
    let said = set.said.get("kin.project").cloned();
    let named = name.is_some();
    let name = name.map(str::to_owned).or_else(|| set.settings.project.clone());
    let name = name.unwrap_or_else(|| name_of(&path));
    let is_name = check_name(&name);
    if let Err(why) = &is_name {
        let mistake = Mistake::error(Code::WrongValue, why);
        // What somebody typed stands in no file.
        mistakes.push(if named { mistake } else { about(said.as_ref(), "kin.project", mistake) });
    }
    let here = match path.parent().and_then(Path::to_str) {
        Some(here) if path.is_absolute() => here,
        Some(_) | None => {
            let message = format!("{} is not an absolute path in UTF-8", path.display());
            mistakes.push(Mistake::error(Code::File, message));
            ""
        }
    };
    let belongs = Belongs { project: &name, here, timezone: set.settings.timezone.as_deref() };
    let mut jobs = BTreeMap::new();
    for definition in set.jobs.values() {
        match belongs.job(&definition.job) {
            Ok(job) => drop(jobs.insert(job.name.clone(), Arc::new(job))),
            // By a name that is none, none of its jobs has one.
            Err(_) if is_name.is_err() => {}
            Err(why) => {
                let spot = definition.source.map(|source| Spot { source, span: definition.at.clone() });
                mistakes.push(about(spot.as_ref(), definition.job.name.as_str(), Mistake::error(Code::JobName, why)));
            }
        }
    }
    let queue = |queue: &Queue| Queue { name: belongs.word(&queue.name), ..queue.clone() };
    let queues = set.settings.queues.values().map(queue).map(|queue| (queue.name.clone(), queue)).collect();
    let report = Report::new(set.report.sources, mistakes);
    if report.errors() > 0 { Err(report) } else { Ok(Project { name, path, jobs, queues, report }) }
}

/// What a project is called that is not named: as its directory, as far as a name can be.
pub fn name_of(path: &Path) -> String {
    let dir = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' };
    let name: String = dir.unwrap_or_default().chars().map(fits).take(JobName::MAX / 2).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "project".into() } else { name.into() }
}

fn check_name(name: &str) -> Result<(), String> {
    JobName::parse(name).map_err(|why| why.to_string().replace("a job's name", "a project's name"))?;
    if name.contains('.') {
        Err("a project's name has no '.': what is before the first one is the project".into())
    } else {
        Ok(())
    }
}

fn about(spot: Option<&Spot>, key: &str, mistake: Mistake) -> Mistake {
    let mistake = mistake.key(key);
    match spot {
        Some(spot) => mistake.at(spot.source, &spot.span),
        None => mistake,
    }
}

/// The server is the machine's: what is said of it in a project's file would be said to nobody.
fn foreign_settings(set: &Set, mistakes: &mut Vec<Mistake>) {
    let queues = format!("{SETTINGS}.queues.");
    for (path, spot) in &set.said {
        if SETTINGS_OF_PROJECTS.contains(&path.as_str()) || path.starts_with(&queues) {
            continue;
        }
        let message = format!("'{path}' is a setting of the server, and this is the file of a project");
        let help = "it belongs into the server's kin.toml: kin config path";
        mistakes.push(about(Some(spot), path, Mistake::error(Code::Conflict, message)).help(help));
    }
}

struct Belongs<'a> {
    project: &'a str,
    here: &'a str,
    timezone: Option<&'a str>,
}

impl Belongs<'_> {
    fn word(&self, name: &str) -> String {
        format!("{}.{name}", self.project)
    }

    fn name(&self, name: &JobName) -> Result<JobName, String> {
        JobName::parse(&self.word(name.as_str())).map_err(|why| format!("with its project's name before it, {why}"))
    }

    fn names(&self, names: &mut [JobName]) -> Result<(), String> {
        names.iter_mut().try_for_each(|name| self.name(name).map(|whole| *name = whole))
    }

    /// From the file's directory on, unless it says where it begins.
    fn path(&self, path: &str) -> String {
        if path.starts_with(['/', '$', '~']) {
            return path.into();
        }
        let whole: PathBuf = Path::new(self.here).join(path).components().collect();
        whole.to_string_lossy().into_owned()
    }

    /// The same where `$NAME` is expanded.
    fn expanded(&self, path: &str) -> String {
        if path.starts_with(['/', '$', '~']) {
            return path.into();
        }
        let here = self.here.replace('$', "$$");
        Belongs { here: &here, ..*self }.path(path)
    }

    fn job(&self, job: &Job) -> Result<Job, String> {
        let mut job = Job { name: self.name(&job.name)?, ..job.clone() };
        for need in &mut job.life.needs {
            need.job = self.name(&need.job)?;
        }
        self.names(&mut job.chain.next)?;
        self.names(&mut job.chain.error)?;
        if let Some(after) = &mut job.chain.after {
            self.names(&mut after.jobs)?;
        }
        job.gates.mutex.iter_mut().chain(&mut job.gates.queue).chain(&mut job.gates.latch).for_each(|name| {
            *name = self.word(name);
        });
        if !job.time.schedules.is_empty() {
            job.time.timezone = job.time.timezone.or_else(|| self.timezone.map(str::to_owned));
        }
        let around = &mut job.around;
        around.dir = Some(self.expanded(around.dir.as_deref().unwrap_or_default()));
        for file in &mut around.env_files {
            *file = match file.strip_prefix('-') {
                Some(file) => format!("-{}", self.expanded(file)),
                None => self.expanded(file),
            };
        }
        around.credentials.values_mut().for_each(|file| *file = self.path(file));
        Ok(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn project(text: &str, name: Option<&str>) -> Result<Project, Report> {
        let source = Source::new(Path::new("/srv/my.shop $1/kin.toml"), text);
        read(Input { source, rank: 0, form: Form::Written, mistakes: Vec::new() }, name)
    }

    const ALL: &str = r#"
[kin]
timezone = "Europe/Paris"
[kin.queues.heavy]
slots = 2
[db]
exec = ["./db"]
restart = "always"
dir = "data"
[web]
exec = ["./web"]
restart = "always"
needs = ["db"]
env_file = ["-.env", "/etc/web.env", "$HOME/web.env"]
credentials = { key = "secret/key" }
mutex = "port"
queue = "heavy"
latch = "go"
[fetch]
command = "true"
schedule = "@hourly"
next = "tell"
error = "tell"
[tell]
command = "true"
schedule = "@daily"
timezone = "UTC"
after = ["fetch"]
"#;

    #[test]
    fn every_name_and_every_path_is_the_projects_own() {
        let shop = project(ALL, Some("shop")).expect("good");
        assert_eq!(shop.name, "shop");
        let names: Vec<&str> = shop.jobs.keys().map(JobName::as_str).collect();
        assert_eq!(names, ["shop.db", "shop.fetch", "shop.tell", "shop.web"]);
        assert_eq!(shop.queues.keys().collect::<Vec<_>>(), ["shop.heavy"]);
        let job = |name: &str| shop.jobs[&JobName::parse(name).expect("a name")].clone();
        let (web, fetch, tell) = (job("shop.web"), job("shop.fetch"), job("shop.tell"));
        assert_eq!(web.life.needs[0].job.as_str(), "shop.db");
        assert_eq!(web.gates.mutex, ["shop.port"]);
        assert_eq!((web.gates.queue.as_deref(), web.gates.latch.as_deref()), (Some("shop.heavy"), Some("shop.go")));
        assert_eq!(web.around.env_files, ["-/srv/my.shop $$1/.env", "/etc/web.env", "$HOME/web.env"]);
        assert_eq!(web.around.credentials["key"], "/srv/my.shop $1/secret/key");
        assert_eq!(web.around.dir.as_deref(), Some("/srv/my.shop $$1"));
        assert_eq!(job("shop.db").around.dir.as_deref(), Some("/srv/my.shop $$1/data"));
        assert_eq!(fetch.chain.next[0].as_str(), "shop.tell");
        assert_eq!(fetch.chain.error[0].as_str(), "shop.tell");
        assert_eq!(tell.chain.after.as_ref().expect("after").jobs[0].as_str(), "shop.fetch");
        assert_eq!(
            (fetch.time.timezone.as_deref(), tell.time.timezone.as_deref()),
            (Some("Europe/Paris"), Some("UTC"))
        );
        // What is kept of it reads back as what it is.
        for job in shop.jobs.values() {
            assert_eq!(crate::canon::parse(&crate::canon::canonical(job)).as_ref(), Ok(job));
        }
    }

    #[test]
    fn it_is_called_as_it_says_or_as_its_directory() {
        assert_eq!(project("[a]\ncommand = 'x'\n", None).expect("good").name, "my-shop--1");
        assert_eq!(project("[kin]\nproject = 'x'\n[a]\ncommand = 'x'\n", None).expect("good").name, "x");
        assert_eq!(name_of(Path::new("/kin.toml")), "project");
        assert_eq!(name_of(Path::new("/srv/.hidden/kin.toml")), "hidden");
    }

    #[test]
    fn what_cannot_be_a_projects_is_said_where_it_stands() {
        let said = |text: &str, name: Option<&str>| project(text, name).expect_err("mistakes").text(false);
        let server = said("[kin]\nproject = 'a.b'\non_exit = 'stop'\n[x]\ncommand = 'x'\n", None);
        assert!(server.contains("a project's name has no '.'") && server.contains("kin.toml:2:"), "{server}");
        assert!(server.contains("'kin.on_exit' is a setting of the server") && server.contains(":3:"), "{server}");
        let long = format!("[{}]\ncommand = 'x'\n", "j".repeat(100));
        assert!(said(&long, Some("p")).contains("with its project's name before it"), "{}", said(&long, Some("p")));
        assert!(said("[a]\ncommand = 'x'\nneeds = 'machine'\n", None).contains("there is no job 'machine'"));
    }
}
