//! What the user wrote, before anybody asked what it means: a tree of TOML values in which each key and each value
//! knows where it comes from.
//!
//! The usual way, a serde struct that denies unknown fields, stops at the first mistake and forgets which of several
//! merged files a value came from. Here all layers are merged first, and everything that is wrong is reported at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Code, Diagnostic, Origin, Report, Source};

/// Keys of a table in alphabetical order, so that errors come in the same order in each run.
pub(super) type RawTable = BTreeMap<String, RawEntry>;

/// One key with its value.
#[derive(Debug, Clone)]
pub(super) struct RawEntry {
    /// Where the key is written.
    pub key: Origin,
    /// What it is set to.
    pub value: RawValue,
}

/// A value and where it is written.
#[derive(Debug, Clone)]
pub(super) struct RawValue {
    pub origin: Origin,
    pub kind: RawKind,
}

/// The types of TOML.
#[derive(Debug, Clone)]
pub(super) enum RawKind {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or time: no key takes one.
    Datetime,
    Array(Vec<RawValue>),
    Table(RawTable),
}

impl RawValue {
    /// The type in words, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self.kind {
            RawKind::String(_) => "a string",
            RawKind::Integer(_) => "an integer",
            RawKind::Float(_) => "a number",
            RawKind::Boolean(_) => "a boolean",
            RawKind::Datetime => "a date",
            RawKind::Array(_) => "a list",
            RawKind::Table(_) => "a table",
        }
    }
}

/// Reads a TOML document. What is not TOML is reported; the rest is read all the same, so that one forgotten quote does
/// not hide the other mistakes.
pub(super) fn parse_document(source: &Arc<Source>, report: &mut Report) -> RawTable {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        report.push(syntax_error(source, error, 0));
    }
    if !errors.is_empty() {
        // What recovery made of a broken text is a guess; judging guesses would blame the user for them.
        return RawTable::new();
    }
    convert_table(source, table.get_ref(), 0, report)
}

/// Reads one value of the environment or of `--set`, written at `span` of its source: as TOML, as a plain string
/// where that fails.
pub(super) fn parse_value(
    source: &Arc<Source>,
    span: Range<usize>,
    report: &mut Report,
) -> RawValue {
    let untrimmed = source.text.get(span.clone()).unwrap_or_default();
    let text = untrimmed.trim();
    let start = span.start + (untrimmed.len() - untrimmed.trim_start().len());
    let span = start..start + text.len();
    match DeValue::parse(text) {
        Ok(value) => convert_value(source, &value, span.start, report),
        Err(_) => RawValue {
            origin: Origin {
                source: source.clone(),
                span,
            },
            kind: RawKind::String(text.to_owned()),
        },
    }
}

/// Reads a dotted key such as `rule."Line-1".ack`, which starts `source`, and gives it `value`.
pub(super) fn dotted(
    source: &Arc<Source>,
    key_text: &str,
    value: RawValue,
    report: &mut Report,
) -> Option<RawTable> {
    let document = format!("{key_text} = 0");
    let parsed = match DeTable::parse(&document) {
        Ok(parsed) => parsed,
        Err(error) => {
            report.push(syntax_error(source, &error, 0));
            return None;
        }
    };
    let mut path = Vec::new();
    let mut table = parsed.get_ref();
    while let Some((key, inner)) = table.iter().next() {
        path.push((key.get_ref().to_string(), key.span()));
        match inner.get_ref() {
            DeValue::Table(next) => table = next,
            _ => break,
        }
    }
    nest(source, path, value)
}

/// A table that holds `value` at the end of `path`.
pub(super) fn nest(
    source: &Arc<Source>,
    path: Vec<(String, Range<usize>)>,
    value: RawValue,
) -> Option<RawTable> {
    let mut result: Option<RawTable> = None;
    let mut inner = Some(value);
    for (name, span) in path.into_iter().rev() {
        let key = Origin {
            source: source.clone(),
            span,
        };
        let value = match (inner.take(), result.take()) {
            (Some(value), _) => value,
            (None, Some(table)) => RawValue {
                origin: key.clone(),
                kind: RawKind::Table(table),
            },
            (None, None) => return None,
        };
        result = Some(RawTable::from([(name, RawEntry { key, value })]));
    }
    result
}

