//! `rule import`: rules of AWS IoT, CloudFormation and Terraform become files of the rules directory. Every rule is
//! compiled before it is written, and none takes the place of a rule that says something else.

mod table;
mod yaml;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_admin::Tag;
use forebay_core::limits::{RULE_ACTIONS_MAX, RULE_DOCUMENT_BYTES_MAX};
use forebay_core::{Clock as _, SystemClock};
use forebay_rules::import::{self, Found, FoundRule, ImportedRule};
use forebay_rules::{
    DocumentError, Environment, RuleDocument, RuleLimits, RuleSet, RuleSettings, RuleWarning,
};
use serde_json::Value;

use self::table::{Row, Table, Verdict};
use super::args::ImportArguments;
use super::documents::{read_input, shown_name};
use super::list::load;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::rule_directory::{self, Meta};

/// Runs the command.
pub(super) fn run(arguments: &ImportArguments) -> Outcome {
    let target = match &arguments.dir {
        Some(dir) => Target::directory(dir),
        None => Target::configured(arguments)?,
    };
    let found = found_in(&arguments.file)?;
    let mut table = Table {
        rows: Vec::new(),
        dir: target.dir.clone(),
        dry_run: arguments.dry_run,
    };
    let mut names = HashSet::new();
    let mut broken = None;
    for found in found {
        let (row, prepared) = target.judge(found, &mut names);
        table.rows.push(row);
        if arguments.dry_run {
            continue;
        }
        if let Some(Err(error)) = prepared.map(|rule| target.write(&rule)) {
            broken = Some(error);
            table.rows.pop();
            break;
        }
    }
    if arguments.json {
        output::json(&table.as_json())?;
    } else {
        output::line(&table.as_text())?;
    }
    match broken {
        Some(failure) => Err(failure),
        None if table.is_complete() => Ok(Exit::Done),
        None => Ok(Exit::Failed),
    }
}

/// The rules in a file or on standard input, at least one.
fn found_in(path: &Path) -> Result<Vec<Found>, Failure> {
    let shown = shown_name(path);
    let refused = |reason: String| Failure::new(Exit::Data, format!("{shown}: {reason}"));
    let bytes = read_input(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("not UTF-8".to_owned()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let mut found = Vec::new();
    for value in parse(text).map_err(refused)? {
        let rules = import::find(value, stem.filter(|stem| *stem != "-"));
        found.extend(rules.map_err(|error| refused(unknown_form(&error)))?);
    }
    if found.is_empty() {
        return Err(refused("there is no rule in it".to_owned()));
    }
    Ok(found)
}

fn unknown_form(error: &DocumentError) -> String {
    match error {
        DocumentError::Form { .. } => format!(
            "{error}\n  help: `rule import` takes what `aws iot get-topic-rule` or `terraform show -json` prints, a \
             CloudFormation template, or a rule document"
        ),
        other => other.to_string(),
    }
}

/// The values of an input: JSON, also several one after the other, or YAML.
fn parse(text: &str) -> Result<Vec<Value>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml::read(text).map_err(|error| format!("not YAML: {error}"));
    }
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect();
    // YAML has braces, too, and functions in short form that JSON does not know.
    values.or_else(|error| yaml::read(text).map_err(|_| format!("not JSON: {error}")))
}

/// Where rules go, and what they have to be there.
struct Target {
    dir: PathBuf,
    environment: Environment,
    /// Rules that are in force there already, inline ones among them.
    rules: Option<Arc<RuleSet>>,
    document_bytes_max: u64,
    actions_max: usize,
}

/// A rule that can be written.
struct Prepared {
    name: String,
    document: RuleDocument,
    /// `None`: the file says when the rule was made, and there is nothing else.
    meta: Option<Meta>,
}

