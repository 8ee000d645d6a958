//! The properties of an MQTT 5.0 packet, checked on the raw bytes before the codec sees them.
//!
//! The codec reads past the property length, takes the last of two equal properties and checks no range. After this
//! walk none of that can happen: every property is allowed in its packet, present once, in range, and the properties
//! end exactly where their length says.

use std::ops::Range;

use super::reader::Reader;
use crate::outcome::Cause;

/// Bounds of the user properties of one packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PropertyLimits {
    /// Pairs.
    pub(crate) user_properties: usize,
    /// Bytes of all names and values.
    pub(crate) user_property_bytes: usize,
}

/// The packets a client sends that carry properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Connect,
    Will,
    Publish,
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

impl Carrier {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One byte, 0 or 1.
    Flag,
    /// Two bytes.
    Short,
    /// Two bytes that are not zero.
    ShortNonZero,
    /// Four bytes.
    Long,
    /// Four bytes that are not zero.
    LongNonZero,
    /// Variable byte integer that is not zero.
    Variable,
    Text,
    Topic,
    Binary,
    Pair,
}

/// What the walk found that callers need.
#[derive(Debug, Clone, Default)]
pub(super) struct Walked {
    /// Where the subscription identifier is, its id byte included.
    pub(super) subscription_identifier: Option<Range<usize>>,
    /// Session expiry interval in seconds.
    pub(super) session_expiry: Option<u32>,
    /// An authentication method was given.
    pub(super) authentication_method: bool,
    /// Offset of the first byte after the properties.
    pub(super) end: usize,
}

const TOPIC_ALIAS: u8 = 0x23;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const SESSION_EXPIRY: u8 = 0x11;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const USER_PROPERTY: u8 = 0x26;

/// Shape of a property and the packets from a client that may carry it (MQTT 5.0, 2.2.2.2).
fn shape(id: u8) -> Option<(Shape, u8)> {
    use Carrier::{Acknowledgement, Connect, Disconnect, Publish, Subscribe, Unsubscribe, Will};
    const MESSAGE: u8 = Publish.bit() | Will.bit();
    const EVERY: u8 = Connect.bit()
        | MESSAGE
        | Acknowledgement.bit()
        | Subscribe.bit()
        | Unsubscribe.bit()
        | Disconnect.bit();
    Some(match id {
        0x01 => (Shape::Flag, MESSAGE),
        0x02 => (Shape::Long, MESSAGE),
        0x03 => (Shape::Text, MESSAGE),
        0x08 => (Shape::Topic, MESSAGE),
        0x09 => (Shape::Binary, MESSAGE),
        // A client that sends one in a PUBLISH breaks the protocol rather than the format (MQTT 5.0, 3.3.4).
        SUBSCRIPTION_IDENTIFIER => (Shape::Variable, Subscribe.bit() | Publish.bit()),
        SESSION_EXPIRY => (Shape::Long, Connect.bit() | Disconnect.bit()),
        AUTHENTICATION_METHOD => (Shape::Text, Connect.bit()),
        AUTHENTICATION_DATA => (Shape::Binary, Connect.bit()),
        0x17 | 0x19 => (Shape::Flag, Connect.bit()),
        0x18 => (Shape::Long, Will.bit()),
        // Only a server sends a server reference: a protocol error (MQTT 5.0, 3.14.2.2.5).
        0x1c => (Shape::Text, Disconnect.bit()),
        0x1f => (Shape::Text, Acknowledgement.bit() | Disconnect.bit()),
        0x21 => (Shape::ShortNonZero, Connect.bit()),
        0x22 => (Shape::Short, Connect.bit()),
        TOPIC_ALIAS => (Shape::Short, Publish.bit()),
        USER_PROPERTY => (Shape::Pair, EVERY),
        0x27 => (Shape::LongNonZero, Connect.bit()),
        _ => return None,
    })
}

/// Walks the properties that begin with their length at the reader's position, and leaves the reader behind them.
pub(super) fn walk(
    reader: &mut Reader<'_>,
    carrier: Carrier,
    limits: PropertyLimits,
) -> Result<Walked, Cause> {
    let len = reader.variable_integer()?;
    let start = reader.position();
    let end = start + len;
    let mut walked = Walked {
        end,
        ..Walked::default()
    };
    if len == 0 {
        return Ok(walked);
    }
    let mut inner = *reader;
    reader.take(len)?;

    let mut seen = 0_u64;
    let mut user = UserProperties::default();
    while inner.position() < end {
        let at = inner.position();
        let id = inner.u8()?;
        let (shape, carriers) = shape(id).ok_or(Cause::Malformed)?;
        if carriers & carrier.bit() == 0 {
            return Err(Cause::Malformed);
        }
        if id != USER_PROPERTY {
            if seen & (1 << id) != 0 {
                return Err(Cause::ProtocolError);
            }
            seen |= 1 << id;
        }
        let value = read_value(&mut inner, shape, &mut user)?;
        // A value may not run over the end of the properties into what follows them.
        if inner.position() > end {
            return Err(Cause::Malformed);
        }
        user.check(limits)?;
        refuse(id, carrier)?;
        match id {
            SUBSCRIPTION_IDENTIFIER => {
                walked.subscription_identifier = Some(at..inner.position());
            }
            SESSION_EXPIRY => walked.session_expiry = Some(value),
            AUTHENTICATION_METHOD => walked.authentication_method = true,
            _ => {}
        }
    }
    if seen & (1 << AUTHENTICATION_DATA) != 0 && !walked.authentication_method {
        return Err(Cause::ProtocolError);
    }
    Ok(walked)
}

/// Properties that parse and must not be there.
fn refuse(id: u8, carrier: Carrier) -> Result<(), Cause> {
    match (id, carrier) {
        // Topic Alias Maximum 0 is announced, so every alias is above it (MQTT 5.0, 3.3.2.3.4).
        (TOPIC_ALIAS, _) => Err(Cause::TopicAlias),
        (SUBSCRIPTION_IDENTIFIER, Carrier::Publish) | (0x1c, _) => Err(Cause::ProtocolError),
        _ => Ok(()),
    }
}

/// Reads one value; four-byte values are returned.
fn read_value(
    reader: &mut Reader<'_>,
    shape: Shape,
    user: &mut UserProperties,
) -> Result<u32, Cause> {
    let in_range = match shape {
        Shape::Flag => reader.u8()? <= 1,
        Shape::Short => {
            reader.u16()?;
            true
        }
        Shape::ShortNonZero => reader.u16()? != 0,
        Shape::Long => return reader.u32(),
        Shape::LongNonZero => reader.u32()? != 0,
        Shape::Variable => reader.variable_integer()? != 0,
        Shape::Text => {
            reader.string()?;
            true
        }
        Shape::Topic => {
            let topic = reader.string()?;
            !topic.is_empty() && !topic.contains(['+', '#'])
        }
        Shape::Binary => {
            reader.binary()?;
            true
        }
        Shape::Pair => {
            user.pairs += 1;
            user.bytes += reader.string()?.len() + reader.string()?.len();
            true
        }
    };
    if in_range {
        Ok(0)
    } else {
        Err(Cause::ProtocolError)
    }
}

#[derive(Debug, Default)]
struct UserProperties {
    pairs: usize,
    bytes: usize,
}

impl UserProperties {
    fn check(&self, limits: PropertyLimits) -> Result<(), Cause> {
        if self.pairs > limits.user_properties || self.bytes > limits.user_property_bytes {
            return Err(Cause::Quota);
        }
        Ok(())
    }
}
