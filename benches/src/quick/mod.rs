//! `bench quick`: a closed loop of publishers against one broker.
//!
//! Closed loop means that a publisher sends its next message when an earlier one was acknowledged, so the figures say
//! what the broker can do and what a message costs it, not how it behaves under a fixed rate. Warm-up and drain are
//! outside the measured window. Every key is published by exactly one connection, so that its order is defined.
//!
//! With QoS 0 nothing is acknowledged: a PINGREQ after half a window of messages stands in, because its answer says
//! that the broker has taken what came before it.

mod config;
mod publisher;
mod report;
mod run;
#[cfg(test)]
mod tests;
mod worker;

pub use config::{QuickConfig, QuickError};
pub use report::{BrokerReport, QuickReport};
pub use run::{Progress, run};
