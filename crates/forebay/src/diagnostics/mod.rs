//! What is wrong with something the user wrote, and where.
//!
//! Configuration, rule documents and command-line values are all judged the same way: everything that is wrong is
//! collected in a [`Report`] and shown at once, each entry with a stable [`Code`], the place, and what would be right.

mod code;
mod render;
mod suggest;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

pub use code::Code;
pub use render::{Style, as_json, render};
pub use suggest::nearest;

/// A text that the user wrote: a file, an environment variable, an option, a statement inside a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What to call it: a path, `environment`, `--set`, or `rules.d/a.json: sql`.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Where relative paths in it start.
    pub base: PathBuf,
    /// True for a text of one line inside something larger, for which a line number means nothing: the place is then
    /// written as a column.
    pub inline: bool,
}

/// A part of a [`Source`], in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The text.
    pub source: Arc<Source>,
    /// Start and end in `source.text`.
    pub span: Range<usize>,
}

impl Origin {
    /// Line and column, both counted from 1, the column in characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self
            .source
            .text
            .get(..self.span.start)
            .unwrap_or(&self.source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).map_or(0, |l| l.chars().count()) + 1;
        (before.matches('\n').count() + 1, column)
    }

    /// The text at this place.
    pub fn text(&self) -> &str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The program does not start with it.
    Error,
    /// The program starts, `validate --strict` fails.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name of the kind of mistake; shown in brackets.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, without a full stop.
    pub title: String,
    /// Where.
    pub origin: Option<Origin>,
    /// What to say at the place itself: the allowed range, the nearest name.
    pub label: String,
    /// What else helps.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error of this kind.
    pub fn error(code: Code, title: impl Into<String>) -> Self {
        Self::with_code(code.as_str(), Severity::Error, title)
    }

    /// A warning of this kind.
    pub fn warning(code: Code, title: impl Into<String>) -> Self {
        Self::with_code(code.as_str(), Severity::Warning, title)
    }

    /// A diagnostic whose code another crate owns: rules and statements bring their own.
    pub fn with_code(code: &'static str, severity: Severity, title: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            title: title.into(),
            origin: None,
            label: String::new(),
            help: Vec::new(),
        }
    }

    /// At this place.
    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    /// With these words at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With this help below.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

/// Everything that was found, in the order in which it was found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    entries: Vec<Diagnostic>,
}

impl Report {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.entries.push(diagnostic);
    }

    /// Puts them in the order of the texts: sources as they first occur, and within one from top to bottom.
    pub fn sort(&mut self) {
        let mut sources: Vec<String> = Vec::new();
        let mut keyed: Vec<((usize, usize), Diagnostic)> = Vec::new();
        for entry in self.entries.drain(..) {
            let key = entry.origin.as_ref().map_or((0, 0), |origin| {
                let name = &origin.source.name;
                let index = sources.iter().position(|known| known == name);
                let index = index.unwrap_or_else(|| {
                    sources.push(name.clone());
                    sources.len() - 1
                });
                (index + 1, origin.span.start)
            });
            keyed.push((key, entry));
        }
        keyed.sort_by_key(|(key, _)| *key);
        self.entries = keyed.into_iter().map(|(_, entry)| entry).collect();
    }

    /// All of them.
    pub fn entries(&self) -> &[Diagnostic] {
        &self.entries
    }

    /// True when something is wrong that prevents a start.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// Number of errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.severity == severity)
            .count()
    }
}
