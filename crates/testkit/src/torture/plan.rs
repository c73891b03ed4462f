//! What one run is to do, drawn from the seed.

use crate::procfs::MARK;
use crate::rng::Rng;
use serde_json::{Value, json};
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Exit(u8),
    /// By its own hand.
    Signal(u8),
    /// Would stay for ever; kin's timeout ends it.
    Timeout {
        after_ms: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub index: u64,
    pub pattern: u64,
    pub out: u64,
    pub err: u64,
    pub chunk: u64,
    pub spread_us: u64,
    pub end: End,
    pub latch: Option<String>,
    /// The same request is sent again after it was accepted.
    pub repeated: bool,
    pub key: String,
}

impl Plan {
    pub fn draw(seed: u64, index: u64) -> Plan {
        let mut rng = Rng::part(seed, index);
        let end = match rng.below(100) {
            0..40 => End::Exit(0),
            40..70 => End::Exit(rng.between(1, 125) as u8),
            70..94 => End::Signal(*rng.pick(&[9, 15, 1, 2, 10])),
            _ => End::Timeout { after_ms: rng.between(600, 1500) },
        };
        let size = |rng: &mut Rng| match rng.below(10) {
            0..3 => 0,
            3..7 => rng.between(1, 4000),
            7..9 => rng.between(4000, 100_000),
            _ => rng.between(100_000, 600_000),
        };
        let (out, err) = (size(&mut rng), size(&mut rng));
        let chunk = *rng.pick(&[17, 80, 512, 4096, 65_536, 200_000]);
        // A tiny chunk of a great output would be nothing but system calls.
        let chunk = chunk.max(out.max(err) / 400);
        let spread_us = if rng.percent(30) { rng.below(2000) } else { rng.between(2_000, 400_000) };
        let latch = rng.percent(15).then(|| format!("latch-{index}"));
        Plan {
            index,
            pattern: rng.draw() >> 1,
            out,
            err,
            chunk,
            spread_us: if matches!(end, End::Timeout { .. }) { spread_us.min(100_000) } else { spread_us },
            end,
            latch,
            repeated: rng.percent(25),
            key: format!("torture-{seed}-{index}"),
        }
    }

    pub fn request(&self, guest: &Path, witness: &Path, mark: &str, directory: &Path) -> Value {
        let end = match self.end {
            End::Exit(code) => format!("exit:{code}"),
            End::Signal(signal) => format!("signal:{signal}"),
            End::Timeout { .. } => "forever".into(),
        };
        let mut request = json!({
            "job": "torture",
            "argv": [
                guest,
                "run",
                format!("index={}", self.index),
                format!("witness={}", witness.display()),
                format!("seed={}", self.pattern),
                format!("out={}", self.out),
                format!("err={}", self.err),
                format!("chunk={}", self.chunk),
                format!("spread_us={}", self.spread_us),
                format!("end={end}"),
            ],
            "directory": directory,
            "env": {"PATH": "/usr/bin:/bin", MARK: mark},
            "tags": [format!("n{}", self.index)],
        });
        if let End::Timeout { after_ms } = self.end {
            request["timeout_ms"] = after_ms.into();
        }
        if let Some(latch) = &self.latch {
            request["latch"] = latch.as_str().into();
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_plans_and_all_kinds_come_up() {
        let plans: Vec<Plan> = (0..400).map(|i| Plan::draw(1, i)).collect();
        assert_eq!(plans[7], Plan::draw(1, 7));
        assert_ne!(plans[7], Plan::draw(2, 7));
        assert!(plans.iter().any(|p| p.latch.is_some()) && plans.iter().any(|p| p.repeated));
        assert!(plans.iter().any(|p| matches!(p.end, End::Timeout { .. })));
        assert!(plans.iter().any(|p| matches!(p.end, End::Signal(9))));
        assert!(plans.iter().any(|p| p.out == 0) && plans.iter().any(|p| p.out > 100_000));
    }
}
