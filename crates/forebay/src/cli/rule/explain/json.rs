//! An explanation for programs.

use forebay_rules::{Explanation, PayloadUse};
use serde_json::{Value, json};

use super::super::list::settings_as_json;
use super::{Explained, folded_value, output_path, read, type_name};

impl Explained<'_> {
    /// One object.
    pub(super) fn as_json(&self) -> Value {
        let document = self.rule.document();
        let cost = &self.cost;
        let templates: Vec<Value> = self
            .explanation
            .templates
            .iter()
            .map(|template| {
                json!({
                    "field": template.field,
                    "text": template.text,
                    "explanation": as_json(&template.text, &template.explanation),
                })
            })
            .collect();
        let warnings: Vec<String> = self
            .rule
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        let settings: serde_json::Map<String, Value> = self
            .settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect();
        json!({
            "rule": self.rule.name(),
            "enabled": self.is_enabled,
            "sql": document.sql,
            "awsIotSqlVersion": document.version.as_str(),
            "filter": self.rule.filter(),
            "statement": as_json(&document.sql, &self.explanation.statement),
            "templates": templates,
            "records": self.records().into_iter().map(|(name, value)| (name, value.into()))
                .collect::<serde_json::Map<String, Value>>(),
            "settings": settings,
            "own_settings": settings_as_json(self.rule.settings()),
            "warnings": warnings,
            "cost": {
                "median_ns": cost.measured.median_ns,
                "min_ns": cost.measured.min_ns,
                "max_ns": cost.measured.max_ns,
                "rounds": cost.measured.rounds,
                "evaluations_per_round": cost.measured.evaluations,
                "debug_build": cfg!(debug_assertions),
                "topic": cost.topic,
                "payload_bytes": cost.payload.len(),
                "payload_made_up": cost.is_made_up,
                "read_by": cost.reader(),
                "outcome": cost.outcome(),
            },
        })
    }
}

fn as_json(source: &str, explanation: &Explanation) -> Value {
    let part = |span: &std::ops::Range<usize>| source.get(span.clone()).unwrap_or_default();
    let calls: Vec<Value> = explanation
        .calls
        .iter()
        .map(|call| json!({ "function": call.function, "asks_message": call.asks_message }))
        .collect();
    let conversions: Vec<Value> = explanation
        .conversions
        .iter()
        .map(|conversion| {
            json!({
                "text": part(&conversion.span),
                "from": conversion.from.map(type_name),
                "to": type_name(conversion.to),
            })
        })
        .collect();
    let folded: Vec<Value> = explanation
        .folded
        .iter()
        .map(|folded| json!({ "text": part(&folded.span), "value": folded_value(&folded.value) }))
        .collect();
    json!({
        "output": output_path(explanation.output),
        "payload": match explanation.payload {
            PayloadUse::Unread => "unread",
            PayloadUse::Bytes => "bytes",
            PayloadUse::Parsed => "parsed",
        },
        "reads": explanation.reads.iter().map(read).collect::<Vec<_>>(),
        "calls": calls,
        "conversions": conversions,
        "folded": folded,
        "variables": explanation.variables,
    })
}
