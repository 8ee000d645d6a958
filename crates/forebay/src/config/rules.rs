//! `[rules]`, `[[rules.inline]]` and `[rule."NAME"]`: the rules with the settings that AWS's document has no place for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_core::{AckMode, OnFull, Ordering};
use forebay_rules::{
    DocumentError, RuleDocument, RuleError, RuleLimits, RuleSet, RuleSettings, SelectStar,
};
use serde_json::json;

use super::kinesis::ORDERINGS;
use super::layers::list_files;
use super::limits::Limits;
use super::memory::ON_FULL;
use super::process::ACK_MODES;
use super::raw::{RawEntry, RawKind, RawTable, RawValue};
use super::section::{Section, Written};
use crate::diagnostics::{Code, Diagnostic, Origin, Report, Severity, Source, nearest};

/// `[rules]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `dir`: documents in AWS's form, one per file, the file named after the rule. Default `rules.d`.
    pub dir: PathBuf,
    /// `max_per_message`: rules that run for one message, 1 to 1 000. Default 100.
    pub max_per_message: u32,
}

/// A rule given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLineRule {
    /// Its stream, which may be a template.
    pub stream: String,
    /// Its statement.
    pub sql: String,
    /// Its partition key, which may be a template.
    pub partition_key: String,
}

/// The name of the rule of the command line.
const COMMAND_LINE_RULE: &str = "command_line";
/// The dialect of statements typed on the command line: the one that AWS's console fills in.
pub const COMMAND_LINE_SQL_VERSION: &str = "2016-03-23";

/// What a rule inherits where it says nothing.
pub(super) struct Inherited<'a> {
    pub on_full: OnFull,
    pub on_full_origin: Option<&'a Origin>,
    /// The acknowledgement modes of the listeners, with the place that says so.
    pub acks: Vec<(AckMode, Option<&'a Origin>)>,
}

/// The rules as they are read, before they are compiled.
pub(super) struct ReadRules {
    pub rules: Rules,
    documents: Vec<(RuleDocument, Written<()>)>,
    settings: BTreeMap<String, ReadSettings>,
}

/// `[rule."NAME"]` with the places that later checks point to.
struct ReadSettings {
    key: Origin,
    on_full_origin: Option<Origin>,
    settings: RuleSettings,
}

/// Reads documents of the directory and of the configuration, and the settings.
pub(super) fn read(
    rules: RawTable,
    settings: RawTable,
    command_line: Option<&CommandLineRule>,
    limits: &Limits,
    report: &mut Report,
) -> ReadRules {
    let mut section = Section::new("rules", rules, report);
    let dir = section.path("dir");
    let max_per_message = section
        .integer_u32("max_per_message", 1..=1000)
        .unwrap_or(100);
    let inline = section.take("inline");
    section.finish();

    let mut documents = Vec::new();
    if let Some(value) = inline {
        read_inline(value, &mut documents, report);
    }
    if let Some(rule) = command_line {
        read_command_line(rule, &mut documents, report);
    }
    if let Some(written) = &dir
        && !written.value.exists()
    {
        let title = format!("`rules.dir` does not exist: {}", written.value.display());
        report.push(Diagnostic::warning(Code::Unreadable, title).at(&written.origin));
    }
    let dir = dir.map_or_else(|| PathBuf::from("rules.d"), |written| written.value);
    for path in list_files(&dir, "json", report) {
        read_file(&path, limits, &mut documents, report);
    }
    check_actions(&documents, limits, report);
    ReadRules {
        rules: Rules {
            dir,
            max_per_message,
        },
        documents,
        settings: read_settings(settings, report),
    }
}

