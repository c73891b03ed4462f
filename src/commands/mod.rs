//! One file a verb. The doc comment of its arguments is its help.

pub(crate) mod adopt;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod cron;
pub(crate) mod disable;
pub(crate) mod disown;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod edit;
pub(crate) mod exec;
pub(crate) mod jl;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod list_disabled;
pub(crate) mod listen;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod next;
pub(crate) mod ps;
pub(crate) mod queue;
pub(crate) mod release;
pub(crate) mod reload;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod shutdown;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod upgrade;
pub(crate) mod wait;
pub(crate) mod why;
pub(crate) mod with_client;

use crate::report::Failure;

/// JSON that could not be written is a fault of ours.
pub(crate) fn unwritable(error: serde_json::Error) -> Failure {
    Failure::System { what: "could not write JSON", source: error.into() }
}
