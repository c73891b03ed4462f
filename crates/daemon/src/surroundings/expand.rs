//! `$NAME`, `${NAME}` and `$$` in the words of a definition.

use super::Env;
use std::fmt;

/// Why a text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Undefined {
        name: String,
    },
    /// A `$` before something that is no name.
    Lone,
    Unclosed,
    /// The variable's value is not text.
    NotText {
        name: String,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Undefined { name } => {
                write!(f, "${name} is not defined in the run's environment; set it in env, or pass it with env_pass")
            }
            Wrong::Lone => f.write_str("a $ stands before no name; write $$ for the sign itself"),
            Wrong::Unclosed => f.write_str("a ${ is not closed by }"),
            Wrong::NotText { name } => write!(f, "the value of ${name} is not UTF-8"),
        }
    }
}

pub(super) fn text(text: &str, env: &Env) -> Result<String, Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let name = match rest.strip_prefix('{') {
            Some(inner) => {
                let (name, after) = inner.split_once('}').ok_or(Wrong::Unclosed)?;
                rest = after;
                name
            }
            None => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                rest = after;
                name
            }
        };
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            return Err(Wrong::Lone);
        }
        let value = env.get(name.as_bytes()).ok_or_else(|| Wrong::Undefined { name: name.into() })?;
        out.push_str(std::str::from_utf8(value).map_err(|_| Wrong::NotText { name: name.into() })?);
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env() -> Env {
        [("PORT", "3001"), ("A_1", "x$PORT"), ("EMPTY", "")].map(|(n, v)| (n.into(), v.into())).into()
    }

    #[test]
    fn names_are_replaced_once_and_the_sign_can_be_written() {
        for (from, to) in [
            ("http://127.0.0.1:$PORT/ok", "http://127.0.0.1:3001/ok"),
            ("${PORT}0", "30010"),
            ("$A_1", "x$PORT"),
            ("$EMPTY", ""),
            ("$$PORT $$$$", "$PORT $$"),
            ("plain", "plain"),
        ] {
            assert_eq!(text(from, &env()).as_deref(), Ok(to), "{from}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        assert_eq!(text("$NOPE", &env()), Err(Wrong::Undefined { name: "NOPE".into() }));
        for lone in ["$", "a $ b", "$1", "${}", "${1x}", "${a-b}"] {
            assert_eq!(text(lone, &env()), Err(Wrong::Lone), "{lone}");
        }
        assert_eq!(text("${PORT", &env()), Err(Wrong::Unclosed));
        let bytes: Env = [(b"B".to_vec(), vec![0xff])].into();
        assert_eq!(text("$B", &bytes), Err(Wrong::NotText { name: "B".into() }));
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(word in "\\PC{0,40}") {
            prop_assert_eq!(text(&word.replace('$', "$$"), &env()), Ok(word));
        }
    }
}