impl ReadRules {
    /// Compiles the set. `None` when something is wrong, which is then reported.
    pub(super) fn compile(
        self,
        inherited: &Inherited<'_>,
        limits: RuleLimits,
        report: &mut Report,
    ) -> Option<RuleSet> {
        self.check_settings_have_rules(report);
        let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
        let mut documents = Vec::new();
        let mut settings = self.settings;
        for (document, written) in self.documents {
            let own = settings.remove(&document.name);
            check_drops(&document.name, own.as_ref(), inherited, report);
            origins
                .entry(document.name.clone())
                .or_insert(written.origin);
            documents.push((document, own.map(|own| own.settings).unwrap_or_default()));
        }
        match RuleSet::build(documents, limits) {
            Ok(set) => {
                for rule in set.rules() {
                    for warning in rule.warnings() {
                        report.push(warning_of(rule.name(), &warning.to_string(), &origins));
                    }
                }
                Some(set)
            }
            Err(errors) => {
                for error in &errors {
                    report.push(error_of(error, &origins));
                }
                None
            }
        }
    }

    fn check_settings_have_rules(&self, report: &mut Report) {
        let names: Vec<&str> = self
            .documents
            .iter()
            .map(|(document, _)| document.name.as_str())
            .collect();
        for (name, settings) in &self.settings {
            if names.contains(&name.as_str()) {
                continue;
            }
            let mut diagnostic = Diagnostic::warning(
                Code::SettingsWithoutRule,
                format!("settings for rule {name:?}, which does not exist"),
            )
            .at(&settings.key);
            if let Some(meant) = nearest(name, names.iter().copied()) {
                diagnostic = diagnostic.label(format!("did you mean {meant:?}?"));
            }
            report.push(diagnostic);
        }
    }
}

fn read_inline(
    value: RawValue,
    documents: &mut Vec<(RuleDocument, Written<()>)>,
    report: &mut Report,
) {
    let RawKind::Array(items) = value.kind else {
        Section::new("rules", RawTable::new(), report).wrong_type(
            "inline",
            &value,
            "a list of tables: [[rules.inline]]",
        );
        return;
    };
    for item in items {
        let mut section = Section::new("rules", RawTable::new(), report);
        let origin = item.origin.clone();
        let Some(table) = section.expect_table("inline", item) else {
            continue;
        };
        if let Some(document) = read_inline_rule(table, &origin, report) {
            documents.push(document);
        }
    }
}

/// One `[[rules.inline]]`, turned into the document that AWS's API would take, so that the same checks judge it.
fn read_inline_rule(
    table: RawTable,
    item: &Origin,
    report: &mut Report,
) -> Option<(RuleDocument, Written<()>)> {
    let errors_before = report.errors();
    let mut section = Section::new("rules.inline", table, report);
    let name = section.string("name");
    let sql = section.string("sql");
    for (key, missing) in [("name", name.is_none()), ("sql", sql.is_none())] {
        if missing && section.report().errors() == errors_before {
            section.report().push(
                Diagnostic::error(Code::Missing, format!("`rules.inline` has no `{key}`")).at(item),
            );
        }
    }
    let version = section.word("sql_version", &["2015-10-08", "2016-03-23", "beta"]);
    let enabled = section.boolean("enabled").unwrap_or(true);
    let description = section.string("description");
    let action = section.take("action");
    let actions = section.take("actions");
    section.finish();
    let actions = match (action, actions) {
        (Some(action), None) => vec![action],
        (
            None,
            Some(RawValue {
                kind: RawKind::Array(actions),
                ..
            }),
        ) => actions,
        (None, None) => Vec::new(),
        (None, Some(other)) => {
            Section::new("rules.inline", RawTable::new(), report).wrong_type(
                "actions",
                &other,
                "a list of tables",
            );
            Vec::new()
        }
        (Some(_), Some(both)) => {
            report.push(
                Diagnostic::error(Code::Duplicate, "`action` and `actions` in one rule")
                    .at(&both.origin)
                    .label("write one of them"),
            );
            Vec::new()
        }
    };
    let actions: Vec<serde_json::Value> = actions
        .into_iter()
        .filter_map(|action| read_inline_action(action, report))
        .collect();
    let (name, sql) = (name?, sql?);
    if report.errors() > errors_before {
        return None;
    }
    let document = json!({
        "sql": sql.value,
        "awsIotSqlVersion": version.map(|written| written.value),
        "ruleDisabled": !enabled,
        "description": description.map(|written| written.value),
        "actions": actions,
    });
    match RuleDocument::from_json(document.to_string().as_bytes(), Some(&name.value)) {
        Ok(document) => Some((
            document,
            Written {
                value: (),
                origin: sql.origin,
            },
        )),
        Err(error) => {
            report.push(document_error(&error).at(&name.origin));
            None
        }
    }
}

