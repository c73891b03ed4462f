//! Where a schedule's text is checked. The one place that whoever reads schedules has to fill.

/// All that is wrong with it, each with the byte of the text where it begins.
pub fn check(text: &str) -> Result<(), Vec<(usize, String)>> {
    if text.trim().is_empty() {
        return Err(vec![(0, "it is empty; write \"30 2 * * *\", \"@every 90s\" or \"@reboot\"".into())]);
    }
    if let Some(at) = text.find(|c: char| c.is_control()) {
        return Err(vec![(at, "a schedule is one line".into())]);
    }
    Ok(())
}
