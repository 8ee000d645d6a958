//! Simulated devices: each has a TCP connection of its own, publishes telemetry at a rate with QoS 1, and does what a
//! device does when its connection breaks: it connects again, later each time, and publishes again what was not
//! acknowledged.
//!
//! All devices of a [`Devices`] live on one thread.

mod config;
mod device;
mod fleet;
mod handle;
#[cfg(test)]
mod tests;

pub use config::{DevicesConfig, DevicesError};
pub use handle::{Devices, DevicesReport, DevicesSnapshot};
