//! Rule documents that are named on the command line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_rules::{Environment, RuleDocument, RuleError, RuleLimits, RuleSet, RuleSettings};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::config::{parse_document, read_document, text_error};
use crate::diagnostics::{Code, Diagnostic, Origin, Report, Severity, Source};

/// Standard input, as a file name.
const STANDARD_INPUT: &str = "-";
/// What standard input is called, and a rule on it that has no name.
const STANDARD_INPUT_NAME: &str = "stdin";

/// A file or standard input, as it is.
pub(super) fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new(STANDARD_INPUT) {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| {
        Failure::new(
            Exit::InputOutput,
            format!("{} cannot be read: {error}", path.display()),
        )
    })
}

/// The files of a directory with one of these extensions, in the order of their names.
pub(super) fn files_in(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        let message = format!("{} cannot be read: {error}", directory.display());
        Failure::new(Exit::InputOutput, message)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|found| extensions.contains(&found)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The documents that a path stands for: itself, or the `*.json` of a directory.
pub(super) fn documents_at(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path.is_dir() {
        files_in(path, &["json"])
    } else {
        Ok(vec![path.to_owned()])
    }
}

/// What a document on the command line is called in messages.
pub(super) fn shown_name(path: &Path) -> String {
    if path == Path::new(STANDARD_INPUT) {
        STANDARD_INPUT_NAME.to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a document. The stem of its file is the rule's name; a document on standard input may name its rule itself.
pub(super) fn read(path: &Path) -> Result<RuleDocument, Box<Diagnostic>> {
    if path != Path::new(STANDARD_INPUT) {
        return read_document(path, forebay_core::limits::RULE_DOCUMENT_BYTES_MAX as u64);
    }
    let bytes = read_input(path)
        .map_err(|failure| Box::new(Diagnostic::error(Code::Unreadable, failure.message)))?;
    match RuleDocument::from_json(&bytes, None) {
        Err(forebay_rules::DocumentError::NoName) => {
            parse_document(STANDARD_INPUT_NAME, &bytes, Some(STANDARD_INPUT_NAME))
        }
        _ => parse_document(STANDARD_INPUT_NAME, &bytes, None),
    }
}

/// Compiles a rule alone. What is wrong with it goes to the report, each text under the name that `name_of` gives to
/// its member of the document.
pub(super) fn compile(
    document: RuleDocument,
    settings: RuleSettings,
    environment: &Environment,
    report: &mut Report,
    name_of: impl Fn(&str) -> String,
) -> Option<RuleSet> {
    let rules = vec![(document, settings)];
    let errors = match RuleSet::build_in(rules, RuleLimits::default(), environment.clone()) {
        Ok(rules) => return Some(rules),
        Err(errors) => errors,
    };
    for error in &errors {
        report.push(match error {
            RuleError::Text {
                field,
                text,
                diagnostic,
                ..
            } => text_error(text, diagnostic, &inline(name_of(field), text)),
            other => Diagnostic::with_code(other.code(), Severity::Error, other.to_string()),
        });
    }
    None
}

/// A text of one line inside something larger.
pub(super) fn inline(name: String, text: &str) -> Origin {
    Origin {
        source: Arc::new(Source {
            name,
            text: text.to_owned(),
            base: PathBuf::new(),
            inline: true,
        }),
        span: 0..text.len(),
    }
}

/// Shows a report of documents that cannot be used; the exit code tells a missing file from a wrong one.
pub(super) fn refuse(report: &Report) -> Failure {
    output::report(report);
    Failure::silent(exit_of(report))
}

/// What a command ends with after these diagnostics.
pub(super) fn exit_of(report: &Report) -> Exit {
    let mut errors = report
        .entries()
        .iter()
        .filter(|entry| entry.severity == Severity::Error)
        .peekable();
    if errors.peek().is_none() {
        Exit::Done
    } else if errors.all(|entry| entry.code == Code::Unreadable.as_str()) {
        Exit::InputOutput
    } else {
        Exit::Data
    }
}
