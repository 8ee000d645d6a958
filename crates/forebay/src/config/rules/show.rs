//! Showing what is wrong with a rule at the place where it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_rules::{DocumentError, RuleError};

use crate::diagnostics::{Code, Diagnostic, Origin, Severity, Source};

/// A place that has a name and, for a text of one line, its words.
pub(super) fn named_place(name: &str, text: &str) -> Origin {
    Origin {
        source: Arc::new(Source {
            name: name.to_owned(),
            text: text.to_owned(),
            base: PathBuf::new(),
            inline: true,
        }),
        span: 0..text.len(),
    }
}

/// An error of a document without its place.
pub(super) fn document_error(error: &DocumentError) -> Diagnostic {
    let diagnostic = Diagnostic::with_code(error.code(), Severity::Error, error.to_string());
    match error.help() {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// Shows an error of the compiled set at the place where its text is written.
pub(super) fn error_of(error: &RuleError, origins: &BTreeMap<String, Origin>) -> Diagnostic {
    let place = error.rule().and_then(|rule| origins.get(rule));
    match error {
        RuleError::Text {
            rule,
            field,
            text,
            diagnostic,
        } => text_error(text, diagnostic, &place_of_text(place, rule, field, text)),
        _ => {
            let shown = Diagnostic::with_code(error.code(), Severity::Error, error.to_string());
            match place {
                Some(place) => shown.at(place),
                None => shown,
            }
        }
    }
}

/// Shows a diagnostic of the SQL compiler. `place` begins where `text` begins.
pub(crate) fn text_error(
    text: &str,
    diagnostic: &forebay_rules::Diagnostic,
    place: &Origin,
) -> Diagnostic {
    let start = place.span.start;
    let span = diagnostic.span.start.min(text.len())..diagnostic.span.end.min(text.len());
    let mut shown = Diagnostic::with_code(
        diagnostic.code.as_str(),
        Severity::Error,
        diagnostic.message.as_str(),
    )
    .at(&Origin {
        source: place.source.clone(),
        span: start + span.start..start + span.end,
    });
    if let Some(label) = &diagnostic.label {
        shown = shown.label(label.as_str());
    }
    if let Some(help) = &diagnostic.help {
        shown = shown.help(help.as_str());
    }
    shown
}

/// Where the text of a rule's member stands: in the configuration file itself when it is written there without
/// escapes, so that line and column are true; else under the name of the document and the member.
fn place_of_text(place: Option<&Origin>, rule: &str, field: &str, text: &str) -> Origin {
    let Some(place) = place else {
        return named_place(&format!("rule {rule}: {field}"), text);
    };
    let written = place.text();
    if field == "sql" {
        if written == text {
            return place.clone();
        }
        let unquoted = written
            .strip_prefix(['"', '\''])
            .and_then(|rest| rest.strip_suffix(['"', '\'']));
        if unquoted == Some(text) {
            return Origin {
                source: place.source.clone(),
                span: place.span.start + 1..place.span.end - 1,
            };
        }
    }
    let document = &place.source.name;
    let name = if place.source.text.is_empty() {
        format!("{document}: {field}")
    } else {
        format!("{document}: rule {rule}: {field}")
    };
    named_place(&name, text)
}

/// A warning of a compiled rule.
pub(super) fn warning_of(rule: &str, text: &str, origins: &BTreeMap<String, Origin>) -> Diagnostic {
    let warning = Diagnostic::warning(Code::Rule, format!("rule {rule}: {text}"));
    match origins.get(rule) {
        Some(origin) => warning.at(origin),
        None => warning,
    }
}
