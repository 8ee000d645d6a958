//! The sink of the pipeline: from lanes of records to Amazon Kinesis Data Streams and back to settled records.
//!
//! Per stream there are two synchronous state machines: the [`aggregator`], which puts requests together and decides
//! what every answer means, and the [`discovery`] of the stream's shards. Neither reads a clock, a random number or a
//! socket by itself, so that a seeded simulation drives the code that production runs. [`SenderThread`] is the shell:
//! one thread with a runtime of its own that feeds the machines with the pipeline's events and makes the calls that
//! they ask for through [`api::KinesisApi`], in production the AWS SDK ([`SdkKinesis`]).
//!
//! It deliberately writes no KPL aggregates, assumes no roles and knows nothing of MQTT.

pub mod aggregator;
pub mod api;
mod backoff;
mod body_pool;
pub mod classify;
pub mod config;
pub mod discovery;
mod encode;
pub mod endpoint;
mod limiter;
mod log_gate;
mod metrics;
mod sdk;
mod sender;
mod status;
#[cfg(test)]
mod testing;
mod virtual_lanes;

pub use config::{BatchSettings, CredentialSource, KinesisConfig, RateLimit};
pub use sdk::SdkKinesis;
pub use sender::{SenderSetup, SenderThread, SenderViewer};
pub use status::{LastError, StreamStatus};
