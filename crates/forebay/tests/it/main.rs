//! The program from outside: what is typed, what is printed, and the exit code.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

mod demo;
mod program;
mod rules;
mod serving;
mod stopping;
mod usage;
mod validate;
