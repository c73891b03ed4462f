//! `kin list`

use crate::commands::unwritable;
use crate::definitions;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use clap::Args;
use kin_config::key::Key;
use kin_config::keys::job::JOB;
use kin_config::{Definition, Set, canon};

/// The jobs that the files define.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin list\n  kin list --json | jq -r '.[] | select(.disabled).job'")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    json: JsonArgs,
}

impl ListArgs {
    pub(crate) fn run(&self, screen: &Screen) -> Result<u8, Failure> {
        let set = definitions::read(&definitions::directories()?);
        let text = match self.json.json {
            Some(form) => {
                let items: Vec<_> = set.jobs.values().map(|definition| object(&set, definition)).collect();
                listing::json(&items, form).map_err(unwritable)?
            }
            None => table(&set, screen.width, screen.colour),
        };
        screen.print(&text)?;
        if !set.is_whole() {
            screen.note(&format!("the files have {}: kin check shows them", set.report.sum()));
        }
        Ok(0)
    }
}

/// What a key says, as a file has it.
fn said(definition: &Definition, name: &str) -> Option<kin_config::tree::Value> {
    let key: Option<&Key<_>> = JOB.key(name).map(|(_, key)| key);
    key.and_then(|key| key.kind.write(&definition.job))
}

fn kind(definition: &Definition) -> String {
    let job = &definition.job;
    match (job.life.is_service(), job.life.instances) {
        (true, 1) => "service".into(),
        (true, n) => format!("service x{n}"),
        (false, _) if !job.time.schedules.is_empty() => "scheduled".into(),
        (false, _) => "job".into(),
    }
}

fn command(definition: &Definition) -> String {
    if let Some(script) = said(definition, "command").as_ref().and_then(kin_config::tree::Value::as_text) {
        return script.into();
    }
    said(definition, "exec").map(|argv| argv.toml()).unwrap_or_default()
}

fn object(set: &Set, definition: &Definition) -> serde_json::Value {
    let place = definitions::place(set, definition);
    let job = &definition.job;
    serde_json::json!({
        "job": job.name.to_string(),
        "kind": if job.life.is_service() { "service" } else { "job" },
        "description": job.description,
        "schedules": job.time.schedules,
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
    for definition in set.jobs.values() {
        let job = &definition.job;
        let file = definitions::place(set, definition).map(|(name, line)| {
            let base = name.rsplit('/').next().unwrap_or_default();
            format!("{base}:{line}")
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
