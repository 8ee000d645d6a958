//! The parameters of a run and why one cannot be made.

use std::time::Duration;

use forebay_core::QoS;

use crate::mqtt::{BrokerUrl, TemplateError, Version};
use crate::usage::UsageError;
use crate::verify::{StreamTarget, VerifyError};

/// Connections of one run; more need more than one local address.
const CONNECTIONS_MAX: usize = 25_000;
const KEYS_MAX: usize = 10_000_000;
const THREADS_MAX: usize = 64;

/// What to send, to whom, and what to measure.
#[derive(Debug, Clone)]
pub struct QuickConfig {
    /// The broker.
    pub broker: BrokerUrl,
    /// Publishers, one TCP connection each. 1 to 25 000.
    pub connections: usize,
    /// Messages in flight per connection, 1 to 65 535. A 5.0 broker's Receive Maximum lowers it.
    pub window: u16,
    /// Bytes of a payload.
    pub size: usize,
    /// Keys, dealt out to the connections in turn: at least as many as connections.
    pub keys: usize,
    /// Quality of service.
    pub qos: QoS,
    /// Protocol version.
    pub version: Version,
    /// Topic of every message; `{key}` stands for the key.
    pub topic: String,
    /// The measured window.
    pub duration: Duration,
    /// Load before the measured window.
    pub warmup: Duration,
    /// Generator threads.
    pub threads: usize,
    /// The broker's process, for CPU time and memory.
    pub pid: Option<u32>,
    /// The stream that the broker's rules write to, read back during the run.
    pub stream: Option<StreamTarget>,
    /// How long the stream may bring nothing new before what is missing counts as lost.
    pub settle: Duration,
}

impl QuickConfig {
    /// The usual run against `broker`: 50 connections, window 20, 256 bytes, 1 000 keys, QoS 1, MQTT 5, 30 seconds.
    pub fn new(broker: BrokerUrl) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            broker,
            connections: 50,
            window: 20,
            size: 256,
            keys: 1000,
            qos: QoS::AtLeastOnce,
            version: Version::V5,
            topic: "dt/{key}/telemetry".to_owned(),
            duration: Duration::from_secs(30),
            warmup: Duration::from_secs(2),
            // A generator thread drives several times what a broker core takes, and must leave it the cores.
            threads: (cores / 4).clamp(1, THREADS_MAX),
            pid: None,
            stream: None,
            settle: Duration::from_secs(10),
        }
    }

    pub(crate) fn check(&self) -> Result<(), QuickError> {
        let range = |key, value: usize, min, max| {
            if value < min || value > max {
                return Err(QuickError::Range {
                    key,
                    value,
                    min,
                    max,
                });
            }
            Ok(())
        };
        range("connections", self.connections, 1, CONNECTIONS_MAX)?;
        range("window", self.window.into(), 1, u16::MAX.into())?;
        range("threads", self.threads, 1, THREADS_MAX)?;
        range("keys", self.keys, self.connections, KEYS_MAX)?;
        if self.duration.is_zero() {
            return Err(QuickError::NoDuration);
        }
        Ok(())
    }
}

/// Why a run was not made or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum QuickError {
    /// A parameter is out of its range. `keys` begins at the number of connections, because each key belongs to one.
    #[error("{key} is {value}; it must be {min} to {max}")]
    Range {
        /// Name of the parameter.
        key: &'static str,
        /// Its value.
        value: usize,
        /// The least it can be.
        min: usize,
        /// The most it can be.
        max: usize,
    },
    /// The measured window is empty.
    #[error("duration is 0; it must be longer")]
    NoDuration,
    /// Size or topic cannot be had.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The broker's name does not resolve.
    #[error("cannot resolve {broker}: {source}")]
    Resolve {
        /// The broker.
        broker: BrokerUrl,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// No connection, or not all of them.
    #[error("cannot connect to {broker}: {reason}")]
    Connect {
        /// The broker.
        broker: BrokerUrl,
        /// What it said or the operating system said for it.
        reason: String,
    },
    /// All connections were lost before the end.
    #[error("lost all connections to {broker}, the last one with: {reason}")]
    Lost {
        /// The broker.
        broker: BrokerUrl,
        /// The last reason.
        reason: String,
    },
    /// A generator thread could not be started or failed.
    #[error("generator thread failed: {0}")]
    Thread(String),
    /// The broker's process cannot be measured.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The stream cannot be read back.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}
