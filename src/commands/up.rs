//! `kin up`

use crate::cli::Face;
use crate::commands::{reload, unwritable};
use crate::durations;
use crate::listing::json_line;
use crate::merged::{Said, follow, shown};
use crate::printer::{Cleaned, Printer};
use crate::project;
use crate::report::Failure;
use crate::screen::Colour;
use crate::verdict;
use crate::when;
use clap::Args;
use kin_client::api::project::{Up, UpRequest};
use kin_client::api::{Event, Run, RunId, RunQuery};
use kin_client::{Error, Events, Page, Stream};
use kin_config::files::Reader;
use kin_config::project::Project;
use kin_config::set::Form;
use kin_config::{Code, Input, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Bring up the jobs of a project, and follow what they write. Ctrl-C only ends the following; kin down ends the jobs.
///
/// The jobs are those of kin.toml in this directory or the nearest above it. Services start, with what they need;
/// schedules hold; other tasks wait for kin run. After a change of the file, kin up again does what follows from the
/// change, and leaves alone what is the same. The jobs are called PROJECT.JOB, in the project's directory JOB is enough.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLE
  kin up
  kin up -f examples/tour/kin.toml
  kin up --plan
  kin up --detach && kin tail -f")]
pub(crate) struct UpArgs {
    /// This file.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// The project's name; else what its file says as `project`, or the name of the file's directory.
    #[arg(long, short = 'p', value_name = "NAME")]
    project: Option<String>,
    /// Follow nothing.
    #[arg(long, short = 'd')]
    detach: bool,
    /// Say what would change, and change nothing.
    #[arg(long)]
    plan: bool,
    /// What changed (or would) as a JSON object; follow nothing.
    #[arg(long)]
    json: bool,
    /// Of what runs already, show so many lines that it wrote before.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Output as it is, also on a terminal.
    #[arg(long)]
    raw: bool,
}

impl UpArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let path = project::file(self.file.as_deref())?;
        let Some((project, request)) = self.read(face, &path)? else { return Ok(2) };
        if self.plan || self.detach || self.json {
            let up = face.client.project_up(&request).await?;
            face.notices();
            self.say(face, &up, &project)?;
            return some_jobs(&up, &project).map(|()| 0);
        }
        let glob = format!("{}.*", project.name);
        // First who listens, then who lives, then the change: what begins with it is seen from its first line on.
        let mut events = face.client.events(None, None);
        events.listening().await?;
        let live = RunQuery { state: Some("live".into()), job: Some(glob), ..RunQuery::default() };
        let mut runs = face.client.runs_of(&live, Page::All, |_| true).await?;
        runs.reverse();
        let up = face.client.project_up(&request).await?;
        face.notices();
        some_jobs(&up, &project)?;
        introduce(face, &up, &project);
        Following::new(face, &self, &project).run(events, runs).await
    }

    /// What the file says; `None`: it is wrong, and that was said.
    fn read(&self, face: &Face, path: &Path) -> Result<Option<(Project, UpRequest)>, Failure> {
        let mut input = Reader::of_process().file(path, 0);
        // Whoever types this reads this file once and means it: who else may write it is worth a word, no more.
        let others = input.mistakes.iter_mut().filter(|mistake| mistake.code == Code::Permission);
        others.for_each(|mistake| mistake.severity = Severity::Warning);
        let (source, rank, mistakes) = (input.source.clone(), input.rank, std::mem::take(&mut input.mistakes));
        let text = source.text.to_string();
        let colour = face.screen.err_terminal && face.screen.colour;
        let say = |text: String| std::io::stderr().lock().write_all(text.as_bytes()).map_err(Failure::output);
        match kin_config::project::read(Input { source, rank, form: Form::Written, mistakes }, self.project.as_deref())
        {
            Ok(project) => {
                say(project.report.text(colour))?;
                let name = Some(project.name.clone());
                let request = UpRequest { path: path.display().to_string(), text, name, plan: self.plan };
                Ok(Some((project, request)))
            }
            Err(report) => {
                say(report.text(colour) + &format!("{}, nothing was changed\n", report.sum()))?;
                Ok(None)
            }
        }
    }

    fn say(&self, face: &Face, up: &Up, project: &Project) -> Result<(), Failure> {
        if self.json {
            return face.screen.print(&(json_line(up).map_err(unwritable)? + "\n"));
        }
        face.screen.print(&reload::steps(&up.steps, &face.screen))?;
        match (up.steps.is_empty(), self.plan) {
            (true, _) if project.jobs.is_empty() => {}
            (true, _) => face.screen.note(&format!("nothing is different from what is up of {}", up.project)),
            (false, true) => {}
            (false, false) => face.screen.note(&format!("{} is up: {}", up.project, kinds(project))),
        }
        Ok(())
    }
}

