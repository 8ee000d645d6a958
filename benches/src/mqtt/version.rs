//! The two protocol versions.

use std::fmt;
use std::str::FromStr;

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// The protocol level in CONNECT.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

/// Why a text names no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MQTT version is {text:?}; it must be 3.1.1 or 5")]
pub struct VersionError {
    text: String,
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        match text {
            "3.1.1" => Ok(Self::V311),
            "5" | "5.0" => Ok(Self::V5),
            _ => Err(VersionError {
                text: text.to_owned(),
            }),
        }
    }
}
