//! A message to measure a rule with, where none was given: made up from what the rule reads.

use bytes::Bytes;
use forebay_rules::{Explanation, Rule, RuleExplanation, ValueType};
use serde_json::{Map, Value, json};

/// What stands for `+` in a made-up topic, and what for `#`.
const LEVEL: &str = "device-1";
const BELOW: &str = "telemetry";
/// Numbers that members may have: a condition on a number is true for one of them more often than not.
const NUMBERS: [f64; 4] = [21.5, 1000.0, 0.0, -1000.0];

/// A topic that the rule's filter matches; for a rule without filter the one that names it.
pub(super) fn topic(rule: &Rule) -> String {
    let Some(filter) = rule.filter() else {
        return format!("$aws/rules/{}/{BELOW}", rule.name());
    };
    let levels = filter.split('/').map(|level| match level {
        "+" => LEVEL,
        "#" => BELOW,
        level => level,
    });
    levels.collect::<Vec<_>>().join("/")
}

/// Payloads with the members that the rule reads, in the order in which they should be tried.
pub(super) fn payloads(explained: &RuleExplanation) -> Vec<Bytes> {
    NUMBERS
        .iter()
        .map(|number| {
            let mut members = Map::new();
            let texts = explained
                .templates
                .iter()
                .map(|template| &template.explanation);
            for explanation in std::iter::once(&explained.statement).chain(texts) {
                add(explanation, *number, &mut members);
            }
            if members.is_empty() {
                members.insert("value".to_owned(), json!(number));
            }
            Bytes::from(Value::Object(members).to_string())
        })
        .collect()
}

fn add(explanation: &Explanation, number: f64, members: &mut Map<String, Value>) {
    let mut elements = Map::new();
    for read in explanation.reads.iter().filter(|read| read.of_element) {
        put(&mut elements, &read.path, json!(number));
    }
    let mut list = (!elements.is_empty()).then(|| json!([elements.clone(), elements]));
    for read in explanation.reads.iter().filter(|read| !read.of_element) {
        let conversion = explanation
            .conversions
            .iter()
            .find(|conversion| conversion.span == read.span);
        let value = match conversion.map(|conversion| conversion.to) {
            Some(ValueType::String) => json!("text"),
            Some(ValueType::Boolean) => json!(true),
            Some(ValueType::Array) => json!([number]),
            Some(ValueType::Object) => json!({ "value": number }),
            Some(_) => json!(number),
            // A nested query needs a list to go through; the first member that may be one is it.
            None => list.take().unwrap_or_else(|| json!(number)),
        };
        put(members, &read.path, value);
    }
}

/// Puts a value under a path. A member that is read both as a whole and by its parts has the parts.
fn put(members: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    let mut members = members;
    for name in above {
        let inner = members.entry(name).or_insert_with(|| json!({}));
        if !inner.is_object() {
            *inner = json!({});
        }
        let Value::Object(object) = inner else {
            return;
        };
        members = object;
    }
    members.entry(last).or_insert(value);
}

#[cfg(test)]
mod tests {
    use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};

    use super::*;

    fn sample(sql: &str) -> (String, String) {
        let document = json!({
            "sql": sql, "awsIotSqlVersion": "2016-03-23",
            "actions": [{"kinesis": {"streamName": "s", "partitionKey": "${k.id}", "roleArn": "r"}}],
        });
        let document = RuleDocument::from_json(document.to_string().as_bytes(), Some("r")).unwrap();
        let rules = vec![(document, RuleSettings::default())];
        let set = RuleSet::build(rules, RuleLimits::default()).unwrap();
        let payload = payloads(&set.explain("r").unwrap())[0].clone();
        (
            topic(&set.rules()[0]),
            String::from_utf8(payload.to_vec()).unwrap(),
        )
    }

    #[test]
    fn a_sample_has_what_the_rule_reads() {
        let sql = "SELECT a.b, upper(s) AS s FROM 'dt/+/x/#' WHERE t > 50 AND a.c = 1";
        let (topic, payload) = sample(sql);
        assert_eq!(topic, "dt/device-1/x/telemetry");
        let payload: Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(
            payload,
            json!({"a": {"b": 21.5, "c": 21.5}, "s": "text", "t": 21.5, "k": {"id": 21.5}})
        );
    }

    #[test]
    fn a_nested_query_has_a_list_to_go_through() {
        let (_, payload) = sample("SELECT (SELECT v FROM list WHERE v > 1) AS l FROM 'a'");
        let payload: Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(payload["list"], json!([{"v": 21.5}, {"v": 21.5}]));
    }
}
