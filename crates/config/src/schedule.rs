//! Where a schedule's text is checked: by the rules that will follow it.

use kin_core::schedule::{Dst, Schedule};

/// All that is wrong with it, each with the byte of the text where it begins.
pub fn check(text: &str) -> Result<(), Vec<(usize, String)>> {
    // Which job it is of moves a schedule with `H` or `~`, and never makes it right or wrong.
    let Err(problems) = Schedule::parse(text, "", Dst::Once) else { return Ok(()) };
    let byte = |column: usize| text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    Err(problems
        .iter()
        .map(|problem| {
            let field = problem.field.map_or(String::new(), |field| format!("{}: ", field.word()));
            (byte(problem.column), format!("{field}{}", problem.message))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named_at_its_byte() {
        assert_eq!(check("30 2 * * *"), Ok(()));
        assert_eq!(check("calendar: Mon..Fri 08:30"), Ok(()));
        let wrong = check("75 2 31 2 *").expect_err("no such minute");
        assert_eq!(wrong[0], (0, "minute: 75 is too large; minutes are 0 to 59".into()));
        let wrong = check("ä 2 25 * *").expect_err("no number");
        assert!(wrong.iter().all(|(at, _)| "ä 2 25 * *".is_char_boundary(*at)), "{wrong:?}");
        assert!(check("").is_err());
    }
}
