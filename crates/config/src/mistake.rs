//! Something that is wrong with what was written: what, where, and what to write instead.

use crate::source::Source;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing of it is applied.
    Error,
    /// It is applied; somebody should look all the same.
    Warning,
}

impl Severity {
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// The kinds of mistakes, for programs. Their words are never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The file cannot be read at all.
    File,
    /// Who may write the file, or its directory.
    Permission,
    Syntax,
    UnknownKey,
    WrongType,
    WrongValue,
    Missing,
    /// Two keys that exclude each other.
    Conflict,
    JobName,
    /// The same job, setting or queue in two places.
    Twice,
    UnknownJob,
    UnknownQueue,
    UnknownCalendar,
    Cycle,
    Variable,
    Schedule,
    /// A calendar file.
    Calendar,
}

impl Code {
    /// It names what is not defined anywhere.
    pub(crate) const fn names_nobody(self) -> bool {
        matches!(self, Code::UnknownJob | Code::UnknownQueue | Code::UnknownCalendar)
    }

    pub const fn word(self) -> &'static str {
        match self {
            Code::File => "file",
            Code::Permission => "permission",
            Code::Syntax => "syntax",
            Code::UnknownKey => "unknown-key",
            Code::WrongType => "wrong-type",
            Code::WrongValue => "wrong-value",
            Code::Missing => "missing",
            Code::Conflict => "conflict",
            Code::JobName => "job-name",
            Code::Twice => "twice",
            Code::UnknownJob => "unknown-job",
            Code::UnknownQueue => "unknown-queue",
            Code::UnknownCalendar => "unknown-calendar",
            Code::Cycle => "cycle",
            Code::Variable => "variable",
            Code::Schedule => "schedule",
            Code::Calendar => "calendar",
        }
    }
}

/// Bytes of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    pub source: usize,
    pub span: Range<usize>,
}

impl Spot {
    fn order(&self) -> (usize, usize, usize) {
        (self.source, self.span.start, self.span.end)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub severity: Severity,
    pub code: Code,
    pub message: String,
    /// The key's whole path: `web.ready.http`. Empty where there is none.
    pub key: String,
    /// `None`: what was written was no text (a request), or the whole is meant.
    pub at: Option<Spot>,
    /// What to write instead, or to do.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub also: Vec<(Spot, String)>,
}

impl Mistake {
    pub fn error(code: Code, message: impl Into<String>) -> Mistake {
        Mistake {
            severity: Severity::Error,
            code,
            message: message.into(),
            key: String::new(),
            at: None,
            help: None,
            also: Vec::new(),
        }
    }
    pub fn warning(code: Code, message: impl Into<String>) -> Mistake {
        Mistake { severity: Severity::Warning, ..Mistake::error(code, message) }
    }
    #[must_use]
    pub fn at(mut self, source: usize, span: &Range<usize>) -> Mistake {
        self.at = Some(Spot { source, span: span.clone() });
        self
    }
    #[must_use]
    pub fn key(mut self, path: impl Into<String>) -> Mistake {
        self.key = path.into();
        self
    }
    #[must_use]
    pub fn help(mut self, words: impl Into<String>) -> Mistake {
        self.help = Some(words.into());
        self
    }
    #[must_use]
    pub fn also(mut self, spot: Spot, words: impl Into<String>) -> Mistake {
        self.also.push((spot, words.into()));
        self
    }
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// All that is wrong, with the texts it is about, in the order of the texts.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sources: Vec<Source>,
    pub mistakes: Vec<Mistake>,
}

impl Report {
    pub fn new(sources: Vec<Source>, mut mistakes: Vec<Mistake>) -> Report {
        mistakes.sort_by_cached_key(|m| (m.at.as_ref().map(Spot::order), m.key.clone(), m.message.clone()));
        mistakes.dedup();
        Report { sources, mistakes }
    }
    pub fn errors(&self) -> usize {
        self.mistakes.iter().filter(|m| m.is_error()).count()
    }
    pub fn warnings(&self) -> usize {
        self.mistakes.len() - self.errors()
    }
}
