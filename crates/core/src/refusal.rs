//! Why a wish is refused: each a sentence that a person can read, and what to do instead.
//!
//! Wishes may be refused, facts may not. A refused wish changed nothing.

use crate::{JobName, Outcome, RunId, RunNo};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No run has this number.
    Unknown { run: RunNo },
    /// What has ended can be neither stopped nor signalled.
    Ended { run: RunId, outcome: Outcome },
    /// There is no process yet that could take the signal.
    NotStarted { run: RunId },
    /// Its leader is dead; only others still hold its output.
    LeaderEnded { run: RunId },
    /// It was to run alone, and another run of its job lives.
    Overlap { live: RunId },
    /// What is adopted cannot have the name of a defined job.
    IsDefined { job: JobName },
    /// As many runs of its job wait for their turn as may.
    LineFull { live: RunId, most: u32 },
    /// A serial group with no place at all would never start anything.
    NoPlaces { group: String },
    /// Nobody has defined such a job.
    UnknownJob { job: JobName },
    /// A service is started and stopped, not run.
    IsService { job: JobName },
    /// Only a service has instances.
    NoService { job: JobName },
    /// More instances than any service may have.
    TooMany { job: JobName, instances: u32, most: u32 },
    /// The ports of so many instances go beyond the last one there is.
    NoPort { job: JobName, instances: u32, first: u16 },
    /// What a job needs, or names, is not defined.
    Missing { job: JobName, named: JobName, key: &'static str },
    /// They need each other, in this order, the first one again at the end.
    Circle { jobs: Vec<JobName> },
    /// It takes more of its queue than there is.
    TooLarge { job: JobName, queue: String, resource: String, need: u32, slots: u32 },
    /// A file defines it, so only that file can change it.
    OfFile { job: JobName, path: String },
    /// A project defines it, so only that project's file can change it.
    OfProject { job: JobName, project: String },
    /// It was defined by a request, and no project may take it over.
    OfRequest { job: JobName },
    /// A project of this name is up, from another file.
    ProjectElsewhere { project: String, path: String },
    /// No such project is up.
    UnknownProject { project: String },
    /// The revision of a definition is not greater than the ones before it.
    OldRevision { job: JobName, rev: u64, known: u64 },
    /// The process is a run's already.
    IsRun { pid: u32, run: RunId },
    /// There is no such process, or it has ended.
    NoProcess { pid: u32 },
    /// It cannot be taken into care.
    NotAdoptable { pid: u32, why: String },
    /// Only what was adopted can be given up: what kin started it keeps to.
    NotAdopted { run: RunId },
    /// The same idempotency key with other content.
    KeyReused { key: String, first: RunId },
    /// The same idempotency key, of another kind of request or with other content; it made no run.
    KeyOfOther { key: String },
    /// The run that was made with this idempotency key is not remembered any more. `job` is its job when the request is the
    /// same; of another request nobody knows that.
    KeyForgotten { key: String, first: RunNo, job: Option<JobName> },
    /// The request cannot become a run: what is wrong with it.
    Malformed { what: String },
    /// A keeper is alone just now; what was asked for needs both.
    Degraded,
    /// The server is ending.
    Closing,
    /// Nothing new is started while the disk is full.
    NoRoom { why: String },
    /// kin cannot promise it: the ledger or the runtime directory cannot be written.
    Unavailable { why: String },
}

