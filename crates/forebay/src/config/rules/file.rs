//! `rules.d/NAME.json`: documents in AWS's form.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_rules::{DocumentError, RuleDocument};

use super::show::{document_error, named_place};
use super::{Located, SourceRule};
use crate::config::limits::Limits;
use crate::diagnostics::{Code, Diagnostic, Origin, Report, Source};

/// Reads one file into the list.
pub(super) fn read(
    path: &Path,
    limits: &Limits,
    documents: &mut Vec<Located>,
    report: &mut Report,
) {
    match read_rule(path, limits.rule_document_bytes) {
        Ok(rule) => {
            let origin = named_place(&path.display().to_string(), "");
            documents.push(Located { rule, origin });
        }
        Err(diagnostic) => report.push(*diagnostic),
    }
}

/// Reads one rule document; the stem of its file is the rule's name.
pub(crate) fn read_document(path: &Path, bytes_max: u64) -> Result<RuleDocument, Box<Diagnostic>> {
    read_rule(path, bytes_max).map(|rule| rule.document)
}

/// The same, with the payload as it is written.
pub(crate) fn read_rule(path: &Path, bytes_max: u64) -> Result<SourceRule, Box<Diagnostic>> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        Box::new(Diagnostic::error(
            Code::Unreadable,
            format!("{name} cannot be read: {error}"),
        ))
    })?;
    if bytes.len() as u64 > bytes_max {
        let title = format!(
            "rule document too large: {} > {bytes_max} bytes",
            bytes.len()
        );
        return Err(Box::new(
            Diagnostic::error(Code::Rule, title)
                .at(&named_place(&name, ""))
                .help("the limit is `limits.rule_document_bytes`"),
        ));
    }
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let document = parse_document(&name, &bytes, Some(stem))?;
    let payload = RuleDocument::payload(&bytes)
        .map_err(|error| Box::new(document_error(&error).at(&named_place(&name, ""))))?;
    Ok(SourceRule {
        document,
        payload,
        stored: true,
    })
}

/// Reads the bytes of one rule document, which messages call `source`. `name` is the name under which it is stored;
/// without it the document must name the rule.
pub(crate) fn parse_document(
    source: &str,
    bytes: &[u8],
    name: Option<&str>,
) -> Result<RuleDocument, Box<Diagnostic>> {
    RuleDocument::from_json(bytes, name).map_err(|error| {
        let origin = match &error {
            DocumentError::Json { line, column, .. } => json_place(source, bytes, *line, *column),
            _ => match error.place(bytes) {
                Some(span) => Origin {
                    source: Arc::new(Source {
                        name: source.to_owned(),
                        text: String::from_utf8_lossy(bytes).into_owned(),
                        base: PathBuf::new(),
                        inline: false,
                    }),
                    span,
                },
                None => named_place(source, ""),
            },
        };
        Box::new(document_error(&error).at(&origin))
    })
}

/// The place of a parser's line and column in a JSON file.
fn json_place(name: &str, bytes: &[u8], line: usize, column: usize) -> Origin {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let line_start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut start = (line_start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let end = text
        .get(start..)
        .and_then(|rest| rest.chars().next())
        .map_or(start, |c| start + c.len_utf8());
    Origin {
        source: Arc::new(Source {
            name: name.to_owned(),
            text,
            base: PathBuf::new(),
            inline: false,
        }),
        span: start..end,
    }
}
