//! Projects: the jobs of one file in a directory, together.

use crate::Run;
use crate::job::{Mistake, PlanStep};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A project that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    pub name: String,
    /// Its file.
    pub path: String,
    /// Its jobs, each with the project's name before it, as everything of it is named.
    pub jobs: Vec<String>,
    pub queues: Vec<String>,
    pub latches: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectList {
    pub projects: Vec<Project>,
}

/// A project as its file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpRequest {
    /// The whole path of the file, where the paths in it begin.
    pub path: String,
    /// What it says, as TOML.
    pub text: String,
    /// In the place of the name that the file, or its directory, says.
    #[serde(default)]
    pub name: Option<String>,
    /// Says what would change, and changes nothing.
    #[serde(default)]
    pub plan: bool,
}

/// What a project's file means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Up {
    pub project: String,
    pub path: String,
    pub applied: bool,
    pub steps: Vec<PlanStep>,
    /// What somebody should look at, although it holds.
    pub mistakes: Vec<Mistake>,
}

/// A project that was up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Down {
    pub project: String,
    pub path: String,
    /// The runs that lived, and end now: what is needed after what needs it.
    pub runs: Vec<Run>,
}
