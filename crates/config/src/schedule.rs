//! Where a schedule's text is checked: by the rules that will follow it.

use kin_core::schedule::{Dst, Schedule};

use crate::rule::Wrong;

/// All that is wrong with it, each with the bytes of the text that are meant.
pub(crate) fn check(text: &str) -> Result<(), Vec<Wrong>> {
    // Which job it is of moves a schedule with `H` or `~`, and never makes it right or wrong.
    let unknown = |schedule: Schedule| match crate::zone::check(schedule.zone()?) {
        Ok(()) => None,
        Err(why) => schedule.wrong_zone(&why),
    };
    let problems = match Schedule::parse(text, "", Dst::Once).map(unknown) {
        Ok(None) => return Ok(()),
        Ok(Some(problems)) | Err(problems) => problems,
    };
    let byte = |column: usize| text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    Err(problems
        .iter()
        .map(|problem| {
            let field = problem.field.map_or(String::new(), |field| format!("{}: ", field.word()));
            let (at, end) = (byte(problem.column), byte(problem.column + problem.length));
            Wrong { at, len: Some(end - at), message: format!("{field}{}", problem.message) }
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
        let message = "minute: 75 is too large; minutes are 0 to 59".into();
        assert_eq!(wrong[0], Wrong { at: 0, len: Some(2), message });
        let text = "ä 2 25 * *";
        let wrong = check(text).expect_err("no number");
        let meant = |wrong: &Wrong| text.get(wrong.at..wrong.at + wrong.len?);
        assert_eq!(wrong.iter().map(meant).collect::<Vec<_>>(), [Some("ä")]);
        assert!(check("").is_err());
    }

    #[test]
    fn a_zone_in_the_text_must_be_there() {
        assert_eq!(check("calendar: daily Europe/Berlin"), Ok(()));
        for (text, at, why) in [
            (
                "calendar: daily Europe/Belin",
                16,
                "time zone: there is no time zone 'Europe/Belin', did you mean 'Europe/Berlin'?",
            ),
            (" calendar: 08:30 Berlin", 17, "time zone: there is no time zone 'Berlin', did you mean 'Europe/Berlin'?"),
            ("calendar: 8:30 PM", 15, "hour: hours go from 0 to 23 here, without AM and PM; 8:30 PM is written 20:30"),
        ] {
            let all = check(text).expect_err(text);
            assert_eq!(all.iter().map(|one| (one.at, one.message.as_str())).collect::<Vec<_>>(), [(at, why)], "{text}");
        }
    }
}
