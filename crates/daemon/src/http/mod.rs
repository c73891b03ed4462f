//! The face to the sockets: `/v1`, over the unix socket in the runtime directory and where `[kin] listen` says.
//!
//! Handlers translate and know no rule: a request becomes core terms, the engine decides, and what it answers becomes
//! JSON. Whatever is only read is read from the ledger and the log files, never from the engine.
//!
//! ```text
//!   serve      connections: limits, peers, the end        gate       what may come in at all
//!   tcp token  doors besides the unix socket                 and what opens them
//!   routes     every route, once                          openapi    the document made of them
//!   request    a wish for a run in core terms             convert    core terms as the contract says them
//!   runs output events latches jobs queues ticks server   one file for each noun
//!   job_state  a job as the contract says it              reason     why something waits, in words
//!   why        a run's story                              doctor     checks of all that the server stands on
//!   slots      what the run tables say just now
//! ```

pub mod adopt;
pub mod body;
pub mod convert;
pub mod doctor;
pub mod door;
pub mod error;
pub mod events;
pub mod gate;
pub mod glob;
pub(crate) mod inherited;
pub mod job_state;
pub mod jobs;
pub mod latches;
pub mod openapi;
pub mod output;
pub mod projects;
pub mod queues;
pub mod reason;
pub mod request;
pub mod routes;
pub mod runs;
pub mod serve;
pub mod server;
pub mod slots;
pub mod tcp;
pub mod ticks;
pub mod token;
pub mod upgrade;
pub mod why;

pub use door::Door;
pub use openapi::openapi_json;
pub use routes::router;
