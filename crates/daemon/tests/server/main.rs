//! A whole server, real keepers and all, as its users and its clients meet it.

mod front;
mod helpers;
mod http;
mod support;
