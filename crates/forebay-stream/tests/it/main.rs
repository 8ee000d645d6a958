//! The server as a client sees it, over its sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod concurrency;
mod conformance;
mod faults;
mod http;
mod limits;
mod operations;
mod reading;
mod storage;
mod validation;
