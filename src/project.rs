//! Projects as the face sees them: the file of the one whose directory this is, and its short names.

use crate::cli::Face;
use crate::definitions;
use crate::job;
use crate::report::Failure;
use crate::select;
use kin_client::api::project::Project;
use kin_config::set::MAIN_FILE;
use std::path::{Path, PathBuf};

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::System { what, source }
}

/// The file that is meant, by its whole path: the one that is named, or the `kin.toml` that is nearest above.
pub(crate) fn file(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return whole(named).map_err(|e| Failure::usage(format!("{}: {e}", named.display())));
    }
    let here = std::env::current_dir().map_err(system("could not tell the current directory"))?;
    let found = here.ancestors().map(|dir| dir.join(MAIN_FILE)).find(|path| path.is_file());
    let Some(found) = found else {
        return Err(Failure::Usage {
            message: format!("there is no {MAIN_FILE} in {}, nor above it", here.display()),
            hint: Some("kin up -f FILE names one; docs/projects.md shows what is in it".into()),
        });
    };
    let machine = definitions::directories().unwrap_or_default();
    let dir = found.parent().unwrap_or(Path::new("/"));
    if machine.iter().any(|config| config.canonicalize().is_ok_and(|config| config == dir)) {
        return Err(Failure::Usage {
            message: format!("{} is the server's own, and no project's", found.display()),
            hint: Some(
                "its services are up by themselves: kin list; a project's kin.toml lies in its directory".into(),
            ),
        });
    }
    Ok(found)
}

/// The directory is where it really is; a link in the place of the file stays one.
fn whole(path: &Path) -> std::io::Result<PathBuf> {
    let name = path.file_name().ok_or(std::io::ErrorKind::IsADirectory)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = dir.canonicalize()?.join(name);
    whole.metadata().map(|_| whole)
}

/// The project that is up and whose directory this is, or lies above: the nearest.
pub(crate) async fn here(face: &Face) -> Result<Option<Project>, Failure> {
    let Ok(here) = std::env::current_dir() else { return Ok(None) };
    let projects = face.client.projects().await?;
    let above = |project: &Project| Path::new(&project.path).parent().is_some_and(|dir| here.starts_with(dir));
    // Of two in one directory the one whose file would be found is meant.
    let rank = |project: &Project| {
        let path = Path::new(&project.path);
        (path.components().count(), path.file_name().is_some_and(|name| name == MAIN_FILE))
    };
    Ok(projects.into_iter().filter(above).max_by_key(rank))
}

impl Face {
    /// Inside a project's directory, a short name means the project's job of that name.
    pub(crate) async fn jobs_meant(&self, words: Vec<String>) -> Result<Vec<String>, Failure> {
        // Neither a run's id nor a tag needs to know where it was typed.
        if !words.iter().any(|word| !word.starts_with('@')) {
            return Ok(words);
        }
        let Some(project) = here(self).await? else { return Ok(words) };
        let mut whole = Vec::with_capacity(words.len());
        for word in words {
            let long = format!("{}.{word}", project.name);
            let known = if select::is_glob(&word) {
                !self.client.jobs(Some(&long)).await?.is_empty()
            } else {
                job::is_name(&word) && project.jobs.contains(&long)
            };
            whole.push(if known { long } else { word });
        }
        Ok(whole)
    }

    pub(crate) async fn job_meant(&self, word: String) -> Result<String, Failure> {
        Ok(self.jobs_meant(vec![word]).await?.pop().unwrap_or_default())
    }

    /// The same of a latch or a queue.
    pub(crate) async fn name_meant(&self, word: String, of: fn(Project) -> Vec<String>) -> Result<String, Failure> {
        let Some(project) = here(self).await? else { return Ok(word) };
        let long = format!("{}.{word}", project.name);
        Ok(if of(project).contains(&long) { long } else { word })
    }
}
