//! What an acknowledgement means: MQTT quality of service and the acknowledgement modes.

use crate::named::text_by_name;

/// MQTT quality of service of a publish or a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// At most once: no acknowledgement.
    #[default]
    AtMostOnce = 0,
    /// At least once: PUBACK.
    AtLeastOnce = 1,
    /// Exactly once: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The number on the wire, 0 to 2.
    pub fn level(self) -> u8 {
        self as u8
    }

    /// The quality of service of a number on the wire, `None` above 2.
    pub fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// When a QoS 1 or 2 publish is acknowledged. The order is by strength: of several matching rules the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckMode {
    /// When its records were admitted: AWS IoT's own meaning, "taken, not kept".
    Accept,
    /// When every record of the message is in a log on the local disk that was flushed to the device.
    Spool,
    /// When every record of the message has a sequence number from Kinesis, or reached its other end.
    Stored,
}

impl AckMode {
    /// All modes, weakest first.
    pub const ALL: [AckMode; 3] = [AckMode::Accept, AckMode::Spool, AckMode::Stored];

    /// The name in configuration files and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Spool => "spool",
            Self::Stored => "stored",
        }
    }
}

text_by_name!(AckMode);

/// What a publish of mode [`AckMode::Spool`] gets while the log cannot be written. Both keep the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnSpoolFailure {
    /// It is acknowledged as in mode [`AckMode::Stored`] until the log can be written again.
    #[default]
    Stored,
    /// It waits until the log can be written again.
    Stall,
}

impl OnSpoolFailure {
    /// All policies.
    pub const ALL: [OnSpoolFailure; 2] = [Self::Stored, Self::Stall];

    /// The name in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Stall => "stall",
        }
    }
}

text_by_name!(OnSpoolFailure);
