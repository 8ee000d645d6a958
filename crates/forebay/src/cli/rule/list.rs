//! `rule list`: the rules of a configuration, of a directory of documents, or of a running server.

use std::path::Path;

use forebay_rules::{Action, Environment, RuleDocument, RuleLimits, RuleSet, RuleSettings};
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{ConfigArguments, ListArguments};
use super::documents::{self, files_in};
use crate::cli::admin::{Admin, USUAL_TOKEN};
use crate::cli::block_on;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::config::{self, Config, Inputs, Loaded, Machine};
use crate::diagnostics::Report;

/// Runs the command.
pub(super) fn run(arguments: &ListArguments) -> Outcome {
    match (&arguments.directory, &arguments.admin) {
        (Some(directory), _) => show(&Shown::of_set(&of_directory(directory)?), arguments.json),
        (None, Some(url)) => {
            let token_file = arguments.token_file.as_deref();
            let admin = Admin::named(Some(url), token_file, &[USUAL_TOKEN.into()])?;
            block_on(async {
                let listed: Listed = admin.get("/api/v1/rules").await?;
                show(&listed.into_shown()?, arguments.json)
            })
        }
        (None, None) => show(
            &Shown::of_set(&load(&arguments.config)?.rule_set),
            arguments.json,
        ),
    }
}

/// What a running server tells of its rules.
#[derive(Debug, Deserialize)]
struct Listed {
    rules: Vec<ListedRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedRule {
    name: String,
    topic_pattern: Option<String>,
    payload: Value,
    settings: Value,
    warnings: Vec<String>,
}

impl Listed {
    /// The rules as the server has compiled them.
    fn into_shown(self) -> Result<Vec<Shown>, Failure> {
        let rules = self.rules.into_iter().map(|rule| {
            let payload = rule.payload.to_string();
            let document =
                RuleDocument::from_json(payload.as_bytes(), Some(&rule.name)).map_err(|error| {
                    let message = format!("rule {} cannot be shown: {error}", rule.name);
                    Failure::new(Exit::Data, message)
                })?;
            Ok(Shown {
                document,
                filter: rule.topic_pattern,
                settings: rule.settings,
                warnings: rule.warnings,
            })
        });
        rules.collect()
    }
}

/// One rule in the list.
struct Shown {
    document: RuleDocument,
    filter: Option<String>,
    settings: Value,
    warnings: Vec<String>,
}

impl Shown {
    fn of_set(set: &RuleSet) -> Vec<Self> {
        let rules = set.rules().iter().map(|rule| Self {
            document: rule.document().clone(),
            filter: rule.filter().map(str::to_owned),
            settings: settings_as_json(rule.settings()),
            warnings: rule.warnings().iter().map(ToString::to_string).collect(),
        });
        rules.collect()
    }
}

/// The configuration, which must be valid.
pub(super) fn load(arguments: &ConfigArguments) -> Result<Config, Failure> {
    let inputs = Inputs::of_process(arguments.config.clone(), arguments.set.clone());
    let Loaded { config, report } = config::load(&inputs, None, &Machine::detect());
    config.ok_or_else(|| {
        output::report(&report);
        Failure::silent(Exit::Configuration)
    })
}

fn of_directory(directory: &Path) -> Result<RuleSet, Failure> {
    let mut report = Report::default();
    let mut rules = Vec::new();
    for path in files_in(directory, &["json"])? {
        match documents::read(&path) {
            Ok(document) => rules.push(document),
            Err(diagnostic) => report.push(*diagnostic),
        }
    }
    // Each for itself, so that every text that is wrong is shown under the name of its file.
    for document in &rules {
        let name = directory.join(format!("{}.json", document.name));
        let name_of = |field: &str| format!("{}: {field}", name.display());
        let settings = RuleSettings::default();
        documents::compile(
            document.clone(),
            settings,
            &Environment::DEFAULT,
            &mut report,
            name_of,
        );
    }
    if report.has_errors() {
        return Err(documents::refuse(&report));
    }
    let rules = rules
        .into_iter()
        .map(|document| (document, RuleSettings::default()))
        .collect();
    RuleSet::build(rules, RuleLimits::default()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Data, errors.join("\n"))
    })
}

