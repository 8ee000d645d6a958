//! Substitution templates.

use crate::{Code, Diagnostic, SqlVersion};

/// A checked substitution template.
#[derive(Debug, Clone)]
pub struct Template {
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    Literal(String),
    Topic,
    Timestamp,
}

impl Template {
    /// Checks `text`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(text: &str, _version: SqlVersion) -> Result<Self, Vec<Diagnostic>> {
        let mut parts = Vec::new();
        match text {
            "${topic()}" => parts.push(Part::Topic),
            "${timestamp()}" => parts.push(Part::Timestamp),
            _ if text.contains("${") => {
                return Err(vec![Diagnostic::new(
                    Code::Unsupported,
                    "not supported by this version of Forebay",
                    0..text.len(),
                )]);
            }
            _ => parts.push(Part::Literal(text.to_owned())),
        }
        Ok(Self { parts })
    }

    /// The text when it holds no expression.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }
}
