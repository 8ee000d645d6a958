//! Statements: the first form, `SELECT *` with an optional topic filter.

use crate::{Code, Diagnostic, SqlVersion};

/// How the payload's own members are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelectStar {
    /// The payload's own bytes.
    #[default]
    Verbatim,
    /// Without white space.
    Compact,
}

/// A checked statement.
#[derive(Debug, Clone)]
pub struct Statement {
    filter: Option<String>,
}

impl Statement {
    /// Checks `sql`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(sql: &str, _version: SqlVersion) -> Result<Self, Vec<Diagnostic>> {
        let mut words = sql.split_ascii_whitespace();
        let refused = || {
            vec![Diagnostic::new(
                Code::Unsupported,
                "not supported by this version of Forebay",
                0..sql.len(),
            )]
        };
        let mut keyword = |text: &str| {
            words
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case(text))
        };
        if !keyword("SELECT") || !keyword("*") {
            return Err(refused());
        }
        match (words.next(), words.next(), words.next()) {
            (None, ..) => Ok(Self { filter: None }),
            (Some(from), Some(filter), None) if from.eq_ignore_ascii_case("FROM") => {
                let filter = filter
                    .strip_prefix('\'')
                    .and_then(|rest| rest.strip_suffix('\''))
                    .ok_or_else(refused)?;
                Ok(Self {
                    filter: Some(filter.to_owned()),
                })
            }
            _ => Err(refused()),
        }
    }

    /// The topic filter, `None` for a rule that only Basic Ingest reaches.
    pub fn filter(&self) -> Option<&str> {
        self.filter.as_deref()
    }
}
