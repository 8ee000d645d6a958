//! `[rules]`, `[[rules.inline]]` and `[rule."NAME"]`: the rules with the settings that AWS's document has no place for.

mod file;
mod inline;
mod inline_action;
mod show;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forebay_core::{AckMode, OnConfigError, OnFull, Ordering};
use forebay_rules::{
    DocumentError, Environment, IntDivision, RuleDocument, RuleLimits, RuleSet, RuleSettings,
    SelectStar,
};
use serde_json::{Value, json};

use super::kinesis::ORDERINGS;
use super::layers::list_files;
use super::limits::Limits;
use super::memory::ON_FULL;
use super::process::ACK_MODES;
use super::raw::{RawEntry, RawTable};
use super::section::Section;
use crate::diagnostics::{Code, Diagnostic, Origin, Report, nearest};
pub(crate) use file::{parse_document, read_document, read_rule};
pub(crate) use show::text_error;
use show::{document_error, error_of, named_place, warning_of};
use sources::loses;
pub use sources::{RuleSources, SourceRule};

/// `[rules]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `dir`: documents in AWS's form, one per file, the file named after the rule. Default `rules.d` beside the
    /// configuration file.
    pub dir: PathBuf,
    /// `max_per_message`: rules that run for one message, 1 to 1 000. Default 100.
    pub max_per_message: u32,
    /// `account_id`: what `accountid()` gives, 12 digits. Default twelve zeros.
    pub account_id: String,
    /// `int_division`: what Int / Int gives, `int` (truncated, AWS's table) or `decimal` (exact). Default `int`.
    pub int_division: IntDivision,
}

/// The account of rules whose configuration names none.
const ACCOUNT_ID: &str = "000000000000";
const INT_DIVISIONS: [&str; 2] = ["int", "decimal"];
/// The answers to a stream, role or key that AWS refuses.
const ON_CONFIG_ERRORS: [&str; 2] = ["hold", "error_action"];

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
    documents: Vec<Located>,
    settings: BTreeMap<String, ReadSettings>,
}

/// A document and the place that stands for it in messages: its file, or its statement in the configuration.
struct Located {
    rule: SourceRule,
    origin: Origin,
}

/// `[rule."NAME"]` with the places that later checks point to.
struct ReadSettings {
    key: Origin,
    on_full_origin: Option<Origin>,
    settings: RuleSettings,
}

