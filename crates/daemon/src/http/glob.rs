//! Globs of names: `*` is any text, `?` any one character.

/// Whether the whole name fits the pattern.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (mut p, mut n) = (pattern, name);
    // What follows the last star, and what of the name it has left.
    let mut star: Option<(&str, &str)> = None;
    while let Some(c) = n.chars().next() {
        let wanted = p.chars().next();
        match wanted {
            Some('*') => {
                p = &p[1..];
                star = Some((p, n));
            }
            Some(w) if w == '?' || w == c => {
                p = &p[w.len_utf8()..];
                n = &n[c.len_utf8()..];
            }
            Some(_) | None => match &mut star {
                // It eats one more.
                Some((after, left)) => {
                    let mut rest = left.chars();
                    rest.next();
                    *left = rest.as_str();
                    (p, n) = (*after, *left);
                }
                None => return false,
            },
        }
    }
    p.chars().all(|c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn globs_fit_whole_names() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbcd", false),
            ("*b*b*", "abab", true),
            ("?x", "ax", true),
            ("?x", "x", false),
            ("web", "web-1", false),
            ("*é?", "caféx", true),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_long_time() {
        assert!(!fits(&"*a".repeat(200), &"b".repeat(5000)));
    }
}
