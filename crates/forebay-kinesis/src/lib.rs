//! kinesis
pub mod aggregator;
pub mod api;
mod backoff;
pub mod classify;
pub mod config;
mod encode;
mod limiter;
#[cfg(test)]
mod testing;
