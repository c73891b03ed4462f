//! The number behind `H`, `a~b` and the phase of `@every`: the same for a job and a field, on every machine, for ever.
//!
//! FNV-1a with a last stir, written out here, because a library's hash may change between two versions, and with it the
//! time at which a job runs.

/// A number of 64 well-mixed bits from a job's name and what it is for.
pub(crate) fn stable(job: &str, purpose: &str) -> u64 {
    let bytes = job.bytes().chain(core::iter::once(0)).chain(purpose.bytes());
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    let h = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec;

    /// These numbers must never change: users' jobs would move.
    #[test]
    fn it_is_what_it_was() {
        assert_eq!(stable("backup", "minute"), 0x1332_d06a_9a81_3842);
        assert_eq!(stable("backup", "hour"), 0x80a1_f62b_628e_c814);
        assert_eq!(stable("", "every"), 0xc2ea_3b38_8cf5_784c);
    }

    #[test]
    fn it_spreads() {
        let mut minutes = vec![0; 60];
        for job in 0..6000 {
            minutes[(stable(&format!("job{job}"), "minute") % 60) as usize] += 1;
        }
        assert!(minutes.iter().all(|n| (50..150).contains(n)), "{minutes:?}");
    }
}
