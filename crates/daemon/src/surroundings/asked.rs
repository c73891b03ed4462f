//! What is asked for while a run is made, of somebody who may never answer.

use super::Unmakeable;
use kin_core::SpawnStep;
use kin_core::job::Job;
use rustix::io::Errno;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing just now.
    Nothing,
    User {
        user: Option<String>,
        group: Option<String>,
    },
    EnvFile(PathBuf),
    Credential {
        name: String,
        from: String,
    },
    Socket(String),
    Directory(PathBuf),
    Logs(PathBuf),
}

impl Asked {
    /// Whether the making of a run of this job asks anybody: files that its definition names may lie on a network, users
    /// in a directory of users, a socket's host in a directory of hosts.
    pub fn may_wait(job: &Job) -> bool {
        let around = &job.around;
        let asks_nobody = around.user.is_none()
            && around.group.is_none()
            && around.env_files.is_empty()
            && around.credentials.is_empty()
            && around.sockets.is_empty();
        !asks_nobody
    }

    pub fn what(&self) -> String {
        match self {
            Asked::Nothing => "its surroundings".into(),
            Asked::User { user, group } => {
                let user = user.as_ref().map(|user| format!("its user {user}"));
                let group = group.as_ref().map(|group| format!("its group {group}"));
                user.into_iter().chain(group).collect::<Vec<_>>().join(" and ")
            }
            Asked::EnvFile(path) => format!("its env_file {}", path.display()),
            Asked::Credential { name, from } => format!("its credential {name}, {from},"),
            Asked::Socket(name) => format!("its socket {name}"),
            Asked::Directory(path) => format!("its directory {}", path.display()),
            Asked::Logs(path) => format!("the directory of its logs {}", path.display()),
        }
    }

    /// It waits for ….
    pub fn wait(&self) -> String {
        format!("{} to be {}", self.what(), self.done())
    }

    pub(crate) fn not_in_time(&self, within: Duration) -> Unmakeable {
        let message = format!("{} could not be {} within {within:?}", self.what(), self.done());
        Unmakeable::new(self.step(), Errno::TIMEDOUT, message)
    }

    /// `who` waits for it, and so nobody else asks.
    pub(crate) fn hangs(&self, who: &str) -> Unmakeable {
        let message = format!("its surroundings are not looked at: {who}, and still does");
        Unmakeable::new(self.step(), Errno::TIMEDOUT, message)
    }

    const fn done(&self) -> &'static str {
        match self {
            Asked::Nothing | Asked::Directory(_) | Asked::Logs(_) => "looked at",
            Asked::User { .. } => "looked up",
            Asked::EnvFile(_) | Asked::Credential { .. } => "read",
            Asked::Socket(_) => "opened",
        }
    }

    const fn step(&self) -> SpawnStep {
        match self {
            Asked::User { .. } => SpawnStep::User,
            Asked::Nothing | Asked::EnvFile(_) | Asked::Credential { .. } | Asked::Logs(_) => SpawnStep::Spec,
            Asked::Socket(_) => SpawnStep::Stdio,
            Asked::Directory(_) => SpawnStep::Directory,
        }
    }
}
