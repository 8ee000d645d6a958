//! Rules in what AWS's tools and infrastructure code write: descriptions of one rule, CloudFormation templates, and the
//! state of Terraform. Each rule that is found is taken, taken with gaps, or refused, for itself.
//!
//! A value that only CloudFormation could compute is kept as a placeholder where nothing depends on it (roles, tags, the
//! description) and refuses the rule where something does.

mod cloudformation;
mod terraform;

use serde_json::{Map, Value};

use crate::action::{Action, intrinsic};
use crate::document::{DocumentError, Form, RuleDocument};

/// A rule in an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Where it stands: a logical id, a Terraform address, or the rule's name.
    pub place: String,
    /// The rule's name, if it is known.
    pub name: Option<String>,
    /// What can be made of it.
    pub outcome: FoundRule,
}

/// What can be made of a rule that was found.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundRule {
    /// It can be kept.
    Rule(Box<ImportedRule>),
    /// A row of `list-topic-rules`, which shows neither the statement nor the actions.
    Listed,
    /// It cannot be kept.
    Refused(ImportError),
}

/// A rule that can be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedRule {
    /// The rule.
    pub document: RuleDocument,
    /// Its tags, in the order of the input.
    pub tags: Vec<(String, String)>,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_ms: Option<i64>,
    /// What it lost on the way; with any of them the rule is imported in part.
    pub gaps: Vec<Gap>,
}

/// What an imported rule lacks of the one that it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// A value that only CloudFormation could compute.
    #[error("{field} is a placeholder for {function}")]
    Placeholder {
        /// The member.
        field: String,
        /// The function.
        function: String,
    },
    /// The name is one that only CloudFormation could compute; the rule is named after its logical id.
    #[error("RuleName is {function}: named after its logical id")]
    Name {
        /// The function.
        function: String,
    },
    /// The resource exists only under a condition of the template.
    #[error("taken without looking at its condition {0:?}")]
    Condition(String),
    /// An action that Forebay keeps and does not carry out.
    #[error("{field}: action {kind:?} is kept and not run")]
    Unsupported {
        /// Where it stands.
        field: String,
        /// Its name.
        kind: String,
    },
}

/// Why a rule that was found cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Its document is wrong.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Resources that exist only after the template was expanded.
    #[error("{0} makes the resources, which only CloudFormation can do")]
    Generated(String),
    /// An error action of Terraform without exactly one action block.
    #[error("error_action has {0} action blocks; it needs one")]
    ErrorActions(usize),
}

/// Finds the rules in an input that was JSON or became it. `name` is for a lone document that does not name its rule.
/// The value is walked recursively, so whoever parses it bounds how deep it is, as JSON and YAML parsers do.
///
/// # Errors
/// When it is none of the forms in which rules are written. An input of a known form without rules gives none.
pub fn find(value: Value, name: Option<&str>) -> Result<Vec<Found>, DocumentError> {
    match value {
        Value::Array(values) => {
            let found: Result<Vec<_>, _> =
                values.into_iter().map(|value| find(value, None)).collect();
            Ok(found?.into_iter().flatten().collect())
        }
        Value::Object(members) => {
            if let Some(Value::Object(resources)) = members.get("Resources") {
                return Ok(cloudformation::find(resources));
            }
            let state = members.get("values").or(members.get("planned_values"));
            if let Some(module) = state.and_then(|values| values.get("root_module")) {
                return Ok(terraform::find(module));
            }
            // The state of a workspace without resources.
            if members.contains_key("terraform_version") {
                return Ok(Vec::new());
            }
            if let Some(Value::Array(rows)) = members.get("rules") {
                return Ok(rows.iter().map(listed).collect());
            }
            document(members, name).map(|found| vec![found])
        }
        _ => Err(DocumentError::Form {
            reason: "it is neither an object nor a list".to_owned(),
        }),
    }
}

/// A row of `list-topic-rules`.
fn listed(row: &Value) -> Found {
    let name = row.get("ruleName").and_then(Value::as_str);
    Found {
        place: name.unwrap_or("rules").to_owned(),
        name: name.map(str::to_owned),
        outcome: FoundRule::Listed,
    }
}

