//! kinesis
pub mod aggregator;
pub mod api;
mod backoff;
pub mod classify;
pub mod config;
pub mod discovery;
mod encode;
pub mod endpoint;
mod limiter;
mod sdk;
#[cfg(test)]
mod testing;
pub use config::{BatchSettings, CredentialSource, KinesisConfig, RateLimit};
pub use sdk::SdkKinesis;