/// `{ kinesis = { stream_name = …, partition_key = …, role_arn = … } }`.
fn read_inline_action(value: RawValue, report: &mut Report) -> Option<serde_json::Value> {
    let origin = value.origin.clone();
    let mut section = Section::new("rules.inline", RawTable::new(), report);
    let table = section.expect_table("action", value)?;
    let mut section = Section::new("rules.inline.action", table, report);
    let Some(kinesis) = section.take("kinesis") else {
        section.finish();
        report.push(
            Diagnostic::error(Code::Missing, "an action has no `kinesis`")
                .at(&origin)
                .label("write kinesis = { stream_name = …, partition_key = … }"),
        );
        return None;
    };
    let kinesis = section.expect_table("kinesis", kinesis);
    section.finish();
    let mut section = Section::new("rules.inline.action.kinesis", kinesis?, report);
    let stream_name = section.string("stream_name");
    let partition_key = section.string("partition_key");
    let role_arn = section.string("role_arn");
    if stream_name.is_none() {
        section.report().push(
            Diagnostic::error(Code::Missing, "a kinesis action has no `stream_name`").at(&origin),
        );
    }
    section.finish();
    Some(json!({ "kinesis": {
        "streamName": stream_name?.value,
        "partitionKey": partition_key.map(|written| written.value),
        "roleArn": role_arn.map_or_else(String::new, |written| written.value),
    }}))
}

fn read_command_line(
    rule: &CommandLineRule,
    documents: &mut Vec<(RuleDocument, Written<()>)>,
    report: &mut Report,
) {
    let document = json!({
        "sql": rule.sql,
        "awsIotSqlVersion": COMMAND_LINE_SQL_VERSION,
        "actions": [{ "kinesis": {
            "streamName": rule.stream,
            "partitionKey": rule.partition_key,
            "roleArn": "",
        }}],
    });
    let origin = named_place("--rule", &rule.sql);
    match RuleDocument::from_json(document.to_string().as_bytes(), Some(COMMAND_LINE_RULE)) {
        Ok(document) => documents.push((document, Written { value: (), origin })),
        Err(error) => report.push(document_error(&error).at(&origin)),
    }
}

fn read_file(
    path: &Path,
    limits: &Limits,
    documents: &mut Vec<(RuleDocument, Written<()>)>,
    report: &mut Report,
) {
    match read_document(path, limits.rule_document_bytes) {
        Ok(document) => {
            let origin = named_place(&path.display().to_string(), "");
            documents.push((document, Written { value: (), origin }));
        }
        Err(diagnostic) => report.push(*diagnostic),
    }
}

