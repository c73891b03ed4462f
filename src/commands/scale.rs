//! `kin scale`

use crate::cli::Face;
use crate::job::{self, Asked, Meant};
use crate::listing::JsonArgs;
use crate::report::Failure;
use clap::Args;

/// Give services so many instances each. Those that are too many are stopped, the highest slots first.
///
/// It holds over restarts of the server, until it is said again or the job's file says another `instances` than before.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin scale web=4\n  kin scale web=2 worker=8")]
pub(crate) struct ScaleArgs {
    /// A job and how many instances.
    #[arg(value_name = "JOB=N", required = true, value_parser = wanted)]
    what: Vec<(String, u32)>,
    #[command(flatten)]
    json: JsonArgs,
}

fn wanted(text: &str) -> Result<(String, u32), String> {
    let (job, n) = text.rsplit_once('=').ok_or("it is written JOB=N")?;
    let n = n.parse().map_err(|_| format!("{n:?} is no number of instances"))?;
    if job::is_name(job) && !job.is_empty() { Ok((job.into(), n)) } else { Err(format!("{job:?} is no job's name")) }
}

impl ScaleArgs {
    pub(crate) async fn run(mut self, face: &Face) -> Result<u8, Failure> {
        let words: Vec<String> = self.what.iter().map(|(job, _)| job.clone()).collect();
        let words = face.jobs_meant(words).await?;
        self.what.iter_mut().zip(&words).for_each(|((job, _), whole)| job.clone_from(whole));
        let Meant { jobs, unmatched } = job::meant(&face.client, &words).await?;
        let mut asked = Asked::of(face, &Meant { jobs, unmatched: unmatched.clone() }, self.json).await?;
        for (job, n) in self.what.iter().filter(|(job, _)| !unmatched.contains(job)) {
            asked.take(job, face.client.scale_job(job, *n).await)?;
        }
        asked.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_and_a_number() {
        assert_eq!(wanted("web=4"), Ok(("web".into(), 4)));
        assert_eq!(wanted("web=0"), Ok(("web".into(), 0)));
        for bad in ["web", "web=", "web=-1", "=3", "w*=3", "@app=2"] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
    }
}
