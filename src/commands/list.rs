//! `kin list`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::definitions;
use crate::job;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use clap::Args;
use kin_config::key::Key;
use kin_config::keys::job::JOB;
use kin_config::tree::Value;
use kin_config::{Definition, Set, canon};

/// The jobs that are defined, and how each stands.
///
/// Where no server runs, none is started: what the files define is shown then, as with --files.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLE
  kin list
  kin list 'web*' @night
  kin list --json | jq -r '.[] | select(.state == \"gave-up\").name'")]
pub(crate) struct ListArgs {
    /// Only these: a job, a glob, @tag.
    #[arg(value_name = "JOB", conflicts_with = "files")]
    what: Vec<String>,
    /// What the files define, and where, whether a server runs or not.
    #[arg(long)]
    files: bool,
    #[command(flatten)]
    json: JsonArgs,
}

impl ListArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.what = face.jobs_meant(self.what).await?;
        if self.files || !face.client.server_lives()? {
            return self.of_the_files(&face.screen);
        }
        let Some(list) = face.client.job_list_of_the_running().await? else {
            return self.of_the_files(&face.screen);
        };
        let left_out = job::left_out(&list);
        let all = list.jobs;
        let (jobs, code) = if self.what.is_empty() {
            (all, 0)
        } else {
            let meant = job::meant(&face.client, &self.what).await?;
            if meant.jobs.is_empty() {
                let word = meant.unmatched.first().map_or("", String::as_str);
                return Err(job::no_such(word, all.iter().map(|job| job.name.as_str()), &left_out));
            }
            meant.unmatched.iter().for_each(|word| face.screen.note(&format!("no job matches {word:?}")));
            let code = if meant.unmatched.is_empty() { 0 } else { 4 };
            (meant.jobs, code)
        };
        let text = match self.json.json {
            Some(form) => listing::json(&jobs, form).map_err(unwritable)?,
            None => job::table(&jobs, &face.screen),
        };
        face.screen.print(&text)?;
        job::tell_of_stale(&face.screen, &jobs);
        for path in &left_out {
            face.screen.note(&format!(
                "{path} does not hold as it is now, and none of its jobs do: kin reload --plan says why"
            ));
        }
        Ok(code)
    }

    fn of_the_files(&self, screen: &Screen) -> Result<u8, Failure> {
        if !self.what.is_empty() {
            return Err(Failure::Usage {
                message: "no server runs, so no job has a state".into(),
                hint: Some("kin list shows all that the files define; kin serve starts a server".into()),
            });
        }
        let set = definitions::read(&definitions::directories()?);
        let text = match self.json.json {
            Some(form) => {
                let items: Vec<_> = set.jobs.values().map(|definition| object(&set, definition)).collect();
                listing::json(&items, form).map_err(unwritable)?
            }
            None => table(&set, screen.width, screen.colour),
        };
        screen.print(&text)?;
        tell_of_mistakes(&set, screen);
        Ok(0)
    }
}

fn tell_of_mistakes(set: &Set, screen: &Screen) {
    if !set.is_whole() {
        screen.note(&format!("the files have {}: kin check shows them", set.report.sum()));
    }
}

/// What a key says, as a file has it.
fn said(definition: &Definition, name: &str) -> Option<Value> {
    let key: Option<&Key<_>> = JOB.key(name).map(|(_, key)| key);
    key.and_then(|key| key.kind.write(&definition.job))
}

fn kind(definition: &Definition) -> String {
    let job = &definition.job;
    match (job.life.is_service(), job.life.instances) {
        (true, 1) => "service".into(),
        (true, n) => format!("service x{n}"),
        (false, _) if !job.time.schedules.is_empty() => "scheduled".into(),
        (false, _) => "task".into(),
    }
}

fn command(definition: &Definition) -> String {
    if let Some(script) = said(definition, "command").as_ref().and_then(Value::as_text) {
        return script.into();
    }
    let Some(Value::List(words)) = said(definition, "exec") else { return String::new() };
    let words: Vec<String> = words.iter().filter_map(|word| word.value.as_text()).map(str::to_owned).collect();
    listing::brief(&words)
}

fn object(set: &Set, definition: &Definition) -> serde_json::Value {
    let place = definitions::place(set, definition);
    let job = &definition.job;
    serde_json::json!({
        "name": job.name.to_string(),
        "kind": if job.life.is_service() { "service" } else { "task" },
        "description": job.description,
        "schedule": job.time.schedules,
        "instances": job.life.instances,
        "disabled": job.disabled,
        "tags": job.tags,
        "file": place.as_ref().map(|(file, _)| file),
        "line": place.as_ref().map(|(_, line)| line),
        "definition": canon::json(job),
    })
}

fn table(set: &Set, width: Option<usize>, colour: bool) -> String {
    let mut table = Table::new(["job", "kind", "schedule", "file", "command"].map(Column::new));
    let base = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    for definition in set.jobs.values() {
        let job = &definition.job;
        let file = definitions::place(set, definition).map(|(name, line)| {
            // Of two files of the same name it takes more to tell which.
            let others = set.report.sources.iter().filter(|source| base(&source.name) == base(&name)).count();
            if others > 1 { format!("{name}:{line}") } else { format!("{}:{line}", base(&name)) }
        });
        let kind = if job.disabled { Cell::painted("disabled", Colour::Yellow) } else { Cell::from(kind(definition)) };
        table.row([
            Cell::from(job.name.to_string()),
            kind,
            Cell::from(job.time.schedules.join(" | ")),
            Cell::from(file.unwrap_or_default()),
            Cell::from(command(definition)),
        ]);
    }
    table.render(width, colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_is_a_row() {
        let set = Set::of_text(
            "/c/jobs.toml",
            "[web]\nexec = ['./web', '--port', '80']\nrestart = 'always'\ninstances = 2\n\n[backup]\ncommand = 'pg_dump | zstd'\n\
             schedule = ['30 2 * * *', '@reboot']\n[off]\ncommand = 'x'\ndisabled = true\n[by-hand]\ncommand = 'x'\n",
        );
        assert!(set.is_whole(), "{}", set.report.text(false));
        insta::assert_snapshot!(table(&set, None, false));
        let object = object(&set, set.jobs.values().next().expect("a job"));
        insta::assert_snapshot!(object);
    }
}
