//! `kin queue`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::{self, JsonArgs};
use crate::report::Failure;
use crate::screen::{Colour, Screen};
use crate::table::{Cell, Column, Table};
use clap::Args;
use kin_client::api::job::{Queue, QueueRequest};
use kin_config::guess;

/// Queues: who has a place, who waits; with options, a queue is paused, let go, or given other sizes.
///
/// A paused queue lets its runs go on and starts no more. What is said here holds over restarts of the server.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLE
  kin queue
  kin queue heavy --pause
  kin queue heavy --slots 4 --slots gpu=2")]
pub(crate) struct QueueArgs {
    /// Only this one.
    name: Option<String>,
    /// Start no more of its runs.
    #[arg(long, requires = "name", conflicts_with = "resume")]
    pause: bool,
    /// Start them again.
    #[arg(long, requires = "name")]
    resume: bool,
    /// So many runs at once; or, as gpu=2, so much of a resource. May be repeated.
    #[arg(long, value_name = "[RESOURCE=]N", requires = "name", value_parser = slots)]
    slots: Vec<(String, u32)>,
    #[command(flatten)]
    json: JsonArgs,
}

fn slots(text: &str) -> Result<(String, u32), String> {
    let (resource, n) = text.rsplit_once('=').unwrap_or(("slots", text));
    let n = n.parse().map_err(|_| format!("{n:?} is no number"))?;
    if resource.is_empty() { Err("it is written N or RESOURCE=N".into()) } else { Ok((resource.into(), n)) }
}

impl QueueArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        if let Some(name) = self.name {
            self.name = Some(face.name_meant(name, |project| project.queues).await?);
        }
        let queues = match &self.name {
            None => face.client.queues().await?,
            Some(name) => vec![self.one(face, name).await?],
        };
        let text = match self.json.json {
            Some(form) => listing::json(&queues, form).map_err(unwritable)?,
            None => table(&queues, &face.screen),
        };
        face.screen.print(&text)?;
        Ok(0)
    }

    async fn one(&self, face: &Face, name: &str) -> Result<Queue, Failure> {
        let queues = face.client.queues().await?;
        let Some(queue) = queues.iter().find(|queue| queue.name == name) else {
            let near = guess::nearest(name, queues.iter().map(|queue| queue.name.as_str()));
            let hint = near.map_or_else(|| "kin queue shows them".into(), |near| format!("did you mean {near}?"));
            return Err(Failure::NotFound { message: format!("there is no queue {name:?}"), hint: Some(hint) });
        };
        let has = |resource: &String| resource == "slots" || queue.slots.contains_key(resource);
        if let Some((resource, _)) = self.slots.iter().find(|(resource, _)| !has(resource)) {
            let near = guess::nearest(resource, queue.slots.keys().map(String::as_str));
            let hint = near.map_or_else(|| "its definition names them".into(), |near| format!("did you mean {near}?"));
            return Err(Failure::Usage { message: format!("queue {name} has no {resource:?}"), hint: Some(hint) });
        }
        // The request names all sizes; those that were not typed stay as they are.
        let slots = || queue.slots.clone().into_iter().chain(self.slots.iter().cloned()).collect();
        let request = QueueRequest {
            paused: (self.pause || self.resume).then_some(self.pause),
            slots: (!self.slots.is_empty()).then(slots),
        };
        if request == QueueRequest::default() {
            return Ok(queue.clone());
        }
        if self.pause && request.slots.is_some() {
            // Paused first, so that nothing starts in the places that come with it.
            let pause = QueueRequest { paused: Some(true), slots: None };
            face.client.set_queue(name, &pause).await?;
        }
        Ok(face.client.set_queue(name, &request).await?)
    }
}

fn table(queues: &[Queue], screen: &Screen) -> String {
    let mut table = Table::new(["queue", "state", "taken", "running", "waiting"].map(Column::new));
    for queue in queues {
        table.row([
            Cell::from(queue.name.as_str()),
            if queue.paused { Cell::painted("paused", Colour::Yellow) } else { Cell::painted("open", Colour::Green) },
            Cell::from(taken(queue)),
            Cell::from(queue.running.join(" ")),
            Cell::from(queue.waiting.join(" ")),
        ]);
    }
    table.render(screen.width, screen.colour)
}

/// `1 of 2, gpu 1 of 1`
fn taken(queue: &Queue) -> String {
    let one = |(name, of): (&String, &u32)| {
        let taken = queue.taken.get(name).copied().unwrap_or(0);
        if name == "slots" { format!("{taken} of {of}") } else { format!("{name} {taken} of {of}") }
    };
    let (own, others): (Vec<_>, Vec<_>) = queue.slots.iter().partition(|(name, _)| *name == "slots");
    own.into_iter().chain(others).map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn sizes_as_they_are_typed() {
        assert_eq!(slots("4"), Ok(("slots".into(), 4)));
        assert_eq!(slots("gpu=2"), Ok(("gpu".into(), 2)));
        assert!(slots("=2").is_err() && slots("gpu=").is_err() && slots("x").is_err());
    }

    #[test]
    fn each_queue_is_a_row() {
        let sizes = |pairs: &[(&str, u32)]| pairs.iter().map(|(name, n)| ((*name).into(), *n)).collect();
        let heavy = Queue {
            name: "heavy".into(),
            paused: true,
            slots: sizes(&[("gpu", 1), ("slots", 2)]),
            taken: sizes(&[("gpu", 1), ("slots", 1)]),
            running: vec!["train-NePbHZyZ".into()],
            waiting: vec!["train-NePbHZya".into(), "render-NePbHZyb".into()],
        };
        let free = Queue {
            name: "io".into(),
            paused: false,
            taken: BTreeMap::new(),
            running: Vec::new(),
            waiting: Vec::new(),
            slots: sizes(&[("slots", 1)]),
        };
        let screen = Screen::of_test(None, jiff::tz::TimeZone::UTC, jiff::Timestamp::UNIX_EPOCH);
        insta::assert_snapshot!(table(&[heavy, free], &screen));
    }
}
