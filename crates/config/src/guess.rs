//! Did you mean …? The nearest of some words, when it is near enough.

/// The word that is at most a third of its length away, or one letter of a shorter one; of several the nearest, then the
/// first.
pub fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).take(100).collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in among {
        let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        let most = (word.len().max(other.len()) / 3).clamp(1, 3);
        if word.len().abs_diff(other.len()) > most {
            continue;
        }
        let far = distance(&word, &other);
        if far <= most && far < other.len() && best.is_none_or(|(nearest, _)| far < nearest) {
            best = Some((far, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `, did you mean 'x'?` or nothing.
pub(crate) fn hint<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, among).map_or_else(String::new, |found| format!(", did you mean '{found}'?"))
}

/// Letters to insert, drop, replace, or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut cost = (row[j - 1] + usize::from(!same)).min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood_and_other_words_are_not() {
        let keys = ["schedule", "command", "stop", "tags", "env", "dir", "timeout"];
        for (typed, meant) in [
            ("shedule", Some("schedule")),
            ("Schedule", Some("schedule")),
            ("comand", Some("command")),
            ("sotp", Some("stop")),
            ("tiemout", Some("timeout")),
            ("evn", Some("env")),
            ("x", None),
            ("need", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, keys), meant, "{typed}");
        }
    }
}