impl Refusal {
    /// What to do instead, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Refusal::Unknown { .. } => "`kin log` lists the runs that kin remembers".to_string(),
            Refusal::NotStarted { .. } => "`kin stop` cancels a run that has not started".to_string(),
            Refusal::LeaderEnded { .. } => "`kin stop` ends what it left behind".to_string(),
            Refusal::Overlap { live } => {
                alloc::format!("wait for it with `kin wait {live}`, or end it with `kin stop {live}`")
            }
            Refusal::IsDefined { .. } => "give it another name with `kin adopt --id NAME`".to_string(),
            Refusal::LineFull { live, .. } => {
                alloc::format!("wait until {live} is over, or give its job a greater `overlap_max`")
            }
            Refusal::NoPlaces { .. } => "ask for at least one place".to_string(),
            Refusal::UnknownJob { .. } => "`kin list` shows all jobs".to_string(),
            Refusal::IsService { job } => alloc::format!("start it with `kin start {job}`"),
            Refusal::NoService { job } => {
                alloc::format!("run it with `kin run {job}`, or give it `restart = \"always\"`")
            }
            Refusal::TooMany { .. } => "nothing was changed; ask for fewer".to_string(),
            Refusal::NoPort { .. } => "nothing was changed; ask for fewer, or give it a lower `port`".to_string(),
            Refusal::Missing { named, .. } => alloc::format!("define {named}, or take its name out"),
            Refusal::Circle { .. } => "take one of them out".to_string(),
            Refusal::TooLarge { queue, .. } => alloc::format!("ask for less, or give the queue {queue:?} more"),
            Refusal::OfFile { job, .. } => alloc::format!("change the file: `kin edit {job}`"),
            Refusal::OfProject { project, .. } => {
                alloc::format!("change the project's file, then `kin up`; or `kin down --project {project}`")
            }
            Refusal::OfRequest { .. } => "give the project another name: `kin up --project NAME`".to_string(),
            Refusal::ProjectElsewhere { project, .. } => {
                alloc::format!(
                    "`kin up --project NAME` gives this one another name; `kin down --project {project}` ends the other"
                )
            }
            Refusal::UnknownProject { .. } => "`kin up` brings one up; `kin list` shows all jobs".to_string(),
            Refusal::OldRevision { .. } => "read the definitions again".to_string(),
            Refusal::IsRun { run, .. } => alloc::format!("`kin why {run}` tells of it"),
            Refusal::NoProcess { .. } => {
                "the number is that of a process that this server sees; `ps` shows it".to_string()
            }
            Refusal::NotAdopted { run } => alloc::format!("`kin stop {run}` ends it"),
            Refusal::KeyReused { .. } | Refusal::KeyOfOther { .. } => "use a new key for a new request".to_string(),
            Refusal::KeyForgotten { job: Some(_), .. } => {
                "nothing was started twice; a new key makes a new run".to_string()
            }
            Refusal::KeyForgotten { job: None, .. } => "use a new key for a new request".to_string(),
            Refusal::Degraded => "try again in a moment; `kin doctor` says when both keepers are there".to_string(),
            Refusal::Closing => "it will do it when it has been started again".to_string(),
            Refusal::NoRoom { .. } => "nothing was started; make room, then ask again".to_string(),
            Refusal::Unavailable { .. } => "nothing was done; `kin doctor` says what is wrong".to_string(),
            Refusal::Ended { .. } | Refusal::Malformed { .. } | Refusal::NotAdoptable { .. } => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unknown { run } => write!(f, "there is no run {run}"),
            Refusal::Ended { run, outcome } => write!(f, "run {run} has ended already: {outcome}"),
            Refusal::NotStarted { run } => write!(f, "run {run} has not started yet, so there is nothing to signal"),
            Refusal::LeaderEnded { run } => {
                write!(f, "the process of run {run} has ended; others only hold its output")
            }
            Refusal::Overlap { live } => write!(f, "run {live} of the same job is not over yet"),
            Refusal::IsDefined { job } => write!(f, "{job} is a defined job, whose runs kin starts itself"),
            Refusal::LineFull { most: 1, .. } => {
                f.write_str("1 run of the same job waits already, and `overlap_max` lets no more wait")
            }
            Refusal::LineFull { most, .. } => {
                write!(f, "{most} runs of the same job wait already, and `overlap_max` lets no more wait")
            }
            Refusal::NoPlaces { group } => write!(f, "the serial group {group:?} would have no place at all"),
            Refusal::UnknownJob { job } => write!(f, "there is no job {job}"),
            Refusal::IsService { job } => write!(f, "{job} is a service, which is started and not run"),
            Refusal::NoService { job } => write!(f, "{job} is no service"),
            Refusal::TooMany { job, instances, most } => {
                write!(f, "{job} cannot have {instances} instances: {most} is the most that a service may have")
            }
            Refusal::NoPort { instances, first, .. } => {
                let last = u32::from(*first).saturating_add(instances.saturating_sub(1));
                write!(f, "{instances} instances from port {first} on need port {last}, which there is not")
            }
            Refusal::Missing { job, named, key } => {
                write!(f, "{job} names {named} in `{key}`, and there is no such job")
            }
            Refusal::Circle { jobs } => {
                f.write_str("these jobs need each other: ")?;
                for (n, job) in jobs.iter().enumerate() {
                    write!(f, "{}{job}", if n == 0 { "" } else { " → " })?;
                }
                Ok(())
            }
            Refusal::TooLarge { job, queue, resource, need, slots } => {
                write!(f, "{job} needs {need} of {resource:?}, and the queue {queue:?} has {slots} in all")
            }
            Refusal::OfFile { job, path } => write!(f, "{job} is defined in {path}"),
            Refusal::OfProject { job, project } => write!(f, "{job} is defined by the project {project}"),
            Refusal::OfRequest { job } => write!(f, "{job} was defined by a request"),
            Refusal::ProjectElsewhere { project, path } => write!(f, "a project {project} is up already, from {path}"),
            Refusal::UnknownProject { project } => write!(f, "no project {project} is up"),
            Refusal::OldRevision { job, rev, known } => {
                write!(f, "revision {rev} of {job} is not newer than {known}")
            }
            Refusal::IsRun { pid, run } => write!(f, "process {pid} belongs to run {run} already"),
            Refusal::NoProcess { pid } => write!(f, "there is no process {pid}"),
            Refusal::NotAdoptable { pid, why } => write!(f, "process {pid} cannot be adopted: {why}"),
            Refusal::NotAdopted { run } => write!(f, "run {run} was started by kin, which keeps to it until it ends"),
            Refusal::KeyReused { key, first } => {
                write!(f, "the idempotency key {key:?} was used for run {first}, with another request")
            }
            Refusal::KeyOfOther { key } => write!(f, "the idempotency key {key:?} was used for another request"),
            Refusal::KeyForgotten { key, first, job: Some(job) } => {
                write!(
                    f,
                    "the run {job}-{first} was made with the idempotency key {key:?}; its record is no longer kept"
                )
            }
            Refusal::KeyForgotten { key, first, job: None } => {
                write!(
                    f,
                    "the idempotency key {key:?} was used for run {first}, with another request; its record is no longer kept"
                )
            }
            Refusal::Malformed { what } => f.write_str(what),
            Refusal::Degraded => f.write_str("one of the two keepers is alone just now"),
            Refusal::Closing => f.write_str("the server is ending"),
            Refusal::NoRoom { why } => write!(f, "nothing new is started now: {why}"),
            Refusal::Unavailable { why } => write!(f, "kin cannot promise it just now: {why}"),
        }
    }
}

impl core::error::Error for Refusal {}
