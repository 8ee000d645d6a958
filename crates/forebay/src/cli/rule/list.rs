//! `rule list`: the rules of a configuration, of a directory of documents, or of a running server.

use std::path::Path;

use forebay_rules::{Action, Environment, Rule, RuleDocument, RuleLimits, RuleSet, RuleSettings};
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
        (Some(directory), _) => show(&of_directory(directory)?, arguments.json),
        (None, Some(url)) => {
            let token_file = arguments.token_file.as_deref();
            let admin = Admin::named(Some(url), token_file, &[USUAL_TOKEN.into()])?;
            block_on(async {
                let listed: Listed = admin.get("/api/v1/rules").await?;
                show(&listed.into_set()?, arguments.json)
            })
        }
        (None, None) => show(&load(&arguments.config)?.rule_set, arguments.json),
    }
}

/// What a running server tells of its rules.
#[derive(Debug, Deserialize)]
struct Listed {
    rules: Vec<ListedRule>,
}

#[derive(Debug, Deserialize)]
struct ListedRule {
    name: String,
    payload: Value,
}

impl Listed {
    /// The rules as they are compiled here, without the settings and sources of the server, which lists do not show.
    fn into_set(self) -> Result<RuleSet, Failure> {
        let unusable = |name: &str, error: &dyn std::fmt::Display| {
            Failure::new(Exit::Data, format!("rule {name} cannot be shown: {error}"))
        };
        let mut rules = Vec::new();
        for ListedRule { name, payload } in self.rules {
            let document = RuleDocument::from_json(payload.to_string().as_bytes(), Some(&name))
                .map_err(|error| unusable(&name, &error))?;
            rules.push((document, RuleSettings::default()));
        }
        RuleSet::build(rules, RuleLimits::default()).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::new(Exit::Data, errors.join("\n"))
        })
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

fn show(rules: &RuleSet, as_json: bool) -> Outcome {
    if as_json {
        let rules: Vec<Value> = rules.rules().iter().map(rule_as_json).collect();
        output::json(&json!({ "rules": rules }))?;
    } else {
        output::line(&as_text(rules))?;
    }
    Ok(Exit::Done)
}

fn as_text(rules: &RuleSet) -> String {
    let mut rows = vec![["rule", "state", "version", "topics", "actions"].map(str::to_owned)];
    for rule in rules.rules() {
        rows.push([
            rule.name().to_owned(),
            state(rule).to_owned(),
            rule.document().version.to_string(),
            rule.filter().unwrap_or("(Basic Ingest)").to_owned(),
            actions(rule),
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
    for rule in rules.rules() {
        for warning in rule.warnings() {
            lines.push(format!("note: rule {}: {warning}", rule.name()));
        }
    }
    lines.join("\n")
}

fn state(rule: &Rule) -> &'static str {
    if rule.is_enabled() {
        "enabled"
    } else {
        "disabled"
    }
}

fn actions(rule: &Rule) -> String {
    let actions: Vec<String> = rule.document().actions.iter().map(action).collect();
    let actions = if actions.is_empty() {
        "none".to_owned()
    } else {
        actions.join(", ")
    };
    match &rule.document().error_action {
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

fn rule_as_json(rule: &Rule) -> Value {
    let document = rule.document();
    let settings = rule.settings();
    let actions: Vec<Value> = document.actions.iter().map(action_as_json).collect();
    let warnings: Vec<String> = rule.warnings().iter().map(ToString::to_string).collect();
    json!({
        "name": rule.name(),
        "enabled": rule.is_enabled(),
        "sql": document.sql,
        "awsIotSqlVersion": document.version.as_str(),
        "filter": rule.filter(),
        "description": document.description,
        "actions": actions,
        "errorAction": document.error_action.as_ref().map(action_as_json),
        "settings": settings_as_json(settings),
        "warnings": warnings,
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
pub(super) fn settings_as_json(settings: &RuleSettings) -> Value {
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
