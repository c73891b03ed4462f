//! A text that was read, and how to find a line in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Source {
    /// What people call it: a path, mostly.
    pub name: String,
    pub path: PathBuf,
    pub text: Arc<str>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// A place as editors count: both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Source {
    pub fn new(path: &Path, text: impl Into<Arc<str>>) -> Source {
        let text = text.into();
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(n, _)| n + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Source { name: path.display().to_string(), path: path.to_path_buf(), text, lines }
    }

    pub fn place(&self, offset: usize) -> Place {
        let offset = self.floor(offset);
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        Place { line, column: self.text.get(start..offset).map_or(0, |text| text.chars().count()) + 1 }
    }

    /// The line (counted from 1) without its end.
    pub fn line(&self, line: usize) -> &str {
        let start = self.lines.get(line - 1).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// The nearest place at or before it that is inside the text and between two characters.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_those_of_an_editor() {
        let source = Source::new(Path::new("a"), "ä = 1\r\n\nb = 2");
        assert_eq!(source.place(0), Place { line: 1, column: 1 });
        assert_eq!(source.place(1), Place { line: 1, column: 1 });
        assert_eq!(source.place(3), Place { line: 1, column: 3 });
        assert_eq!(source.place(8), Place { line: 2, column: 1 });
        assert_eq!(source.place(9), Place { line: 3, column: 1 });
        assert_eq!(source.place(99), Place { line: 3, column: 6 });
        assert_eq!((source.line(1), source.line(2), source.line(3), source.line(9)), ("ä = 1", "", "b = 2", ""));
    }
}