impl Target {
    fn directory(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            environment: Environment::DEFAULT,
            rules: None,
            document_bytes_max: RULE_DOCUMENT_BYTES_MAX as u64,
            actions_max: RULE_ACTIONS_MAX,
        }
    }

    fn configured(arguments: &ImportArguments) -> Result<Self, Failure> {
        let config = load(&arguments.config)?;
        Ok(Self {
            dir: config.rules.dir,
            environment: config.rule_set.environment().clone(),
            rules: Some(config.rule_set),
            document_bytes_max: config.limits.rule_document_bytes,
            actions_max: config.limits.actions_per_rule as usize,
        })
    }

    /// What becomes of a rule, and the rule if it is to be written. `names` are those of the input so far.
    fn judge(&self, found: Found, names: &mut HashSet<String>) -> (Row, Option<Prepared>) {
        let Found {
            place,
            name,
            outcome,
        } = found;
        let mut row = Row {
            rule: name,
            from: place,
            verdict: Verdict::Refused,
            reasons: Vec::new(),
        };
        let imported = match outcome {
            FoundRule::Rule(imported) => *imported,
            FoundRule::Listed => {
                row.verdict = Verdict::Listed;
                return (row, None);
            }
            FoundRule::Refused(error) => {
                row.reasons.push(error.to_string());
                return (row, None);
            }
        };
        row.reasons = imported.gaps.iter().map(ToString::to_string).collect();
        let is_whole = imported.gaps.is_empty();
        match self.prepare(imported, names) {
            Ok((prepared, warnings)) => {
                row.verdict = match (&prepared, is_whole) {
                    (None, _) => Verdict::Unchanged,
                    (Some(_), true) => Verdict::Imported,
                    (Some(_), false) => Verdict::Partly,
                };
                row.reasons.extend(warnings);
                (row, prepared)
            }
            Err(reasons) => {
                row.reasons = reasons;
                (row, None)
            }
        }
    }

    /// Checks a rule as it would be read from its file. Nothing to write is one that is there already.
    fn prepare(
        &self,
        imported: ImportedRule,
        names: &mut HashSet<String>,
    ) -> Result<(Option<Prepared>, Vec<String>), Vec<String>> {
        let name = imported.document.name.clone();
        if !names.insert(name.clone()) {
            return Err(vec!["another rule of the input has this name".to_owned()]);
        }
        let (actions, max) = (imported.document.actions.len(), self.actions_max);
        if actions > max {
            let reason = format!("{actions} actions; limits.actions_per_rule is {max}");
            return Err(vec![reason]);
        }
        let text = format!("{:#}\n", Value::Object(imported.document.to_payload()));
        let (bytes, max) = (text.len() as u64, self.document_bytes_max);
        if bytes > max {
            return Err(vec![format!("document too large: {bytes} > {max} bytes")]);
        }
        let document = RuleDocument::from_json(text.as_bytes(), Some(&name));
        let document = document.map_err(|error| vec![error.to_string()])?;
        let is_there = self.is_there(&document).map_err(|reason| vec![reason])?;
        let warnings = self.compile(document.clone())?;
        let prepared = (!is_there).then(|| Prepared {
            name,
            document,
            meta: meta(imported.created_ms, imported.tags),
        });
        Ok((prepared, warnings))
    }

    /// True when the rule is there already; an error when another one of its name is.
    fn is_there(&self, document: &RuleDocument) -> Result<bool, String> {
        let name = &document.name;
        let path = rule_directory::document_path(&self.dir, name);
        match std::fs::read(&path) {
            Ok(bytes) if RuleDocument::from_json(&bytes, Some(name)).as_ref() == Ok(document) => {
                Ok(true)
            }
            Ok(_) => Err(format!("{} exists and says something else", path.display())),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                let inline = self.rules.as_ref().and_then(|rules| rules.rule(name));
                match inline {
                    Some(_) => Err("the configuration has a rule of this name".to_owned()),
                    None => Ok(false),
                }
            }
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    /// Compiles a rule by itself and returns what should be known about it, beside the actions that do not run.
    fn compile(&self, document: RuleDocument) -> Result<Vec<String>, Vec<String>> {
        let prefix = format!("rule {}: ", document.name);
        let rules = vec![(document, RuleSettings::default())];
        match RuleSet::build_in(rules, RuleLimits::default(), self.environment.clone()) {
            Ok(rules) => {
                let warnings = rules.rules().iter().flat_map(|rule| rule.warnings());
                let told = |warning: &&RuleWarning| {
                    !matches!(
                        warning,
                        RuleWarning::UnsupportedAction { .. } | RuleWarning::ErrorAction { .. }
                    )
                };
                Ok(warnings.filter(told).map(ToString::to_string).collect())
            }
            Err(errors) => Err(errors
                .iter()
                .map(|error| {
                    let text = error.to_string();
                    let text = text.strip_prefix(&prefix).unwrap_or(&text);
                    format!("{text} [{}]", error.code())
                })
                .collect()),
        }
    }

    fn write(&self, rule: &Prepared) -> Result<(), Failure> {
        let Prepared {
            name,
            document,
            meta,
        } = rule;
        let written = match meta {
            Some(meta) => rule_directory::write_meta(&self.dir, name, meta),
            None => Ok(()),
        };
        let payload = document.to_payload();
        let written =
            written.and_then(|()| rule_directory::write_document(&self.dir, name, &payload));
        written.map_err(|error| {
            let path = rule_directory::document_path(&self.dir, name);
            Failure::new(
                Exit::InputOutput,
                format!("{} cannot be written: {error}", path.display()),
            )
        })
    }
}

/// What is kept beside a document, if there is anything.
fn meta(created_ms: Option<i64>, tags: Vec<(String, String)>) -> Option<Meta> {
    if created_ms.is_none() && tags.is_empty() {
        return None;
    }
    let tags = tags.into_iter();
    Some(Meta {
        created_at_ms: created_ms.unwrap_or_else(|| SystemClock::new().wall_millis()),
        tags: tags.map(|(key, value)| Tag { key, value }).collect(),
    })
}

#[cfg(test)]
mod tests;
