//! An MQTT client written for tests: blocking, able to send what no client would, and strict
//! about what it gets. It shares no code with the product.

mod client;
mod decode;
mod encode;
mod packet;
mod properties;

pub use client::{Client, Outcome, Received};
pub use decode::{Frame, decode, frame};
pub use encode::{
    acknowledge, connect, disconnect, packet, ping, publish, subscribe, unsubscribe, varint,
};
pub use packet::{Acknowledgement, ConnAck, Connect, Packet, Publish, SubAck, Version, Will};
pub use properties::{Properties, Property, id};
