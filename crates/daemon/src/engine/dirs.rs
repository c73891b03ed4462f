//! Where the engine's files are, by name.

use kin_core::{RunId, RunNo};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub(super) struct Dirs {
    pub(super) state: PathBuf,
    pub(super) run: PathBuf,
}

/// What a name in the runtime directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Table(u64),
    Socket(u64),
}

impl Dirs {
    pub(super) fn specs(&self) -> PathBuf {
        self.run.join("spec")
    }
    pub(super) fn spec(&self, no: RunNo) -> PathBuf {
        self.run.join("spec").join(no.to_string())
    }
    /// Leads to the spec of the run that waits for what was handed in under a key.
    pub(super) fn hand(&self, key: u64) -> PathBuf {
        self.run.join("hands").join(format!("{key:016x}"))
    }
    /// A spec that is being written.
    pub(super) fn spec_new(&self, no: RunNo) -> PathBuf {
        self.run.join("spec").join(format!(".tmp-{no}"))
    }
    /// A spec that was taken away to see whether anybody had used it.
    pub(super) fn spec_withdrawn(&self, no: RunNo) -> PathBuf {
        self.run.join("spec").join(format!(".gone-{no}"))
    }
    pub(super) fn table(&self, generation: u64) -> PathBuf {
        self.run.join(format!("keeper.{generation:016x}.tab"))
    }
    pub(super) fn socket_name(generation: u64) -> String {
        format!("keeper.{generation:016x}.sock")
    }
    pub(super) fn socket(&self, generation: u64) -> PathBuf {
        self.run.join(Dirs::socket_name(generation))
    }
    /// Which processes were adopted, by run: not in the runtime directory, which may go while they live.
    pub(super) fn adopted(&self) -> PathBuf {
        self.state.join("adopted")
    }
    pub(super) fn left(&self) -> PathBuf {
        self.state.join("left")
    }
    pub(super) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
    /// The path of a run's logs without their extension.
    pub(super) fn log_base(&self, id: &RunId) -> PathBuf {
        self.logs().join(id.job.as_str()).join(id.to_string())
    }
    pub(super) fn upgrade(&self) -> PathBuf {
        self.run.join("upgrade")
    }
    pub(super) fn socket_of_api(&self) -> PathBuf {
        self.run.join("kin.sock")
    }
}

/// `keeper.<16 hex digits>.tab` or `.sock`.
pub(super) fn parse(name: &Path) -> Option<Name> {
    let rest = name.file_name()?.to_str()?.strip_prefix("keeper.")?;
    let (hex, kind) = rest.split_once('.')?;
    let generation = (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok())??;
    match kind {
        "tab" => Some(Name::Table(generation)),
        "sock" => Some(Name::Socket(generation)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_known_by_its_files() {
        let dirs = Dirs { state: "/s".into(), run: "/r".into() };
        assert_eq!(parse(&dirs.table(0xab)), Some(Name::Table(0xab)));
        assert_eq!(parse(&dirs.socket(u64::MAX)), Some(Name::Socket(u64::MAX)));
        for other in ["keeper", "keeper.1.tab", "elder", "keeper.00000000000000ab.new", "kin.sock"] {
            assert_eq!(parse(Path::new(other)), None);
        }
    }
}
