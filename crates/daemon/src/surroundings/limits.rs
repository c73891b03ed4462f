//! Limits: those of a process, and those of a whole run by its cgroup.

use super::{Makes, Unmakeable, open_files};
use kin_core::SpawnStep;
use kin_core::job::Limits;
use kin_keeper::cgroup::Offered;
use kin_keeper::spec::{CgroupFile, Rlimit};
use rustix::io::Errno;
use rustix::process::Resource;

const NAMES: [(&str, Resource); 9] = [
    ("core", Resource::Core),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("stack", Resource::Stack),
    ("fsize", Resource::Fsize),
    ("data", Resource::Data),
    ("as", Resource::As),
    ("memlock", Resource::Memlock),
    ("cpu", Resource::Cpu),
];
/// The time over which a share of the processors is counted.
const PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller share of it.
const QUOTA_MIN_US: u64 = 1_000;

/// The names that a definition may say.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().map(|(name, _)| name)
}

pub(super) fn rlimits(limits: &Limits, files_soft: Option<u64>) -> Makes<Vec<Rlimit>> {
    let wrong = |why: String| Unmakeable::new(SpawnStep::Rlimit, Errno::INVAL, why);
    let mut all = Vec::new();
    if !limits.rlimits.contains_key("nofile") {
        all.extend(files_soft.map(open_files));
    }
    for (name, (soft, hard)) in &limits.rlimits {
        let known = NAMES.iter().find(|(known, _)| known == name);
        let Some((_, resource)) = known else {
            let names: Vec<&str> = names().collect();
            return Err(wrong(format!("there is no limit {name:?}; there are {}", names.join(", "))));
        };
        let (soft, hard) = (soft.unwrap_or(u64::MAX), hard.unwrap_or(u64::MAX));
        if soft > hard {
            return Err(wrong(format!("limit {name}: the soft limit {soft} is above the hard limit {hard}")));
        }
        all.push(Rlimit { resource: *resource as u32, soft, hard });
    }
    Ok(all)
}

/// What is written into the run's cgroup. What no controller here can keep is refused by name, or left out and said.
pub(super) fn cgroup_files(limits: &Limits, offered: Offered, warnings: &mut Vec<String>) -> Makes<Vec<CgroupFile>> {
    let mut files = Vec::new();
    let mut ask = |key: &str, there: bool, controller: &str, wanted: &mut dyn FnMut() -> Vec<CgroupFile>| {
        if there {
            files.extend(wanted());
            return Ok(());
        }
        let why =
            format!("limits.{key} needs the cgroup controller `{controller}`, which is not delegated to kin here");
        if limits.best_effort {
            warnings.push(format!("{why}; left out"));
            return Ok(());
        }
        let way_out = "run kin as the service that `kin serve --help` shows (Delegate=yes, DelegateSubgroup=ctl), or set limits.best_effort";
        Err(Unmakeable::new(SpawnStep::Cgroup, Errno::OPNOTSUPP, format!("{why}; {way_out}")))
    };
    if let Some(bytes) = limits.memory {
        ask("memory", offered.memory, "memory", &mut || {
            vec![
                CgroupFile::new("memory.max", bytes),
                // What is to fit into so much memory is not to go on in swap instead.
                CgroupFile::new("-memory.swap.max", 0),
                // Half a run is no run.
                CgroupFile::new("-memory.oom.group", 1),
            ]
        })?;
    }
    if let Some(millis) = limits.cpu_millis {
        let quota = (u64::from(millis) * PERIOD_US / 1000).max(QUOTA_MIN_US);
        ask("cpu", offered.cpu, "cpu", &mut || vec![CgroupFile::new("cpu.max", format_args!("{quota} {PERIOD_US}"))])?;
    }
    if let Some(pids) = limits.pids {
        ask("pids", offered.pids, "pids", &mut || vec![CgroupFile::new("pids.max", pids)])?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offered = Offered { memory: true, pids: true, cpu: true };

    fn limited() -> Limits {
        Limits { memory: Some(1 << 20), cpu_millis: Some(1_500), pids: Some(7), ..Limits::default() }
    }

    #[test]
    fn limits_become_what_the_kernel_reads() {
        let files = cgroup_files(&limited(), ALL, &mut Vec::new()).expect("made");
        let said: Vec<String> = files
            .iter()
            .map(|f| format!("{}={}", String::from_utf8_lossy(&f.file), String::from_utf8_lossy(&f.value)))
            .collect();
        let want =
            ["memory.max=1048576", "-memory.swap.max=0", "-memory.oom.group=1", "cpu.max=150000 100000", "pids.max=7"];
        assert_eq!(said, want);
        let tiny = Limits { cpu_millis: Some(1), ..Limits::default() };
        assert_eq!(cgroup_files(&tiny, ALL, &mut Vec::new()).expect("made")[0].value, b"1000 100000");
    }

    #[test]
    fn a_missing_controller_is_refused_by_name_or_said() {
        let none = Offered { memory: false, ..ALL };
        let refused = cgroup_files(&limited(), none, &mut Vec::new()).expect_err("refused");
        assert_eq!((refused.step, refused.errno), (SpawnStep::Cgroup, Errno::OPNOTSUPP.raw_os_error()));
        assert!(refused.message.contains("limits.memory") && refused.message.contains("best_effort"), "{refused}");
        let mut warnings = Vec::new();
        let limits = Limits { best_effort: true, ..limited() };
        let files = cgroup_files(&limits, none, &mut warnings).expect("made");
        assert_eq!((files.len(), warnings.len()), (2, 1));
        assert!(warnings[0].contains("limits.memory") && warnings[0].ends_with("left out"));
    }

    #[test]
    fn process_limits_have_names() {
        let with = |name: &str, limit| Limits { rlimits: [(name.to_string(), limit)].into(), ..Limits::default() };
        let made = rlimits(&with("core", (Some(0), None)), Some(64)).expect("made");
        assert_eq!(made.len(), 2);
        assert_eq!((made[0].resource, made[0].soft), (Resource::Nofile as u32, 64));
        assert_eq!(made[1], Rlimit { resource: Resource::Core as u32, soft: 0, hard: u64::MAX });
        assert_eq!(rlimits(&with("nofile", (Some(9), Some(9))), Some(64)).expect("made").len(), 1);
        assert!(rlimits(&with("nofiles", (None, None)), None).expect_err("refused").message.contains("nofile, nproc"));
        assert!(rlimits(&with("as", (None, Some(1))), None).expect_err("refused").message.contains("above"));
    }
}
