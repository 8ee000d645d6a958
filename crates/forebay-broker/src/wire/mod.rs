//! The wire: bytes of a connection to packets and back, through rumqttd's codec and never without our gate.
//!
//! The codec is fast and has known holes: it panics on packet types that only a server sends, takes a frame that ends
//! inside its properties for an incomplete one, checks neither flags nor topics, and writes some packets wrongly. The
//! gate closes every one of them from outside: [`frame`] finds the frame, [`gate`] checks the raw bytes and only then
//! lets the codec decode them, [`encode`] allows the codec only what it writes correctly. Nothing else in this crate
//! touches `rumqttd::protocol::{v4, v5}`.

mod connect;
mod encode;
mod frame;
mod gate;
mod properties;
mod reader;

pub(crate) use connect::{ConnectRequest, Will, decode_connect};
pub(crate) use encode::{Encoder, publish_packet};
pub(crate) use frame::{Frame, Peek, peek};
pub(crate) use gate::{Inbound, InboundPublish, decode};
pub(crate) use properties::PropertyLimits;

/// What the gate has to know besides the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GateRules {
    /// Largest packet, fixed header included.
    pub(crate) packet_bytes: usize,
    /// Bounds of user properties.
    pub(crate) properties: PropertyLimits,
    /// Accept wrong reserved flags in PUBREL, SUBSCRIBE and UNSUBSCRIBE.
    pub(crate) lenient_flags: bool,
}

#[cfg(test)]
mod tests;