fn show(rules: &[Shown], as_json: bool) -> Outcome {
    if as_json {
        let rules: Vec<Value> = rules.iter().map(rule_as_json).collect();
        output::json(&json!({ "rules": rules }))?;
    } else {
        output::line(&as_text(rules))?;
    }
    Ok(Exit::Done)
}

fn as_text(rules: &[Shown]) -> String {
    let mut rows = vec![["rule", "state", "version", "topics", "actions"].map(str::to_owned)];
    for Shown {
        document, filter, ..
    } in rules
    {
        rows.push([
            document.name.clone(),
            state(document).to_owned(),
            document.version.to_string(),
            filter.as_deref().unwrap_or("(Basic Ingest)").to_owned(),
            actions(document),
        ]);
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    for rule in rules {
        for warning in &rule.warnings {
            lines.push(format!("note: rule {}: {warning}", rule.document.name));
        }
    }
    lines.join("\n")
}

fn state(document: &RuleDocument) -> &'static str {
    if document.disabled {
        "disabled"
    } else {
        "enabled"
    }
}

fn actions(document: &RuleDocument) -> String {
    let actions: Vec<String> = document.actions.iter().map(action).collect();
    let actions = if actions.is_empty() {
        "none".to_owned()
    } else {
        actions.join(", ")
    };
    match &document.error_action {
        Some(error_action) => format!("{actions}; on failure {}", action(error_action)),
        None => actions,
    }
}

pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Kinesis(action) => format!("kinesis {}", action.stream_name),
        Action::Republish(action) => format!("republish {}", action.topic),
        Action::Unsupported { kind, .. } => format!("{kind} (not run)"),
    }
}

fn rule_as_json(rule: &Shown) -> Value {
    let document = &rule.document;
    let actions: Vec<Value> = document.actions.iter().map(action_as_json).collect();
    json!({
        "name": document.name,
        "enabled": !document.disabled,
        "sql": document.sql,
        "awsIotSqlVersion": document.version.as_str(),
        "filter": rule.filter,
        "description": document.description,
        "actions": actions,
        "errorAction": document.error_action.as_ref().map(action_as_json),
        "settings": rule.settings,
        "warnings": rule.warnings,
    })
}

fn action_as_json(action: &Action) -> Value {
    match action {
        Action::Kinesis(action) => json!({
            "kind": "kinesis",
            "runs": true,
            "streamName": action.stream_name,
            "partitionKey": action.partition_key,
        }),
        Action::Republish(action) => json!({
            "kind": "republish",
            "runs": true,
            "topic": action.topic,
            "qos": action.qos.level(),
        }),
        Action::Unsupported { kind, .. } => json!({ "kind": kind, "runs": false }),
    }
}

/// The settings that say something.
pub(crate) fn settings_as_json(settings: &RuleSettings) -> Value {
    let RuleSettings {
        ack,
        on_full,
        ordering,
        explicit_hash_key,
        select_star,
        on_config_error,
    } = settings;
    let compact = *select_star == forebay_rules::SelectStar::Compact;
    let mut members = serde_json::Map::new();
    for (name, value) in [
        ("ack", ack.map(|ack| ack.to_string())),
        ("on_full", on_full.map(|on_full| on_full.to_string())),
        ("ordering", ordering.map(|ordering| ordering.to_string())),
        ("explicit_hash_key", explicit_hash_key.clone()),
        ("select_star", compact.then(|| "compact".to_owned())),
        (
            "on_config_error",
            on_config_error.map(|answer| answer.to_string()),
        ),
    ] {
        if let Some(value) = value {
            members.insert(name.to_owned(), value.into());
        }
    }
    members.into()
}
