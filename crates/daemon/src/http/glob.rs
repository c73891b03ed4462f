//! Globs of names: `*` is any text, `?` any one character.

/// Whether the whole name fits the pattern.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star stands, and how much of the name it has eaten.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match &mut star {
                Some((at, eaten)) => {
                    *eaten += 1;
                    (p, n) = (*at + 1, *eaten);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
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
