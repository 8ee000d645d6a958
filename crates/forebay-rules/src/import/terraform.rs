//! Resources `aws_iot_topic_rule` in what `terraform show -json` prints of a state or a plan.

use serde_json::{Map, Value, json};

use super::{Found, ImportError, ImportedRule, unsupported};
use crate::document::{DocumentError, RuleDocument};

const TYPE: &str = "aws_iot_topic_rule";
const ERROR_ACTION: &str = "error_action";
/// Action blocks whose names in documents are not their own in camel case.
const NAMES: [(&str, &str); 3] = [
    ("dynamodb", "dynamoDB"),
    ("dynamodbv2", "dynamoDBv2"),
    ("opensearch", "openSearch"),
];
/// Blocks inside actions of which there is exactly one; in documents they are no lists.
const SINGLE: [&str; 2] = ["put_item", "timestamp"];

/// The rules of a module and of those below it.
pub(super) fn find(module: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    in_module(module, &mut found);
    found
}

fn in_module(module: &Value, found: &mut Vec<Found>) {
    for resource in list(module, "resources") {
        if resource.get("type").is_some_and(|kind| kind == TYPE) {
            found.push(read(resource));
        }
    }
    for child in list(module, "child_modules") {
        in_module(child, found);
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let items = value.get(name).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

fn read(resource: &Value) -> Found {
    let address = resource.get("address").and_then(Value::as_str);
    let none = Map::new();
    let values = resource.get("values").and_then(Value::as_object);
    let values = values.unwrap_or(&none);
    let name = values.get("name").and_then(Value::as_str);
    let place = address.or(name).unwrap_or(TYPE);
    Found::of(place, name, rule(name, values))
}

fn rule(name: Option<&str>, values: &Map<String, Value>) -> Result<ImportedRule, ImportError> {
    let name = name.ok_or(DocumentError::NoName)?;
    let document = RuleDocument::named(name, &payload(values)?)?;
    Ok(ImportedRule {
        gaps: unsupported(&document),
        tags: tags(values.get("tags"))?,
        created_ms: None,
        document,
    })
}

/// The members of the rule under their names in documents.
fn payload(values: &Map<String, Value>) -> Result<Map<String, Value>, ImportError> {
    let mut payload = Map::new();
    for (theirs, ours) in [
        ("sql", "sql"),
        ("sql_version", "awsIotSqlVersion"),
        ("description", "description"),
    ] {
        // Terraform writes an empty text where there is none. The statement may be empty: that is its own mistake.
        let value = values.get(theirs);
        let value = value.filter(|value| theirs == "sql" || !is_empty(value));
        payload.extend(value.map(|value| (ours.to_owned(), value.clone())));
    }
    match values.get("enabled") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(enabled)) => {
            payload.insert("ruleDisabled".to_owned(), json!(!enabled));
        }
        Some(_) => return Err(DocumentError::wrong_type("enabled", "a boolean").into()),
    }
    payload.insert("actions".to_owned(), actions(values).into());
    if let Some(block) = list_of(values, ERROR_ACTION).first() {
        let block = block.as_object().cloned().unwrap_or_default();
        let mut actions = actions(&block);
        if actions.len() != 1 {
            return Err(ImportError::ErrorActions(actions.len()));
        }
        payload.extend(
            actions
                .pop()
                .map(|action| ("errorAction".to_owned(), action)),
        );
    }
    Ok(payload)
}

fn list_of<'a>(values: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    let items = values.get(name).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

/// The action blocks: lists of objects. Terraform sorts them by their names and keeps no order between kinds; what
/// Forebay carries out comes first.
fn actions(values: &Map<String, Value>) -> Vec<Value> {
    let is_run = |kind: &str| kind == "kinesis" || kind == "republish";
    let mut kinds: Vec<&String> = values.keys().filter(|name| *name != ERROR_ACTION).collect();
    kinds.sort_by_key(|kind| !is_run(kind));
    let mut actions = Vec::new();
    for kind in kinds {
        for block in list_of(values, kind) {
            if let Value::Object(members) = block {
                let name = action_name(kind);
                actions.push(json!({ name: body(kind, members) }));
            }
        }
    }
    actions
}

fn action_name(block: &str) -> String {
    let known = NAMES.iter().find(|(theirs, _)| *theirs == block);
    known.map_or_else(|| camel_case(block), |(_, ours)| (*ours).to_owned())
}

fn body(kind: &str, members: &Map<String, Value>) -> Value {
    let members = members.iter().filter(|(name, value)| {
        let is_key = kind == "kinesis" && *name == "partition_key";
        let is_absent = if is_key {
            is_empty(value)
        } else {
            value.is_null()
        };
        !is_absent
    });
    let members = members.map(|(name, value)| {
        let value = match value {
            Value::Array(items) if SINGLE.contains(&name.as_str()) => {
                items.first().map_or(Value::Null, nested)
            }
            other => nested(other),
        };
        (camel_case(name), value)
    });
    Value::Object(members.collect())
}

/// The members of nested blocks under their names in documents.
fn nested(value: &Value) -> Value {
    match value {
        Value::Object(members) => body("", members),
        Value::Array(items) => items.iter().map(nested).collect(),
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut chars = word.chars();
        name.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(chars.as_str());
        name
    })
}

fn tags(tags: Option<&Value>) -> Result<Vec<(String, String)>, DocumentError> {
    match tags {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(tags)) => {
            let pair = |(key, value): (&String, &Value)| {
                let value = value.as_str().map(str::to_owned);
                value.map(|value| (key.clone(), value))
            };
            let pairs: Option<_> = tags.iter().map(pair).collect();
            pairs.ok_or_else(|| DocumentError::wrong_type("tags", "a map of texts"))
        }
        Some(_) => Err(DocumentError::wrong_type("tags", "a map of texts")),
    }
}
