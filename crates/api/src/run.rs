//! A run, the request for one, and the listing of many.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A run, everywhere the same: CLI, API, events, hooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// `<job>-<8 base62>`.
    pub id: String,
    pub job: String,
    pub slot: u32,
    pub attempt: u32,
    pub follows: Option<String>,
    pub trigger: Trigger,
    /// The revision of its job's definition; absent for a run without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rev: Option<u64>,
    /// held, waiting, queued, starting, running, stopping, draining, ended.
    pub state: String,
    /// ok, failed, signaled, timed-out, oom-killed, stopped, interrupted, spawn-failed, unhealthy, skipped, cancelled, lost; null before `ended`.
    pub outcome: Option<String>,
    pub exit_code: Option<u8>,
    pub signal: Option<u8>,
    /// reboot, unknown, disowned, sick, not-ready, overlap, line-full, disabled, calendar, dependency, loop.
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spawn: Option<SpawnFailure>,
    pub pid: Option<u32>,
    pub host: String,
    pub created_at: String,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    pub out_bytes: u64,
    pub err_bytes: u64,
    pub out_dropped: u64,
    pub err_dropped: u64,
    pub max_rss_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    /// From and to disks.
    #[serde(default)]
    pub read_bytes: Option<u64>,
    #[serde(default)]
    pub write_bytes: Option<u64>,
    /// The port it was told to listen on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// What its definition asks for and could not be kept here; `best_effort` let it begin without.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_out: Vec<String>,
    /// How it is, in its own words (`STATUS=`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<String>,
    /// It said that it is on its way out (`STOPPING=1`).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub leaving: bool,
    /// Name and count, as `{"left_behind": 2}`.
    pub warnings: BTreeMap<String, u64>,
    pub tags: Vec<String>,
    /// Program and arguments; never the environment.
    pub command: Vec<String>,
    pub directory: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latch: Option<String>,
    /// Held until these jobs are ready.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub needs: Vec<String>,
    /// Of a waiting run: when it goes on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// Of a defined job's run: since when it is ready.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ready_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mutex: Vec<String>,
    /// In its queue: greater goes first.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub priority: i32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub tty: bool,
    /// It lives, but no keeper holds its pipes: both died at once, or it was adopted.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unowned: bool,
    /// Why the history does not have it like this yet: it is known, and was done, but the ledger could not be written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_recorded: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(n: &i32) -> bool {
    *n == 0
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    /// manual, schedule, chain, boot, restart, retry, watch, dependency, adopt.
    pub kind: String,
    /// manual, adopt: `uid:1000`
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// schedule, retry of what a schedule began: the nominal instant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
    /// schedule: how late it was decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub late_ms: Option<u64>,
    /// schedule: it was caught up: nobody was there at that instant, or at those before it for which it is run too.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub caught_up: bool,
    /// schedule, retry: for how many before it that were missed it is run too; 1000 means 1000 or more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missed_count: Option<u64>,
    /// chain, restart, retry: the number of the run that led to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// chain: next or error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub side: Option<String>,
    /// watch: what changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
}

/// Why the child could not become the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpawnFailure {
    /// fork, directory, user, exec, …
    pub step: String,
    pub errno: i32,
    /// The system's words for it.
    pub message: String,
}

/// A process that lives already, to be taken care of. The header `Idempotency-Key` as for a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    pub pid: u32,
    /// The name under which it is known; default: its program's base name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    /// Default: TERM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop_signal: Option<String>,
    /// Until KILL; default: 10 s.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop_wait_ms: Option<u64>,
}

/// A wish for a run. The header `Idempotency-Key` makes a repeat of the same request find the first one's run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The job's name; default: the program's base name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<String>,
    /// Program and arguments. Bytes that are not UTF-8 travel as `\u{f700 + byte}`; see `kin_api::run::from_wire`.
    pub argv: Vec<String>,
    /// Absolute.
    pub directory: String,
    /// The whole environment of the run; kin adds its KIN_ variables. Never stored.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub umask: Option<u32>,
    /// As `nice` shows it; default: the server's. Never more favourable than the server may give.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nice: Option<i32>,
    /// The kernel's limits by their names in `RLIMITS`; those not named are the server's. Never above what the server may
    /// give.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub rlimits: BTreeMap<String, Rlimit>,
    /// Seconds may be fractions; in milliseconds here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
    /// Held until this latch is released.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latch: Option<String>,
    /// Refuse while another run of the same job lives.
    #[serde(default)]
    pub no_overlap: bool,
    /// Wait for a place in this group (default group: the job).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<Serial>,
    /// Key of the descriptors handed in at `hand.sock`: 0 for stdin, or 0, 1, 2 with `bypass`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hand: Option<u64>,
    /// The child writes to the handed descriptors 1 and 2; kin keeps no output.
    #[serde(default)]
    pub bypass: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tty: Option<TtySize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop_wait_ms: Option<u64>,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// One limit, as `ulimit` shows it; null is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// The names of the kernel's limits: each stands at its number, `RLIMIT_CPU` is 0.
pub const RLIMITS: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// At most so many at once.
    pub max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TtySize {
    pub rows: u16,
    pub cols: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchRequest {
    pub runs: Vec<RunRequest>,
}

/// One answer a run asked for, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    pub runs: Vec<BatchItem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchItem {
    Run(Box<Run>),
    Error(crate::ApiError),
}

/// `GET /v1/runs?…`. Newest first unless `ascending`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunQuery {
    /// A job's name or a glob of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// `live`, `ended`, or one state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// One outcome, or `failure` for all that count as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Created at or after, before: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Default 50; at most 10,000 a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only runs older than this id: the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunList {
    pub runs: Vec<Run>,
    /// Give it as `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// `POST /v1/runs/{id}/signal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// `HUP`, `SIGHUP` or `1`.
    pub signal: String,
    /// Only to the leader, not to its process group.
    #[serde(default)]
    pub leader_only: bool,
    /// The caller's own INT or TERM, passed on: the outcome is `interrupted` unless the run ends ok.
    #[serde(default)]
    pub interrupt: bool,
}

/// `POST /v1/runs/{id}/stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StopRequest {
    /// KILL of the whole tree at once.
    pub kill: bool,
    /// The caller's own interruption: the outcome is `interrupted`.
    pub interrupt: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Released {
    pub latch: String,
    /// The runs it let go, oldest first.
    pub runs: Vec<String>,
}

const PRIVATE: u32 = 0xf700;

/// Bytes as text that JSON can carry: what is UTF-8 as it is, each other byte as one private-use character.
pub fn to_wire(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if (PRIVATE..PRIVATE + 256).contains(&(c as u32)) {
                let mut buf = [0; 4];
                for byte in c.encode_utf8(&mut buf).bytes() {
                    out.extend(char::from_u32(PRIVATE + u32::from(byte)));
                }
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.extend(char::from_u32(PRIVATE + u32::from(*byte)));
        }
    }
    out
}

/// The inverse of `to_wire`.
pub fn from_wire(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match (c as u32).checked_sub(PRIVATE).and_then(|n| u8::try_from(n).ok()) {
            Some(byte) => out.push(byte),
            None => {
                let mut buf = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut buf).as_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_travel_as_text_and_come_back() {
        for bytes in [&b"plain"[..], "é\u{f741}".as_bytes(), b"\xff\x00a\xfe", "\u{f7ff}\u{f700}".as_bytes()] {
            assert_eq!(from_wire(&to_wire(bytes)), bytes);
        }
        assert_eq!(to_wire("größe".as_bytes()), "größe");
    }
}