/// Reads one rule document; the stem of its file is the rule's name.
pub(crate) fn read_document(path: &Path, bytes_max: u64) -> Result<RuleDocument, Box<Diagnostic>> {
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
    RuleDocument::from_json(&bytes, Some(stem)).map_err(|error| {
        let origin = match &error {
            DocumentError::Json { line, column, .. } => json_place(&name, &bytes, *line, *column),
            _ => named_place(&name, ""),
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

/// A place that has a name and, for a text of one line, its words.
fn named_place(name: &str, text: &str) -> Origin {
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

fn document_error(error: &DocumentError) -> Diagnostic {
    let diagnostic = Diagnostic::with_code(error.code(), Severity::Error, error.to_string());
    match error.help() {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

fn check_actions(documents: &[(RuleDocument, Written<()>)], limits: &Limits, report: &mut Report) {
    let max = limits.actions_per_rule as usize;
    for (document, written) in documents {
        if document.actions.len() > max {
            report.push(
                Diagnostic::error(
                    Code::Rule,
                    format!(
                        "rule {} has {} actions",
                        document.name,
                        document.actions.len()
                    ),
                )
                .at(&written.origin)
                .help(format!("`limits.actions_per_rule` is {max}")),
            );
        }
        if document.actions.is_empty() && document.error_action.is_none() {
            report.push(
                Diagnostic::warning(
                    Code::NoAction,
                    format!("rule {} has no action", document.name),
                )
                .at(&written.origin),
            );
        }
    }
}

fn read_settings(table: RawTable, report: &mut Report) -> BTreeMap<String, ReadSettings> {
    let entries = Section::new("rule", table, report).take_all();
    entries
        .into_iter()
        .filter_map(|(name, entry)| {
            let RawEntry { key, value } = entry;
            let table = Section::new("rule", RawTable::new(), report).expect_table(&name, value)?;
            let settings = read_rule_settings(&name, table, key, report);
            Some((name, settings))
        })
        .collect()
}

fn read_rule_settings(
    name: &str,
    table: RawTable,
    key: Origin,
    report: &mut Report,
) -> ReadSettings {
    let mut section = Section::new(format!("rule.{name}"), table, report);
    let on_full = section.choice::<OnFull>("on_full", &ON_FULL);
    let settings = RuleSettings {
        ack: section
            .choice::<AckMode>("ack", &ACK_MODES)
            .map(|written| written.value),
        on_full: on_full.as_ref().map(|written| written.value),
        ordering: section
            .choice::<Ordering>("ordering", &ORDERINGS)
            .map(|written| written.value),
        explicit_hash_key: section
            .string("explicit_hash_key")
            .map(|written| written.value),
        select_star: match section.word("select_star", &["verbatim", "compact"]) {
            Some(written) if written.value == "compact" => SelectStar::Compact,
            _ => SelectStar::Verbatim,
        },
    };
    section.finish();
    ReadSettings {
        key,
        on_full_origin: on_full.map(|written| written.origin),
        settings,
    }
}

/// A policy that loses records is legal only where nothing was promised. A rule that says both itself is judged with
/// the rule; here it is what it inherits.
fn check_drops(
    name: &str,
    own: Option<&ReadSettings>,
    inherited: &Inherited<'_>,
    report: &mut Report,
) {
    let own_policy = own.and_then(|own| own.settings.on_full);
    let own_ack = own.and_then(|own| own.settings.ack);
    let policy = own_policy.unwrap_or(inherited.on_full);
    if !policy.drops() || (own_policy.is_some() && own_ack.is_some()) {
        return;
    }
    let promise = match own_ack {
        Some(ack) => (ack == AckMode::Stored).then_some("the rule"),
        None => inherited
            .acks
            .iter()
            .any(|(ack, _)| *ack == AckMode::Stored)
            .then_some("a listener"),
    };
    let Some(who) = promise else {
        return;
    };
    let mut diagnostic = Diagnostic::error(
        Code::DropWithoutAccept,
        format!(
            "rule {name}: on_full = \"{policy}\" loses records, and {who} has ack = \"stored\""
        ),
    )
    .help("set ack = \"accept\" for the rule, or on_full = \"block\" or \"reject\"");
    let place = own
        .and_then(|own| own.on_full_origin.as_ref())
        .or(inherited.on_full_origin);
    if let Some(origin) = place {
        diagnostic = diagnostic.at(origin);
    }
    report.push(diagnostic);
}

/// Shows an error of the compiled set at the place where its text is written.
fn error_of(error: &RuleError, origins: &BTreeMap<String, Origin>) -> Diagnostic {
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

fn warning_of(rule: &str, text: &str, origins: &BTreeMap<String, Origin>) -> Diagnostic {
    let warning = Diagnostic::warning(Code::Rule, format!("rule {rule}: {text}"));
    match origins.get(rule) {
        Some(origin) => warning.at(origin),
        None => warning,
    }
}
