//! The choices a rule makes about its records besides the acknowledgement: order, behaviour without room, and what
//! happens when AWS refuses the stream, the role or the key.

use crate::named::text_by_name;

/// How strictly the records of one partition key keep their order. Greater is stricter: rules that share a stream
/// share its lanes, and the strictest of them counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Ordering {
    /// No order is kept.
    None,
    /// Nothing newer of a key is sent while an older record of it is in another request or waits for a retry. Several
    /// records of a key may share a request, so the one request in which Kinesis first refuses a record of a healthy
    /// shard can invert them; that is counted.
    #[default]
    Key,
    /// At most one unresolved record per key: no inversion is possible.
    Strict,
}

impl Ordering {
    /// All modes, weakest first.
    pub const ALL: [Ordering; 3] = [Ordering::None, Ordering::Key, Ordering::Strict];

    /// The name in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
            Self::Strict => "strict",
        }
    }
}

text_by_name!(Ordering);

/// What happens to a message whose records find no room in the ingest budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFull {
    /// The message waits and its connection is not read: the device slows down.
    #[default]
    Block,
    /// An MQTT 5 client gets reason 0x97; an MQTT 3.1.1 client, which cannot be told, waits as with `Block`.
    Reject,
    /// The message that finds no room is dropped and counted. Only for `accept` and QoS 0.
    DropNewest,
    /// The oldest waiting records of the stream make room and are counted as failed. Only for `accept` and QoS 0.
    DropOldest,
}

impl OnFull {
    /// All policies.
    pub const ALL: [OnFull; 4] = [
        Self::Block,
        Self::Reject,
        Self::DropNewest,
        Self::DropOldest,
    ];

    /// The name in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Reject => "reject",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
        }
    }

    /// True for the policies that lose data, which are legal only where nothing was promised.
    pub fn drops(self) -> bool {
        matches!(self, Self::DropNewest | Self::DropOldest)
    }
}

text_by_name!(OnFull);

/// What happens to a record whose stream, role or key AWS refuses: a fault of the configuration there, which no retry
/// heals by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnConfigError {
    /// It is kept, and the stream is tried again now and then: nothing is lost.
    Hold,
    /// Its action has failed: the rule's error action runs at once, as on AWS IoT. A rule without one counts it.
    ErrorAction,
}

impl OnConfigError {
    /// Both answers.
    pub const ALL: [OnConfigError; 2] = [Self::Hold, Self::ErrorAction];

    /// The name in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::ErrorAction => "error_action",
        }
    }
}

text_by_name!(OnConfigError);
