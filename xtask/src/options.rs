//! Words after a command: `--name`, `--name value`, and the rest.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Options {
    flags: Vec<String>,
    values: BTreeMap<String, String>,
    pub(crate) rest: Vec<String>,
}

impl Options {
    /// `flags` stand alone, `values` take the next word.
    pub(crate) fn parse(words: &[String], flags: &[&str], values: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                options.rest.push(word.clone());
                continue;
            };
            if flags.contains(&name) {
                options.flags.push(name.into());
            } else if values.contains(&name) {
                let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                options.values.insert(name.into(), value.clone());
            } else {
                return Err(format!("no such option: --{name}"));
            }
        }
        Ok(options)
    }
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
    pub(crate) fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}: not a number")),
        }
    }
}
