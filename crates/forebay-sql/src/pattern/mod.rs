//! Regular expressions in the syntax of the JVM, which is that of AWS IoT SQL. A fixed translation turns them into the
//! syntax of the engine; nothing reaches the engine untranslated.

mod class;
mod replacement;
mod translation;

use fancy_regex::{Captures, Regex, RegexBuilder};

pub(crate) use replacement::Replacement;
use translation::Translated;

/// Backtracks of one search, after which it is given up.
const BACKTRACKS_MAX: usize = 20_000;
/// Instructions of one compiled expression that may backtrack.
const PROGRAM_SIZE_MAX: usize = 20_000;
/// Bytes of one compiled expression.
const PROGRAM_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Evaluation steps of a search that may backtrack.
const BACKTRACKING_STEPS: usize = 200;
/// Evaluation steps of a search in linear time.
const LINEAR_STEPS: usize = 4;
/// Bytes of text that are one evaluation step more.
const BYTES_PER_STEP: usize = 32;

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// The JVM would not compile it either.
    Invalid,
    /// The JVM would compile it; the construct is one that Forebay does not have.
    Refused(String),
}

impl PatternError {
    fn refused<T>(construct: impl Into<String>) -> Result<T, Self> {
        Err(Self::Refused(construct.into()))
    }
}

/// A search that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenUp;

/// A regular expression, ready to run.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// Names of groups and their numbers.
    names: Vec<(String, usize)>,
    groups: usize,
    backtracks: bool,
}

impl Pattern {
    /// Translates and compiles a pattern.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let Translated {
            text,
            names,
            groups,
            backtracks,
        } = translation::translate(pattern)?;
        let compiled = RegexBuilder::new(&text)
            .backtrack_limit(BACKTRACKS_MAX)
            .max_prog_size(PROGRAM_SIZE_MAX)
            .delegate_size_limit(PROGRAM_BYTES_MAX)
            .delegate_dfa_size_limit(PROGRAM_BYTES_MAX)
            .build();
        match compiled {
            Ok(regex) => Ok(Self {
                regex,
                names,
                groups,
                backtracks,
            }),
            // The translation is well-formed: what the engine refuses is too large or one of its own gaps.
            Err(_) => PatternError::refused("a construct or a size that the engine does not have"),
        }
    }

    /// True when a search may have to go back over the text.
    pub(crate) fn backtracks(&self) -> bool {
        self.backtracks
    }

    /// Evaluation steps that a search in a text of this length costs.
    pub(crate) fn steps(&self, bytes: usize) -> usize {
        let base = if self.backtracks {
            BACKTRACKING_STEPS
        } else {
            LINEAR_STEPS
        };
        base + bytes / BYTES_PER_STEP
    }

    pub(crate) fn is_match(&self, text: &str) -> Result<bool, GivenUp> {
        self.regex.is_match(text).map_err(|_| GivenUp)
    }

    /// The first match.
    pub(crate) fn find<'t>(&self, text: &'t str) -> Result<Option<&'t str>, GivenUp> {
        match self.regex.find(text) {
            Ok(found) => Ok(found.and_then(|found| text.get(found.start()..found.end()))),
            Err(_) => Err(GivenUp),
        }
    }

    /// The first match from byte `at` on, with its groups.
    pub(crate) fn captures<'t>(
        &self,
        text: &'t str,
        at: usize,
    ) -> Result<Option<Captures<'t, str>>, GivenUp> {
        self.regex.captures_from_pos(text, at).map_err(|_| GivenUp)
    }

    /// The number of a named group.
    fn group(&self, name: &str) -> Option<usize> {
        let found = self.names.iter().find(|(known, _)| known == name);
        found.map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests;
