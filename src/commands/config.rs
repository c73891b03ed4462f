//! `kin config`

use crate::commands::unwritable;
use crate::definitions;
use crate::listing::json_line;
use crate::report::Failure;
use crate::screen::Screen;
use crate::table::{Cell, Column, Table};
use clap::{Args, Subcommand};
use kin_config::keys::kin::{CALENDAR, KIN, QUEUE};
use kin_config::{Set, schema};

/// The settings: what holds, where it is written, and what may be written.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin config show\n  vim `kin config path`\n  kin config schema > kin.schema.json")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The settings that hold, and where each was said.
    Show {
        /// As a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The path of the main file, whether it is there or not.
    Path {
        /// All files that are read instead.
        #[arg(long)]
        all: bool,
    },
    /// A JSON Schema of job files, for editors.
    Schema,
}

impl ConfigArgs {
    pub(crate) fn run(&self, screen: &Screen) -> Result<u8, Failure> {
        match self.what {
            What::Schema => {
                let text = serde_json::to_string_pretty(&schema::schema()).map_err(unwritable)?;
                screen.print(&(text + "\n"))?;
            }
            What::Path { all } => {
                let dirs = definitions::directories()?;
                let set = if all { definitions::read(&dirs) } else { Set::default() };
                let mut text: String = set.report.sources.iter().map(|source| format!("{}\n", source.name)).collect();
                if !all {
                    text = format!("{}\n", definitions::main_file(&dirs).display());
                }
                screen.print(&text)?;
            }
            What::Show { json } => {
                let set = definitions::read(&definitions::directories()?);
                let rows = rows(&set);
                let text =
                    if json { json_line(&object(&rows)).map_err(unwritable)? + "\n" } else { table(&rows, screen) };
                screen.print(&text)?;
                if !set.is_whole() {
                    screen.note(&format!("the files have {}: kin check shows them", set.report.sum()));
                    return Ok(2);
                }
            }
        }
        Ok(0)
    }
}

struct Row {
    name: String,
    value: Option<kin_config::tree::Value>,
    absent: &'static str,
    from: String,
}

fn rows(set: &Set) -> Vec<Row> {
    let from = |path: &str| {
        let spot = set.said.get(path)?;
        let source = set.report.sources.get(spot.source)?;
        Some(format!("{}:{}", source.name, source.place(spot.span.start).line))
    };
    let settings = KIN.keys.iter().map(|key| Row {
        name: key.name.into(),
        value: key.kind.write(&set.settings),
        absent: key.absent,
        from: from(&format!("kin.{}", key.name)).unwrap_or_else(|| "default".into()),
    });
    let queues = set.settings.queues.values().flat_map(|queue| {
        let path = format!("queues.{}", queue.name);
        let from = from(&format!("kin.{path}")).unwrap_or_default();
        QUEUE.keys.iter().map(move |key| Row {
            name: format!("{path}.{}", key.name),
            value: key.kind.write(queue),
            absent: "none",
            from: from.clone(),
        })
    });
    let calendars = set.settings.calendars.values().flat_map(|calendar| {
        let path = format!("calendars.{}", calendar.name);
        let from = from(&format!("kin.{path}")).unwrap_or_default();
        CALENDAR.keys.iter().map(move |key| Row {
            name: format!("{path}.{}", key.name),
            value: key.kind.write(calendar),
            absent: "none",
            from: from.clone(),
        })
    });
    settings.chain(queues).chain(calendars).collect()
}

fn table(rows: &[Row], screen: &Screen) -> String {
    let mut table = Table::new(["setting", "value", "from"].map(Column::new));
    for row in rows {
        let value = row.value.as_ref().map_or_else(|| format!("({})", row.absent), kin_config::tree::Value::toml);
        table.row([Cell::from(row.name.as_str()), Cell::from(value), Cell::from(row.from.as_str())]);
    }
    table.render(screen.width, screen.colour)
}

fn object(rows: &[Row]) -> serde_json::Value {
    let one = |row: &Row| {
        let value = row.value.as_ref().map(kin_config::tree::Value::json);
        (row.name.clone(), serde_json::json!({ "value": value, "from": row.from }))
    };
    serde_json::Value::Object(rows.iter().map(one).collect())
}