/// Lays `upper` over `lower`: tables merge key by key, everything else is replaced.
pub(super) fn merge(lower: &mut RawTable, upper: RawTable) {
    for (name, entry) in upper {
        match lower.get_mut(&name) {
            Some(existing) => match (&mut existing.value.kind, entry.value.kind) {
                (RawKind::Table(below), RawKind::Table(above)) => merge(below, above),
                (_, kind) => {
                    existing.key = entry.key;
                    existing.value = RawValue {
                        origin: entry.value.origin,
                        kind,
                    };
                }
            },
            None => {
                lower.insert(name, entry);
            }
        }
    }
}

/// Every key that is set, by its dotted name, with its value as text: what two readings of a configuration are compared
/// by. A list counts as one value.
pub(super) fn written(table: &RawTable) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(table, "", &mut found);
    found
}

fn collect(table: &RawTable, path: &str, found: &mut BTreeMap<String, String>) {
    for (key, entry) in table {
        let name = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        match &entry.value.kind {
            RawKind::Table(inner) => collect(inner, &name, found),
            kind => drop(found.insert(name, value_text(kind))),
        }
    }
}

fn value_text(kind: &RawKind) -> String {
    match kind {
        RawKind::String(text) => format!("{text:?}"),
        RawKind::Integer(number) => number.to_string(),
        RawKind::Float(number) => number.to_string(),
        RawKind::Boolean(value) => value.to_string(),
        RawKind::Datetime => "a date".to_owned(),
        RawKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| value_text(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        RawKind::Table(table) => {
            let members: Vec<String> = table
                .iter()
                .map(|(key, entry)| format!("{key} = {}", value_text(&entry.value.kind)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

/// A source for a text that is no file.
pub(super) fn text_source(name: &str, text: String) -> Arc<Source> {
    Arc::new(Source {
        name: name.to_owned(),
        text,
        base: PathBuf::new(),
        inline: true,
    })
}

fn convert_table(
    source: &Arc<Source>,
    table: &DeTable<'_>,
    offset: usize,
    report: &mut Report,
) -> RawTable {
    table
        .iter()
        .map(|(key, value)| {
            let entry = RawEntry {
                key: origin(source, key.span(), offset),
                value: convert_value(source, value, offset, report),
            };
            (key.get_ref().to_string(), entry)
        })
        .collect()
}

fn convert_value(
    source: &Arc<Source>,
    value: &Spanned<DeValue<'_>>,
    offset: usize,
    report: &mut Report,
) -> RawValue {
    let origin = origin(source, value.span(), offset);
    let kind = match value.get_ref() {
        DeValue::String(text) => RawKind::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => RawKind::Integer(number),
            Err(_) => {
                report.push(
                    Diagnostic::error(Code::OutOfRange, "integer out of range")
                        .at(&origin)
                        .label("an integer has 64 bits"),
                );
                RawKind::Integer(i64::MAX)
            }
        },
        DeValue::Float(number) => RawKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => RawKind::Boolean(*value),
        DeValue::Datetime(_) => RawKind::Datetime,
        DeValue::Array(items) => RawKind::Array(
            items
                .iter()
                .map(|item| convert_value(source, item, offset, report))
                .collect(),
        ),
        DeValue::Table(table) => RawKind::Table(convert_table(source, table, offset, report)),
    };
    RawValue { origin, kind }
}

fn origin(source: &Arc<Source>, span: Range<usize>, offset: usize) -> Origin {
    Origin {
        source: source.clone(),
        span: span.start + offset..span.end + offset,
    }
}

fn syntax_error(source: &Arc<Source>, error: &toml::de::Error, offset: usize) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    Diagnostic::error(Code::Syntax, format!("not TOML: {}", error.message()))
        .at(&origin(source, span, offset))
}
