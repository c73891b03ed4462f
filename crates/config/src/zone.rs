//! Whether this machine knows a time zone, and which one was perhaps meant.

use jiff::tz::{self, TimeZone};
use kin_core::schedule::zones_near;

/// By its whole name, in its own letters: so it is looked for when the job is due.
pub(crate) fn check(name: &str) -> Result<(), String> {
    if TimeZone::get(name).is_ok_and(|zone| name == "UTC" || zone.iana_name() == Some(name)) {
        return Ok(());
    }
    if ["local", "localtime", "system", "machine"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
        return Err(format!("there is no time zone '{name}'; leave it out for the server's own"));
    }
    let all: Vec<String> = tz::db().available().map(|known| known.as_str().to_owned()).collect();
    let near = zones_near(name, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let near = match near.as_slice() {
        [] => "; zones have names as Europe/Paris or UTC".into(),
        some => format!(", did you mean '{}'?", some.join("' or '")),
    };
    Err(format!("there is no time zone '{name}'{near}"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_is_meant_is_said() {
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for (name, meant) in [
            ("Europe/Berln", ", did you mean 'Europe/Berlin'?"),
            ("europe/berlin", ", did you mean 'Europe/Berlin'?"),
            ("new york", ", did you mean 'America/New_York'?"),
            ("local", "; leave it out for the server's own"),
            ("Mars", "; zones have names as Europe/Paris or UTC"),
            ("", "; zones have names as Europe/Paris or UTC"),
        ] {
            assert_eq!(check(name), Err(format!("there is no time zone '{name}'{meant}")));
        }
    }
}
