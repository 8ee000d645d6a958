//! How a diagnostic looks on a terminal and as JSON.

use annotate_snippets::{AnnotationKind, Element, Level, Origin as Place, Renderer, Snippet};
use serde_json::{Value, json};

use super::{Diagnostic, Origin, Report, Severity};

/// With or without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences.
    Plain,
    /// For a terminal.
    Coloured,
}

/// Everything in the report, one block per entry, with a blank line between them and a line break at the end.
pub fn render(report: &Report, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    let mut out = String::new();
    for (index, diagnostic) in report.entries().iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        out.push_str(&render_one(&renderer, diagnostic));
        out.push('\n');
    }
    out
}

fn render_one(renderer: &Renderer, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut elements: Vec<Element<'_>> = Vec::new();
    if let Some(origin) = &diagnostic.origin {
        push_place(&mut elements, origin, &diagnostic.label);
    }
    for help in &diagnostic.help {
        elements.push(Level::HELP.message(help.as_str()).into());
    }
    let group = level
        .primary_title(diagnostic.title.as_str())
        .id(diagnostic.code)
        .elements(elements);
    let rendered = renderer.render(&[group]);
    match diagnostic.origin.as_ref().filter(|o| o.source.inline) {
        Some(origin) => {
            let (line, column) = origin.line_and_column();
            let name = &origin.source.name;
            // A line number means nothing in a text of one line inside something larger.
            rendered.replacen(
                &format!("{name}:{line}:{column}"),
                &format!("{name}, column {column}"),
                usize::from(line == 1),
            )
        }
        None => rendered,
    }
}

fn push_place<'a>(elements: &mut Vec<Element<'a>>, origin: &'a Origin, label: &'a str) {
    let source = &origin.source;
    if source.text.is_empty() {
        elements.push(Place::path(source.name.as_str()).into());
        return;
    }
    let start = origin.span.start.min(source.text.len());
    let end = origin.span.end.clamp(start, source.text.len());
    let mut annotation = AnnotationKind::Primary.span(start..end);
    if !label.is_empty() {
        annotation = annotation.label(label);
    }
    let snippet = Snippet::source(source.text.as_str()).annotation(annotation);
    elements.push(snippet.path(source.name.as_str()).into());
}

/// The report as one JSON array: `code`, `severity`, `message`, `file`, `line`, `column`, `text`, `label`, `help`.
pub fn as_json(report: &Report) -> Value {
    report
        .entries()
        .iter()
        .map(|diagnostic| {
            let place = diagnostic.origin.as_ref().map(|origin| {
                let (line, column) = origin.line_and_column();
                (origin.source.name.as_str(), line, column, origin.text())
            });
            json!({
                "code": diagnostic.code,
                "severity": match diagnostic.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "message": diagnostic.title,
                "file": place.map(|(name, ..)| name),
                "line": place.map(|(_, line, ..)| line),
                "column": place.map(|(_, _, column, _)| column),
                "text": place.map(|(.., text)| text),
                "label": diagnostic.label,
                "help": diagnostic.help,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::{Code, Source};
    use super::*;

    fn origin(inline: bool, text: &str, part: &str) -> Origin {
        let start = text.find(part).unwrap();
        Origin {
            source: Arc::new(Source {
                name: if inline {
                    "rules.d/t.json: sql"
                } else {
                    "forebay.toml"
                }
                .into(),
                text: text.into(),
                base: PathBuf::new(),
                inline,
            }),
            span: start..start + part.len(),
        }
    }

    #[test]
    fn a_place_in_a_file_shows_line_and_column() {
        let mut report = Report::default();
        report.push(
            Diagnostic::error(Code::OutOfRange, "`kinesis.linger` is out of range")
                .at(&origin(false, "[kinesis]\nlinger = \"2m\"\n", "\"2m\""))
                .label("allowed: 0s to 60s")
                .help("the default is 10ms"),
        );
        insta::assert_snapshot!(render(&report, Style::Plain));
        assert_eq!(as_json(&report)[0]["line"], 2);
        assert_eq!(as_json(&report)[0]["column"], 10);
    }

    #[test]
    fn a_place_in_a_statement_shows_a_column() {
        let mut report = Report::default();
        let text = "SELECT uper(color) AS c FROM 'dt/#'";
        report.push(
            Diagnostic::with_code("R014", Severity::Error, "unknown function `uper`")
                .at(&origin(true, text, "uper"))
                .label("did you mean `upper`?"),
        );
        insta::assert_snapshot!(render(&report, Style::Plain));
    }
}
