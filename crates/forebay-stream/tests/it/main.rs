//! The server as a client sees it, over its sockets.

mod client;
mod conformance;
mod faults;
mod http;
mod limits;
mod operations;
mod reading;
mod storage;
mod validation;
