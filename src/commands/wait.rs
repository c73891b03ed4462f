//! `kin wait`

use crate::cli::Face;
use crate::commands::unwritable;
use crate::durations;
use crate::listing::json_line;
use crate::report::Failure;
use crate::select::{Which, select};
use crate::verdict;
use clap::Args;
use kin_client::api::Run;
use std::time::Duration;

/// Until runs have ended, or a state is reached. Fails when one of them did not end well, or cannot reach the state: is
/// already past it, say.
///
/// A word that is a state is a state: without a run or a job beside it, the next run that comes to it is waited for.
/// States: held, queued, starting, running, stopping, draining, ended. Outcomes count as states: ok, failed, lost, ….
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLE
  kin wait backup
  kin wait --state running --timeout 10s web-NeP8nb4q
  kin wait ok")]
pub(crate) struct WaitArgs {
    /// A run's id or its last 8 characters, a job, a glob, @tag; or a state.
    #[arg(value_name = "RUN|JOB|STATE", required_unless_present = "state")]
    what: Vec<String>,
    /// The state to wait for; without it, the end.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Give up after so long: 90, 90s, 1h 30m. The exit code is then 124.
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    timeout: Option<Duration>,
    /// Each run as a JSON object on a line.
    #[arg(long)]
    json: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    State(&'static str),
    Outcome(&'static str),
}

/// kin's words, then taro's for the same.
const GOALS: [(&str, Goal); 28] = [
    ("held", Goal::State("held")),
    ("queued", Goal::State("queued")),
    ("starting", Goal::State("starting")),
    ("running", Goal::State("running")),
    ("stopping", Goal::State("stopping")),
    ("draining", Goal::State("draining")),
    ("ended", Goal::State("ended")),
    ("ok", Goal::Outcome("ok")),
    ("failed", Goal::Outcome("failed")),
    ("signaled", Goal::Outcome("signaled")),
    ("timed-out", Goal::Outcome("timed-out")),
    ("oom-killed", Goal::Outcome("oom-killed")),
    ("stopped", Goal::Outcome("stopped")),
    ("interrupted", Goal::Outcome("interrupted")),
    ("spawn-failed", Goal::Outcome("spawn-failed")),
    ("unhealthy", Goal::Outcome("unhealthy")),
    ("skipped", Goal::Outcome("skipped")),
    ("cancelled", Goal::Outcome("cancelled")),
    ("lost", Goal::Outcome("lost")),
    ("pending", Goal::State("held")),
    ("created", Goal::State("starting")),
    ("waiting", Goal::State("queued")),
    ("triggered", Goal::State("starting")),
    ("started", Goal::State("running")),
    ("completed", Goal::Outcome("ok")),
    ("start_failed", Goal::Outcome("spawn-failed")),
    ("error", Goal::Outcome("failed")),
    ("disabled", Goal::Outcome("skipped")),
];

impl Goal {
    fn parse(word: &str) -> Option<Goal> {
        let word = word.to_ascii_lowercase();
        GOALS.iter().find(|(name, _)| *name == word).map(|(_, goal)| *goal)
    }

    const fn word(self) -> &'static str {
        match self {
            Goal::State(word) | Goal::Outcome(word) => word,
        }
    }

    /// A run's life is a line: what it has left behind does not come again.
    fn is_past(self, state: &str) -> bool {
        const LINE: [&str; 8] = ["waiting", "held", "queued", "starting", "running", "stopping", "draining", "ended"];
        let place = |word: &str| LINE.iter().position(|state| *state == word);
        match self {
            Goal::State(wanted) => place(state) > place(wanted),
            Goal::Outcome(_) => state == "ended",
        }
    }

    fn is_met(self, state: &str, outcome: Option<&str>) -> bool {
        match self {
            Goal::State(wanted) => state == wanted,
            Goal::Outcome(wanted) => outcome == Some(wanted),
        }
    }
}

const ENDED: Goal = Goal::State("ended");

impl WaitArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let (goal, words) = self.goal()?;
        let words = face.jobs_meant(words).await?;
        let waiting = async {
            match (goal, words.is_empty()) {
                (ENDED, false) => self.ends(face, &words).await,
                (goal, true) => self.anybody(face, goal).await,
                (goal, false) => self.states(face, &words, goal).await,
            }
        };
        match self.timeout {
            None => waiting.await,
            Some(time) => tokio::time::timeout(time, waiting)
                .await
                .unwrap_or_else(|_| Err(Failure::TimedOut(format!("not within {}", durations::exact(time))))),
        }
    }

    /// The one state there may be, and the words that are none.
    fn goal(&self) -> Result<(Goal, Vec<String>), Failure> {
        let no_state = |word: &str| Failure::Usage {
            message: format!("{word:?} is no state"),
            hint: Some("kin wait --help names them".into()),
        };
        let mut goal = match &self.state {
            Some(word) => Some(Goal::parse(word).ok_or_else(|| no_state(word))?),
            None => None,
        };
        let mut words = Vec::new();
        for word in &self.what {
            match Goal::parse(word) {
                Some(found) if goal.is_none() => goal = Some(found),
                Some(_) | None => words.push(word.clone()),
            }
        }
        Ok((goal.unwrap_or(ENDED), words))
    }

    /// All of them, each printed as it ends.
    async fn ends(&self, face: &Face, words: &[String]) -> Result<u8, Failure> {
        let runs = self.targets(face, words).await?;
        let mut waiting = tokio::task::JoinSet::new();
        for run in runs {
            let face = face.clone();
            waiting.spawn(async move { face.wait(&run.id).await });
        }
        let mut code = 0;
        while let Some(ended) = waiting.join_next().await {
            let run = ended.map_err(|e| Failure::System { what: "could not wait", source: e.into() })??;
            code = code.max(u8::from(!verdict::is_ok(&run)));
            self.say(face, &run)?;
        }
        Ok(code)
    }

    /// Listens before it looks, so that nothing happens in between.
    async fn states(&self, face: &Face, words: &[String], goal: Goal) -> Result<u8, Failure> {
        let mut events = face.client.events(None, None);
        events.listening().await?;
        let mut waiting: Vec<String> = self.targets(face, words).await?.into_iter().map(|run| run.id).collect();
        let mut look = waiting.clone();
        let mut code = 0;
        loop {
            for id in std::mem::take(&mut look) {
                let run = face.client.run(&id).await?;
                let met = goal.is_met(&run.state, run.outcome.as_deref());
                if met || goal.is_past(&run.state) {
                    code = code.max(u8::from(!met));
                    if !met && run.state != "ended" {
                        face.screen.note(&format!(
                            "{id} is {} already: it does not come to {} again",
                            run.state,
                            goal.word()
                        ));
                    }
                    waiting.retain(|other| *other != id);
                    self.say(face, &run)?;
                }
            }
            if waiting.is_empty() {
                return Ok(code);
            }
            let event = events.next().await?;
            // What happened meanwhile is not told.
            if event.kind == "events.gap" || event.kind == "events.reset" {
                look.clone_from(&waiting);
                continue;
            }
            let (Some(id), Some(state)) = (event.run, event.state) else { continue };
            // A state may be over before it can be looked at.
            if waiting.contains(&id) && goal.is_met(&state, event.outcome.as_deref()) {
                waiting.retain(|other| *other != id);
                self.say(face, &face.client.run(&id).await?)?;
            } else if waiting.contains(&id) {
                look.push(id);
            }
        }
    }

    /// The next run that comes to it.
    async fn anybody(&self, face: &Face, goal: Goal) -> Result<u8, Failure> {
        let mut events = face.client.events(None, None);
        events.listening().await?;
        if face.screen.err_terminal {
            face.screen.note(&format!("waiting for the next run that is {}", goal.word()));
        }
        loop {
            let event = events.next().await?;
            let (Some(id), Some(state)) = (&event.run, &event.state) else { continue };
            if goal.is_met(state, event.outcome.as_deref()) {
                self.say(face, &face.client.run(id).await?)?;
                return Ok(0);
            }
        }
    }

    async fn targets(&self, face: &Face, words: &[String]) -> Result<Vec<Run>, Failure> {
        let selected = select(&face.client, words, Which::LiveOrNewest).await?;
        match selected.unmatched.first() {
            Some(word) => Err(Failure::not_found(word)),
            None => Ok(selected.runs),
        }
    }

    fn say(&self, face: &Face, run: &Run) -> Result<(), Failure> {
        let line = if self.json {
            json_line(run).map_err(unwritable)?
        } else {
            format!("{}  {}", run.id, verdict::words(run))
        };
        face.screen.print(&(line + "\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(what: &[&str], state: Option<&str>) -> Result<(Goal, Vec<String>), Failure> {
        let what = what.iter().map(|w| (*w).to_owned()).collect();
        WaitArgs { what, state: state.map(str::to_owned), timeout: None, json: false }.goal()
    }

    #[test]
    fn what_a_run_has_left_behind_is_past() {
        for (goal, state, past) in [
            ("queued", "running", true),
            ("queued", "queued", false),
            ("queued", "held", false),
            ("running", "starting", false),
            ("running", "stopping", true),
            ("ended", "draining", false),
            ("ok", "draining", false),
            ("ok", "ended", true),
        ] {
            assert_eq!(Goal::parse(goal).expect("a goal").is_past(state), past, "{goal} {state}");
        }
    }

    #[test]
    fn a_word_that_is_a_state_is_a_state() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let check = |what: &[&str], state, expected: (Goal, Vec<String>)| {
            assert_eq!(goal(what, state).expect("a goal"), expected);
        };
        check(&["backup"], None, (ENDED, words(&["backup"])));
        check(&["COMPLETED"], None, (Goal::Outcome("ok"), words(&[])));
        check(&["running", "web"], None, (Goal::State("running"), words(&["web"])));
        check(&["web", "running"], Some("ok"), (Goal::Outcome("ok"), words(&["web", "running"])));
        assert_eq!(goal(&[], Some("nonsense")).expect_err("no state").exit_code(), 2);
    }
}
