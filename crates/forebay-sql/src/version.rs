//! The versions of the SQL dialect.

use std::fmt;
use std::str::FromStr;

/// A version of AWS IoT SQL (AWS IoT developer guide, SQL versions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SqlVersion {
    /// The first version. A rule document that names none means this one.
    #[default]
    V2015,
    /// Adds array and object literals, nested queries, and whole Decimals that become Int.
    V2016,
    /// Behaves as the newest version.
    Beta,
}

impl SqlVersion {
    /// All versions, oldest first.
    pub const ALL: [SqlVersion; 3] = [Self::V2015, Self::V2016, Self::Beta];

    /// The text in rule documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2015 => "2015-10-08",
            Self::V2016 => "2016-03-23",
            Self::Beta => "beta",
        }
    }

    /// True for 2016-03-23 and later.
    pub fn is_2016(self) -> bool {
        self >= Self::V2016
    }
}

impl fmt::Display for SqlVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SqlVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or(())
    }
}
