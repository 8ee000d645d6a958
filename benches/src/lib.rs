//! The load harness: what `forebay bench` and `forebay demo` use to make load and to check what became of it.
//!
//! - [`quick`]: a closed loop of publishers against any MQTT broker
//! - [`devices`]: simulated devices that publish at a rate, each over a connection of its own
//! - [`verify`]: reads a Kinesis stream back and counts what is lost, duplicated and reordered
//!
//! Everything works from the outside, over sockets: the crate knows nothing of the broker that it measures. The
//! generator's own cost is part of every report.
//!
//! ```no_run
//! use forebay_bench::quick::{self, QuickConfig};
//!
//! let mut config = QuickConfig::new("mqtt://127.0.0.1:1883".parse()?);
//! config.connections = 200;
//! println!("{}", quick::run(&config, &mut |_| {})?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod devices;
mod environment;
mod latency;
mod ledger;
mod mqtt;
pub mod quick;
mod run_id;
mod telemetry;
#[cfg(test)]
mod test_broker;
mod usage;
pub mod verify;

pub use environment::Environment;
pub use latency::Percentiles;
pub use ledger::{KeyLedger, Ledger, SEQ_MAX, SeqSet};
pub use mqtt::{BrokerUrl, BrokerUrlError, TemplateError, Version};
pub use run_id::RunId;
pub use telemetry::{PAYLOAD_BYTES_MAX, Stamp};
pub use usage::{Usage, UsageError, resident_bytes};
