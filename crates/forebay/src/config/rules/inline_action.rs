//! Actions of `[[rules.inline]]`: TOML with the members of AWS's documents in snake case.

use serde_json::{Map, Value, json};

use crate::config::raw::{RawKind, RawTable, RawValue};
use crate::config::section::Section;
use crate::diagnostics::{Code, Diagnostic, Origin, Report};

/// One action, `{ kinesis = { … } }` or `{ republish = { … } }`, as documents have it.
pub(super) fn read(value: RawValue, report: &mut Report) -> Option<Value> {
    let origin = value.origin.clone();
    let mut section = Section::new("rules.inline", RawTable::new(), report);
    let table = section.expect_table("action", value)?;
    let mut section = Section::new("rules.inline.action", table, report);
    let (kinesis, republish) = (section.take("kinesis"), section.take("republish"));
    section.finish();
    match (kinesis, republish) {
        (Some(body), None) => read_kinesis(body, &origin, report),
        (None, Some(body)) => read_republish(body, &origin, report),
        (None, None) => {
            report.push(
                Diagnostic::error(
                    Code::Missing,
                    "an action has neither `kinesis` nor `republish`",
                )
                .at(&origin)
                .label("write kinesis = { stream_name = …, partition_key = … }"),
            );
            None
        }
        (Some(_), Some(both)) => {
            report.push(
                Diagnostic::error(Code::Duplicate, "`kinesis` and `republish` in one action")
                    .at(&both.origin)
                    .label("write two actions: actions = [{ … }, { … }]"),
            );
            None
        }
    }
}

fn read_kinesis(body: RawValue, action: &Origin, report: &mut Report) -> Option<Value> {
    let mut section = Section::new("rules.inline.action", RawTable::new(), report);
    let body = section.expect_table("kinesis", body)?;
    let mut section = Section::new("rules.inline.action.kinesis", body, report);
    let mut members = Map::new();
    text(&mut section, "stream_name", "streamName", &mut members);
    text(&mut section, "partition_key", "partitionKey", &mut members);
    role(&mut section, &mut members);
    let is_named = required(
        &mut section,
        &members,
        "streamName",
        "a kinesis action has no `stream_name`",
        action,
    );
    section.finish();
    is_named.then(|| json!({ "kinesis": members }))
}

fn read_republish(body: RawValue, action: &Origin, report: &mut Report) -> Option<Value> {
    let mut section = Section::new("rules.inline.action", RawTable::new(), report);
    let body = section.expect_table("republish", body)?;
    let mut section = Section::new("rules.inline.action.republish", body, report);
    let mut members = Map::new();
    text(&mut section, "topic", "topic", &mut members);
    role(&mut section, &mut members);
    if let Some(qos) = section.integer_u32("qos", 0..=1) {
        members.insert("qos".to_owned(), json!(qos));
    }
    let headers = section.take("headers");
    let headers = headers.and_then(|value| section.expect_table("headers", value));
    let has_topic = required(
        &mut section,
        &members,
        "topic",
        "a republish action has no `topic`",
        action,
    );
    section.finish();
    if let Some(headers) = headers {
        members.insert("headers".to_owned(), read_headers(headers, report));
    }
    has_topic.then(|| json!({ "republish": members }))
}

fn read_headers(table: RawTable, report: &mut Report) -> Value {
    let mut section = Section::new("rules.inline.action.republish.headers", table, report);
    let mut members = Map::new();
    for (theirs, ours) in [
        ("payload_format_indicator", "payloadFormatIndicator"),
        ("content_type", "contentType"),
        ("response_topic", "responseTopic"),
        ("correlation_data", "correlationData"),
        ("message_expiry", "messageExpiry"),
    ] {
        text(&mut section, theirs, ours, &mut members);
    }
    let pairs = section.take("user_properties");
    section.finish();
    if let Some(pairs) = pairs {
        members.insert("userProperties".to_owned(), user_properties(pairs, report));
    }
    Value::Object(members)
}

fn user_properties(value: RawValue, report: &mut Report) -> Value {
    let path = "rules.inline.action.republish.headers";
    let RawKind::Array(items) = value.kind else {
        Section::new(path, RawTable::new(), report).wrong_type(
            "user_properties",
            &value,
            "a list of tables: [{ key = …, value = … }]",
        );
        return Value::Null;
    };
    let pairs = items.into_iter().filter_map(|item| {
        let mut section = Section::new(path, RawTable::new(), report);
        let table = section.expect_table("user_properties", item)?;
        let mut section = Section::new(format!("{path}.user_properties"), table, report);
        let mut pair = Map::new();
        text(&mut section, "key", "key", &mut pair);
        text(&mut section, "value", "value", &mut pair);
        section.finish();
        Some(Value::Object(pair))
    });
    pairs.collect()
}

fn text(
    section: &mut Section<'_>,
    theirs: &'static str,
    ours: &str,
    members: &mut Map<String, Value>,
) {
    if let Some(written) = section.string(theirs) {
        members.insert(ours.to_owned(), Value::String(written.value));
    }
}

/// AWS requires a role; who writes a rule for Forebay has none to name.
fn role(section: &mut Section<'_>, members: &mut Map<String, Value>) {
    members.insert("roleArn".to_owned(), json!(""));
    text(section, "role_arn", "roleArn", members);
}

/// True when the member is there; else it is reported.
fn required(
    section: &mut Section<'_>,
    members: &Map<String, Value>,
    name: &str,
    missing: &str,
    action: &Origin,
) -> bool {
    let is_there = members.contains_key(name);
    if !is_there {
        section
            .report()
            .push(Diagnostic::error(Code::Missing, missing).at(action));
    }
    is_there
}
