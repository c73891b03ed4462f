//! Mistakes as people read them (file, line, column, the line itself with a caret below) and as programs do.

use crate::mistake::{Mistake, Report, Severity, Spot};
use crate::source::Place;

/// Longer lines are shown in part.
const WIDTH: usize = 120;

impl Report {
    /// All of them, and how many there are.
    pub fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        for mistake in &self.mistakes {
            out += &self.one(mistake, colour);
            out.push('\n');
        }
        out
    }

    /// `3 mistakes and 1 warning`
    pub fn sum(&self) -> String {
        let (errors, warnings) = (self.errors(), self.warnings());
        let many = |n: usize, word: &str| match n {
            0 => String::new(),
            1 => format!("1 {word}"),
            _ => format!("{n} {word}s"),
        };
        match (errors, warnings) {
            (0, 0) => "no mistakes".into(),
            (0, _) => format!("no mistakes, {}", many(warnings, "warning")),
            (_, 0) => many(errors, "mistake"),
            (_, _) => format!("{} and {}", many(errors, "mistake"), many(warnings, "warning")),
        }
    }

    pub fn json(&self) -> serde_json::Value {
        self.mistakes.iter().map(|mistake| self.one_json(mistake)).collect()
    }

    pub fn place(&self, spot: &Spot) -> Option<(&crate::Source, Place)> {
        let source = self.sources.get(spot.source)?;
        Some((source, source.place(spot.span.start)))
    }

    /// One of them: message, line and caret.
    pub fn one(&self, mistake: &Mistake, colour: bool) -> String {
        let paint =
            |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() };
        let strong = match mistake.severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
        };
        let mut out = format!("{}: {}\n", paint(strong, mistake.severity.word()), safe(&mistake.message));
        let numbers = mistake.also.iter().map(|(spot, _)| spot).chain(&mistake.at).filter_map(|spot| self.place(spot));
        let wide = numbers.map(|(_, place)| place.line.to_string().len()).max().unwrap_or(1);
        let margin = " ".repeat(wide);
        if let Some(spot) = &mistake.at {
            out += &self.shown(spot, "^", "", strong, &margin, &paint, true);
        }
        for (spot, words) in &mistake.also {
            let same = mistake.at.as_ref().is_some_and(|at| at.source == spot.source);
            out += &self.shown(spot, "-", words, "1;34", &margin, &paint, !same);
        }
        if mistake.at.is_none() && !mistake.key.is_empty() {
            out += &format!("{margin} {} {}\n", paint("34", "-->"), safe(&mistake.key));
        }
        if let Some(help) = &mistake.help {
            out += &format!("{margin} {} help: {}\n", paint("34", "="), safe(help));
        }
        out
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one picture")]
    fn shown(
        &self,
        spot: &Spot,
        mark: &str,
        words: &str,
        code: &str,
        margin: &str,
        paint: &dyn Fn(&str, &str) -> String,
        name: bool,
    ) -> String {
        let Some((source, place)) = self.place(spot) else { return String::new() };
        if is_whole(source, spot) {
            return format!("{margin}{} {}\n", paint("34", "-->"), safe(&source.name));
        }
        let bar = paint("34", "|");
        let mut out = String::new();
        if name {
            let arrow = paint("34", "-->");
            out += &format!("{margin}{arrow} {}:{}:{}\n{margin} {bar}\n", safe(&source.name), place.line, place.column);
        } else {
            out += &format!("{margin} {bar}\n");
        }
        let line = source.line(place.line);
        let rest = line.chars().count() + 1 - place.column.min(line.chars().count() + 1);
        let text = source.text.get(spot.span.clone()).unwrap_or_default();
        let long = text.lines().next().unwrap_or_default().chars().count().clamp(1, rest.max(1));
        let (line, before) = window(line, place.column - 1);
        let number = format!("{:>width$}", place.line, width = margin.len());
        out += &format!("{} {bar} {}\n", paint("34", &number), line);
        let pad: String = line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let room = line.chars().count().saturating_sub(before).max(1);
        let marks = paint(code, &mark.repeat(long.min(room)));
        let words = if words.is_empty() { String::new() } else { format!(" {}", safe(words)) };
        out + &format!("{margin} {bar} {pad}{marks}{words}\n")
    }

    fn one_json(&self, mistake: &Mistake) -> serde_json::Value {
        let at = |spot: &Spot| {
            let (source, place) = self.place(spot)?;
            Some((source, place, source.place(spot.span.end)))
        };
        let mut json = serde_json::json!({
            "severity": mistake.severity.word(),
            "code": mistake.code.word(),
            "message": mistake.message,
            "key": mistake.key,
            "file": null,
            "line": null,
            "column": null,
            "end_line": null,
            "end_column": null,
            "text": null,
            "help": mistake.help,
            "also": mistake.also.iter().filter_map(|(spot, words)| at(spot).map(|(source, place, _)| serde_json::json!({
                "file": source.name, "line": place.line, "column": place.column, "message": words,
            }))).collect::<Vec<_>>(),
        });
        if let Some((source, place, end)) = mistake.at.as_ref().and_then(at) {
            json["file"] = source.name.as_str().into();
            if mistake.at.as_ref().is_some_and(|spot| is_whole(source, spot)) {
                return json;
            }
            json["line"] = place.line.into();
            json["column"] = place.column.into();
            json["end_line"] = end.line.into();
            json["end_column"] = end.column.into();
            json["text"] = source.line(place.line).into();
        }
        json
    }
}

/// Nothing of its text is meant, but the file.
fn is_whole(source: &crate::Source, spot: &Spot) -> bool {
    spot.span == (0..0) && source.text.is_empty()
}

/// What may be shown of a line, and how many characters of it stand before `column`.
fn window(line: &str, column: usize) -> (String, usize) {
    let len = line.chars().count();
    if len <= WIDTH {
        return (safe(line), column);
    }
    let from = column.saturating_sub(WIDTH / 3);
    let shown: String = line.chars().skip(from).take(WIDTH).collect();
    let (head, tail) = (if from > 0 { "…" } else { "" }, if from + WIDTH < len { "…" } else { "" });
    (format!("{head}{}{tail}", safe(&shown)), column - from + usize::from(from > 0))
}

/// A file's text may not move the cursor of whoever reads about it. Each character stays one character.
fn safe(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => '\t',
            '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\x7f' => '␡',
            '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}
