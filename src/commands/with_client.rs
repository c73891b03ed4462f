//! The other half of `exec --with-client`: a process that waits for the client's death and then stops the run.
//!
//! Nobody can act on being killed, so somebody else has to. Its stdin is a pipe that the client holds: a word before
//! the end says that all is well, the end without a word that the client is gone.

use crate::cli::Face;
use crate::report::Failure;
use clap::Args;
use kin_client::api::run::StopRequest;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};

/// Stop a run when stdin ends without a word.
#[derive(Args, Debug)]
pub(crate) struct WithClientArgs {
    run: String,
}

const ALL_IS_WELL: &[u8] = b"well";

impl WithClientArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut said = Vec::new();
        let read = std::io::stdin().lock().take(64).read_to_end(&mut said);
        if read.is_ok() && said == ALL_IS_WELL {
            return Ok(0);
        }
        face.client.stop(&self.run, &StopRequest { kill: false, interrupt: true }).await?;
        Ok(0)
    }
}

/// The client's end of the pipe.
pub(crate) struct Guard {
    pipe: ChildStdin,
}

impl Guard {
    pub(crate) fn of(run: &str) -> Result<Guard, Failure> {
        let system = |source| Failure::System { what: "could not make the process that stops the run with us", source };
        // In a process group of its own, so that the terminal's Ctrl-C is not meant for it.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("kin").arg("with-client").arg(run).process_group(0);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let pipe = spawned.map_err(system)?.stdin.take();
        pipe.map(|pipe| Guard { pipe }).ok_or_else(|| system(std::io::ErrorKind::BrokenPipe.into()))
    }

    /// The run has ended: nothing is to be stopped. That the other half is gone already is no harm.
    pub(crate) fn release(mut self) {
        drop(self.pipe.write_all(ALL_IS_WELL));
    }
}
