//! `stream …`: the embedded stream server, and reading of any stream, AWS's too.

mod describe;
mod list;
mod serve;
mod service;
mod tail;

pub(super) use describe::run as describe;
pub(super) use list::run as list;
pub(super) use serve::run as serve;
pub(crate) use service::{Service, chain, credentials, failure, needs_no_credentials};
pub(super) use tail::run as tail;
