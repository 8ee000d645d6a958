//! Resources `AWS::IoT::TopicRule` of CloudFormation templates (AWS CloudFormation template reference).

use serde_json::{Map, Value};

use super::{Found, Gap, ImportError, ImportedRule, placeholders, unsupported};
use crate::action::intrinsic;
use crate::document::{DocumentError, Form, RuleDocument};

const TYPE: &str = "AWS::IoT::TopicRule";
/// What begins the name of a loop in place of a resource.
const FOR_EACH: &str = "Fn::ForEach";

/// The rules among the resources of a template.
pub(super) fn find(resources: &Map<String, Value>) -> Vec<Found> {
    let found = resources.iter().filter_map(|(id, resource)| {
        if id.starts_with(FOR_EACH) {
            let error = ImportError::Generated(id.clone());
            return mentions_rules(resource).then(|| Found::of(id, None, Err(error)));
        }
        let members = resource.as_object()?;
        let is_rule = members.get("Type")? == TYPE;
        is_rule.then(|| self::resource(id, members))
    });
    found.collect()
}

/// True for one resource, or its properties alone.
pub(super) fn is_resource(members: &Map<String, Value>) -> bool {
    members.contains_key("TopicRulePayload")
        || (members.get("Type").is_some_and(|kind| kind == TYPE)
            && members.contains_key("Properties"))
}

fn mentions_rules(value: &Value) -> bool {
    match value {
        Value::String(text) => text == TYPE,
        Value::Array(items) => items.iter().any(mentions_rules),
        Value::Object(members) => members.values().any(mentions_rules),
        _ => false,
    }
}

/// One resource, or its properties alone; `id` is its logical id.
pub(super) fn resource(id: &str, members: &Map<String, Value>) -> Found {
    let members = with_absent_removed(members);
    let properties = match members.get("Properties") {
        Some(Value::Object(properties)) => properties,
        _ => &members,
    };
    let mut gaps = Vec::new();
    if let Some(condition) = members.get("Condition").and_then(Value::as_str) {
        gaps.push(Gap::Condition(condition.to_owned()));
    }
    let name = match properties.get("RuleName") {
        Some(Value::String(name)) => name.clone(),
        other => {
            let function = other.and_then(intrinsic).map(str::to_owned);
            gaps.extend(function.map(|function| Gap::Name { function }));
            let is_allowed = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
            id.chars().filter(is_allowed).collect()
        }
    };
    let place = if id.is_empty() { &name } else { id };
    let rule = read(&name, properties, gaps);
    Found::of(place, Some(&name), rule.map_err(ImportError::from))
}

fn read(
    name: &str,
    properties: &Map<String, Value>,
    mut gaps: Vec<Gap>,
) -> Result<ImportedRule, DocumentError> {
    // The name was read; the form would refuse one that is a function.
    let mut properties_left = properties.clone();
    properties_left.remove("RuleName");
    let mut payload = Form::recognise(Value::Object(properties_left))?.payload;
    placeholders("", &Value::Object(payload.clone()), &mut gaps);
    // Free text: its value is nobody's input.
    if let Some(description) = payload.get_mut("description")
        && intrinsic(description).is_some()
    {
        *description = Value::String(description.to_string());
    }
    if name.is_empty() {
        return Err(DocumentError::NoName);
    }
    let document = RuleDocument::named(name, &payload)?;
    let tags = tags(properties.get("Tags"), &mut gaps)?;
    gaps.extend(unsupported(&document));
    Ok(ImportedRule {
        document,
        tags,
        created_ms: None,
        gaps,
    })
}

fn tags(tags: Option<&Value>, gaps: &mut Vec<Gap>) -> Result<Vec<(String, String)>, DocumentError> {
    let list = match tags {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(DocumentError::wrong_type("Tags", "a list")),
    };
    let pairs = list.iter().enumerate().map(|(place, tag)| {
        let mut member = |name: &str| {
            let field = format!("Tags[{place}].{name}");
            match tag.get(name) {
                None | Some(Value::Null) => Err(DocumentError::missing(&field)),
                Some(Value::String(text)) => Ok(text.clone()),
                Some(value) => {
                    placeholders(&field, value, gaps);
                    Ok(value.to_string())
                }
            }
        };
        Ok((member("Key")?, member("Value")?))
    });
    pairs.collect()
}

/// The members without those that are `!Ref AWS::NoValue`, which means that they are absent, at every level.
fn with_absent_removed(members: &Map<String, Value>) -> Map<String, Value> {
    let is_there = |value: &Value| value.get("Ref").is_none_or(|name| name != "AWS::NoValue");
    let kept = members.iter().filter(|(_, value)| is_there(value));
    kept.map(|(name, value)| (name.clone(), without_absent(value, &is_there)))
        .collect()
}

fn without_absent(value: &Value, is_there: &impl Fn(&Value) -> bool) -> Value {
    match value {
        Value::Object(members) => Value::Object(with_absent_removed(members)),
        Value::Array(items) => {
            let kept = items.iter().filter(|value| is_there(value));
            kept.map(|value| without_absent(value, is_there)).collect()
        }
        other => other.clone(),
    }
}
