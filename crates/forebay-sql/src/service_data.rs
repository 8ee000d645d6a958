//! What other services would answer: the trait behind the functions that ask them.

use std::fmt;
use std::sync::Arc;

/// Data of other services, held in memory. Evaluation asks for it in the middle of a message and never waits: a source
/// that has to fetch something does so in the background and answers with what it has.
pub trait ServiceData: fmt::Debug + Send + Sync {
    /// True when there is data of this kind at all. A rule that needs another kind is refused when it is created.
    fn has(&self, source: DataSource) -> bool;

    /// The answer to a request.
    ///
    /// # Errors
    /// When there is no entry for it, or the request cannot be answered as it is.
    fn answer(&self, request: &DataRequest<'_>) -> Result<Arc<str>, DataFault>;
}

/// A kind of data, by the function that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataSource {
    /// Things and their groups, for `get_registry_data`.
    Registry,
    /// Secrets, for `get_secret`.
    Secrets,
    /// Shadows of things, for `get_thing_shadow`.
    Shadows,
    /// Descriptors of protobuf messages, for `decode(…, 'proto', …)`.
    Protobuf,
}

impl DataSource {
    /// The configuration key that names the data.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Registry => "functions.registry_file",
            Self::Secrets => "functions.secrets_file",
            Self::Shadows => "functions.shadow_source",
            Self::Protobuf => "functions.protobuf_descriptors",
        }
    }
}

/// What a function asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataRequest<'r> {
    /// The answer of DescribeThing, as JSON.
    Thing {
        /// The thing's name.
        name: &'r str,
    },
    /// The answer of ListThingGroupsForThing, as JSON.
    ThingGroups {
        /// The thing's name.
        thing: &'r str,
    },
    /// The text of a secret, or the base64 of a binary one.
    Secret {
        /// Its name or ARN.
        id: &'r str,
        /// True for the binary value.
        binary: bool,
    },
    /// A shadow document, as JSON.
    Shadow {
        /// The thing's name.
        thing: &'r str,
        /// The shadow's name; `None` for the classic one.
        name: Option<&'r str>,
    },
    /// A protobuf message, as JSON.
    Protobuf {
        /// The bucket and the key of its descriptor.
        descriptor: (&'r str, &'r str),
        /// The name of the file that declares it, without extension.
        file: &'r str,
        /// The name of the message's type.
        message: &'r str,
        /// The encoded message.
        bytes: &'r [u8],
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DataFault {
    /// There is no entry of that name.
    #[error("there is no entry for what it asks for")]
    Missing,
    /// The arguments or the data do not fit.
    #[error("{0}")]
    Contract(&'static str),
}
