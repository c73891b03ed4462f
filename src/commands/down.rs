//! `kin down`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::json_line;
use crate::project;
use crate::report::Failure;
use crate::verdict;
use clap::Args;
use kin_client::api::Run;
use std::path::{Path, PathBuf};

/// Stop all that runs of a project, and forget its jobs; their history stays.
///
/// What is needed by others ends after them. Without a name the project is meant whose directory this is. Ctrl-C only
/// ends the waiting.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin down\n  kin down --project shop")]
pub(crate) struct DownArgs {
    /// Of this file.
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "project")]
    file: Option<PathBuf>,
    /// Of this name, wherever its file is.
    #[arg(long, short = 'p', value_name = "NAME")]
    project: Option<String>,
    /// Return at once, and not when all of it has ended.
    #[arg(long, short = 'd')]
    detach: bool,
    /// As a JSON object: the project, and the runs that ended.
    #[arg(long)]
    json: bool,
}

impl DownArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let name = self.name(face).await?;
        // First who listens: so each end is heard, and in the order in which they came.
        let mut events = face.client.events(None, None);
        if !self.detach {
            events.listening().await?;
        }
        let mut down = face.client.project_down(&name).await?;
        if self.detach {
            if self.json {
                face.screen.print(&(json_line(&down).map_err(unwritable)? + "\n"))?;
            } else {
                face.screen.note(&format!("{name} goes down: {}", count(down.runs.len())));
            }
            return Ok(0);
        }
        let (mut ended, mut left): (Vec<Run>, Vec<Run>) = down.runs.drain(..).partition(|run| run.state == "ended");
        ended.iter().try_for_each(|run| self.say(face, run))?;
        while !left.is_empty() {
            let event = events.next().await?;
            let Some(at) = left.iter().position(|run| event.run.as_ref() == Some(&run.id)) else { continue };
            if event.state.as_deref() == Some("ended") {
                let run = face.client.run(&left.remove(at).id).await?;
                self.say(face, &run)?;
                ended.push(run);
            }
        }
        if self.json {
            down.runs = ended;
            face.screen.print(&(json_line(&down).map_err(unwritable)? + "\n"))?;
        } else {
            face.screen.note(&format!("{name} is down; kin log '{name}.*' shows what it did"));
        }
        Ok(0)
    }

    fn say(&self, face: &Face, run: &Run) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        face.screen.print(&format!("{}  {}\n", run.id, verdict::words(run)))
    }

    async fn name(&self, face: &Face) -> Result<String, Failure> {
        if let Some(name) = &self.project {
            return Ok(name.clone());
        }
        let all = face.client.projects().await?;
        let found = match &self.file {
            // Its file may be gone, or broken: what is up is the server's to know.
            Some(file) => {
                let path = project::file(Some(file)).unwrap_or_else(|_| file.clone());
                all.iter().find(|project| Path::new(&project.path) == path).cloned()
            }
            None => project::here(face).await?,
        };
        found.map(|project| project.name).ok_or_else(|| {
            let up: Vec<String> = all.iter().map(|project| format!("{} ({})", project.name, project.path)).collect();
            let hint = match up.as_slice() {
                [] => "no project is up at all".into(),
                up => format!("up is {}: kin down --project NAME", up.join(", ")),
            };
            Failure::NotFound { message: "no project is up here".into(), hint: Some(hint) }
        })
    }
}

fn count(runs: usize) -> String {
    match runs {
        0 => "nothing runs".into(),
        1 => "1 run ends".into(),
        n => format!("{n} runs end"),
    }
}
