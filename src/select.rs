//! Which runs a word on the command line means: a run's id or its last eight characters, a job, a glob, a tag.

use crate::report::Failure;
use kin_client::api::{JobName, Run, RunId, RunNo, RunQuery};
use kin_client::{Client, Page};

/// Of a job, a glob or a tag: the runs that live, or else the newest that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Live,
    LiveOrNewest,
    /// The same, but of a glob or a tag only those that live: whom it is meant for is not chosen by chance.
    LiveOrNamed,
    Newest,
}

/// What the words mean together, each run once, and the words that mean nothing.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    pub(crate) runs: Vec<Run>,
    pub(crate) unmatched: Vec<String>,
    /// Globs and tags of which nothing lives (`LiveOrNamed`).
    pub(crate) idle: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    Run(&'a str),
    Job(&'a str),
    Tag(&'a str),
}

impl Word<'_> {
    pub(crate) fn parse(word: &str) -> Result<Word<'_>, Failure> {
        if let Some(tag) = word.strip_prefix('@') {
            return Ok(Word::Tag(tag));
        }
        if RunId::parse(word).is_some() || RunNo::parse(word).is_some() {
            return Ok(Word::Run(word));
        }
        if !is_glob(word)
            && let Err(bad) = JobName::parse(word)
        {
            return Err(Failure::usage(format!("{word:?} is neither a run nor a job: {bad}")));
        }
        if !is_whole(word) {
            return Err(Failure::usage(format!("{word:?} is no glob: a [ has no ] after it")));
        }
        Ok(Word::Job(word))
    }
}

/// Each of its sets is closed. A `]` that comes first in one is one of its characters.
fn is_whole(glob: &str) -> bool {
    let mut rest = glob;
    while let Some((_, set)) = rest.split_once('[') {
        let set = set.strip_prefix('^').unwrap_or(set);
        let mut after = set.chars();
        after.next();
        let Some((_, after)) = after.as_str().split_once(']') else { return false };
        rest = after;
    }
    true
}

pub(crate) fn is_glob(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

pub(crate) async fn select(client: &Client, words: &[String], which: Which) -> Result<Selected, Failure> {
    let mut selected = Selected::default();
    for word in words {
        let runs = meant(client, Word::parse(word)?, which).await?;
        let is_open = is_glob(word) || word.starts_with('@');
        if which == Which::LiveOrNamed && is_open && runs.iter().any(|run| run.state == "ended") {
            selected.idle.push(word.clone());
            continue;
        }
        if runs.is_empty() {
            selected.unmatched.push(word.clone());
        }
        for run in runs {
            if !selected.runs.iter().any(|have| have.id == run.id) {
                selected.runs.push(run);
            }
        }
    }
    Ok(selected)
}

/// Whether it is the id of a run there is. What looks like one can be a job's name: `web-frontend`.
pub(crate) async fn is_run(client: &Client, word: &str) -> Result<bool, Failure> {
    if RunId::parse(word).is_none() && RunNo::parse(word).is_none() {
        return Ok(false);
    }
    match client.run(word).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Exactly one run: by its id, or the newest of a job.
pub(crate) async fn one(client: &Client, word: &str) -> Result<Run, Failure> {
    let selected = select(client, &[word.to_owned()], Which::Newest).await?;
    selected.runs.into_iter().next().ok_or_else(|| Failure::not_found(word))
}

async fn meant(client: &Client, word: Word<'_>, which: Which) -> Result<Vec<Run>, Failure> {
    let query = match word {
        Word::Run(id) => match client.run(id).await {
            Ok(run) => return Ok(vec![run]),
            // A job may be called so.
            Err(error) if error.is_not_found() => RunQuery { job: Some(id.to_owned()), ..RunQuery::default() },
            Err(error) => return Err(error.into()),
        },
        Word::Job(job) => RunQuery { job: Some(job.to_owned()), ..RunQuery::default() },
        Word::Tag(tag) => RunQuery { tag: Some(tag.to_owned()), ..RunQuery::default() },
    };
    let live = RunQuery { state: Some("live".into()), ..query.clone() };
    let mut runs = Vec::new();
    if which != Which::Newest {
        runs = client.runs_of(&live, Page::All, |_| true).await?;
        runs.reverse();
    }
    if runs.is_empty() && which != Which::Live {
        runs = client.runs_of(&query, Page::Newest(1), |_| true).await?;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_word_looks_like() {
        for (word, means) in [
            ("backup-NeP8nb4q", Word::Run("backup-NeP8nb4q")),
            ("NeP8nb4q", Word::Run("NeP8nb4q")),
            ("backup", Word::Job("backup")),
            ("back*", Word::Job("back*")),
            ("@app", Word::Tag("app")),
        ] {
            assert_eq!(Word::parse(word).expect(word), means);
        }
        for (glob, whole) in [
            ("a[", false),
            ("[]", false),
            ("[]]", true),
            ("[^a]*[b-d]", true),
            ("a]", true),
            ("[ä", false),
            ("[ä]", true),
        ] {
            assert_eq!(is_whole(glob), whole, "{glob}");
        }
        assert_eq!(Word::parse("[").expect_err("no glob").exit_code(), 2);
        let failure = Word::parse("no such\x1b").expect_err("no word");
        assert_eq!(failure.exit_code(), 2);
    }
}
