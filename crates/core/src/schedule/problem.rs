//! What is wrong with a schedule's text: where, and what would be right.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A part of a schedule, by the name that its reader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
    Year,
    Zone,
}

impl Field {
    pub const fn word(self) -> &'static str {
        match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day of month",
            Field::Month => "month",
            Field::DayOfWeek => "day of week",
            Field::Year => "year",
            Field::Zone => "time zone",
        }
    }
    /// What may stand there.
    pub const fn range(self) -> &'static str {
        match self {
            Field::Second => "seconds are 0 to 59",
            Field::Minute => "minutes are 0 to 59",
            Field::Hour => "hours are 0 to 23",
            Field::DayOfMonth => "days are 1 to 31",
            Field::Month => "months are 1 to 12, or JAN to DEC",
            Field::DayOfWeek => "weekdays are 0 (Sunday) to 7 (Sunday again), or SUN to SAT",
            Field::Year => "years are 1970 to 2199",
            Field::Zone => "zones have names as Europe/Berlin",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The character it begins at; the first is 1.
    pub column: usize,
    /// How many characters it is long, at least 1.
    pub length: usize,
    pub field: Option<Field>,
    /// What it is, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "{}, column {}: {}", field.word(), self.column, self.message),
            None => write!(f, "column {}: {}", self.column, self.message),
        }
    }
}

/// All that is wrong with a text; at least one thing, in the order of the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn iter(&self) -> core::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(Vec::from([problem]))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl core::error::Error for Problems {}

/// Where a parser writes down what it finds.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<Problem>);

impl Found {
    pub(super) fn add(&mut self, at: Part<'_>, field: Option<Field>, message: impl Into<String>) {
        self.0.push(at.problem(field, message));
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// `value`, unless something is wrong.
    pub(super) fn or<T>(mut self, value: T) -> Result<T, Problems> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by_key(|problem| problem.column);
        Err(Problems(self.0))
    }
}

/// A piece of the text that knows where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) text: &'a str,
    pub(super) column: usize,
}

impl<'a> Part<'a> {
    pub(super) fn whole(text: &'a str) -> Part<'a> {
        Part { text, column: 1 }
    }

    pub(super) fn problem(self, field: Option<Field>, message: impl Into<String>) -> Problem {
        let length = self.text.chars().count().max(1);
        Problem { column: self.column, length, field, message: message.into() }
    }

    /// What stands from that byte on.
    pub(super) fn from(self, byte: usize) -> Part<'a> {
        let (head, text) = self.text.split_at(byte);
        Part { text, column: self.column + head.chars().count() }
    }

    pub(super) fn until(self, byte: usize) -> Part<'a> {
        Part { text: &self.text[..byte], column: self.column }
    }

    pub(super) fn trim(self) -> Part<'a> {
        let lead = self.text.len() - self.text.trim_start().len();
        let part = self.from(lead);
        Part { text: part.text.trim_end(), column: part.column }
    }

    /// What stands before and after the first `mark`.
    pub(super) fn split(self, mark: &str) -> Option<(Part<'a>, Part<'a>)> {
        let at = self.text.find(mark)?;
        Some((self.until(at), self.from(at + mark.len())))
    }

    pub(super) fn strip(self, prefix: &str) -> Option<Part<'a>> {
        self.text.starts_with(prefix).then(|| self.from(prefix.len()))
    }

    /// The same, whether its letters are large or small.
    pub(super) fn strip_any_case(self, prefix: &str) -> Option<Part<'a>> {
        let head = self.text.get(..prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then(|| self.from(prefix.len()))
    }

    /// The pieces between `mark`s.
    pub(super) fn pieces(self, mark: &'static str) -> impl Iterator<Item = Part<'a>> {
        let mut rest = Some(self);
        core::iter::from_fn(move || {
            let part = rest?;
            let (piece, after) = part.split(mark).map_or((part, None), |(piece, after)| (piece, Some(after)));
            rest = after;
            Some(piece)
        })
    }

    /// The pieces between white space.
    pub(super) fn words(self) -> impl Iterator<Item = Part<'a>> {
        let mut rest = self.trim();
        core::iter::from_fn(move || {
            if rest.text.is_empty() {
                return None;
            }
            let end = rest.text.find(char::is_whitespace).unwrap_or(rest.text.len());
            let word = rest.until(end);
            rest = rest.from(end).trim();
            Some(word)
        })
    }
}