/// A file without jobs takes away those that were up; where there were none, nothing was asked for.
fn some_jobs(up: &Up, project: &Project) -> Result<(), Failure> {
    if !(project.jobs.is_empty() && up.steps.is_empty()) {
        return Ok(());
    }
    Err(Failure::Usage {
        message: format!("{} defines no jobs, so nothing is up of {}", project.path.display(), up.project),
        hint: Some("each table of it is a job: [web] with command = \"…\"; docs/projects.md shows more".into()),
    })
}

/// What is up, and what of it has to be asked for.
fn introduce(face: &Face, up: &Up, project: &Project) {
    let changes = up.steps.iter().filter(|step| step.what != "add");
    for step in changes {
        face.screen.note(&reload::sentence(step));
    }
    face.screen.note(&format!("{} is up: {}; Ctrl-C leaves it up, kin down ends it", up.project, kinds(project)));
    let by_hand = by_hand(project);
    if !by_hand.is_empty() {
        face.screen.note(&format!("nothing starts {} by itself: kin run does", by_hand.join(", ")));
    }
}

/// `2 services, 1 scheduled job, 3 other tasks`
fn kinds(project: &Project) -> String {
    let many = |n: usize, one: &str, more: &str| match n {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {more}")),
    };
    let (services, tasks): (Vec<_>, Vec<_>) = project.jobs.values().partition(|job| job.life.is_service());
    let scheduled = tasks.iter().filter(|job| !job.time.schedules.is_empty()).count();
    let words = [
        many(services.len(), "service", "services"),
        many(scheduled, "scheduled job", "scheduled jobs"),
        many(tasks.len() - scheduled, "task", "tasks"),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "no jobs".into() } else { words.join(", ") }
}

/// Tasks that neither a time nor another job starts, by their short names.
fn by_hand(project: &Project) -> Vec<String> {
    let mut led_to = BTreeSet::new();
    for job in project.jobs.values() {
        led_to.extend(job.life.needs.iter().map(|need| &need.job));
        led_to.extend(job.chain.next.iter().chain(&job.chain.error));
    }
    let idle = project.jobs.values().filter(|job| {
        let timed = !job.time.schedules.is_empty() || !job.watch.is_empty();
        let led = led_to.contains(&job.name) || job.chain.after.is_some();
        !job.life.is_service() && !timed && !led && !job.disabled
    });
    idle.map(|job| short(&project.name, job.name.as_str()).to_owned()).collect()
}

fn short<'a>(project: &str, job: &'a str) -> &'a str {
    job.strip_prefix(project).and_then(|rest| rest.strip_prefix('.')).unwrap_or(job)
}

/// One who prints what all runs of a project write, and what becomes of them.
struct Following<'a> {
    face: &'a Face,
    project: &'a Project,
    lines: usize,
    clean: bool,
    width: usize,
    followed: BTreeSet<String>,
    live: BTreeSet<String>,
    /// Of services with several instances.
    slots: BTreeMap<String, u32>,
    /// What follows a run that has more to say, by that run's last eight characters.
    later: BTreeMap<String, (String, String)>,
    /// Somebody asked for its end.
    leaving: bool,
    printer: Printer,
}

/// So long it may take to print.
const LAST_WORD: Duration = Duration::from_secs(1);
/// A name takes no more of a line than this.
const NAME_MAX: usize = 20;
const PALETTE: [Colour; 5] = [Colour::Cyan, Colour::Yellow, Colour::Green, Colour::Magenta, Colour::Blue];

