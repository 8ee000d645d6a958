//! How many devices there are and what they do.

use std::time::Duration;

use crate::mqtt::{BrokerUrl, Version};
use crate::run_id::RunId;

const DEVICES_MAX: usize = 25_000;
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 10_000.0;

/// The devices of a demonstration or a test.
#[derive(Debug, Clone)]
pub struct DevicesConfig {
    /// The broker.
    pub broker: BrokerUrl,
    /// Number of devices, 1 to 25 000. They are named `d-` and their number.
    pub devices: usize,
    /// Messages per second and device, 0.001 to 10 000.
    pub rate: f64,
    /// Protocol version.
    pub version: Version,
    /// Topic of every message; `{key}` stands for the device's name.
    pub topic: String,
    /// Least bytes of a payload; a shorter one is padded.
    pub size: usize,
    /// The mark in every payload.
    pub run: RunId,
    /// Seed of readings and of the jitter of reconnects.
    pub seed: u64,
}

impl DevicesConfig {
    /// 50 devices, one message a second each, 256 bytes, MQTT 5.
    pub fn new(broker: BrokerUrl, run: RunId) -> Self {
        Self {
            broker,
            devices: 50,
            rate: 1.0,
            version: Version::V5,
            topic: "dt/{key}/telemetry".to_owned(),
            size: 256,
            run,
            seed: 1,
        }
    }

    pub(super) fn check(&self) -> Result<(), DevicesError> {
        if !(1..=DEVICES_MAX).contains(&self.devices) {
            return Err(DevicesError::Devices {
                devices: self.devices,
            });
        }
        if !(RATE_MIN..=RATE_MAX).contains(&self.rate) {
            return Err(DevicesError::Rate { rate: self.rate });
        }
        if self.topic.len() > 1024 || !self.topic.contains("{key}") {
            return Err(DevicesError::Topic {
                topic: self.topic.clone(),
            });
        }
        Ok(())
    }

    /// Time between two messages of a device.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }
}

/// Why devices cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// Their number is out of range.
    #[error("devices is {devices}; it must be 1 to {DEVICES_MAX}")]
    Devices {
        /// The number.
        devices: usize,
    },
    /// Their rate is out of range.
    #[error("rate is {rate}; it must be {RATE_MIN} to {RATE_MAX} messages per second and device")]
    Rate {
        /// The rate.
        rate: f64,
    },
    /// The topic does not say where the device's name goes.
    #[error("topic is {topic:?}; it must have {{key}} in it and at most 1024 bytes")]
    Topic {
        /// The topic.
        topic: String,
    },
    /// The broker's name does not resolve.
    #[error("cannot resolve {broker}: {source}")]
    Resolve {
        /// The broker.
        broker: BrokerUrl,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// The thread could not be started or failed.
    #[error("the thread of the devices failed: {0}")]
    Thread(String),
}
