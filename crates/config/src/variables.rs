//! `$NAME` and `${NAME}` in what is expanded when a run is made; `$$` is `$`.

use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
    /// A `$` that begins nothing.
    Stray,
}

/// The pieces of a text, each with its bytes.
pub fn pieces(text: &str) -> Vec<(Range<usize>, Piece<'_>)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(next) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(dollar) = next.find('$').map(|n| at + n) else {
            out.push((at..text.len(), Piece::Text(next)));
            break;
        };
        if dollar > at {
            out.push((at..dollar, Piece::Text(&text[at..dollar])));
        }
        let (end, piece) = after_dollar(text, dollar + 1);
        out.push((dollar..end, piece));
        at = end;
    }
    out
}

fn after_dollar(text: &str, at: usize) -> (usize, Piece<'_>) {
    let rest = &text[at..];
    if rest.starts_with('$') {
        return (at + 1, Piece::Text("$"));
    }
    if let Some(inner) = rest.strip_prefix('{')
        && let Some(end) = inner.find('}')
        && is_name(&inner[..end])
    {
        return (at + end + 2, Piece::Name(&inner[..end]));
    }
    let len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    if is_name(&rest[..len]) { (at + len, Piece::Name(&rest[..len])) } else { (at, Piece::Stray) }
}

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// The first name that is not defined, or a `$` that begins nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unexpanded {
    Undefined(String),
    Stray,
}

impl std::fmt::Display for Unexpanded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unexpanded::Undefined(name) => write!(f, "${name} is not defined; $$ stands for a dollar sign"),
            Unexpanded::Stray => f.write_str("a $ begins no name; $$ stands for a dollar sign"),
        }
    }
}
impl std::error::Error for Unexpanded {}

/// With each name replaced by what `look_up` says.
pub fn expand(text: &str, look_up: impl Fn(&str) -> Option<String>) -> Result<String, Unexpanded> {
    let mut out = String::with_capacity(text.len());
    for (_, piece) in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Name(name) => out += &look_up(name).ok_or_else(|| Unexpanded::Undefined(name.into()))?,
            Piece::Stray => return Err(Unexpanded::Stray),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(text: &str) -> Result<String, Unexpanded> {
        expand(text, |name| (name == "PORT").then(|| "80".into()))
    }

    #[test]
    fn names_are_replaced_and_two_dollars_are_one() {
        for (text, meant) in [
            ("a:$PORT/x", "a:80/x"),
            ("${PORT}1", "801"),
            ("$$PORT$$", "$PORT$"),
            ("", ""),
            ("ä", "ä"),
            ("$PORT$PORT", "8080"),
        ] {
            assert_eq!(with(text).as_deref(), Ok(meant), "{text}");
        }
        assert_eq!(with("$PORTS"), Err(Unexpanded::Undefined("PORTS".into())));
        for stray in ["$", "a$ b", "$1", "${", "${}", "${A-B}", "$(x)"] {
            assert_eq!(with(stray), Err(Unexpanded::Stray), "{stray}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_whole_text(text in "[$a{}A1_ä]{0,20}") {
            let joined: String = pieces(&text).iter().map(|(span, _)| &text[span.clone()]).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