impl<'a> Following<'a> {
    fn new(face: &'a Face, args: &UpArgs, project: &'a Project) -> Following<'a> {
        let names = project.jobs.values().map(|job| {
            let slot = if job.life.instances > 1 { 2 } else { 0 };
            short(&project.name, job.name.as_str()).len() + slot
        });
        let width = names.max().unwrap_or(0).min(NAME_MAX);
        let clean = face.screen.out_terminal && !args.raw;
        let (followed, live, slots, later) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        // Lines are cleaned one by one, before they get their labels.
        let printer = Printer::new(Cleaned::of(&face.screen, true));
        let lines = args.lines;
        Following { face, project, lines, clean, width, followed, live, slots, later, leaving: false, printer }
    }

    async fn run(mut self, events: Events, runs: Vec<Run>) -> Result<u8, Failure> {
        let listen =
            |kind| signal(kind).map_err(|source| Failure::System { what: "could not listen for signals", source });
        let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let (send, mut said) = mpsc::channel(64);
        tokio::spawn(hear(events, send.clone()));
        for run in runs.into_iter().filter(|run| run.state != "waiting" && run.state != "held") {
            self.follow(run, self.lines, &send);
        }
        loop {
            // Whoever does not read what we print must not keep a Ctrl-C from us.
            let taken = tokio::select! {
                _ = int.recv() => None,
                _ = term.recv() => None,
                taken = self.take_next(&mut said, &send) => Some(taken),
            };
            let Some(taken) = taken else { return Ok(self.detach().await) };
            taken?;
            if self.leaving && self.live.is_empty() {
                let printed = tokio::select! {
                    _ = int.recv() => None,
                    _ = term.recv() => None,
                    printed = self.printer.finish() => Some(printed),
                };
                let Some(printed) = printed else { return Ok(self.detach().await) };
                printed?;
                self.face.screen.note(&format!("{} is down", self.project.name));
                return Ok(0);
            }
        }
    }

    async fn detach(&self) -> u8 {
        let (screen, name) = (self.face.screen.clone(), self.project.name.to_string());
        let (tell, told) = oneshot::channel();
        // With our output this word may be stuck too, and then it is not waited for.
        std::thread::spawn(move || {
            // After the terminal's ^C.
            if screen.err_terminal {
                screen.aside("");
            }
            screen.note(&format!("detached: {name} stays up; kin up follows it again, kin down ends it"));
            tell.send(()).unwrap_or(());
        });
        drop(tokio::time::timeout(LAST_WORD, told).await);
        0
    }

    fn know(&mut self, run: &Run) {
        let many = |name: &str| {
            let mut jobs = self.project.jobs.values();
            jobs.any(|job| job.name.as_str() == name && job.life.instances > 1)
        };
        if many(&run.job) {
            self.slots.insert(run.id.clone(), run.slot);
        }
    }

    fn follow(&mut self, run: Run, lines: usize, send: &mpsc::Sender<Said>) {
        self.know(&run);
        if self.followed.insert(run.id.clone()) {
            self.live.insert(run.id.clone());
            tokio::spawn(follow(self.face.client.clone(), run, lines, send.clone()));
        }
    }

    async fn take_next(&mut self, said: &mut mpsc::Receiver<Said>, send: &mpsc::Sender<Said>) -> Result<(), Failure> {
        // We hold a sender ourselves, so there is always a next one.
        match said.recv().await {
            Some(said) => self.take(said, send).await,
            None => Ok(()),
        }
    }

    async fn take(&mut self, said: Said, send: &mpsc::Sender<Said>) -> Result<(), Failure> {
        match said {
            Said::Line { run, line } => {
                let mut out = self.label(&run, self.face.screen.colour).into_bytes();
                out.extend_from_slice(b" | ");
                out.extend_from_slice(&shown(&line, self.clean));
                out.push(b'\n');
                self.printer.write(Stream::Out, out).await?;
            }
            Said::Gap { run, stream, count } => {
                self.word(&run, &format!("{count} bytes of {} were not kept here", stream.word())).await?;
            }
            Said::Newcomer(run) => self.follow(*run, usize::MAX, send),
            Said::Ended(run) => {
                self.word(&run.id, &format!("ended: {}", verdict::outcome(&run))).await?;
                self.live.remove(&run.id);
                let number = RunId::parse(&run.id).map(|id| id.no.to_string());
                if let Some((next, words)) = number.and_then(|number| self.later.remove(&number)) {
                    self.word(&next, &words).await?;
                }
            }
            Said::Event(event) => self.event(&event, send).await?,
            // The others are followed all the same; that one is not waited for.
            Said::Refused { run, error } => {
                self.word(&run, &error.to_string()).await?;
                self.live.remove(&run);
            }
            Said::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn event(&mut self, event: &Event, send: &mpsc::Sender<Said>) -> Result<(), Failure> {
        let of_it = |message: &str| message.strip_prefix(&self.project.name).is_some_and(|rest| rest.starts_with(':'));
        match (event.kind.as_str(), event.message.as_deref()) {
            ("project.down", Some(message)) if of_it(message) => self.leaving = true,
            ("project.up", Some(message)) if of_it(message) => self.leaving = false,
            _ => {}
        }
        let Some(id) = event.run.as_ref().filter(|id| self.is_mine(id)) else { return Ok(()) };
        match (event.kind.as_str(), event.state.as_deref()) {
            ("run.state", Some(state @ ("starting" | "running" | "waiting" | "held" | "ended")))
                if !self.followed.contains(id) =>
            {
                match self.face.client.run(id).await {
                    Ok(run) => self.begins(state, run, send).await?,
                    Err(error @ Error::Refused(_)) => self.word(id, &error.to_string()).await?,
                    Err(error) => return Err(error.into()),
                }
            }
            ("run.state" | "run.killed" | "run.stop-asked", _) => {}
            ("run.ready", _) => self.word(id, "ready").await?,
            (_, _) => self.word(id, event.message.as_deref().unwrap_or(&event.kind)).await?,
        }
        Ok(())
    }

    /// A run that is not followed yet, in the state that was told.
    async fn begins(&mut self, state: &str, run: Run, send: &mpsc::Sender<Said>) -> Result<(), Failure> {
        self.know(&run);
        match state {
            "starting" | "running" => {
                let attempt = if run.attempt > 1 { format!(", attempt {}", run.attempt) } else { String::new() };
                self.word(&run.id, &format!("started{attempt}")).await?;
                self.follow(run, usize::MAX, send);
            }
            "waiting" if run.state == "waiting" => {
                let until = run.until.as_deref().and_then(when::from_wire);
                let left = until.map(|until| Duration::try_from(until.duration_since(jiff::Timestamp::now())));
                let words = left.and_then(Result::ok).map_or_else(String::new, |left| format!(" in {}", soon(left)));
                let words = format!("again{words}, attempt {}", run.attempt);
                let is_live = |number: &str| self.live.iter().any(|id| id.ends_with(number));
                match run.follows.filter(|number| is_live(number)) {
                    Some(number) => drop(self.later.insert(number, (run.id, words))),
                    None => self.word(&run.id, &words).await?,
                }
            }
            "held" if run.state == "held" => {
                let words = match (&run.latch, run.needs.as_slice()) {
                    (Some(latch), _) => format!("held; kin release {} lets it go", short(&self.project.name, latch)),
                    (None, needs) => {
                        let needs: Vec<&str> = needs.iter().map(|job| short(&self.project.name, job)).collect();
                        format!("waits for {}", needs.join(", "))
                    }
                };
                self.word(&run.id, &words).await?;
            }
            // It never had a process.
            "ended" => {
                self.word(&run.id, &verdict::outcome(&run)).await?;
                self.followed.insert(run.id);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_mine(&self, id: &str) -> bool {
        id.strip_prefix(&self.project.name).is_some_and(|rest| rest.starts_with('.'))
    }

    /// What kin has to say of a run, beside its output and in its place among that.
    async fn word(&mut self, run: &str, words: &str) -> Result<(), Failure> {
        let colour = self.face.screen.err_terminal && self.face.screen.colour;
        let words = crate::clean::name(words);
        let line = format!("{} {}\n", self.label(run, colour), Colour::Dim.paint(&format!("* {words}"), colour));
        self.printer.write(Stream::Err, line.into_bytes()).await
    }

    /// The job's short name, in its colour; of a service with several instances, which.
    fn label(&self, run: &str, colour: bool) -> String {
        let job = RunId::parse(run).map_or_else(|| run.to_owned(), |id| id.job.to_string());
        let place = self.project.jobs.keys().position(|name| name.as_str() == job);
        let mut name: String = short(&self.project.name, &job).chars().take(NAME_MAX).collect();
        if let Some(slot) = self.slots.get(run) {
            name += &format!("/{slot}");
        }
        name += &" ".repeat(self.width.saturating_sub(name.chars().count()));
        PALETTE[place.unwrap_or(job.len()) % PALETTE.len()].paint(&name, colour)
    }
}

/// `1.4s`: a wait is watched to its end.
fn soon(left: Duration) -> String {
    if left.as_secs() < 10 { format!("{:.1}s", left.as_secs_f64()) } else { durations::show(left) }
}

/// Tells what happens, until nobody listens any more.
async fn hear(mut events: Events, send: mpsc::Sender<Said>) {
    loop {
        let said = events.next().await.map_or_else(Said::Failed, |event| Said::Event(Box::new(event)));
        let last = matches!(said, Said::Failed(_));
        if send.send(said).await.is_err() || last {
            return;
        }
    }
}
