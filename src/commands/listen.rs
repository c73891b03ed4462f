//! `kin listen`

use crate::clean;
use crate::cli::Face;
use crate::commands::unwritable;
use crate::listing::json_line;
use crate::report::Failure;
use crate::screen::Screen;
use crate::when;
use clap::{Args, ValueEnum};
use kin_client::api::Event;

/// What happens, as it happens: a line for each change of state, until interrupted. Nothing is missed meanwhile.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin listen\n  kin listen --json 'backup*' | jq .outcome")]
pub(crate) struct ListenArgs {
    /// Only runs of jobs that match.
    #[arg(value_name = "GLOB")]
    runs: Option<String>,
    /// As JSON, an object a line. There is no array of what has no end.
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "lines")]
    json: Option<JsonForm>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum JsonForm {
    Lines,
}

impl ListenArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut events = face.client.events(None, self.runs.as_deref());
        events.listening().await?;
        face.notices();
        loop {
            let event = events.next().await?;
            let text = match self.json {
                Some(JsonForm::Lines) => json_line(&event).map_err(unwritable)?,
                None => line(&event, &face.screen),
            };
            face.screen.print(&(text + "\n"))?;
        }
    }
}

/// `2026-11-20 23:11:35.673 backup-NeP8nb4q -> running`
pub(crate) fn line(event: &Event, screen: &Screen) -> String {
    let at = when::from_wire(&event.at).map_or_else(|| event.at.clone(), |at| when::millisecond(at, screen.zone()));
    let what = match (&event.run, &event.state) {
        (Some(run), Some(state)) => format!("{run} -> {state}{}", outcome(event)),
        (Some(run), None) => format!("{run} {}", event.kind),
        (None, _) => event.kind.clone(),
    };
    let message = event.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    clean::name(&format!("{at} {what}{message}")).into_owned()
}

fn outcome(event: &Event) -> String {
    match (&event.outcome, event.exit_code, event.signal) {
        (None, _, _) => String::new(),
        (Some(word), Some(code), _) if word == "failed" => format!(" {word}({code})"),
        (Some(word), _, Some(signal)) if word == "signaled" => format!(" {word}({})", kin_config::signal::name(signal)),
        (Some(word), _, _) => format!(" {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn a_line_says_when_who_and_what() {
        let now = "2026-11-20T13:54:01.120Z".parse().expect("a time");
        let screen = Screen::of_test(None, TimeZone::UTC, now);
        let event = Event {
            seq: 1,
            at: "2026-11-20T13:54:01.120Z".into(),
            kind: "run.state".into(),
            run: Some("backup-NeP8nb4q".into()),
            job: Some("backup".into()),
            state: Some("ended".into()),
            from: Some("running".into()),
            outcome: Some("failed".into()),
            exit_code: Some(3),
            signal: None,
            message: None,
        };
        assert_eq!(line(&event, &screen), "2026-11-20 13:54:01.120 backup-NeP8nb4q -> ended failed(3)");
        let message = Some("one\nkeeper".to_owned());
        let guard = Event { kind: "server.guard".into(), run: None, message, ..event };
        assert_eq!(line(&guard, &screen), "2026-11-20 13:54:01.120 server.guard: one␊keeper");
    }
}
