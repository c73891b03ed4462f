//! The spec of a run: everything a keeper must know to start it, as one file on the runtime tmpfs.
//!
//! The daemon writes it before the run is accepted; any keeper starts the run from it, also one that takes over an
//! intent of a dead one. It holds the values of the environment, which therefore never reach a disk. The file is read
//! by mapping: every string in it ends in NUL, so that the child can hand out pointers into it without copying.
//!
//! ```text
//!   0  magic "KINSPEC1"        8  u32 total bytes      12  u32 strings that follow
//!  16  the fixed part, little-endian (see `put_fixed`)
//!  FIXED_END  groups: u32 × n    then the strings, each ending in NUL:
//!     directory, log base, cgroup name, candidate programs…, argv…, environment…,
//!     and, where any of the later features is used: cgroup files…, socket keys…, an empty one, and the memo if there is one
//! ```
//! A keeper that does not know the later features finds more strings than it expects, and refuses the spec.

use std::ffi::CStr;

pub const MAGIC: &[u8; 8] = b"KINSPEC1";
const HEAD: usize = 16;
const RLIMITS: usize = 16;
const FIXED: usize = 8 * 8 + 4 * 16 + RLIMITS * 24;

/// What stands on the child's descriptor 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    Null,
    /// A descriptor that was handed in at `hand.sock` under the run's hand key.
    Handed,
}

/// What stands on the child's descriptors 1 and 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Two pipes, kept apart in two files.
    Pipes,
    /// The caller's own descriptors, handed in under the hand key; kin keeps nothing.
    Bypass,
    /// A terminal of its own: one stream, kept as `out`. Size in rows and columns.
    Tty { rows: u16, cols: u16 },
    /// Thrown away: a helper's.
    Null,
}

/// What to do when the disk below the logs is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// The child waits for at most a minute, then output is dropped and counted.
    Drop,
    /// The child waits for ever.
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// A `RLIMIT_*` number.
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// A limit of the run's cgroup: what is written into which of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupFile {
    /// With a `-` before it, it may be missing (a kernel without swap has no `memory.swap.max`).
    pub file: Vec<u8>,
    pub value: Vec<u8>,
}

impl CgroupFile {
    pub fn new(file: &str, value: impl std::fmt::Display) -> CgroupFile {
        CgroupFile { file: file.into(), value: value.to_string().into_bytes() }
    }
}

/// Signals that a ladder may have after its first.
pub const STOP_MORE: usize = 7;
/// Sockets that a run may be passed.
pub const SOCKETS: usize = 16;