/// One rule in a form that documents have, too.
fn document(members: Map<String, Value>, name: Option<&str>) -> Result<Found, DocumentError> {
    if cloudformation::is_resource(&members) {
        let place = name.unwrap_or_default();
        return Ok(cloudformation::resource(place, &members));
    }
    let tags = members.get("tags").cloned();
    let form = Form::recognise(Value::Object(members))?;
    let created_ms = form.payload.get("createdAt").and_then(milliseconds);
    // The name in the document is the rule's, the other one only stands in for it.
    let name = form.name.as_deref().or(name);
    let rule = name.ok_or(DocumentError::NoName).and_then(|name| {
        let document = RuleDocument::named(name, &form.payload)?;
        Ok(ImportedRule {
            gaps: unsupported(&document),
            tags: tags
                .map(|tags| read_tags(&tags))
                .transpose()?
                .unwrap_or_default(),
            created_ms,
            document,
        })
    });
    Ok(Found::of(
        name.unwrap_or_default(),
        name,
        rule.map_err(ImportError::from),
    ))
}

impl Found {
    fn of(place: &str, name: Option<&str>, rule: Result<ImportedRule, ImportError>) -> Self {
        Self {
            place: place.to_owned(),
            name: name.filter(|name| !name.is_empty()).map(str::to_owned),
            outcome: match rule {
                Ok(rule) => FoundRule::Rule(Box::new(rule)),
                Err(error) => FoundRule::Refused(error),
            },
        }
    }
}

/// The actions that are kept and not run.
fn unsupported(document: &RuleDocument) -> Vec<Gap> {
    let actions = document.actions.iter().enumerate();
    let actions = actions.map(|(place, action)| (format!("actions[{place}]"), action));
    let error_action = document.error_action.iter();
    let error_action = error_action.map(|action| ("errorAction".to_owned(), action));
    let unsupported = actions.chain(error_action).filter_map(|(field, action)| {
        let Action::Unsupported { kind, .. } = action else {
            return None;
        };
        let kind = kind.clone();
        Some(Gap::Unsupported { field, kind })
    });
    unsupported.collect()
}

/// The tags of a request: `k1=v1&k2=v2`, percent-encoded, or a list of keys and values.
fn read_tags(tags: &Value) -> Result<Vec<(String, String)>, DocumentError> {
    match tags {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decoded(key), percent_decoded(value))
            })
            .collect()),
        Value::Array(list) => {
            let pair = |tag: &Value| {
                let text = |name| Some(tag.get(name)?.as_str()?.to_owned());
                Some((text("Key")?, text("Value")?))
            };
            let pairs: Option<_> = list.iter().map(pair).collect();
            pairs.ok_or_else(|| DocumentError::wrong_type("tags", "a list of keys and values"))
        }
        _ => Err(DocumentError::wrong_type("tags", "a string or a list")),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        rest = after;
        bytes.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high * 16 + low
                }
                _ => b'%',
            },
            (other, _) => *other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A time as AWS's tools print it: seconds since the Unix epoch, or a date with its time.
fn milliseconds(time: &Value) -> Option<i64> {
    match time {
        Value::Number(seconds) => {
            let seconds = seconds.as_f64()?;
            let sane = (0.0..=4e9).contains(&seconds);
            sane.then_some((seconds * 1000.0) as i64)
        }
        Value::String(text) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            Some(time.as_millisecond())
        }
        _ => None,
    }
}

/// Every value below this one that only CloudFormation could compute.
fn placeholders(path: &str, value: &Value, gaps: &mut Vec<Gap>) {
    if let Some(function) = intrinsic(value) {
        return gaps.push(Gap::Placeholder {
            field: path.to_owned(),
            function: function.to_owned(),
        });
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                placeholders(&format!("{path}{dot}{name}"), value, gaps);
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                placeholders(&format!("{path}[{place}]"), value, gaps);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
