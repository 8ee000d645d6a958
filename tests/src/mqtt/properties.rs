//! The properties of MQTT 5.0 as a list, in the order in which they were sent.

use anyhow::{Context as _, Result, bail};

use super::decode::Reader;
use super::encode::{put_binary, put_text, varint};

/// Identifiers of MQTT 5.0, section 2.2.2.2.
pub mod id {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_AVAILABLE: u8 = 0x2A;
}

/// The value of a property, in the types of section 2.2.2.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    Byte(u8),
    Short(u16),
    Long(u32),
    Variable(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

/// A list of properties.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Property)>);

impl Properties {
    #[must_use]
    pub fn with(mut self, id: u8, value: Property) -> Self {
        self.0.push((id, value));
        self
    }

    /// The first property with this identifier.
    pub fn get(&self, id: u8) -> Option<&Property> {
        let found = self.0.iter().find(|(key, _)| *key == id);
        found.map(|(_, value)| value)
    }

    /// The first property with this identifier, if it is a number of any width.
    pub fn number(&self, id: u8) -> Option<u32> {
        match self.get(id)? {
            Property::Byte(value) => Some((*value).into()),
            Property::Short(value) => Some((*value).into()),
            Property::Long(value) | Property::Variable(value) => Some(*value),
            _ => None,
        }
    }

    /// The first property with this identifier, if it is text.
    pub fn text(&self, id: u8) -> Option<&str> {
        match self.get(id)? {
            Property::Text(value) => Some(value),
            _ => None,
        }
    }

    /// All user properties in their order.
    pub fn user(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter().filter_map(|(_, value)| match value {
            Property::Pair(key, value) => Some((key.as_str(), value.as_str())),
            _ => None,
        });
        pairs.collect()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        for (id, value) in &self.0 {
            body.push(*id);
            match value {
                Property::Byte(value) => body.push(*value),
                Property::Short(value) => body.extend(value.to_be_bytes()),
                Property::Long(value) => body.extend(value.to_be_bytes()),
                Property::Variable(value) => varint(*value, &mut body),
                Property::Text(value) => put_text(value, &mut body),
                Property::Binary(value) => put_binary(value, &mut body),
                Property::Pair(key, value) => {
                    put_text(key, &mut body);
                    put_text(value, &mut body);
                }
            }
        }
        varint(length(&body), out);
        out.extend(body);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let length = reader.varint()?;
        let mut reader = Reader::new(reader.take(usize::try_from(length)?)?);
        let mut properties = Self::default();
        while !reader.is_empty() {
            let id = reader.byte()?;
            let value = value(id, &mut reader)?;
            let repeatable = matches!(id, id::USER_PROPERTY | id::SUBSCRIPTION_IDENTIFIER);
            if !repeatable && properties.get(id).is_some() {
                bail!("property {id:#04x} twice");
            }
            properties.0.push((id, value));
        }
        Ok(properties)
    }
}

fn length(body: &[u8]) -> u32 {
    u32::try_from(body.len()).expect("a test sends less than 4 GiB")
}

fn value(id: u8, reader: &mut Reader<'_>) -> Result<Property> {
    Ok(match id {
        id::PAYLOAD_FORMAT
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_AVAILABLE
        | id::SUBSCRIPTION_IDENTIFIER_AVAILABLE
        | id::SHARED_AVAILABLE => Property::Byte(reader.byte()?),
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            Property::Short(reader.short()?)
        }
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY | id::MAXIMUM_PACKET_SIZE => {
            Property::Long(reader.long()?)
        }
        id::SUBSCRIPTION_IDENTIFIER => Property::Variable(reader.varint()?),
        id::CONTENT_TYPE
        | id::RESPONSE_TOPIC
        | id::ASSIGNED_CLIENT_ID
        | id::AUTHENTICATION_METHOD
        | id::RESPONSE_INFORMATION
        | id::SERVER_REFERENCE
        | id::REASON_STRING => Property::Text(reader.text()?),
        id::CORRELATION_DATA | id::AUTHENTICATION_DATA => {
            Property::Binary(reader.binary()?.to_vec())
        }
        id::USER_PROPERTY => Property::Pair(
            reader.text().context("key of a user property")?,
            reader.text().context("value of a user property")?,
        ),
        unknown => bail!("unknown property {unknown:#04x}"),
    })
}
