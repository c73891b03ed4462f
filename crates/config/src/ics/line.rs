//! Content lines: unfolded, with their parameters.

use super::Wrong;
use std::ops::Range;

pub(super) struct Line {
    /// Its first line in the file.
    pub(super) at: Range<usize>,
    /// In capitals.
    pub(super) name: String,
    params: Vec<(String, String)>,
    pub(super) value: String,
}

impl Line {
    /// A value that stands in another's, without parameters.
    pub(super) fn bare(of: &Line, value: &str) -> Line {
        Line { at: of.at.clone(), name: of.name.clone(), params: Vec::new(), value: value.into() }
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The value, as text is escaped.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let mut chars = self.value.chars();
        while let Some(c) = chars.next() {
            out.push(match c {
                '\\' => match chars.next() {
                    Some('n' | 'N') => '\n',
                    Some(other) => other,
                    None => '\\',
                },
                other => other,
            });
        }
        out
    }
}

/// A line may be folded within a character. Its bytes are brought together before the fold, so that each line is text and
/// no line becomes another.
pub fn mend_folds(bytes: &mut [u8]) {
    let mut at = 1;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'\r', b'\n', b' ' | b'\t', ..] => at + 3,
            [b'\n', b' ' | b'\t', ..] => at + 2,
            _ => {
                at += 1;
                continue;
            }
        };
        let lead = bytes[..at].iter().rposition(|b| b & 0xc0 != 0x80).unwrap_or(0);
        let wanted: usize = match bytes[lead] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 0,
        };
        let lacks = wanted.saturating_sub(at - lead);
        let tail = bytes[end..].iter().take(lacks).take_while(|b| **b & 0xc0 == 0x80).count();
        if lacks > 0 && tail == lacks {
            bytes[at..end + tail].rotate_right(tail);
        }
        at = end + tail;
    }
}

pub(super) fn lines(text: &str) -> impl Iterator<Item = Result<Line, Wrong>> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        loop {
            if rest >= text.len() {
                return None;
            }
            let (first, mut whole) = physical(text, &mut rest);
            while text[rest..].starts_with([' ', '\t']) {
                let (more, _) = physical(text, &mut rest);
                whole.push_str(&text[more.start + 1..more.end]);
            }
            if !whole.trim().is_empty() {
                return Some(parse(first, &whole));
            }
        }
    })
}

/// A line of the file without its end.
fn physical(text: &str, rest: &mut usize) -> (Range<usize>, String) {
    let start = *rest;
    let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
    *rest = (end + 1).min(text.len());
    let line = text[start..end].strip_suffix('\r').unwrap_or(&text[start..end]);
    (start..start + line.len(), line.to_string())
}

/// `NAME;PARAM=VALUE;PARAM="VALUE":VALUE`
fn parse(at: Range<usize>, whole: &str) -> Result<Line, Wrong> {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let bad = |what: &str| Err(Wrong { at: at.clone(), message: format!("this is no line of a calendar: {what}") });
    let Some(end) = whole.find([';', ':']) else { return bad("it is NAME:VALUE") };
    let (name, mut rest) = whole.split_at(end);
    if !is_name(name) {
        return bad("its name is made of letters, digits and '-'");
    }
    let mut params = Vec::new();
    while let Some(param) = rest.strip_prefix(';') {
        let Some((name, mut values)) = param.split_once('=').filter(|(name, _)| is_name(name)) else {
            return bad("after ';' comes PARAMETER=VALUE");
        };
        let mut value = String::new();
        loop {
            if let Some(quoted) = values.strip_prefix('"') {
                let Some((inner, after)) = quoted.split_once('"') else { return bad("a quote is not closed") };
                value.push_str(inner);
                values = after;
            } else {
                let end = values.find([';', ':', ',', '"']).unwrap_or(values.len());
                value.push_str(&values[..end]);
                values = &values[end..];
            }
            let Some(after) = values.strip_prefix(',') else { break };
            value.push(',');
            values = after;
        }
        params.push((name.to_ascii_uppercase(), value));
        rest = values;
    }
    let Some(value) = rest.strip_prefix(':') else { return bad("it has no ':' before its value") };
    Ok(Line { name: name.to_ascii_uppercase(), params, value: value.to_string(), at })
}
