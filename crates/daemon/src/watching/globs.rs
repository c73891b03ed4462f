//! Globs of paths: `**` is any number of directories, `*` and `?` stand within one name. What begins with `!` is left out.
//!
//! A name that begins with a dot is only meant by a pattern that says the dot: editors, version control and whoever writes
//! a file in two steps put theirs there.

use crate::http::glob;
use std::path::{Component, Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Globs {
    wanted: Vec<Vec<String>>,
    left_out: Vec<Vec<String>>,
}

impl Globs {
    pub(super) fn of(patterns: &[String]) -> Globs {
        let parts =
            |pattern: &str| pattern.split('/').filter(|part| !matches!(*part, "" | ".")).map(String::from).collect();
        let (out, wanted): (Vec<&String>, Vec<&String>) = patterns.iter().partition(|pattern| pattern.starts_with('!'));
        Globs {
            wanted: wanted.into_iter().map(|pattern| parts(pattern)).collect(),
            left_out: out.into_iter().map(|pattern| parts(&pattern[1..])).collect(),
        }
    }

    /// `path`: below the directory that the patterns are meant in.
    pub(super) fn fit(&self, path: &Path) -> bool {
        let Some(names) = names(path) else { return false };
        self.wanted.iter().any(|pattern| fits(pattern, &names)) && !self.is_left_out(&names)
    }

    fn is_left_out(&self, names: &[&str]) -> bool {
        // With a directory goes what is below it.
        (1..=names.len()).any(|upto| self.left_out.iter().any(|pattern| fits(pattern, &names[..upto])))
    }

    /// Whether something below this directory may fit, or may come to.
    pub(super) fn may_hold(&self, dir: &Path) -> bool {
        let Some(names) = names(dir) else { return false };
        !self.is_left_out(&names) && self.wanted.iter().any(|pattern| leads_to(pattern, &names))
    }
}

fn names(path: &Path) -> Option<Vec<&str>> {
    path.components().map(|part| if let Component::Normal(name) = part { name.to_str() } else { None }).collect()
}

fn fits_one(pattern: &str, name: &str) -> bool {
    (!name.starts_with('.') || pattern.starts_with('.')) && glob::fits(pattern, name)
}

fn fits(pattern: &[String], names: &[&str]) -> bool {
    match (pattern.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((star, rest)), _) if star == "**" => {
            // Also a directory's own content, however deep: `src/**`.
            (rest.is_empty() && !names.is_empty() && names.iter().all(|name| !name.starts_with('.')))
                || (!rest.is_empty() && fits(rest, names))
                || names.split_first().is_some_and(|(name, names)| !name.starts_with('.') && fits(pattern, names))
        }
        (Some((one, rest)), Some((name, names))) => fits_one(one, name) && fits(rest, names),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn leads_to(pattern: &[String], names: &[&str]) -> bool {
    match (pattern.split_first(), names.split_first()) {
        (Some(_), None) => true,
        (Some((star, _)), Some((name, names))) if star == "**" => !name.starts_with('.') && leads_to(pattern, names),
        (Some((one, rest)), Some((name, names))) => fits_one(one, name) && leads_to(rest, names),
        (None, _) => false,
    }
}

/// The nearest directory above it, itself included, that is there.
pub(super) fn nearest(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.is_dir()).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_where_it_may_lie() {
        let globs = |patterns: &[&str]| Globs::of(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (patterns, path, want) in [
            (&["src/**"][..], "src/a.rs", true),
            (&["src/**"], "src/deep/er/a.rs", true),
            (&["src/**"], "src", false),
            (&["src/**"], "other/a.rs", false),
            (&["src/**"], "src/.a.rs.swp", false),
            (&["src/**"], "src/.git/HEAD", false),
            (&["**/*.rs"], "a.rs", true),
            (&["**/*.rs"], "x/y/a.rs", true),
            (&["**/*.rs"], "x/y/a.txt", false),
            (&["*.toml"], "a.toml", true),
            (&["*.toml"], "x/a.toml", false),
            (&[".env"], ".env", true),
            (&["./conf/?.ini"], "conf/a.ini", true),
            (&["src/**", "!src/made/**"], "src/made/a.rs", false),
            (&["src/**", "!src/made"], "src/made/a.rs", false),
            (&["src/**", "!**/*.tmp"], "src/a.tmp", false),
            (&["src/**", "!**/*.tmp"], "src/a.rs", true),
        ] {
            assert_eq!(globs(patterns).fit(Path::new(path)), want, "{patterns:?} {path}");
        }
        let some = globs(&["src/*/conf/*.ini", "web/**", "!web/node_modules"]);
        for (dir, want) in [("", true), ("src", true), ("src/a", true), ("src/a/conf", true), ("src/a/other", false)] {
            assert_eq!(some.may_hold(Path::new(dir)), want, "{dir}");
        }
        assert!(some.may_hold(Path::new("web/deep")) && !some.may_hold(Path::new("web/node_modules/x")));
    }
}
