//! `rule validate`: everything that loading a rule would find, without a configuration.

use std::path::Path;

use forebay_rules::{Environment, RuleDocument, RuleSettings, RuleWarning};
use serde_json::{Value, json};

use super::args::ValidateArguments;
use super::documents::{self, documents_at, exit_of, inline, shown_name};
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::config::text_error;
use crate::diagnostics::{Code, Diagnostic, Report, Severity, as_json};

/// Runs the command.
pub(super) fn run(arguments: &ValidateArguments) -> Outcome {
    let mut report = Report::default();
    let mut results = Vec::new();
    for named in &arguments.files {
        for path in documents_at(named)? {
            results.push(Checked::of(&path, &mut report));
        }
    }
    output::report(&report);
    if arguments.json {
        let files: Vec<Value> = results.iter().map(Checked::as_json).collect();
        output::json(&json!({ "files": files, "diagnostics": as_json(&report) }))?;
    } else {
        for checked in &results {
            output::line(&checked.as_text())?;
        }
    }
    Ok(exit_of(&report))
}

/// What became of one document.
struct Checked {
    file: String,
    rule: Option<String>,
    errors: usize,
    warnings: usize,
}

impl Checked {
    fn of(path: &Path, report: &mut Report) -> Self {
        let file = shown_name(path);
        let (errors, warnings) = (report.errors(), report.warnings());
        let rule = match documents::read(path) {
            Ok(document) => {
                let name = document.name.clone();
                check(&file, document, report);
                Some(name)
            }
            Err(diagnostic) => {
                report.push(*diagnostic);
                None
            }
        };
        Self {
            file,
            rule,
            errors: report.errors() - errors,
            warnings: report.warnings() - warnings,
        }
    }

    fn as_text(&self) -> String {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let verdict = if self.errors > 0 {
            format!("not valid, {} error{}", self.errors, plural(self.errors))
        } else {
            "valid".to_owned()
        };
        let rule = self.rule.as_ref().map(|rule| format!("rule {rule}, "));
        let warnings = match self.warnings {
            0 => String::new(),
            count => format!(", {count} warning{}", plural(count)),
        };
        let rule = rule.unwrap_or_default();
        format!("{}: {rule}{verdict}{warnings}", self.file)
    }

    fn as_json(&self) -> Value {
        json!({
            "file": self.file,
            "rule": self.rule,
            "valid": self.errors == 0,
            "errors": self.errors,
            "warnings": self.warnings,
        })
    }
}

/// Compiles the rule; errors and warnings go to the report.
fn check(file: &str, document: RuleDocument, report: &mut Report) {
    let name_of = |field: &str| format!("{file}: {field}");
    if document.actions.is_empty() && document.error_action.is_none() {
        let title = format!("rule {} has no action", document.name);
        let place = inline(file.to_owned(), "");
        report.push(Diagnostic::warning(Code::NoAction, title).at(&place));
    }
    let settings = RuleSettings::default();
    let Some(rules) =
        documents::compile(document, settings, &Environment::DEFAULT, report, name_of)
    else {
        return;
    };
    for rule in rules.rules() {
        for warning in rule.warnings() {
            report.push(warning_of(file, rule.document(), warning));
        }
    }
}

/// Shows a warning at its place: in the text that it is about, else in the file.
fn warning_of(file: &str, document: &RuleDocument, warning: &RuleWarning) -> Diagnostic {
    if let RuleWarning::Text { field, diagnostic } = warning
        && let Some(text) = text_of(document, field)
    {
        let place = inline(format!("{file}: {field}"), text);
        return Diagnostic {
            severity: Severity::Warning,
            ..text_error(text, diagnostic, &place)
        };
    }
    Diagnostic::warning(Code::Rule, warning.to_string()).at(&inline(file.to_owned(), ""))
}

/// The text of a member that holds SQL.
fn text_of<'a>(document: &'a RuleDocument, field: &str) -> Option<&'a str> {
    if field == "sql" {
        return Some(&document.sql);
    }
    let mut templates = document.templates().into_iter();
    templates.find_map(|(name, text)| (name == field).then_some(text))
}