/// Everything a keeper must know to start one run. Byte strings may hold anything but NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Absolute; the child changes into it.
    pub directory: Vec<u8>,
    /// The path of the run's logs without `.out`, `.err`, `.idx`.
    pub log_base: Vec<u8>,
    /// The run's cgroup below kin's own; empty: none.
    pub cgroup: Vec<u8>,
    /// Full paths to try in turn, as a search of PATH would; or one path with a `/`.
    pub programs: Vec<Vec<u8>>,
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value` each.
    pub env: Vec<Vec<u8>>,
    /// `None`: stays the server's own user.
    pub user: Option<User>,
    pub umask: u32,
    pub nice: Option<i32>,
    pub oom_score_adj: Option<i32>,
    pub no_new_privileges: bool,
    /// Its logs lie where no splice is, unlike the rest of the state.
    pub logs_by_hand: bool,
    pub rlimits: Vec<Rlimit>,
    pub stdin: Stdin,
    pub output: Output,
    /// The key its descriptors were handed in under; zero: none.
    pub hand_key: u64,
    pub on_full: OnFull,
    /// First signal of the stop ladder.
    pub stop_signal: u8,
    /// Signals that follow the first, each when the one before was waited for. None may be zero.
    pub stop_more: Vec<u8>,
    /// How long each signal is waited for; then KILL, of the whole tree.
    pub stop_wait_ms: u64,
    /// Zero: no timeout.
    pub timeout_ms: u64,
    /// How long pipes may stay held after the leader's end.
    pub linger_ms: u64,
    /// Bytes of output kept per stream; zero: no cap.
    pub keep_bytes: u64,
    /// Written before the run starts; one that cannot be written is `spawn-failed(cgroup)`.
    pub cgroup_files: Vec<CgroupFile>,
    /// Keys of kept sockets: descriptors 3 and following, with LISTEN_PID in the environment.
    pub sockets: Vec<u64>,
    /// This descriptor is the file `ready/<run>.word` of the runtime directory, which is there already.
    pub ready_fd: Option<u16>,
    /// What the daemon wants to know again of the run if all else is lost; no keeper reads it.
    pub memo: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Spec {
    /// The defaults that every run begins with.
    pub fn new(directory: &[u8], log_base: &[u8]) -> Spec {
        Spec {
            directory: directory.to_vec(),
            log_base: log_base.to_vec(),
            cgroup: Vec::new(),
            programs: Vec::new(),
            argv: Vec::new(),
            env: Vec::new(),
            user: None,
            umask: 0o077,
            nice: None,
            oom_score_adj: None,
            no_new_privileges: false,
            logs_by_hand: false,
            rlimits: Vec::new(),
            stdin: Stdin::Null,
            output: Output::Pipes,
            hand_key: 0,
            on_full: OnFull::Drop,
            stop_signal: 15,
            stop_more: Vec::new(),
            stop_wait_ms: 10_000,
            timeout_ms: 0,
            linger_ms: 5_000,
            keep_bytes: 1 << 30,
            cgroup_files: Vec::new(),
            sockets: Vec::new(),
            ready_fd: None,
            memo: Vec::new(),
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>, BadSpec> {
        if self.argv.is_empty() || self.programs.is_empty() {
            return Err(BadSpec("no program"));
        }
        if self.rlimits.len() > RLIMITS {
            return Err(BadSpec("too many limits"));
        }
        if self.stop_more.len() > STOP_MORE || self.stop_more.contains(&0) {
            return Err(BadSpec("too many stop signals, or one that is none"));
        }
        if self.sockets.len() > SOCKETS || self.cgroup_files.len() > usize::from(u16::MAX) {
            return Err(BadSpec("too many sockets or cgroup files"));
        }
        if self.ready_fd.is_some_and(|fd| usize::from(fd) < 3 + self.sockets.len()) {
            return Err(BadSpec("the descriptor for readiness is taken"));
        }
        let later = self.later()?;
        let groups: &[u32] = self.user.as_ref().map_or(&[], |u| &u.groups);
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; HEAD - 8]);
        let (output, rows, cols) = match self.output {
            Output::Pipes => (0u32, 0, 0),
            Output::Bypass => (1, 0, 0),
            Output::Tty { rows, cols } => (2, rows, cols),
            Output::Null => (3, 0, 0),
        };
        for long in [
            self.hand_key,
            self.stop_wait_ms,
            self.timeout_ms,
            self.linger_ms,
            self.keep_bytes,
            (u64::from(rows) << 16) | u64::from(cols),
            later.len() as u64
                | (self.cgroup_files.len() as u64) << 16
                | (self.sockets.len() as u64) << 32
                | u64::from(self.ready_fd.unwrap_or(0)) << 48,
            self.stop_more.iter().rev().fold(0, |all, signal| all << 8 | u64::from(*signal)),
        ] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        let user = self.user.as_ref();
        for word in [
            self.programs.len() as u32,
            self.argv.len() as u32,
            self.env.len() as u32,
            groups.len() as u32,
            self.rlimits.len() as u32,
            u32::from(user.is_some()),
            user.map_or(0, |u| u.uid),
            user.map_or(0, |u| u.gid),
            self.umask,
            u32::from(self.nice.is_some())
                | u32::from(self.oom_score_adj.is_some()) << 1
                | u32::from(self.no_new_privileges) << 2
                | u32::from(self.logs_by_hand) << 3,
            self.nice.unwrap_or(0) as u32,
            self.oom_score_adj.unwrap_or(0) as u32,
            match self.stdin {
                Stdin::Null => 0,
                Stdin::Handed => 1,
            },
            output,
            match self.on_full {
                OnFull::Drop => 0,
                OnFull::Block => 1,
            },
            u32::from(self.stop_signal),
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for i in 0..RLIMITS {
            let limit = self.rlimits.get(i).copied().unwrap_or(Rlimit { resource: 0, soft: 0, hard: 0 });
            for long in [u64::from(limit.resource), limit.soft, limit.hard] {
                out.extend_from_slice(&long.to_le_bytes());
            }
        }
        for group in groups {
            out.extend_from_slice(&group.to_le_bytes());
        }
        let strings = [&self.directory, &self.log_base, &self.cgroup].into_iter();
        for string in strings.chain(&self.programs).chain(&self.argv).chain(&self.env).chain(&later) {
            if string.contains(&0) {
                return Err(BadSpec("a NUL byte in a string"));
            }
            out.extend_from_slice(string);
            out.push(0);
        }
        let total = u32::try_from(out.len()).map_err(|_| BadSpec("larger than 4 GiB"))?;
        out[8..12].copy_from_slice(&total.to_le_bytes());
        let count = 3 + self.programs.len() + self.argv.len() + self.env.len() + later.len();
        out[12..16].copy_from_slice(&(count as u32).to_le_bytes());
        Ok(out)
    }

    /// The strings of the later features; none where none is used.
    fn later(&self) -> Result<Vec<Vec<u8>>, BadSpec> {
        let mut strings = Vec::new();
        for CgroupFile { file, value } in &self.cgroup_files {
            if file.is_empty() || file.iter().any(|b| matches!(b, b'/' | b'=')) {
                return Err(BadSpec("not a file of a cgroup"));
            }
            strings.push([file.as_slice(), value].join(&b'='));
        }
        strings.extend(self.sockets.iter().map(|key| key.to_string().into_bytes()));
        if !strings.is_empty() || self.ready_fd.is_some() || self.output == Output::Null || !self.memo.is_empty() {
            strings.push(Vec::new());
        }
        if !self.memo.is_empty() {
            strings.push(self.memo.clone());
        }
        Ok(strings)
    }
}

/// Why bytes are not a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSpec(pub &'static str);

impl std::fmt::Display for BadSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bad spec: {}", self.0)
    }
}
impl std::error::Error for BadSpec {}

/// A spec read in place: checked once, then only pointed into.
#[derive(Clone, Copy, Debug)]
pub struct SpecView<'a> {
    bytes: &'a [u8],
    strings: usize,
}

impl<'a> SpecView<'a> {
    pub fn check(bytes: &'a [u8]) -> Result<SpecView<'a>, BadSpec> {
        let fixed_end = HEAD + FIXED;
        if bytes.len() < fixed_end || &bytes[..8] != MAGIC {
            return Err(BadSpec("not a spec"));
        }
        let mut view = SpecView { bytes, strings: fixed_end };
        if view.u32_at(8) as usize != bytes.len() {
            return Err(BadSpec("cut short"));
        }
        let (later, files, sockets) = (view.later(0), view.later(1), view.later(2));
        let counts = (view.word(0) as u64) + (view.word(1) as u64) + (view.word(2) as u64) + 3 + later as u64;
        if files + sockets > later || sockets > SOCKETS {
            return Err(BadSpec("counts disagree"));
        }
        if view.word(0) == 0
            || view.word(1) == 0
            || view.word(4) as usize > RLIMITS
            || counts != u64::from(view.u32_at(12))
        {
            return Err(BadSpec("counts disagree"));
        }
        let groups = (view.word(3) as usize).checked_mul(4).ok_or(BadSpec("counts disagree"))?;
        view.strings = fixed_end.checked_add(groups).filter(|at| *at <= bytes.len()).ok_or(BadSpec("cut short"))?;
        let nuls = bytes[view.strings..].iter().filter(|b| **b == 0).count() as u64;
        if nuls != counts || bytes.last() != Some(&0) {
            return Err(BadSpec("strings disagree"));
        }
        Ok(view)
    }

    fn u32_at(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_le_bytes(word)
    }
    fn u64_at(&self, at: usize) -> u64 {
        let mut long = [0; 8];
        long.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(long)
    }
    fn long(&self, i: usize) -> u64 {
        self.u64_at(HEAD + 8 * i)
    }
    fn word(&self, i: usize) -> u32 {
        self.u32_at(HEAD + 64 + 4 * i)
    }
    /// Part of the word about later features: their strings, cgroup files, sockets, descriptor.
    fn later(&self, part: u32) -> usize {
        usize::from((self.long(6) >> (16 * part)) as u16)
    }
    fn string_list(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        let bytes = self.bytes;
        let mut at = self.strings;
        std::iter::from_fn(move || {
            let string = CStr::from_bytes_until_nul(bytes.get(at..)?).ok()?;
            at += string.count_bytes() + 1;
            Some(string)
        })
    }

    pub fn directory(&self) -> &'a CStr {
        self.string_list().next().unwrap_or_default()
    }
    pub fn log_base(&self) -> &'a CStr {
        self.string_list().nth(1).unwrap_or_default()
    }
    pub fn cgroup(&self) -> &'a CStr {
        self.string_list().nth(2).unwrap_or_default()
    }
    pub fn program_count(&self) -> usize {
        self.word(0) as usize
    }
    pub fn argv_count(&self) -> usize {
        self.word(1) as usize
    }
    pub fn env_count(&self) -> usize {
        self.word(2) as usize
    }
    /// The programs, then the arguments, then the environment: in one pass, for filling pointer arrays.
    pub fn programs_argv_env(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        self.string_list().skip(3).take(self.program_count() + self.argv_count() + self.env_count())
    }
    fn later_strings(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        self.string_list().skip(3 + self.program_count() + self.argv_count() + self.env_count())
    }
    /// Files of the run's cgroup, and what is to be written into each.
    pub fn cgroup_files(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.later_strings().take(self.later(1)).filter_map(|string| {
            let bytes = string.to_bytes();
            let cut = bytes.iter().position(|b| *b == b'=')?;
            Some((&bytes[..cut], &bytes[cut + 1..]))
        })
    }
    /// Keys of the sockets it is passed.
    pub fn sockets(&self) -> impl Iterator<Item = u64> + use<'a> {
        let keys = self.later_strings().skip(self.later(1)).take(self.later(2));
        keys.map(|key| crate::text::number(key.to_bytes()).unwrap_or(0))
    }
    pub fn socket_count(&self) -> usize {
        self.later(2)
    }
    pub fn memo(&self) -> &'a [u8] {
        self.later_strings().nth(self.later(1) + self.later(2) + 1).unwrap_or_default().to_bytes()
    }
    pub fn ready_fd(&self) -> Option<u16> {
        Some(self.later(3) as u16).filter(|fd| *fd > 0)
    }
    pub fn programs(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        self.string_list().skip(3).take(self.program_count())
    }
    pub fn groups(&self) -> impl Iterator<Item = u32> + use<'a> {
        let view = *self;
        (0..view.word(3) as usize).map(move |i| view.u32_at(HEAD + FIXED + 4 * i))
    }
    pub fn group_count(&self) -> usize {
        self.word(3) as usize
    }
    /// Uid and gid, where the run changes user.
    pub fn user(&self) -> Option<(u32, u32)> {
        (self.word(5) != 0).then(|| (self.word(6), self.word(7)))
    }
    pub fn umask(&self) -> u32 {
        self.word(8)
    }
    pub fn nice(&self) -> Option<i32> {
        (self.word(9) & 1 != 0).then(|| self.word(10) as i32)
    }
    pub fn oom_score_adj(&self) -> Option<i32> {
        (self.word(9) & 2 != 0).then(|| self.word(11) as i32)
    }
    pub fn no_new_privileges(&self) -> bool {
        self.word(9) & 4 != 0
    }
    pub fn logs_by_hand(&self) -> bool {
        self.word(9) & 8 != 0
    }
    pub fn rlimits(&self) -> impl Iterator<Item = Rlimit> + use<'a> {
        let view = *self;
        (0..view.word(4) as usize).map(move |i| {
            let at = HEAD + 64 + 64 + 24 * i;
            Rlimit { resource: view.u64_at(at) as u32, soft: view.u64_at(at + 8), hard: view.u64_at(at + 16) }
        })
    }
    pub fn stdin(&self) -> Stdin {
        if self.word(12) == 1 { Stdin::Handed } else { Stdin::Null }
    }
    pub fn output(&self) -> Output {
        match self.word(13) {
            1 => Output::Bypass,
            2 => Output::Tty { rows: (self.long(5) >> 16) as u16, cols: self.long(5) as u16 },
            3 => Output::Null,
            _ => Output::Pipes,
        }
    }
    pub fn on_full(&self) -> OnFull {
        if self.word(14) == 1 { OnFull::Block } else { OnFull::Drop }
    }
    pub fn stop_signal(&self) -> u8 {
        self.word(15) as u8
    }
    /// The ladder's signal on this rung, from zero; `None`: there it is KILL.
    pub fn stop_rung(&self, rung: usize) -> Option<u8> {
        match rung {
            0 => Some(self.stop_signal()),
            1..=STOP_MORE => Some((self.long(7) >> (8 * (rung - 1))) as u8).filter(|signal| *signal != 0),
            _ => None,
        }
    }
    pub fn hand_key(&self) -> u64 {
        self.long(0)
    }
    pub fn stop_wait_ms(&self) -> u64 {
        self.long(1)
    }
    pub fn timeout_ms(&self) -> u64 {
        self.long(2)
    }
    pub fn linger_ms(&self) -> u64 {
        self.long(3)
    }
    pub fn keep_bytes(&self) -> u64 {
        self.long(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Spec {
        let mut spec = Spec::new(b"/srv", b"/state/logs/a/a-00000001");
        spec.programs = vec![b"/bin/sh".to_vec(), b"/usr/bin/sh".to_vec()];
        spec.argv = vec![b"sh".to_vec(), b"-c".to_vec(), b"true".to_vec()];
        spec.env = vec![b"A=1".to_vec(), b"B=\xff".to_vec()];
        spec.user = Some(User { uid: 7, gid: 8, groups: vec![8, 9] });
        spec.rlimits = vec![Rlimit { resource: 7, soft: 64, hard: u64::MAX }];
        spec.nice = Some(-5);
        spec.output = Output::Tty { rows: 24, cols: 80 };
        spec
    }

    #[test]
    fn what_is_written_is_read() {
        let spec = sample();
        let bytes = spec.encode().expect("encodes");
        let view = SpecView::check(&bytes).expect("checks");
        assert_eq!(view.directory().to_bytes(), b"/srv");
        assert_eq!(view.log_base().to_bytes(), b"/state/logs/a/a-00000001");
        let all: Vec<&[u8]> = view.programs_argv_env().map(CStr::to_bytes).collect();
        let want: Vec<&[u8]> = vec![b"/bin/sh", b"/usr/bin/sh", b"sh", b"-c", b"true", b"A=1", b"B=\xff"];
        assert_eq!(all, want);
        assert_eq!(view.user(), Some((7, 8)));
        assert_eq!(view.groups().collect::<Vec<_>>(), [8, 9]);
        assert_eq!(view.rlimits().collect::<Vec<_>>(), spec.rlimits);
        assert_eq!((view.nice(), view.oom_score_adj()), (Some(-5), None));
        assert_eq!(view.output(), Output::Tty { rows: 24, cols: 80 });
        assert_eq!((view.stop_signal(), view.stop_wait_ms(), view.linger_ms()), (15, 10_000, 5_000));
    }

    #[test]
    fn later_features_are_written_and_read_and_refused_by_who_does_not_know_them() {
        let plain = sample().encode().expect("encodes");
        let strings = |bytes: &[u8]| u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        assert_eq!(strings(&plain), 3 + 2 + 3 + 2, "nothing that an earlier keeper would not expect");
        let mut spec = sample();
        spec.cgroup_files = vec![CgroupFile::new("memory.max", 1 << 20), CgroupFile::new("cpu.max", "5000 100000")];
        spec.sockets = vec![7, u64::MAX];
        spec.ready_fd = Some(5);
        spec.stop_signal = 2;
        spec.stop_more = vec![15, 1];
        spec.output = Output::Null;
        spec.memo = b"known".to_vec();
        let bytes = spec.encode().expect("encodes");
        assert_eq!(strings(&bytes), strings(&plain) + 6);
        let view = SpecView::check(&bytes).expect("checks");
        let files: Vec<_> = view.cgroup_files().collect();
        assert_eq!(files, [(&b"memory.max"[..], &b"1048576"[..]), (b"cpu.max", b"5000 100000")]);
        assert_eq!((view.sockets().collect::<Vec<_>>(), view.socket_count()), (vec![7, u64::MAX], 2));
        assert_eq!((view.ready_fd(), view.output()), (Some(5), Output::Null));
        assert_eq!((0..5).map_while(|rung| view.stop_rung(rung)).collect::<Vec<_>>(), [2, 15, 1]);
        assert_eq!((view.programs_argv_env().count(), view.memo()), (2 + 3 + 2, &b"known"[..]));
        assert_eq!(SpecView::check(&plain).expect("checks").memo(), b"");
    }

    #[test]
    fn what_a_keeper_could_not_do_is_refused() {
        let spoils: [fn(&mut Spec); 5] = [
            |s| s.stop_more = vec![15; 8],
            |s| s.stop_more = vec![0],
            |s| s.ready_fd = Some(2),
            |s| (s.sockets, s.ready_fd) = (vec![1, 2], Some(4)),
            |s| s.cgroup_files = vec![CgroupFile::new("../x", 1)],
        ];
        for (i, spoil) in spoils.into_iter().enumerate() {
            let mut spec = sample();
            spoil(&mut spec);
            assert!(spec.encode().is_err(), "{i}");
        }
    }

    #[test]
    fn a_nul_byte_is_refused() {
        let mut spec = sample();
        spec.argv.push(b"a\0b".to_vec());
        assert_eq!(spec.encode(), Err(BadSpec("a NUL byte in a string")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..600, value in any::<u8>(), cut in 0usize..600) {
            let mut bytes = sample().encode().expect("encodes");
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len() - cut % 8);
            if let Ok(view) = SpecView::check(&bytes) {
                let strings = view.programs_argv_env().count();
                prop_assert_eq!(strings, view.program_count() + view.argv_count() + view.env_count());
                let _unused = (view.groups().count(), view.rlimits().count(), view.output());
            }
        }
    }
}
