//! Diagnostics: what is wrong with a statement or a template, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// The stable code of a diagnostic, such as `R014`. Codes are never given a new meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A character that no token starts with, comments included.
    Character,
    /// A string without its closing quote.
    UnclosedString,
    /// A malformed number.
    Number,
    /// A malformed variable name, or a variable that is not assigned, assigned twice or one too many.
    Variable,
    /// A token where another one was expected.
    Unexpected,
    /// The text ends too early, or is empty.
    End,
    /// A reserved word used as a bare name.
    Reserved,
    /// An expression nested too deeply.
    Depth,
    /// A topic filter that is not valid.
    Filter,
    /// `*` where it means nothing.
    Star,
    /// A construct that the rule's SQL version does not have.
    Version,
    /// `SELECT VALUE` with more than one item.
    ValueItems,
    /// An unknown function.
    UnknownFunction,
    /// A function or construct that this version of Forebay does not evaluate yet.
    Unsupported,
    /// A malformed substitution template.
    Template,
    /// A call with a wrong number of arguments, which is Undefined: a warning.
    Arguments,
    /// A number beyond the range of Decimal.
    Range,
    /// A constant regular expression with a construct that Forebay does not have.
    Pattern,
}

impl Code {
    /// The code as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Character => "R001",
            Self::UnclosedString => "R002",
            Self::Number => "R003",
            Self::Variable => "R004",
            Self::Unexpected => "R005",
            Self::End => "R006",
            Self::Reserved => "R007",
            Self::Depth => "R008",
            Self::Filter => "R009",
            Self::Star => "R010",
            Self::Version => "R011",
            Self::ValueItems => "R012",
            Self::Range => "R013",
            Self::UnknownFunction => "R014",
            Self::Unsupported => "R015",
            Self::Template => "R016",
            Self::Arguments => "R017",
            Self::Pattern => "R018",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding about a statement or a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// The bytes of the text that it is about; empty at the end of the text.
    pub span: Range<usize>,
    /// A remark to print beside the marked bytes, such as "did you mean `upper`?".
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without label and help.
    pub fn new(code: Code, message: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            code,
            message: message.into(),
            span,
            label: None,
            help: None,
        }
    }

    /// With a remark beside the marked bytes.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same diagnostic about a text that begins `by` bytes earlier.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        self.span = self.span.start + by..self.span.end + by;
        self
    }
}