/// Reads documents of the directory and of the configuration, and the settings. `beside` is the directory of the
/// configuration file.
pub(super) fn read(
    rules: RawTable,
    settings: RawTable,
    command_line: Option<&CommandLineRule>,
    beside: &Path,
    limits: &Limits,
    report: &mut Report,
) -> ReadRules {
    let mut section = Section::new("rules", rules, report);
    let dir = section.path("dir");
    let max_per_message = section
        .integer_u32("max_per_message", 1..=1000)
        .unwrap_or(100);
    let account_id = section.string("account_id").and_then(|written| {
        let is_id = written.value.len() == ACCOUNT_ID.len()
            && written.value.bytes().all(|byte| byte.is_ascii_digit());
        if !is_id {
            section.bad_value("account_id", &written.origin, "an account id is 12 digits");
        }
        is_id.then_some(written.value)
    });
    let int_division = match section.word("int_division", &INT_DIVISIONS) {
        Some(written) if written.value == "decimal" => IntDivision::Decimal,
        _ => IntDivision::Int,
    };
    let inline = section.take("inline");
    section.finish();

    let mut documents = Vec::new();
    if let Some(value) = inline {
        inline::read(value, &mut documents, report);
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
    let dir = dir.map_or_else(|| beside.join("rules.d"), |written| written.value);
    for path in rule_files(&dir, report) {
        file::read(&path, limits, &mut documents, report);
    }
    check_actions(&documents, limits, report);
    ReadRules {
        rules: Rules {
            dir,
            max_per_message,
            account_id: account_id.unwrap_or_else(|| ACCOUNT_ID.to_owned()),
            int_division,
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
        limits: &Limits,
        rule_limits: RuleLimits,
        environment: Environment,
        report: &mut Report,
    ) -> Option<(RuleSet, RuleSources)> {
        self.check_settings_have_rules(report);
        let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
        let mut rules = Vec::new();
        for Located { rule, origin } in self.documents {
            let name = &rule.document.name;
            check_drops(name, self.settings.get(name), inherited, report);
            origins.entry(name.clone()).or_insert(origin);
            rules.push(rule);
        }
        let settings = self.settings.into_iter();
        let sources = RuleSources {
            rules,
            settings: settings.map(|(name, own)| (name, own.settings)).collect(),
            actions_max: limits.actions_per_rule as usize,
            tags_max: limits.tags_per_rule as usize,
            document_bytes_max: limits.rule_document_bytes,
            on_full: inherited.on_full,
            acks: inherited.acks.iter().map(|(ack, _)| *ack).collect(),
            limits: rule_limits,
            environment,
        };
        match sources.compile(sources.rules.iter().map(|rule| &rule.document)) {
            Ok(set) => {
                for rule in set.rules() {
                    for warning in rule.warnings() {
                        report.push(warning_of(rule.name(), &warning.to_string(), &origins));
                    }
                }
                Some((set, sources))
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
            .map(|located| located.rule.document.name.as_str())
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

fn read_command_line(rule: &CommandLineRule, documents: &mut Vec<Located>, report: &mut Report) {
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
    match written_here(&document, COMMAND_LINE_RULE) {
        Ok(rule) => documents.push(Located { rule, origin }),
        Err(error) => report.push(document_error(&error).at(&origin)),
    }
}

/// The documents of a directory of rules, in the order of their names.
pub(crate) fn rule_files(dir: &Path, report: &mut Report) -> Vec<PathBuf> {
    list_files(dir, "json", report)
}

/// A rule that the configuration holds, as the document that AWS's API would take.
fn written_here(document: &Value, name: &str) -> Result<SourceRule, DocumentError> {
    let bytes = document.to_string();
    Ok(SourceRule {
        document: RuleDocument::from_json(bytes.as_bytes(), Some(name))?,
        payload: RuleDocument::payload(bytes.as_bytes())?,
        stored: false,
    })
}

fn check_actions(documents: &[Located], limits: &Limits, report: &mut Report) {
    let max = limits.actions_per_rule as usize;
    for Located { rule, origin } in documents {
        let document = &rule.document;
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
                .at(origin)
                .help(format!("`limits.actions_per_rule` is {max}")),
            );
        }
        if document.actions.is_empty() && document.error_action.is_none() {
            report.push(
                Diagnostic::warning(
                    Code::NoAction,
                    format!("rule {} has no action", document.name),
                )
                .at(origin),
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
        on_config_error: section
            .choice::<OnConfigError>("on_config_error", &ON_CONFIG_ERRORS)
            .map(|written| written.value),
    };
    section.finish();
    ReadSettings {
        key,
        on_full_origin: on_full.map(|written| written.origin),
        settings,
    }
}

/// Reports a policy that loses what was promised, at the place where it is written.
fn check_drops(
    name: &str,
    own: Option<&ReadSettings>,
    inherited: &Inherited<'_>,
    report: &mut Report,
) {
    let settings = own.map(|own| &own.settings);
    let acks = inherited.acks.iter().map(|(ack, _)| *ack);
    let Some(found) = loses(settings, inherited.on_full, acks) else {
        return;
    };
    let mut diagnostic = Diagnostic::error(Code::DropWithoutAccept, found.in_words(name))
        .help("set ack = \"accept\" for the rule, or on_full = \"block\" or \"reject\"");
    let place = own
        .and_then(|own| own.on_full_origin.as_ref())
        .or(inherited.on_full_origin);
    if let Some(origin) = place {
        diagnostic = diagnostic.at(origin);
    }
    report.push(diagnostic);
}
