//! The stable codes of configuration mistakes. A code never changes its meaning; a number that falls out of use stays
//! unused.

/// A kind of mistake in the configuration. Rules bring codes of their own, which begin with `R`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// C001: a text that is not TOML.
    Syntax,
    /// C002: a key that does not exist (at this stage).
    UnknownKey,
    /// C003: a value of another type, or without a unit that it needs.
    WrongType,
    /// C004: a value outside its range, or not one of the allowed ones.
    OutOfRange,
    /// C005: budgets that together exceed the memory limit.
    Budget,
    /// C006: a listener that anybody on the network could use.
    OpenListener,
    /// C007: a policy that loses records where an acknowledgement promised to keep them.
    DropWithoutAccept,
    /// C008: an address or URL that cannot be used.
    Address,
    /// C009: a name that is used twice.
    Duplicate,
    /// C010: a file or directory that cannot be read.
    Unreadable,
    /// C011: a name with characters that are not allowed.
    BadName,
    /// C012: a key that is required and missing.
    Missing,
    /// C013: a rule that cannot be loaded and has no code of its own.
    Rule,
    /// C014: an option of the command line that cannot be read.
    Option,
    /// C015: a directory that cannot keep what is to be kept in it.
    Storage,
    /// C016: a file of keys or tokens that cannot be used as it is.
    Secrets,
    /// C101: settings for a rule that does not exist.
    SettingsWithoutRule,
    /// C102: plain HTTP to an address that is not local.
    PlaintextEndpoint,
    /// C103: a rule without effect: no action that Forebay runs.
    NoAction,
    /// C104: what the service answered to a check over the network.
    Network,
    /// C105: a directory that goes with its container.
    ContainerLayer,
}

impl Code {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "C001",
            Self::UnknownKey => "C002",
            Self::WrongType => "C003",
            Self::OutOfRange => "C004",
            Self::Budget => "C005",
            Self::OpenListener => "C006",
            Self::DropWithoutAccept => "C007",
            Self::Address => "C008",
            Self::Duplicate => "C009",
            Self::Unreadable => "C010",
            Self::BadName => "C011",
            Self::Missing => "C012",
            Self::Rule => "C013",
            Self::Option => "C014",
            Self::Storage => "C015",
            Self::Secrets => "C016",
            Self::SettingsWithoutRule => "C101",
            Self::PlaintextEndpoint => "C102",
            Self::NoAction => "C103",
            Self::Network => "C104",
            Self::ContainerLayer => "C105",
        }
    }
}
