//! The letter: what people write about their jobs, read and judged.
//!
//! A text becomes a *tree* whose values know where they stand; one *table of keys* decides what each may be, and from the
//! same table come the JSON Schema, the reference page, the canonical text of a job, and the plan of a change. All that is
//! wrong is said at once, each with its place and what to write instead.
//!
//! Nothing here starts, stores or serves anything: the crate reads files and answers with definitions.
#![forbid(unsafe_code)]

pub mod canon;
mod cross;
pub mod files;
pub mod good;
pub mod guess;
pub mod ics;
pub mod job;
pub mod key;
pub mod keys;
pub mod kind;
pub mod mistake;
pub mod plan;
pub mod project;
pub mod quantity;
pub mod read;
pub mod reference;
pub mod rule;
pub mod schedule;
pub mod schema;
pub mod set;
pub mod settings;
mod show;
pub mod signal;
pub mod source;
pub mod tree;
mod value;
pub mod variables;
mod zone;

pub use job::Definition;
pub use mistake::{Code, Mistake, Report, Severity, Spot};
pub use plan::Plan;
pub use set::{Input, Set};
pub use settings::Settings;
pub use source::Source;
