//! The system-call modules with real processes, one test a promise.

mod cgroup;
mod descriptors;
mod locality;
mod spawn;
mod support;
mod tree;
mod wait;
