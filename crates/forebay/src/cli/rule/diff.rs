//! `rule diff`: in what two rules, or two sets of rules, differ. What only looks different is no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use forebay_rules::{Action, Environment, RuleDocument, RuleSettings};
use serde_json::{Value, json};

use super::args::{ConfigArguments, DiffArguments};
use super::documents::{self, files_in, shown_name};
use super::list::{load, settings_as_json};
use super::sql_text::normal_form;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::diagnostics::Report;

/// Runs the command.
pub(super) fn run(arguments: &DiffArguments) -> Outcome {
    let mut a = Side::read(&arguments.a)?;
    let mut b = Side::read(&arguments.b)?;
    if a.is_one && b.is_one {
        // Two documents are compared whatever their names are.
        a.give_common_name();
        b.give_common_name();
    }
    let differences = compare(&a, &b);
    if arguments.json {
        let differences: Vec<Value> = differences.iter().map(Difference::as_json).collect();
        output::json(&json!({ "same": differences.is_empty(), "differences": differences }))?;
    } else {
        output::line(&as_text(&differences, arguments))?;
    }
    Ok(if differences.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// What of one rule says what it does: member and value.
type Members = BTreeMap<String, String>;

/// The rules that are compared, by name.
struct Side {
    rules: BTreeMap<String, Members>,
    /// A document by itself.
    is_one: bool,
}

impl Side {
    fn read(path: &Path) -> Result<Self, Failure> {
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            return Self::of_config(path);
        }
        let is_one = !path.is_dir();
        let files = if is_one {
            vec![path.to_owned()]
        } else {
            files_in(path, &["json"])?
        };
        let mut report = Report::default();
        let mut rules = BTreeMap::new();
        for file in files {
            match documents::read(&file) {
                Ok(document) => {
                    let members = members_of(&document, &RuleSettings::default());
                    let name = document.name.clone();
                    // Only what can be loaded can be compared by what it does.
                    let name_of = |field: &str| format!("{}: {field}", shown_name(&file));
                    documents::compile(
                        document,
                        RuleSettings::default(),
                        &Environment::DEFAULT,
                        &mut report,
                        name_of,
                    );
                    rules.insert(name, members);
                }
                Err(diagnostic) => report.push(*diagnostic),
            }
        }
        if report.has_errors() {
            return Err(documents::refuse(&report));
        }
        Ok(Self { rules, is_one })
    }

    fn of_config(path: &Path) -> Result<Self, Failure> {
        let config = load(&ConfigArguments {
            config: Some(path.to_owned()),
            set: Vec::new(),
        })?;
        let rules = config.rule_set.rules().iter().map(|rule| {
            let members = members_of(rule.document(), rule.settings());
            (rule.name().to_owned(), members)
        });
        Ok(Self {
            rules: rules.collect(),
            is_one: false,
        })
    }

    fn give_common_name(&mut self) {
        if let Some((_, members)) = self.rules.pop_first() {
            self.rules.insert(String::new(), members);
        }
    }
}

/// A rule as a flat list of what it says, the SQL in its normal form.
fn members_of(document: &RuleDocument, settings: &RuleSettings) -> Members {
    let actions: Vec<Value> = document.actions.iter().map(Action::to_json).collect();
    let value = json!({
        "sql": normal_form(&document.sql),
        "awsIotSqlVersion": document.version.as_str(),
        "ruleDisabled": document.disabled,
        "description": document.description,
        "actions": actions,
        "errorAction": document.error_action.as_ref().map(Action::to_json),
        "settings": settings_as_json(settings),
    });
    let mut members = Members::new();
    flatten(String::new(), &value, &mut members);
    members
}

/// Puts the scalars of a value under their paths. Null is the same as nothing.
fn flatten(path: String, value: &Value, members: &mut Members) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(format!("{path}{dot}{name}"), value, members);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(format!("{path}[{index}]"), item, members);
            }
        }
        Value::String(text) => {
            members.insert(path, text.clone());
        }
        scalar => {
            members.insert(path, scalar.to_string());
        }
    }
}

/// One difference: a member of a rule that both sides have, or a whole rule.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    rule: String,
    /// `None`: the whole rule.
    member: Option<String>,
    a: Option<String>,
    b: Option<String>,
}

fn compare(a: &Side, b: &Side) -> Vec<Difference> {
    let names: BTreeSet<&String> = a.rules.keys().chain(b.rules.keys()).collect();
    let mut differences = Vec::new();
    for rule in names {
        match (a.rules.get(rule), b.rules.get(rule)) {
            (Some(a), Some(b)) => compare_members(rule, a, b, &mut differences),
            (in_a, in_b) => differences.push(Difference {
                rule: rule.clone(),
                member: None,
                a: in_a.and_then(|members| members.get("sql")).cloned(),
                b: in_b.and_then(|members| members.get("sql")).cloned(),
            }),
        }
    }
    differences
}

fn compare_members(rule: &str, a: &Members, b: &Members, differences: &mut Vec<Difference>) {
    let members: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for member in members {
        let (a, b) = (a.get(member), b.get(member));
        if a != b {
            differences.push(Difference {
                rule: rule.to_owned(),
                member: Some(member.clone()),
                a: a.cloned(),
                b: b.cloned(),
            });
        }
    }
}

fn as_text(differences: &[Difference], arguments: &DiffArguments) -> String {
    if differences.is_empty() {
        return "no difference".to_owned();
    }
    let mut lines = vec![
        format!("--- {}", arguments.a.display()),
        format!("+++ {}", arguments.b.display()),
    ];
    let mut rule = None;
    for difference in differences {
        if rule != Some(&difference.rule) && !difference.rule.is_empty() {
            lines.push(format!("rule {}", difference.rule));
        }
        rule = Some(&difference.rule);
        lines.push(match &difference.member {
            Some(member) => format!("  {member}"),
            None if difference.a.is_some() => "  only in the first".to_owned(),
            None => "  only in the second".to_owned(),
        });
        for (sign, value) in [('-', &difference.a), ('+', &difference.b)] {
            if let Some(value) = value {
                lines.push(format!("  {sign} {value}"));
            }
        }
    }
    lines.join("\n")
}

impl Difference {
    fn as_json(&self) -> Value {
        json!({
            "rule": self.rule,
            "member": self.member,
            "a": self.a,
            "b": self.b,
        })
    }
}
