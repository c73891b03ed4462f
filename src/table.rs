//! Tables as Kinetic draws them: a header, a dash line as wide as the widest row (not wider than a screen, or a page), one
//! row a line, two spaces between.

use crate::clean;
use crate::screen::Colour;

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// At least so wide, for tables whose shape people and scripts know by heart.
    pub(crate) width_min: usize,
}

impl Column {
    pub(crate) const fn new(title: &'static str) -> Column {
        Column { title, width_min: 0 }
    }
    pub(crate) const fn at_least(title: &'static str, width_min: usize) -> Column {
        Column { title, width_min }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    pub(crate) fn painted(text: impl AsRef<str>, colour: Colour) -> Cell {
        Cell { colour: Some(colour), ..Cell::from(text.as_ref()) }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell { text: clean::name(text).into_owned(), colour: None }
    }
}
impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::from(text.as_str())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

const GAP: usize = 2;
/// Where there is no screen, the dash line under the header goes no further, however long a command is.
const PAGE: usize = 160;

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Table {
        Table { columns: columns.into(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// `width`: on a screen of so many columns the last column is cut, and widths nobody needs are given up.
    pub(crate) fn render(&self, width: Option<usize>, colour: bool) -> String {
        let widths = self.widths(width);
        let header: Vec<Cell> = self.columns.iter().map(|c| Cell::from(c.title)).collect();
        let lines: Vec<(String, usize)> =
            std::iter::once(&header).chain(&self.rows).map(|row| line(row, &widths, width, colour)).collect();
        let full = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let longest = lines.iter().map(|(_, len)| *len).max().unwrap_or(0);
        let last = self.columns.last().map_or(0, |c| c.title.len().max(c.width_min));
        let mut dashes = longest.max(full - widths.last().map_or(0, |w| w - last.min(*w)));
        dashes = dashes.min(width.unwrap_or(PAGE));
        let mut out = String::new();
        for (i, (text, _)) in lines.iter().enumerate() {
            out.push_str(text);
            out.push('\n');
            if i == 0 {
                out.push_str(&"-".repeat(dashes));
                out.push('\n');
            }
        }
        out
    }

    fn widths(&self, screen: Option<usize>) -> Vec<usize> {
        let needed = |i: usize, column: &Column| {
            let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.text.chars().count());
            cells.chain([column.title.len()]).max().unwrap_or(0)
        };
        let full: Vec<usize> = self.columns.iter().enumerate().map(|(i, c)| needed(i, c).max(c.width_min)).collect();
        let total = full.iter().sum::<usize>() + GAP * full.len().saturating_sub(1);
        match screen {
            Some(screen) if total > screen => self.columns.iter().enumerate().map(|(i, c)| needed(i, c)).collect(),
            Some(_) | None => full,
        }
    }
}

/// One row, and how many columns of the screen it takes.
fn line(row: &[Cell], widths: &[usize], screen: Option<usize>, colour: bool) -> (String, usize) {
    let (mut out, mut used, mut owed) = (String::new(), 0, 0);
    for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
        let last = i + 1 == widths.len();
        let mut text = cell.text.clone();
        if let Some(screen) = screen
            && last
        {
            text = cut(&text, screen.saturating_sub(used + owed));
        }
        let len = text.chars().count();
        if len > 0 {
            out.push_str(&" ".repeat(owed));
            out.push_str(&cell.colour.map_or(text.clone(), |c| c.paint(&text, colour)));
            used += owed + len;
            owed = 0;
        }
        owed += width.saturating_sub(len) + GAP;
    }
    (out, used)
}

/// At most `width` characters, the last of them `…` where some are missing. Never so few that nothing can be read.
fn cut(text: &str, width: usize) -> String {
    let width = width.max(8);
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_grow_with_what_is_in_them_and_lines_end_with_text() {
        let mut table = Table::new([Column::at_least("a", 4), Column::new("b"), Column::new("c")]);
        table.row([Cell::from("x"), Cell::from("long one"), Cell::from("")]);
        table.row([Cell::from("y\n"), Cell::from(""), Cell::painted("red", Colour::Red)]);
        let shown = "a     b         c\n-------------------\nx     long one\ny␊              red\n";
        assert_eq!(table.render(None, false), shown);
        assert!(table.render(None, true).contains("\x1b[31mred\x1b[0m\n"));
    }

    #[test]
    fn a_narrow_screen_cuts_the_last_column_only() {
        let mut table = Table::new([Column::at_least("id", 30), Column::new("command")]);
        table.row([Cell::from("a-00000001"), Cell::from("a very long command that goes on")]);
        assert_eq!(
            table.render(Some(30), false),
            "id          command\n------------------------------\na-00000001  a very long comma…\n"
        );
    }
}
