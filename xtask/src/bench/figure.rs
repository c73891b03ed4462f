//! One row of the table: what was measured, round by round, and what it is to be.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Only shown.
    None,
}

#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    values: Vec<f64>,
    unit: &'static str,
    target: Target,
    /// What stands beside it: the floor's own figure, mostly.
    beside: String,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, values: Vec<f64>, unit: &'static str, target: Target) -> Figure {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        Figure { name: name.into(), values, unit, target, beside: String::new() }
    }
    #[must_use]
    pub(crate) fn beside(mut self, what: impl Into<String>) -> Figure {
        self.beside = what.into();
        self
    }
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.values, 0.5)
    }
    pub(crate) fn holds(&self) -> bool {
        match self.target {
            Target::AtLeast(least) => self.median() >= least,
            Target::AtMost(most) => self.median() <= most,
            Target::None => true,
        }
    }
}

/// Of sorted values; NaN of none.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

fn number(n: f64) -> String {
    match n.abs() {
        a if a >= 1000.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beside = if self.beside.is_empty() { String::new() } else { format!(" <br>{}", self.beside) };
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let range = match (self.values.first(), self.values.last()) {
            (Some(min), Some(max)) if self.values.len() > 1 => format!(" ({}–{})", number(*min), number(*max)),
            _ => String::new(),
        };
        let (target, verdict) = match self.target {
            Target::None => ("–".to_string(), ""),
            Target::AtLeast(n) => (format!("≥ {}{unit}", number(n)), if self.holds() { "holds" } else { "**missed**" }),
            Target::AtMost(n) => (format!("≤ {}{unit}", number(n)), if self.holds() { "holds" } else { "**missed**" }),
        };
        write!(f, "| {}{beside} | {}{unit}{range} | {target} | {verdict} |", self.name, number(self.median()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_median_the_range_and_the_verdict() {
        let figure = Figure::new("runs/s", vec![1.3, 1.1, 1.2], "×", Target::AtLeast(1.15)).beside("floor 1000/s");
        assert_eq!(figure.to_string(), "| runs/s <br>floor 1000/s | 1.20 × (1.10–1.30) | ≥ 1.15 × | holds |");
        let figure = Figure::new("memory", vec![300.0], "KiB", Target::AtMost(250.0));
        assert_eq!(figure.to_string(), "| memory | 300.0 KiB | ≤ 250.0 KiB | **missed** |");
        assert!(!figure.holds() && !Figure::new("nothing", vec![], "", Target::AtLeast(1.0)).holds());
    }
}
