//! Scripted faults of the service, and what becomes of the messages that devices publish meanwhile.
//!
//! The stream runs inside the test, the program as a process of its own, the load in threads with
//! the black-box client. What was acknowledged, and in which order it was published, is judged
//! against what the stream holds, and the program's own counters against both.
#![expect(
    clippy::disallowed_methods,
    reason = "black-box tests live in real time; they measure it and never wait for it blindly"
)]

mod configuration_errors;
mod gateway;
mod load;
mod lost_answers;
mod outages;
mod poison;
mod refused_requests;
mod stand;
mod throttling;
