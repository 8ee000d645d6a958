//! The publisher's half of MQTT 3.1.1 and 5.0: what a load generator writes and reads, and no more.
//!
//! A generator must cost less than what it measures. So a PUBLISH is a copy of a ready-made packet with a few digits
//! patched, and what comes back is scanned for packet identifiers, not decoded into packets.

mod connection;
mod incoming;
mod packet;
mod template;
mod url;
mod version;

pub(crate) use connection::{Connection, SCRATCH_BYTES};
pub(crate) use incoming::Incoming;
pub(crate) use packet::{PINGREQ, push_disconnect, push_publish, push_pubrel};
pub(crate) use template::PublishTemplate;
pub use template::TemplateError;
pub use url::{BrokerUrl, BrokerUrlError};
pub use version::Version;
