//! What is wrong with a rule, as AWS IoT's API says it.

use forebay_admin::RuleFault;
use forebay_rules::{DocumentError, RuleError};

/// Codes of findings in a statement that are no mistakes of its grammar: a function whose source is not configured, a
/// pattern that cannot be translated.
const NOT_SYNTAX: [&str; 2] = ["R015", "R018"];

/// A document that cannot be read.
pub(super) fn of_document(error: &DocumentError, name: &str) -> RuleFault {
    match error {
        DocumentError::Name { .. } => RuleFault::Invalid(bad_name(name)),
        error => RuleFault::Invalid(with_help(error.to_string(), error.help())),
    }
}

/// The first thing that keeps a set from being compiled.
pub(super) fn of_set(errors: &[RuleError]) -> RuleFault {
    let Some(error) = errors.first() else {
        return RuleFault::Invalid("the rule cannot be compiled".to_owned());
    };
    if let Some(message) = error.aws_message() {
        return RuleFault::Invalid(message);
    }
    match error {
        RuleError::Text {
            field,
            text,
            diagnostic,
            ..
        } => {
            let message = with_help(
                format!(
                    "{}: {}",
                    place(field, text, diagnostic.span.start),
                    diagnostic.message
                ),
                diagnostic.help.as_ref().map(ToString::to_string),
            );
            let is_syntax = !NOT_SYNTAX.contains(&diagnostic.code.as_str());
            match field == "sql" && is_syntax {
                true => RuleFault::Sql(message),
                false => RuleFault::Invalid(message),
            }
        }
        RuleError::TooMany { .. } => RuleFault::Limit(error.to_string()),
        error => RuleFault::Invalid(error.to_string()),
    }
}

/// `sql, line 1, column 8`.
fn place(field: &str, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    format!("{field}, line {line}, column {column}")
}

fn with_help(message: String, help: Option<String>) -> String {
    match help {
        Some(help) => format!("{message} ({help})"),
        None => message,
    }
}

/// A name that no rule can have, in AWS's words.
fn bad_name(name: &str) -> String {
    forebay_admin::bad_rule_name(name)
}
